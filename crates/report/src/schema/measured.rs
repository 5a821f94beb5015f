//! What was measured: connections, stages, messages, failures, the timeline, resources, reactors.

use super::{Spans, ratio};
use crate::hist;
use crate::server::slope;
use measure::{Failure, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the connections.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Connections {
    /// How many were to be opened and held; where each request has a connection of its own
    /// (`--close`), how many may be open at the same time.
    pub planned: u64,
    /// How many became usable: TCP, TLS and upgrade done. Over the whole run, with those that took the
    /// place of others.
    pub opened: u64,
    /// How many never did.
    pub failed: u64,
    /// How many were never tried, or not waited for, because the run was cut short. Derived:
    /// planned = opened + failed + not_tried.
    pub not_tried: u64,
    /// How many were usable and then lost before the run let them go.
    pub lost: u64,
    /// How many came to their end in the middle of the run as HTTP foresees it, behind a response that was
    /// to be their last, or between two responses: opened = lost + ended + open at the end.
    pub ended: u64,
    /// How many of those the server ended between two responses, without having said that it would
    /// (HTTP): it may, of a connection that is kept.
    pub ended_idle: u64,
    /// How many of those opened took the place of one that had ended so.
    pub replaced: u64,
    /// How many attempts an address did not take, and that went on with the next one of its name: they are
    /// no failed connections. By address and kind they are in the plan's `addresses`.
    #[serde(default)]
    pub tried_again: u64,
    /// How many were open when the run began to close them.
    pub open_at_end: u64,
    /// The most that were open at the same time.
    pub open_peak: u64,
    /// From the first `connect` to the last usable connection of the ramp; where each request has a
    /// connection of its own, how long requests were sent.
    pub open_seconds: f64,
    /// Opened per second over that time, replacements apart. Derived.
    pub rate_per_second: f64,
}

impl Connections {
    pub(super) fn fill_derived(&mut self) {
        let ramped = self.opened.saturating_sub(self.replaced);
        self.rate_per_second = ratio(ramped as f64, self.open_seconds);
        self.not_tried = self.planned.saturating_sub(self.opened + self.failed);
    }
}

/// Latency by stage, in the order of a connection's life.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Stages {
    /// From the start of `connect` to an established TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<StageEntry>,
    /// The TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<StageEntry>,
    /// The protocol upgrade: WebSocket opening handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<StageEntry>,
    /// From the start of `connect` to a usable connection: TCP, TLS and upgrade together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<StageEntry>,
    /// The first message of a connection and its reply, from the actual send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_echo: Option<StageEntry>,
    /// The first byte of a reply, counted from the time at which its message was sent (HTTP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<StageEntry>,
    /// A reply, counted from the time at which its message was meant to be sent: what a user feels,
    /// free of coordinated omission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<StageEntry>,
    /// The replies whose status was 2xx, as `response` (HTTP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_2xx: Option<StageEntry>,
    /// Those whose status was 3xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_3xx: Option<StageEntry>,
    /// Those whose status was 4xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_4xx: Option<StageEntry>,
    /// Those whose status was 5xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_5xx: Option<StageEntry>,
    /// The same reply, counted from the time at which its message was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<StageEntry>,
    /// Actual minus intended send time: how late the generator was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_lag: Option<StageEntry>,
    /// From the client's sending of a message to its kernel's receipt of the reply: the server, the
    /// network and the kernels on the way. Of audited connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<StageEntry>,
    /// From the kernel's receipt of a reply to the client's reading of it. Of audited connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_lag: Option<StageEntry>,
    /// A ping of the client's and its pong (WebSocket).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<StageEntry>,
    /// The closing handshake: from the client's close frame to the server's (WebSocket).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<StageEntry>,
}

