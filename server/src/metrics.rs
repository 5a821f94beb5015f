//! What the server tells about itself: a snapshot over all reactors, as JSON and for Prometheus.

mod exposition;

use crate::driver::{Command, HttpSnapshot, Snapshot, WebSocketSnapshot};
use crate::faults::FaultsSnapshot;
use crate::snapshot::add_by_key;
use control::endpoint::Page;
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
    /// What became of TLS handshakes and connections; `null` where no listener has TLS.
    #[serde(default)]
    pub tls: Option<tls::Tally>,
    /// TLS handshakes that are not done.
    #[serde(default)]
    pub tls_agreeing: u64,
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
        let (mut http, mut tls) = (HttpSnapshot::default(), None::<tls::Tally>);
        for reactor in &reactors {
            add_by_key(&mut counters, &reactor.counters);
            add_by_key(&mut failures, &reactor.failures);
            websocket.merge(&reactor.websocket);
            http.merge(&reactor.http);
            if let Some(more) = &reactor.tls {
                tls.get_or_insert_default().merge(more);
            }
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
            tls,
            tls_agreeing: total(|reactor| reactor.tls_agreeing),
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
            "tls_handshakes": snapshot.tls.as_ref().map(|tls| tls.handshakes),
            "tls_failed": snapshot.tls.as_ref().map(|tls| tls.failures.values().sum::<u64>()),
            "tls_versions": snapshot.tls.as_ref().map(|tls| tls.versions.clone()),
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
            "/metrics" => Some(exposition::of(&self.snapshot())),
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
