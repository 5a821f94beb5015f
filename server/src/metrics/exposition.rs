//! What Prometheus is told: a table of families, each with where its numbers are in a snapshot.

use super::ServerSnapshot;
use crate::snapshot::{HttpSnapshot, Snapshot, WebSocketSnapshot};
use control::endpoint::Page;
use control::prometheus::{Exposition, Kind};
use std::collections::BTreeMap;

/// One number: the name of its family, what kind it is, what it says, and where it is.
type Number<T> = (&'static str, Kind, &'static str, fn(&T) -> f64);

/// Counts of one family, and where each is.
type Counts<T> = &'static [(&'static str, fn(&T) -> u64)];

/// Of the whole server. What is not a number is not known, and left out.
const WHOLE: [Number<ServerSnapshot>; 10] = [
    ("c1000k_connections", Kind::Gauge, "Connections that are open.", |s| s.connections as f64),
    ("c1000k_connections_max", Kind::Gauge, "Connections that are held at the most.", |s| {
        s.connections_max as f64
    }),
    (
        "c1000k_accept_skew",
        Kind::Gauge,
        "The most connections accepted by one reactor over the mean.",
        |s| s.accept_skew,
    ),
    ("c1000k_resident_memory_bytes", Kind::Gauge, "Resident memory of the process.", |s| {
        s.rss_bytes.map_or(f64::NAN, |bytes| bytes as f64)
    }),
    ("c1000k_cpu_seconds_total", Kind::Counter, "CPU time of the process.", |s| {
        s.cpu_ns as f64 / 1e9
    }),
    ("c1000k_uptime_seconds", Kind::Gauge, "Time since the server was ready.", |s| {
        s.uptime_ns as f64 / 1e9
    }),
    ("c1000k_descriptors_limit", Kind::Gauge, "Descriptors that one table may hold.", |s| {
        s.descriptors_limit as f64
    }),
    ("c1000k_backlog", Kind::Gauge, "Length of the accept queue as asked for.", |s| {
        f64::from(s.backlog)
    }),
    ("c1000k_somaxconn", Kind::Gauge, "What net.core.somaxconn cuts the accept queue to.", |s| {
        s.somaxconn as f64
    }),
    ("c1000k_silent_reactors", Kind::Gauge, "Reactors that did not answer in time.", |s| {
        s.silent_reactors as f64
    }),
];

/// Of each reactor.
const EACH: [Number<Snapshot>; 12] = [
    ("c1000k_reactor_connections", Kind::Gauge, "Connections open on a reactor.", |r| {
        r.connections as f64
    }),
    ("c1000k_reactor_accepted_total", Kind::Counter, "Connections accepted by a reactor.", |r| {
        r.accepted as f64
    }),
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
    ("c1000k_reactor_delayed_bytes", Kind::Gauge, "Bytes that wait for --delay to pass.", |r| {
        r.delayed_bytes as f64
    }),
];

const WEBSOCKET: Counts<WebSocketSnapshot> = &[
    ("opening", |ws| ws.opening),
    ("open", |ws| ws.open),
    ("closing", |ws| ws.closing),
    ("partial_requests", |ws| ws.partial_requests),
    ("partial_messages", |ws| ws.partial_messages),
    ("inflaters", |ws| ws.inflaters),
    ("deflaters", |ws| ws.deflaters),
];

const WEBSOCKET_TOTAL: Counts<WebSocketSnapshot> = &[
    ("upgraded", |ws| ws.upgraded),
    ("abandoned", |ws| ws.abandoned),
    ("messages", |ws| ws.messages),
    ("closed", |ws| ws.closed),
    ("gone_away", |ws| ws.gone_away),
    ("lost", |ws| ws.lost),
    ("close_timed_out", |ws| ws.close_timed_out),
    ("message_timed_out", |ws| ws.message_timed_out),
    ("inflaters_refused", |ws| ws.inflaters_refused),
    ("deflaters_refused", |ws| ws.deflaters_refused),
];

const HTTP: Counts<HttpSnapshot> = &[
    ("open", |http| http.open),
    ("receiving", |http| http.receiving),
    ("closing", |http| http.closing),
    ("files_kept", |http| http.files_kept),
    ("files_open", |http| http.files_open),
    ("partial_requests", |http| http.partial_requests),
    ("held_bytes", |http| http.held_bytes),
];

const HTTP_TOTAL: Counts<HttpSnapshot> = &[
    ("requests", |http| http.requests),
    ("response_bytes", |http| http.response_bytes),
    ("files_refused", |http| http.files_refused),
    ("cache_hits", |http| http.cache_hits),
    ("cache_misses", |http| http.cache_misses),
    ("idle_closed", |http| http.idle_closed),
    ("stalled_closed", |http| http.stalled_closed),
    ("abandoned", |http| http.abandoned),
    ("close_timed_out", |http| http.close_timed_out),
    ("held_full", |http| http.held_full),
];

