//! Odd surroundings: a client that is killed, outputs and inputs that are no files, limits of file
//! sizes, a system that shows nothing of itself.

use crate::common::{Ran, Running, Server, client, command, eventually, measure, parse, run};
use measure::Stage;
use report::schema::Outcome;
use report::{ResultFile, store};
use rustix::process::Signal;
use std::fs;
use std::path::Path;

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Runs the client from a shell, where `$0` is the client.
fn shell(script: &str, args: &[&str]) -> Ran {
    let mut shell = command("bash");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_c1000k-client")]).args(args);
    Running::start(shell).finish()
}

#[test]
fn a_client_that_is_killed_leaves_its_seconds_and_one_that_ends_leaves_its_result_alone() {
    let server = Server::plain();
    let folder = tempfile::tempdir().expect("a folder");
    let (out, part) = (folder.path().join("r.json"), folder.path().join("r.json.part"));
    let args = ["run", server.url(), "-c", "20", "-r", "200", "-d", "60s", "-q", "--label", "cut"];
    let running = Running::start(client(&[&args[..], &["-o", text(&out)]].concat()));
    let mut last = ResultFile::default();
    eventually("some seconds are there", || {
        last = store::read(&part).unwrap_or_default();
        last.messages.received > 300
    });
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code, None, "killed");
    let left = store::read(&part).expect("a result");
    assert!(left.messages.received >= last.messages.received);
    assert_eq!((left.run.outcome, left.run.label.as_deref()), (Outcome::Interrupted, Some("cut")));
    assert_eq!(left.run.warnings[0].code, "unfinished");
    assert_eq!((left.connections.opened, left.connections.open_at_end), (20, 20));
    let seconds: Vec<u64> = left.timeline.iter().map(|second| second.second).collect();
    assert_eq!(seconds, (0..seconds.len() as u64).collect::<Vec<_>>());
    assert!(seconds.len() >= 2, "{seconds:?}");
    let first = left.timeline.iter().map(|second| second.received).sum::<u64>();
    assert_eq!(first, left.messages.received + 20, "and the first echoes");
    let response = left.stages.get(Stage::Response).expect("measured");
    assert_eq!(response.count, left.messages.received);
    assert!(
        (100.0..300.0).contains(&left.messages.rate_achieved),
        "{}",
        left.messages.rate_achieved
    );
    let shown = report::text::summary(&left, report::text::WIDTH);
    assert!(shown.contains("cut off before its end") && !shown.contains("honest"), "{shown}");

    let ran = run(&["run", server.url(), "-c", "5", "-q", "-o", text(&out)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let names: Vec<_> = fs::read_dir(folder.path()).expect("listed").collect();
    assert_eq!(names.len(), 1, "the result, and no part: {names:?}");
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_told_once_and_ends_nothing() {
    let server = Server::plain();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("r.json");
    fs::create_dir(folder.path().join("r.json.part")).expect("in its way");
    let args = ["run", server.url(), "-c", "5", "--hold", "5s", "-o", text(&out)];
    let ran = run(&args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.stderr.matches("a checkpoint could not be written").count(),
        1,
        "{}",
        ran.stderr
    );
    let result = store::read(&out).expect("a result");
    assert!(result.run.warnings.iter().any(|warning| warning.code == "checkpoint"));
}

#[test]
fn a_dash_is_stdout() {
    let server = Server::plain();
    let ran = run(&["run", server.url(), "-c", "5", "-q", "-o", "-"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(parse(&ran.stdout).expect("the result alone").connections.opened, 5);
    assert!(!Path::new("-").exists() && !Path::new("-.part").exists());
    let args =
        ["run", server.url(), "-c", "5", "-q", "-o", "-", "--repeat", "2", "--cool-down", "0"];
    let ran = run(&args);
    assert_eq!(
        store::parse(Path::new("-"), ran.stdout.as_bytes()).expect("one").run.parts.len(),
        2
    );
}

#[test]
fn outputs_that_are_no_files_are_refused_or_streamed() {
    let server = Server::plain();
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(command("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let ran = run(&["run", server.url(), "-c", "2", "-q", "-o", text(&pipe)]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("that is a pipe: name a file, or give -"), "{}", ran.stderr);
    let ran = shell(
        r#""$0" run "$1" -c 2 -q -o >(cat >"$2") >/dev/null; e=$?; wait $!; exit $e"#,
        &[server.url(), text(&folder.path().join("copy"))],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    eventually("it is streamed", || store::read(&folder.path().join("copy")).is_ok());
    let ran = run(&["run", server.url(), "-c", "2", "-q", "-o", "/dev/full"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("the disk is full"), "{}", ran.stderr);
    // A link into a folder that is not there.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("missing/r.json", &link).expect("linked");
    let ran = run(&["run", server.url(), "-c", "2", "-q", "-o", text(&link)]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("missing"), "{}", ran.stderr);
    // One that leads to itself.
    let link = folder.path().join("loop");
    std::os::unix::fs::symlink("loop", &link).expect("linked");
    let ran = run(&["run", server.url(), "-c", "2", "-q", "-o", text(&link)]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("it cannot be used"), "{}", ran.stderr);
}

#[test]
fn inputs_that_are_no_files_are_read_within_bounds_and_can_be_left() {
    let server = Server::start(&["http://127.0.0.1:0", "--reactors", "1"]);
    let few = ["run", server.url(), "-c", "2", "-q"];
    for option in ["--paths", "--body-file"] {
        let ran = run(&[&few[..], &[option, "/dev/zero"]].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("larger than 16 MiB"), "{}", ran.stderr);
    }
    let ran =
        shell(r#""$0" run "$1" -c 2 --json -q --paths <(echo /; echo /healthz)"#, &[server.url()]);
    let result = parse(&ran.stdout).expect("a result");
    assert_eq!(result.plan.http.expect("http").paths, 2);
    let ran = run(&[&few[..], &["--paths", "/dev/stdin", "--repeat", "2"]].concat());
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("can be read once: name a file"), "{}", ran.stderr);
    // A pipe into which nobody writes: whoever waits can leave.
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(command("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let waiting = Running::start(client(&[&few[..], &["--paths", text(&pipe)]].concat()));
    let _ = crossbeam_channel::after(std::time::Duration::from_millis(300)).recv();
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.finish().code, None, "ended by the signal");
}

#[test]
fn a_limit_of_file_sizes_is_an_error_and_not_the_end_of_the_program() {
    let server = Server::plain();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("r.json");
    let script = r#"ulimit -f 1; TMPDIR="$3" exec "$0" run "$1" -c 5 -q -o "$2""#;
    let ran = shell(script, &[server.url(), text(&out), text(folder.path())]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("files may not be so large here (ulimit -f)"), "{}", ran.stderr);
    assert!(ran.stdout.contains("5 of 5 opened"), "the summary is there: {}", ran.stdout);
    let left = fs::read_dir(folder.path()).expect("listed").count();
    assert_eq!(left, 0, "nothing half-written is left");
}

#[test]
fn without_proc_what_is_not_known_is_null_and_said() {
    let server = Server::plain();
    // An own mount namespace, where that is allowed.
    let empty = tempfile::tempdir().expect("a folder");
    let hide = r#"mount --bind "$2" /proc 2>/dev/null || exit 77
                  exec "$0" run "$1" -c 5 -q --json --force"#;
    let mut hidden = command("unshare");
    hidden.args(["-m", "--propagation", "private", "bash", "-c", hide]);
    hidden.args([env!("CARGO_BIN_EXE_c1000k-client"), server.url(), text(empty.path())]);
    let ran = Running::start(hidden).finish();
    if ran.code == Some(77) || ran.stderr.contains("unshare") {
        println!("skipped: no mount namespace can be made here: {}", ran.stderr);
        return;
    }
    let result = parse(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let own = &result.resources.client;
    assert_eq!((own.rss_bytes_before, own.rss_bytes, own.bytes_per_connection), (None, None, None));
    assert!(result.run.warnings.iter().any(|warning| warning.code == "no_proc"));
    assert!(result.reactors.iter().all(|reactor| reactor.wait_ratio.is_none()));
    assert!(result.host["memory"].is_null() && result.host["sockets"].is_null(), "{}", result.host);
    let shown = report::text::summary(&result, report::text::WIDTH);
    assert!(!shown.contains(" 0 B"), "{shown}");
}

#[test]
fn a_rate_that_gives_no_message_is_refused() {
    let url = "tcp://127.0.0.1:9";
    for (rate, duration) in [("0.001", "1s"), ("1", "100ms")] {
        let ran = run(&["run", url, "-r", rate, "-d", duration]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("which is none: give a higher rate"), "{}", ran.stderr);
    }
}

#[test]
fn the_probe_of_the_machine_is_in_every_result_with_traffic() {
    let server = Server::plain();
    let (_, result) = measure(&[server.url(), "-c", "5", "-r", "100", "-d", "1s"]);
    let probe = serde_json::to_value(&result).expect("JSON")["generator"]["host_probe"].clone();
    assert!(probe["count"].as_u64().is_some_and(|count| count > 0), "{probe}");
}
