//! Each rule from both sides: a client at its end is marked, a client that waits for its server
//! never.

use super::super::noise::{IDLE_ENOUGH, PROBED_MIN, is_noisy, others_line};
use super::*;
use crate::schema::{BalanceOf, Model};
use proptest::prelude::*;

/// A run in which nothing was wrong.
fn result(model: Model) -> ResultFile {
    let mut result = ResultFile::default();
    result.plan.model = model;
    result.connections.opened = 100;
    (result.messages.sent, result.messages.received) = (10_000, 10_000);
    result.reactors = vec![reactor(0, 0.2, 0.02), reactor(1, 0.2, 0.02)];
    result.stages.set(Stage::Response, Some(entry(2_000_000)));
    result.stages.set(Stage::SendLag, Some(entry(100_000)));
    result.limits_reached.insert("pace_blocked".to_owned(), 0);
    result.generator = Some(Generator { own_lag: Some(entry(100_000)), ..Generator::default() });
    result
}

fn reactor(index: u32, busy: f64, wait: f64) -> Reactor {
    Reactor {
        index: u64::from(index),
        core: Some(index),
        busy_ratio: busy,
        wait_ratio: Some(wait),
        ..Reactor::default()
    }
}

fn entry(p99: u64) -> StageEntry {
    StageEntry { count: 10_000, p99, max: p99, ..StageEntry::default() }
}

fn codes(result: &ResultFile) -> Vec<String> {
    judge(result).into_iter().map(|reason| reason.code).collect()
}

fn own_lag(result: &mut ResultFile, p99: u64) {
    result.generator.get_or_insert_default().own_lag = Some(entry(p99));
}

fn server_busy(result: &mut ResultFile, busy: f64) {
    result.balance.server = Some(BalanceOf { busy_max: Some(busy), ..BalanceOf::default() });
}

#[test]
fn a_run_with_time_to_spare_is_not_marked() {
    for model in [Model::Open, Model::Closed, Model::None] {
        assert_eq!(codes(&result(model)), [""; 0]);
    }
}

// ---- The client is at its end: always marked ----------------------------------------------------

#[test]
fn a_client_at_full_speed_on_a_fast_server_is_marked_in_both_models() {
    for model in [Model::Open, Model::Closed] {
        let mut result = result(model);
        result.reactors[1].busy_ratio = 0.99;
        server_busy(&mut result, 0.4);
        let [reason] = &judge(&result)[..] else { panic!("{:?}", judge(&result)) };
        assert_eq!(reason.code, "client_busy");
        assert_eq!(
            reason.text,
            "reactor #1 of the client on core 1 was busy 99 % of the time in which messages were \
             to be \
             sent; the server kept its busiest core at 40 %"
        );
        assert!(reason.remedy.contains("--reactors") && reason.remedy.contains("more machines"));
    }
}

#[test]
fn both_at_their_end_is_said_so() {
    let mut result = result(Model::Closed);
    result.reactors[0].busy_ratio = 1.0;
    server_busy(&mut result, 0.98);
    let reasons = judge(&result);
    assert!(reasons[0].text.ends_with("at 98 %: both were at their end"), "{reasons:?}");
}

#[test]
fn the_verdict_needs_no_word_of_the_server() {
    let mut result = result(Model::Closed);
    result.reactors[0].busy_ratio = 0.95;
    let alone = codes(&result);
    for busy in [0.0, 0.5, 1.0] {
        server_busy(&mut result, busy);
        assert_eq!(codes(&result), alone);
    }
}

#[test]
fn a_client_that_shares_its_core_is_marked_although_it_is_not_busy() {
    let mut result = result(Model::Closed);
    result.reactors[0] = reactor(0, 0.48, 0.5);
    let [reason] = &judge(&result)[..] else { panic!("{:?}", judge(&result)) };
    assert_eq!(reason.code, "client_waits");
    assert!(reason.text.contains("98 % of the time"), "{reason:?}");
    assert!(reason.text.contains("busy 48 %, waiting 50 %"), "{reason:?}");
}

