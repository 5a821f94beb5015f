//! The audit: for a share of the connections, where the time of their messages went, and what TCP says.

use super::StageEntry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the time of the audited messages went: those of the traffic phase, on a share of the connections
/// whose replies the kernel stamped as it received them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Audit {
    /// The share of the connections that was to be audited, 0 to 1.
    pub ratio: f64,
    /// How many connections were audited, with those that took the place of others.
    pub connections: u64,
    /// How many of their replies could be parted.
    pub messages: u64,
    /// How many more came in a read without a stamp.
    pub unstamped: u64,
    /// How many more had a stamp that cannot be true: before their message left, or behind their reading.
    pub misfits: u64,
    /// How often the time of day, in which the kernel stamps, was found to have been set.
    pub clock_steps: u64,
    /// The parts, all of the same messages; null if there are none.
    pub parts: Option<AuditParts>,
    /// What TCP knew of the audited connections (`TCP_INFO`).
    pub tcp_info: TcpInfo,
}

/// The parts of a response. For each message `send_lag` + `outside` + `receive_lag` = `response`; so it is
/// for the means, and for no percentile.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct AuditParts {
    /// From when it was meant to leave to when it did: the client's.
    pub send_lag: StageEntry,
    /// From then to the kernel's receipt of the reply: the server's, the network's, the kernels'.
    pub outside: StageEntry,
    /// From then to the client's reading of it: the client's.
    pub receive_lag: StageEntry,
    /// All of it.
    pub response: StageEntry,
}

impl AuditParts {
    /// The parts and their sum, each with its name, in the order of a message's life.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &StageEntry); 4] {
        [
            ("send_lag", &self.send_lag),
            ("outside", &self.outside),
            ("receive_lag", &self.receive_lag),
            ("response", &self.response),
        ]
    }
}

/// What TCP knew of the audited connections.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct TcpInfo {
    /// Before the traffic; null if the run did not come to that.
    pub start: Option<TcpLook>,
    /// Behind it; null if the run did not come to that.
    pub end: Option<TcpLook>,
}

/// What TCP knew of the audited connections at one moment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct TcpLook {
    /// How many connections were asked, and told.
    pub connections: u64,
    /// Packets that they had sent again since they began, all together.
    pub retransmits: u64,
    /// Their smoothed round-trip times, which TCP keeps in whole microseconds; null without any.
    pub rtt: Option<StageEntry>,
    /// How much those vary: their smoothed mean deviations; null without any.
    pub rtt_variation: Option<StageEntry>,
}
