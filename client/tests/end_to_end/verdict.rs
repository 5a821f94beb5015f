//! The verdict on the generator with real programs, from both sides, far from every threshold:
//! machines on which tests run do other things as well.

use crate::common::{Server, measure, peer, read, run};
use control::peer::fetch_snapshot;
use measure::Stage;
use report::ResultFile;
use report::schema::Generator;
use std::io::{Read, Write};
use std::time::Duration;

fn rest(millis: u64) {
    let _ = crossbeam_channel::after(Duration::from_millis(millis)).recv();
}

fn verdict(result: &ResultFile) -> &Generator {
    result.generator.as_ref().expect("every run is judged")
}

fn is_not_marked(result: &ResultFile) {
    let verdict = verdict(result);
    assert!(!verdict.limited && verdict.reasons.is_empty(), "{verdict:?} {:?}", result.reactors);
}

#[test]
fn a_client_asked_for_more_than_a_core_can_do_is_marked() {
    let server = Server::plain();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("result.json");
    let (metrics, output) = (server.metrics(), path.to_str().expect("text"));
    let args = ["run", server.url(), "-c", "200", "--reactors", "1", "-r", "5m", "-d", "500ms"];
    let ran = run(&[&args[..], &["-q", "--peer", &metrics, "-o", output]].concat());
    let result = read(&path);
    let verdict = verdict(&result);
    assert!(verdict.limited && verdict.demand_max > 0.9, "{verdict:?} {:?}", result.reactors);
    assert!(verdict.reasons.iter().all(|reason| result.run.warnings.contains(reason)));
    // It would have been marked without the server's word, which is added.
    assert!(verdict.reasons[0].text.contains("the server"), "{verdict:?}");
    assert!(verdict.own_lag.as_ref().is_some_and(|lag| lag.p99 > 1_000_000), "{verdict:?}");

    // The first lines say so.
    let head: Vec<&str> = ran.stdout.lines().take(8).collect();
    assert!(head.iter().any(|line| line.starts_with("generator    CLIENT-LIMITED: ")), "{head:?}");
    let told = ["(client_busy)", "(client_waits)"].map(|code| ran.stdout.matches(code).count());
    assert_eq!(told.iter().sum::<usize>(), 1, "once, not among the warnings again: {}", ran.stdout);
}

#[test]
fn a_closed_model_at_full_speed_fills_its_one_core_and_is_marked() {
    // So many are on their way that there is always a reply to read.
    let server = Server::plain();
    let args = ["-c", "500", "--reactors", "1", "--closed", "--in-flight", "32", "-d", "500ms"];
    let (_, result) = measure(&[&[server.url()], &args[..]].concat());
    // Where others have taken the server's cores it may be the server that was at its end.
    let verdict = verdict(&result);
    assert_eq!(verdict.limited, verdict.demand_max >= 0.9, "{verdict:?}");
}

#[test]
fn a_server_that_takes_its_time_is_not_the_clients_fault() {
    // Ten connections that take 300 ms for each message, one after the other: 33 a second of 50
    // asked.
    let url = peer(|mut stream| {
        let mut message = [0; 32];
        while stream.read_exact(&mut message).is_ok() {
            rest(300);
            if stream.write_all(&message).is_err() {
                return;
            }
        }
    });
    let args = ["-c", "10", "--reactors", "1", "-r", "50", "-d", "1s", "--no-first-echo"];
    let (_, result) = measure(&[&[url.as_str()], &args[..]].concat());
    assert!(result.stages.get(Stage::Response).is_some_and(|entry| entry.min >= 300_000_000));
    is_not_marked(&result);
}

#[test]
fn a_server_that_never_answers_is_not_the_clients_fault() {
    let url = peer(|mut stream| while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {});
    let args = ["-c", "8", "--reactors", "1", "-r", "100", "-d", "300ms", "--timeout", "500ms"];
    let (_, result) = measure(&[&[url.as_str()], &args[..], &["--no-first-echo"]].concat());
    assert_eq!(result.messages.received, 0);
    is_not_marked(&result);
    let told = result.run.warnings.iter().find(|warning| warning.code == "rate_not_reached");
    assert!(told.expect("it was not").remedy.starts_with("connections were lost"));
}

#[test]
fn a_server_that_stands_still_for_most_of_the_time_is_not_the_clients_fault() {
    let server = Server::plain();
    let stalling = server.stalling(Duration::from_millis(700), Duration::from_millis(300));
    let args = ["-c", "50", "--reactors", "1", "-r", "200", "-d", "3s", "--no-first-echo"];
    let (_, result) = measure(&[&[server.url()], &args[..]].concat());
    drop(stalling);
    let response = result.stages.get(Stage::Response).expect("answers");
    assert!(response.p90 > 300_000_000, "it stood still: {response:?}");
    is_not_marked(&result);
}

#[test]
fn both_ends_tell_how_they_shared_the_work() {
    let server = Server::plain();
    let peer = ["--peer", &server.metrics()];
    let args = ["-c", "64", "--reactors", "2", "-r", "2k", "-d", "500ms"];
    let (_, result) = measure(&[&[server.url()], &args[..], &peer].concat());
    let client = result.balance.client.as_ref().expect("its own");
    assert_eq!(client.reactors, 2);
    assert_eq!(client.opened.map(|one| (one.index, one.variation)), Some((1.0, 0.0)));
    assert!(client.cpu.is_some_and(|one| (1.0..=2.0).contains(&one.index)), "{client:?}");
    let theirs = result.balance.server.as_ref().expect("the server's");
    assert_eq!(theirs.reactors, 2);
    let accepts = theirs.opened.expect("it has accepted").index;
    let snapshot =
        fetch_snapshot(server.metrics().parse().expect("address"), Duration::from_secs(30));
    let skew = snapshot.expect("a snapshot")["accept_skew"].as_f64().expect("a number");
    assert!((accepts - skew).abs() < 1e-9, "{accepts} and {skew}");
    assert!(theirs.messages.is_some() && theirs.turn_p99_ns.is_some(), "{theirs:?}");
    assert!(theirs.busy_max.is_some_and(|busy| busy > 0.0 && busy <= 1.0), "{theirs:?}");
    for one in &result.reactors {
        let (delay, turn) = (one.loop_delay.expect("recorded"), one.turn.expect("recorded"));
        // A message is due each millisecond; a turn that is late serves several.
        assert!(delay.count > 1 && turn.count > 1 && delay.p99_ns <= delay.max_ns, "{one:?}");
        assert!(one.cpu_seconds.is_some_and(|seconds| seconds > 0.0), "{one:?}");
        assert!(one.voluntary_switches.is_some_and(|count| count > 0), "{one:?}");
        assert!(one.send_lag_p99_ns.is_some(), "{one:?}");
    }
    let verdict = verdict(&result);
    let turns =
        |of: fn(&report::schema::Reactor) -> u64| result.reactors.iter().map(of).sum::<u64>();
    assert_eq!(
        verdict.turn.as_ref().map(|all| all.count),
        Some(turns(|one| one.turn.expect("it").count))
    );
}
