//! What one reactor says of itself, and what becomes of it over all reactors.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one reactor says of itself. Times are nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Snapshot {
    /// The reactor's number.
    pub index: usize,
    /// The CPU it is pinned to.
    pub core: usize,
    /// Connections that are open.
    pub connections: u64,
    /// Connections that were accepted since the start.
    pub accepted: u64,
    /// What was echoed: WebSocket messages, and reads of plain TCP. For single messages in flight
    /// a read is a message.
    pub messages: u64,
    /// HTTP requests.
    pub requests: u64,
    /// Connections closed for their silence.
    pub idle_closed: u64,
    /// Connections that their peers closed in the ordinary way.
    pub closed: u64,
    /// Connections that broke (reset and the like).
    pub broken: u64,
    /// The same by kind of failure.
    pub failures: BTreeMap<String, u64>,
    /// Bytes that wait for their peers to take them.
    pub unsent_bytes: u64,
    /// Bytes that wait for `--delay` to pass, with what each reply takes besides.
    #[serde(default)]
    pub delayed_bytes: u64,
    /// CPU time of the reactor's thread.
    pub cpu_ns: u64,
    /// Time since the reactor started.
    pub uptime_ns: u64,
    /// CPU time over time.
    pub busy_ratio: f64,
    /// How late the loop came to what was due, since the start: time limits, replies that
    /// were delayed.
    #[serde(default)]
    pub loop_delay: Spans,
    /// How long its turns took, since the start: whatever happens meanwhile waits for the end of
    /// one.
    #[serde(default)]
    pub turn: Spans,
    /// After each `--stall`: how much later than at its end the loop went on.
    #[serde(default)]
    pub stall_late: Spans,
    /// After each `--stall`: from its end until nothing was left to be read.
    #[serde(default)]
    pub stall_backlog: Spans,
    /// Every counter of the loop, by name.
    pub counters: BTreeMap<String, u64>,
    /// What the kernel has turned away at each of its listeners; `null` where it does not tell.
    #[serde(default)]
    pub turned_away: Vec<Option<u64>>,
    /// What became of TLS handshakes and connections; `null` where no listener has TLS.
    #[serde(default)]
    pub tls: Option<tls::Tally>,
    /// TLS handshakes that are not done.
    #[serde(default)]
    pub tls_agreeing: u64,
    /// How long TLS handshakes have waited for their turns, since the start.
    #[serde(default)]
    pub tls_wait: Spans,
    /// The WebSocket connections.
    pub websocket: WebSocketSnapshot,
    /// The HTTP connections.
    pub http: HttpSnapshot,
}

/// A few numbers of many spans of time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
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

impl From<reactor::Spans> for Spans {
    fn from(of: reactor::Spans) -> Self {
        Self { count: of.count, p50_ns: of.p50.0, p99_ns: of.p99.0, max_ns: of.max.0 }
    }
}

/// The HTTP connections of a reactor or of all.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HttpSnapshot {
    /// Connections that requests are read from.
    pub open: u64,
    /// Those of them with a request that is only partly here.
    pub receiving: u64,
    /// Connections that wait for their peers to close after our last word.
    pub closing: u64,
    /// Requests that were complete.
    pub requests: u64,
    /// Answers by status: to requests, and to what is none.
    pub responses: BTreeMap<u16, u64>,
    /// Bytes of answers, head and body.
    pub response_bytes: u64,
    /// Files that are kept in memory or open.
    pub files_kept: u64,
    /// Large files that are open, those on their way included.
    #[serde(default)]
    pub files_open: u64,
    /// How often one more was asked for in vain: each time a request was answered with 503.
    #[serde(default)]
    pub files_refused: u64,
    /// How often a file was answered with that had just been looked at.
    pub cache_hits: u64,
    /// How often a file had to be looked at, or was looked for in vain.
    pub cache_misses: u64,
    /// Connections closed for their silence between two requests.
    pub idle_closed: u64,
    /// Connections closed because their peers took nothing of their answers for too long.
    pub stalled_closed: u64,
    /// Connections that ended in the middle of a request.
    pub abandoned: u64,
    /// Connections whose peers did not close in time after our last word.
    pub close_timed_out: u64,
    /// Requests whose head or body is only partly here.
    pub partial_requests: u64,
    /// Bytes of requests that wait for the answers before them.
    pub held_bytes: u64,
    /// Connections closed because there was no room for such bytes.
    pub held_full: u64,
}

