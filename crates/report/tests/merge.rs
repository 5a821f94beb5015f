//! Merging loses nothing: the merged percentiles are those of all samples together, and every
//! second and every count is at its place.

use c1000k_report::merge::{self, MergeError, merge};
use c1000k_report::schema::{
    Address, Audit, AuditParts, Footprint, Generator, Model, Outcome, Pacing, Phase, PhaseTotals,
    Process, Reactor, Second, TcpInfo, TcpLook,
};
use c1000k_report::{ResultFile, generator, hist};
use measure::{FineHistogram, IntervalHistogram, Stage};
use proptest::prelude::*;

/// A result of `id` that began `second` seconds into a certain minute and took ten.
fn result(id: &str, second: u32, responses: &[u64]) -> ResultFile {
    let mut result = ResultFile::default();
    result.run.id = id.to_owned();
    result.run.started = format!("2026-11-23T10:00:{second:02}.000Z");
    result.run.ended = format!("2026-11-23T10:00:{:02}.000Z", second + 10);
    result.run.outcome = Outcome::Done;
    result.plan.connections = 100;
    result.plan.model = Model::Open;
    result.plan.rate_per_second = Some(50.0);
    result.connections.planned = 100;
    result.connections.opened = 100;
    result.connections.open_peak = 100;
    result.connections.open_at_end = 100;
    result.connections.open_seconds = 2.0;
    result.messages.received = responses.len() as u64;
    result.messages.seconds = 5.0;
    let mut histogram = FineHistogram::new();
    let mut interval = IntervalHistogram::new();
    for response in responses {
        histogram.record(*response);
        interval.record(*response);
    }
    result.stages.set(Stage::Response, hist::entry(&histogram));
    let number = |second| Second { second, open: 100, ..Second::default() };
    result.timeline = vec![
        Second { opened: 100, ..number(0) },
        Second {
            received: responses.len() as u64,
            response_p50_ns: interval.quantile(0.5),
            response_p99_ns: interval.quantile(0.99),
            response_max_ns: interval.max(),
            response_hdr: hist::interval(&interval),
            ..number(1)
        },
    ];
    result
}

fn values() -> impl Strategy<Value = Vec<u64>> {
    let one = (0..44u32, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1));
    prop::collection::vec(one, 1..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_merged_percentiles_are_those_of_all_samples(
        parts in prop::collection::vec(values(), 2..5),
        at_once in any::<bool>(),
    ) {
        let step = if at_once { 0 } else { 10 };
        let results: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(index, values)| result(&index.to_string(), index as u32 * step, values))
            .collect();
        let merged = merge(&results).expect("parts of one plan");
        let all = parts.concat();
        let expected = result("all", 0, &all);
        let [is, should_be] = [&merged, &expected]
            .map(|result| result.stages.get(Stage::Response).expect("measured"));
        prop_assert_eq!(&is.hdr, &should_be.hdr);
        for name in ["count", "min", "max", "p50", "p75", "p90", "p99", "p999", "p9999", "stdev"] {
            prop_assert_eq!(is.statistic(name), should_be.statistic(name), "{}", name);
        }
        let near = (is.mean / should_be.mean.max(1e-9) - 1.0).abs() < 1e-9;
        prop_assert!(near || should_be.mean == 0.0);
        prop_assert_eq!(merged.messages.received, all.len() as u64);
        if at_once {
            // The same second of all parts is one, and its percentiles are of all of them too.
            prop_assert_eq!(merged.timeline.len(), 2);
            let (is, should_be) = (&merged.timeline[1], &expected.timeline[1]);
            prop_assert_eq!(is.response_p50_ns, should_be.response_p50_ns);
            prop_assert_eq!(is.response_p99_ns, should_be.response_p99_ns);
            prop_assert_eq!(&is.response_hdr, &should_be.response_hdr);
        }
    }

    #[test]
    fn the_order_of_the_parts_makes_no_difference(values in prop::collection::vec(values(), 3)) {
        let results: Vec<_> =
            values.iter().enumerate().map(|(i, v)| result(&i.to_string(), i as u32, v)).collect();
        let backwards: Vec<_> = results.iter().rev().cloned().collect();
        prop_assert_eq!(merge(&results), merge(&backwards));
    }
}