impl Stages {
    /// What was measured in a stage, if anything was.
    #[must_use]
    pub fn get(&self, stage: Stage) -> Option<&StageEntry> {
        match stage {
            Stage::Connect => self.connect.as_ref(),
            Stage::Tls => self.tls.as_ref(),
            Stage::Upgrade => self.upgrade.as_ref(),
            Stage::Handshake => self.handshake.as_ref(),
            Stage::FirstEcho => self.first_echo.as_ref(),
            Stage::FirstByte => self.first_byte.as_ref(),
            Stage::Response => self.response.as_ref(),
            Stage::Response2xx => self.response_2xx.as_ref(),
            Stage::Response3xx => self.response_3xx.as_ref(),
            Stage::Response4xx => self.response_4xx.as_ref(),
            Stage::Response5xx => self.response_5xx.as_ref(),
            Stage::Service => self.service.as_ref(),
            Stage::SendLag => self.send_lag.as_ref(),
            Stage::Outside => self.outside.as_ref(),
            Stage::ReceiveLag => self.receive_lag.as_ref(),
            Stage::Ping => self.ping.as_ref(),
            Stage::Close => self.close.as_ref(),
        }
    }

    /// Puts in what was measured in a stage; takes the result of [`crate::hist::entry`] as it is.
    pub fn set(&mut self, stage: Stage, entry: Option<StageEntry>) {
        *match stage {
            Stage::Connect => &mut self.connect,
            Stage::Tls => &mut self.tls,
            Stage::Upgrade => &mut self.upgrade,
            Stage::Handshake => &mut self.handshake,
            Stage::FirstEcho => &mut self.first_echo,
            Stage::FirstByte => &mut self.first_byte,
            Stage::Response => &mut self.response,
            Stage::Response2xx => &mut self.response_2xx,
            Stage::Response3xx => &mut self.response_3xx,
            Stage::Response4xx => &mut self.response_4xx,
            Stage::Response5xx => &mut self.response_5xx,
            Stage::Service => &mut self.service,
            Stage::SendLag => &mut self.send_lag,
            Stage::Outside => &mut self.outside,
            Stage::ReceiveLag => &mut self.receive_lag,
            Stage::Ping => &mut self.ping,
            Stage::Close => &mut self.close,
        } = entry;
    }

    /// The stages in which something was measured, in the order of a connection's life.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, &StageEntry)> {
        Stage::ALL.into_iter().filter_map(|stage| Some((stage, self.get(stage)?)))
    }
}

/// The unit of a stage's times.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum LatencyUnit {
    /// Nanoseconds.
    #[default]
    #[serde(rename = "ns")]
    Nanoseconds,
}

/// One latency histogram and its usual numbers. Made by [`crate::hist::entry`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StageEntry {
    /// The unit of all times here: `ns`.
    pub unit: LatencyUnit,
    /// How many values.
    pub count: u64,
    /// The least value, exact.
    pub min: u64,
    /// The greatest value, exact.
    pub max: u64,
    /// The mean, exact.
    pub mean: f64,
    /// The standard deviation, to the resolution of the histogram (three decimal digits).
    pub stdev: f64,
    /// The value at or below which half of all values lie.
    pub p50: u64,
    /// The value at or below which 75 % lie.
    pub p75: u64,
    /// The value at or below which 90 % lie.
    pub p90: u64,
    /// The value at or below which 95 % lie; absent in files of versions that did not write it, where it
    /// comes from `hdr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<u64>,
    /// The value at or below which 99 % lie.
    pub p99: u64,
    /// The value at or below which 99.9 % lie.
    pub p999: u64,
    /// The value at or below which 99.99 % lie.
    pub p9999: u64,
    /// How many values lay above what the histogram tells apart (73 minutes).
    #[serde(default)]
    pub clipped: u64,
    /// The whole histogram: HdrHistogram V2, deflated, in base64; begins with `HISTF`.
    pub hdr: String,
}

impl StageEntry {
    /// The numbers that [`Self::statistic`] knows, as thresholds name them.
    pub const STATISTICS: [&'static str; 12] = [
        "p50", "p75", "p90", "p95", "p99", "p999", "p9999", "min", "max", "mean", "stdev", "count",
    ];

