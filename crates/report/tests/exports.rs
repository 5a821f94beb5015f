//! What is written for other programs and for people: read back where this house can read it, and
//! held against what was reviewed where it cannot. `scripts/tests/report.sh` has others read it.

use c1000k_report::schema::{Generator, Outcome, ThresholdVerdict, Warning};
use c1000k_report::{
    ResultFile, export, generator, hist, html, markdown, merge, schema, store, wrk,
};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use measure::Stage;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

fn read(name: &str) -> ResultFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    store::read(&path).expect("a result")
}

/// The text of a file in this crate, whatever git made of its line ends.
fn reviewed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read_to_string(path).expect("a committed file").replace("\r\n", "\n")
}

fn page(result: &ResultFile) -> String {
    html::page(&[html::Run::new("run".to_owned(), result.clone()).expect("histograms")])
}

/// To accept a change: run the command that makes the file, from this crate's folder, into the
/// file.
#[test]
fn texts_are_the_ones_that_were_reviewed() {
    let result = read("v1/million.json");
    let hgrm = export::hgrm(&result, Stage::Response).expect("measured");
    for (file, text) in [
        ("million.md", markdown::summary(&result)),
        ("million.wrk", wrk::summary(&result)),
        ("million.prom", export::prometheus(&result)),
        ("million.junit.xml", export::junit(&result)),
        ("million.hgrm", hgrm),
    ] {
        assert_eq!(text, reviewed(file), "{file}");
    }
}

#[test]
fn a_client_that_was_the_bottleneck_is_told_and_fails_nothing() {
    let mut result = read("v1/million.json");
    result.verdict.thresholds.clear();
    result.generator = Some(Generator { busy_max: 0.97, ..Generator::default() });
    let case = r#"<testcase classname="c1000k" name="the client was not the bottleneck""#;
    let good = export::junit(&result);
    assert!(good.contains(&format!("{case}/>")), "{good}");
    let metrics = export::prometheus(&result);
    assert!(metrics.contains("\nc1000k_generator_limited 0\n"), "{metrics}");
    assert!(metrics.contains("\nc1000k_generator_busy_max 0.97\n"), "{metrics}");

    let reason = Warning {
        code: "client_busy".to_owned(),
        text: "reactor 0 was busy 97\u{a0}% of the time".to_owned(),
        remedy: "use more reactors".to_owned(),
    };
    result.generator =
        Some(Generator { limited: true, reasons: vec![reason], ..Generator::default() });
    let limited = export::junit(&result);
    let skipped = r#"<skipped message="reactor 0 was busy 97 % of the time: use more reactors"/>"#;
    assert!(limited.contains(skipped), "{limited}");
    assert!(limited.contains(r#"tests="2" failures="0" errors="0" skipped="1""#), "{limited}");
    assert!(export::prometheus(&result).contains("\nc1000k_generator_limited 1\n"));

    result.run.outcome = Outcome::NotReached;
    result.run.warnings =
        vec![Warning { text: "5 of 10 connections were lost".to_owned(), ..Warning::default() }];
    let failed = export::junit(&result);
    let why = "the run ended as 'not_reached'; 5 of 10 connections were lost\"/>";
    assert!(failed.contains(why), "{failed}");
}

#[test]
fn wrks_words_tell_what_was_answered_and_not_served() {
    let mut result = read("v1/million.json");
    assert!(!wrk::summary(&result).contains("Non-2xx"));
    result.plan.http = Some(schema::Http::default());
    result.http_statuses =
        [("200", 90), ("304", 9), ("404", 3), ("503", 4)].map(|(s, n)| (s.to_owned(), n)).into();
    let text = wrk::summary(&result);
    assert!(text.contains("\n  Non-2xx or 3xx responses: 7\nRequests/sec:"), "{text}");
}

/// The intervals of a log by tag: how many, and their sum.
fn intervals(log: &str) -> BTreeMap<String, (usize, hdrhistogram::Histogram<u64>)> {
    let mut tags = BTreeMap::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        let LogEntry::Interval(interval) = entry.expect("a log") else { continue };
        let histogram = hist::decode(interval.encoded_histogram()).expect("a histogram");
        let tag = interval.tag().expect("a tag").as_str().to_owned();
        let (count, sum) =
            tags.entry(tag).or_insert_with(|| (0, hdrhistogram::Histogram::new_from(&histogram)));
        *count += 1;
        sum.add(histogram).expect("of one kind");
    }
    tags
}

#[test]
fn an_interval_log_has_every_value_of_every_stage() {
    for (name, seconds) in [("v1/million.json", 1), ("repeats/run-01.json", 5)] {
        let result = read(name);
        let tags = intervals(&export::hlog(&result).expect("a log"));
        assert_eq!(tags.len(), result.stages.iter().count(), "{name}");
        for (stage, entry) in result.stages.iter() {
            let (count, sum) = &tags[stage];
            let expected = if stage == Stage::Response.name() { seconds } else { 1 };
            assert_eq!((*count, sum.len()), (expected, entry.count), "{name} {stage}");
            let p99 = sum.value_at_quantile(0.99).min(entry.max) as f64;
            assert!((p99 / entry.p99 as f64 - 1.0).abs() < 0.01, "{name} {stage}");
        }
    }
}

#[test]
fn a_percentile_file_ends_at_one_with_all_values() {
    let result = read("repeats/run-01.json");
    for (stage, entry) in result.stages.iter() {
        let stage = Stage::from_name(stage).expect("known");
        let text = export::hgrm(&result, stage).expect("measured");
        let rows = text.lines().filter(|line| !line.starts_with('#')).skip(2);
        let rows: Vec<Vec<f64>> = rows
            .map(|line| {
                line.split_whitespace().map(|cell| cell.parse().expect("a number")).collect()
            })
            .collect();
        assert!(rows.windows(2).all(|two| two[0][0] <= two[1][0] && two[0][2] <= two[1][2]));
        let last = rows.last().expect("rows");
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, entry.count as f64));
        assert!((last[0] * 1e3 - entry.max as f64).abs() < 1.0, "in microseconds");
    }
}