#[test]
fn what_addresses_took_adds_up_by_target_and_address() {
    let at = |address: &str, connected, refused: u64| Address {
        target: "tcp://many:9".to_owned(),
        address: address.to_owned(),
        sources: 1,
        connected,
        failures: (refused > 0).then(|| ("refused".to_owned(), refused)).into_iter().collect(),
    };
    let (mut one, mut other) = (result("a", 0, &[1]), result("b", 0, &[2]));
    one.plan.addresses = vec![at("127.0.0.2:9", 60, 0), at("127.0.0.3:9", 40, 7)];
    other.plan.addresses = vec![at("127.0.0.3:9", 99, 1), at("127.0.0.4:9", 1, 0)];
    (one.connections.tried_again, other.connections.tried_again) = (7, 1);
    let merged = merge(&[one, other]).expect("shards");
    assert_eq!(
        merged.plan.addresses,
        [at("127.0.0.2:9", 60, 0), at("127.0.0.3:9", 139, 8), at("127.0.0.4:9", 1, 0)]
    );
    assert_eq!(merged.connections.tried_again, 8);
}

#[test]
fn shards_add_up_and_are_set_beside_each_other_by_the_clock() {
    let merged = merge(&[result("a", 0, &[1_000]), result("b", 3, &[3_000])]).expect("shards");
    assert_eq!(merged.plan.connections, 200);
    assert_eq!(merged.plan.rate_per_second, Some(100.0));
    assert_eq!((merged.connections.opened, merged.connections.open_peak), (200, 100));
    assert_eq!(merged.connections.rate_per_second, 100.0, "both at once");
    let seconds: Vec<_> = merged.timeline.iter().map(|one| (one.second, one.opened)).collect();
    assert_eq!(seconds, [(0, 100), (1, 0), (3, 100), (4, 0)]);
    let skews: Vec<_> = merged.run.parts.iter().map(|part| part.skew_ns).collect();
    assert_eq!(skews, [0, 3_000_000_000]);
    let skew = merged.run.warnings.iter().find(|one| one.code == "start_skew").expect("told");
    assert_eq!(skew.text, "the parts began up to 3 s apart");
    assert_eq!(
        (merged.run.started.as_str(), merged.run.ended.as_str()),
        ("2026-11-23T10:00:00.000Z", "2026-11-23T10:00:13.000Z")
    );
}

#[test]
fn counts_by_name_are_added_whatever_they_count() {
    let mut results = [result("a", 0, &[1_000]), result("b", 20, &[3_000])];
    for (index, result) in results.iter_mut().enumerate() {
        let counts = [("both".to_owned(), 3), (format!("only {index}"), 1)];
        for map in [&mut result.http_statuses, &mut result.violations, &mut result.limits_reached] {
            map.extend(counts.clone());
        }
    }
    let merged = merge(&results).expect("repeats");
    for map in [&merged.http_statuses, &merged.violations, &merged.limits_reached] {
        let added: Vec<_> = map.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(added, [("both", 6), ("only 0", 1), ("only 1", 1)]);
    }
}

/// A phase from one second to another, with the responses measured in it.
fn phase(name: &str, from: f64, to: f64, responses: &[u64]) -> Phase {
    let mut histogram = FineHistogram::new();
    responses.iter().for_each(|value| histogram.record(*value));
    let mut phase = Phase {
        name: name.to_owned(),
        act: "traffic".to_owned(),
        from_seconds: from,
        to_seconds: to,
        totals: PhaseTotals { received: responses.len() as u64, ..PhaseTotals::default() },
        ..Phase::default()
    };
    phase.totals.failures.reset = 1;
    phase.stages.set(Stage::Response, hist::entry(&histogram));
    phase
}