    /// The value at or below which 95 % lie; `None` if the file neither says it nor has a histogram that
    /// can be read.
    #[must_use]
    pub fn p95(&self) -> Option<u64> {
        let from_cells = || Some(hist::decode(&self.hdr).ok()?.value_at_quantile(0.95));
        self.p95.or_else(|| from_cells().map(|value| value.min(self.max)))
    }

    /// One of the numbers by its name: nanoseconds, except for the count.
    #[must_use]
    pub fn statistic(&self, name: &str) -> Option<f64> {
        let whole = match name {
            "p50" => self.p50,
            "p75" => self.p75,
            "p90" => self.p90,
            "p95" => self.p95()?,
            "p99" => self.p99,
            "p999" => self.p999,
            "p9999" => self.p9999,
            "min" => self.min,
            "max" => self.max,
            "count" => self.count,
            "mean" => return Some(self.mean),
            "stdev" => return Some(self.stdev),
            _ => return None,
        };
        Some(whole as f64)
    }
}

/// What became of the messages of the traffic phase; the first echoes are counted apart.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Messages {
    /// How many were to be sent; null in the closed model, which has no such number.
    pub planned: Option<u64>,
    /// How many were sent.
    pub sent: u64,
    /// How many replies came, each to its message; over HTTP whatever their status.
    pub received: u64,
    /// How many of those did not bring what was asked for: their status is neither 2xx nor 3xx (HTTP).
    pub unserved: u64,
    /// How many were sent once more, since the server ended their connection before a byte of their
    /// response came (HTTP). Each counts once in what was sent.
    pub resent: u64,
    /// How many were sent and never answered in time.
    pub lost: u64,
    /// How many replies were not what had been sent.
    pub mismatched: u64,
    /// How many messages were the reply to nothing, and were passed over: greetings and pushes. Over
    /// `tcp://` all that came before the first reply of a connection is one.
    pub unasked: u64,
    /// Bytes in those.
    pub unasked_bytes: u64,
    /// The first 64 bytes of the first of them, escaped; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unasked_first: Option<String>,
    /// Payload bytes sent; over HTTP those of the requests' bodies.
    pub bytes_sent: u64,
    /// Payload bytes received; over HTTP those of the responses' bodies, without what frames them.
    pub bytes_received: u64,
    /// Bytes that came behind the last response of a connection; they mean nothing and were dropped
    /// (HTTP).
    pub bytes_surplus: u64,
    /// How long messages were sent.
    pub seconds: f64,
    /// Messages per second that were asked for; null in the closed model.
    pub rate_planned: Option<f64>,
    /// Replies received per second of that time. Derived.
    pub rate_achieved: f64,
    /// How many replies came within the planned time and brought what was asked for.
    pub served: u64,
    /// The planned time, or how much of it there was; 0 in files from before this was counted.
    pub served_seconds: f64,
    /// Those replies per second of that time: what the server served while it was asked. Null in files
    /// from before it was counted. Derived.
    pub rate_served: Option<f64>,
    /// How many messages were due and not answered at the end of the planned time; of merged repeats the
    /// most.
    pub backlog_at_end: Option<u64>,
    /// By how many messages a second that grew: the straight line of least squares through `backlog`.
    /// Derived.
    pub backlog_growth_per_second: Option<f64>,
    /// The most messages on their way at one of those marks, and at their ends where results were merged.
    pub in_flight_max: Option<u64>,
    /// The time from one mark of `backlog` to the next; 0 without any.
    pub backlog_step_seconds: f64,
    /// How many messages were due and not answered at 60 evenly spaced marks of the planned time, the last
    /// of them at its end: those on their way, and those of `waiting`. Empty in merged repeats, and fewer
    /// in a run that was cut short.
    pub backlog: Vec<u64>,
    /// How many of those waited at the client at each mark, since every connection was busy or its peer
    /// took nothing. Empty likewise, and in files from before these were counted.
    pub waiting: Vec<u64>,
    /// The round in which each connection echoes once; null if there was none.
    pub first_echo: Option<FirstEcho>,
}

