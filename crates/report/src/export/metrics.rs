//! The Prometheus text format, version 0.0.4: what thresholds can name as gauges, latency as
//! summaries in seconds.

use crate::figure::Unit;
use crate::hist::StageEntry;
use crate::neutral::neutral;
use crate::section::ResultFile;
use crate::section::metric::Metric;
use crate::section::phases::FIGURES;
use measure::Failure;
use std::fmt::Write as _;

/// The percentiles of a summary.
const QUANTILES: [(&str, &str); 7] = [
    ("0.5", "p50"),
    ("0.75", "p75"),
    ("0.9", "p90"),
    ("0.95", "p95"),
    ("0.99", "p99"),
    ("0.999", "p999"),
    ("0.9999", "p9999"),
];

/// The figures of a result as Prometheus reads them. What was not measured is not there.
#[must_use]
pub fn prometheus(result: &ResultFile) -> String {
    let mut text = String::new();
    let run = &result.run;
    text += &head("c1000k_run_info", "Which run this is.", "gauge");
    let _ = writeln!(
        text,
        "c1000k_run_info{{id=\"{}\",label=\"{}\",outcome=\"{}\",version=\"{}\"}} 1",
        value(&run.id),
        value(run.label.as_deref().unwrap_or_default()),
        run.outcome.name(),
        value(&result.tool.version),
    );
    text += &head("c1000k_exit_code", "What the client returned.", "gauge");
    let _ = writeln!(text, "c1000k_exit_code {}", result.verdict.exit_code);
    text += &head("c1000k_latency_seconds", "Latency by stage.", "summary");
    for (stage, entry) in result.stages.iter() {
        let labels = format!("stage=\"{}\"", value(stage));
        text += &summary("c1000k_latency_seconds", &labels, entry);
    }
    text += &head("c1000k_latency_max_seconds", "The longest of each stage.", "gauge");
    for (stage, entry) in result.stages.iter() {
        let _ = writeln!(
            text,
            "c1000k_latency_max_seconds{{stage=\"{}\"}} {}",
            value(stage),
            entry.max as f64 / 1e9
        );
    }
    text += &head("c1000k_failures", "Connections that failed or were lost, by kind.", "gauge");
    for kind in Failure::ALL {
        let _ = writeln!(
            text,
            "c1000k_failures{{kind=\"{}\"}} {}",
            kind.name(),
            result.failures.get(kind)
        );
    }
    text += &phases(result);
    for metric in Metric::numbers() {
        let Some(found) = metric.value(result) else { continue };
        let path = metric.name();
        let (name, found) = match metric.unit() {
            // Prometheus wants base units.
            Unit::Nanoseconds if path.contains("_ns") => {
                (path.replace("_ns", "_seconds"), found / 1e9)
            }
            Unit::Nanoseconds => (format!("{path}_seconds"), found / 1e9),
            _ => (path.clone(), found),
        };
        let name = format!("c1000k_{}", name.replace('.', "_"));
        text += &head(&name, &format!("{path} of the result file."), "gauge");
        let _ = writeln!(text, "{name} {found}");
    }
    if !result.verdict.thresholds.is_empty() {
        text += &head("c1000k_threshold_ok", "Whether a threshold was kept.", "gauge");
    }
    for one in &result.verdict.thresholds {
        let _ = writeln!(
            text,
            "c1000k_threshold_ok{{expression=\"{}\"}} {}",
            value(&one.expression),
            u8::from(one.ok)
        );
    }
    text
}

/// What a family of figures begins with.
fn head(name: &str, help: &str, kind: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

/// A latency as a summary: its percentiles, sum and count.
fn summary(name: &str, labels: &str, entry: &StageEntry) -> String {
    let mut text = String::new();
    for (quantile, statistic) in QUANTILES {
        let seconds = entry.statistic(statistic).unwrap_or_default() / 1e9;
        let _ = writeln!(text, "{name}{{{labels},quantile=\"{quantile}\"}} {seconds}");
    }
    let sum = entry.mean * entry.count as f64 / 1e9;
    let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}");
    let _ = writeln!(text, "{name}_count{{{labels}}} {}", entry.count);
    text
}

/// The figures of each phase, labelled with its name and act; nothing without any.
fn phases(result: &ResultFile) -> String {
    if result.phases.is_empty() {
        return String::new();
    }
    let labels: Vec<_> = result
        .phases
        .iter()
        .map(|of| (of, format!("phase=\"{}\",act=\"{}\"", value(&of.name), value(&of.act))))
        .collect();
    let mut text = String::new();
    for figure in &FIGURES {
        let name = format!("c1000k_phase_{}", figure.name);
        text += &head(&name, &format!("{} of a phase of the run.", figure.name), "gauge");
        for (phase, labels) in &labels {
            let _ = writeln!(text, "{name}{{{labels}}} {}", (figure.read)(phase));
        }
    }
    text += &head("c1000k_phase_latency_seconds", "Latency by phase and stage.", "summary");
    for (phase, labels) in &labels {
        for (stage, entry) in phase.stages.iter() {
            let labels = format!("{labels},stage=\"{}\"", value(stage));
            text += &summary("c1000k_phase_latency_seconds", &labels, entry);
        }
    }
    text
}

/// Text as the value of a label.
fn value(text: &str) -> String {
    neutral(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
