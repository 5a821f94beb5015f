//! Golden results: runs on the simulated network, from the command line to the result file,
//! compared byte for byte with those in `client/tests/golden/`. What differs from run to run or
//! from machine to machine (times of day, facts of the host, CPU and memory) is put to fixed
//! values.
//!
//! A change that is meant to change results writes them anew, and shows in its diff what it does to
//! them:
//!
//! ```text
//! C1000K_REWRITE_GOLDEN=1 cargo test --workspace --lib golden
//! ```

use super::file::save;
use super::result_of;
use crate::cli::{Cli, Command, RunArgs};
use crate::conductor::crew_tests::{Serving, Simulated};
use crate::conductor::{Conductor, Measured};
use crate::driver::http_tests::Script;
use crate::plan::Plan;
use clap::Parser;
use control::live::{Mode, Progress};
use host::facts::Facts;
use host::schedule::Switches;
use measure::{Nanos, Stage};
use report::ResultFile;
use report::schema::{PhaseTotals, Stages};
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// The variable that has the files written instead of compared.
const REWRITE: &str = "C1000K_REWRITE_GOLDEN";

const CLOSING: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

fn arguments(line: &str) -> RunArgs {
    let common =
        "--seed 42 --cores 0,1 --reactors 2 --source-ip 127.0.0.2 --source-ports 20000-29999 -q";
    let line = format!("c1000k-client run {line} {common}");
    match Cli::parse_from(line.split_whitespace()).command {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

/// Facts of no machine in particular.
fn facts() -> Facts {
    Facts {
        cpus_allowed: vec![0, 1],
        descriptors_soft: 1_000_000,
        descriptors_hard: 1_000_000,
        port_range: (20_000, 59_999),
        ..Facts::read()
    }
}

/// The measurements without what the machine adds to them.
fn without_machine(measured: &mut Measured) {
    measured.walls.clear();
    for last in measured.finals.values_mut() {
        last.cpu = Nanos::from_millis(120);
        let effort = &mut last.effort;
        (effort.cpu, effort.waited) = (Nanos::from_millis(80), Some(Nanos::from_millis(3)));
        effort.switches = Some(Switches { voluntary: 70, involuntary: 5 });
    }
}

/// The result of a run, as it is written to a file.
fn golden(line: &str, serving: Serving) -> String {
    let facts = facts();
    let plan = Plan::new(&arguments(line), &facts).expect("a plan");
    let crew = Simulated::of(&plan, serving);
    let progress = Progress::new(Mode::detect(plan.output.quiet));
    let mut measured = Conductor::new(&plan, crew, progress).measure();
    without_machine(&mut measured);
    let started = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut result = result_of(&plan, &facts, &[0, 1], measured, started);
    save(&plan, &mut result).expect("nothing to write");
    result.run.ended = "then".to_owned();
    result.run.command = line.split(' ').map(str::to_owned).collect();
    result.tool.version = "0".to_owned();
    result.tool.commit = None;
    result.host = serde_json::json!({ "kernel_release": "none" });
    let text = serde_json::to_string_pretty(&result).expect("JSON");
    serde_json::from_str::<ResultFile>(&text).expect("a result");
    phases_add_up(&result);
    text + "\n"
}

/// What is said of the phases is what is said of the whole, in parts.
fn phases_add_up(result: &ResultFile) {
    let sum = |of: fn(&PhaseTotals) -> u64| -> u64 {
        result.phases.iter().map(|phase| of(&phase.totals)).sum()
    };
    let ResultFile { connections, messages, .. } = result;
    assert_eq!(sum(|it| it.opened), connections.opened);
    assert_eq!(sum(|it| it.failed), connections.failed);
    assert_eq!(sum(|it| it.lost), connections.lost);
    assert_eq!(sum(|it| it.ended), connections.ended);
    assert_eq!(sum(|it| it.mismatched), messages.mismatched);
    let first = messages.first_echo.clone().unwrap_or_default();
    assert_eq!(sum(|it| it.sent), messages.sent + first.sent);
    assert_eq!(sum(|it| it.received), messages.received + first.received);
    assert_eq!(sum(|it| it.unserved), messages.unserved + first.unserved);
    let unanswered = sum(|it| it.unanswered);
    assert_eq!(sum(|it| it.sent), sum(|it| it.received) + unanswered);
    assert_eq!(messages.lost, unanswered - (first.sent - first.received));
    for stage in Stage::ALL {
        let count = |stages: &Stages| stages.get(stage).map_or(0, |entry| entry.count);
        let parts: u64 = result.phases.iter().map(|phase| count(&phase.stages)).sum();
        assert_eq!(parts, count(&result.stages), "{}", stage.name());
    }
}

fn compare(name: &str, line: &str, serving: Serving) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    let result = golden(line, serving);
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&path, result).expect("written");
        return;
    }
    let kept = fs::read_to_string(&path).expect("a golden file");
    let lines = || kept.lines().zip(result.lines());
    let first = lines().position(|(kept, now)| kept != now);
    let at = first.unwrap_or_else(|| kept.lines().count().min(result.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(nothing)").to_owned();
    assert!(
        kept == result,
        "{name}, line {}: kept is\n{}\nand now it is\n{}\n({REWRITE}=1 keeps what is now)",
        at + 1,
        line(&kept),
        line(&result)
    );
}

fn answering(answer: &[u8], requests: usize, last: &[u8]) -> Serving {
    let script = Script { requests, last: last.to_vec(), ..Script::always(answer) };
    Serving { script, ..Serving::default() }
}

const TCP: &str = "tcp://127.0.0.1:9000";
const WS: &str = "ws://127.0.0.1:9000/chat";
const HTTP: &str = "http://127.0.0.1:9000/a";
const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn tcp_results_are_golden() {
    let run = |name, options, serving| compare(name, &format!("{TCP} {options}"), serving);
    run("tcp-idle", "-c 40 --connect-rate 4000 --hold 300ms", Serving::default());
    run("tcp-open", "-c 40 -r 900 -d 2s --audit 20% --fail-if response.p99>1s", Serving::default());
    run("tcp-poisson", "-c 20 -r 1200 -d 1s --arrivals poisson --audit off", Serving::default());
    run("tcp-closed", "-c 8 --closed --in-flight 4 -d 40ms -s 200", Serving::default());
    let full = Serving { connections_max: 30, ..Serving::default() };
    run("tcp-refused", "-c 40 -r 400 -d 500ms --timeout 2s", full);
    let nobody = Serving { connections_max: 0, ..Serving::default() };
    run("tcp-nobody", "-c 40 -r 400 -d 500ms --timeout 2s", nobody);
    let stopped = Serving { stop_at: Some(Nanos::from_millis(1_200)), ..Serving::default() };
    run("tcp-interrupted", "-c 40 -r 400 -d 3s --hold 1s", stopped);
}

#[test]
fn websocket_results_are_golden() {
    let run = |name, options| compare(name, &format!("{WS} {options}"), Serving::default());
    run("ws-idle", "-c 20 --no-first-echo --hold 100ms");
    run("ws-open", "-c 20 -r 600 -d 1s --ping 250ms --audit 100%");
    run("ws-closed", "-c 8 --closed --in-flight 2 -d 40ms --text --fragment 40");
}

#[test]
fn http_results_are_golden() {
    let run = |name, options, serving| compare(name, &format!("{HTTP} {options}"), serving);
    run("http-idle", "-c 20", Serving::default());
    run("http-open", "-c 20 -r 600 -d 1s --audit 100%", answering(SIZED, 7, CLOSING));
    run("http-closed", "-c 8 --closed --pipeline 3 -d 40ms", answering(SIZED, 9, UNAVAILABLE));
    run("http-churn-open", "-c 20 -r 600 -d 1s --close", answering(SIZED, 1, CLOSING));
    run("http-churn-closed", "-c 6 --closed -d 50ms --close", answering(SIZED, 1, CLOSING));
    run("http-dropped", "-c 10 -r 300 -d 500ms", answering(SIZED, 5, SIZED));
}
