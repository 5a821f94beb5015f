//! The plan as it goes into the result.

use crate::cli::RunArgs;
use crate::load::addresses::Tuples;
use crate::load::bounds::CONNECTING_MAX;
use crate::load::schedule::Arrivals;
use crate::load::{Load, Model};
use control::options::FdTable;
use report::schema;
use std::net::{IpAddr, SocketAddr};
use wire::Url;

/// The plan of a run, with what `protocol` says of its own.
pub(super) fn record(
    protocol: schema::Plan,
    args: &RunArgs,
    load: &Load,
    seats: &[usize],
    sources: &[IpAddr],
    ports: (u16, u16),
    openers: usize,
) -> schema::Plan {
    let mut cores: Vec<u32> = seats.iter().map(|core| *core as u32).collect();
    cores.sort_unstable();
    cores.dedup();
    let (model, rate, in_flight) = match load.model {
        Model::Idle => (schema::Model::None, None, None),
        Model::Open(rate) => (schema::Model::Open, Some(rate), None),
        Model::Closed(n) => {
            (schema::Model::Closed, None, Some(load.connections.saturating_mul(n.into())))
        }
    };
    schema::Plan {
        targets: args.urls.iter().map(ToString::to_string).collect(),
        spread_addresses: args.spread_addresses,
        connections: load.connections,
        connect_rate_per_second: load.connect_rate,
        model,
        rate_per_second: rate,
        arrivals: arrivals(load.arrivals),
        in_flight,
        duration_ns: if load.model == Model::Idle { 0 } else { load.duration.0 },
        hold_ns: args.hold.0,
        size_bytes: load.size as u64,
        sources: sources.iter().map(ToString::to_string).collect(),
        source_ports: Some(schema::PortRange { first: ports.0, last: ports.1 }),
        reactors: load.reactors,
        cores,
        openers_per_core: openers as u64,
        connecting_max: CONNECTING_MAX as u64,
        fd_tables: match args.fd_table {
            FdTable::Own => schema::FdTables::Own,
            FdTable::Shared => schema::FdTables::Shared,
        },
        timeouts: schema::Timeouts {
            connect_ns: load.connect_timeout.0,
            reply_ns: load.reply_timeout.0,
            drain_ns: load.drain_timeout.0,
        },
        audit_ratio: (!load.audit.is_off()).then(|| load.audit.ratio()),
        seed: load.seed,
        first_echo: load.first_echo,
        strict: load.strict,
        thresholds: args.fail_if.iter().map(|t| t.expression().to_owned()).collect(),
        ..protocol
    }
}

/// The addresses as the result lists them, before any was used.
pub(super) fn addresses_record(
    urls: &[Url],
    targets: &[Vec<SocketAddr>],
    sources: &[IpAddr],
) -> Vec<schema::Address> {
    let tuples = Tuples::new(Vec::new(), sources, 1, 1);
    let of = |(url, addresses): (&Url, &Vec<SocketAddr>)| {
        let each = addresses.iter().map(|address| schema::Address {
            target: url.to_string(),
            address: address.to_string(),
            sources: tuples.sources_for(address).len() as u64,
            ..schema::Address::default()
        });
        each.collect::<Vec<_>>()
    };
    urls.iter().zip(targets).flat_map(of).collect()
}

/// The arrivals as results name them.
pub(crate) fn arrivals(arrivals: Arrivals) -> schema::Arrivals {
    match arrivals {
        Arrivals::Uniform => schema::Arrivals::Uniform,
        Arrivals::Poisson => schema::Arrivals::Poisson,
    }
}
