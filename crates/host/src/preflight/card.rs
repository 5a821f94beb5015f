//! The network card: whether its packets are taken in by as many CPUs as serve connections.

use super::{Demand, Finding, Severity};
use crate::card::Card;
use crate::facts::Facts;
use measure::units::format_grouped;

/// The card with the fewest receive queues of those that the connections go through.
pub(super) fn receive_queues(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let used = |card: &&Card| demand.interfaces.contains(&card.name);
    let card = facts.cards.iter().filter(used).min_by_key(|card| card.receive_queues)?;
    let need = demand.reactors.min(facts.cpus_allowed.len() as u64);
    let have = format!(
        "{}{}",
        format_grouped(card.receive_queues),
        if card.steers_packets { ", steered" } else { "" }
    );
    let enough = card.receive_queues >= need || card.steers_packets;
    let name = format!("{} queues", card.name);
    let finding = Finding::judge(&name, have, format_grouped(need), enough, Severity::Warning);
    let why = "each receive queue of the card is served by one CPU; with fewer queues than \
        reactors' \
               CPUs some take in packets for all, unless receive packet steering hands them on";
    let mask = format!("{:x}", mask(&facts.cpus_allowed));
    let files = format!("/sys/class/net/{}/queues/rx-*/rps_cpus", card.name);
    Some(finding.why(why).command(format!("echo {mask} | sudo tee {files}")))
}

/// The CPUs as the kernel wants them: a bit for each. Those from 64 on, which it writes in groups,
/// are left out: as many queues need no steering.
fn mask(cpus: &[usize]) -> u64 {
    cpus.iter().filter(|cpu| **cpu < 64).fold(0, |mask, cpu| mask | 1 << cpu)
}
