//! Queues that new connections and packets wait in: for a handshake's end, for `accept`, for a CPU.

use super::finding::Unit;
use super::{Demand, Finding, Severity};
use crate::facts::Facts;
use measure::units::format_grouped;

pub(super) fn somaxconn(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.accepts() {
        return None;
    }
    let (have, need) = (facts.somaxconn?, u64::from(demand.backlog));
    let finding = Finding::compare("somaxconn", Unit::Things, have, need, Severity::Warning);
    let why = "the kernel silently cuts a listener's backlog to it; when the queue is full, \
               handshakes are dropped and tried again after a second";
    Some(finding.why(why).set("net.core.somaxconn", need))
}

/// Handshakes under way. Since Linux 4.4 a listener's backlog bounds them where cookies are on;
/// where they are off, the kernel also drops those of unknown hosts once three quarters of this are
/// used (`tcp_conn_request`).
pub(super) fn syn_backlog(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.accepts() {
        return None;
    }
    let have = facts.tcp_max_syn_backlog?;
    let need = u64::from(demand.backlog).saturating_mul(4).div_ceil(3);
    let bounds = facts.tcp_syncookies == Some(0);
    let text = if bounds { format_grouped(need) } else { "any".to_owned() };
    let enough = !bounds || have >= need;
    let have = format_grouped(have);
    let finding = Finding::judge("tcp_max_syn_backlog", have, text, enough, Severity::Warning);
    let why = "without syncookies handshakes are dropped when three quarters of it are under way, \
        and \
               tried again after a second; with them only the listener's backlog counts";
    Some(finding.why(why).set("net.ipv4.tcp_max_syn_backlog", need))
}

/// What happens when more handshakes are under way than a listener takes.
pub(super) fn syncookies(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.accepts() {
        return None;
    }
    let have = facts.tcp_syncookies?;
    let finding =
        Finding::judge("tcp_syncookies", have.to_string(), "1", have == 1, Severity::Warning);
    let why = match have {
        0 => {
            "without cookies a full queue of handshakes drops new ones, which are tried again \
              after a second"
        }
        1 => "a full queue of handshakes is answered with cookies, so nobody has to try again",
        _ => "every connection is opened by a cookie, which costs TCP options and time",
    };
    Some(finding.why(why).set("net.ipv4.tcp_syncookies", 1))
}

/// Packets that wait for a CPU: over loopback, over veth, and where packets are steered.
pub(super) fn netdev_max_backlog(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let cpus = (facts.cpus_allowed.len() as u64).max(1);
    let (have, need) = (facts.netdev_max_backlog?, demand.messages_in_flight.div_ceil(cpus));
    let finding = Finding::compare("netdev_max_backlog", Unit::Things, have, need, Severity::Note);
    let why = "packets that one CPU has not taken in yet wait in a queue of this length, those \
        beyond \
               it are dropped and sent again; should all messages in flight arrive at once";
    Some(finding.why(why).set("net.core.netdev_max_backlog", need.next_multiple_of(1_000)))
}