#[test]
fn phases_of_one_name_are_one_and_have_the_percentiles_of_all_samples() {
    let (mut a, mut b) = (result("a", 0, &[1_000]), result("b", 3, &[3_000]));
    a.phases = vec![phase("calm", 1.0, 4.0, &[1_000, 7]), phase("storm", 4.0, 6.0, &[50])];
    b.phases = vec![phase("calm", 1.5, 3.5, &[9_000]), phase("after", 4.0, 5.0, &[4])];
    let known = |merged: &ResultFile| {
        let of = |one: &Phase| (one.name.clone(), one.from_seconds, one.to_seconds);
        merged.phases.iter().map(of).collect::<Vec<_>>()
    };
    let named = |name: &str, from: f64, to: f64| (name.to_owned(), from, to);
    // By the clock on the wall the second shard is three seconds behind.
    let shards = merge(&[a.clone(), b.clone()]).expect("shards");
    let expected = [named("calm", 1.0, 6.5), named("storm", 4.0, 6.0), named("after", 7.0, 8.0)];
    assert_eq!(known(&shards), expected);
    let mut together = phase("calm", 1.0, 6.5, &[1_000, 7, 9_000]);
    together.totals.failures.reset = 2;
    assert_eq!(shards.phases[0], together);
    // Repeats each count from their own start.
    b.run.started = "2026-11-23T10:00:30.000Z".to_owned();
    b.run.ended = "2026-11-23T10:00:40.000Z".to_owned();
    let repeats = merge(&[a.clone(), b.clone()]).expect("repeats");
    let expected = [named("calm", 1.0, 4.0), named("storm", 4.0, 6.0), named("after", 4.0, 5.0)];
    assert_eq!(known(&repeats), expected);
    let expression = "phase.calm.response.max>8us".to_owned();
    for one in [&mut a, &mut b] {
        one.plan.thresholds = vec![expression.clone()];
    }
    let judged = merge(&[a.clone(), b.clone()]).expect("repeats").verdict;
    assert_eq!((judged.thresholds[0].value, judged.exit_code), (Some(9_000.0), 4));

    b.phases[0].totals.received = u64::MAX;
    let sum = "phases.totals.received".to_owned();
    assert_eq!(merge(&[a.clone(), b.clone()]), Err(MergeError::TooMuch(sum)));
    b.phases[0] = a.phases[0].clone();
    b.phases[0].stages.get_mut(Stage::Response).expect("measured").hdr.truncate(9);
    let broken = merge(&[a.clone(), b.clone()]);
    let of = "phase.calm.response";
    assert!(
        matches!(&broken, Err(MergeError::Histogram { stage, .. }) if stage == of),
        "{broken:?}"
    );
    // Of one part only they would not be those of the whole.
    b.phases.clear();
    assert_eq!(merge(&[a, b]).expect("repeats").phases, []);
}

#[test]
fn audits_are_those_of_all_messages_together() {
    let entry = |values: &[u64]| {
        let mut histogram = FineHistogram::new();
        values.iter().for_each(|value| histogram.record(*value));
        hist::entry(&histogram)
    };
    let audited = |values: &[u64], connections| {
        let part = |add: u64| entry(&values.iter().map(|value| value + add).collect::<Vec<_>>());
        let look = TcpLook { connections, retransmits: 2, rtt: part(5), rtt_variation: part(6) };
        Audit {
            ratio: 0.5,
            connections,
            messages: values.len() as u64,
            unstamped: 1,
            misfits: 2,
            clock_steps: 3,
            parts: part(0).map(|send_lag| AuditParts {
                send_lag,
                outside: part(1).expect("values"),
                receive_lag: part(2).expect("values"),
                response: part(3).expect("values"),
            }),
            tcp_info: TcpInfo { start: Some(look), end: None },
        }
    };
    let parts = [("a", 0, vec![1_000, 7]), ("b", 20, vec![]), ("c", 40, vec![3_000])];
    let mut results = parts.map(|(id, second, values)| {
        let mut result = result(id, second, &values);
        result.audit = Some(audited(&values, 10));
        result
    });
    let merged = merge(&results).expect("repeats").audit.expect("all had one");
    let mut expected = audited(&[1_000, 7, 3_000], 30);
    (expected.unstamped, expected.misfits, expected.clock_steps) = (3, 6, 9);
    expected.tcp_info.start.as_mut().expect("a look").retransmits = 6;
    assert_eq!(merged, expected);
    let outside = |result: &mut ResultFile| {
        result.audit.as_mut().expect("one").parts.as_mut().expect("some").outside.hdr.truncate(9);
    };
    outside(&mut results[2]);
    let broken = merge(&results);
    assert!(
        matches!(&broken, Err(MergeError::Histogram { stage, .. }) if stage == "audit.outside"),
        "{broken:?}"
    );
    // One that was audited less is no part of the same plan.
    results[1].plan.audit_ratio = Some(0.1);
    assert_eq!(merge(&results), Err(MergeError::Plans("audit_ratio".to_owned())));
}

