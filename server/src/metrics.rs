//! What the server tells about itself: a snapshot over all reactors, as JSON and for Prometheus.

use crate::driver::{Command, HttpSnapshot, Snapshot, WebSocketSnapshot};
use crate::faults::FaultsSnapshot;
use crate::snapshot::add_by_key;
use control::endpoint::Page;
use control::prometheus::{Exposition, Kind};
use crossbeam_channel::bounded;
use host::doctor::Counters;
use measure::{Clock, Nanos};
use reactor::mailbox::Outside;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the reactors have to answer. One that does not is named in the snapshot.
const PATIENCE: Nanos = Nanos::from_millis(1_000);

/// The whole server at one moment. Times are nanoseconds, sizes bytes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ServerSnapshot {
    /// `c1000k.server/1`.
    pub schema: String,
    /// The server's version.
    pub version: String,
    /// Its process number.
    pub pid: u32,
    /// Where it listens.
    pub urls: Vec<String>,
    /// Time since it was ready.
    pub uptime_ns: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Connections that it holds at the most.
    pub connections_max: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections refused because the table or the plan was full.
    pub refused_full: u64,
    /// What was echoed since the start: WebSocket messages, and reads of plain TCP.
    pub messages: u64,
    /// HTTP requests since the start.
    pub requests: u64,
    /// Connections that broke, by kind of failure.
    pub failures: BTreeMap<String, u64>,
    /// The WebSocket connections.
    pub websocket: WebSocketSnapshot,
    /// The HTTP connections.
    pub http: HttpSnapshot,
    /// The most connections accepted by one reactor over the mean: 1 is even.
    pub accept_skew: f64,
    /// Resident memory of the process; null where `/proc` does not tell.
    pub rss_bytes: Option<u64>,
    /// CPU time of the process.
    pub cpu_ns: u64,
    /// Descriptors that one table may hold.
    pub descriptors_limit: u64,
    /// The accept queue's length as asked for.
    pub backlog: u32,
    /// What `net.core.somaxconn` cuts it to.
    pub somaxconn: u64,
    /// Each address that it listens on.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Reactors that did not answer in time.
    pub silent_reactors: u64,
    /// What goes wrong on purpose.
    #[serde(default)]
    pub faults: FaultsSnapshot,
    /// What the kernel has counted that may explain failures: of the server's network namespace.
    pub kernel: Counters,
    /// Counters over all reactors, by name.
    pub counters: BTreeMap<String, u64>,
    /// Each reactor.
    pub reactors: Vec<Snapshot>,
}

/// The listeners of all reactors on one address.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Listener {
    /// Where it listens.
    pub url: String,
    /// What the kernel has turned away there: connections that found the accept queue full, and
    /// handshakes that came to nothing. `null` where it does not tell, or a reactor was silent.
    pub turned_away: Option<u64>,
}

/// What a snapshot needs to know of the server; the reactors are asked.
#[derive(Debug)]
pub struct Watcher {
    pub(crate) outsides: Vec<Outside<Command>>,
    pub(crate) urls: Vec<String>,
    pub(crate) connections_max: u64,
    pub(crate) backlog: u32,
    pub(crate) faults: FaultsSnapshot,
    pub(crate) clock: Clock,
}

impl Watcher {
    /// Asks all reactors at once and waits for their answers.
    #[must_use]
    pub fn snapshot(&self) -> ServerSnapshot {
        let (reply, answers) = bounded(self.outsides.len());
        for outside in &self.outsides {
            // A reactor whose mailbox is full or that has ended counts as silent.
            let _ = outside.send(Command::Snapshot(reply.clone()));
        }
        drop(reply);
        let give_up = self.clock.now() + PATIENCE;
        let mut reactors = Vec::with_capacity(self.outsides.len());
        while reactors.len() < self.outsides.len() {
            let left = Duration::from(give_up - self.clock.now());
            let Ok(snapshot) = answers.recv_timeout(left) else { break };
            reactors.push(snapshot);
        }
        reactors.sort_by_key(|snapshot: &Snapshot| snapshot.index);
        self.sum(reactors)
    }

