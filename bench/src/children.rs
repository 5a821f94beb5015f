//! Running the programs to be compared, bounded in time, and reading the JSON they print.

use anyhow::{Context, Result, ensure};
use measure::Nanos;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

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
    fn a_program_that_fails_or_hangs_or_prints_nonsense_is_an_error() {
        let run = |program, argument| {
            run_json::<serde_json::Value>(Path::new(program), [argument], Nanos::from_millis(200))
        };
        assert!(run("false", "").expect_err("fails").to_string().contains("exit status: 1"));
        assert!(run("sleep", "60").expect_err("hangs").to_string().contains("124"));
        assert!(run("echo", "nonsense").expect_err("nonsense").to_string().contains("no result"));
    }
}
