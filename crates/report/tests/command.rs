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

const REPEATS: &str = "tests/fixtures/repeats";

#[test]
fn a_comparison_says_by_its_exit_code_whether_it_found_a_regression() {
    let repeat = |number: u32| format!("{REPEATS}/run-{number:02}.json");
    let same = run(&["compare", &repeat(1), &repeat(2)]);
    assert_eq!((same.status.code(), stderr(&same).as_str()), (Some(0), ""));
    assert!(stdout(&same).contains("method: noise is unknown"), "{}", stdout(&same));
    assert!(stdout(&same).contains("no regression: 0 worse"), "{}", stdout(&same));
    // Any two runs differ by something, and with one run a side nothing says that it is chance.
    let failed = run(&["compare", &repeat(1), &repeat(2), "--fail-on", "response.p50<=+1000%"]);
    assert_eq!(failed.status.code(), Some(5));
    assert!(stdout(&failed).contains("FAILED: response.p50<=+1000%"), "{}", stdout(&failed));
}

#[test]
fn a_comparison_is_a_table_or_markdown_or_json() {
    let (base, new) = (REPEATS, "tests/fixtures/repeats/run-01.json");
    let json = run(&["compare", base, new, "--json"]);
    let comparison: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON alone");
    assert_eq!(comparison["schema"], "c1000k.comparison/1");
    assert_eq!(comparison["method"]["level"], 0.98);
    let markdown = stdout(&run(&["compare", base, new, "--markdown"]));
    assert!(markdown.starts_with("### no regression: 0 worse"), "{markdown}");
    assert!(markdown.contains("| `response.p50` |"), "{markdown}");
}

#[test]
fn runs_that_are_not_comparable_are_refused_unless_forced() {
    let new = "tests/fixtures/repeats/run-01.json";
    let refused = run(&["compare", MILLION, new]);
    assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(1), ""));
    let message = stderr(&refused);
    assert!(message.starts_with("error: these runs are not comparable (--force"), "{message}");
    assert!(
        message.contains("\n  plan.connections differs: 1000000 in base, 1000 in new\n"),
        "{message}"
    );
    let forced = run(&["compare", MILLION, new, "--force"]);
    assert!(stdout(&forced).contains("forced: plan.connections differs"), "{}", stdout(&forced));
}

#[test]
fn pages_merged_results_and_exports_go_to_a_file_or_to_stdout() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (page, merged, log) = (path("page.html"), path("merged.json"), path("all.hlog"));
    for arguments in [
        &["html", MILLION, "-o", &page][..],
        &["merge", REPEATS, "-o", &merged],
        &["export", "--format", "hlog", MILLION, "-o", &log],
    ] {
        let output = run(arguments);
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    let text = |path: &str| std::fs::read_to_string(path).expect("written");
    assert_eq!(text(&page), stdout(&run(&["html", MILLION])));
    assert_eq!(text(&log), stdout(&run(&["export", "--format", "hlog", MILLION])));
    let shown = stdout(&run(&["show", &merged]));
    assert!(shown.contains("12,000 of 12,000 opened"), "all twelve: {shown}");
}

#[test]
fn a_dash_is_stdout_for_whatever_is_written() {
    for arguments in
        [&["html", MILLION][..], &["merge", REPEATS], &["export", "--format", "hlog", MILLION]]
    {
        let dashed = run(&[arguments, &["-o", "-"]].concat());
        assert_eq!(dashed.status.code(), Some(0), "{arguments:?}");
        assert!(!dashed.stdout.is_empty());
        // Two merged results differ in their times.
        if arguments[0] != "merge" {
            assert_eq!(dashed.stdout, run(arguments).stdout, "{arguments:?}");
        }
    }
    assert!(!std::path::Path::new("-").exists());
}

/// A name that is no text.
#[cfg(unix)]
#[test]
fn names_of_files_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().expect("a folder");
    let name = |bytes: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(bytes));
    let (result, page) = (name(b"r\xff.json"), name(b"p\xff.html"));
    std::fs::copy(MILLION, &result).expect("copied");
    let shown = command(&["show"]).arg(&result).output().expect("it starts");
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    assert!(stdout(&shown).contains("r?.json"), "{}", stdout(&shown));
    let args = [result.as_os_str(), "-o".as_ref(), page.as_os_str()];
    let written = command(&["html"]).args(args).output().expect("it starts");
    assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    assert!(page.exists());
    let none = command(&["show"]).arg(name(b"none\xff.json")).output().expect("it starts");
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("there is no such file"), "{}", stderr(&none));
}

#[test]
fn what_cannot_be_done_is_one_sentence() {
    let repeat = "tests/fixtures/repeats/run-01.json";
    for (arguments, expected) in [
        (&["merge", repeat][..], "there is nothing to merge: give two results or more"),
        (&["merge", repeat, repeat], "is given twice"),
        (&["html", REPEATS], "12 runs do not fit on one page: give 8 at most"),
        (
            &["export", "--format", "csv", "--stage", "connect", repeat],
            "--stage is for --format hgrm",
        ),
        (
            &["export", "--format", "hgrm", "--stage", "tls", repeat],
            "nothing was measured in stage 'tls'",
        ),
        (
            &["html", repeat, "-o", "no/such/folder.html"],
            "there is no folder 'no/such', create it first",
        ),
    ] {
        let output = run(arguments);
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(1), ""),
            "{arguments:?}"
        );
        let message = stderr(&output);
        assert!(message.starts_with("error: ") && message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
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
    for arguments in [
        &[][..],
        &["show"],
        &["shwo", MILLION],
        &["show", MILLION, "--format", "pdf"],
        &["compare", MILLION],
        &["compare", MILLION, MILLION, "--fail-on", "response.p99>10%"],
        &["compare", MILLION, MILLION, "--level", "100"],
        &["compare", MILLION, MILLION, "--json", "--markdown"],
        &["export", MILLION],
        &["merge"],
    ] {
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
