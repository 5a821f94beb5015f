//! The section `connections`, and what became of the attempts at each address.

use super::messages::traffic_time;
use crate::books::totals::Attempts;
use crate::conductor::Measured;
use crate::plan::Plan;
use measure::{Failure, Nanos};
use report::schema;

/// The addresses with what became of the attempts at each.
pub(super) fn addresses_of(plan: &Plan, measured: &Measured) -> Vec<schema::Address> {
    let mut sums = vec![Attempts::default(); plan.load.addresses.all().len()];
    for last in measured.finals.values() {
        for (sum, attempts) in sums.iter_mut().zip(&last.addresses) {
            sum.merge(attempts);
        }
    }
    let mut addresses = plan.record.addresses.clone();
    // Those that no source reaches are none of the load's.
    let used = addresses.iter_mut().filter(|address| address.sources > 0);
    for (address, Attempts { connected, failures }) in used.zip(sums) {
        address.connected = connected;
        let failures = Failure::ALL.into_iter().zip(failures).filter(|(_, count)| *count > 0);
        address.failures = failures.map(|(kind, count)| (kind.name().to_owned(), count)).collect();
    }
    addresses
}

pub(super) fn connections_of(plan: &Plan, measured: &Measured) -> schema::Connections {
    let totals = &measured.totals;
    let opening = if plan.load.churn { traffic_time(plan, measured) } else { Some(measured.ramp) };
    schema::Connections {
        planned: plan.load.connections,
        open_at_end: measured.open_at_end,
        open_peak: measured.finals.values().map(|last| last.open_peak).sum(),
        open_seconds: opening.map_or(0.0, Nanos::as_secs_f64),
        ..totals.connections()
    }
}
