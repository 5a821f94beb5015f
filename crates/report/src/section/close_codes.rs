//! How servers took leave of WebSockets before the run did.

use super::{Doubts, Outcome, ResultFile};
use measure::Stage;
use measure::units::format_grouped;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Connections that a server took leave of with the same close code.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct CloseCode {
    /// How many.
    pub count: u64,
    /// The first reason that was given, escaped; empty if none was.
    pub reason: String,
}

/// Close codes, added; of each the first reason that is known.
pub(crate) fn merge(results: &[&ResultFile]) -> BTreeMap<String, CloseCode> {
    let mut all: BTreeMap<String, CloseCode> = BTreeMap::new();
    for (code, one) in results.iter().flat_map(|result| &result.close_codes) {
        let sum = all.entry(code.clone()).or_default();
        sum.count = sum.count.saturating_add(one.count);
        if sum.reason.is_empty() {
            sum.reason.clone_from(&one.reason);
        }
    }
    all
}

/// How the server took leave before the run did, a line for each close code: the most frequent
/// first.
pub(crate) fn words(result: &ResultFile) -> String {
    let mut codes: Vec<_> = result.close_codes.iter().collect();
    codes.sort_by_key(|(_, one)| std::cmp::Reverse(one.count));
    let line = |(code, one): (&String, &CloseCode)| {
        let reason = match one.reason.as_str() {
            "" => String::new(),
            reason => format!(" \"{reason}\""),
        };
        format!("closed {code}{reason} × {}", format_grouped(one.count))
    };
    codes.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Connections that ended by a closing handshake; `None` where the protocol has none.
fn left(result: &ResultFile) -> Option<u64> {
    result.plan.websocket.as_ref()?;
    Some(result.stages.get(Stage::Close).map_or(0, |close| close.count))
}

/// The doubt about a server that took leave of connections which the run still needed.
pub(super) fn closed_by_server(result: &ResultFile, doubts: &mut Doubts) {
    if !result.close_codes.is_empty() {
        doubts.add(
            "closed_by_server",
            words(result).replace('\n', "; "),
            "the server took leave of connections that the run still needed: its codes and \
             reasons say why",
        );
    }
}

/// The doubt about a server that does not answer close frames.
pub(super) fn not_closed(result: &ResultFile, doubts: &mut Doubts) {
    let open = result.connections.open_at_end;
    let (true, Some(left)) = (open > 0, left(result)) else { return };
    let missing = open.saturating_sub(left);
    if missing > 0 && result.run.outcome != Outcome::Interrupted {
        doubts.add(
            "not_closed",
            format!("{} connections had no answer to their close frame", format_grouped(missing)),
            "the server does not finish the closing handshake (RFC 6455 5.5.1), or not in time",
        );
    }
}
