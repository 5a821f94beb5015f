//! The audit over real sockets: the kernel's stamps of receipt part the time of each response.

use crate::common::{Server, measure, run, secured};
use measure::Stage;
use report::ResultFile;
use report::schema::{Audit, StageEntry};

/// Both models over each protocol.
const RUNS: [(&str, &[&str]); 7] = [
    ("tcp", &["--closed"]),
    ("tcp", &["--closed", "--in-flight", "4", "-s", "3000"]),
    ("tcp", &["-r", "2k"]),
    ("ws", &["--closed"]),
    ("http", &["--closed", "--pipeline", "4"]),
    ("http", &["-r", "1k", "--pipeline", "4"]),
    ("http", &["-r", "500", "--close"]),
];

fn audit_of(result: &ResultFile) -> &Audit {
    result.audit.as_ref().expect("an audit")
}

/// What holds for every audit.
fn adds_up(result: &ResultFile) {
    let audit = audit_of(result);
    assert!(audit.misfits == 0 || audit.clock_steps > 0, "{} misfits", audit.misfits);
    assert!(audit.messages > 0, "{audit:?}");
    let parts = audit.parts.as_ref().expect("parts");
    let all = parts.named().map(|(_, entry)| entry);
    assert!(all.iter().all(|entry| entry.count == audit.messages));
    let [send_lag, outside, receive_lag, response] = all.map(|entry| entry.mean);
    let off = (send_lag + outside + receive_lag - response).abs();
    assert!(off <= 1e-6 * response, "{send_lag} + {outside} + {receive_lag} = {response}");
    assert!(parts.outside.min > 0 && parts.receive_lag.min > 0, "nothing takes no time: {parts:?}");
    assert!(receive_lag < 0.999 * response);
    assert_eq!(result.stages.get(Stage::Outside), Some(&parts.outside));
    assert_eq!(result.stages.get(Stage::ReceiveLag), Some(&parts.receive_lag));
}

#[test]
fn the_parts_add_up_in_both_models_over_each_protocol() {
    let server = Server::start(&["tcp://127.0.0.1:0", "ws://127.0.0.1:0", "http://127.0.0.1:0"]);
    for (scheme, args) in RUNS {
        let named = secured(&format!("{scheme}://"));
        let url = server.urls.iter().find(|url| url.starts_with(&named)).expect("served");
        let url = if scheme == "http" { format!("{url}/healthz") } else { url.clone() };
        let load = ["-c", "20", "--reactors", "2", "-d", "300ms", "--audit", "100%"];
        let (ran, result) = measure(&[&[url.as_str()][..], &load, args].concat());
        assert!(ran.code.is_some_and(|code| code != 1), "{ran:?}");
        adds_up(&result);
        let audit = audit_of(&result);
        assert_eq!(audit.messages + audit.unstamped + audit.misfits, result.messages.received);
        let connections = if args.contains(&"--close") { result.connections.opened } else { 20 };
        assert_eq!(audit.connections, connections, "{scheme} {args:?}");
        let looks = [&audit.tcp_info.start, &audit.tcp_info.end];
        let [start, end] = looks.map(|look| look.as_ref().expect("a look"));
        if !args.contains(&"--close") {
            assert_eq!((start.connections, end.connections), (20, 20));
            let rtt = end.rtt.as_ref().map_or(0, |rtt: &StageEntry| rtt.p50);
            assert!((1_000..1_000_000_000).contains(&rtt), "{rtt}");
        }
        assert!(end.retransmits >= start.retransmits);
    }
}

#[test]
fn one_connection_in_a_hundred_unless_told_otherwise() {
    let server = Server::plain();
    let args = [server.url(), "-c", "300", "--closed", "-d", "300ms"];
    let (_, result) = measure(&args);
    adds_up(&result);
    let audit = audit_of(&result);
    assert_eq!((audit.ratio, result.plan.audit_ratio, audit.connections), (0.01, Some(0.01), 3));
    assert!(audit.messages < result.messages.received / 10, "{audit:?}");

    let (_, result) = measure(&[&args[..], &["--audit", "off"]].concat());
    assert_eq!((&result.audit, result.plan.audit_ratio), (&None, None));
    assert!(result.stages.get(Stage::Outside).is_none());
    assert!(result.stages.get(Stage::ReceiveLag).is_none());
    // Without traffic there is nothing to look at.
    let (_, result) = measure(&args[..3]);
    assert_eq!((&result.audit, result.plan.audit_ratio), (&None, None));
}

#[test]
fn the_summary_shows_the_parts_and_a_threshold_takes_them() {
    let server = Server::plain();
    let args = ["run", "-q", server.url(), "-c", "5", "--closed", "-d", "200ms", "--audit", "100%"];
    let ran = run(&args);
    for part in ["where the time went: ", "\n  outside ", "\n  receive_lag ", "behind: rtt"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(ran.stdout.lines().all(|line| line.len() <= 80), "{}", ran.stdout);
    let ran = run(&[&args[..], &["--fail-if", "receive_lag.p99>1ns"]].concat());
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let ran = run(&[&args[..], &["--fail-if", "outside.p99>1h"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let off = ["--audit", "off", "--fail-if", "receive_lag.p99>1h"];
    let ran = run(&[&args[..args.len() - 2], &off].concat());
    assert_eq!(ran.code, Some(4), "what was not measured is no pass: {ran:?}");
    let ran = run(&["run", server.url(), "--audit", "most"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("such as 1% or 0.1%, or off"), "{ran:?}");
}
