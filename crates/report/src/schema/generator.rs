//! The generator's account of itself: whether it was the bottleneck, and how evenly both ends spread
//! their work. The rules are in [`crate::generator`], the figures in [`crate::balance`].

use super::{StageEntry, Warning};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A few numbers of many spans of time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Spans {
    /// How many.
    pub count: u64,
    /// Half of them were no longer than this.
    pub p50_ns: u64,
    /// 99 % of them were no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Whether the client itself was the bottleneck of the traffic, and what that was judged by. All of it
/// is of the time in which messages were to be sent; without traffic there is nothing to judge.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Generator {
    /// Whether it was: then the times and rates of this run are not the server's.
    pub limited: bool,
    /// Why, each with its remedy; empty if it was not. They are among the warnings, too.
    pub reasons: Vec<Warning>,
    /// The busiest reactor's CPU time as a share of that time, 0 to 1.
    pub busy_max: f64,
    /// The longest that a reactor waited for a core, as a share; null where the kernel does not tell.
    pub wait_max: Option<f64>,
    /// The most of both together, of one reactor: from 0.9 on it had no time to spare.
    pub demand_max: f64,
    /// The greatest share of a reactor's core that the hypervisor took; null where that is not known.
    pub steal_ratio: Option<f64>,
    /// How often the reactors' threads left their cores because they had to wait for something; null
    /// where that is not known.
    pub voluntary_switches: Option<u64>,
    /// How often because another thread was to run there.
    pub involuntary_switches: Option<u64>,
    /// How late the loops came to what was due, over all reactors. Null where nothing was due.
    pub loop_delay: Option<StageEntry>,
    /// How long the turns of the loops took, over all reactors: an event waits for the end of its turn.
    pub turn: Option<StageEntry>,
    /// The send lag of each message as far as it is the generator's own: messages that were late
    /// because their peers took none count as 0. Null where none was due by a plan.
    pub own_lag: Option<StageEntry>,
    /// Whether what speaks against the run is the machine's doing, not the generator's: it is told as
    /// the warning `noisy_host`, and is none of the reasons.
    pub noisy_host: bool,
    /// How late a thread that did nothing woke on the reactors' cores, each 2 ms: the lateness of the
    /// machine. Null without traffic, and in files from before it was measured.
    pub host_probe: Option<StageEntry>,
    /// How much of what was more than 1 ms of that the thread was ready to run and had no core, 0 to 1;
    /// null where nothing was so late, or the kernel does not tell.
    pub host_probe_wait_ratio: Option<f64>,
}

/// How evenly the work was spread over the reactors of both ends.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Balance {
    /// The client's reactors.
    pub client: Option<BalanceOf>,
    /// The server's, from its snapshots before and after the traffic; null where it gives none.
    pub server: Option<BalanceOf>,
}

/// How evenly the work was spread over the reactors of one end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct BalanceOf {
    /// How many reactors.
    pub reactors: u64,
    /// Connections opened by each, or accepted; null where there were none, and so below.
    pub opened: Option<Imbalance>,
    /// Connections held by each: the most of the client's, those at the end of the server's.
    pub connections: Option<Imbalance>,
    /// Replies received by each, first echoes included; of the server, what it echoed and answered in
    /// the traffic phase.
    pub messages: Option<Imbalance>,
    /// CPU time of each in the traffic phase.
    pub cpu: Option<Imbalance>,
    /// The busiest one's CPU time as a share of the traffic phase, 0 to 1; null without traffic.
    pub busy_max: Option<f64>,
    /// How much of the busiest core its reactors used together, 0 to 1; null without traffic, and where
    /// their cores are not known.
    pub core_busy_max: Option<f64>,
    /// The longest 99th percentile of a reactor's loop delay; of the server, since it started. Null
    /// where that is not known.
    pub loop_delay_p99_ns: Option<u64>,
    /// The same of its turns.
    pub turn_p99_ns: Option<u64>,
}

/// How uneven something is over reactors.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Imbalance {
    /// The most of one reactor over the mean of all: 1 is even.
    pub index: f64,
    /// The standard deviation over the mean, the coefficient of variation: 0 is even.
    pub variation: f64,
}
