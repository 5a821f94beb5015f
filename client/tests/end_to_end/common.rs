//! What the tests share: a server in a child process, the client as a child process, peers that
//! misbehave, and waiting for a condition instead of for a time.

use c1000k_server::cli::Cli;
use clap::Parser;
use control::peer::fetch_snapshot;
use host::socket::{self, ListenOptions};
use measure::{Clock, Nanos};
use report::ResultFile;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

/// Long enough for a loaded machine; no test waits so long unless it fails.
const PATIENCE: Nanos = Nanos::from_secs(60);
const SERVER_ARGS: &str = "C1000K_TEST_SERVER_ARGS";
/// With this in the environment all servers of ours are behind TLS.
pub(crate) const TLS: &str = "C1000K_TEST_TLS";

/// What stands before the URLs of servers of ours: with and without TLS.
const SCHEMES: [(&str, &str); 3] =
    [("tcp://", "tls://"), ("ws://", "wss://"), ("http://", "https://")];

/// The argument over TLS, if it is a URL and all servers are behind that.
pub(crate) fn secured(arg: &str) -> String {
    let scheme = SCHEMES.iter().find(|(plain, _)| arg.starts_with(plain));
    match scheme.filter(|_| env::var_os(TLS).is_some()) {
        Some((plain, secured)) => arg.replacen(plain, secured, 1),
        None => arg.to_owned(),
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !condition() {
        assert!(clock.now() < PATIENCE, "never: {what}");
        let _ = crossbeam_channel::after(Duration::from_millis(5)).recv();
    }
}

// ---- The server ---------------------------------------------------------------------------------

/// In the child process: the server itself. It ends with the test that started it, whose end closes
/// its stdin.
pub(crate) fn serve_if_asked() {
    let Ok(args) = env::var(SERVER_ARGS) else { return };
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let cli = Cli::parse_from(["c1000k-server", "--json"].into_iter().chain(args.split(' ')));
    let code = c1000k_server::run(&cli).expect("a server");
    std::process::exit(code.into());
}

/// A server in a process of its own; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens, in the order of the URLs.
    pub(crate) urls: Vec<String>,
    metrics: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts it with these options and URLs, and `--metrics`; ready when this returns.
    pub(crate) fn start(args: &[&str]) -> Self {
        let urls = args.iter().filter(|arg| arg.contains("://")).count();
        let args: Vec<String> = args.iter().map(|arg| secured(arg)).collect();
        let args = args.join(" ") + " --metrics 127.0.0.1:0";
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", "server_child", "--nocapture"])
            .env(SERVER_ARGS, args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut ready: Vec<Value> = Vec::new();
        while ready.len() < urls {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).expect("text") > 0, "the server did not start");
            // The test harness says its own on the same stream.
            if let Some(at) = line.find('{') {
                ready.push(serde_json::from_str(&line[at..]).expect("JSON"));
            }
        }
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Self {
            child,
            urls: ready.iter().map(|line| text(&line["url"])).collect(),
            metrics: text(&ready[0]["metrics"]).parse().expect("an address"),
            _stdout: stdout,
        }
    }

    /// The one that most tests need.
    pub(crate) fn plain() -> Self {
        Self::start(&["tcp://127.0.0.1:0", "--reactors", "2"])
    }

    pub(crate) fn url(&self) -> &str {
        &self.urls[0]
    }

    pub(crate) fn metrics(&self) -> String {
        self.metrics.to_string()
    }

    /// A number out of its snapshot, over all reactors.
    pub(crate) fn number(&self, field: &str) -> u64 {
        let mut snapshot = Value::Null;
        eventually("all reactors answer", || {
            snapshot = fetch_snapshot(self.metrics, Duration::from_secs(30)).expect("snapshot");
            snapshot["silent_reactors"] == 0
        });
        snapshot[field].as_u64().expect("a number")
    }

    /// Stops it for `still`, lets it run for `running`, and so on until what this returns is
    /// dropped.
    pub(crate) fn stalling(&self, still: Duration, running: Duration) -> Stalling {
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        let pid = Pid::from_child(&self.child);
        let thread = thread::spawn(move || {
            let is_over = |span| !ended.recv_timeout(span).is_err_and(|error| error.is_timeout());
            loop {
                let _ = kill_process(pid, Signal::STOP);
                let over = is_over(still);
                let _ = kill_process(pid, Signal::CONT);
                if over || is_over(running) {
                    return;
                }
            }
        });
        Stalling { end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("its end");
    }
}

