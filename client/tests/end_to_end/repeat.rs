//! `run --repeat`: single results and the merged one, whatever ends the series.

use crate::common::{Running, Server, client, eventually, nobody, parse, read, run};
use report::ResultFile;
use report::compare::comparable::obstacles;
use report::compare::side::Side;
use report::schema::Outcome;
use rustix::process::Signal;
use std::path::{Path, PathBuf};

/// The files of a series in a folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn output(&self) -> String {
        self.path("result.json").to_str().expect("text").to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn merged(&self) -> ResultFile {
        read(&self.path("result.json"))
    }

    fn single(&self, number: usize) -> ResultFile {
        read(&self.path(&format!("result-{number}.json")))
    }

    fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn three_runs_have_a_file_each_and_are_merged() {
    let server = Server::plain();
    let folder = Folder::new();
    let (metrics, output) = (server.metrics(), folder.output());
    let args = ["run", server.url(), "-c", "200", "-r", "1k", "-d", "300ms", "--seed", "7"];
    let more = ["--repeat", "3", "--cool-down", "0", "--peer", &metrics, "-o", &output];
    // The limit is above what one run sends and below what all do: together counts.
    let limit = ["--fail-if", "messages.sent>500"];
    let ran = run(&[&args[..], &more, &limit].concat());
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert_eq!(folder.names(), ["result-1.json", "result-2.json", "result-3.json", "result.json"]);
    let singles = [1, 2, 3].map(|number| folder.single(number));
    for (index, single) in singles.iter().enumerate() {
        let repeat = single.run.repeat.as_ref().expect("its place");
        assert_eq!((repeat.number, repeat.of), (index as u64 + 1, 3));
        assert_eq!((single.run.seed, single.plan.seed), (7 + index as u64, 7 + index as u64));
        assert_eq!((single.connections.opened, single.messages.received), (200, 300));
        assert!(single.verdict.thresholds[0].ok, "by itself it sent 300");
        assert!(single.spread.is_empty() && single.run.parts.is_empty());
        let peer = single.peer.as_ref().expect("a snapshot");
        assert_eq!(peer["accepted"].as_u64(), Some(200 * (index as u64 + 1)));
    }
    let merged = folder.merged();
    assert_eq!((merged.connections.opened, merged.messages.received), (600, 900));
    assert_eq!((merged.connections.open_peak, merged.plan.connections), (200, 200));
    assert_eq!((merged.verdict.exit_code, merged.run.repeat.as_ref()), (4, None));
    let parts: Vec<_> = merged.run.parts.iter().map(|part| &part.id).collect();
    assert_eq!(parts, singles.iter().map(|single| &single.run.id).collect::<Vec<_>>());
    // What was said to be one run's is not that of all since the process began.
    let cpu = |result: &ResultFile| result.resources.client.cpu_seconds.expect("known");
    let sum: f64 = singles.iter().map(cpu).sum();
    assert!((cpu(&merged) - sum).abs() < 1e-9, "{} {sum}", cpu(&merged));
    for name in ["response.p50", "messages.rate_achieved", "connections.rate_per_second"] {
        let spread = merged.spread.iter().find(|one| one.metric == name).expect(name);
        assert_eq!(spread.values.len(), 3);
        assert!(spread.values.iter().all(Option::is_some), "{spread:?}");
    }
    assert!(ran.stdout.contains("spread of 3 runs"), "{}", ran.stdout);
    for said in ["run 1 of 3: ", "run 2 of 3, ", "run 3 of 3: ", "result-3.json"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    // A comparison takes each run once.
    let side = Side::read(folder.0.path()).expect("results");
    assert_eq!((side.runs.len(), side.left_out.len()), (3, 1), "{:?}", side.left_out);
}

#[test]
fn two_series_on_this_machine_are_of_one_machine() {
    let server = Server::plain();
    let series = || {
        let folder = Folder::new();
        let output = folder.output();
        let args = ["run", server.url(), "-c", "30", "-q", "--cool-down", "0", "--repeat", "2"];
        assert_eq!(run(&[&args[..], &["-o", &output]].concat()).code, Some(0));
        folder
    };
    let (base, new) = (series(), series());
    // Other programs open sockets and files meanwhile: readings of a moment make no other machine.
    let _more: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(server.metrics())).collect();
    let more = series();
    let side = |folder: &Folder| Side::read(folder.0.path()).expect("results");
    for new in [&new, &more] {
        assert_eq!(obstacles(&side(&base), &side(new)), [""; 0]);
    }
}

