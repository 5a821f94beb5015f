//! Walls on the way between: nobody there, no way, no permission, no answer.

use super::machine::conntrack;
use super::server::{accept_queue, handshake_queue, server_descriptors};
use super::{Evidence, Wall, connections_were, wall};
use measure::Failure;
use measure::units::format_grouped;

pub(super) fn refused(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::Refused);
    let targets = evidence.targets.join(" ");
    if evidence.opened == 0 {
        return wall(
            "refused",
            count,
            |_| match evidence.targets {
                // A connection that goes from address to address is refused by the last one.
                [_, _, ..] => {
                    format!("nobody answers at {targets}: every connection was refused in the end")
                }
                _ => format!("nobody listens at {targets}: every connection was refused"),
            },
            "start the server first, and compare its address with the one given here",
        );
    }
    wall(
        "refused",
        count,
        |_| {
            format!(
                "{} refused at {targets}, although {} were opened: its listener is gone, or a \
                 firewall rejects some",
                connections_were(count),
                format_grouped(evidence.opened)
            )
        },
        "see whether the server still runs, and the firewall's limits (nft list ruleset)",
    )
}

pub(super) fn unreachable(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::Unreachable);
    wall(
        "unreachable",
        count,
        |_| {
            format!(
                "there is no way to {}: {} answered with host or network unreachable",
                evidence.targets.join(" "),
                connections_were(count)
            )
        },
        "see the routes of the source addresses (ip route get TARGET from SOURCE), and firewalls \
         that reject",
    )
}

pub(super) fn denied(evidence: &Evidence<'_>) -> Option<Wall> {
    let count = evidence.failures(Failure::Denied);
    wall(
        "denied",
        count,
        |_| format!("this machine does not permit them: {} denied", connections_were(count)),
        "see this machine's firewall rules for outgoing packets, prohibiting routes and security \
         policies",
    )
}

/// Handshakes without an answer, where no queue that can be seen has dropped them.
pub(super) fn unanswered(evidence: &Evidence<'_>) -> Option<Wall> {
    let resent = evidence.here.grown(|kernel| kernel.handshake_retransmits);
    let explained = [accept_queue, handshake_queue, conntrack, server_descriptors];
    let count = evidence.failures(Failure::TimedOut).min(evidence.failed);
    let waiting = count > 0 || evidence.stalled;
    if resent == 0 || !waiting || explained.iter().any(|wall| wall(evidence).is_some()) {
        return None;
    }
    let who = match count {
        0 => "connections under way get".to_owned(),
        1 => "1 connection got".to_owned(),
        _ => format!("{} connections got", format_grouped(count)),
    };
    let (suspect, remedy) = if evidence.server_kernel().is_some() {
        (
            "no queue of the server dropped them, so something on the way does, as a firewall \
             would",
            "see the firewall rules of both machines and of what is between (nft list ruleset)",
        )
    } else {
        (
            "a firewall drops them, or a queue or table of the server is full",
            "see the firewall rules on the way; --peer with the server's --metrics address shows \
             its \
             queues",
        )
    };
    wall(
        "unanswered",
        resent,
        |times| {
            let targets = evidence.targets.join(" ");
            format!(
                "{who} no answer from {targets} (first packets were sent again {times}): {suspect}"
            )
        },
        remedy,
    )
}
