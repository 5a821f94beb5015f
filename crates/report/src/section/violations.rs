//! Which rules of the protocol connections broke.

use super::{Doubts, Matching, ResultFile, WebSocket};
use measure::units::format_grouped;

/// The rules that connections broke, a line for each: the most broken first.
pub(crate) fn words(result: &ResultFile) -> String {
    let mut rules: Vec<_> = result.violations.iter().filter(|(_, count)| **count > 0).collect();
    rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let line = |(rule, count): (&String, &u64)| format!("{} {rule}", format_grouped(*count));
    rules.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Rules that a warning shows.
const RULES_SHOWN: usize = 3;

/// The rules that were broken most, with their counts.
fn most_broken(result: &ResultFile) -> String {
    let mut rules: Vec<_> = result.violations.iter().collect();
    rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown = rules.iter().take(RULES_SHOWN);
    let shown: Vec<_> =
        shown.map(|(rule, count)| format!("{} times: {rule}", format_grouped(**count))).collect();
    let more = match rules.len().saturating_sub(RULES_SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more in the result file"),
    };
    format!("{}{more}", shown.join("; "))
}

/// The doubt about broken rules.
pub(super) fn broken(result: &ResultFile, doubts: &mut Doubts) {
    if result.violations.is_empty() {
        return;
    }
    let by_content = |plan: &WebSocket| plan.matching == Matching::Content;
    let remedy = match (&result.plan.http, &result.plan.websocket) {
        (None, None) => {
            "the server does not send back what it gets: make sure that it is an echo server, and \
             that \
             the URL says what it speaks (ws://, http://)"
        }
        (None, Some(plan)) if by_content(plan) && result.connections.opened > 0 => {
            "the server, or something on the way to it, does not keep to the protocol; where it \
             answers something else than it gets, --match order takes that"
        }
        _ => "the server, or something on the way to it, does not keep to the protocol",
    };
    doubts.add("violations", most_broken(result), remedy);
}
