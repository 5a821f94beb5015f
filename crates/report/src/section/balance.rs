//! How evenly reactors share the work, at both ends.

use super::{Model, Number, Reactor, ResultFile, Spans, less, whole};
use crate::figure::{Unit, ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How evenly the work was spread over the reactors of both ends.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Balance {
    /// The client's reactors.
    pub client: Option<BalanceOf>,
    /// The server's, from its snapshots before and after the traffic; null where it gives none.
    pub server: Option<BalanceOf>,
}

/// How evenly the work was spread over the reactors of one end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct BalanceOf {
    /// How many reactors.
    pub reactors: u64,
    /// Connections opened by each, or accepted; null where there were none, and so below.
    pub opened: Option<Imbalance>,
    /// Connections held by each: the most of the client's, those at the end of the server's.
    pub connections: Option<Imbalance>,
    /// Replies received by each, first echoes included; of the server, what it echoed and answered
    /// in the traffic phase.
    pub messages: Option<Imbalance>,
    /// CPU time of each in the traffic phase.
    pub cpu: Option<Imbalance>,
    /// The busiest one's CPU time as a share of the traffic phase, 0 to 1; null without traffic.
    pub busy_max: Option<f64>,
    /// How much of the busiest core its reactors used together, 0 to 1; null without traffic, and
    /// where their cores are not known.
    pub core_busy_max: Option<f64>,
    /// The longest 99th percentile of a reactor's loop delay; of the server, since it started. Null
    /// where that is not known.
    pub loop_delay_p99_ns: Option<u64>,
    /// The same of its turns.
    pub turn_p99_ns: Option<u64>,
}

/// How uneven something is over reactors.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Imbalance {
    /// The most of one reactor over the mean of all: 1 is even.
    pub index: f64,
    /// The standard deviation over the mean, the coefficient of variation: 0 is even.
    pub variation: f64,
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    less("balance.client.connections.index", Unit::Ratio, |r| {
        Some(r.balance.client.as_ref()?.connections?.index)
    }),
    less("balance.client.messages.index", Unit::Ratio, |r| {
        Some(r.balance.client.as_ref()?.messages?.index)
    }),
    less("balance.client.cpu.index", Unit::Ratio, |r| Some(r.balance.client.as_ref()?.cpu?.index)),
    less("balance.server.connections.index", Unit::Ratio, |r| {
        Some(r.balance.server.as_ref()?.connections?.index)
    }),
    less("balance.server.messages.index", Unit::Ratio, |r| {
        Some(r.balance.server.as_ref()?.messages?.index)
    }),
    less("balance.server.cpu.index", Unit::Ratio, |r| Some(r.balance.server.as_ref()?.cpu?.index)),
    less("balance.server.busy_max", Unit::Ratio, |r| r.balance.server.as_ref()?.busy_max),
    less("balance.server.loop_delay_p99_ns", Unit::Nanoseconds, |r| {
        whole(r.balance.server.as_ref()?.loop_delay_p99_ns)
    }),
];

/// The client's balance is that of all reactors; the server's, like its snapshot, that of the last
/// part.
pub(crate) fn merge(merged: &ResultFile, results: &[&ResultFile]) -> Balance {
    Balance {
        client: client_balance(merged),
        server: results.last().and_then(|last| last.balance.server.clone()),
    }
}

/// How uneven these amounts are; nothing where there are none.
#[must_use]
pub fn imbalance(amounts: &[f64]) -> Option<Imbalance> {
    let count = amounts.len() as f64;
    let mean = amounts.iter().sum::<f64>() / count;
    if !mean.is_finite() || mean <= 0.0 {
        return None;
    }
    let most = amounts.iter().copied().fold(0.0, f64::max);
    let variance = amounts.iter().map(|amount| (amount - mean).powi(2)).sum::<f64>() / count;
    Some(Imbalance { index: ratio(most, mean), variation: ratio(variance.sqrt(), mean) })
}

