//! Files that were written by earlier versions stay readable, and what is generated stays as it was
//! reviewed. The files in `fixtures/v1` are never written anew: they are what lies on users' disks.

use c1000k_report::{ResultFile, hist, schema, store, text, verdict};
use measure::{Failure, Stage};
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(name)
}

fn read(name: &str) -> ResultFile {
    store::read(&fixture(name)).expect("a version 1 result stays readable")
}

/// The text of a file in this crate, whatever git made of its line ends.
fn reviewed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).expect("a committed file").replace("\r\n", "\n")
}

#[test]
fn a_file_with_the_least_and_with_fields_of_a_later_minor_version_is_read() {
    let result = read("minimal.json");
    assert_eq!(result.run.seed, u64::MAX);
    assert_eq!(result.run.outcome, schema::Outcome::NotReached);
    assert_eq!(result.plan.model, schema::Model::None);
    assert_eq!(result.connections.rate_per_second, 4.0);
    assert_eq!(result.failures.get(Failure::Refused), 1);
    assert_eq!(result.messages.rate_planned, None);
    assert_eq!(result.verdict.exit_code, 6);
    assert!(result.stages.iter().map(|(stage, _)| stage).eq([Stage::Connect.name()]));
}

#[test]
fn a_large_file_is_read_and_written_without_loss() {
    let result = read("million.json");
    let again = serde_json::to_value(&result).expect("JSON");
    let before = reviewed("tests/fixtures/v1/million.json");
    let before = serde_json::from_str(&before).expect("JSON");
    holds("result", &again, &before);
    assert_eq!(result.connections.opened, 999_996);
    assert_eq!((result.timeline.len(), result.reactors.len()), (94, 56));
}

/// Everything that stands in the old value stands in the new one, which may hold more.
fn holds(path: &str, new: &Value, old: &Value) {
    if let (Some(new), Some(old)) = (new.as_object(), old.as_object()) {
        for (key, old) in old {
            holds(&format!("{path}.{key}"), new.get(key).unwrap_or(&Value::Null), old);
        }
    } else if let (Some(new), Some(old)) = (new.as_array(), old.as_array()) {
        assert_eq!(new.len(), old.len(), "{path}");
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            holds(&format!("{path}[{index}]"), new, old);
        }
    } else {
        assert_eq!(new, old, "{path}");
    }
}

#[test]
fn the_histograms_of_old_files_have_the_percentiles_that_stand_beside_them() {
    for name in ["minimal.json", "million.json"] {
        for (stage, entry) in read(name).stages.iter() {
            let histogram = hist::decode(&entry.hdr).expect("a histogram");
            assert_eq!(histogram.len(), entry.count, "{name} {stage}");
            let at = |quantile| histogram.value_at_quantile(quantile).min(entry.max);
            let expected = [entry.p50, entry.p75, entry.p90, entry.p99, entry.p999, entry.p9999];
            assert_eq!([0.5, 0.75, 0.9, 0.99, 0.999, 0.9999].map(at), expected, "{stage}");
            // These files are older than the one that is missing.
            assert_eq!((entry.p95, entry.p95()), (None, Some(at(0.95))));
        }
    }
}

#[test]
fn the_verdict_of_an_old_file_is_still_the_same() {
    let result = read("million.json");
    let thresholds: Result<Vec<verdict::Threshold>, _> =
        result.plan.thresholds.iter().map(|expression| expression.parse()).collect();
    let verdicts = verdict::evaluate(&result, &thresholds.expect("thresholds"));
    assert_eq!(verdicts, result.verdict.thresholds);
    assert_eq!(verdicts.iter().filter(|verdict| !verdict.ok).count(), 2);
}

/// To accept a change: `c1000k-report show tests/fixtures/v1/NAME.json > tests/fixtures/NAME.txt`
/// in this crate's folder, and read the difference.
#[test]
fn the_summary_is_the_one_that_was_reviewed() {
    for name in ["minimal", "million"] {
        let file = format!("tests/fixtures/v1/{name}.json");
        let shown = text::summary(&read(&format!("{name}.json")), 80);
        let expected = reviewed(&format!("tests/fixtures/{name}.txt"));
        assert_eq!(shown + &text::file_line(Path::new(&file)), expected);
    }
}