/// A server that stands still from time to time.
pub(crate) struct Stalling {
    end: Option<crossbeam_channel::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Stalling {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server by hand: each connection goes to `handle`, on a thread of its own.
pub(crate) fn peer(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let options = ListenOptions { backlog: 128, reuse_port: false };
    let listener = socket::listen(([127, 0, 0, 1], 0).into(), &options).expect("listener");
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(false).expect("blocking");
    let url = format!("tcp://{}", listener.local_addr().expect("address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    url
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> String {
    let options = ListenOptions { backlog: 1, reuse_port: false };
    let listener = socket::listen(([127, 0, 0, 1], 0).into(), &options).expect("listener");
    format!("tcp://{}", socket::local_address(&listener).expect("address"))
}

pub(crate) fn has_ipv6() -> bool {
    host::address::is_local(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])).is_ok()
}

// ---- The client ---------------------------------------------------------------------------------

/// What a client did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A client that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    readers: Vec<thread::JoinHandle<String>>,
}

pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn client(args: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_c1000k-client"));
    command.args(args);
    trust(&mut command, args);
    command
}

/// Our own servers are who they are.
fn trust(command: &mut Command, args: &[&str]) {
    let is_secured = |arg: &&str| SCHEMES.iter().any(|(_, secured)| arg.starts_with(secured));
    if env::var_os(TLS).is_some() && args.iter().any(is_secured) {
        command.arg("-k");
    }
}

/// A client whose process may hold only so many descriptors.
pub(crate) fn client_with_descriptors(limit: u32, args: &[&str]) -> Command {
    let mut command = command("sh");
    let program = env!("CARGO_BIN_EXE_c1000k-client");
    command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), program]).args(args);
    trust(&mut command, args);
    command
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the client");
        fn reader(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
            thread::spawn(move || {
                let mut text = String::new();
                stream.read_to_string(&mut text).expect("text");
                text
            })
        }
        let stdout = child.stdout.take().map(reader);
        let stderr = child.stderr.take().map(reader);
        Self { child, readers: [stdout, stderr].into_iter().flatten().collect() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Whether every signal that was sent has been delivered: of two that are pending at the same
    /// time the kernel keeps one (`signal(7)`).
    pub(crate) fn has_taken_signals(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        pending.expect("a mask").trim().trim_matches('0').is_empty()
    }

    pub(crate) fn finish(mut self) -> Ran {
        let mut code = None;
        eventually("the client ends", || {
            let ended = self.child.try_wait().expect("a child");
            code = ended.and_then(|status| status.code());
            ended.is_some()
        });
        let mut texts = self.readers.drain(..).map(|reader| reader.join().expect("text"));
        let (stdout, stderr) = (texts.next(), texts.next());
        drop(texts);
        Ran { code, stdout: stdout.unwrap_or_default(), stderr: stderr.unwrap_or_default() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the client to its end.
pub(crate) fn run(args: &[&str]) -> Ran {
    Running::start(client(args)).finish()
}

/// Runs the client with `--json` and reads the result; its accounts are checked.
pub(crate) fn measure(args: &[&str]) -> (Ran, ResultFile) {
    let ran = run(&[&["run", "--json", "-q"], args].concat());
    let result = parse(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    (ran, result)
}

pub(crate) fn read(path: &Path) -> ResultFile {
    report::store::read(path).expect("a result");
    parse(&std::fs::read_to_string(path).expect("a file")).expect("a result")
}

/// Reads a result from its text, which has to keep to the schema; its accounts are checked.
pub(crate) fn parse(text: &str) -> Result<ResultFile, serde_json::Error> {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        jsonschema::validator_for(&report::schema::json_schema()).expect("a schema")
    });
    let value: Value = serde_json::from_str(text)?;
    let wrong: Vec<_> = SCHEMA
        .iter_errors(&value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "against the schema: {wrong:#?}");
    let result = serde_json::from_value(value)?;
    check(&result);
    Ok(result)
}

/// What holds for every result, whatever happened to its run.
fn check(result: &ResultFile) {
    let (connections, messages) = (&result.connections, &result.messages);
    let interrupted = result.run.outcome == report::schema::Outcome::Interrupted;
    let churn = result.plan.http.as_ref().is_some_and(|http| http.close);
    if !interrupted && !churn {
        let ramped = connections.opened - connections.replaced;
        assert_eq!(connections.planned, ramped + connections.failed);
    }
    let left = connections.lost + connections.ended + connections.open_at_end;
    assert_eq!(connections.opened, left, "{connections:?}");
    let answered: u64 = result.plan.addresses.iter().map(|address| address.connected).sum();
    let upgrades = result.plan.websocket.is_some();
    if !interrupted {
        assert!(answered == connections.opened || (upgrades && answered > connections.opened));
    }
    let failures: u64 =
        measure::Failure::ALL.into_iter().map(|kind| result.failures.get(kind)).sum();
    assert_eq!(failures, connections.failed + connections.lost, "{:?}", result.failures);
    assert_eq!(messages.sent, messages.received + messages.lost);
    let count = |stage| result.stages.get(stage).map_or(0, |entry| entry.count);
    use measure::Stage;
    if result.plan.websocket.is_some() {
        assert!(count(Stage::Connect) >= connections.opened);
        assert_eq!(count(Stage::Upgrade), connections.opened);
    } else {
        assert_eq!(count(Stage::Connect), connections.opened);
    }
    assert_eq!(count(Stage::Handshake), connections.opened);
    let rules: u64 = result.violations.values().sum();
    assert_eq!(rules, result.failures.protocol, "each has its rule");
    assert_eq!(count(Stage::Response), messages.received);
    assert_eq!(count(Stage::Service), messages.received);
    let whole = if result.plan.http.is_some() { messages.received } else { 0 };
    assert_eq!(count(Stage::FirstByte), whole);
    let audited = result.audit.as_ref().map_or(0, |audit| audit.messages);
    assert_eq!((count(Stage::Outside), count(Stage::ReceiveLag)), (audited, audited));
    assert_eq!(result.audit.is_some(), result.plan.audit_ratio.is_some());
    let first = messages.first_echo.as_ref().map_or(0, |first| first.received);
    assert_eq!(count(Stage::FirstEcho), first);
    let sum = |field: fn(&report::schema::Reactor) -> u64| -> u64 {
        result.reactors.iter().map(field).sum()
    };
    assert_eq!(result.reactors.len() as u64, result.plan.reactors);
    assert_eq!(sum(|reactor| reactor.opened), connections.opened);
    assert_eq!(sum(|reactor| reactor.messages), messages.received + first);
    assert_eq!(sum(|reactor| reactor.stale_events), 0);
    let sum = |field: fn(&report::schema::Second) -> u64| -> u64 {
        result.timeline.iter().map(field).sum()
    };
    assert_eq!(sum(|second| second.opened), connections.opened, "{:?}", result.timeline);
    assert_eq!(sum(|second| second.received), messages.received + first);
    assert_eq!(sum(|second| second.failed), connections.failed + connections.lost);
}
