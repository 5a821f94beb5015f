//! What is written about results agrees with the results: `docs/RESULTS.md` with the schema and
//! with recorded runs, `results/README.md` with the folders beside it.

use c1000k_report::compare::side::Side;
use c1000k_report::{ResultFile, export, merge, schema, store};
use measure::{Failure, Stage};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &Path) -> String {
    let read = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    read.replace("\r\n", "\n")
}

/// The part of `docs/RESULTS.md` about a field of the result.
fn section<'a>(page: &'a str, field: &str) -> &'a str {
    let heading = format!("\n## `{field}`\n");
    let (_, rest) = page
        .split_once(&heading)
        .unwrap_or_else(|| panic!("docs/RESULTS.md has no heading for {field}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

/// The definition that a value is of, be it null or not.
fn referred(schema: &Value) -> Option<&str> {
    let choices = schema["anyOf"].as_array().into_iter().flatten();
    [schema].into_iter().chain(choices).find_map(|one| one["$ref"].as_str())
}

/// Every key and every named value that a schema knows, under whatever other keys. What has a
/// heading of its own is explained there.
fn names(schema: &Value, root: &Value, found: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#'));
        names(target.expect("a definition"), root, found);
    }
    let below = |property: &Value| {
        let mut fields = root["properties"].as_object().into_iter().flatten();
        let reference = referred(property);
        reference.is_none() || fields.all(|(_, field)| referred(field) != reference)
    };
    if let Some(value) = schema["const"].as_str() {
        found.insert(value.to_owned());
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(key.clone());
        if below(property) {
            names(property, root, found);
        }
    }
    for choice in ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten()
    {
        names(choice, root, found);
    }
    if schema["items"].is_object() {
        names(&schema["items"], root, found);
    }
}

/// Whether a text has this name in code marks, alone or as a part of a path: `a.name`, `name[].b`.
fn mentions(text: &str, name: &str) -> bool {
    let code = text.split('`').skip(1).step_by(2);
    code.flat_map(|code| code.split(['.', '[', ']'])).any(|word| word == name)
}

/// The names that the tables of a section explain: the code in the first cell of each row.
fn explained(section: &str) -> impl Iterator<Item = &str> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2))
}

#[test]
fn every_field_is_explained_and_nothing_that_is_not_a_field() {
    let page = text(&repository().join("docs/RESULTS.md"));
    let root = schema::json_schema();
    let fields = root["properties"].as_object().expect("fields");
    let mut looked_at = 0;
    for (field, schema) in fields {
        let section = section(&page, field);
        let mut known = BTreeSet::new();
        names(schema, &root, &mut known);
        for name in &known {
            assert!(mentions(section, name), "docs/RESULTS.md, {field}: `{name}` is not explained");
        }
        // Of free objects the schema knows no fields.
        for path in explained(section).filter(|_| !known.is_empty()) {
            for name in path.split(['.', '[', ']']).filter(|name| !name.is_empty()) {
                assert!(known.contains(name), "docs/RESULTS.md, {field}: `{path}` is no field");
            }
        }
        looked_at += known.len();
    }
    assert!(looked_at > 150, "only {looked_at} names were looked at");
    let headings = page.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
    assert!(headings.clone().all(|field| fields.contains_key(field)));
    assert_eq!(headings.count(), fields.len());
}

/// What is kept in `results/`.
fn kept_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("results")).expect("a folder");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    let is_kept = |folder: &PathBuf| {
        folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kept-"))
    };
    let mut kept: Vec<_> = folders.filter(is_kept).collect();
    kept.sort();
    assert!(!kept.is_empty());
    kept
}

/// Those of one run, each with its result.
fn kept() -> Vec<(PathBuf, ResultFile)> {
    let read = |folder: PathBuf| {
        let result = store::read(&folder.join("result.json")).expect("a result");
        (folder, result)
    };
    kept_folders().into_iter().filter(|folder| !is_comparison(folder)).map(read).collect()
}

/// Whether two sides are kept in a folder, and not one run.
fn is_comparison(folder: &Path) -> bool {
    folder.join("comparison.md").is_file()
}

#[test]
fn what_the_schema_leaves_open_is_explained_as_runs_have_it() {
    let page = text(&repository().join("docs/RESULTS.md"));
    for (folder, result) in kept() {
        let host = result.host.as_object().expect("facts").keys();
        for (field, names) in [
            ("host", host.collect::<Vec<_>>()),
            ("limits_reached", result.limits_reached.keys().collect()),
        ] {
            for name in names {
                assert!(mentions(section(&page, field), name), "{field}: `{name}` of {folder:?}");
            }
        }
    }
}

