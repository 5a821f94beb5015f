//! Ports: the four-tuples that a client has, and what waits in TIME_WAIT.

use super::finding::Unit;
use super::{Demand, Finding, Severity};
use crate::facts::Facts;
use measure::units::format_grouped;

/// Whether there are four-tuples enough. Where what is in use already might take them, it is a
/// warning: nobody can say beforehand whose they are.
pub(super) fn ports(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.connects() {
        return None;
    }
    let (have, need) = (demand.four_tuples, demand.connections);
    let mut finding = Finding::compare("ports", Unit::Things, have, need, Severity::Refusal);
    let sockets = facts.sockets.unwrap_or_default();
    let taken = sockets.tcp_in_use.saturating_add(sockets.tcp_time_wait);
    if finding.severity == Severity::Ok && have.saturating_sub(taken) < need {
        finding.severity = Severity::Warning;
    }
    let (first, last) = demand.ports;
    let in_use = facts.sockets.map_or_else(
        || "how many sockets are in use here is not known (no /proc)".to_owned(),
        |sockets| {
            let (in_use, waiting) = (sockets.tcp_in_use, sockets.tcp_time_wait);
            let [in_use, waiting] = [in_use, waiting].map(format_grouped);
            format!("{in_use} sockets are in use here and {waiting} in TIME_WAIT")
        },
    );
    let why = format!(
        "a connection is a pair of addresses with ports, unique on the machine, and there are {} \
         such pairs from {} source addresses with ports {first}-{last} to {} targets; {in_use}",
        format_grouped(have),
        format_grouped(demand.sources),
        format_grouped(demand.targets),
    );
    let wanted =
        if finding.severity == Severity::Warning { need.saturating_add(taken) } else { need };
    let remedy = match have / demand.sources.max(1) {
        0 => "allow at least one port for each source address, and name a target".to_owned(),
        each => format!(
            "name at least {} source addresses (--source-ip), or more targets",
            format_grouped(wanted.div_ceil(each))
        ),
    };
    Some(finding.why(why).remedy(remedy))
}

/// Ports that somebody has reserved: the kernel keeps off them, a program that names its ports does
/// not.
pub(super) fn reserved(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.connects() {
        return None;
    }
    let (first, last) = demand.ports;
    let inside = |&&(low, high): &&(u16, u16)| low <= last && high >= first;
    let runs: Vec<(u16, u16)> = facts.reserved_ports.iter().filter(inside).copied().collect();
    let count: u64 = runs.iter().map(|(low, high)| u64::from(high - low) + 1).sum();
    let have = format!("{} reserved", format_grouped(count));
    let finding = Finding::judge("reserved ports", have, "none", count == 0, Severity::Note);
    let why = "net.ipv4.ip_local_reserved_ports keeps the kernel off these ports, and the client \
               names its ports itself";
    let listed: Vec<String> = runs.iter().map(|(low, high)| format!("{low}-{high}")).collect();
    let remedy = format!("--source-ports with a range that leaves out {}", listed.join(", "));
    Some(finding.why(why).remedy(remedy))
}

/// Whether a port in TIME_WAIT can be had again (kernel document ip-sysctl, `tcp_tw_reuse`).
pub(super) fn time_wait_reuse(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.connects() {
        return None;
    }
    let have = facts.tcp_tw_reuse?;
    let enough = have == 1 || (have == 2 && demand.peer_here);
    let need = if demand.peer_here { "1 or 2" } else { "1" };
    let finding = Finding::judge("tcp_tw_reuse", have.to_string(), need, enough, Severity::Note);
    let why = "where the server closes first or several targets share the ports, it lets a new \
               connection have the ports of one in TIME_WAIT; the client itself leaves none behind";
    Some(finding.why(why).set("net.ipv4.tcp_tw_reuse", 1))
}

/// Who closes first keeps a remainder for a minute.
pub(super) fn time_wait_buckets(demand: &Demand, facts: &Facts) -> Option<Finding> {
    if !demand.role.accepts() {
        return None;
    }
    let (have, need) = (facts.tcp_max_tw_buckets?, demand.connections);
    let finding = Finding::compare("tcp_max_tw_buckets", Unit::Things, have, need, Severity::Note);
    let why = "a server that closes all connections itself leaves as many in TIME_WAIT; beyond the \
               limit they are dropped at once, which does no harm to a test";
    Some(finding.why(why).set("net.ipv4.tcp_max_tw_buckets", need))
}