#[test]
fn json_is_the_merged_result_alone_and_a_fresh_seed_is_one_for_each() {
    let server = Server::plain();
    let args = ["run", server.url(), "-c", "20", "--closed", "-d", "50ms", "--json", "-q"];
    let ran = run(&[&args[..], &["--repeat", "2", "--cool-down", "0"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let merged = parse(&ran.stdout).expect("JSON and nothing else");
    assert_eq!((merged.run.parts.len(), merged.connections.opened), (2, 40));
    assert_ne!(merged.run.parts[0].id, merged.run.parts[1].id);
}

#[test]
fn once_is_a_run_like_any_other() {
    let server = Server::plain();
    let folder = Folder::new();
    let output = folder.output();
    let args = ["run", server.url(), "-c", "20", "--repeat", "1", "-o", &output, "-q"];
    assert_eq!(run(&args).code, Some(0));
    assert_eq!(folder.names(), ["result.json"]);
    let result = folder.merged();
    assert!(result.run.parts.is_empty() && result.run.repeat.is_none());
}

#[test]
fn without_a_time_the_sockets_are_waited_for() {
    let server = Server::plain();
    let folder = Folder::new();
    let output = folder.output();
    // Our end closes last, so what is left of a connection waits at the server's: for up to a
    // minute in other services, not here, where a reset takes it away.
    let args = ["run", server.url(), "-c", "400", "--repeat", "2", "-o", &output];
    let ran = run(&args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rest = folder.single(2).run.repeat.expect("its place").cool_down_ns;
    assert!(rest >= 1_000_000_000, "{rest}");
    assert!(
        ran.stderr.contains("run 2 of 2, ") && ran.stderr.contains("cool-down"),
        "{}",
        ran.stderr
    );
}

/// A series whose second run goes on until something happens to it.
fn second_run(server: &Server, folder: &Folder) -> Running {
    let (output, url) = (folder.output(), server.url().to_owned());
    let args = ["run", &url, "-c", "50", "-r", "200", "-d", "3s", "--repeat", "4", "-q"];
    let running =
        Running::start(client(&[&args[..], &["--cool-down", "0", "-o", &output]].concat()));
    eventually("the second run is under way", || {
        server.number("accepted") == 100 && server.number("messages") > 710
    });
    running
}

#[test]
fn an_interrupted_series_writes_what_there_is_and_starts_no_further_run() {
    let server = Server::plain();
    let folder = Folder::new();
    let running = second_run(&server, &folder);
    running.signal(Signal::INT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert_eq!(folder.names(), ["result-1.json", "result-2.json", "result.json"]);
    assert_eq!(folder.single(1).run.outcome, Outcome::Done);
    assert_eq!(folder.single(2).run.outcome, Outcome::Interrupted);
    let merged = folder.merged();
    assert_eq!((merged.run.outcome, merged.verdict.exit_code), (Outcome::Interrupted, 130));
    assert_eq!((merged.connections.opened, merged.run.parts.len()), (100, 2));
    let warning = merged.run.warnings.iter().find(|one| one.code == "repeats_missing");
    assert_eq!(warning.expect("told").text, "2 of 4 runs took place: somebody stopped them");
    assert_eq!(server.number("accepted"), 100);
}

#[test]
fn a_series_that_is_stopped_while_it_rests_is_interrupted_too() {
    let server = Server::plain();
    let folder = Folder::new();
    let output = folder.output();
    let args = ["run", server.url(), "-c", "30", "--repeat", "3", "--cool-down", "1h", "-q"];
    let running = Running::start(client(&[&args[..], &["-o", &output]].concat()));
    eventually("the first run is over", || {
        folder.path("result-1.json").exists() && server.number("connections") == 0
    });
    running.signal(Signal::INT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert_eq!(folder.names(), ["result-1.json", "result.json"]);
    let merged = folder.merged();
    assert_eq!((merged.run.outcome, merged.connections.opened), (Outcome::Interrupted, 30));
    assert!(ran.stdout.contains("1 of 3 runs took place"), "{}", ran.stdout);
    let side = Side::read(folder.0.path()).expect("results");
    assert_eq!(side.runs.len(), 1, "the merged one is the first one");
}

#[test]
fn a_run_that_opens_nothing_ends_the_series_and_one_that_falls_short_does_not() {
    let folder = Folder::new();
    let output = folder.output();
    let repeat = ["--repeat", "3", "--cool-down", "0", "-q", "-o", &output];
    let ran = run(&[&["run", &nobody(), "-c", "30"], &repeat[..]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(folder.names(), ["result-1.json", "result.json"]);
    assert!(
        ran.stdout.contains("1 of 3 runs took place: run 1 opened no connection"),
        "{}",
        ran.stdout
    );
    let server = Server::start(&["tcp://127.0.0.1:0", "--connections-max", "20"]);
    let ran = run(&[&["run", server.url(), "-c", "30"], &repeat[..]].concat());
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let merged = folder.merged();
    assert_eq!((merged.run.outcome, merged.run.parts.len()), (Outcome::NotReached, 3));
    assert!(!merged.run.warnings.iter().any(|warning| warning.code == "repeats_missing"));
}

#[test]
fn a_result_that_cannot_be_written_ends_the_series_and_loses_nothing() {
    let server = Server::plain();
    let (folder, refuge) = (Folder::new(), tempfile::tempdir().expect("a folder"));
    // A folder where the second result should go.
    std::fs::create_dir(folder.path("result-2.json")).expect("made");
    let output = folder.output();
    let args = ["run", server.url(), "-c", "5", "--repeat", "3", "--cool-down", "0", "-q"];
    let mut command = client(&[&args[..], &["-o", &output]].concat());
    command.env("TMPDIR", refuge.path());
    let ran = Running::start(command).finish();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("result-2.json") && ran.stderr.contains("instead"),
        "{}",
        ran.stderr
    );
    let merged = folder.merged();
    assert_eq!((merged.run.parts.len(), merged.connections.opened), (2, 10));
    let kept = names(refuge.path());
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(read(&refuge.path().join(&kept[0])).run.id, merged.run.parts[1].id);
}

#[test]
fn files_of_a_longer_series_before_are_named() {
    let server = Server::plain();
    let folder = Folder::new();
    let output = folder.output();
    let series = |count: &str| {
        let args = ["run", server.url(), "-c", "5", "--cool-down", "0", "--repeat", count];
        run(&[&args[..], &["-o", &output]].concat())
    };
    assert!(!series("3").stderr.contains("earlier"));
    let ran = series("2");
    assert!(ran.stderr.contains("result-3.json is of an earlier series"), "{}", ran.stderr);
}

#[test]
fn websockets_and_http_are_repeated_too() {
    let server = Server::start(&["ws://127.0.0.1:0", "http://127.0.0.1:0"]);
    for (url, rate) in [(&server.urls[0], "2k"), (&server.urls[1], "1k")] {
        let folder = Folder::new();
        let output = folder.output();
        let args = ["run", url, "-c", "40", "-r", rate, "-d", "100ms", "-o", &output];
        let ran = run(&[&args[..], &["--repeat", "2", "--cool-down", "0", "-q"]].concat());
        assert!([Some(0), Some(6)].contains(&ran.code), "{ran:?}");
        let merged = folder.merged();
        assert_eq!((merged.run.parts.len(), merged.connections.opened), (2, 80));
        assert_eq!((merged.messages.lost, merged.messages.mismatched), (0, 0));
    }
}