#[test]
fn repeats_are_one_plan_run_again() {
    let results = [result("a", 0, &[1_000]), result("b", 20, &[3_000])];
    let merged = merge(&results).expect("repeats");
    assert_eq!((merged.plan.connections, merged.connections.opened), (100, 200));
    assert_eq!((merged.connections.open_peak, merged.connections.rate_per_second), (100, 50.0));
    assert_eq!(merged.connections.open_at_end, 200, "as many as were opened and not lost");
    assert_eq!(merged.timeline.last().map(|one| one.second), Some(21));
    assert!(merged.run.warnings.is_empty(), "{:?}", merged.run.warnings);
    let third = result("c", 40, &[2_000]);
    let again = merge(&[merged, third]).expect("a merged one and another");
    let parts: Vec<_> =
        again.run.parts.iter().map(|part| (part.id.as_str(), part.skew_ns)).collect();
    assert_eq!(parts, [("a", 0), ("b", 20_000_000_000), ("c", 40_000_000_000)]);
}

/// What a client says of these counts in windows of 1 ms.
fn pacing(counts: &[f64]) -> Pacing {
    let windows = counts.len() as f64;
    let mean = counts.iter().sum::<f64>() / windows;
    let squares = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>();
    Pacing {
        window_ns: 1_000_000,
        windows: counts.len() as u64,
        sent_per_window_mean: mean,
        sent_per_window_max: counts.iter().fold(0.0, |max: f64, one| max.max(*one)) as u64,
        dispersion: Some(squares / windows / mean),
        dispersion_ideal: Some(0.5),
        ..Pacing::default()
    }
}

