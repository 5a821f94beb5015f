//! TLS: what handshakes take of processors and memory.

use super::{Demand, Finding, Severity};
use crate::facts::Facts;
use measure::Nanos;
use measure::units::{format_duration, format_grouped, format_size};
use serde::{Deserialize, Serialize};

/// What the kernel and the loops of both ends take of a processor for a connection that opens
/// without TLS: a README's figure for a million of them.
const OPENING: Nanos = Nanos::from_micros(39);

/// What TLS asks of a machine.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Handshakes {
    /// What one takes of a processor at this end, ns, found by doing some; 0: it could not be.
    pub here_ns: u64,
    /// What one takes at the other end, ns.
    pub there_ns: u64,
    /// How many may be under way at the same time, all reactors together.
    pub under_way: u64,
    /// What each of those takes of memory, bytes.
    pub bytes_each: u64,
    /// What connections that are busy take beside, all reactors together, bytes.
    pub bytes_beside: u64,
}

impl Handshakes {
    /// Memory beside that of connections that stand, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.under_way.saturating_mul(self.bytes_each).saturating_add(self.bytes_beside)
    }
}

/// How long the ramp will take at the least.
pub(super) fn tls(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let handshakes = demand.handshakes?;
    let cores = (facts.cpus_allowed.len() as u64).max(1);
    let both = demand.ends_here() == 2;
    let Handshakes { here_ns, there_ns, .. } = handshakes;
    if here_ns == 0 {
        return None;
    }
    let each = here_ns + if both { there_ns + OPENING.0 } else { OPENING.0 / 2 };
    let ramp = Nanos(each.saturating_mul(demand.connections) / cores);
    let have = format!("{} a handshake", format_duration(Nanos(here_ns)));
    let need = format!("{} to open", format_duration(rounded(ramp)));
    let finding = Finding::judge("tls", have, need, true, Severity::Note);
    let why = format!(
        "found by a few handshakes just now ({} at the other end, {}); opening {} connections \
         takes that long on {cores} cores that do nothing else; {} of memory are for handshakes \
         under way and for ciphers of busy connections",
        format_duration(Nanos(there_ns)),
        if both { "which is here as well" } else { "which is elsewhere" },
        format_grouped(demand.connections),
        format_size(handshakes.bytes()),
    );
    let remedy = "--tls-resume makes handshakes cheaper where the server hands out tickets";
    Some(finding.why(why).remedy(remedy))
}

/// To two digits: it is a prediction.
fn rounded(time: Nanos) -> Nanos {
    let mut unit = 1;
    while time.0 / unit >= 100 {
        unit *= 10;
    }
    Nanos((time.0 + unit / 2) / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_has_two_digits() {
        for (time, shown) in [(0, 0), (99, 99), (104, 100), (119_437_000_000, 120_000_000_000)] {
            assert_eq!(rounded(Nanos(time)), Nanos(shown));
        }
    }
}
