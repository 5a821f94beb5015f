//! Runs that go well: both models, tables of either kind, many reactors, targets and sources.

use crate::common::{Ran, Server, has_ipv6, measure, parse, read, run};
use report::ResultFile;
use report::schema::{Arrivals, FdTables, Model, Outcome};

/// All that a run has to have reached. One thing is forgiven: where the machine is busy with other
/// things the last messages of a short run leave late, which lowers the rate though all came back.
fn reached(ran: &Ran, result: &ResultFile, connections: u64) {
    let messages = &result.messages;
    let late = messages.planned == Some(messages.received)
        && messages.rate_planned.is_some_and(|rate| messages.rate_achieved < rate);
    let (outcome, code) =
        if late { (result.run.outcome, result.verdict.exit_code) } else { (Outcome::Done, 0) };
    assert!([0, 6].contains(&code), "{code}");
    assert_eq!((result.run.outcome, ran.code), (outcome, Some(code.into())), "{ran:?}");
    let made = &result.connections;
    assert_eq!((made.planned, made.opened, made.lost), (connections, connections, 0));
    assert_eq!((made.open_peak, made.open_at_end), (connections, connections));
    let first = messages.first_echo.as_ref().expect("a first echo");
    assert_eq!(
        (first.planned, first.sent, first.received),
        (connections, connections, connections)
    );
    assert_eq!((messages.lost, messages.mismatched), (0, 0));
}

#[test]
fn an_open_model_over_thousands_of_connections_and_own_tables() {
    let server = Server::start(&["tcp://127.0.0.1:0", "--reactors", "3", "--backlog", "4k"]);
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("result.json");
    let output = path.to_str().expect("text");
    let ran = run(&[
        "run",
        server.url(),
        "-c",
        "3k",
        "--reactors",
        "4",
        "-r",
        "2k",
        "-d",
        "500ms",
        "--label",
        "three thousand",
        "--seed",
        "7",
        "--peer",
        &server.metrics(),
        "-o",
        output,
    ]);
    let result = read(&path);
    reached(&ran, &result, 3_000);
    assert_eq!((result.messages.planned, result.messages.received), (Some(1_000), 1_000));
    assert_eq!((result.run.seed, result.run.label.as_deref()), (7, Some("three thousand")));
    assert_eq!((result.plan.model, result.plan.fd_tables), (Model::Open, FdTables::Own));
    assert_eq!(result.reactors.iter().map(|r| r.opened).collect::<Vec<_>>(), [750; 4]);
    assert!(result.reactors.iter().all(|reactor| reactor.core.is_some()));
    let theirs = result.resources.server.as_ref().expect("the server's own figures");
    assert!(theirs.rss_bytes.is_some_and(|bytes| bytes > 0));
    let peer = result.peer.as_ref().expect("the server's snapshot");
    assert_eq!(peer["accepted"].as_u64(), Some(3_000));
    // Text for people: the summary, and where the file is.
    assert!(ran.stdout.contains("3,000"), "{}", ran.stdout);
    assert!(ran.stdout.contains("result.json"), "{}", ran.stdout);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("folder").count(),
        1,
        "nothing else is left"
    );
}

#[test]
fn a_closed_model_over_shared_tables() {
    let shared = ["--reactors", "2", "--fd-table", "shared"];
    let server = Server::start(&[&["tcp://127.0.0.1:0"], &shared[..]].concat());
    let args = ["-c", "2k", "--closed", "--in-flight", "2", "-s", "100", "-d", "300ms"];
    let (ran, result) = measure(&[&[server.url()], &shared[..], &args].concat());
    reached(&ran, &result, 2_000);
    assert_eq!((result.plan.fd_tables, result.plan.in_flight), (FdTables::Shared, Some(4_000)));
    assert!(result.messages.received >= 4_000, "{:?}", result.messages);
    assert_eq!(result.messages.bytes_received, result.messages.received * 100);
    assert!(result.run.warnings.iter().any(|warning| warning.code == "closed_model"));
}

#[test]
fn several_targets_several_sources_and_steering() {
    let mut args = vec!["tcp://127.0.0.1:0", "tcp://127.0.0.1:0", "--steer", "cpu"];
    if has_ipv6() {
        args.push("tcp://[::1]:0");
    }
    let server = Server::start(&args);
    let mut args: Vec<&str> = server.urls.iter().map(String::as_str).collect();
    args.extend(["-c", "900", "--reactors", "3", "-r", "1k", "-d", "200ms"]);
    let sources = ["127.0.0.5-127.0.0.6", "127.0.0.9", "::1"];
    let usable = if has_ipv6() { 3 } else { 2 };
    args.extend(sources[..usable].iter().flat_map(|source| ["--source-ip", *source]));
    let (ran, result) = measure(&args);
    reached(&ran, &result, 900);
    assert_eq!(result.plan.sources.len(), usable + 1);
    assert_eq!(server.number("accepted"), 900);
}

#[test]
fn over_ipv6() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start(&["tcp://[::1]:0"]);
    let (ran, result) = measure(&[server.url(), "-c", "500", "--closed", "-d", "100ms"]);
    reached(&ran, &result, 500);
    assert_eq!(result.plan.sources, ["::1"]);
}