#[test]
fn the_windows_of_repeats_are_taken_together_and_those_of_shards_add_up() {
    let (one, other) = ([3.0, 5.0, 4.0, 9.0], [1.0, 7.0, 2.0, 2.0, 8.0, 0.0]);
    let mut results = [result("a", 0, &[1_000]), result("b", 20, &[3_000])];
    for (result, counts) in results.iter_mut().zip([&one[..], &other]) {
        result.pacing = Some(pacing(counts));
        result.messages.sent = 240;
    }
    let merged = merge(&results).expect("repeats").pacing.expect("measured");
    let both = pacing(&[&one[..], &other].concat());
    assert_eq!((merged.windows, merged.sent_per_window_max), (10, 9));
    let near = |a: Option<f64>, b: Option<f64>| (a.expect("one") - b.expect("two")).abs() < 1e-9;
    assert!(near(Some(merged.sent_per_window_mean), Some(both.sent_per_window_mean)));
    assert!(near(merged.dispersion, both.dispersion), "{merged:?}");
    assert!(near(merged.dispersion_ideal, Some(0.5)));
    // 480 in two times 5 s, of 50 a second that were asked for.
    assert!(near(Some(merged.rate_error), Some(-0.04)), "{merged:?}");

    let [first, mut second] = results;
    second.run.started = first.run.started.clone();
    second.run.ended = first.run.ended.clone();
    let merged = merge(&[first.clone(), second.clone()]).expect("shards");
    let [a, b] = [&first, &second].map(|one| one.pacing.clone().expect("measured"));
    assert_eq!(
        merged.machines.iter().map(|one| one.pacing.clone()).collect::<Vec<_>>(),
        [Some(a.clone()), Some(b.clone())]
    );
    let sum = merged.pacing.expect("of both");
    assert_eq!((sum.windows, sum.sent_per_window_max), (4, 17));
    let mean = a.sent_per_window_mean + b.sent_per_window_mean;
    assert!(near(Some(sum.sent_per_window_mean), Some(mean)));
    // Of what is independent the variances add up.
    let variance = |one: &Pacing| one.dispersion.expect("sent") * one.sent_per_window_mean;
    assert!(near(sum.dispersion, Some((variance(&a) + variance(&b)) / mean)));
    // 480 in 5 s, of 100 a second.
    assert!(near(Some(sum.rate_error), Some(-0.04)), "{sum:?}");
    assert!(merged.run.warnings.iter().any(|warning| warning.code == "merged_pacing"));
    // One that sent nothing adds nothing to how unevenly they left.
    let mut silent = second.clone();
    silent.pacing = Some(Pacing { dispersion: None, dispersion_ideal: None, ..pacing(&[0.0]) });
    let sum = merge(&[first.clone(), silent]).expect("shards").pacing.expect("of both");
    assert!(near(sum.dispersion, a.dispersion), "{sum:?}");
    // A part from before this was written: nothing is known of the whole, and nothing is to be
    // said.
    second.pacing = None;
    let merged = merge(&[first, second]).expect("shards");
    assert_eq!(merged.pacing, None);
    assert!(merged.run.warnings.iter().all(|warning| warning.code != "merged_pacing"));
}

#[test]
fn a_second_that_shards_share_has_service_percentiles_of_all_of_them() {
    let served = |id: &str, values: &[u64]| {
        let mut one = result(id, 0, values);
        let mut interval = IntervalHistogram::new();
        values.iter().for_each(|value| interval.record(*value));
        let second = &mut one.timeline[1];
        second.service_p50_ns = interval.quantile(0.5);
        second.service_p99_ns = interval.quantile(0.99);
        second.service_max_ns = interval.max();
        second.service_hdr = hist::interval(&interval);
        one
    };
    let (a, b) = (served("a", &[1_000, 2_000]), served("b", &[3_000, 900_000]));
    let all = served("all", &[1_000, 2_000, 3_000, 900_000]);
    let merged = merge(&[a.clone(), b.clone()]).expect("shards");
    let numbers = |one: &Second| (one.service_p50_ns, one.service_p99_ns, one.service_max_ns);
    assert_eq!(numbers(&merged.timeline[1]), numbers(&all.timeline[1]));
    assert_eq!(merged.timeline[1].service_hdr, all.timeline[1].service_hdr);
    // One part from before the histogram was written: its percentiles cannot be added.
    let mut old = b;
    old.timeline[1].service_hdr = None;
    let merged = merge(&[a, old]).expect("shards");
    assert_eq!(numbers(&merged.timeline[1]), (None, None, Some(900_000)));
}

