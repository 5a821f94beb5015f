//! Walls at the server: its descriptors, memory and limit, its accept queue and its handshakes,
//! those of TCP and those of TLS.

use super::evidence::{Evidence, Listener, Server, Span};
use super::{Wall, connections_were, times, wall};
use measure::Failure;
use measure::units::format_grouped;

pub(super) fn server_descriptors(evidence: &Evidence<'_>) -> Option<Wall> {
    let server = evidence.server?;
    let failed = evidence.server_loop("accept_no_fds");
    let refused = server.grown(|server| server.refused_full);
    let refused = if server.after.lacks_descriptors() { refused } else { 0 };
    wall(
        "server_descriptors",
        failed + refused,
        |_| {
            let limit = format_grouped(server.after.descriptors_limit);
            let limit = format!("the server is at its descriptor limit ({limit})");
            if failed > 0 {
                format!("{limit}: accepting failed {}", times(failed))
            } else {
                format!("{limit}: a table was full, and {} turned away", connections_were(refused))
            }
        },
        "raise it where the server is started (ulimit -n, or LimitNOFILE= of its unit), or give it \
         more reactors with a table each (--reactors)",
    )
}

pub(super) fn server_memory(evidence: &Evidence<'_>) -> Option<Wall> {
    wall(
        "server_memory",
        evidence.server_loop("accept_no_memory"),
        |times| {
            format!("the server's kernel had no memory for new sockets: accepting failed {times}")
        },
        "give the server's machine or control group more memory, or open fewer connections",
    )
}

pub(super) fn server_full(evidence: &Evidence<'_>) -> Option<Wall> {
    let server = evidence.server.filter(|server| !server.after.lacks_descriptors())?;
    let refused = server.grown(|server| server.refused_full);
    wall(
        "server_full",
        refused,
        |_| {
            format!(
                "the server turned {} connections away: it holds {} at the most",
                format_grouped(refused),
                format_grouped(server.after.connections_max)
            )
        },
        "start the server with a higher --connections-max",
    )
}

/// Whose accept queue overflowed.
#[derive(Debug, Eq, PartialEq)]
enum Whose {
    /// That of these listeners of the server's, which say so themselves.
    Listeners(String),
    /// That of another program.
    Strangers,
    /// Nobody knows: the kernel counts for all listeners together.
    Unknown,
}

impl Evidence<'_> {
    /// Whose queue overflowed, as far as the server's listeners tell.
    fn whose_queue(&self) -> Whose {
        let Some(Span { before, after }) = self.server else { return Whose::Unknown };
        let turned_away = |server: &Server, url: &str| {
            let listener = server.listeners.iter().find(|listener| listener.url == url)?;
            listener.turned_away
        };
        let mut full = Vec::new();
        for Listener { url, turned_away: count } in &after.listeners {
            let earlier = turned_away(before, url);
            let (Some(earlier), Some(count)) = (earlier, count) else { return Whose::Unknown };
            if *count != earlier {
                full.push(url.as_str());
            }
        }
        match (full.is_empty(), after.listeners.is_empty()) {
            (false, _) => Whose::Listeners(full.join(" and ")),
            (true, false) => Whose::Strangers,
            (true, true) => Whose::Unknown,
        }
    }
}

