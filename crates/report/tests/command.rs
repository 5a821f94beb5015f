//! `c1000k-report` as a program: what it prints where, and its exit codes.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const MILLION: &str = "tests/fixtures/v1/million.json";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_c1000k-report"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn show_prints_the_summary_and_where_the_file_is() {
    let output = run(&["show", MILLION]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert!(stdout(&output).contains("connections  999,996 of 1,000,000 opened"));
    assert!(stdout(&output).ends_with("file         tests/fixtures/v1/million.json\n"));
}

#[test]
fn show_as_json_is_the_result() {
    let output = run(&["show", "--format", "json", MILLION]);
    assert_eq!(output.status.code(), Some(0));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!(shown["connections"]["opened"], 999_996);
}

#[test]
fn schema_is_json_that_names_its_version() {
    let output = run(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema["title"], "c1000k.result/1");
}

#[test]
fn an_unreadable_file_is_one_sentence_and_exit_code_1() {
    let mut damaged = tempfile::NamedTempFile::new().expect("a temporary file");
    damaged.write_all(b"{\"schema\": \"c1000k.result/7\"}").expect("written");
    let newer = damaged.path().to_str().expect("UTF-8");
    for (file, expected) in [
        ("no-such-file.json", "there is no such file"),
        (newer, "has schema version 7, this program reads up to 1: use a newer c1000k-report"),
    ] {
        let output = run(&["show", file]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
        let message = stderr(&output);
        assert!(message.starts_with("error: ") && message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [&[][..], &["show"], &["shwo", MILLION], &["show", MILLION, "--format", "pdf"]]
    {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command(&["schema"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the program starts");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let output = command(&["schema"]).stdout(full).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot write to stdout: "), "{}", stderr(&output));
}