#[test]
fn machines_of_shards_are_kept_and_their_memory_added_where_they_are_known_to_be_two() {
    let on = |cpu: &str, id: &str, slab: u64| {
        let mut one = result(id, 0, &[1_000]);
        one.host = serde_json::json!({
            "cpu_model": cpu,
            "kernel_release": "6.1",
            "memory": {"total_bytes": 1 << 30},
            // Programs on one machine may have been given different ones.
            "cpus_allowed": id,
        });
        let kernel = &mut one.resources.kernel;
        (kernel.slab_bytes_before, kernel.slab_bytes) = (Some(1_000), Some(1_000 + slab));
        kernel.bytes_per_connection = Some(slab as f64 / 100.0);
        let taken = Footprint { memory_bytes: slab, open_files: 7 };
        one.resources.taken = Some(taken);
        one
    };
    let told = |merged: &ResultFile, code| merged.run.warnings.iter().any(|one| one.code == code);
    let two = merge(&[on("A", "a", 5_000), on("B", "b", 7_000)]).expect("shards");
    assert_eq!(two.resources.kernel.bytes_per_connection, Some(60.0), "12,000 B for 200");
    assert_eq!(two.resources.kernel.slab_bytes, Some(14_000));
    assert_eq!(two.resources.taken, Some(Footprint { memory_bytes: 12_000, open_files: 14 }));
    assert!(two.host.is_null() && told(&two, "merged_hosts") && !told(&two, "merged_kernel"));
    let one = merge(&[on("A", "a", 5_000), on("A", "b", 7_000)]).expect("shards");
    assert_eq!(one.resources.kernel.bytes_per_connection, None);
    assert_eq!(one.resources.taken, None);
    assert!(told(&one, "merged_kernel"));
    for merged in [&one, &two] {
        let each: Vec<_> =
            merged.machines.iter().map(|of| (of.id.as_str(), of.connections)).collect();
        assert_eq!(each, [("a", 100), ("b", 100)]);
        assert_eq!(merged.machines[1].resources.kernel.bytes_per_connection, Some(70.0));
        let shown = c1000k_report::text::summary(merged, 80);
        assert!(shown.contains("machines     a: 100 connections, kernel 50 B each\n"), "{shown}");
    }
    // Of a machine without facts nothing is known, nor of one that is among merged ones already.
    let nowhere = merge(&[on("A", "a", 5_000), result("d", 0, &[2])]).expect("shards");
    let again = merge(&[two.clone(), on("B", "e", 1)]).expect("shards");
    assert!(told(&nowhere, "merged_kernel") && told(&again, "merged_kernel"));
    assert_eq!(again.machines.len(), 3);
    // Repeats have none of their own, but keep those of shards.
    let later = |mut one: ResultFile| {
        one.run.started = "2026-11-23T10:00:20.000Z".to_owned();
        one.run.ended = "2026-11-23T10:00:30.000Z".to_owned();
        one
    };
    let (mut third, mut fourth) = (on("A", "c", 5_000), on("B", "d", 7_000));
    (third, fourth) = (later(third), later(fourth));
    let repeats = merge(&[third.clone(), result("f", 40, &[1])]).expect("repeats");
    assert_eq!(repeats.machines, []);
    let others = merge(&[third, fourth]).expect("shards");
    let repeats = merge(&[two, others]).expect("repeats");
    let ids: Vec<_> = repeats.machines.iter().map(|of| of.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
}

/// The same result with a reactor and a verdict.
fn judged(mut result: ResultFile, busy: f64, delays: &[u64]) -> ResultFile {
    let mut delay = IntervalHistogram::new();
    delays.iter().for_each(|value| delay.record(*value));
    let cpu_seconds = Some(busy);
    result.connections.opened = 100;
    result.reactors =
        vec![Reactor { busy_ratio: busy, cpu_seconds, opened: 100, ..Reactor::default() }];
    let of = generator::of_reactors(&result.reactors);
    result.generator = Some(Generator { loop_delay: hist::entry(&delay), ..of });
    generator::fill(&mut result);
    result
}

#[test]
fn one_part_at_its_end_marks_the_whole() {
    let (idle, busy) = (
        judged(result("a", 0, &[1_000]), 0.1, &[10, 20]),
        judged(result("b", 20, &[3_000]), 0.95, &[7_000]),
    );
    let shard = |mut one: ResultFile| {
        one.run.started = "2026-11-23T10:00:01.000Z".to_owned();
        one.run.ended = "2026-11-23T10:00:11.000Z".to_owned();
        one
    };
    for parts in [[idle.clone(), busy.clone()], [idle.clone(), shard(busy.clone())]] {
        let merged = merge(&parts).expect("parts of one plan");
        let verdict = merged.generator.as_ref().expect("judged");
        assert!(verdict.limited);
        assert_eq!(verdict.reasons, busy.generator.as_ref().expect("judged").reasons);
        assert_eq!(generator::reasons(&merged), verdict.reasons);
        assert!(verdict.reasons.iter().all(|reason| merged.run.warnings.contains(reason)));
        assert_eq!((verdict.busy_max, verdict.wait_max), (0.95, None));
        let delay = verdict.loop_delay.as_ref().expect("recorded");
        assert_eq!((delay.count, delay.min, delay.max), (3, 10, 7_000));
    }
    let shards = merge(&[idle.clone(), shard(busy.clone())]).expect("shards");
    let opened = shards.balance.client.as_ref().and_then(|client| client.opened);
    assert_eq!((shards.reactors.len(), opened.map(|one| one.index)), (2, Some(1.0)));
    let repeats = merge(&[idle.clone(), busy.clone()]).expect("repeats");
    let [one] = &repeats.reactors[..] else { panic!("{:?}", repeats.reactors) };
    assert_eq!((one.opened, one.cpu_seconds, one.loop_delay), (200, Some(1.05), None));
    // Beside a part that was never judged the verdict stands; its figures would be of a part only.
    let merged = merge(&[result("c", 40, &[1]), busy]).expect("repeats");
    let verdict = merged.generator.expect("judged");
    assert!(verdict.limited && verdict.loop_delay.is_none());
    assert!(
        !merge(&[result("c", 40, &[1]), idle]).expect("repeats").generator.expect("judged").limited
    );
}

#[test]
fn memory_that_a_later_repeat_found_there_is_no_less_for_a_connection() {
    let run = |id: &str, second: u32, before: u64, bytes: f64| {
        let mut run = result(id, second, &[1_000]);
        run.resources.server = Some(Process {
            rss_bytes_before: Some(before),
            rss_bytes: Some(5_000),
            bytes_per_connection: Some(bytes),
            ..Process::default()
        });
        run
    };
    let merged = merge(&[run("a", 0, 1_000, 40.0), run("b", 20, 5_000, 0.0)]).expect("repeats");
    let server = merged.resources.server.expect("known");
    assert_eq!(server.bytes_per_connection, Some(40.0));
    let name = "resources.server.bytes_per_connection";
    let spread = merged.spread.iter().find(|one| one.metric == name).expect("told");
    assert_eq!(spread.values, [Some(40.0), Some(0.0)], "and the spread says so");
}

#[test]
fn a_repeat_that_begins_in_the_second_in_which_the_last_one_ends_is_not_open_beside_it() {
    let (mut first, mut second) = (result("a", 0, &[1_000]), result("b", 1, &[3_000]));
    first.run.ended = "2026-11-23T10:00:00.900Z".to_owned();
    second.run.started = "2026-11-23T10:00:01.200Z".to_owned();
    let merged = merge(&[first, second]).expect("repeats");
    let seconds: Vec<_> =
        merged.timeline.iter().map(|one| (one.second, one.opened, one.open)).collect();
    assert_eq!(seconds, [(0, 100, 100), (1, 100, 100), (2, 0, 100)]);
    assert_eq!(merged.connections.open_peak, 100);
}

#[test]
fn repeats_that_are_known_as_such_need_no_clock_and_no_second_one() {
    let one = result("a", 0, &[1_000, 3_000]);
    let alone = merge::repeats(std::slice::from_ref(&one)).expect("one run");
    assert_eq!(alone.run.parts.len(), 1);
    assert_eq!(alone.stages, one.stages);
    assert_eq!((alone.messages.received, alone.run.outcome), (2, Outcome::Done));
    // The clock was set back between the runs.
    let merged = merge::repeats(&[result("b", 30, &[2_000]), result("a", 25, &[1_000])]);
    let merged = merged.expect("repeats");
    assert_eq!((merged.plan.connections, merged.connections.opened), (100, 200));
    assert_eq!(merge::repeats(&[]), Err(MergeError::TooFew));
    assert_eq!(merge::repeats(&[one.clone(), one]), Err(MergeError::Twice("a".to_owned())));
}

#[test]
fn the_spread_of_repeats_does_not_depend_on_how_they_were_put_together() {
    let runs: Vec<_> = (0..5u32)
        .map(|n| {
            let responses: Vec<u64> = (0..200).map(|i| 1_000 * u64::from(n + 1) + i).collect();
            let mut run = result(&n.to_string(), n * 10, &responses);
            run.messages.rate_achieved = f64::from(1_000 + n);
            run
        })
        .collect();
    let at_once = merge(&runs).expect("repeats");
    let spread = |name: &str| at_once.spread.iter().find(|one| one.metric == name).expect("told");
    let p50: Vec<_> =
        runs.iter().map(|run| run.stages.get(Stage::Response).map(|e| e.p50 as f64)).collect();
    assert_eq!(spread("response.p50").values, p50);
    assert_eq!(spread("messages.rate_achieved").median, 1_002.0);
    assert!(at_once.spread.iter().all(|one| !one.metric.starts_with("resources.")), "not measured");
    let first = merge(&runs[..2]).expect("repeats");
    let others = merge(&runs[2..]).expect("repeats");
    assert_eq!(merge(&[first, others]).expect("repeats").spread, at_once.spread);
    // Shards are parts of one load, and no repeats of each other.
    let shards = merge(&[result("a", 0, &[1]), result("b", 1, &[1])]).expect("shards");
    assert!(shards.spread.is_empty());
}

#[test]
fn what_is_not_part_of_one_run_is_refused() {
    let first = result("a", 0, &[1]);
    assert_eq!(merge(std::slice::from_ref(&first)), Err(MergeError::TooFew));
    assert_eq!(merge(&[first.clone(), first.clone()]), Err(MergeError::Twice("a".to_owned())));
    let other = |change: fn(&mut ResultFile)| {
        let mut other = result("b", 20, &[1]);
        change(&mut other);
        merge(&[first.clone(), other])
    };
    assert_eq!(
        other(|one| one.plan.size_bytes = 7),
        Err(MergeError::Plans("size_bytes".to_owned()))
    );
    assert_eq!(
        other(|one| one.plan.connections = 7),
        Err(MergeError::Plans("connections".to_owned()))
    );
    assert_eq!(other(|one| one.run.started.clear()), Err(MergeError::NoTime("b".to_owned())));
    let broken =
        other(|one| one.stages.get_mut(Stage::Response).expect("measured").hdr.truncate(9));
    let of = |stage: &str| stage == "response";
    assert!(matches!(&broken, Err(MergeError::Histogram { stage, .. }) if of(stage)), "{broken:?}");
    let mixed = [first, result("b", 5, &[1]), result("c", 30, &[1])];
    assert_eq!(merge(&mixed), Err(MergeError::Mixed));
}

#[test]
fn a_merged_result_is_done_only_if_all_its_parts_are() {
    let mut late = result("b", 20, &[1]);
    late.run.outcome = Outcome::NotReached;
    let merged = merge(&[result("a", 0, &[1]), late]).expect("repeats");
    assert_eq!((merged.run.outcome, merged.verdict.exit_code), (Outcome::NotReached, 6));
}

#[test]
fn sums_that_no_result_can_hold_are_refused() {
    let half = |id: &str, sent| {
        let mut one = result(id, 0, &[1, 2]);
        one.messages.sent = sent;
        one
    };
    let merged = merge(&[half("a", 1 << 63), half("b", (1 << 63) - 1)]).expect("it just fits");
    assert_eq!(merged.messages.sent, u64::MAX);
    let error = merge(&[half("a", 1 << 63), half("b", 1 << 63)]).expect_err("one too many");
    assert_eq!(error, MergeError::TooMuch("messages.sent".to_owned()));
    assert!(error.to_string().starts_with("the sum of messages.sent is beyond 2^64"), "{error}");
    // Also where it is spread over reactors.
    let mut one = result("a", 0, &[1, 2]);
    one.reactors = vec![Reactor { messages: 1 << 63, ..Reactor::default() }; 2];
    let error = merge(&[one, result("b", 0, &[3])]).expect_err("one too many");
    assert_eq!(error, MergeError::TooMuch("reactors.messages".to_owned()));
}
