//! What the tests share: the server as a child process, peers made of plain sockets, and waiting
//! for a condition instead of for a time.

use c1000k_server::Summary;
use control::peer::fetch_snapshot;
use measure::{Clock, Nanos};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Long enough for a loaded machine; no test waits so long unless it fails.
pub(crate) const PATIENCE: Nanos = Nanos::from_secs(60);

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !condition() {
        assert!(clock.now() < PATIENCE, "never: {what}");
        let _ = crossbeam_channel::after(Duration::from_millis(5)).recv();
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_c1000k-server"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server in a process of its own; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// What it said when it was ready, a line for each URL.
    pub(crate) ready: Vec<Value>,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts it on one address of its own, with `--metrics`; ready when this returns.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::on(&["tcp://127.0.0.1:0"], args)
    }

    pub(crate) fn on(urls: &[&str], args: &[&str]) -> Self {
        let mut child = command(&[urls, &["--json", "--metrics", "127.0.0.1:0"], args].concat())
            .spawn()
            .expect("a child");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let ready = urls.iter().map(|_| {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("text");
            serde_json::from_str(&line).expect("a line of JSON")
        });
        let ready = ready.collect();
        Self { child, ready, stdout }
    }

    fn said(&self, field: &str) -> &str {
        self.ready[0][field].as_str().expect("text")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of(0)
    }

    /// The address of the URL with that number.
    pub(crate) fn address_of(&self, url: usize) -> SocketAddr {
        let url = self.ready[url]["url"].as_str().expect("text");
        let (_, address) = url.split_once("://").expect("a URL");
        address.parse().expect("an address")
    }

    pub(crate) fn metrics(&self) -> SocketAddr {
        self.said("metrics").parse().expect("an address")
    }

    /// What it says of itself when all its reactors have answered.
    pub(crate) fn snapshot(&self) -> Summary {
        let mut summary = Summary::default();
        eventually("all reactors answer", || {
            let value = fetch_snapshot(self.metrics(), Duration::from_secs(30)).expect("snapshot");
            summary = serde_json::from_value(value).expect("every field");
            summary.silent_reactors == 0
        });
        summary
    }

    pub(crate) fn connect(&self) -> TcpStream {
        self.connect_to(0)
    }

    pub(crate) fn connect_to(&self, url: usize) -> TcpStream {
        let stream = TcpStream::connect(self.address_of(url)).expect("it listens");
        stream.set_nodelay(true).expect("option");
        // Should it never answer, the test fails instead of hanging.
        stream.set_read_timeout(Some(Duration::from(PATIENCE))).expect("option");
        stream
    }

    /// Lets the process have so many descriptors per table from now on.
    pub(crate) fn limit_descriptors(&self, limit: u64) {
        let new = Rlimit { current: Some(limit), maximum: Some(limit) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, new).expect("allowed");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end: the exit code, and what it said on stdout since it was ready and on
    /// stderr.
    pub(crate) fn finish(mut self) -> (Option<i32>, String, String) {
        let mut code = None;
        eventually("the server ends", || {
            let ended = self.child.try_wait().expect("a child");
            code = ended.and_then(|status| status.code());
            ended.is_some()
        });
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).expect("text");
        let stderr = self.child.stderr.take();
        stderr.expect("piped").read_to_string(&mut err).expect("text");
        (code, out, err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One message there and back.
pub(crate) fn echo(stream: &mut TcpStream) {
    stream.write_all(b"are you there?").expect("taken");
    let mut reply = [0; 14];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"are you there?");
}

/// Whether the stream has been closed from the other side; waits for news.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
