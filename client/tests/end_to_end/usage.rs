//! What is refused before anything happens: nonsense with exit code 2, plans that this machine
//! cannot hold with 3, each with a sentence that says what to do.

use crate::common::{Running, Server, client_with_descriptors, measure, run};

const URL: &str = "tcp://127.0.0.1:9";

#[test]
fn what_cannot_be_parsed_is_a_usage_error() {
    for bad in [
        &[][..],
        &["fly"],
        &["run"],
        &["run", "127.0.0.1:9000"],
        &["run", "udp://127.0.0.1:9000"],
        &["run", URL, "-c", "-1"],
        &["run", URL, "-c", "many"],
        &["run", URL, "-r", "fast"],
        &["run", URL, "-r", "1k", "--closed"],
        &["run", URL, "--in-flight", "2"],
        &["run", URL, "--closed", "--arrivals", "poisson"],
        &["run", URL, "-r", "1k", "--arrivals", "sometimes"],
        &["run", URL, "-d", "5 parsecs"],
        &["run", URL, "-s", "1.5x"],
        &["run", URL, "--source-ports", "70000-80000"],
        &["run", URL, "--cores", "x"],
        &["run", URL, "--fail-if", "nonsense"],
        &["run", "http://127.0.0.1:9", "--fail-if", "http.429>101%"],
        &["run", "http://127.0.0.1:9", "--fail-if", "http.100>1"],
        &["run", "http://127.0.0.1:9", "--expect", "101"],
        &["run", URL, "--repeat", "x"],
        &["run", URL, "--cool-down", "1s"],
        &["run", URL, "--no-such-option"],
    ] {
        let ran = run(bad);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{bad:?}");
        assert!(!ran.stderr.is_empty() && !ran.stderr.contains("panicked"), "{bad:?}: {ran:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_one_sentence() {
    let label = "a".repeat(64);
    // No label of a host name is longer than 63 bytes (RFC 1035, 2.3.4): nobody need be asked.
    let unknown = format!("tcp://{label}:9000");
    for (bad, says) in [
        (&[URL, "-c", "0"][..], "--connections"),
        (&[URL, "-c", "5000m"], "--connections"),
        (&[URL, "-s", "31"], "--size"),
        (&[URL, "-s", "1g"], "--size"),
        (&[URL, "-r", "0"], "--rate"),
        (&[URL, "-r", "2000m"], "--rate"),
        (&[URL, "--connect-rate", "0"], "--connect-rate"),
        (&[URL, "--closed", "--in-flight", "0"], "--in-flight"),
        (&[URL, "--closed", "--in-flight", "1m", "-s", "16m"], "--in-flight"),
        (&[URL, "--timeout", "0"], "--timeout"),
        (&[URL, "--connect-timeout", "0"], "--connect-timeout"),
        (&[URL, "-r", "1", "-d", "0"], "--duration"),
        (&[URL, "--hold", "10000h"], "--hold"),
        (&[URL, "--repeat", "0"], "--repeat"),
        (&[URL, "--repeat", "101"], "--repeat"),
        (&[URL, "--repeat", "2", "--cool-down", "25h"], "--cool-down"),
        (&[URL, "--repeat", "2", "--output", "/dev/null"], "--repeat"),
        (&[URL, "--repeat", "2", "--output", "/no/such/folder/r.json"], "/no/such/folder"),
        (&[URL, URL], "twice"),
        (&["tcp://127.0.0.1:0"], "port 0"),
        (&["tcp://0.0.0.0:9000"], "0.0.0.0"),
        (&[&unknown], "not known"),
        (&[URL, "--cores", "1023"], "1023"),
        (&[URL, "--source-ip", "192.0.2.1"], "192.0.2.1"),
        (&[URL, "--source-ip", "no-such-interface"], "--source-ip"),
        (&[URL, "--output", "/no/such/folder/r.json"], "/no/such/folder"),
        (&[URL, "--output", "/"], "folder"),
        (&[URL, "--fail-if", "phase.drive.response.p99>1s"], "ramp, settle, first_echo, drain"),
        (&[URL, "--fail-if", "phase.storm.lost>0", "-r", "9"], "no phase 'storm'"),
    ] {
        let ran = run(&[&["run"], bad].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{bad:?}: {ran:?}");
        assert!(ran.stderr.starts_with("c1000k-client: "), "{bad:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{bad:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{bad:?}: {}", ran.stderr);
    }
}

#[test]
fn too_few_four_tuples_are_refused_and_force_takes_those_there_are() {
    let server = Server::plain();
    let few = ["--source-ip", "127.0.0.9", "--source-ports", "5000-5009", "-c", "100"];
    for command in ["run", "check"] {
        let ran = run(&[&[command, server.url()], &few[..]].concat());
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("ports") && said.contains("--source-ip"), "{said}");
    }
    assert_eq!(server.number("accepted"), 0, "a refused run does nothing");
    let (ran, result) = measure(&[&[server.url(), "--force"], &few[..]].concat());
    assert_eq!(ran.code, Some(6));
    assert_eq!((result.connections.opened, result.failures.no_ports), (10, 90));
    assert!(result.run.warnings.iter().any(|warning| warning.code == "no_ports"));
}

#[test]
fn too_few_descriptors_are_refused_and_force_takes_those_there_are() {
    let server = Server::plain();
    let args = ["-c", "200", "--reactors", "1", "--fd-table", "shared", "--json", "-q"];
    let args = [&["run", server.url()], &args[..]].concat();
    let ran = Running::start(client_with_descriptors(64, &args)).finish();
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("descriptors"), "{}", ran.stderr);
    let args = [&args[..], &["--force"]].concat();
    let ran = Running::start(client_with_descriptors(64, &args)).finish();
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let result = crate::common::parse(&ran.stdout).expect("JSON");
    let (opened, no_fds) = (result.connections.opened, result.failures.no_fds);
    assert!((20..64).contains(&opened), "{opened}");
    assert_eq!(opened + no_fds, 200);
    assert!(result.run.warnings.iter().any(|warning| warning.code == "no_fds"));
    // The connections have not taken the descriptor that the result needs.
    let file = std::env::temp_dir().join(format!("c1000k-few-{}.json", std::process::id()));
    let args = [&args[..], &["-o", file.to_str().expect("text")]].concat();
    let ran = Running::start(client_with_descriptors(64, &args)).finish();
    assert_eq!(ran.code, Some(6), "{ran:?}");
    std::fs::remove_file(&file).expect("it was written");
}

#[test]
fn check_says_what_fits_without_doing_it() {
    let ran = run(&["check", URL, "-c", "100"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.contains("100 connections"), "{}", ran.stdout);
    let ran = run(&["check", URL, "-c", "100", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(value["connections"].as_u64(), Some(100));
}

#[test]
fn check_answers_in_the_form_it_is_asked_for() {
    let few =
        ["check", URL, "--source-ip", "127.0.0.9", "--source-ports", "5000-5009", "-c", "100"];
    let ask = |form: &str| {
        let ran = run(&[&few[..], &[form]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(3), ""), "{ran:?}");
        ran.stdout
    };
    let shell = ask("--shell");
    assert!(shell.contains("# ports is 10, needs 100: a connection is a pair"), "{shell}");
    assert!(shell.contains("# name at least 10 source addresses"), "{shell}");
    // No setting makes ports, so whatever is there is well-formed and of another name.
    for line in ask("--sysctl").lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(" = ").unwrap_or((line, ""));
        assert!(line.starts_with("# ") || (name.contains('.') && !value.is_empty()), "{line}");
    }
    assert!(ask("--fits").starts_with("10\t"));
    let value: serde_json::Value = serde_json::from_str(&ask("--json")).expect("JSON");
    let ports = value["findings"].as_array().expect("findings");
    let ports = ports.iter().find(|finding| finding["name"] == "ports").expect("ports");
    assert_eq!((&ports["severity"], &ports["have"]), (&"refusal".into(), &"10".into()));
    for two in [["--json", "--shell"], ["--sysctl", "--shell"], ["--fits", "--shell"]] {
        assert_eq!(run(&[&few[..], &two[..]].concat()).code, Some(2), "{two:?}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let ran = run(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}
