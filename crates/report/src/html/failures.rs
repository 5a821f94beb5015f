//! What went wrong, by kind, status and rule.

use super::data::Run;
use super::{Row, row, table};
use crate::section::ResultFile;
use maud::{Markup, html};
use measure::Failure;
use measure::units::format_grouped;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn failures(runs: &[Run]) -> Markup {
    let some = |kind: &Failure| runs.iter().any(|run| run.result.failures.get(*kind) > 0);
    let kinds: Vec<_> = Failure::ALL.into_iter().filter(some).collect();
    let mut rows: Vec<Row> = vec![
        row(runs, "connections that failed", |r| Some(format_grouped(r.connections.failed))),
        row(runs, "connections lost", |r| Some(format_grouped(r.connections.lost))),
        row(runs, "messages without reply", |r| Some(format_grouped(r.messages.lost))),
        row(runs, "wrong replies", |r| Some(format_grouped(r.messages.mismatched))),
    ];
    rows.extend(kinds.iter().map(|kind| {
        row(runs, &format!("kind: {}", kind.name()), |r| {
            Some(format_grouped(r.failures.get(*kind)))
        })
    }));
    html! {
        @if kinds.is_empty() { p { "No connection failed, and none was lost." } }
        (table(runs, "Failures", &rows))
        (counts(runs, "Handshakes answered with another status", |result| &result.http_statuses))
        (counts(runs, "Rules of the protocol that connections broke", |result| &result.violations))
    }
}

fn counts(
    runs: &[Run],
    caption: &str,
    of: impl Fn(&ResultFile) -> &BTreeMap<String, u64> + Copy,
) -> Markup {
    counts_of(runs, caption, |result| Some(of(result)))
}

/// A table of what was counted by name, if any run has some of it.
pub(super) fn counts_of(
    runs: &[Run],
    caption: &str,
    of: impl Fn(&ResultFile) -> Option<&BTreeMap<String, u64>> + Copy,
) -> Markup {
    let names: BTreeSet<&String> =
        runs.iter().filter_map(|run| of(&run.result)).flat_map(BTreeMap::keys).collect();
    let count = |result: &ResultFile, name| of(result)?.get(name).map(|n| format_grouped(*n));
    let rows: Vec<_> =
        names.into_iter().map(|name| row(runs, name, |result| count(result, name))).collect();
    html! { @if !rows.is_empty() { (table(runs, caption, &rows)) } }
}