    /// A snapshot made of what the reactors said last.
    #[must_use]
    pub fn sum(&self, reactors: Vec<Snapshot>) -> ServerSnapshot {
        let mut counters = BTreeMap::new();
        let (mut failures, mut websocket) = (BTreeMap::new(), WebSocketSnapshot::default());
        let mut http = HttpSnapshot::default();
        for reactor in &reactors {
            add_by_key(&mut counters, &reactor.counters);
            add_by_key(&mut failures, &reactor.failures);
            websocket.merge(&reactor.websocket);
            http.merge(&reactor.http);
        }
        // A sum without one of the reactors could seem to shrink.
        let all = reactors.len() == self.outsides.len();
        let turned_away = |at: usize| {
            let of = |reactor: &Snapshot| reactor.turned_away.get(at).copied().flatten();
            if all { reactors.iter().map(of).sum() } else { None }
        };
        let listeners = self
            .urls
            .iter()
            .enumerate()
            .map(|(at, url)| Listener { url: url.clone(), turned_away: turned_away(at) });
        let listeners = listeners.collect();
        let total = |field: fn(&Snapshot) -> u64| reactors.iter().map(field).sum::<u64>();
        let accepted = total(|reactor| reactor.accepted);
        let most = reactors.iter().map(|reactor| reactor.accepted).max().unwrap_or(0);
        let mean = accepted as f64 / reactors.len().max(1) as f64;
        ServerSnapshot {
            schema: "c1000k.server/1".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            urls: self.urls.clone(),
            uptime_ns: self.clock.now().0,
            connections: total(|reactor| reactor.connections),
            connections_max: self.connections_max,
            accepted,
            refused_full: counters.get("refused_full").copied().unwrap_or(0),
            messages: total(|reactor| reactor.messages),
            failures,
            requests: total(|reactor| reactor.requests),
            websocket,
            http,
            accept_skew: if accepted == 0 { 1.0 } else { most as f64 / mean },
            rss_bytes: host::memory::process_rss_bytes(),
            cpu_ns: host::usage::process_cpu_time().0,
            descriptors_limit: host::table::descriptor_limit().soft,
            backlog: self.backlog,
            somaxconn: host::sysctl::number("net.core.somaxconn").unwrap_or(0),
            faults: self.faults.clone(),
            listeners,
            silent_reactors: (self.outsides.len() - reactors.len()) as u64,
            kernel: Counters::read(),
            counters,
            reactors,
        }
    }

    /// Tells every reactor what the page of the HTTP service is to show.
    pub(crate) fn show(&self) {
        let snapshot = self.snapshot();
        let counter = |name: &str| snapshot.counters.get(name).copied().unwrap_or(0);
        let counters = serde_json::json!({
            "schema": "c1000k.counters/1",
            "version": snapshot.version,
            "uptime_ns": snapshot.uptime_ns,
            "reactors": snapshot.reactors.len(),
            "connections": snapshot.connections,
            "connections_max": snapshot.connections_max,
            "accepted": snapshot.accepted,
            "refused_full": snapshot.refused_full,
            "messages": snapshot.messages,
            "requests": snapshot.requests,
            "responses": snapshot.http.responses,
            "websocket_open": snapshot.websocket.open,
            "bytes_received": counter("bytes_received"),
            "bytes_sent": counter("bytes_sent"),
            "rss_bytes": snapshot.rss_bytes,
            "cpu_ns": snapshot.cpu_ns,
        });
        let counters: Arc<[u8]> = format!("{counters}\n").into_bytes().into();
        for outside in &self.outsides {
            // A reactor whose mailbox is full shows the counters of a second ago.
            let _ = outside.send(Command::Show(Arc::clone(&counters)));
        }
    }

    /// The pages of the metrics endpoint.
    #[must_use]
    pub fn page(&self, path: &str) -> Option<Page> {
        match path {
            "/healthz" => Some(Page::text("ok\n")),
            "/metrics" => Some(exposition(&self.snapshot())),
            "/snapshot.json" => {
                // Plain numbers and text: this cannot fail.
                let mut body = serde_json::to_vec_pretty(&self.snapshot()).unwrap_or_default();
                body.push(b'\n');
                Some(Page::json(body))
            }
            _ => None,
        }
    }
}

