//! The client's account of itself in the result: what each reactor did and what kept it from it, the
//! figures that the verdict on the generator goes by, and how evenly both ends shared the work.

use crate::books::backlog::Backlog;
use crate::books::totals::Final;
use crate::conductor::Measured;
use host::schedule::CoreTime;
use measure::{IntervalHistogram, Nanos, Stage};
use reactor::LoopTimes;
use report::schema::{self, Balance, Model, ResultFile, ratio};
use report::{balance, generator, hist};
use std::collections::BTreeMap;

/// What each reactor did; `cpus` are the cores they were pinned to.
pub(crate) fn reactors(cpus: &[usize], measured: &Measured) -> Vec<schema::Reactor> {
    let steal = |core: Option<u32>| {
        let of = |times: &BTreeMap<u32, CoreTime>| times.get(&core?).copied();
        let (from, to) = (of(&measured.drive_from.cores)?, of(&measured.drive_to.cores)?);
        to.steal_since(&from)
    };
    let of = measured.finals.iter();
    of.map(|(&index, last)| {
        let core = cpus.get(index).map(|cpu| *cpu as u32);
        reactor(index, core, last, steal(core))
    })
    .collect()
}

fn reactor(index: usize, core: Option<u32>, last: &Final, steal: Option<f64>) -> schema::Reactor {
    let (counters, effort) = (&last.counters, &last.effort);
    // With traffic, how busy it was in that; without, over the whole run.
    let (cpu, time) = match effort.span {
        Some(span) if span > Nanos::ZERO => (effort.cpu, span),
        _ => (last.cpu, last.uptime),
    };
    let share = |part: Nanos| ratio(part.as_secs_f64(), time.as_secs_f64()).min(1.0);
    let had_traffic = effort.span.is_some();
    let p99 = |stage| last.recorder.stage(stage)?.quantile(0.99);
    let spans =
        |of: fn(&LoopTimes) -> &IntervalHistogram| effort.times.as_deref().map(|t| spans(of(t)));
    schema::Reactor {
        index: index as u64,
        core,
        connections: last.open_peak,
        opened: last.totals.opened,
        failed: last.totals.failed + last.totals.lost,
        messages: last.totals.received + last.totals.first_received,
        busy_ratio: share(cpu),
        wait_ratio: effort.waited.map(share),
        cpu_seconds: had_traffic.then(|| effort.cpu.as_secs_f64()),
        steal_ratio: steal.filter(|_| had_traffic),
        voluntary_switches: effort.switches.map(|switches| switches.voluntary),
        involuntary_switches: effort.switches.map(|switches| switches.involuntary),
        loop_delay: spans(|times| &times.delay),
        turn: spans(|times| &times.turn),
        send_lag_p99_ns: p99(Stage::SendLag),
        receive_lag_p99_ns: p99(Stage::ReceiveLag),
        turns: counters.turns,
        budget_hits: counters.reads_budget_hits + counters.events_budget_hits,
        stale_events: counters.stale_events,
    }
}

fn spans(recorded: &IntervalHistogram) -> schema::Spans {
    let reactor::Spans { count, p50, p99, max } = reactor::Spans::of(recorded);
    schema::Spans { count, p50_ns: p50.0, p99_ns: p99.0, max_ns: max.0 }
}

/// A count of all reactors' backlogs.
pub(crate) fn sum(measured: &Measured, of: fn(&Backlog) -> u64) -> u64 {
    measured.finals.values().map(|last| of(&last.backlog)).sum()
}

/// The time that was planned for the traffic, as far as it came to pass.
pub(crate) fn planned_seconds(duration: Nanos, measured: &Measured) -> f64 {
    let longest = measured.finals.values().map(|last| last.drive_time).max();
    longest.unwrap_or_default().min(duration).as_secs_f64()
}

/// A row of counts, one for each of the marks that every reactor has come to.
pub(crate) fn marks(measured: &Measured, of: fn(&Backlog) -> &Vec<u64>) -> Vec<u64> {
    let each = || measured.finals.values().map(|last| of(&last.backlog));
    let count = each().map(Vec::len).min().unwrap_or(0);
    (0..count).map(|mark| each().map(|marks| marks[mark]).sum()).collect()
}

/// The longest time in which no reactor that had something on its way heard an answer.
pub(crate) fn silence(measured: &Measured) -> Option<(Nanos, Nanos)> {
    let with_traffic = measured.finals.values().filter(|last| last.totals.sent > 0);
    let common = with_traffic
        .map(|last| last.backlog.silences.clone())
        .reduce(|common, next| in_common(&common, &next))?;
    common.into_iter().max_by_key(|(from, to)| *to - *from)
}

/// The times that lie in both, each of which is in order and overlaps none of its own.
fn in_common(one: &[(Nanos, Nanos)], other: &[(Nanos, Nanos)]) -> Vec<(Nanos, Nanos)> {
    let (mut at, mut common) = ((0, 0), Vec::new());
    while let (Some(a), Some(b)) = (one.get(at.0), other.get(at.1)) {
        let (from, to) = (a.0.max(b.0), a.1.min(b.1));
        if from < to {
            common.push((from, to));
        }
        if a.1 < b.1 { at.0 += 1 } else { at.1 += 1 }
    }
    common
}

/// Fills in the sections `generator`, but for the verdict, and `balance`.
pub(crate) fn fill(result: &mut ResultFile, measured: &Measured) {
    let had_traffic = result.plan.model != Model::None;
    let (mut own_lag, mut all) = (IntervalHistogram::new(), LoopTimes::default());
    for last in measured.finals.values() {
        own_lag.merge(&last.own_lag);
        if let Some(times) = &last.effort.times {
            all.delay.merge(&times.delay);
            all.turn.merge(&times.turn);
        }
    }
    result.generator = Some(schema::Generator {
        loop_delay: hist::entry(&all.delay),
        turn: hist::entry(&all.turn),
        own_lag: hist::entry(&own_lag),
        host_probe: hist::entry(&measured.probed.late),
        host_probe_wait_ratio: measured.probed.wait_ratio(),
        ..generator::of_reactors(&result.reactors)
    });
    let (from, to) = (measured.drive_from.peer.as_ref(), measured.drive_to.peer.as_ref());
    result.balance = Balance {
        client: balance::of_client(&result.reactors, had_traffic),
        server: match had_traffic {
            true => to.and_then(|to| balance::of_server(from, to, true)),
            false => result.peer.as_ref().and_then(|peer| balance::of_server(None, peer, false)),
        },
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_what_the_silences_of_all_reactors_have_in_common() {
        let spans = |spans: &[(u64, u64)]| -> Vec<(Nanos, Nanos)> {
            spans.iter().map(|(from, to)| (Nanos(*from), Nanos(*to))).collect()
        };
        // Of two stalls one reactor felt the first for longer, the other the second.
        let (one, other) = (spans(&[(10, 20), (40, 49)]), spans(&[(11, 19), (40, 50)]));
        assert_eq!(in_common(&one, &other), spans(&[(11, 19), (40, 49)]));
        assert_eq!(in_common(&other, &one), spans(&[(11, 19), (40, 49)]));
        assert_eq!(in_common(&one, &spans(&[(20, 40)])), []);
        assert_eq!(in_common(&one, &spans(&[(0, 90)])), one);
        assert_eq!(
            in_common(&spans(&[(0, 9)]), &spans(&[(1, 2), (3, 4)])),
            spans(&[(1, 2), (3, 4)])
        );
    }
}