#[test]
fn a_stage_that_was_not_measured_is_an_error_with_what_there_is() {
    let error =
        export::stage_or_default(&read("v1/minimal.json"), Some(Stage::Response)).expect_err("no");
    assert_eq!(
        error.to_string(),
        "nothing was measured in stage 'response': this result has connect"
    );
    assert_eq!(export::stage_or_default(&read("v1/minimal.json"), None), Ok(Stage::Connect));
    assert!(export::hlog(&ResultFile::default()).is_err());
}

#[test]
fn the_time_line_has_a_line_for_each_second() {
    let result = read("v1/million.json");
    let csv = export::csv(&result);
    let mut lines = csv.lines();
    let columns = lines.next().expect("a head").split(',').count();
    assert_eq!(columns, 12);
    for (line, second) in lines.clone().zip(&result.timeline) {
        assert_eq!(line.split(',').count(), columns);
        assert!(line.starts_with(&format!("{},{},{}", second.second, second.opened, second.open)));
    }
    assert_eq!(lines.count(), result.timeline.len());
}

#[test]
fn a_page_says_first_that_the_client_was_the_bottleneck_and_how_the_work_was_shared() {
    let limited = page(&read("v1/million.json"));
    let said = limited.find("CLIENT-LIMITED").expect("busy 96 %");
    assert!(said < limited.find("<main>").expect("a page"));
    assert_eq!(limited.matches("(client_busy)").count(), 1, "once, not among the warnings again");
    let mut result = read("repeats/run-01.json");
    assert!(!page(&result).contains("CLIENT-LIMITED"));
    assert!(!page(&result).contains("Imbalance"), "an older file does not tell");
    result.generator = Some(generator::of_reactors(&result.reactors));
    result.balance.client = c1000k_report::balance::client_balance(&result);
    let page = page(&result);
    for words in ["Imbalance over the reactors", "Client: messages", "Busiest reactor"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn a_page_has_its_charts_and_needs_nothing_else() {
    for (name, charts) in
        [("v1/million.json", 10), ("repeats/run-01.json", 10), ("v1/minimal.json", 1)]
    {
        let page = page(&read(name));
        assert_eq!(page.matches("<svg class=\"chart wide\"").count(), charts, "{name}");
        assert_eq!(page.matches("chart wide").count(), page.matches("chart narrow").count());
        for forbidden in ["<script", "src=", "@import", "url(", "href=\"http", "onload", "onclick"]
        {
            assert!(!page.contains(forbidden), "{name}: {forbidden}");
        }
        // Numbers that are none would be drawn nowhere.
        for broken in ["NaN", "inf\"", "inf,"] {
            assert!(!page.contains(broken), "{name}: {broken}");
        }
        let ids: Vec<_> =
            page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len(), "{ids:?}");
    }
    let with_histograms = page(&read("repeats/run-01.json"));
    assert!(with_histograms.contains("Responses as a heat map"));
    assert!(page(&read("v1/million.json")).contains("There is no heat map"));
}

#[test]
fn several_runs_are_laid_over_each_other_with_a_legend() {
    let run = |name: &str| html::Run::new(name.to_owned(), read(&format!("repeats/{name}.json")));
    let runs = ["run-01", "run-02", "run-03"].map(|name| run(name).expect("histograms"));
    let page = html::page(&runs);
    assert!(page.contains("3 runs compared") && page.contains("<ul class=\"legend\">"));
    for color in ["c0", "c1", "c2"] {
        assert!(page.contains(&format!("class=\"series {color} solid\"")), "{color}");
    }
}

#[test]
fn the_page_says_how_messages_were_sent_where_that_is_known() {
    let mut result = read("v1/million.json");
    assert!(!page(&result).contains("Pacing"));
    let (dispersion, windows) = (Some(1.2345), 10_000);
    result.pacing = Some(schema::Pacing {
        dispersion,
        windows,
        rate_error: -0.001,
        ..schema::Pacing::default()
    });
    let page = page(&result);
    for part in ["Pacing", "1.234", "99.900 %", "10,000 of", "uniform"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn warnings_and_missed_thresholds_come_before_the_charts() {
    let page = page(&read("v1/million.json"));
    let at = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what}"));
    assert!(at("class=\"warning\"") < at("id=\"latency\""));
    assert!(at("MISSED") < at("id=\"latency\""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn foreign_text_stays_text(text in "[<>&\"'a-z/=\\\\ ]{0,30}|\\PC{0,20}|[\\x00-\\x7f]{0,30}") {
        let hostile = format!("<script>alert(1)</script>\"><b onclick='x'>&\n# {text}");
        let mut result = read("v1/minimal.json");
        result.run.label = Some(hostile.clone());
        result.run.id = hostile.clone();
        result.run.command = vec![hostile.clone()];
        result.plan.targets = vec![hostile.clone()];
        result.host = serde_json::json!({ hostile.clone(): hostile.clone() });
        let (code, text, remedy) = (hostile.clone(), hostile.clone(), hostile.clone());
        result.run.warnings = vec![Warning { code, text, remedy }];
        let (expression, unit) = (hostile.clone(), hostile);
        result.verdict.thresholds =
            vec![ThresholdVerdict { expression, unit, ..ThresholdVerdict::default() }];
        let page = page(&result);
        prop_assert!(!page.contains("<script") && !page.contains("<b "), "{}", page);
        let markdown = markdown::summary(&result);
        prop_assert!(!markdown.contains("<script") && !markdown.contains("<b "), "{}", markdown);
        let junit = export::junit(&result);
        prop_assert!(!junit.contains("<script") && !junit.contains("<b "), "{}", junit);
        prop_assert!(junit.chars().all(|c| c == '\n' || !c.is_control()));
        // A line of its own would be a figure of its own.
        let prometheus = export::prometheus(&result);
        for line in prometheus.lines() {
            prop_assert!(line.starts_with("# ") || line.starts_with("c1000k_"), "{}", line);
        }
        let log = export::hlog(&result).expect("a log");
        let known = |line: &str| line.starts_with(['#', '"']) || line.starts_with("Tag=");
        prop_assert!(log.lines().all(known));
    }

    #[test]
    fn damage_is_told_or_shown_but_never_a_panic(
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        digits in "[0-9]{1,20}",
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("result.json");
        let whole = reviewed("repeats/run-01.json");
        let mut bytes = whole.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = with;
        // And a number somewhere that is far too large.
        let enlarged = whole.replacen(": 1", &format!(": {digits}"), at % 40);
        for bytes in [bytes, enlarged.into_bytes()] {
            std::fs::write(&path, &bytes).expect("written");
            let Ok(result) = store::read(&path) else { continue };
            let _ = html::Run::new("run".to_owned(), result.clone()).map(|run| html::page(&[run]));
            let _ = (markdown::summary(&result), wrk::summary(&result), export::hlog(&result));
            let _ = (export::prometheus(&result), export::junit(&result), export::csv(&result));
            let _ = export::hgrm(&result, Stage::Response);
            let mut other = result.clone();
            other.run.id = "other".to_owned();
            let _ = merge::merge(&[result, other]);
        }
    }
}
