//! The sections `reactors`, `generator` and `balance`: what each reactor did and what kept it from
//! it, the figures that the verdict on the generator goes by, and how evenly both ends shared the
//! work.

use crate::conductor::Measured;
use crate::orders::Final;
use host::schedule::CoreTime;
use measure::{IntervalHistogram, Nanos, Stage};
use reactor::LoopTimes;
use report::schema::{self, Balance, Model, ResultFile, ratio};
use report::{balance, generator, hist};
use std::collections::BTreeMap;

/// What each reactor did; `cpus` are the cores they were pinned to.
pub(super) fn section(cpus: &[usize], measured: &Measured) -> Vec<schema::Reactor> {
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

/// Fills in the sections `generator`, but for the verdict, and `balance`.
pub(super) fn fill(result: &mut ResultFile, measured: &Measured) {
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
