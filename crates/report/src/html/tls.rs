//! What TLS agreed on, what of it was verified and resumed, and what failed.

use super::data::Run;
use super::failures::counts_of;
use super::{Row, row, table};
use crate::section::{ResultFile, Tls};
use maud::{Markup, html};
use measure::units::format_grouped;

pub(super) fn tls(runs: &[Run]) -> Markup {
    if runs.iter().all(|run| run.result.tls.is_none()) {
        return html! {};
    }
    let number = |name: &str, of: fn(&Tls) -> u64| {
        row(runs, name, |result| result.tls.as_ref().map(|tls| format_grouped(of(tls))))
    };
    let rows: Vec<Row> = vec![
        number("handshakes", |tls| tls.handshakes),
        number("servers verified", |tls| tls.verified),
        number("resumed", |tls| tls.resumed),
        number("failed", |tls| tls.failed),
        number("streams that ended without close_notify", |tls| tls.truncated),
    ];
    let by = |caption: &str, of: fn(&Tls) -> &std::collections::BTreeMap<String, u64>| {
        counts_of(runs, caption, move |result: &ResultFile| result.tls.as_ref().map(of))
    };
    html! {
        (table(runs, "TLS handshakes", &rows))
        (by("Versions", |tls| &tls.versions))
        (by("Cipher suites", |tls| &tls.suites))
        (by("Groups of the key exchange", |tls| &tls.groups))
        (by("Protocols chosen by ALPN", |tls| &tls.alpn))
        (by("Failures of TLS by cause", |tls| &tls.failures))
        (by("Alerts sent", |tls| &tls.alerts_sent))
        (by("Alerts received", |tls| &tls.alerts_received))
    }
}