impl HttpSnapshot {
    /// Adds another reactor's.
    pub fn merge(&mut self, other: &Self) {
        self.open += other.open;
        self.receiving += other.receiving;
        self.closing += other.closing;
        self.requests += other.requests;
        self.response_bytes += other.response_bytes;
        self.files_kept += other.files_kept;
        self.files_open += other.files_open;
        self.files_refused += other.files_refused;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.idle_closed += other.idle_closed;
        self.stalled_closed += other.stalled_closed;
        self.abandoned += other.abandoned;
        self.close_timed_out += other.close_timed_out;
        self.partial_requests += other.partial_requests;
        self.held_bytes += other.held_bytes;
        self.held_full += other.held_full;
        add_by_key(&mut self.responses, &other.responses);
    }
}

/// The WebSocket connections of a reactor or of all.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct WebSocketSnapshot {
    /// Connections whose request is not complete.
    pub opening: u64,
    /// Connections that are upgraded and open.
    pub open: u64,
    /// Connections that wait for their peers to close after our last word.
    pub closing: u64,
    /// Handshakes that succeeded.
    pub upgraded: u64,
    /// Handshakes that were refused, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Connections that ended before their handshake did.
    pub abandoned: u64,
    /// Messages that were echoed.
    pub messages: u64,
    /// Connections that their peers ended by a close frame.
    pub closed: u64,
    /// Connections that we ended because a rule was broken or a limit passed, by close code.
    pub protocol_errors: BTreeMap<u16, u64>,
    /// Connections that we ended by a close frame for their silence or because the server stops.
    pub gone_away: u64,
    /// Connections that ended without a close frame.
    pub lost: u64,
    /// Connections whose peers did not close in time after our last word.
    pub close_timed_out: u64,
    /// Messages that were not complete in time.
    #[serde(default)]
    pub message_timed_out: u64,
    /// Requests that are only partly here.
    pub partial_requests: u64,
    /// Connections with a frame or message that is only partly here.
    pub partial_messages: u64,
    /// Inflating streams in use.
    pub inflaters: u64,
    /// How often one more was asked for in vain: each time a connection ended with 1011.
    pub inflaters_refused: u64,
    /// Deflating streams in use.
    pub deflaters: u64,
    /// How often one more was asked for in vain: each time a message went uncompressed.
    pub deflaters_refused: u64,
}

impl WebSocketSnapshot {
    /// Adds another reactor's.
    pub fn merge(&mut self, other: &Self) {
        self.opening += other.opening;
        self.open += other.open;
        self.closing += other.closing;
        self.upgraded += other.upgraded;
        self.abandoned += other.abandoned;
        self.messages += other.messages;
        self.closed += other.closed;
        self.gone_away += other.gone_away;
        self.lost += other.lost;
        self.message_timed_out += other.message_timed_out;
        self.close_timed_out += other.close_timed_out;
        self.partial_requests += other.partial_requests;
        self.partial_messages += other.partial_messages;
        self.inflaters += other.inflaters;
        self.inflaters_refused += other.inflaters_refused;
        self.deflaters += other.deflaters;
        self.deflaters_refused += other.deflaters_refused;
        add_by_key(&mut self.refused, &other.refused);
        add_by_key(&mut self.protocol_errors, &other.protocol_errors);
    }
}

/// Adds counts that are kept by key.
pub(crate) fn add_by_key<K: Clone + Ord>(sum: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *sum.entry(key.clone()).or_default() += count;
    }
}