impl Messages {
    pub(crate) fn fill_derived(&mut self) {
        self.rate_achieved = ratio(self.received as f64, self.seconds);
        if self.served_seconds > 0.0 {
            self.rate_served = Some(ratio(self.served as f64, self.served_seconds));
        }
        if !self.backlog.is_empty() {
            let marks: Vec<f64> = self.backlog.iter().map(|mark| *mark as f64).collect();
            self.backlog_growth_per_second = Some(ratio(slope(&marks), self.backlog_step_seconds));
            let waiting = self.waiting.iter().chain(std::iter::repeat(&0));
            let in_flight = self.backlog.iter().zip(waiting);
            self.in_flight_max =
                in_flight.map(|(owed, waiting)| owed.saturating_sub(*waiting)).max();
        }
        if let Some(round) = &mut self.first_echo {
            round.rate_per_second = ratio(round.received as f64, round.seconds);
        }
    }
}

/// Connections that a server took leave of with the same close code.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct CloseCode {
    /// How many.
    pub count: u64,
    /// The first reason that was given, escaped; empty if none was.
    pub reason: String,
}

/// The round in which each connection echoes once.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct FirstEcho {
    /// How many connections were to echo.
    pub planned: u64,
    /// How many messages were sent.
    pub sent: u64,
    /// How many replies came.
    pub received: u64,
    /// How many of those did not bring what was asked for, see the messages.
    pub unserved: u64,
    /// From the first message to the last reply.
    pub seconds: f64,
    /// Replies per second over that time. Derived.
    pub rate_per_second: f64,
}

/// How many connections failed or were lost, by kind. Every kind is present.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Failures {
    /// Nobody listens there (ECONNREFUSED).
    pub refused: u64,
    /// The peer reset the connection (ECONNRESET, EPIPE, ECONNABORTED).
    pub reset: u64,
    /// The peer closed the connection although the run still needed it.
    pub closed: u64,
    /// No answer within the time limit, the client's or the kernel's (ETIMEDOUT).
    pub timed_out: u64,
    /// No route, network or host down (EHOSTUNREACH, ENETUNREACH and their kin).
    pub unreachable: u64,
    /// No source port was left towards the target (EADDRINUSE, EADDRNOTAVAIL).
    pub no_ports: u64,
    /// No descriptor was left (EMFILE, ENFILE).
    pub no_fds: u64,
    /// The kernel had no memory or buffers to give (ENOMEM, ENOBUFS).
    pub no_memory: u64,
    /// The peer broke the protocol: a wrong, reordered, truncated or foreign reply.
    pub protocol: u64,
    /// The TLS handshake failed.
    pub tls: u64,
    /// Not permitted (EPERM, EACCES): a firewall or a security policy.
    pub denied: u64,
    /// Any other error of the operating system.
    pub other: u64,
}

impl Failures {
    /// How many of one kind.
    #[must_use]
    pub fn get(&self, kind: Failure) -> u64 {
        let mut copy = *self;
        *copy.get_mut(kind)
    }

    /// The count of one kind.
    pub fn get_mut(&mut self, kind: Failure) -> &mut u64 {
        match kind {
            Failure::Refused => &mut self.refused,
            Failure::Reset => &mut self.reset,
            Failure::Closed => &mut self.closed,
            Failure::TimedOut => &mut self.timed_out,
            Failure::Unreachable => &mut self.unreachable,
            Failure::NoPorts => &mut self.no_ports,
            Failure::NoFds => &mut self.no_fds,
            Failure::NoMemory => &mut self.no_memory,
            Failure::Protocol => &mut self.protocol,
            Failure::Tls => &mut self.tls,
            Failure::Denied => &mut self.denied,
            Failure::Other => &mut self.other,
        }
    }
}

