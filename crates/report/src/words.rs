//! Words and cells that all summaries share: numbers with their units, percentiles that their
//! values carry, text from elsewhere made harmless.

use crate::figure::Unit;
use crate::hist::StageEntry;
use crate::neutral::neutral;
use measure::Nanos;
use measure::units::{self, format_count, format_duration, format_grouped, format_size};

/// What a terminal shows as it is: a file from elsewhere may carry escape sequences in its texts.
pub(crate) fn ascii(text: &str) -> String {
    let shown = |c: char| match c {
        ' '..='~' | '\u{a0}' => c,
        // The sign of times, as in `closed 4401 × 20`.
        '\u{d7}' => 'x',
        _ => '?',
    };
    text.chars().map(shown).collect()
}

/// Keeps a number and its unit on one line: [`wrap`] breaks at plain spaces only.
pub(crate) fn tight(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

pub(crate) fn time(nanoseconds: u64) -> String {
    tight(&format_duration(Nanos(nanoseconds)))
}

pub(crate) fn seconds(seconds: f64) -> String {
    time((seconds.max(0.0) * 1e9) as u64)
}

pub(crate) fn size(bytes: u64) -> String {
    tight(&format_size(bytes))
}

pub(crate) fn percent(ratio: f64, decimals: usize) -> String {
    tight(&format!("{:.decimals$} %", 100.0 * ratio))
}

/// A rate that no line is broken in.
pub(crate) fn format_rate(per_second: f64) -> String {
    units::format_rate(per_second).replace(' ', "\u{a0}")
}

pub(crate) fn grouped(value: f64) -> String {
    format_grouped(value.max(0.0).round() as u64)
}

/// The percentiles of the tables, each with the share of values that lie beyond it.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.1), ("p95", 0.05), ("p99", 0.01), ("p99.9", 0.001)];

/// How many values must lie beyond a percentile; with fewer it is the luck of single messages.
const BEYOND: f64 = 10.0;

/// What the mark of those says.
pub(crate) const THIN: &str = "~: fewer than 10 values lie beyond it";

/// The percentiles of a stage as cells; those that its values cannot carry are marked.
pub(crate) fn percentile_cells(entry: &StageEntry) -> Vec<String> {
    let p95 = entry.p95().unwrap_or(entry.max);
    let times = [entry.p50, entry.p90, p95, entry.p99, entry.p999];
    let cell = |(time, (_, beyond)): (u64, (_, f64))| match carries(entry.count, beyond) {
        true => time_cell(time),
        // One column more for the mark, one less for the space.
        false => format!("~{}", time_cell(time).replace(' ', "")),
    };
    times.into_iter().zip(PERCENTILES).map(cell).collect()
}

/// Whether so many values carry a percentile beyond which this share of them lies.
pub(crate) fn carries(count: u64, beyond: f64) -> bool {
    // A whole number is not to be missed by the last bit of its factor.
    count as f64 * beyond > BEYOND - 1e-6
}

/// Whether the values of a stage carry all percentiles of the tables.
pub(crate) fn carried(entry: &StageEntry) -> bool {
    PERCENTILES.into_iter().all(|(_, beyond)| carries(entry.count, beyond))
}

/// A count that fits its column: all digits, or scaled from a thousand million on.
pub(crate) fn count_cell(count: u64) -> String {
    let grouped = format_grouped(count);
    if grouped.len() <= 11 { grouped } else { format_count(count) }
}

/// A time that fits its column: minutes and hours would not.
pub(crate) fn time_cell(nanoseconds: u64) -> String {
    match nanoseconds {
        100_000_000_000.. => format!("{} s", nanoseconds / 1_000_000_000),
        _ => format_duration(Nanos(nanoseconds)),
    }
}

pub(crate) fn non_zero<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let named: Vec<_> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {}", format_grouped(count)))
        .collect();
    named.join(", ")
}

pub(crate) fn in_unit(value: f64, unit: &str) -> String {
    match Unit::from_name(unit) {
        Some(Unit::Nanoseconds) => time(value.max(0.0).round() as u64),
        Some(Unit::Seconds) => seconds(value),
        Some(Unit::Bytes) => size(value.max(0.0).round() as u64),
        Some(Unit::PerSecond) => format_rate(value),
        Some(Unit::Count) => grouped(value),
        Some(Unit::Ratio) => format!("{value:.3}"),
        None => format!("{value} {unit}"),
    }
}

/// So many of them.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{} {what}{many}", format_grouped(count))
}

/// Text from files, which may hold anything, as Markdown that shows it and does nothing else.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in neutral(text).chars() {
        match c {
            '\n' => escaped.push(' '),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '@' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}
