//! Connection tracking: the table that a firewall keeps of all connections.

use super::finding::Unit;
use super::{Demand, Finding, Severity};
use crate::facts::Facts;

/// Entries of a hash chain that are still found quickly, on the average. Each connection has two,
/// one for each direction.
const CHAIN: u64 = 8;

/// The module may be there without a rule that uses it: then nothing is counted, and full or not
/// does not matter. An entry in the table shows that connections are tracked.
fn is_tracking(facts: &Facts) -> bool {
    facts.conntrack_used.is_some_and(|used| used > 0)
}

pub(super) fn entries(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let (max, used) = (facts.conntrack_max?, facts.conntrack_used.unwrap_or(0));
    let lacking = if is_tracking(facts) { Severity::Refusal } else { Severity::Warning };
    let need = demand.connections;
    let have = max.saturating_sub(used);
    let finding = Finding::compare("conntrack", Unit::Things, have, need, lacking);
    let why = format!(
        "where firewall rules track connections, each takes an entry (over loopback one for both \
         ends) and a full table drops packets; {}",
        if is_tracking(facts) { "they do here" } else { "nothing is tracked now" },
    );
    let value = need.saturating_add(used).saturating_mul(11) / 10;
    Some(finding.why(why).set("net.netfilter.nf_conntrack_max", value))
}

/// The hash table's size: too few buckets make each packet walk a long chain.
pub(super) fn buckets(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let have = facts.conntrack_buckets?;
    let used = facts.conntrack_used.unwrap_or(0);
    let need = demand.connections.saturating_add(used).saturating_mul(2).div_ceil(CHAIN);
    let lacking = if is_tracking(facts) { Severity::Warning } else { Severity::Note };
    let finding = Finding::compare("conntrack buckets", Unit::Things, have, need, lacking);
    let why = "each tracked connection has two entries in this hash table, and each packet walks \
        the \
               chain of a bucket";
    let value = need.checked_next_power_of_two().unwrap_or(need);
    Some(finding.why(why).set("net.netfilter.nf_conntrack_buckets", value))
}

/// How long a silent connection is remembered.
pub(super) fn timeout(demand: &Demand, facts: &Facts) -> Option<Finding> {
    let (have, need) = (facts.conntrack_timeout_seconds?, demand.silent_seconds);
    let lacking = if is_tracking(facts) { Severity::Warning } else { Severity::Note };
    let finding = Finding::compare("conntrack timeout", Unit::Seconds, have, need, lacking);
    let why = "a connection that is silent for longer is forgotten, and a firewall that asks for \
        known \
               connections drops its next packet";
    let name = "net.netfilter.nf_conntrack_tcp_timeout_established";
    Some(finding.why(why).set(name, need.saturating_mul(2)))
}
