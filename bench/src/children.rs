//! Running other programs: clients to their end, bounded in time, and servers until they are
//! stopped; and reading the JSON that both print.

use anyhow::{Context, Result, bail, ensure};
use measure::Nanos;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Runs a program to its end, at most `limit` long (timeout(1) of coreutils sees to that), and
/// reads the one JSON document that it prints. Its messages go to this process's standard error.
pub(crate) fn run_json<T: DeserializeOwned>(
    program: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    limit: Nanos,
) -> Result<T> {
    let seconds = limit.as_secs_f64().to_string();
    let done = Command::new("timeout")
        .args(["--foreground", "--kill-after=5", &seconds])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("timeout(1) could not be started: install coreutils")?;
    let name = program.display();
    // 6 says that the plan was not reached: the result is there, and is judged by its numbers.
    ensure!(
        matches!(done.status.code(), Some(0 | 6)),
        "{name} ended with {}, see its message above",
        done.status
    );
    serde_json::from_slice(&done.stdout)
        .with_context(|| format!("{name} printed no result that can be read"))
}

/// This program, to run the reference side.
pub(crate) fn own_program() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("this program's own file is not known")
}

/// The longest that a server may take until it is ready.
pub(crate) const START_MAX: Duration = Duration::from_secs(30);

/// Where a server listens, as it says in a line of its own for each address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) pid: u32,
    #[serde(default)]
    pub(crate) metrics: Option<String>,
}

/// A server in a process of its own, which ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// What it prints, line by line; disconnected when it has ended.
    lines: Receiver<String>,
    /// How many addresses it has to name before it is ready.
    expected: usize,
    addresses: Vec<Address>,
}

impl Server {
    /// Starts one that has to name so many addresses. What it prints, and its messages, go to the
    /// log; without one the messages go to this process's standard error.
    pub(crate) fn start(command: &mut Command, expected: usize, log: Option<File>) -> Result<Self> {
        let name = command.get_program().display().to_string();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(log) = &log {
            command.stderr(log.try_clone()?);
        }
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let (sender, lines) = channel();
        let mut log = log;
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                // A full disk must not stop the server.
                let _ = log.as_mut().map(|log| writeln!(log, "{line}"));
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, lines, expected, addresses: Vec::new() })
    }

    /// Whether it is ready, or so within this time.
    ///
    /// # Errors
    /// If it never will be: it has ended, or said something else.
    pub(crate) fn is_ready(&mut self, wait: Duration) -> Result<bool> {
        while self.addresses.len() < self.expected {
            match self.lines.recv_timeout(wait) {
                Ok(line) => {
                    let address = serde_json::from_str(&line);
                    self.addresses.push(address.with_context(|| format!("it said: {line}"))?);
                }
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(RecvTimeoutError::Disconnected) => bail!("it has ended"),
            }
        }
        Ok(true)
    }

    /// Where it listens: all that it has named.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits so long for it. Says how it ended; `None`: it did not, and was
    /// killed.
    pub(crate) fn stop(mut self, patience: Duration) -> Option<ExitStatus> {
        terminate(&self.child);
        loop {
            match self.lines.recv_timeout(patience) {
                // Its last words.
                Ok(_) => {}
                // Dropping this kills it.
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().ok(),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a child to end; one that has ended already does not mind.
pub(crate) fn terminate(child: &Child) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}

/// The part of the client's result (`c1000k.result/1`) that is compared here.
#[derive(Debug, Deserialize)]
pub(crate) struct ClientResult {
    pub(crate) connections: Connections,
    pub(crate) messages: Messages,
    /// How evenly messages were sent; the closed model has none.
    #[serde(default)]
    pub(crate) pacing: Option<Pacing>,
    pub(crate) stages: Stages,
    pub(crate) resources: Resources,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Connections {
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    pub(crate) open_seconds: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Messages {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// How long messages were sent, in seconds.
    pub(crate) seconds: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Pacing {
    pub(crate) sent_per_window_max: u64,
    pub(crate) dispersion: Option<f64>,
    pub(crate) dispersion_ideal: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Stages {
    #[serde(default)]
    pub(crate) send_lag: Option<Stage>,
}

/// Nanoseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Stage {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Resources {
    pub(crate) client: Client,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Client {
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_ns_per_message: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_and_what_else_it_says_is_passed_over() {
        let result: serde_json::Value = run_json(
            Path::new("echo"),
            [r#"{"connections": {"opened": 3, "planned": 3}}"#],
            Nanos::from_secs(10),
        )
        .expect("a result");
        assert_eq!(result["connections"]["opened"], 3);
    }

    #[test]
    fn a_server_is_ready_when_it_has_named_its_addresses_and_ends_when_it_is_asked_to() {
        let shell = |script: &str, expected| {
            Server::start(Command::new("sh").args(["-c", script]), expected, None).expect("sh")
        };
        let (long, short) = (Duration::from_secs(10), Duration::from_millis(100));
        let line = r#"echo '{"url": "tcp://127.0.0.1:9", "pid": 7}'"#;
        let mut server = shell(&format!("{line}; {line}; exec sleep 60"), 2);
        assert!(server.is_ready(long).expect("ready"));
        assert_eq!(server.addresses().len(), 2);
        assert_eq!(server.addresses()[0].url, "tcp://127.0.0.1:9");
        assert!(server.stop(long).is_some_and(|status| status.code().is_none()));
        let mut silent = shell("exec sleep 60", 1);
        assert!(!silent.is_ready(short).expect("not yet"));
        assert!(shell("exit 3", 1).is_ready(long).is_err());
        assert!(shell("echo nonsense; exec sleep 60", 1).is_ready(long).is_err());
        let mut deaf = shell(&format!("trap '' TERM; {line}; while :; do sleep 0.05; done"), 1);
        assert!(deaf.is_ready(long).expect("ready"));
        assert_eq!(deaf.stop(short), None);
        let last = format!("trap 'exit 3' TERM; {line}; while :; do sleep 0.05; done");
        let mut failing = shell(&last, 1);
        assert!(failing.is_ready(long).expect("ready"));
        assert_eq!(failing.stop(long).and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn a_program_that_fails_or_hangs_or_prints_nonsense_is_an_error() {
        let run = |program, argument| {
            run_json::<serde_json::Value>(Path::new(program), [argument], Nanos::from_millis(200))
        };
        assert!(run("false", "").expect_err("fails").to_string().contains("exit status: 1"));
        assert!(run("sleep", "60").expect_err("hangs").to_string().contains("124"));
        assert!(run("echo", "nonsense").expect_err("nonsense").to_string().contains("no result"));
    }
}
