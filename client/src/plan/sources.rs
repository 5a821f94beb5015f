//! Where connections come from: source addresses and ports.

use super::usage;
use crate::cli::RunArgs;
use crate::load::addresses::{Addresses, Tuples};
use control::Error;
use host::address::{self, SourceSpec};
use host::facts::Facts;
use std::net::{IpAddr, SocketAddr};

/// Source ports that automatic loopback addresses are planned to fill: the rest is left for ports
/// that turn out to be taken.
const PORTS_PER_LOOPBACK_SOURCE: u64 = 50_000;
/// All ports that need no privilege.
const ALL_PORTS: (u16, u16) = (1024, 65_535);

/// The source addresses and the ports to use on each.
pub(super) fn choose_sources(
    args: &RunArgs,
    targets: &[Vec<SocketAddr>],
    facts: &Facts,
) -> Result<(Vec<IpAddr>, (u16, u16)), Error> {
    let every: Vec<SocketAddr> = targets.iter().flatten().copied().collect();
    let specs = address::parse_sources(&args.source_ip, &every)
        .map_err(|error| usage(format!("--source-ip: {error}")))?;
    let mut sources = Vec::new();
    for spec in specs {
        match spec {
            SourceSpec::Range(range) => sources.extend(range.iter()),
            SourceSpec::Auto => sources.extend(automatic(args, targets)?),
        }
    }
    for addresses in targets {
        let tuples = Tuples::new(addresses.clone(), &sources, 1, 1);
        if addresses.iter().all(|address| tuples.sources_for(address).is_empty()) {
            return Err(usage(format!(
                "--source-ip: none of the addresses given reaches {}: name one of its kind",
                listed(addresses)
            )));
        }
    }
    // A link-local source is one only together with its target's zone; the kernel has named it.
    let alone = |source: &&IpAddr| !matches!(source, IpAddr::V6(ip) if ip.is_unicast_link_local());
    for source in sources.iter().filter(alone) {
        address::is_local(*source).map_err(|error| {
            usage(format!(
                "--source-ip: {source} cannot be used on this machine ({error}): add it to an \
                 interface first (ip address add {source}/32 dev lo), or give another"
            ))
        })?;
    }
    let on_loopback = sources.iter().all(|source| source.is_loopback() && source.is_ipv4());
    let ports = args.source_ports.unwrap_or_else(|| {
        let (first, last) = facts.port_range;
        let tuples = Addresses::new(targets, &sources, (first, last), args.spread_addresses);
        // The ephemeral range is shared with every other program here, and some of it is taken.
        let enough = tuples.first().count() / 10 * 9 >= args.connections;
        if enough && !on_loopback { (first, last) } else { ALL_PORTS }
    });
    Ok((sources, ports))
}

/// Addresses as a sentence names them.
fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// As many addresses of 127/8 as the run needs for targets there; elsewhere the one that the kernel
/// would choose.
fn automatic(args: &RunArgs, targets: &[Vec<SocketAddr>]) -> Result<Vec<IpAddr>, Error> {
    let mut sources: Vec<IpAddr> = Vec::new();
    let avoid: Vec<IpAddr> = targets.iter().flatten().map(SocketAddr::ip).collect();
    let each = args.source_ports.map_or(PORTS_PER_LOOPBACK_SOURCE, |(first, last)| {
        (u64::from(last - first) + 1).min(PORTS_PER_LOOPBACK_SOURCE)
    });
    // 127/8 has addresses in plenty; every other target has those of one source address. What these
    // cannot take of their share falls to the former. A target with an address there may come to
    // have all of its connections there.
    let plenty = |address: &SocketAddr| address.ip().is_loopback() && address.is_ipv4();
    let all = targets.len() as u64;
    let here = targets.iter().filter(|addresses| addresses.iter().any(plenty)).count() as u64;
    let share = args.connections.saturating_mul(here).div_ceil(all);
    let needed = share.max(args.connections.saturating_sub((all - here) * each));
    for addresses in targets {
        let mut no_route = None;
        let mut reached = false;
        for address in addresses {
            let found = if plenty(address) {
                let count = needed.div_ceil(each * here);
                address::loopback_sources(count.min(address::MAX_SOURCES), &avoid)
            } else {
                match address::route_source(*address) {
                    Ok(source) => vec![source],
                    // Another address of the name may do.
                    Err(error) => {
                        no_route.get_or_insert((address, error));
                        continue;
                    }
                }
            };
            reached = true;
            for source in found {
                if !sources.contains(&source) {
                    sources.push(source);
                }
            }
        }
        if let Some((address, error)) = no_route.filter(|_| !reached) {
            return Err(usage(format!(
                "{} cannot be reached from this machine ({error}): check the address and the \
                 routes (ip route get {})",
                listed(addresses),
                address.ip()
            )));
        }
    }
    Ok(sources)
}