impl From<[u64; Failure::COUNT]> for Failures {
    /// From counts in the order of [`Failure::ALL`], as a reactor keeps them.
    fn from(counts: [u64; Failure::COUNT]) -> Self {
        let mut failures = Self::default();
        for (kind, count) in Failure::ALL.into_iter().zip(counts) {
            *failures.get_mut(kind) = count;
        }
        failures
    }
}

/// One second of the run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Second {
    /// Which second, counted from the start of the run: 0 is the first.
    pub second: u64,
    /// Connections opened in it.
    pub opened: u64,
    /// Connections open at its end.
    pub open: u64,
    /// Connections that failed or were lost in it.
    pub failed: u64,
    /// Messages sent in it.
    pub sent: u64,
    /// Replies received in it.
    pub received: u64,
    /// Median response of the replies received in it; null without any.
    pub response_p50_ns: Option<u64>,
    /// The response that 99 % of them did not exceed; null without any.
    pub response_p99_ns: Option<u64>,
    /// The longest of them; null without any.
    pub response_max_ns: Option<u64>,
    /// Median service time of the same replies; null without any, in merged results of which several
    /// parts had some in it, and in files from before it was written.
    pub service_p50_ns: Option<u64>,
    /// The service time that 99 % of them did not exceed; null likewise.
    pub service_p99_ns: Option<u64>,
    /// The longest service time of them; null without any, and in files from before it was written.
    pub service_max_ns: Option<u64>,
    /// All their responses as a histogram of two decimal digits: HdrHistogram V2, deflated, in base64. Absent
    /// without any, and in files from before it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_hdr: Option<String>,
}

/// What the run took of the machine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Resources {
    /// The client's process.
    pub client: Process,
    /// The server's process; null where it does not tell.
    pub server: Option<Process>,
    /// The kernel of the client's machine.
    pub kernel: Kernel,
    /// What the plan said that the run would take of the client's machine; null in files from before it
    /// was written.
    pub predicted: Option<Footprint>,
    /// What the run had taken of it when all connections stood; null where that was not measured.
    pub taken: Option<Footprint>,
    /// CPU time of this machine that went to other processes while messages were sent, over the whole run
    /// without traffic. Where the server runs here and does not tell (`--peer`), its own is in it. Null
    /// where that is not known.
    pub others_cpu_seconds: Option<f64>,
    /// The same as a share of what all cores had, 0 to 1.
    pub others_cpu_ratio: Option<f64>,
}

impl Resources {
    pub(super) fn fill_derived(&mut self, connections: u64, messages: u64) {
        self.client.fill_derived(connections, messages);
        if let Some(server) = &mut self.server {
            server.fill_derived(connections, messages);
        }
        self.kernel.fill_derived(connections);
    }
}

/// What a run takes of the client's machine, both ends where the server runs there too.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Footprint {
    /// Memory of the kernel and of the programs: the growth of the slabs, and what the processes hold.
    pub memory_bytes: u64,
    /// Open files, one for each end of a connection and a few for each reactor.
    pub open_files: u64,
}

/// Memory and CPU time of one process. Null: not measured.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Process {
    /// Resident memory before the first connection.
    pub rss_bytes_before: Option<u64>,
    /// Resident memory with all connections open, before traffic.
    pub rss_bytes: Option<u64>,
    /// What a connection added to it, at the peak of open connections; null where the growth is within
    /// noise (less than 1 MiB, or 2 % of what was there). Derived.
    pub bytes_per_connection: Option<f64>,
    /// Resident memory after the traffic, the connections still open.
    pub rss_bytes_after_traffic: Option<u64>,
    /// CPU time of the whole run, user and system.
    pub cpu_seconds: Option<f64>,
    /// Of that, while connections were being opened.
    pub cpu_seconds_opening: Option<f64>,
    /// Of that, while messages were being sent, first echoes apart.
    pub cpu_seconds_traffic: Option<f64>,
    /// CPU time to open one connection. Derived.
    pub cpu_ns_per_connection: Option<u64>,
    /// CPU time for one message and its reply. Derived.
    pub cpu_ns_per_message: Option<u64>,
}