/// The client's balance; `None` without reactors.
#[must_use]
pub fn of_client(reactors: &[Reactor], had_traffic: bool) -> Option<BalanceOf> {
    if reactors.is_empty() {
        return None;
    }
    let over = |of: fn(&Reactor) -> f64| imbalance(&reactors.iter().map(of).collect::<Vec<_>>());
    let busiest = reactors.iter().map(|one| one.busy_ratio).fold(0.0, f64::max);
    Some(BalanceOf {
        reactors: reactors.len() as u64,
        opened: over(|one| one.opened as f64),
        connections: over(|one| one.connections as f64),
        messages: over(|one| one.messages as f64),
        cpu: over(|one| one.cpu_seconds.unwrap_or(0.0)),
        busy_max: had_traffic.then_some(busiest),
        core_busy_max: fullest_core(reactors.iter().map(|one| Some((one.core?, one.busy_ratio))))
            .filter(|_| had_traffic),
        loop_delay_p99_ns: worst(reactors, |one| one.loop_delay),
        turn_p99_ns: worst(reactors, |one| one.turn),
    })
}

/// The worst 99th percentile of those that recorded anything.
fn worst(reactors: &[Reactor], of: fn(&Reactor) -> Option<Spans>) -> Option<u64> {
    reactors.iter().filter_map(of).filter(|spans| spans.count > 0).map(|spans| spans.p99_ns).max()
}

/// The server's balance, from its snapshots before and after the traffic. Messages and CPU time are
/// those between the two, or since its start without the first. `None` where the last one names no
/// reactors: what another server tells is its own affair.
#[must_use]
pub fn of_server(before: Option<&Value>, after: &Value, had_traffic: bool) -> Option<BalanceOf> {
    let reactors = by_index(after);
    if reactors.is_empty() {
        return None;
    }
    let earlier = before.map(by_index).unwrap_or_default();
    let number = |one: &Value, field: &str| one[field].as_f64().unwrap_or(0.0);
    let now = |field: &'static str| -> Vec<f64> {
        reactors.values().map(|one| number(one, field)).collect()
    };
    let grown = |field: &'static str| -> Vec<f64> {
        let before = |index| earlier.get(index).map_or(0.0, |one| number(one, field));
        reactors.iter().map(|(index, one)| (number(one, field) - before(index)).max(0.0)).collect()
    };
    let (messages, requests) = (grown("messages"), grown("requests"));
    let served: Vec<f64> = messages.iter().zip(requests).map(|(a, b)| a + b).collect();
    let (cpu, time) = (grown("cpu_ns"), grown("uptime_ns"));
    let busy: Vec<f64> =
        cpu.iter().zip(time).map(|(cpu, time)| ratio(*cpu, time).min(1.0)).collect();
    let cores = reactors.values().map(|one| u32::try_from(one["core"].as_u64()?).ok());
    let of_core = cores.zip(&busy).map(|(core, busy)| Some((core?, *busy)));
    // The percentile of nothing is none.
    let worst = |name: &str| {
        let known = reactors.values().filter(|one| one[name]["count"].as_u64() != Some(0));
        known.filter_map(|one| one[name]["p99_ns"].as_u64()).max()
    };
    Some(BalanceOf {
        reactors: reactors.len() as u64,
        opened: imbalance(&now("accepted")),
        connections: imbalance(&now("connections")),
        messages: imbalance(&served),
        core_busy_max: fullest_core(of_core).filter(|_| had_traffic),
        busy_max: had_traffic.then(|| busy.iter().copied().fold(0.0, f64::max)),
        cpu: imbalance(&cpu),
        loop_delay_p99_ns: worst("loop_delay"),
        turn_p99_ns: worst("turn"),
    })
}

/// How much of the busiest core its reactors used together; `None` where one's core is not known.
fn fullest_core(reactors: impl Iterator<Item = Option<(u32, f64)>>) -> Option<f64> {
    let mut cores = BTreeMap::new();
    for reactor in reactors {
        let (core, busy) = reactor?;
        *cores.entry(core).or_insert(0.0) += busy;
    }
    cores.into_values().map(|busy: f64| busy.min(1.0)).reduce(f64::max)
}

