//! Files that are damaged, cut, foreign, huge or of later versions: every command says so in one
//! sentence that names the file, and none panics.

use c1000k_report::{ResultFile, export, hist, html, markdown, merge, store, text, wrk};
use measure::Stage;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const REPEAT: &str = "tests/fixtures/repeats/run-01.json";

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_c1000k-report"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().expect("the program starts")
}

/// Every command that reads results, with this one among them.
fn commands(file: &str) -> Vec<Vec<&str>> {
    let mut commands = vec![
        vec!["compare", file, REPEAT],
        vec!["compare", REPEAT, file, "--force", "--json"],
        vec!["merge", REPEAT, file],
        vec!["html", file],
    ];
    for format in ["text", "json", "markdown", "wrk"] {
        commands.push(vec!["show", "--format", format, file]);
    }
    for format in ["hgrm", "hlog", "csv", "prometheus", "junit"] {
        commands.push(vec!["export", "--format", format, file]);
    }
    commands
}

fn repeat() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REPEAT);
    serde_json::from_slice(&fs::read(path).expect("a fixture")).expect("JSON")
}

/// A good result in which one thing is another.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut result = repeat();
    *result.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    result.to_string().into_bytes()
}

fn without(key: &str) -> Vec<u8> {
    let mut result = repeat();
    result.as_object_mut().and_then(|members| members.remove(key)).expect("it was there");
    result.to_string().into_bytes()
}

/// Files that no command takes, each with what is said of it.
fn unreadable() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = repeat().to_string().into_bytes();
    let half = whole[..whole.len() / 2].to_vec();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] = 0;
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    let deep = String::from_utf8(with("/host", json!("deep"))).expect("UTF-8");
    let deep = deep.replace("\"deep\"", &nested).into_bytes();
    vec![
        ("empty", Vec::new(), "is empty"),
        ("cut", half, "is truncated"),
        ("flipped", flipped, "is damaged"),
        ("zeros", vec![0; 4096], "is damaged or not JSON"),
        ("archive", b"PK\x03\x04".to_vec(), "is damaged or not JSON"),
        ("utf16", b"\xff\xfe{\0}\0".to_vec(), "is damaged or not JSON"),
        ("deep", deep, "is damaged"),
        ("nested", nested.into_bytes(), "is not a result of c1000k"),
        ("twice", [whole.clone(), whole].concat(), "is damaged"),
        ("list", b"[1, 2]".to_vec(), "is not a result of c1000k"),
        ("k6", br#"{"metrics": {}, "root_group": {}}"#.to_vec(), "is not a result of c1000k"),
        (
            "comparison",
            br#"{"schema": "c1000k.comparison/1"}"#.to_vec(),
            "is not a result of c1000k",
        ),
        ("newer", with("/schema", json!("c1000k.result/2")), "has schema version 2"),
        (
            "much-newer",
            with("/schema", json!("c1000k.result/18446744073709551615")),
            "has schema version",
        ),
        ("no-plan", without("plan"), "is damaged: missing field `plan`"),
        ("negative", with("/connections/opened", json!(-1)), "is damaged: invalid value"),
        ("text", with("/connections/opened", json!("many")), "is damaged: invalid type"),
        ("beyond", with("/messages/sent", json!(1e300)), "is damaged: invalid type"),
        ("outcome", with("/run/outcome", json!("splendid")), "is damaged: unknown variant"),
    ]
}

#[test]
fn what_cannot_be_read_is_one_sentence_for_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes, expected) in unreadable() {
        let path = folder.path().join(format!("{name}.json"));
        fs::write(&path, bytes).expect("written");
        refused(&path, expected);
    }
    let huge = folder.path().join("huge.json");
    let file = fs::File::create(&huge).expect("a file");
    file.set_len((1 << 30) + 1).expect("a sparse file");
    refused(&huge, "is larger than 1 GiB");
    refused(&folder.path().join("missing.json"), "there is no such file");
}

