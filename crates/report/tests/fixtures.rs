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
    assert!(result.stages.iter().map(|(stage, _)| stage).eq([Stage::Connect]));
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
            assert_eq!(histogram.len(), entry.count, "{name} {}", stage.name());
            let at = |quantile| histogram.value_at_quantile(quantile).min(entry.max);
            let expected = [entry.p50, entry.p75, entry.p90, entry.p99, entry.p999, entry.p9999];
            assert_eq!([0.5, 0.75, 0.9, 0.99, 0.999, 0.9999].map(at), expected, "{}", stage.name());
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

/// Every key of a written result is in the schema, and every key that the schema requires is in it.
#[test]
fn what_is_written_agrees_with_the_schema() {
    let schema = schema::json_schema();
    let result = serde_json::to_value(read("million.json")).expect("JSON");
    agrees("result", &result, &schema, &schema);
}

fn agrees(path: &str, value: &Value, schema: &Value, root: &Value) {
    let reference = schema["$ref"].as_str().or_else(|| {
        let not_null = schema["anyOf"].as_array()?.iter().find(|one| one["$ref"].is_string())?;
        not_null["$ref"].as_str()
    });
    if let Some(reference) = reference {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
        return if value.is_null() {
            assert!(schema["anyOf"].is_array(), "{path}")
        } else {
            agrees(path, value, target, root);
        };
    }
    if let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    {
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(members.contains_key(required.as_str().expect("a name")), "{path}.{required}");
        }
        for (key, member) in members {
            let property = properties.get(key);
            let property = property.unwrap_or_else(|| panic!("{path}.{key} is not in the schema"));
            agrees(&format!("{path}.{key}"), member, property, root);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        agrees(&format!("{path}[{index}]"), item, &schema["items"], root);
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
        let told = matches!(refused, store::StoreError::Truncated { .. } | store::StoreError::Empty(_));
        prop_assert!(told, "{}", refused);
        bytes[at] = with;
        std::fs::write(&path, &bytes).expect("written");
        if let Ok(result) = store::read(&path) {
            let _ = text::summary(&result, 80);
        }
    }
}