#[test]
fn many_reactors_of_a_full_core_are_marked_although_each_had_little_of_it() {
    let mut result = result(Model::Open);
    result.reactors = (0..26).map(|_| reactor(0, 0.038, 0.95)).collect();
    let reasons = judge(&result);
    assert_eq!(reasons[0].code, "client_busy");
    let told = "the 26 reactors of the client on core 0 kept it busy 99 % of the time";
    assert!(reasons[0].text.starts_with(told), "{reasons:?}");
    // Where others took half of that core, each waited for it.
    result.reactors = (0..26).map(|_| reactor(0, 0.019, 0.95)).collect();
    let reasons = judge(&result);
    assert_eq!(reasons[0].code, "client_waits");
    assert!(reasons[0].text.contains("(26 of 26 reactors were)"), "{reasons:?}");
}

#[test]
fn a_run_that_never_came_to_its_traffic_is_not_judged_by_its_ramp() {
    let mut result = result(Model::Open);
    result.reactors[1].busy_ratio = 0.99;
    assert_eq!(codes(&result), ["client_busy"]);
    (result.messages.sent, result.messages.received) = (0, 0);
    assert_eq!(codes(&result), [""; 0]);
}

#[test]
fn a_generator_that_was_stopped_is_marked_although_it_was_idle() {
    let mut result = result(Model::Open);
    own_lag(&mut result, 400_000_000);
    result.stages.set(Stage::Response, Some(entry(401_000_000)));
    assert_eq!(codes(&result), ["late_generator"]);
    // Just above and below each bound.
    result.stages.set(Stage::Response, Some(entry(4_000_000_000)));
    assert_eq!(codes(&result), ["late_generator"]);
    result.stages.set(Stage::Response, Some(entry(4_000_000_011)));
    assert_eq!(codes(&result), [""; 0]);
    result.stages.set(Stage::Response, Some(entry(1_000_001)));
    own_lag(&mut result, 1_000_000);
    assert_eq!(codes(&result), [""; 0]);
    own_lag(&mut result, 1_000_001);
    assert_eq!(codes(&result), ["late_generator"]);
}

#[test]
fn replies_that_lie_about_while_the_client_works_mark_it() {
    let mut result = result(Model::Closed);
    result.stages.set(Stage::ReceiveLag, Some(entry(1_500_000)));
    result.reactors[0] = reactor(0, 0.6, 0.1);
    assert_eq!(codes(&result), ["late_reader"]);
}

#[test]
fn the_hypervisor_is_named_where_it_took_the_core() {
    let mut result = result(Model::Open);
    result.reactors[0].busy_ratio = 0.95;
    result.reactors[0].steal_ratio = Some(0.2);
    assert!(judge(&result)[0].text.ends_with("the hypervisor took 20 % of that core's time"));
    result.reactors[0].steal_ratio = Some(0.01);
    assert!(!judge(&result)[0].text.contains("hypervisor"));
}

// ---- The server is at its end: never marked -----------------------------------------------------

#[test]
fn a_slow_server_and_a_client_that_reaches_its_rate_is_not_marked() {
    let mut result = result(Model::Open);
    result.stages.set(Stage::Response, Some(entry(60_000_000_000)));
    result.messages.planned = Some(100_000);
    result.messages.sent = 100_000;
    result.messages.received = 3;
    server_busy(&mut result, 1.0);
    assert_eq!(codes(&result), [""; 0]);
}

#[test]
fn a_server_that_takes_nothing_makes_messages_late_without_the_clients_fault() {
    let mut result = result(Model::Open);
    result.stages.set(Stage::SendLag, Some(entry(3_000_000_000)));
    result.stages.set(Stage::Response, Some(entry(3_500_000_000)));
    result.limits_reached.insert("pace_blocked".to_owned(), 4_000);
    assert_eq!(codes(&result), [""; 0]);
    // Nor in an older file, which does not tell whose fault it was.
    result.generator = None;
    assert_eq!(codes(&result), [""; 0]);
    result.limits_reached.insert("pace_blocked".to_owned(), 0);
    assert_eq!(codes(&result), ["late_generator"]);
    result.limits_reached.clear();
    assert_eq!(codes(&result), [""; 0]);
}

#[test]
fn a_server_at_its_end_with_a_client_at_70_percent_is_not_marked() {
    let mut result = result(Model::Closed);
    result.reactors[0] = reactor(0, 0.7, 0.1);
    server_busy(&mut result, 1.0);
    assert_eq!(codes(&result), [""; 0]);
}