fn refused(path: &Path, expected: &str) {
    let file = path.to_str().expect("UTF-8");
    for arguments in commands(file) {
        let output = run(&arguments);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(message.starts_with("error: "), "{arguments:?}: {message}");
        assert!(message.contains(file) && message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{arguments:?}: {message}");
    }
}

/// Files that are results by their form and say what cannot be: a command may show them or refuse
/// them in one sentence.
fn implausible() -> Vec<(&'static str, Vec<u8>)> {
    let most = json!(u64::MAX);
    let mut lots = repeat();
    let second = lots["timeline"][0].clone();
    lots["timeline"] = (0..50_000).map(|_| second.clone()).collect();
    let mut late = second;
    late["second"] = most.clone();
    let stages = "/stages/response";
    vec![
        ("hdr", with(&format!("{stages}/hdr"), json!("HISTFAAAA"))),
        ("no-hdr", with(&format!("{stages}/hdr"), json!(""))),
        ("count", with(&format!("{stages}/count"), most.clone())),
        ("max", with(&format!("{stages}/max"), most.clone())),
        ("mean", with(&format!("{stages}/mean"), json!(-1e308))),
        ("opened", with("/connections/opened", most.clone())),
        ("received", with("/messages/received", most.clone())),
        ("seconds", with("/messages/seconds", json!(1e308))),
        ("before", with("/messages/seconds", json!(-1.0))),
        ("failures", with("/failures/reset", most)),
        ("dates", with("/run/started", json!("yesterday"))),
        ("backwards", with("/run/ended", json!("1970-01-01T00:00:00Z"))),
        ("far", with("/run/ended", json!("9999-12-31T23:59:59Z"))),
        ("escapes", with("/run/label", json!("\u{1b}[2J</script><b>\n\n\u{202e}"))),
        ("no-stages", with("/stages", json!({}))),
        ("no-reactors", with("/reactors", json!([]))),
        ("no-host", with("/host", Value::Null)),
        ("host", with("/host", json!([[[]], {"": {}}]))),
        ("late", with("/timeline", json!([late]))),
        ("lots", lots.to_string().into_bytes()),
    ]
}

#[test]
fn what_cannot_be_is_shown_or_refused_and_never_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in implausible() {
        let path: PathBuf = folder.path().join(format!("{name}.json"));
        fs::write(&path, bytes).expect("written");
        for arguments in commands(path.to_str().expect("UTF-8")) {
            let output = run(&arguments);
            let message = String::from_utf8(output.stderr).expect("UTF-8");
            match output.status.code() {
                Some(0 | 5) => assert_eq!(message, "", "{arguments:?}"),
                Some(1) => {
                    assert!(message.starts_with("error: "), "{arguments:?}: {message}");
                    // Runs that differ are listed, a line for each difference.
                    let first = message.lines().next().unwrap_or_default();
                    assert!(first.len() > 20, "{arguments:?}: {message}");
                }
                code => panic!("{arguments:?} ended with {code:?}: {message}"),
            }
        }
    }
}

/// Every value of a histogram in one cell, as often as the format can say.
fn full() -> String {
    let mut histogram = hdrhistogram::Histogram::<u64>::new(3).expect("bounds");
    histogram.record_n(1_000, i64::MAX as u64).expect("in bounds");
    hist::encode(&histogram)
}

#[test]
fn histograms_that_are_full_are_shown_and_not_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, id: &str, second: u32| {
        let mut result = repeat();
        let response = &mut result["stages"]["response"];
        response["hdr"] = json!(full());
        response["count"] = json!(i64::MAX);
        result["timeline"][0]["response_hdr"] = json!(full());
        result["timeline"][0]["response_max_ns"] = json!(1_000);
        result["run"]["id"] = json!(id);
        result["run"]["started"] = json!(format!("2026-11-23T10:00:{second:02}Z"));
        result["run"]["ended"] = json!("2026-11-23T10:00:50Z");
        let path = folder.path().join(name);
        fs::write(&path, result.to_string()).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (one, other) = (write("a.json", "a", 0), write("b.json", "b", 0));
    for arguments in commands(&one) {
        let code = run(&arguments).status.code();
        assert!([Some(0), Some(1), Some(5)].contains(&code), "{arguments:?}: {code:?}");
    }
    let output = run(&["merge", &one, &other]);
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("more than 2^63 values"), "{message}");
}

/// Everything that can be done with a result that was read.
fn everything(result: ResultFile) {
    let _ = text::summary(&result, text::WIDTH);
    let _ = markdown::summary(&result);
    let _ = wrk::summary(&result);
    let _ = export::hgrm(&result, Stage::Response);
    let _ = export::hlog(&result);
    let _ = (export::csv(&result), export::prometheus(&result), export::junit(&result));
    let _ = merge::merge(&[result.clone(), good()]);
    let _ = html::Run::new("damaged".to_owned(), result).map(|run| html::page(&[run]));
}

fn good() -> ResultFile {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    store::read(&folder.join("tests/fixtures/repeats/run-02.json")).expect("a fixture")
}

#[test]
fn a_result_cut_after_any_byte_is_refused_in_one_sentence() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REPEAT);
    let bytes = fs::read(&path).expect("a fixture");
    let whole = bytes.trim_ascii_end().len();
    for end in 0..whole {
        let error = store::parse(&path, &bytes[..end]).expect_err("cut").to_string();
        assert!(error.contains("is truncated") || error.contains("is empty"), "at {end}: {error}");
        assert!(!error.contains('\n'), "at {end}: {error}");
    }
    assert!(store::parse(&path, &bytes[..whole]).is_ok());
}