impl Process {
    fn fill_derived(&mut self, connections: u64, messages: u64) {
        self.bytes_per_connection = growth_each(self.rss_bytes_before, self.rss_bytes, connections);
        self.cpu_ns_per_connection = nanoseconds_each(self.cpu_seconds_opening, connections);
        self.cpu_ns_per_message = nanoseconds_each(self.cpu_seconds_traffic, messages);
    }
}

/// Kernel memory of the client's machine. Where the server runs there too, both ends are in it.
/// Null: not measured.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Kernel {
    /// Whether the server ran on the same machine, so that a connection counts twice.
    pub both_ends: bool,
    /// What a connection took: the figure by slab, or by free memory where that is missing;
    /// null where neither grew by more than noise. Derived.
    pub bytes_per_connection: Option<f64>,
    /// Loss of free memory per connection, which counts the processes in as well. Derived.
    pub memfree_bytes_per_connection: Option<f64>,
    /// Growth of the slabs per connection: sockets, inodes, dentries, epoll entries. Derived.
    pub slab_bytes_per_connection: Option<f64>,
    /// `MemFree` before the first connection.
    pub memfree_bytes_before: Option<u64>,
    /// `MemFree` with all connections open.
    pub memfree_bytes: Option<u64>,
    /// `Slab` before the first connection.
    pub slab_bytes_before: Option<u64>,
    /// `Slab` with all connections open.
    pub slab_bytes: Option<u64>,
}

impl Kernel {
    fn fill_derived(&mut self, connections: u64) {
        self.memfree_bytes_per_connection =
            growth_each(self.memfree_bytes, self.memfree_bytes_before, connections);
        self.slab_bytes_per_connection =
            growth_each(self.slab_bytes_before, self.slab_bytes, connections);
        self.bytes_per_connection =
            self.slab_bytes_per_connection.or(self.memfree_bytes_per_connection);
    }
}

/// Growth below this is noise: the first turns of a program touch as much.
const GROWTH_MIN: u64 = 1 << 20;

/// And so is a fiftieth of what was there before.
const GROWTH_SHARE: u64 = 50;

/// The growth from one reading to the next, for each of `count`; nothing where one is missing, and where
/// it does not stand out of the noise. Where it shrank, others gave back more than the connections took:
/// what those took is not known. Free memory grows from the later reading to the earlier one.
pub(crate) fn growth_each(before: Option<u64>, after: Option<u64>, count: u64) -> Option<f64> {
    let (before, after) = (before?, after?);
    let growth = after.checked_sub(before)?;
    let stands_out = growth >= GROWTH_MIN.max(before / GROWTH_SHARE);
    (count > 0 && stands_out).then(|| growth as f64 / count as f64)
}

/// A time in seconds, shared out over `count`.
fn nanoseconds_each(seconds: Option<f64>, count: u64) -> Option<u64> {
    let nanoseconds = seconds? * 1e9;
    (count > 0).then(|| (nanoseconds / count as f64).round() as u64)
}