#[test]
fn an_idle_client_whose_core_the_server_keeps_is_not_marked() {
    let mut result = result(Model::Open);
    result.reactors = vec![reactor(0, 0.02, 0.95), reactor(0, 0.03, 0.9)];
    result.stages.set(Stage::Response, Some(entry(500_000_000)));
    own_lag(&mut result, 20_000_000);
    server_busy(&mut result, 1.0);
    assert_eq!(codes(&result), [""; 0]);
}

#[test]
fn replies_that_come_all_at_once_after_a_stall_do_not_mark_an_idle_client() {
    let mut result = result(Model::Open);
    result.stages.set(Stage::Response, Some(entry(300_000_000)));
    result.stages.set(Stage::ReceiveLag, Some(entry(100_000_000)));
    assert_eq!(codes(&result), [""; 0]);
}

#[test]
fn without_traffic_or_connections_there_is_nothing_to_judge() {
    for spoil in
        [(|r| r.plan.model = Model::None) as fn(&mut ResultFile), |r| r.connections.opened = 0]
    {
        let mut result = result(Model::Open);
        result.reactors[0].busy_ratio = 1.0;
        spoil(&mut result);
        assert_eq!(codes(&result), [""; 0]);
    }
}

proptest! {
    #[test]
    fn an_idle_client_is_never_marked_whatever_its_server_does(
        busy in 0.0..0.09f64,
        wait in 0.0..1.0f64,
        lag in 0..10_000_000_000u64,
        response in 0..100_000_000_000u64,
        receive_lag in 0..10_000_000_000u64,
        blocked in any::<u64>(),
        rate in 0.0..1e6f64,
        theirs in 0.0..1.0f64,
        own in 0..=1_000_000u64,
    ) {
        let mut result = result(Model::Open);
        let wait = wait.min(AT_WORK - 0.1);
        result.reactors = vec![reactor(0, busy, wait)];
        result.stages.set(Stage::SendLag, Some(entry(lag)));
        result.stages.set(Stage::Response, Some(entry(response)));
        result.stages.set(Stage::ReceiveLag, Some(entry(receive_lag)));
        result.limits_reached.insert("pace_blocked".to_owned(), blocked);
        result.messages.rate_achieved = rate;
        own_lag(&mut result, own);
        server_busy(&mut result, theirs);
        prop_assert_eq!(codes(&result), [""; 0]);
    }

    #[test]
    fn an_overdriven_client_is_always_marked_whatever_its_server_does(
        demand in NO_TIME_TO_SPARE..=1.0f64,
        share in 0.11..=1.0f64,
        lag in 0..10_000_000_000u64,
        response in 0..100_000_000_000u64,
        blocked in any::<u64>(),
        theirs in 0.0..1.0f64,
        closed in any::<bool>(),
    ) {
        let mut result = result(if closed { Model::Closed } else { Model::Open });
        let busy = demand * share;
        result.reactors.push(reactor(2, busy, demand - busy + 1e-9));
        result.stages.set(Stage::SendLag, Some(entry(lag)));
        result.stages.set(Stage::Response, Some(entry(response)));
        result.limits_reached.insert("pace_blocked".to_owned(), blocked);
        server_busy(&mut result, theirs);
        prop_assert!(!codes(&result).is_empty());
    }
}

// ---- Filling and telling
// --------------------------------------------------------------------------

#[test]
fn the_verdict_stands_in_the_section_and_among_the_warnings() {
    let mut result = result(Model::Open);
    fill(&mut result);
    assert_eq!(
        (result.generator.as_ref().map(|g| g.limited), result.run.warnings.len()),
        (Some(false), 0)
    );
    result.reactors[0].busy_ratio = 1.0;
    fill(&mut result);
    let generator = result.generator.as_ref().expect("judged");
    assert!(generator.limited);
    assert_eq!(generator.reasons, result.run.warnings);
    // What was judged stands, whatever is done to the numbers afterwards.
    result.reactors.clear();
    assert_eq!(reasons(&result).len(), 1);
}