fn exposition(snapshot: &ServerSnapshot) -> Page {
    let mut page = Exposition::new();
    let whole: [(&str, Kind, &str, f64); 10] = [
        (
            "c1000k_connections",
            Kind::Gauge,
            "Connections that are open.",
            snapshot.connections as f64,
        ),
        (
            "c1000k_connections_max",
            Kind::Gauge,
            "Connections that are held at the most.",
            snapshot.connections_max as f64,
        ),
        (
            "c1000k_accept_skew",
            Kind::Gauge,
            "The most connections accepted by one reactor over the mean.",
            snapshot.accept_skew,
        ),
        (
            "c1000k_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory of the process.",
            snapshot.rss_bytes.map_or(f64::NAN, |bytes| bytes as f64),
        ),
        (
            "c1000k_cpu_seconds_total",
            Kind::Counter,
            "CPU time of the process.",
            snapshot.cpu_ns as f64 / 1e9,
        ),
        (
            "c1000k_uptime_seconds",
            Kind::Gauge,
            "Time since the server was ready.",
            snapshot.uptime_ns as f64 / 1e9,
        ),
        (
            "c1000k_descriptors_limit",
            Kind::Gauge,
            "Descriptors that one table may hold.",
            snapshot.descriptors_limit as f64,
        ),
        (
            "c1000k_backlog",
            Kind::Gauge,
            "Length of the accept queue as asked for.",
            f64::from(snapshot.backlog),
        ),
        (
            "c1000k_somaxconn",
            Kind::Gauge,
            "What net.core.somaxconn cuts the accept queue to.",
            snapshot.somaxconn as f64,
        ),
        (
            "c1000k_silent_reactors",
            Kind::Gauge,
            "Reactors that did not answer in time.",
            snapshot.silent_reactors as f64,
        ),
    ];
    // What is not known is left out.
    for (name, kind, help, value) in whole.into_iter().filter(|one| !one.3.is_nan()) {
        page.family(name, kind, help).sample(&[], value);
    }
    type Field = fn(&Snapshot) -> f64;
    let each: [(&str, Kind, &str, Field); 12] = [
        ("c1000k_reactor_connections", Kind::Gauge, "Connections open on a reactor.", |r| {
            r.connections as f64
        }),
        (
            "c1000k_reactor_accepted_total",
            Kind::Counter,
            "Connections accepted by a reactor.",
            |r| r.accepted as f64,
        ),
        ("c1000k_reactor_messages_total", Kind::Counter, "Messages echoed by a reactor.", |r| {
            r.messages as f64
        }),
        ("c1000k_reactor_requests_total", Kind::Counter, "HTTP requests of a reactor.", |r| {
            r.requests as f64
        }),
        (
            "c1000k_reactor_idle_closed_total",
            Kind::Counter,
            "Connections closed for their silence.",
            |r| r.idle_closed as f64,
        ),
        ("c1000k_reactor_cpu_seconds_total", Kind::Counter, "CPU time of a reactor.", |r| {
            r.cpu_ns as f64 / 1e9
        }),
        (
            "c1000k_reactor_loop_delay_p99_seconds",
            Kind::Gauge,
            "How late a reactor came to what was due, 99th percentile since its start.",
            |r| r.loop_delay.p99_ns as f64 / 1e9,
        ),
        (
            "c1000k_reactor_loop_delay_max_seconds",
            Kind::Gauge,
            "How late a reactor came to what was due at the most.",
            |r| r.loop_delay.max_ns as f64 / 1e9,
        ),
        (
            "c1000k_reactor_turn_p99_seconds",
            Kind::Gauge,
            "How long a turn of a reactor's loop took, 99th percentile since its start.",
            |r| r.turn.p99_ns as f64 / 1e9,
        ),
        (
            "c1000k_reactor_turn_max_seconds",
            Kind::Gauge,
            "The longest turn of a reactor's loop.",
            |r| r.turn.max_ns as f64 / 1e9,
        ),
        ("c1000k_reactor_unsent_bytes", Kind::Gauge, "Bytes that wait for slow readers.", |r| {
            r.unsent_bytes as f64
        }),
        (
            "c1000k_reactor_delayed_bytes",
            Kind::Gauge,
            "Bytes that wait for --delay to pass.",
            |r| r.delayed_bytes as f64,
        ),
    ];
    for (name, kind, help, field) in each {
        let mut family = page.family(name, kind, help);
        for reactor in &snapshot.reactors {
            let (index, core) = (reactor.index.to_string(), reactor.core.to_string());
            family.sample(&[("reactor", &index), ("core", &core)], field(reactor));
        }
    }
    let mut family = page.family(
        "c1000k_loop_total",
        Kind::Counter,
        "Counters of the event loops: what they did, and which of their bounds they reached.",
    );
    for (name, count) in &snapshot.counters {
        family.sample(&[("counter", name)], *count);
    }
    let help = "Connections that broke, by kind of failure.";
    let mut family = page.family("c1000k_broken_total", Kind::Counter, help);
    for (kind, count) in &snapshot.failures {
        family.sample(&[("kind", kind)], *count);
    }
    websocket(&mut page, &snapshot.websocket);
    http(&mut page, &snapshot.http);
    page.finish()
}