/// To accept a change: `c1000k-report schema > result.schema.json` in this crate's folder.
#[test]
fn the_schema_is_the_one_that_was_reviewed() {
    let generated = serde_json::to_string_pretty(&schema::json_schema()).expect("JSON") + "\n";
    assert_eq!(generated, reviewed("result.schema.json"), "see how to accept a change");
}

#[test]
fn every_field_of_the_schema_is_described() {
    let schema = schema::json_schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    let mut fields = 0;
    for (name, definition) in definitions.iter().chain([(&"ResultFile".to_owned(), &schema)]) {
        assert!(definition["description"].is_string(), "{name}");
        for (key, field) in definition["properties"].as_object().into_iter().flatten() {
            assert!(field["description"].is_string(), "{name}.{key}");
            fields += 1;
        }
    }
    assert!(fields > 100, "only {fields} fields were looked at");
}

/// The schema without room for what it does not name: the one for readers has it, for minor
/// versions to come.
fn closed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            let inner = std::mem::take(members);
            members.extend(inner.into_iter().map(|(key, value)| (key, closed(value))));
            if members.contains_key("properties") && members.contains_key("type") {
                members.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| *item = closed(item.take()));
        }
        _ => {}
    }
    schema
}

/// Every key of a written result is in the schema, every key that the schema requires is in it, and
/// every value is of its type.
#[test]
fn what_is_written_agrees_with_the_schema() {
    let schema = closed(serde_json::from_str(&reviewed("result.schema.json")).expect("JSON"));
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let repeats = (1..=12).map(|number| format!("../repeats/run-{number:02}.json"));
    let kept = "../../../../../results/kept-2026-11-26-tcp-1m/result.json".to_owned();
    for name in repeats.chain(["minimal.json".to_owned(), "million.json".to_owned(), kept]) {
        let mut result = read(&name);
        // What only later runs and merged ones have.
        let (stages, resources) = (result.stages.clone(), result.resources.clone());
        result.phases = vec![schema::Phase { stages, ..schema::Phase::default() }];
        result.machines = vec![schema::Machine { resources, ..schema::Machine::default() }];
        let mut written = serde_json::to_value(result).expect("JSON");
        let wrong: Vec<_> = validator
            .iter_errors(&written)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        // A validator that finds nothing wrong with anything would find nothing here either.
        written["connections"]["opened"] = Value::from("many");
        assert!(!validator.is_valid(&written));
        written["connections"]["opened"] = Value::from(1);
        written["connections"]["more"] = Value::from(1);
        assert!(!validator.is_valid(&written));
    }
}

/// What was written by programs of this version stays valid as it lies on the disk: of the fields
/// that it lacks there is none that the schema requires, unless a later minor version added it.
#[test]
fn a_file_as_it_was_written_is_valid_but_for_what_was_added_since() {
    let validator = jsonschema::validator_for(&schema::json_schema()).expect("a schema");
    let old: Value =
        serde_json::from_str(&reviewed("tests/fixtures/v1/million.json")).expect("JSON");
    for error in validator.iter_errors(&old) {
        // What may be null is checked as a whole; this one has got a field, too.
        let whole = error.instance_path().to_string() == "/messages/first_echo";
        assert!(whole || error.to_string().ends_with("is a required property"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_cut_anywhere_is_refused_and_a_damaged_one_never_panics(
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("result.json");
        let mut bytes = std::fs::read(fixture("minimal.json")).expect("a fixture");
        let whole = bytes.trim_ascii_end().len();
        let at = at.index(whole);
        std::fs::write(&path, &bytes[..at]).expect("written");
        let refused = store::read(&path).expect_err("cut");
        use store::StoreError::{Empty, Truncated};
        let told = matches!(refused, Truncated { .. } | Empty(_));
        prop_assert!(told, "{}", refused);
        bytes[at] = with;
        std::fs::write(&path, &bytes).expect("written");
        if let Ok(result) = store::read(&path) {
            let _ = text::summary(&result, 80);
        }
    }
}
