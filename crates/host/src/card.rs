//! Network cards: which have hardware behind them, how many queues they take packets in by, and who
//! has an address.

use serde::{Deserialize, Serialize};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// A network card, real or that of a virtual machine.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Card {
    /// The interface's name, such as `eth0`.
    pub name: String,
    /// Queues that it receives by: each is served by one CPU.
    pub receive_queues: u64,
    /// Whether the kernel hands packets of a queue on to other CPUs (receive packet steering,
    /// kernel document networking/scaling).
    pub steers_packets: bool,
}

/// The cards of this network namespace, by name; those of software alone (loopback, bridges, veth)
/// are left out.
#[must_use]
pub fn cards() -> Vec<Card> {
    cards_below(Path::new("/sys/class/net"))
}

fn cards_below(root: &Path) -> Vec<Card> {
    let interfaces = fs::read_dir(root).into_iter().flatten().flatten();
    let real = interfaces.filter(|interface| interface.path().join("device").exists());
    let mut cards: Vec<Card> = real
        .map(|interface| {
            let masks = receive_masks(&interface.path().join("queues"));
            Card {
                name: interface.file_name().to_string_lossy().into_owned(),
                receive_queues: masks.len() as u64,
                steers_packets: masks.iter().any(|mask| names_a_cpu(mask)),
            }
        })
        .collect();
    cards.sort_by(|a, b| a.name.cmp(&b.name));
    cards
}

/// For each receive queue the CPUs that its packets are handed on to, as the kernel writes it.
fn receive_masks(queues: &Path) -> Vec<String> {
    let queues = fs::read_dir(queues).into_iter().flatten().flatten();
    let receiving = queues.filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-"));
    receiving
        .map(|queue| fs::read_to_string(queue.path().join("rps_cpus")).unwrap_or_default())
        .collect()
}

/// Whether a mask such as `00000000,000000ff` has a bit set.
fn names_a_cpu(mask: &str) -> bool {
    mask.chars().any(|digit| digit.is_ascii_hexdigit() && digit != '0')
}

/// The interfaces that have one of these addresses, each once. Those of a local route have none.
#[must_use]
pub fn interfaces_of(addresses: &[IpAddr]) -> Vec<String> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let mut names: Vec<String> = all
        .into_iter()
        .filter(|entry| addresses.contains(&entry.ip()))
        .map(|entry| entry.name)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn cards_are_read_from_their_folders() {
        let root = std::env::temp_dir().join(format!("c1000k-cards-{}", std::process::id()));
        for (queue, mask) in
            [("eth1/queues/rx-0", "0"), ("eth0/queues/rx-0", "00,0f"), ("eth0/queues/rx-1", "0")]
        {
            fs::create_dir_all(root.join(queue)).expect("a folder");
            fs::write(root.join(queue).join("rps_cpus"), mask).expect("a file");
        }
        fs::create_dir_all(root.join("eth0/queues/tx-0")).expect("a folder");
        for real in ["eth0/device", "eth1/device", "veth0"] {
            fs::create_dir_all(root.join(real)).expect("a folder");
        }
        let cards = cards_below(&root);
        fs::remove_dir_all(&root).expect("removed");
        let card = |name: &str, receive_queues, steers_packets| Card {
            name: name.to_owned(),
            receive_queues,
            steers_packets,
        };
        assert_eq!(cards, [card("eth0", 2, true), card("eth1", 1, false)]);
    }

    #[test]
    fn masks_have_a_cpu_or_none() {
        for (mask, has) in [("0\n", false), ("00000000,00000000", false), ("", false), ("3", true)]
        {
            assert_eq!(names_a_cpu(mask), has, "{mask}");
        }
    }

    #[test]
    fn the_loopback_address_is_that_of_lo() {
        // TEST-NET-3 (RFC 5737) belongs to nobody.
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(203, 0, 113, 77).into()];
        assert_eq!(interfaces_of(&addresses), ["lo"]);
        assert_eq!(interfaces_of(&addresses[1..]), [""; 0]);
        assert!(cards().iter().all(|card| card.name != "lo"));
    }
}