#[test]
fn a_result_with_any_byte_flipped_is_refused_in_one_sentence_or_taken_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REPEAT);
    let mut bytes = fs::read(&path).expect("a fixture");
    let mut taken = 0;
    for at in 0..bytes.len() {
        // Another bit each time: digits become other digits, letters other letters, quotes nothing.
        let bit = 1 << (at % 8);
        bytes[at] ^= bit;
        match store::parse(&path, &bytes) {
            Err(error) => assert!(!error.to_string().contains('\n'), "at {at}: {error}"),
            Ok(result) => {
                taken += 1;
                // To draw each page would take minutes; numbers are all over the file.
                if taken % 64 == 0 {
                    everything(result);
                }
            }
        }
        bytes[at] ^= bit;
    }
    assert!(taken > 1_000, "only {taken} were readable: nothing was tried");
}

#[test]
fn no_format_hands_on_what_does_more_than_to_be_seen() {
    const BAD: &str = "a\u{1b}[31m\u{7}\u{9b}2J\u{202e}\u{2066}\u{feff}\r\u{0}b";
    let harmful = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || "\u{202e}\u{2066}\u{feff}".contains(c)
    };
    let mut result: ResultFile = serde_json::from_value(repeat()).expect("a result");
    let bad = || BAD.to_owned();
    (result.run.id, result.run.label) = (bad(), Some(bad()));
    result.run.command = vec![bad()];
    result.run.outcome = c1000k_report::schema::Outcome::NotReached;
    result.plan.targets = vec![bad()];
    result.plan.sources = vec![bad()];
    result.tool.version = bad();
    result.violations.insert(bad(), 1);
    result.http_statuses.insert(bad(), 1);
    result.limits_reached.insert(bad(), 1);
    result.messages.unasked_first = Some(bad());
    result.run.warnings.push(c1000k_report::schema::Warning {
        code: bad(),
        text: bad(),
        remedy: bad(),
    });
    result.verdict.thresholds.push(c1000k_report::schema::ThresholdVerdict {
        expression: bad(),
        note: Some(bad()),
        ..Default::default()
    });
    result.machines = vec![c1000k_report::schema::Machine {
        id: bad(),
        host: json!({BAD: BAD}),
        ..Default::default()
    }];
    let response = result.stages.get(Stage::Response).cloned();
    for name in [BAD, "again | `x`\n<b>"] {
        let mut phase = c1000k_report::schema::Phase {
            name: name.to_owned(),
            act: bad(),
            ..Default::default()
        };
        phase.totals.opened = 1;
        phase.stages.put("response", response.clone());
        phase.stages.put(BAD, response.clone());
        result.phases.push(phase);
    }
    result.host = json!({"kernel": BAD, BAD: BAD});
    let page = html::Run::new(bad(), result.clone()).expect("a run");
    let texts = [
        ("text", text::summary(&result, text::WIDTH)),
        ("file line", text::file_line(Path::new(BAD))),
        ("markdown", markdown::summary(&result)),
        ("wrk", wrk::summary(&result)),
        ("html", html::page(&[page])),
        ("csv", export::csv(&result)),
        ("prometheus", export::prometheus(&result)),
        ("junit", export::junit(&result)),
        ("hgrm", export::hgrm(&result, Stage::Response).expect("measured")),
        ("hlog", export::hlog(&result).expect("a time")),
    ];
    for (format, text) in &texts {
        let tells = ["text", "markdown", "html", "prometheus"].contains(format);
        assert_eq!(text.contains("again"), tells, "{format} of the phases");
        let is_markup = ["markdown", "html"].contains(format);
        assert!(!is_markup || !text.contains("<b>"), "{format}");
        let found: Vec<_> = text.chars().filter(|c| harmful(*c)).collect();
        assert!(found.is_empty(), "{format}: {found:?}");
    }
    // And those that are compared, by the names of their files too.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a\u{1b}[31m\u{202e}.json");
    store::write(&file, &result).expect("written");
    let other = folder.path().join("other.json");
    result.run.id = "other".to_owned();
    store::write(&other, &result).expect("written");
    let other = other.to_str().expect("text");
    let by_phase = run(&["compare", file.to_str().expect("text"), other, "--force", "--markdown"]);
    let by_phase = String::from_utf8(by_phase.stdout).expect("UTF-8");
    assert!(by_phase.contains("| `phase.again \\| 'x' <b>.response.p99` | "), "{by_phase}");
    for more in [&["--force"][..], &["--force", "--markdown"]] {
        let done = run(&[&["compare", file.to_str().expect("text"), REPEAT], more].concat());
        let said = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        let found: Vec<_> = said.chars().filter(|c| harmful(*c)).collect();
        assert!(found.is_empty() && !said.is_empty(), "{found:?} {said}");
    }
    let gone = run(&["show", "no\u{1b}[31m.json"]);
    assert!(!String::from_utf8_lossy(&gone.stderr).contains('\u{1b}'), "{gone:?}");
}