/// The rules of `docs/RESULTS.md` under "What holds between the fields".
fn holds(name: &str, result: &ResultFile) {
    let (connections, messages) = (&result.connections, &result.messages);
    assert_eq!(
        connections.planned,
        connections.opened + connections.failed + connections.not_tried,
        "{name}"
    );
    assert_eq!(
        connections.opened,
        connections.lost + connections.ended + connections.open_at_end,
        "{name}"
    );
    let gone = connections.failed + connections.lost;
    let failures: u64 = Failure::ALL.into_iter().map(|kind| result.failures.get(kind)).sum();
    assert_eq!(failures, gone, "{name}");
    let broken: u64 = result.violations.values().sum();
    assert_eq!(broken, result.failures.protocol, "{name}");
    assert_eq!(messages.sent, messages.received + messages.lost, "{name}");
    assert!(messages.planned.is_none_or(|planned| messages.sent <= planned), "{name}");
    let count = |stage| result.stages.get(stage).map_or(0, |entry| entry.count);
    let first = messages.first_echo.as_ref().map_or(0, |round| round.received);
    let usable = if result.plan.websocket.is_some() { Stage::Upgrade } else { Stage::Connect };
    for (stage, expected) in [
        (usable, connections.opened),
        (Stage::Handshake, connections.opened),
        (Stage::FirstEcho, first),
        (Stage::Response, messages.received),
        (Stage::Service, messages.received),
        (Stage::Outside, result.audit.as_ref().map_or(0, |audit| audit.messages)),
        (Stage::ReceiveLag, result.audit.as_ref().map_or(0, |audit| audit.messages)),
    ] {
        assert_eq!(count(stage), expected, "{name}: {}", stage.name());
    }
    if let Some(audit) = &result.audit {
        let audited = audit.messages + audit.unstamped + audit.misfits;
        assert!(audited <= messages.received, "{name}");
        assert!(audit.ratio < 1.0 || audited == messages.received, "{name}");
    }
    for (stage, entry) in result.stages.iter() {
        let rising = [
            entry.min,
            entry.p50,
            entry.p75,
            entry.p90,
            entry.p95().expect("a histogram"),
            entry.p99,
            entry.p999,
            entry.p9999,
            entry.max,
        ];
        assert!(rising.is_sorted(), "{name}: {stage}: {rising:?}");
    }
    let echoes = messages.received + first;
    let reactors = result.reactors.iter().map(|one| [one.opened, one.failed, one.messages]);
    let seconds = result.timeline.iter().map(|one| [one.opened, one.failed, one.received]);
    let expected = [connections.opened, gone, echoes];
    assert_eq!(sums(reactors), expected, "{name}: reactors");
    assert_eq!(sums(seconds), expected, "{name}: timeline");
}

fn sums(rows: impl Iterator<Item = [u64; 3]>) -> [u64; 3] {
    rows.fold([0; 3], |sums, row| std::array::from_fn(|index| sums[index] + row[index]))
}

#[test]
fn what_is_said_to_hold_between_fields_holds_in_recorded_and_merged_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/repeats");
    let run =
        |number: u32| store::read(&folder.join(format!("run-{number:02}.json"))).expect("a result");
    let repeats: Vec<_> = (1..=12).map(run).collect();
    for repeat in &repeats {
        holds(&repeat.run.id, repeat);
    }
    holds("merged", &merge::merge(&repeats).expect("repeats of one plan"));
    for (folder, result) in kept() {
        holds(&folder.display().to_string(), &result);
    }
}

#[test]
fn the_index_of_results_has_a_row_for_each_kept_run_and_each_is_complete() {
    let index = text(&repository().join("results/README.md"));
    let folders = kept_folders();
    for folder in &folders {
        let name = folder.file_name().expect("a name").to_string_lossy();
        let row = format!("| [{name}]({name}/README.md) | ");
        assert!(index.contains(&row), "results/README.md has no row for {name}");
        let readme = text(&folder.join("README.md"));
        assert!(!readme.contains("<!-- write here"), "{name}/README.md is not finished");
        for side in ["base", "new"].into_iter().filter(|_| is_comparison(folder)) {
            Side::read(&folder.join(side)).expect("results");
        }
    }
    for (folder, result) in kept() {
        is_complete(&folder, &result);
    }
    let rows = index.lines().filter(|line| line.starts_with("| [kept-")).count();
    assert_eq!(rows, folders.len(), "results/README.md has a row for a run that is not there");
}

/// README, page and percentiles are there and of this run.
fn is_complete(folder: &Path, result: &ResultFile) {
    let readme = text(&folder.join("README.md"));
    let kernel = result.host["kernel_release"].as_str().expect("a name");
    for part in [text(&folder.join("command.txt")).trim(), kernel] {
        assert!(readme.contains(part), "{folder:?}: the README does not say: {part}");
    }
    let page = text(&folder.join("report.html"));
    assert!(page.contains(&result.run.id), "{folder:?}: report.html is of another run");
    let hgrm = export::hgrm(result, Stage::Response).expect("it had traffic");
    assert_eq!(text(&folder.join("response.hgrm")), hgrm, "{folder:?}: response.hgrm");
}
