//! How many connections failed or were lost, by kind.

use super::ResultFile;
use crate::figure::saturating;
use crate::words::non_zero;
use measure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many connections failed or were lost, by kind. Every kind is present.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Failures {
    /// Nobody listens there (ECONNREFUSED).
    pub refused: u64,
    /// The peer reset the connection (ECONNRESET, EPIPE, ECONNABORTED).
    pub reset: u64,
    /// The peer closed the connection although the run still needed it.
    pub closed: u64,
    /// No answer within the time limit, the client's or the kernel's (ETIMEDOUT).
    pub timed_out: u64,
    /// No route, network or host down (EHOSTUNREACH, ENETUNREACH and their kin).
    pub unreachable: u64,
    /// No source port was left towards the target (EADDRINUSE, EADDRNOTAVAIL).
    pub no_ports: u64,
    /// No descriptor was left (EMFILE, ENFILE).
    pub no_fds: u64,
    /// The kernel had no memory or buffers to give (ENOMEM, ENOBUFS).
    pub no_memory: u64,
    /// The peer broke the protocol: a wrong, reordered, truncated or foreign reply.
    pub protocol: u64,
    /// The TLS handshake failed, or a rule of TLS was broken.
    pub tls: u64,
    /// The stream ended without TLS's good-bye (`close_notify`): what came may not be all.
    pub tls_truncated: u64,
    /// Not permitted (EPERM, EACCES): a firewall or a security policy.
    pub denied: u64,
    /// Any other error of the operating system.
    pub other: u64,
}

impl Failures {
    /// How many of one kind.
    #[must_use]
    pub fn get(&self, kind: Failure) -> u64 {
        let mut copy = *self;
        *copy.get_mut(kind)
    }

    /// The count of one kind.
    pub fn get_mut(&mut self, kind: Failure) -> &mut u64 {
        match kind {
            Failure::Refused => &mut self.refused,
            Failure::Reset => &mut self.reset,
            Failure::Closed => &mut self.closed,
            Failure::TimedOut => &mut self.timed_out,
            Failure::Unreachable => &mut self.unreachable,
            Failure::NoPorts => &mut self.no_ports,
            Failure::NoFds => &mut self.no_fds,
            Failure::NoMemory => &mut self.no_memory,
            Failure::Protocol => &mut self.protocol,
            Failure::Tls => &mut self.tls,
            Failure::TlsTruncated => &mut self.tls_truncated,
            Failure::Denied => &mut self.denied,
            Failure::Other => &mut self.other,
        }
    }
}

impl From<[u64; Failure::COUNT]> for Failures {
    /// From counts in the order of [`Failure::ALL`], as a reactor keeps them.
    fn from(counts: [u64; Failure::COUNT]) -> Self {
        let mut failures = Self::default();
        for (kind, count) in Failure::ALL.into_iter().zip(counts) {
            *failures.get_mut(kind) = count;
        }
        failures
    }
}

/// Those of all parts.
pub(crate) fn merge(results: &[&ResultFile]) -> Failures {
    sum(&results.iter().map(|result| result.failures).collect::<Vec<_>>())
}

/// All of these together.
pub(super) fn sum(all: &[Failures]) -> Failures {
    let mut sum = Failures::default();
    for kind in Failure::ALL {
        *sum.get_mut(kind) = saturating(all.iter().map(|one| one.get(kind)));
    }
    sum
}

/// Those that occurred, in words.
pub(crate) fn words(result: &ResultFile) -> String {
    let kinds = Failure::ALL.into_iter().map(|kind| (kind.name(), result.failures.get(kind)));
    non_zero(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_field_of_its_name() {
        let counts = std::array::from_fn(|index| index as u64 + 1);
        let failures = Failures::from(counts);
        let written = serde_json::to_value(failures).expect("an object");
        assert_eq!(written.as_object().map(serde_json::Map::len), Some(Failure::COUNT));
        for (kind, count) in Failure::ALL.into_iter().zip(counts) {
            assert_eq!(written[kind.name()], count);
            assert_eq!(failures.get(kind), count);
        }
    }
}