#[test]
fn the_section_has_the_most_of_any_reactor_and_the_sum_of_counts() {
    let mut reactors = vec![reactor(0, 0.5, 0.1), reactor(1, 0.3, 0.6)];
    let it = of_reactors(&reactors);
    assert_eq!((it.busy_max, it.wait_max, it.steal_ratio), (0.5, Some(0.6), None));
    assert!((it.demand_max - 0.9).abs() < 1e-9);
    assert_eq!(it.voluntary_switches, None);
    for one in &mut reactors {
        (one.voluntary_switches, one.involuntary_switches) = (Some(3), Some(4));
    }
    let it = of_reactors(&reactors);
    assert_eq!((it.voluntary_switches, it.involuntary_switches), (Some(6), Some(8)));
    assert_eq!(of_reactors(&[]), Generator::default());
}

// ---- A noisy machine, and a generator at its end on one -----------------------------------------

/// A run that was late by what its machine did: the newcomer's 1k-5k/s with a reactor 14 % busy.
fn disturbed() -> ResultFile {
    let mut result = result(Model::Open);
    result.reactors = vec![reactor(0, 0.14, 0.05), reactor(1, 0.14, 0.05)];
    result.messages.seconds = 10.0;
    result.stages.set(Stage::Response, Some(entry(3_000_000)));
    result.resources.client.cpu_seconds_traffic = Some(2.8);
    // Of the 20 s that two cores have in ten.
    result.resources.others_cpu_seconds = Some(8.0);
    result.resources.others_cpu_ratio = Some(0.4);
    result.generator = Some(Generator {
        own_lag: Some(entry(2_000_000)),
        host_probe: Some(entry(1_800_000)),
        host_probe_wait_ratio: Some(0.9),
        busy_max: 0.14,
        ..Generator::default()
    });
    result
}

fn generator(result: &mut ResultFile) -> &mut Generator {
    result.generator.as_mut().expect("it has one")
}

#[test]
fn a_run_on_a_noisy_machine_is_doubted_and_not_limited() {
    let mut result = disturbed();
    assert_eq!(codes(&result), [""; 0]);
    fill(&mut result);
    assert!(is_noisy(&result) && !result.generator.as_ref().is_some_and(|one| one.limited));
    assert!(reasons(&result).is_empty());
    let [doubt] = &result.run.warnings[..] else { panic!("{:?}", result.run.warnings) };
    assert_eq!(doubt.code, "noisy_host");
    assert_eq!(
        doubt.text,
        "the machine was noisy: 1 % of the wakes of a thread that did nothing came more than 1.8 \
         ms late, \
         while the busiest reactor was busy 14 % of the time; 1 % of the messages left more than \
         2 ms late \
         by that; other processes used 40 % of this machine's CPU time in the traffic"
    );
    assert!(doubt.remedy.contains("--repeat"), "{doubt:?}");
    assert_eq!(other_warnings(&result).len(), 1, "it is shown among the warnings");
}

#[test]
fn a_run_that_was_not_late_is_not_doubted_however_noisy_its_machine() {
    let mut result = disturbed();
    generator(&mut result).own_lag = Some(entry(900_000));
    fill(&mut result);
    assert!(!is_noisy(&result) && result.run.warnings.is_empty());
}

/// A probe that woke so late in so many of 10,000 tries, and 0.1 ms late in the others.
fn probe(late: u64, times: u64) -> StageEntry {
    let mut recorded = measure::IntervalHistogram::new();
    for number in 0..10_000 {
        recorded.record(if number < times { late } else { 100_000 });
    }
    hist::entry(&recorded).expect("recorded")
}

#[test]
fn a_machine_that_is_late_half_as_often_explains_what_is_just_late() {
    // 1 % of the messages more than 1.4 ms late: the probe need not be so late in 1 % of its tries
    // as well.
    for (late, times, explained) in
        [(800_000, 60, true), (6_000_000, 60, true), (6_000_000, 40, false), (600_000, 60, false)]
    {
        let mut result = disturbed();
        own_lag(&mut result, 1_400_000);
        generator(&mut result).host_probe = Some(probe(late, times));
        assert_eq!(noisy_host(&result).is_some(), explained, "{late} ns {times} times");
        assert_eq!(codes(&result).is_empty(), explained);
    }
}