#[test]
fn more_reactors_than_connections_keep_the_plan() {
    let server = Server::plain();
    let (ran, result) =
        measure(&[server.url(), "-c", "2", "--reactors", "5", "-r", "500", "-d", "200ms"]);
    reached(&ran, &result, 2);
    assert_eq!(result.messages.sent, 100);
}

#[test]
fn arrivals_are_as_asked_and_every_open_run_says_how_it_kept_to_them() {
    let server = Server::plain();
    let args = [server.url(), "-c", "50", "--reactors", "3", "-r", "2k", "-d", "500ms"];
    for (arrivals, expected) in [("uniform", Arrivals::Uniform), ("poisson", Arrivals::Poisson)] {
        let (ran, result) =
            measure(&[&args[..], &["--arrivals", arrivals, "--seed", "5"]].concat());
        reached(&ran, &result, 50);
        // The plan has as many messages either way.
        assert_eq!((result.messages.planned, result.messages.sent), (Some(1_000), 1_000));
        let pacing = result.pacing.as_ref().expect("an open model");
        assert_eq!((result.plan.arrivals, pacing.arrivals), (expected, expected));
        assert_eq!((pacing.window_ns, pacing.windows), (1_000_000, 500));
        assert!((1..=1_000).contains(&pacing.sent_per_window_max));
        // On a busy machine the last ones may leave behind the last window.
        assert!(pacing.sent_per_window_mean > 0.0 && pacing.sent_per_window_mean <= 2.0);
        assert!(pacing.dispersion.is_some() && pacing.rate_error <= 1e-9, "{pacing:?}");
        let ideal = pacing.dispersion_ideal.expect("of the plan alone");
        match expected {
            Arrivals::Uniform => assert_eq!(ideal, 0.0),
            // By its seed always the same; the standard error is 0.06.
            Arrivals::Poisson => assert!((ideal - 1.0).abs() < 0.25, "{ideal}"),
        }
    }
    let (_, result) = measure(&[server.url(), "-c", "5", "--closed", "-d", "100ms"]);
    assert_eq!(result.pacing, None);
}

#[test]
fn connections_come_at_the_rate_that_was_asked_for_and_are_held() {
    let server = Server::plain();
    let (ran, result) = measure(&[
        server.url(),
        "-c",
        "200",
        "--connect-rate",
        "1k",
        "--reactors",
        "2",
        "--no-first-echo",
        "--hold",
        "200ms",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!((result.plan.model, result.connections.opened), (Model::None, 200));
    assert_eq!((result.messages.first_echo.is_some(), result.messages.sent), (false, 0));
    // The last of 200 is due after 199 ms, and never earlier.
    assert!(result.connections.open_seconds >= 0.198, "{:?}", result.connections);
    eventually_empty(&server);
}

fn eventually_empty(server: &Server) {
    crate::common::eventually("the server is left by all", || server.number("connections") == 0);
}

#[test]
fn json_is_all_that_stdout_gets_and_quiet_is_quiet() {
    let server = Server::plain();
    let args = [server.url(), "-c", "10", "--closed", "-d", "50ms"];
    let ran = run(&[&["run", "--json"], &args[..]].concat());
    parse(&ran.stdout).expect("JSON and nothing else");
    assert!(ran.stderr.contains("10 connections"), "progress goes to stderr: {}", ran.stderr);
    let ran = run(&[&["run", "-q"], &args[..]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(!ran.stdout.is_empty());
}

#[test]
fn a_missed_threshold_is_exit_code_4() {
    let server = Server::plain();
    let args = [server.url(), "-c", "10", "--closed", "-d", "50ms"];
    let missed = ["--fail-if", "response.p99>1ns", "--fail-if", "connections.failed>0"];
    let (ran, result) = measure(&[&args[..], &missed].concat());
    assert_eq!((ran.code, result.verdict.exit_code), (Some(4), 4));
    let ok: Vec<bool> = result.verdict.thresholds.iter().map(|threshold| threshold.ok).collect();
    assert_eq!(ok, [false, true]);
    let (ran, _) = measure(&[&args[..], &["--fail-if", "response.p99>1h"]].concat());
    assert_eq!(ran.code, Some(0));
}

#[test]
fn thresholds_reach_single_phases() {
    let server = Server::plain();
    let args = [server.url(), "-c", "10", "--closed", "-d", "50ms"];
    let limits = ["phase.drive.response.p99>1ns", "phase.drive.lost>0", "phase.ramp.opened<10"];
    let limits: Vec<_> = limits.iter().flat_map(|limit| ["--fail-if", *limit]).collect();
    let (ran, result) = measure(&[&args[..], &limits].concat());
    assert_eq!((ran.code, result.verdict.exit_code), (Some(4), 4));
    let ok: Vec<bool> = result.verdict.thresholds.iter().map(|threshold| threshold.ok).collect();
    assert_eq!(ok, [false, true, true]);
    let names: Vec<_> = result.phases.iter().map(|phase| phase.name.as_str()).collect();
    let all = ["ramp", "settle", "first_echo", "audit_before", "drive", "audit_behind", "drain"];
    assert_eq!(names, all);
}

#[test]
fn the_same_seed_is_the_same_plan() {
    let server = Server::plain();
    let args = [server.url(), "-c", "5", "--seed", "99"];
    let (_, first) = measure(&args);
    let (_, second) = measure(&args);
    assert_eq!(first.plan, second.plan);
    assert_ne!(first.run.id, second.run.id);
}