/// The reactors of a snapshot by their numbers.
fn by_index(snapshot: &Value) -> BTreeMap<u64, &Value> {
    let reactors = snapshot["reactors"].as_array().into_iter().flatten();
    reactors.filter_map(|one| Some((one["index"].as_u64()?, one))).collect()
}

/// One line for each end about how evenly its reactors shared the work.
#[must_use]
pub fn lines(result: &ResultFile) -> Vec<String> {
    let balance = &result.balance;
    let ends = [("client", "opened", &balance.client), ("server", "accepts", &balance.server)];
    let line = |(end, opened, of): (&str, &str, &Option<BalanceOf>)| {
        let of = of.as_ref().filter(|of| of.reactors > 1)?;
        let figures = [
            (opened, of.opened),
            ("connections", of.connections),
            ("messages", of.messages),
            ("cpu", of.cpu),
        ];
        let known: Vec<_> = figures
            .into_iter()
            .filter_map(|(name, found)| Some(format!("{name} {:.2}", found?.index)))
            .collect();
        (!known.is_empty()).then(|| format!("{end}, most over mean: {}", known.join(", ")))
    };
    ends.into_iter().filter_map(line).collect()
}

/// The client's balance of a result, for results whose reactors were put together anew.
#[must_use]
pub fn client_balance(result: &ResultFile) -> Option<BalanceOf> {
    of_client(&result.reactors, result.plan.model != Model::None)
}

/// The same as text.
pub(super) fn words(result: &ResultFile) -> String {
    lines(result).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn even_is_one_and_all_on_one_of_four_is_four() {
        assert_eq!(imbalance(&[5.0; 3]), Some(Imbalance { index: 1.0, variation: 0.0 }));
        let all = imbalance(&[0.0, 8.0, 0.0, 0.0]).expect("some");
        assert_eq!((all.index, all.variation), (4.0, 3f64.sqrt()));
        assert_eq!(imbalance(&[]), None);
        assert_eq!(imbalance(&[0.0, 0.0]), None);
        assert_eq!(imbalance(&[f64::NAN, 1.0]), None);
    }

    #[test]
    fn the_server_is_judged_by_what_it_did_between_its_snapshots() {
        let snapshot = |messages: [u64; 2], cpu: [u64; 2], uptime: u64| {
            let one = |index: usize| {
                json!({"index": index, "accepted": 10 + 20 * index, "connections": 10,
                       "messages": messages[index], "requests": 0, "cpu_ns": cpu[index],
                       "uptime_ns": uptime, "loop_delay": {"p99_ns": 7 + index},
                       "turn": {"count": 0, "p99_ns": 0}})
            };
            json!({"reactors": [one(0), one(1)]})
        };
        let before = snapshot([1_000, 5_000], [9_000, 100], 50_000);
        let after = snapshot([1_100, 5_300], [9_250, 1_100], 51_000);
        let it = of_server(Some(&before), &after, true).expect("a balance");
        assert_eq!(it.opened.map(|one| one.index), Some(1.5));
        assert_eq!(it.connections.map(|one| one.index), Some(1.0));
        assert_eq!(it.messages, Some(Imbalance { index: 1.5, variation: 0.5 }));
        assert_eq!((it.busy_max, it.loop_delay_p99_ns, it.turn_p99_ns), (Some(1.0), Some(8), None));
        let whole = of_server(None, &after, false).expect("a balance");
        assert_eq!(
            (whole.messages.map(|one| one.index), whole.busy_max),
            (Some(5_300.0 / 3_200.0), None)
        );
        for foreign in [json!(null), json!({"reactors": 3}), json!({"reactors": [{"index": "x"}]})]
        {
            assert_eq!(of_server(None, &foreign, true), None);
        }
    }
}
