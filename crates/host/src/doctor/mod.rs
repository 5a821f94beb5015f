//! The doctor: names the wall that a run has met, from what both ends counted before and after it
//! and from how its connections failed. A pure function; each wall is one small function in
//! `WALLS`, in the file of where it stands.

mod client;
mod counters;
mod evidence;
mod machine;
mod server;
mod way;

pub use counters::Counters;
pub use evidence::{Evidence, Listener, Server, ServerReactor, Span};

use measure::units::format_grouped;

/// What stood in the way of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wall {
    /// A word for programs.
    pub code: &'static str,
    /// What it was, as a sentence with its numbers.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// The walls that there are, the likeliest cause before what may follow from it.
const WALLS: &[fn(&Evidence<'_>) -> Option<Wall>] = &[
    server::server_descriptors,
    server::server_memory,
    server::server_full,
    server::accept_queue,
    server::handshake_queue,
    server::tls_handshakes,
    machine::conntrack,
    client::ports,
    client::descriptors,
    client::no_memory,
    machine::tcp_memory,
    machine::low_memory,
    machine::packet_queue,
    way::refused,
    way::unreachable,
    way::denied,
    way::unanswered,
];

/// The walls that the evidence shows; empty where nothing stood in the way.
#[must_use]
pub fn diagnose(evidence: &Evidence<'_>) -> Vec<Wall> {
    WALLS.iter().filter_map(|wall| wall(evidence)).collect()
}

/// A wall that was met `count` times; none where it was not.
fn wall(
    code: &'static str,
    count: u64,
    text: impl FnOnce(&str) -> String,
    remedy: impl Into<String>,
) -> Option<Wall> {
    (count > 0).then(|| Wall { code, text: text(&times(count)), remedy: remedy.into() })
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", format_grouped(count)) }
}

/// `1 connection was`, `5 connections were`.
fn connections_were(count: u64) -> String {
    if count == 1 {
        "1 connection was".to_owned()
    } else {
        format!("{} connections were", format_grouped(count))
    }
}

#[cfg(test)]
mod tests;
