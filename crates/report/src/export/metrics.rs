//! The Prometheus text format, version 0.0.4: what thresholds can name as gauges, latency as summaries
//! in seconds.

use crate::figure::Unit;
use crate::neutral::neutral;
use crate::section::ResultFile;
use crate::section::metric::Metric;
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
    let head = |name: &str, help: &str, kind: &str| {
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
    };
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
        let stage = value(stage);
        for (quantile, statistic) in QUANTILES {
            let seconds = entry.statistic(statistic).unwrap_or_default() / 1e9;
            let _ = writeln!(
                text,
                "c1000k_latency_seconds{{stage=\"{stage}\",quantile=\"{quantile}\"}} {seconds}"
            );
        }
        let sum = entry.mean * entry.count as f64 / 1e9;
        let _ = writeln!(text, "c1000k_latency_seconds_sum{{stage=\"{stage}\"}} {sum}");
        let _ = writeln!(text, "c1000k_latency_seconds_count{{stage=\"{stage}\"}} {}", entry.count);
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

/// Text as the value of a label.
fn value(text: &str) -> String {
    neutral(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
