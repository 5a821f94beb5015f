//! How the server starts, or says why not, and how it ends.

use crate::common::{Server, command, echo, is_closed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// Exit code, stdout and stderr of a server that is not expected to run.
fn refused(args: &[&str]) -> (Option<i32>, String, String) {
    let output = command(args).output().expect("a child");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn each_address_is_announced_with_its_real_port() {
    let server = Server::on(&["tcp://127.0.0.1:0", "tcp://127.0.0.2:0"], &["--reactors", "2"]);
    assert_eq!(server.ready.len(), 2);
    for ready in &server.ready {
        let url = ready["url"].as_str().expect("text");
        assert!(!url.ends_with(":0"), "{url}");
        let address = url.trim_start_matches("tcp://");
        echo(&mut TcpStream::connect(address).expect("it listens"));
        assert_eq!(ready["reactors"].as_u64(), Some(2));
        assert_eq!(ready["cores"].as_array().map(Vec::len), Some(2));
    }
    assert_eq!(server.snapshot().connections_max, server.ready[0]["connections_max"]);
}

#[test]
fn arguments_that_are_no_text_are_names_of_files_or_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join(OsStr::from_bytes(b"root\xff"));
    std::fs::create_dir(&root).expect("made");
    std::fs::write(root.join("a.txt"), "here").expect("written");
    let mut child = command(&["http://127.0.0.1:0", "--json", "--root"]);
    let mut child = child.arg(&root).spawn().expect("a child");
    let mut ready = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut ready).expect("text");
    let ready: Value = serde_json::from_str(&ready).expect("a line of JSON");
    let url = ready["url"].as_str().expect("text");
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut peer = TcpStream::connect(address).expect("it listens");
    let request = "GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    peer.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("text");
    child.kill().expect("it runs");
    child.wait().expect("a child");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");

    let wrong = command(&[]).arg(OsStr::from_bytes(b"tcp://\xff:1")).output().expect("a child");
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn without_proc_it_serves_and_says_what_it_does_not_know() {
    let empty = tempfile::tempdir().expect("a folder");
    // An own mount namespace, where that is allowed.
    let hide =
        r#"mount --bind "$1" /proc 2>/dev/null || exit 77; exec "$0" tcp://127.0.0.1:0 --json"#;
    let mut hidden = Command::new("unshare");
    hidden.args(["-m", "--propagation", "private", "bash", "-c", hide]);
    hidden.arg(env!("CARGO_BIN_EXE_c1000k-server")).arg(empty.path());
    hidden.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match hidden.spawn() {
        Ok(child) => child,
        Err(error) => return println!("skipped: unshare: {error}"),
    };
    let mut ready = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut ready).expect("text");
    if let Ok(ready) = serde_json::from_str::<Value>(&ready) {
        let address = ready["url"].as_str().expect("text").trim_start_matches("tcp://");
        echo(&mut TcpStream::connect(address).expect("it listens"));
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    }
    let output = child.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || said.contains("unshare") {
        return println!("skipped: no mount namespace can be made here: {said}");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("this system shows nothing in /proc"), "{said}");
}

#[test]
fn who_cannot_be_told_where_it_listens_is_not_left_waiting() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let mut command = command(&["tcp://127.0.0.1:0", "--json"]);
    let output = command.stdout(full).output().expect("a child");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write to stdout: No space left"), "{said}");
}

#[test]
fn a_signal_closes_all_connections_and_ends_it_well() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let server = Server::start(&["--reactors", "2"]);
        let mut peers: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
        peers.iter_mut().for_each(echo);
        server.signal(signal);
        assert!(peers.iter_mut().all(is_closed));
        let (code, out, err) = server.finish();
        assert_eq!((code, out.as_str()), (Some(0), ""));
        assert!(err.contains("accepted 20 connections"), "{err}");
    }
}

#[test]
fn a_port_that_is_in_use_is_said_in_one_sentence() {
    let server = Server::start(&[]);
    let url = format!("tcp://{}", server.address());
    let (code, out, err) = refused(&[&url]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let port = server.address().port();
    assert!(err.contains(&format!("port {port} is in use")), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    // The first one is not disturbed: the port is not shared by accident.
    (0..20).for_each(|_| echo(&mut server.connect()));
    // The same for the address of its metrics.
    let (code, _, err) =
        refused(&["tcp://127.0.0.1:0", "--metrics", &server.metrics().to_string()]);
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
}

#[test]
fn an_address_of_another_machine_is_said_in_one_sentence() {
    // TEST-NET-1 is nobody's (RFC 5737).
    let (code, _, err) = refused(&["tcp://192.0.2.1:9000"]);
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.contains("192.0.2.1 is no address of this machine"), "{err}");
}

#[test]
fn nonsense_is_a_usage_error() {
    let unknown = format!("tcp://{}:9000", "a".repeat(64));
    for bad in [
        &[][..],
        &["127.0.0.1:9000"],
        &["udp://127.0.0.1:0"],
        &["tcp://127.0.0.1:0", "--connections-max", "0"],
        &["tcp://127.0.0.1:0", "--reactors", "0"],
        &["tcp://127.0.0.1:0", "--cores", "1023"],
        &["tcp://127.0.0.1:9", "tcp://127.0.0.1:9"],
        &["tcp://127.0.0.1:0", "--idle-timeout", "soon"],
        &[&unknown],
    ] {
        let (code, out, err) = refused(bad);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{bad:?}: {err}");
        assert!(!err.is_empty() && !err.contains("panicked"), "{bad:?}: {err}");
    }
}

#[test]
fn what_the_machine_cannot_hold_is_refused_before_it_starts() {
    let more = ["--connections-max", "100m", "--reactors", "1"];
    let (code, out, err) = refused(&[&["tcp://127.0.0.1:0"], &more[..]].concat());
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    assert!(err.contains("LACKS  descriptors") && err.contains("--force"), "{err}");
    let (code, out, _) = refused(&[&["check", "tcp://127.0.0.1:0"], &more[..]].concat());
    assert_eq!(code, Some(3));
    assert!(out.contains("LACKS  descriptors"), "{out}");
    let (_, out, _) = refused(&[&["check", "tcp://127.0.0.1:0", "--shell"], &more[..]].concat());
    assert!(out.contains("\nsudo prlimit --pid $$ --nofile="), "{out}");
    let (_, out, _) = refused(&[&["check", "tcp://127.0.0.1:0", "--json"], &more[..]].concat());
    let value: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(value["connections"].as_u64(), Some(100_000_000));
    assert!(value["fits"].as_u64() < Some(100_000_000) && value["findings"][0]["have"].is_string());
    let (code, _, _) = refused(&["check", "tcp://127.0.0.1:0", "--connections-max", "10"]);
    assert_eq!(code, Some(0));
}