fn websocket(page: &mut Exposition, ws: &WebSocketSnapshot) {
    let gauges: [(&str, u64); 7] = [
        ("opening", ws.opening),
        ("open", ws.open),
        ("closing", ws.closing),
        ("partial_requests", ws.partial_requests),
        ("partial_messages", ws.partial_messages),
        ("inflaters", ws.inflaters),
        ("deflaters", ws.deflaters),
    ];
    let help = "WebSocket connections by phase, and what they hold of the reactors' pools.";
    let mut family = page.family("c1000k_websocket", Kind::Gauge, help);
    for (what, count) in gauges {
        family.sample(&[("what", what)], count);
    }
    let counters: [(&str, u64); 10] = [
        ("upgraded", ws.upgraded),
        ("abandoned", ws.abandoned),
        ("messages", ws.messages),
        ("closed", ws.closed),
        ("gone_away", ws.gone_away),
        ("lost", ws.lost),
        ("close_timed_out", ws.close_timed_out),
        ("message_timed_out", ws.message_timed_out),
        ("inflaters_refused", ws.inflaters_refused),
        ("deflaters_refused", ws.deflaters_refused),
    ];
    let help = "What happened to WebSocket connections and messages.";
    let mut family = page.family("c1000k_websocket_total", Kind::Counter, help);
    for (what, count) in counters {
        family.sample(&[("what", what)], count);
    }
    let by_key: [(&str, &str, &str, &BTreeMap<u16, u64>); 2] = [
        (
            "c1000k_websocket_refused_total",
            "Handshakes that were refused, by status.",
            "status",
            &ws.refused,
        ),
        (
            "c1000k_websocket_errors_total",
            "Connections that were ended because a rule was broken or a limit passed, by close code.",
            "code",
            &ws.protocol_errors,
        ),
    ];
    for (name, help, label, counts) in by_key {
        let mut family = page.family(name, Kind::Counter, help);
        for (key, count) in counts {
            family.sample(&[(label, &key.to_string())], *count);
        }
    }
}

fn http(page: &mut Exposition, http: &HttpSnapshot) {
    let gauges: [(&str, u64); 7] = [
        ("open", http.open),
        ("receiving", http.receiving),
        ("closing", http.closing),
        ("files_kept", http.files_kept),
        ("files_open", http.files_open),
        ("partial_requests", http.partial_requests),
        ("held_bytes", http.held_bytes),
    ];
    let help = "HTTP connections by phase, and what they hold of the reactors' pools.";
    let mut family = page.family("c1000k_http", Kind::Gauge, help);
    for (what, count) in gauges {
        family.sample(&[("what", what)], count);
    }
    let counters: [(&str, u64); 10] = [
        ("requests", http.requests),
        ("response_bytes", http.response_bytes),
        ("files_refused", http.files_refused),
        ("cache_hits", http.cache_hits),
        ("cache_misses", http.cache_misses),
        ("idle_closed", http.idle_closed),
        ("stalled_closed", http.stalled_closed),
        ("abandoned", http.abandoned),
        ("close_timed_out", http.close_timed_out),
        ("held_full", http.held_full),
    ];
    let help = "What happened to HTTP requests and connections.";
    let mut family = page.family("c1000k_http_total", Kind::Counter, help);
    for (what, count) in counters {
        family.sample(&[("what", what)], count);
    }
    let help = "HTTP answers by status.";
    let mut family = page.family("c1000k_http_responses_total", Kind::Counter, help);
    for (status, count) in &http.responses {
        family.sample(&[("status", &status.to_string())], *count);
    }
}
