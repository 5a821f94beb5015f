//! Runs in bad weather: each ends with the right code and a result in which nothing is missing.

use crate::common::{Running, Server, client, eventually, measure, nobody, peer, read, run};
use measure::{Clock, Stage};
use report::schema::Outcome;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A run that goes on until something happens to it, with its traffic under way.
fn long_run(server: &Server, more: &[&str]) -> Running {
    let args = ["run", server.url(), "-c", "50", "--reactors", "2", "-r", "1k", "-d", "60s", "-q"];
    let running = Running::start(client(&[&args[..], more].concat()));
    // 50 first echoes, and then some.
    eventually("the traffic is under way", || server.number("messages") > 150);
    running
}

#[test]
fn an_interrupted_run_still_writes_its_result() {
    let server = Server::plain();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("r.json");
    let running = long_run(&server, &["-o", path.to_str().expect("text")]);
    running.signal(Signal::INT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(130), "{ran:?}");
    let result = read(&path);
    assert_eq!((result.run.outcome, result.verdict.exit_code), (Outcome::Interrupted, 130));
    assert_eq!((result.connections.opened, result.connections.lost), (50, 0));
    assert!(result.messages.received > 100 && result.messages.lost == 0, "{:?}", result.messages);
}

#[test]
fn the_second_signal_ends_a_run_that_still_waits_for_replies() {
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    let url = peer(move |mut stream| {
        // Reads and never answers.
        while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("r.json");
    let output = path.to_str().expect("text");
    let args = ["run", &url, "-c", "5", "--closed", "-d", "60s", "--timeout", "50s", "-q"];
    let more = ["--no-first-echo", "-o", output];
    let running = Running::start(client(&[&args[..], &more].concat()));
    eventually("all have sent", || heard.load(Ordering::Relaxed) == 5);
    let clock = Clock::start();
    running.signal(Signal::INT);
    eventually("the first is taken", || running.has_taken_signals());
    running.signal(Signal::INT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(clock.now() < measure::Nanos::from_secs(4), "the drain alone takes 5 s");
    let result = read(&path);
    assert_eq!(result.run.outcome, Outcome::Interrupted);
    assert_eq!((result.messages.sent, result.messages.lost), (5, 5));
}

#[test]
fn a_reader_that_leaves_early_changes_no_exit_code() {
    let server = Server::plain();
    for (more, code) in [(&[][..], 0), (&["--json"], 0), (&["--fail-if", "response.p50>1ns"], 4)] {
        let args = ["run", server.url(), "-c", "5", "--closed", "-d", "50ms"];
        let mut command = client(&[&args[..], more].concat());
        let (reader, writer) = std::io::pipe().expect("pipe");
        drop(reader);
        let ran = Running::start({
            command.stdout(Stdio::from(writer));
            command
        });
        assert_eq!(ran.finish().code, Some(code), "{more:?}");
    }
}

#[test]
fn nobody_listens() {
    let (ran, result) = measure(&[&nobody(), "-c", "30", "-r", "100"]);
    assert_eq!((ran.code, result.run.outcome), (Some(1), Outcome::Failed));
    assert_eq!((result.connections.failed, result.failures.refused), (30, 30));
    let [warning] = result.run.warnings.as_slice() else { panic!("{:?}", result.run.warnings) };
    assert_eq!(warning.code, "refused");
}

#[test]
fn the_server_is_full() {
    let server = Server::start(&["tcp://127.0.0.1:0", "--connections-max", "20"]);
    let (ran, result) = measure(&[server.url(), "-c", "30", "-r", "100", "-d", "100ms"]);
    assert_eq!((ran.code, result.run.outcome), (Some(6), Outcome::NotReached));
    // Who is refused has been connected by the kernel before, or is reset while connecting.
    let made = &result.connections;
    assert_eq!((made.failed + made.lost, made.open_at_end), (10, 20));
    assert_eq!(server.number("refused_full"), 10);
}

#[test]
fn the_server_dies_in_the_middle() {
    let mut server = Server::plain();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("r.json");
    let running = long_run(&server, &["-o", path.to_str().expect("text")]);
    server.kill();
    let ran = running.finish();
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let result = read(&path);
    assert_eq!(result.run.outcome, Outcome::NotReached);
    assert_eq!((result.connections.opened, result.connections.lost), (50, 50));
    assert_eq!(result.failures.closed + result.failures.reset, 50, "{:?}", result.failures);
    assert!(result.run.warnings.iter().any(|warning| warning.code == "lost"));
}

#[test]
fn the_client_dies_in_the_middle_and_the_server_goes_on() {
    let server = Server::plain();
    let running = long_run(&server, &[]);
    assert_eq!(server.number("connections"), 50);
    running.signal(Signal::KILL);
    running.finish();
    eventually("all are freed", || server.number("connections") == 0);
    let (ran, _) = measure(&[server.url(), "-c", "50", "--closed", "-d", "100ms"]);
    assert_eq!(ran.code, Some(0));
}

#[test]
fn a_server_that_never_answers() {
    let url = peer(|mut stream| while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {});
    let (ran, result) = measure(&[&url, "-c", "8", "-r", "100", "--timeout", "200ms"]);
    assert_eq!((ran.code, result.run.outcome), (Some(6), Outcome::NotReached));
    assert_eq!((result.connections.lost, result.failures.timed_out), (8, 8));
    let first = result.messages.first_echo.as_ref().expect("tried");
    assert_eq!((first.sent, first.received), (8, 0));
}

#[test]
fn a_server_that_closes_at_once() {
    let url = peer(drop);
    let (ran, result) = measure(&[&url, "-c", "8", "-r", "100", "-d", "1s"]);
    assert_eq!((ran.code, result.run.outcome), (Some(6), Outcome::NotReached));
    assert_eq!((result.connections.opened, result.connections.lost), (8, 8));
    assert_eq!(result.failures.closed + result.failures.reset, 8, "{:?}", result.failures);
}

#[test]
fn a_server_of_another_kind() {
    let url = peer(|mut stream| {
        let reply = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        if stream.read(&mut [0; 1024]).is_ok() {
            let _ = stream.write_all(reply.as_bytes());
            // Until the other side has had enough.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let (ran, result) = measure(&[&url, "-c", "8", "-r", "100", "-d", "1s"]);
    assert_eq!(ran.code, Some(6));
    assert_eq!((result.messages.mismatched, result.failures.protocol), (0, 8));
    assert!(
        result.violations.keys().all(|rule| rule.contains("HTTP/1")),
        "{:?}",
        result.violations
    );
    let codes: Vec<_> = result.run.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert!(codes.contains(&"violations") && !codes.contains(&"silent"), "{codes:?}");
}

#[test]
fn a_server_that_greets_before_it_echoes() {
    let url = peer(|mut stream| {
        let _ = stream.write_all(b"220 hello\r\n");
        let mut message = [0; 32];
        while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
    });
    let args = [url.as_str(), "-c", "20", "-r", "200", "-d", "300ms"];
    let (ran, result) = measure(&args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!((result.messages.unasked, result.messages.unasked_bytes), (20, 220));
    assert_eq!(result.messages.unasked_first.as_deref(), Some("220 hello\\r\\n"));
    let (ran, result) = measure(&[&args[..], &["--strict"]].concat());
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert_eq!((result.plan.strict, result.messages.unasked), (true, 0));
    assert_eq!(result.failures.protocol, 20);
}

#[test]
fn servers_of_other_protocols_are_named() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 10];
    for (said, name) in [(&b"SSH-2.0-x\r\n"[..], "SSH"), (ALERT, "TLS"), (SETTINGS, "HTTP/2")] {
        for scheme in ["tcp://", "ws://", "http://"] {
            let url = peer(move |mut stream| {
                let _ = stream.write_all(said);
                let _ = stream.read_to_end(&mut Vec::new());
            });
            let url = url.replace("tcp://", scheme);
            let (_, result) = measure(&[&url, "-c", "4", "--timeout", "5s"]);
            assert_eq!(result.failures.protocol, 4, "{scheme} {name}: {:?}", result.failures);
            let named = result.violations.keys().all(|rule| rule.contains(name));
            assert!(named, "{scheme} {name}: {:?}", result.violations);
            assert!(result.run.warnings.iter().all(|warning| warning.code != "silent"));
        }
    }
}

#[test]
fn a_server_that_swaps_two_messages() {
    let url = peer(|mut stream| {
        let mut pair = [0; 64];
        while stream.read_exact(&mut pair).is_ok() {
            pair.rotate_left(32);
            if stream.write_all(&pair).is_err() {
                return;
            }
        }
    });
    let args = ["-c", "6", "--closed", "--in-flight", "2", "-d", "1s", "--no-first-echo"];
    let (ran, result) = measure(&[&[url.as_str()], &args[..]].concat());
    assert_eq!(ran.code, Some(6));
    assert_eq!((result.messages.mismatched, result.failures.protocol), (6, 6));
    assert_eq!((result.messages.sent, result.messages.received), (12, 0));
}

#[test]
fn a_result_that_cannot_be_written_is_kept_elsewhere() {
    let server = Server::plain();
    let refuge = tempfile::tempdir().expect("folder");
    let args = ["run", server.url(), "-c", "5", "-o", "/dev/full", "-q"];
    let mut command = client(&args);
    command.env("TMPDIR", refuge.path());
    let ran = Running::start(command).finish();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("/dev/full") && ran.stderr.contains("instead"), "{}", ran.stderr);
    let kept: Vec<_> = std::fs::read_dir(refuge.path()).expect("folder").flatten().collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(read(&kept[0].path()).connections.opened, 5);
}

#[test]
fn what_stdout_does_not_take_is_a_failure_and_the_result_is_kept_elsewhere() {
    let server = Server::plain();
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a device");
    for (args, keeps) in [
        (&["check", server.url(), "-c", "5"][..], false),
        (&["run", server.url(), "-c", "5", "-q"], false),
        (&["run", server.url(), "-c", "5", "-q", "--json"], true),
        (&["run", server.url(), "-c", "5", "-q", "--json", "--repeat", "2"], true),
    ] {
        let refuge = tempfile::tempdir().expect("folder");
        let mut command = client(args);
        command.env("TMPDIR", refuge.path()).stdout(full());
        let output = command.output().expect("a child");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("cannot write to stdout: No space left"), "{stderr}");
        let kept = std::fs::read_dir(refuge.path()).expect("folder").flatten().count();
        assert_eq!((kept, stderr.contains("instead")), (usize::from(keeps), keeps), "{stderr}");
    }
}

#[test]
fn a_duration_without_traffic_is_told() {
    let server = Server::plain();
    let (ran, result) = measure(&[server.url(), "-c", "5", "-d", "30s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(result.run.warnings.iter().any(|warning| warning.code == "duration_unused"));
    let (_, result) = measure(&[server.url(), "-c", "5", "--closed", "-d", "300ms"]);
    assert!(!result.run.warnings.iter().any(|warning| warning.code == "duration_unused"));
}

#[test]
fn a_folder_that_takes_no_file_is_found_out_before_the_run() {
    let server = Server::plain();
    let ran = run(&["run", server.url(), "-c", "5", "-o", "/proc/result.json"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("/proc"), "{}", ran.stderr);
    assert_eq!(server.number("accepted"), 0);
}

#[test]
fn a_server_that_is_silent_is_given_up_long_before_all_have_waited() {
    let url = peer(|mut stream| while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {});
    // 64 wait at a time, so 600 of them would take ten times as long.
    let args = ["-c", "600", "--reactors", "1", "--timeout", "300ms"];
    let (ran, result) = measure(&[&[url.as_str()], &args[..]].concat());
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let first = result.messages.first_echo.as_ref().expect("a round");
    assert!(first.received == 0 && first.seconds < 1.5, "{first:?}");
    assert!(result.connections.lost >= 64 && result.connections.lost < 300, "{result:?}");
    assert!(result.run.warnings.iter().any(|warning| warning.code == "silent"));
}

#[test]
fn a_closed_model_without_a_reply_is_no_success() {
    let url = peer(|mut stream| while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {});
    let args = ["-c", "4", "--closed", "-d", "300ms", "--timeout", "300ms", "--no-first-echo"];
    let (ran, result) = measure(&[&[url.as_str()], &args[..]].concat());
    assert_eq!((ran.code, result.messages.received), (Some(6), 0), "{ran:?}");
}

#[test]
fn a_slow_answer_is_no_lower_rate() {
    // Each answer takes 100 ms; the last ones come when the traffic is over.
    let url = peer(|mut stream| {
        let mut message = [0; 32];
        while stream.read_exact(&mut message).is_ok() {
            let _ = crossbeam_channel::after(Duration::from_millis(100)).recv();
            if stream.write_all(&message).is_err() {
                return;
            }
        }
    });
    let (ran, result) = measure(&[&url, "-c", "40", "-r", "40", "-d", "1s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let messages = &result.messages;
    assert_eq!((messages.sent, messages.received), (40, 40));
    assert!((39.0..=40.0).contains(&messages.rate_achieved), "{messages:?}");
    let response = result.stages.get(Stage::Response).expect("measured");
    assert!(response.min >= 100_000_000, "{response:?}");
}

#[test]
fn an_interrupted_run_says_at_which_rate_it_went() {
    let server = Server::plain();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("r.json");
    let running = long_run(&server, &["-o", path.to_str().expect("text")]);
    eventually("more than a second", || server.number("messages") > 1_200);
    running.signal(Signal::INT);
    assert_eq!(running.finish().code, Some(130));
    let result = read(&path);
    assert!((800.0..1_200.0).contains(&result.messages.rate_achieved), "{:?}", result.messages);
    assert!(!result.run.warnings.iter().any(|warning| warning.code == "rate_not_reached"));
}

#[test]
fn large_messages_wait_for_room_and_leave_no_memory_behind() {
    let server = Server::plain();
    let args =
        ["-c", "40", "--reactors", "1", "-s", "4m", "--closed", "--in-flight", "4", "-d", "1s"];
    let (ran, result) = measure(&[&[server.url()], &args[..], &["--timeout", "60s"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!((result.connections.opened, result.connections.lost), (40, 0));
    let taken = result.resources.client.rss_bytes_after_traffic.expect("known");
    assert!(taken < 1 << 30, "{taken}");
}

#[test]
fn nobody_reads_the_complaints_and_the_exit_code_is_the_same() {
    let url = "tcp://127.0.0.1:0";
    let mut child = client(&["run", url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("waited").code(), Some(2));
}

#[test]
fn who_listens_nowhere_is_not_reached_by_connecting_to_oneself() {
    let url = nobody();
    let port = url.rsplit(':').next().expect("a port");
    let args = ["-c", "1", "--source-ip", "127.0.0.1", "--source-ports", port, "--force"];
    let (ran, result) = measure(&[&[url.as_str()], &args[..]].concat());
    assert_eq!((ran.code, result.connections.opened), (Some(1), 0), "{ran:?}");
}

#[test]
fn a_ramp_that_ends_with_a_whole_batch_is_done_at_once() {
    // Reactors start connections in batches of 16; the end must not wait for the next second's
    // tick.
    let server = Server::plain();
    let (ran, result) = measure(&[server.url(), "-c", "64", "--reactors", "1"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(result.connections.open_seconds < 0.5, "{:?}", result.connections);
}

#[test]
fn a_server_whose_answers_break_off_is_not_called_silent() {
    let url = peer(|mut stream| {
        let _ = stream.read(&mut [0; 1]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n12345");
        // Whoever closes with something unread resets: not before the client has read this.
        std::thread::park_timeout(Duration::from_millis(300));
    });
    let url = url.replace("tcp://", "http://");
    let (ran, result) = measure(&[&url, "-c", "5"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    let codes: Vec<_> = result.run.warnings.iter().map(|warning| &*warning.code).collect();
    assert!(codes.contains(&"broken_off") && !codes.contains(&"silent"), "{codes:?}");
    assert!(result.messages.bytes_read > Some(40), "{:?}", result.messages);
}