/// What one reactor did.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Reactor {
    /// Its number, from 0.
    pub index: u64,
    /// The CPU it was pinned to, as read back; null: not pinned.
    pub core: Option<u32>,
    /// The most connections it held at the same time.
    pub connections: u64,
    /// Connections it opened.
    pub opened: u64,
    /// Connections that failed or were lost on it.
    pub failed: u64,
    /// Replies it received, first echoes included.
    pub messages: u64,
    /// Its CPU time as a share of the time in which messages were to be sent, or of the run where there
    /// was no traffic: 0 to 1.
    pub busy_ratio: f64,
    /// The share of that time in which its thread was ready to run and waited for a core, 0 to 1; null
    /// without traffic, and where the kernel does not tell.
    pub wait_ratio: Option<f64>,
    /// CPU time in that time; null without traffic.
    pub cpu_seconds: Option<f64>,
    /// The share of its core's time that the hypervisor took in the traffic phase, 0 to 1; null where
    /// that is not known.
    pub steal_ratio: Option<f64>,
    /// How often its thread left its core in the traffic phase because it had to wait for something;
    /// null where that is not known.
    pub voluntary_switches: Option<u64>,
    /// How often because another thread was to run there.
    pub involuntary_switches: Option<u64>,
    /// How late its loop came to what was due; null in files from before it was recorded, and in
    /// merged repeats.
    pub loop_delay: Option<Spans>,
    /// How long the turns of its loop took; null likewise.
    pub turn: Option<Spans>,
    /// The send lag that 99 % of its messages did not exceed; null where none was due by a plan.
    pub send_lag_p99_ns: Option<u64>,
    /// The receive lag that 99 % of its audited replies did not exceed; null where none was audited.
    pub receive_lag_p99_ns: Option<u64>,
    /// Turns of its loop.
    pub turns: u64,
    /// Turns that ended on their budget with work left over.
    pub budget_hits: u64,
    /// Events and timers that came for a connection already gone; ignored.
    pub stale_events: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn growth_is_shared_out_only_where_it_stands_out_of_the_noise() {
        let each = |before, growth| growth_each(Some(before), Some(before + growth), 1_000);
        assert_eq!(each(10_000_000, GROWTH_MIN), Some(1_048.576));
        assert_eq!(each(10_000_000, GROWTH_MIN - 1), None, "less than a MiB");
        // A large base is known to a fiftieth only.
        assert_eq!(each(500_000_000, 10_000_000), Some(10_000.0));
        assert_eq!(each(500_000_000, 9_999_999), None);
        assert_eq!(growth_each(Some(5_000_000), Some(1_000_000), 10), None, "it shrank");
        assert_eq!(growth_each(Some(1), Some(9_000_000), 0), None, "of nothing");
    }

    #[test]
    fn every_failure_has_a_field_of_its_name() {
        let counts = std::array::from_fn(|index| index as u64 + 1);
        let failures = Failures::from(counts);
        let written = serde_json::to_value(failures).expect("an object");
        assert_eq!(written.as_object().map(serde_json::Map::len), Some(Failure::COUNT));
        for (kind, count) in Failure::ALL.into_iter().zip(counts) {
            assert_eq!(written[kind.name()], count);
            assert_eq!(failures.get(kind), count);
        }
    }

    #[test]
    fn a_stage_is_written_under_its_name_and_only_if_measured() {
        for stage in Stage::ALL {
            let mut stages = Stages::default();
            stages.set(stage, Some(StageEntry::default()));
            assert!(stages.iter().map(|(stage, _)| stage).eq([stage]));
            let written = serde_json::to_value(&stages).expect("an object");
            let keys = written.as_object().into_iter().flatten().map(|(key, _)| key);
            assert!(keys.eq([stage.name()]), "{written}");
        }
        assert_eq!(serde_json::to_value(Stages::default()).expect("an object"), json!({}));
    }

    #[test]
    fn every_statistic_is_the_field_of_its_name() {
        let entry = StageEntry {
            unit: LatencyUnit::Nanoseconds,
            count: 1,
            min: 2,
            max: 3,
            mean: 4.0,
            stdev: 5.0,
            p50: 6,
            p75: 7,
            p90: 8,
            p95: Some(13),
            p99: 9,
            p999: 10,
            p9999: 11,
            clipped: 0,
            hdr: String::new(),
        };
        let written = serde_json::to_value(&entry).expect("an object");
        for name in StageEntry::STATISTICS {
            assert_eq!(entry.statistic(name), written[name].as_f64(), "{name}");
        }
        assert_eq!(entry.statistic("p98"), None);
    }
}
