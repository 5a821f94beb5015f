//! Plan, machine, command and the server's own account, in full and folded.

use super::data::Run;
use super::{Row, table_of};
use maud::{Markup, html};
use measure::units::{format_count, format_grouped};
use serde::Serialize;
use serde_json::Value;

pub(super) fn facts(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @let result = &run.result;
            @if runs.len() > 1 { h3 { (run.name) } }
            (facts_of("Plan, with every option", &json(&result.plan)))
            (facts_of("Machine of the client", &result.host))
            details {
                summary { "Command and program" }
                pre { (result.run.command.join(" ")) }
                p {
                    (result.tool.name) " " (result.tool.version)
                    @if let Some(commit) = &result.tool.commit { ", commit " (commit) }
                    ". Run " (result.run.id) ", seed " (result.run.seed) "."
                }
            }
            @if !result.run.parts.is_empty() {
                (facts_of("Runs that were merged", &json(&result.run.parts)))
            }
            @if !result.machines.is_empty() {
                (facts_of("Machines of the shards", &json(&result.machines)))
            }
            @if result.limits_reached.values().any(|count| *count > 0) {
                details {
                    summary { "Limits that were reached" }
                    @let reached = result.limits_reached.iter().filter(|(_, count)| **count > 0);
                    @let row = |(name, count): (&String, &u64)| {
                        (name.clone(), vec![format_grouped(*count)])
                    };
                    @let rows: Vec<Row> = reached.map(row).collect();
                    (table_of("How often each limit was reached", &["times"], &rows))
                }
            }
            @if let Some(peer) = &result.peer { (facts_of("The server's own account", peer)) }
        }
    }
}

/// A part of the result as it lies in the file.
fn json(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

fn facts_of(name: &str, value: &Value) -> Markup {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    html! {
        @if !rows.is_empty() {
            details {
                summary { (name) }
                div.scroll tabindex="0" role="region" aria-label=(name) {
                    table {
                        tbody {
                            @for (key, text) in &rows {
                                tr { th scope="row" { (key) } td.text { (text) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every value with its dotted name. Of lists whose items are objects there is an entry for each.
fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let under = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| flatten(&under(key), value, rows))
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| flatten(&under(&index.to_string()), item, rows));
        }
        Value::Array(items) => {
            let text = items.iter().map(plain).collect::<Vec<_>>().join(" ");
            rows.push((name.to_owned(), text));
        }
        Value::Null if name.is_empty() => {}
        other => rows.push((name.to_owned(), plain(other))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        Value::Number(number) => number.as_u64().map_or_else(
            || number.to_string(),
            |whole| match whole {
                0..10_000 => whole.to_string(),
                _ => format!("{} ({})", format_grouped(whole), format_count(whole)),
            },
        ),
        other => other.to_string(),
    }
}
