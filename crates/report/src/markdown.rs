//! The summary of a result as Markdown: for an issue, a pull request or a README.

use crate::headline::{self, Worst};
use crate::section::audit::COLUMNS;
use crate::section::verdict::threshold_words;
use crate::section::{
    ABOVE, BELOW, Line, ResultFile, Shown, audit, generator, messages, phases, plan, run, spread,
    stages,
};
use crate::words::{PERCENTILES, THIN, carried, escaped, in_unit, percentile_cells};
use measure::units::{format_duration, format_grouped, format_rate};
use measure::{Nanos, Stage};
use std::fmt::Write as _;

/// The summary of a result as Markdown (tables as GitHub has them).
#[must_use]
pub fn summary(result: &ResultFile) -> String {
    let plain = |text: String| escaped(&text.replace('\u{a0}', " "));
    let run = &result.run;
    let title = run.label.as_deref().unwrap_or(&run.id);
    let mut text = format!("### {}\n\n", escaped(title));
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let (words, worst) = headline::of(result);
    if !words.is_empty() {
        let mark = match worst {
            Worst::Good => "\u{2705}",
            Worst::Doubt => "\u{26a0}\u{fe0f}",
            Worst::Bad => "\u{274c}",
        };
        line(format!("{mark} **{}**\n", escaped(&words)));
    }
    line(format!("- target: {}", escaped(&result.plan.targets.join(" "))));
    line(format!("- plan: {}", plain(plan::words(&result.plan))));
    for reason in &generator::reasons(result) {
        line(format!(
            "- **CLIENT-LIMITED**: {} ({}) → {}",
            escaped(&reason.text),
            escaped(&reason.code),
            escaped(&reason.remedy)
        ));
    }
    let mut named = |name: &str, words: String| {
        if !words.is_empty() {
            line(format!("- {name}: {}", plain(words.trim().replace('\n', "; "))));
        }
    };
    named("addresses", plan::addresses(&result.plan));
    named("outcome", run::words(run, &result.verdict));
    for Line(name, words, shown) in ABOVE.iter().chain(BELOW) {
        if *shown != Shown::Terminal {
            named(name, words(result));
        }
    }
    if result.messages.sent > 0 {
        let messages = &result.messages;
        line(format!(
            "- messages: {} of {} sent answered, {}",
            format_grouped(messages.received),
            format_grouped(messages.sent),
            format_rate(messages.rate_achieved),
        ));
        if let Some(served) = messages::served(result) {
            line(format!("- served: {}", plain(served)));
        }
    }
    for warning in generator::other_warnings(result) {
        line(format!(
            "- **warning**: {} ({}) → {}",
            escaped(&warning.text),
            escaped(&warning.code),
            escaped(&warning.remedy)
        ));
    }
    for one in &result.verdict.thresholds {
        let mark = if one.ok { "ok" } else { "**MISSED**" };
        line(format!("- {mark}: {}", plain(threshold_words(one))));
    }
    if result.stages.iter().next().is_some() {
        line(String::new());
        let names = PERCENTILES.map(|(name, _)| name).join(" | ");
        line(format!("| latency | count | {names} | max |"));
        line("|---|---:|---:|---:|---:|---:|---:|---:|".to_owned());
    }
    let known = |name: &str| Stage::from_name(name).map(|known| known.name().to_owned());
    let cell = |name: &str| known(name).unwrap_or_else(|| escaped(name));
    let whole = stages::shown(result).map(|(name, entry)| (cell(name), entry));
    let by_phase = phases::rows(result).map(|(name, entry)| (escaped(&name), entry));
    let rows: Vec<_> = whole.chain(by_phase).collect();
    for (name, entry) in &rows {
        line(format!(
            "| {name} | {} | {} | {} |",
            format_grouped(entry.count),
            percentile_cells(entry).join(" | "),
            format_duration(Nanos(entry.max)),
        ));
    }
    if rows.iter().any(|(_, entry)| !carried(entry)) {
        line(format!("\n{}", escaped(THIN)));
    }
    if let Some(audit) = &result.audit {
        line(String::new());
        line(format!("- audit: {}", audit::heading(audit)));
        for more in [audit::missing(audit), audit::tcp(audit).replace('\n', "; ")] {
            if !more.is_empty() {
                line(format!("- {more}"));
            }
        }
        let parts = audit::parts(audit);
        if !parts.is_empty() {
            line(format!("\n| part | {} |", COLUMNS.join(" | ")));
            line(format!("|---|{}", "---:|".repeat(COLUMNS.len())));
        }
        for part in parts {
            line(format!("| {} | {} |", part.name, part.cells.join(" | ")));
        }
    }
    if result.spread.iter().any(|one| one.values.len() > 1) {
        text.push_str(
            "\n| spread of the runs | min | median | max | cv |\n|---|---:|---:|---:|---:|\n",
        );
        for one in &result.spread {
            let [min, median, max] =
                [one.min, one.median, one.max].map(|value| match one.unit.as_str() {
                    "bytes" => format!("{} B", format_grouped(value.max(0.0).round() as u64)),
                    unit => plain(in_unit(value, unit)),
                });
            let name = escaped(spread::label(&one.metric));
            let cv = one
                .variation_ratio
                .map_or_else(|| "-".to_owned(), |cv| format!("{:.1} %", 100.0 * cv));
            let _ = writeln!(text, "| {name} | {min} | {median} | {max} | {cv} |");
        }
    }
    text
}