/// The page for this snapshot.
pub(super) fn of(snapshot: &ServerSnapshot) -> Page {
    let mut page = Exposition::new();
    for (name, kind, help, value) in WHOLE {
        let value = value(snapshot);
        if !value.is_nan() {
            page.family(name, kind, help).sample(&[], value);
        }
    }
    for (name, kind, help, value) in EACH {
        let mut family = page.family(name, kind, help);
        for reactor in &snapshot.reactors {
            let (index, core) = (reactor.index.to_string(), reactor.core.to_string());
            family.sample(&[("reactor", &index), ("core", &core)], value(reactor));
        }
    }
    by_key(
        &mut page,
        "c1000k_loop_total",
        "Counters of the event loops: what they did, and which of their bounds they reached.",
        ("counter", &snapshot.counters),
    );
    by_key(
        &mut page,
        "c1000k_broken_total",
        "Connections that broke, by kind of failure.",
        ("kind", &snapshot.failures),
    );
    let ws = &snapshot.websocket;
    let help = "WebSocket connections by phase, and what they hold of the reactors' pools.";
    counts(&mut page, ("c1000k_websocket", Kind::Gauge, help), WEBSOCKET, ws);
    let help = "What happened to WebSocket connections and messages.";
    counts(&mut page, ("c1000k_websocket_total", Kind::Counter, help), WEBSOCKET_TOTAL, ws);
    by_key(
        &mut page,
        "c1000k_websocket_refused_total",
        "Handshakes that were refused, by status.",
        ("status", &ws.refused),
    );
    by_key(
        &mut page,
        "c1000k_websocket_errors_total",
        "Connections that were ended because a rule was broken or a limit passed, by close code.",
        ("code", &ws.protocol_errors),
    );
    let http = &snapshot.http;
    let help = "HTTP connections by phase, and what they hold of the reactors' pools.";
    counts(&mut page, ("c1000k_http", Kind::Gauge, help), HTTP, http);
    let help = "What happened to HTTP requests and connections.";
    counts(&mut page, ("c1000k_http_total", Kind::Counter, help), HTTP_TOTAL, http);
    by_key(
        &mut page,
        "c1000k_http_responses_total",
        "HTTP answers by status.",
        ("status", &http.responses),
    );
    if let Some(tally) = &snapshot.tls {
        tls(&mut page, tally, snapshot.tls_agreeing);
    }
    page.finish()
}

/// The families of TLS.
fn tls(page: &mut Exposition, tally: &tls::Tally, agreeing: u64) {
    let help = "TLS handshakes that are not done.";
    page.family("c1000k_tls_agreeing", Kind::Gauge, help).sample(&[], agreeing);
    counts(
        page,
        ("c1000k_tls_total", Kind::Counter, "What happened to TLS handshakes and connections."),
        &[
            ("handshakes", |tally: &tls::Tally| tally.handshakes),
            ("resumed", |tally| tally.resumed),
            ("verified", |tally| tally.verified),
            ("truncated", |tally| tally.truncated),
        ],
        tally,
    );
    let families: [(&str, &str, &str, &tls::Counts); 7] = [
        ("c1000k_tls_versions_total", "TLS handshakes by version.", "version", &tally.versions),
        ("c1000k_tls_suites_total", "TLS handshakes by cipher suite.", "suite", &tally.suites),
        (
            "c1000k_tls_groups_total",
            "TLS handshakes by group of the key exchange.",
            "group",
            &tally.groups,
        ),
        ("c1000k_tls_alpn_total", "TLS handshakes by what ALPN chose.", "protocol", &tally.alpn),
        (
            "c1000k_tls_failures_total",
            "TLS handshakes and connections that failed, by cause.",
            "cause",
            &tally.failures,
        ),
        (
            "c1000k_tls_alerts_sent_total",
            "TLS alerts that were sent, by name.",
            "alert",
            &tally.alerts_sent,
        ),
        (
            "c1000k_tls_alerts_received_total",
            "TLS alerts that came, by name.",
            "alert",
            &tally.alerts_received,
        ),
    ];
    for (name, help, label, all) in families {
        by_key(page, name, help, (label, all));
    }
}

/// A family with a sample for each of these counts.
fn counts<T>(
    page: &mut Exposition,
    (name, kind, help): (&'static str, Kind, &str),
    all: Counts<T>,
    from: &T,
) {
    let mut family = page.family(name, kind, help);
    for (what, count) in all {
        family.sample(&[("what", what)], count(from));
    }
}

/// A family with a sample for each key that occurs.
fn by_key<K: ToString>(
    page: &mut Exposition,
    name: &'static str,
    help: &str,
    (label, all): (&str, &BTreeMap<K, u64>),
) {
    let mut family = page.family(name, Kind::Counter, help);
    for (key, count) in all {
        family.sample(&[(label, &key.to_string())], *count);
    }
}