/// The kernel counts every packet that finds the queue full, those that are sent again too, and for
/// all listeners together.
pub(super) fn accept_queue(evidence: &Evidence<'_>) -> Option<Wall> {
    let kernel = evidence.server_kernel()?;
    let whose = evidence.whose_queue();
    if whose == Whose::Strangers {
        return None;
    }
    let somaxconn = kernel.after.somaxconn.unwrap_or(u64::MAX);
    let bound = match evidence.server.map(|server| server.after.backlog) {
        Some(asked) if asked > somaxconn => format!(
            "its backlog is {} ({} asked for, somaxconn {0})",
            format_grouped(somaxconn),
            format_grouped(asked)
        ),
        Some(asked) => {
            format!(
                "its backlog is {} (somaxconn {})",
                format_grouped(asked),
                format_grouped(somaxconn)
            )
        }
        None => format!(
            "it accepts more slowly than connections come, and somaxconn ({}) bounds its backlog",
            format_grouped(somaxconn)
        ),
    };
    let asked = evidence.server.map_or(0, |server| server.after.backlog);
    let remedy = if asked >= somaxconn {
        "on the server's machine: sudo sysctl -w net.core.somaxconn=65535, then start the server \
         again; or open more slowly (--connect-rate)"
    } else {
        "start the server with a larger backlog, find out why it does not accept, or open more \
         slowly (--connect-rate)"
    };
    wall(
        "accept_queue",
        kernel.grown(|kernel| kernel.listen_overflows),
        |times| match &whose {
            Whose::Listeners(urls) => {
                format!("the accept queue of the server at {urls} overflowed {times}: {bound}")
            }
            _ => {
                let machine = if evidence.same_host { "this" } else { "the server's" };
                format!(
                    "an accept queue on {machine} machine overflowed {times}; the kernel counts \
                     all \
                     listeners together, so that it was that of {} cannot be told. If it was: \
                     {bound}",
                    evidence.targets.first().map_or("the target", String::as_str)
                )
            }
        },
        remedy,
    )
}

/// Handshakes that are under way. Without cookies the kernel also drops some without a counter of
/// their own: they are among all that listeners drop.
pub(super) fn handshake_queue(evidence: &Evidence<'_>) -> Option<Wall> {
    let kernel = evidence.server_kernel()?;
    let cookies = kernel.grown(|kernel| kernel.handshake_queue_cookies);
    let full = kernel.grown(|kernel| kernel.handshake_queue_drops);
    let unnamed =
        kernel.grown(|kernel| kernel.listen_drops.saturating_sub(kernel.listen_overflows));
    let off = kernel.after.tcp_syncookies == Some(0);
    let dropped = if off { full.max(unnamed) } else { full };
    let backlog = match evidence.server {
        Some(server) => format!("its backlog is {}", format_grouped(server.after.backlog)),
        None => "its backlog is too small".to_owned(),
    };
    if dropped > 0 {
        let most = kernel.after.tcp_max_syn_backlog.unwrap_or(0);
        return wall(
            "handshake_queue",
            dropped,
            |times| {
                format!(
                    "the server dropped new handshakes {times}, since too many were under way: \
                     {backlog}, tcp_max_syn_backlog is {} and tcp_syncookies is {}",
                    format_grouped(most),
                    if off { "off" } else { "on" },
                )
            },
            "on the server's machine: sudo sysctl -w net.ipv4.tcp_syncookies=1 \
             net.ipv4.tcp_max_syn_backlog=65535, and a larger backlog for the server",
        );
    }
    wall(
        "handshake_queue",
        cookies,
        |times| {
            format!(
                "the server answered handshakes with SYN cookies {times}, since too many were \
                 under \
                 way: {backlog}"
            )
        },
        "start the server with a larger backlog (and net.core.somaxconn), or open more slowly \
         (--connect-rate)",
    )
}

/// Handshakes of TLS that wait for the server's cores are how every ramp finds its speed. They are
/// a wall where connections gave up waiting, or nothing opens any more.
pub(super) fn tls_handshakes(evidence: &Evidence<'_>) -> Option<Wall> {
    let gave_up = evidence.failures(Failure::TimedOut);
    let put_off =
        evidence.server_loop("handshake_budget_hits") + evidence.server_loop("handshakes_held");
    if gave_up == 0 && !evidence.stalled {
        return None;
    }
    wall(
        "tls_handshakes",
        put_off,
        |times| {
            let outcome = match gave_up {
                0 => "none is done any more".to_owned(),
                _ => format!("meanwhile {} given up", connections_were(gave_up)),
            };
            format!(
                "TLS handshakes came faster than the server's reactors do them and were put off \
                 {times}; {outcome}"
            )
        },
        "open more slowly (--connect-rate), give the server more cores, or a certificate with an \
         ECDSA key: an RSA key costs it several times as much",
    )
}