#[test]
fn a_client_that_had_no_core_is_said_to_have_waited() {
    let mut result = disturbed();
    result.reactors[1].wait_ratio = Some(0.99);
    own_lag(&mut result, 9_000_000_000);
    let reasons = judge(&result);
    let late = reasons.iter().find(|reason| reason.code == "late_generator").expect("late");
    assert!(
        late.text.ends_with(
            "; a reactor waited for its core 99 % of the time, and other processes used 40 % of \
             this \
             machine's CPU time in the traffic"
        ),
        "{}",
        late.text
    );
}

#[test]
fn what_the_machine_does_not_explain_stays_the_generators() {
    type Spoil = fn(&mut ResultFile);
    let late: [(&str, Spoil); 10] = [
        ("a calm machine", |r| generator(r).host_probe = Some(entry(60_000))),
        ("no probe", |r| generator(r).host_probe = None),
        ("too few wakes", |r| {
            generator(r).host_probe.as_mut().expect("probe").count = PROBED_MIN - 1
        }),
        ("a backlog", |r| generator(r).own_lag = Some(entry(3_600_001))),
        ("it was stopped, and waited for no core", |r| {
            generator(r).host_probe_wait_ratio = Some(0.24);
        }),
        ("a busy reactor", |r| r.reactors[1].busy_ratio = IDLE_ENOUGH),
        ("a core full of its reactors", |r| {
            r.reactors = (0..4).map(|_| reactor(0, 0.14, 0.05)).collect();
        }),
        ("nobody else", |r| r.resources.others_cpu_seconds = Some(1.9)),
        ("not known who", |r| r.resources.others_cpu_ratio = None),
        ("the server fills the machine", |r| {
            r.resources.kernel.both_ends = true;
            r.resources.server.get_or_insert_default().cpu_seconds_traffic = Some(8.0);
        }),
    ];
    for (what, spoil) in late {
        let mut result = disturbed();
        spoil(&mut result);
        assert_eq!(codes(&result), ["late_generator"], "{what}");
        assert_eq!(noisy_host(&result), None, "{what}");
    }
    let mut result = disturbed();
    result.reactors[0].busy_ratio = 0.95;
    assert_eq!(codes(&result), ["client_busy", "late_generator"]);
    // A closed loop takes what it gets: it is not late, and its wait is its own.
    let mut result = disturbed();
    result.plan.model = Model::Closed;
    result.reactors[0] = reactor(0, 0.14, 0.8);
    assert_eq!(codes(&result)[0], "client_waits");
}

#[test]
fn what_a_hypervisor_took_explains_lateness_without_other_processes() {
    let mut result = disturbed();
    result.resources.others_cpu_ratio = None;
    generator(&mut result).host_probe_wait_ratio = None;
    generator(&mut result).steal_ratio = Some(0.04);
    assert_eq!(codes(&result), ["late_generator"]);
    generator(&mut result).steal_ratio = Some(0.08);
    let doubt = noisy_host(&result).expect("explained");
    assert!(doubt.text.ends_with("the hypervisor took 8 % of a core"), "{doubt:?}");
}

#[test]
fn a_client_that_waited_for_its_core_behind_other_processes_is_doubted_too() {
    let mut result = disturbed();
    result.reactors[0] = reactor(0, 0.2, 0.75);
    assert_eq!(codes(&result), [""; 0]);
    assert!(noisy_host(&result).is_some());
    // With a backlog the load was more than it could send there.
    generator(&mut result).own_lag = Some(entry(500_000_000));
    assert_eq!(codes(&result), ["client_waits", "late_generator"]);
}

#[test]
fn what_others_used_is_told_from_a_tenth_on_and_whether_the_server_is_among_them() {
    let mut result = disturbed();
    result.resources.others_cpu_ratio = Some(0.099);
    assert_eq!(others_line(&result), None);
    result.resources.others_cpu_ratio = Some(0.1);
    let line = others_line(&result).expect("told");
    assert_eq!(line, "other processes used 10 % of this machine's CPU time in the traffic");
    result.resources.kernel.both_ends = true;
    assert!(others_line(&result).expect("told").contains("--peer"));
    result.resources.server.get_or_insert_default().cpu_seconds_traffic = Some(1.0);
    assert_eq!(others_line(&result), Some(line));
}
