//! Both drivers against each other on the simulated network, and the client's against peers that
//! misbehave: by a clock that is moved by hand, so each count and each time is exact.

use super::rig::{self, failures, target};
use super::*;
use crate::books::recorder::Recorder;
use crate::books::totals::Totals;
use crate::load::addresses::Addresses;
use crate::load::bounds::CONNECTING_MAX;
use crate::load::pace::Pace;
use crate::load::phases::steps::*;
use crate::load::schedule::{Arrivals, Schedule};
use crate::protocol::Raw;
use c1000k_server::driver::{Admission, ServerDriver};
use crossbeam_channel::bounded;
use measure::Failure;
use proptest::prelude::*;
use reactor::sim::{Faults, Sim, SimStream, carried};
use reactor::{Limits, Stream};
use std::net::SocketAddr;
use wire::{Echo, STAMP_BYTES, Stamp, Template};

const MILLI: Nanos = Nanos::from_millis(1);
pub(super) fn load(connections: u64, reactors: u64, model: Model) -> Load {
    Load::for_tests(connections, reactors, model)
}

#[test]
fn all_of_these_hold_with_a_layer() {
    // Sockets have none.
    reactor::sim::again_with_layers("driver::", &["alloc_tests"]);
}

/// Clients that speak plain TCP, and echo servers.
pub(super) type Rig = rig::Rig<Raw, ServerDriver>;

impl Rig {
    pub(super) fn new(load: Load, faults: Faults, servers: usize, limits: Limits) -> Self {
        let admission = Arc::new(Admission::new(u64::MAX));
        let server = |index| ServerDriver::new(index, 0, Arc::clone(&admission), None, Nanos::ZERO);
        Self::with(load, Raw::new, (0..servers).map(server), faults, limits)
    }

    /// A world without servers, and the means to be one by hand.
    pub(super) fn by_hand(load: Load) -> (Self, HandServer) {
        let rig = Self::new(load, Faults::default(), 0, Limits::for_slots(512));
        let net = rig.world.network_by_hand(&[target()]);
        (rig, HandServer { net, peers: Vec::new() })
    }
}

/// A server whose every step is a test's.
pub(super) struct HandServer {
    net: Sim,
    pub(super) peers: Vec<SimStream>,
}

impl HandServer {
    fn accept(&mut self) {
        while let Ok(peer) = self.net.accept_by_hand(0) {
            self.peers.push(peer);
        }
    }

    /// What has arrived from each peer.
    pub(super) fn read(&mut self) -> Vec<Vec<u8>> {
        self.accept();
        let read = self.peers.iter().map(|peer| {
            let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = peer.receive(&mut buffer) {
                all.extend_from_slice(&buffer[..count]);
            }
            all
        });
        read.collect()
    }

    /// Sends back what `change` makes of what each peer sent.
    pub(super) fn answer(&mut self, change: impl Fn(Vec<u8>) -> Vec<u8>) {
        for (index, bytes) in self.read().into_iter().enumerate() {
            if !bytes.is_empty() {
                let reply = change(bytes);
                assert_eq!(self.peers[index].send(&reply).ok(), Some(reply.len()));
            }
        }
    }
}

fn stamps(bytes: &[u8]) -> impl Iterator<Item = Stamp> + '_ {
    bytes
        .chunks_exact(STAMP_BYTES)
        .map(|message| Stamp::from_bytes(message.try_into().expect("32 bytes")).expect("a stamp"))
}

// ---- Properties of the pair ---------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_is_cut_every_connection_opens_and_every_message_is_answered_once(
        (connections, reactors, servers) in (1..30u64, 1..5u64, 1..4usize),
        (read_max, write_max, pipe_bytes) in (1..80usize, 1..80usize, 1..200usize),
        connect_micros in prop_oneof![Just(0), 1..5_000u64],
        (reads_per_turn, accept_batch, receive_buffer_bytes) in (1..3usize, 1..3usize, 1..100usize),
        (size, rate) in (32..90usize, 50.0..2_000.0f64),
        connect_rate in prop::option::of(100.0..10_000.0f64),
    ) {
        let faults = Faults {
            read_max,
            write_max,
            pipe_bytes,
            connect_takes: Nanos::from_micros(connect_micros),
            ..Faults::default()
        };
        let limits = Limits {
            reads_per_turn, accept_batch, receive_buffer_bytes, ..Limits::for_slots(64)
        };
        let load = Load {
            size,
            connect_rate,
            duration: Nanos::from_millis(100),
            ..load(connections, reactors, Model::Open(rate))
        };
        let planned = Pace::new(rate).count_before(load.duration);
        let mut rig = Rig::new(load, faults, servers, limits);
        rig.open_all();
        let opened = rig.totals();
        prop_assert_eq!((opened.opened, opened.first_received), (connections, connections));
        rig.drive();
        let (sum, recorder) = rig.finish();
        prop_assert_eq!((sum.sent, sum.received, sum.unanswered), (planned, planned, 0));
        prop_assert_eq!((sum.lost, sum.mismatched), (0, 0));
        let connect = recorder.stage(Stage::Connect).expect("recorded");
        prop_assert_eq!(connect.min(), Some(connect_micros * 1_000));
        prop_assert_eq!(connect.max(), Some(connect_micros * 1_000));
    }

    #[test]
    fn the_shares_of_the_reactors_add_up_to_the_plan(
        (connections, reactors) in (1..100_000u64, 1..60u64),
        (rate, millis) in (0.1..1e6f64, 1..10_000u64),
    ) {
        let load = Arc::new(Load {
            duration: Nanos::from_millis(millis),
            ..load(connections, reactors, Model::Open(rate))
        });
        let (reports, _) = bounded(1);
        let (mut shares, mut planned) = (0, 0);
        for index in 0..reactors as usize {
            let (load, raw) = (Arc::clone(&load), Raw::new(&load));
            let driver = LoadDriver::new(index, load, raw, reports.clone(), Nanos::ZERO);
            shares += driver.connections.share;
            planned += driver.traffic.schedule.left();
        }
        prop_assert_eq!(shares, connections);
        prop_assert_eq!(planned, Pace::new(rate).count_before(load.duration));
    }
}

#[test]
fn one_byte_pipes_and_budgets_of_one_lose_nothing() {
    let faults = Faults { read_max: 1, write_max: 1, pipe_bytes: 1, ..Faults::default() };
    let limits = Limits {
        reads_per_turn: 1,
        accept_batch: 1,
        receive_buffer_bytes: 1,
        events_per_wait: 1,
        ..Limits::for_slots(16)
    };
    let load = Load { duration: Nanos::from_millis(50), ..load(12, 3, Model::Open(400.0)) };
    let mut rig = Rig::new(load, faults, 2, limits);
    rig.open_all();
    rig.drive();
    let (sum, _) = rig.finish();
    assert_eq!((sum.opened, sum.first_received, sum.sent, sum.received), (12, 12, 20, 20));
}

#[test]
fn connections_open_at_the_rate_that_was_asked_for() {
    let load = Load { connect_rate: Some(1_000.0), ..load(100, 4, Model::Idle) };
    let mut rig = Rig::new(load, Faults::default(), 1, Limits::for_slots(128));
    rig.tell(begin(RAMP, Nanos::ZERO));
    for millis in 0..100 {
        rig.run_until(Nanos::from_millis(millis));
        assert_eq!(rig.totals().opened, millis + 1, "at {millis} ms");
    }
    rig.until_done(RAMP);
    rig.finish();
}

// ---- The open model -----------------------------------------------------------------------------

#[test]
fn the_open_model_sends_each_message_at_its_time() {
    // The rate does not divide a second, the reactors do not divide the messages.
    let rate = 700.0;
    let load = Load { first_echo: false, ..load(5, 3, Model::Open(rate)) };
    let duration = load.duration;
    let (mut rig, mut server) = Rig::by_hand(load);
    rig.ramp();
    let start = rig.world.now() + Nanos::from_millis(20);
    rig.tell(begin(DRIVE, start));
    rig.run_until(start + duration);
    let read = server.read();
    let mut all: Vec<Stamp> = read.iter().flat_map(|bytes| stamps(bytes)).collect();
    all.sort_by_key(|stamp| stamp.intended);
    let pace = Pace::new(rate);
    let due = (0..pace.count_before(duration)).map(|n| (start + pace.due(n)).0);
    assert!(all.iter().map(|stamp| stamp.intended).eq(due), "not at the planned times");
    assert!(all.iter().all(|stamp| stamp.sent == stamp.intended), "late on an idle machine");
    let lag = rig.totals();
    assert_eq!(lag.pace_blocked, 0);
    let (sum, recorder) = rig.finish();
    assert_eq!((sum.sent, sum.received, sum.unanswered), (700, 0, 700));
    assert_eq!(recorder.stage(Stage::SendLag).and_then(|lag| lag.max()), Some(0));
}

#[test]
fn random_arrivals_leave_at_their_own_times_however_many_reactors_send_them() {
    let rate = 2_000.0;
    for reactors in [1, 3] {
        let load = Load {
            first_echo: false,
            arrivals: Arrivals::Poisson,
            ..load(5, reactors, Model::Open(rate))
        };
        let schedules: Vec<Schedule> = (0..reactors).map(|index| load.schedule(index)).collect();
        let (mut rig, mut server) = Rig::by_hand(load);
        rig.ramp();
        let start = rig.world.now() + Nanos::from_millis(20);
        let mut due: Vec<u64> = Vec::new();
        for mut schedule in schedules {
            while let Some(next) = schedule.due() {
                due.push((start + next).0);
                schedule.advance();
            }
        }
        due.sort_unstable();
        rig.tell(begin(DRIVE, start));
        rig.run_until(start + rig.load.duration);
        let read = server.read();
        let mut all: Vec<Stamp> = read.iter().flat_map(|bytes| stamps(bytes)).collect();
        all.sort_by_key(|stamp| stamp.intended);
        assert!(all.iter().map(|stamp| stamp.intended).eq(due), "not at the planned times");
        // Two that are due within a rest leave with one wake-up, or where that is over.
        let late = all.iter().map(|stamp| stamp.sent - stamp.intended).max();
        assert!(late.is_some_and(|late| late <= 50_000), "{late:?}");
        let (sum, _) = rig.finish();
        assert_eq!((sum.sent, sum.unanswered), (2_000, 2_000));
    }
}

/// Messages sent in each millisecond, and due in it, of a run of 300 ms at 20 in each.
fn windows(stall: bool) -> (Vec<u64>, Vec<u64>) {
    let load = Load { duration: Nanos::from_millis(300), ..load(5, 2, Model::Open(20_000.0)) };
    let mut rig = Rig::new(load, Faults::default(), 1, Limits::for_slots(16));
    rig.open_all();
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    if stall {
        rig.run_until(start + Nanos::from_millis(100));
        rig.world.advance_to(start + Nanos::from_millis(110));
    }
    rig.until_done(DRIVE);
    let due = rig.load.due_windows(MILLI, 300);
    rig.tell(begin(DRAIN, Nanos::ZERO));
    rig.until_done(DRAIN);
    let sends: Vec<_> = rig.finals.values().map(|last| last.sends.clone()).collect();
    (crate::books::send_windows::added(sends.iter(), 300), due)
}

#[test]
fn what_is_sent_is_counted_when_it_is_sent() {
    let (sent, due) = windows(false);
    assert_eq!((&sent, due), (&vec![20; 300], vec![20; 300]));
    // The messages of ten milliseconds leave together at their end.
    let (sent, _) = windows(true);
    assert_eq!(sent.iter().sum::<u64>(), 6_000);
    let others = sent[..100].iter().chain(&sent[111..]).all(|count| *count == 20);
    assert!(others && sent[101..110].iter().all(|count| *count == 0), "{sent:?}");
    assert!((200..=221).contains(&sent[110]), "{sent:?}");
}

#[test]
fn a_generator_that_was_held_up_catches_up_and_says_how_late_it_was() {
    let load = load(5, 2, Model::Open(1_000.0));
    let mut rig = Rig::new(load, Faults::default(), 1, Limits::for_slots(16));
    rig.open_all();
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    rig.run_until(start + Nanos::from_millis(300));
    rig.world.advance_to(start + Nanos::from_millis(360));
    rig.until_done(DRIVE);
    // Nobody else was in the way: it was its own fault, and its loop knows how late it came.
    let own = rig.clients.iter().map(|client| client.driver().books.own_lag.max()).max().flatten();
    assert_eq!(own, Some(59_000_000));
    for client in &rig.clients {
        let effort = &client.driver().books.effort;
        assert_eq!(
            effort.span,
            Some(rig.load.duration),
            "the time in which messages are to be sent"
        );
        let delay = effort.times.as_ref().and_then(|times| times.delay.max());
        assert!(delay.is_some_and(|delay| (58_000_000..=60_000_000).contains(&delay)), "{delay:?}");
    }
    let (sum, recorder) = rig.finish();
    assert_eq!((sum.sent, sum.received), (1_000, 1_000));
    let of = |stage| recorder.stage(stage).expect("recorded");
    // The message of 301 ms left at 360 ms; the server was quick.
    for stage in [Stage::SendLag, Stage::Response] {
        assert_eq!(of(stage).max(), Some(59_000_000), "{stage:?}");
        let late: u64 = of(stage).cells().filter(|(lag, _)| *lag > 0).map(|(_, n)| n).sum();
        assert_eq!(late, 59, "{stage:?}");
    }
    assert_eq!(of(Stage::Service).max(), Some(0));
}

/// A second of traffic at 1,000 messages per second over two connections, while which the server
/// stands still for 100 ms. Pipes take one message, as a full socket buffer would.
fn with_a_pause(model: Model) -> (Totals, Recorder) {
    let faults = Faults { pipe_bytes: 32, ..Faults::default() };
    let mut rig = Rig::new(load(2, 1, model), faults, 1, Limits::for_slots(16));
    rig.open_all();
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    for micros in (0..1_100_000).step_by(500) {
        let at = Nanos::from_micros(micros);
        rig.serving = !(Nanos::from_millis(300)..Nanos::from_millis(400)).contains(&at);
        rig.world.advance_to(start + at);
        if matches!(model, Model::Closed(_)) {
            // A settled closed loop would go round for ever in one moment.
            rig.round();
        } else {
            rig.settle();
        }
    }
    rig.until_done(DRIVE);
    // However late messages were, it was the server that took none.
    let own = rig.clients[0].driver().books.own_lag.max().unwrap_or(0);
    assert!(own < 1_000_000, "{own}");
    rig.finish()
}

#[test]
fn response_shows_what_coordinated_omission_hides() {
    let slow = |recorder: &Recorder, stage| -> u64 {
        let cells = recorder.stage(stage).expect("recorded").cells();
        cells.filter(|(span, _)| *span > 10_000_000).map(|(_, count)| count).sum()
    };
    let (open, recorder) = with_a_pause(Model::Open(1_000.0));
    assert_eq!((open.sent, open.received), (1_000, 1_000));
    assert!(open.pace_blocked > 0);
    // 90 of the 100 messages of the pause were due more than 10 ms before its end.
    assert!(slow(&recorder, Stage::SendLag) > 80, "late they were");
    let slow_responses = slow(&recorder, Stage::Response);
    assert!((88..=92).contains(&slow_responses), "{slow_responses}");
    // The few that left before both connections were full are all that service time knows of.
    let slow_service = slow(&recorder, Stage::Service);
    assert!((1..=6).contains(&slow_service), "{slow_service}");
    let p95 = recorder.stage(Stage::Response).and_then(|response| response.quantile(0.95));
    assert!(p95.is_some_and(|p95| (45_000_000..55_000_000).contains(&p95)), "{p95:?}");

    let (closed, recorder) = with_a_pause(Model::Closed(1));
    assert!(closed.received > 1_000);
    assert_eq!(slow(&recorder, Stage::Service), 2, "one for each connection");
}

#[test]
fn the_backlog_is_what_is_owed_at_each_mark_whether_it_is_on_the_way_or_waits() {
    // 60 marks, one each 10 ms, in which 10 messages are due. That of 300 ms is the last to be
    // answered until 450 ms, when all replies come in one moment, which is that of a mark as well.
    let duration = Nanos::from_millis(600);
    let one = (carried(&[32]) - carried(&[])) as usize;
    for pipe_bytes in [Faults::default().pipe_bytes, one] {
        let load = Load { duration, ..load(2, 1, Model::Open(1_000.0)) };
        let faults = Faults { pipe_bytes, ..Faults::default() };
        let mut rig = Rig::new(load, faults, 1, Limits::for_slots(16));
        rig.open_all();
        let start = rig.world.now();
        rig.tell(begin(DRIVE, start));
        rig.run_until(start + Nanos::from_millis(300));
        rig.serving = false;
        rig.run_until(start + Nanos::from_millis(450));
        rig.serving = true;
        rig.run_until(start + duration);
        rig.until_done(DRIVE);
        let backlog = &rig.clients[0].driver().books.backlog;
        let quiet = |marks: &[u64]| marks.iter().all(|owed| *owed <= 1);
        assert!(quiet(&backlog.marks[..30]) && quiet(&backlog.marks[45..]), "{:?}", backlog.marks);
        for (index, owed) in backlog.marks[30..45].iter().enumerate() {
            // A message that is due at the mark itself counts where it waits, and was not sent
            // before it where it does not.
            let due = 10 * (index as u64 + 1) - 1;
            assert!((due..=due + 1).contains(owed), "{owed} of {due}, pipes of {pipe_bytes}");
        }
        let waited = backlog.waiting.iter().max().copied();
        // All of the 150 but four: one in each pipe, and one behind it that the connection holds.
        assert_eq!(waited, if pipe_bytes == one { Some(146) } else { Some(0) });
        assert_eq!((backlog.served(), backlog.at_end()), (600, 0));
        assert_eq!(backlog.silences, [(Nanos::from_millis(301), Nanos::from_millis(450))]);
        let (sum, _) = rig.finish();
        assert_eq!((sum.sent, sum.received), (600, 600));
    }
}

// ---- The closed model ---------------------------------------------------------------------------

#[test]
fn the_closed_model_keeps_exactly_so_many_on_the_way() {
    // The last one answers more connections in a turn than get their next messages at once.
    let cases =
        [(10, 1, 32, 1 << 16), (10, 7, 40, 1 << 16), (10, 3, 100, 50), (100, 2, 32, 1 << 16)];
    for (connections, in_flight, size, pipe_bytes) in cases {
        let load = Load { size, ..load(connections, 3, Model::Closed(in_flight)) };
        let faults = Faults { pipe_bytes, ..Faults::default() };
        let mut rig = Rig::new(load, faults, 2, Limits::for_slots(64));
        rig.open_all();
        rig.tell(begin(DRIVE, rig.world.now()));
        rig.round();
        for _ in 0..900 {
            rig.world.advance_to(rig.world.now() + MILLI);
            rig.round();
            for client in &rig.clients {
                let here = client.core().connections() as u64 * u64::from(in_flight);
                assert_eq!(client.driver().books.totals.in_flight(), here);
            }
        }
        while rig.done.iter().any(|done| *done < Some(DRIVE)) {
            rig.world.advance_to(rig.world.now() + MILLI);
            rig.round();
        }
        let (sum, _) = rig.finish();
        assert!(sum.received > 1_000, "{}", sum.received);
        assert_eq!((sum.sent, sum.unanswered, sum.lost), (sum.received, 0, 0));
    }
}

#[test]
fn an_answer_whose_connection_closes_right_behind_it_lets_nothing_leave() {
    let load = Load { first_echo: false, ..load(4, 1, Model::Closed(1)) };
    let (mut rig, mut server) = Rig::by_hand(load);
    rig.ramp();
    rig.tell(begin(DRIVE, rig.world.now()));
    rig.settle();
    server.answer(|bytes| bytes);
    server.peers.clear();
    rig.settle();
    let totals = rig.totals();
    assert_eq!((totals.sent, totals.received, totals.unanswered), (4, 4, 0));
    assert_eq!((totals.lost, totals.in_flight()), (4, 0));
    rig.until_done(DRIVE);
    rig.finish();
}

// ---- Bad weather --------------------------------------------------------------------------------

#[test]
fn connects_that_take_too_long_are_given_up_and_counted() {
    let load = Load { connect_timeout: Nanos::from_millis(100), ..load(20, 2, Model::Idle) };
    let faults = Faults { connect_takes: Nanos::from_secs(60), ..Faults::default() };
    let mut rig = Rig::new(load, faults, 1, Limits::for_slots(32));
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.run_until(Nanos::from_millis(99));
    assert_eq!((rig.totals().opened, rig.totals().failed), (0, 0));
    rig.until_done(RAMP);
    assert_eq!(rig.world.now(), Nanos::from_millis(100));
    let (sum, _) = rig.finish();
    assert_eq!((sum.opened, failures(&sum)), (0, vec![(Failure::TimedOut, 20)]));
}

#[test]
fn no_more_connects_are_under_way_than_the_bound_says() {
    let count = CONNECTING_MAX as u64 + 100;
    let load = load(count, 1, Model::Idle);
    let faults = Faults { connect_takes: Nanos::from_millis(5), ..Faults::default() };
    let mut rig = Rig::new(load, faults, 1, Limits::for_slots(512));
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.settle();
    assert_eq!(rig.clients[0].core().connections(), CONNECTING_MAX);
    rig.until_done(RAMP);
    assert_eq!(rig.totals().opened, count);
    rig.finish();
}

#[test]
fn where_nobody_listens_all_are_refused() {
    let mut rig = Rig::new(load(9, 2, Model::Idle), Faults::default(), 0, Limits::for_slots(16));
    rig.ramp();
    let (sum, _) = rig.finish();
    assert_eq!(failures(&sum), [(Failure::Refused, 9)]);
}

#[test]
fn when_the_four_tuples_run_out_the_rest_fails_for_want_of_ports() {
    let plan = load(20, 3, Model::Idle);
    let source = [127, 0, 0, 2].into();
    let addresses = Addresses::new(&[vec![target()]], &[source], (5000, 5011), false);
    let rig = Load { addresses, ..plan };
    let mut rig = Rig::new(rig, Faults::default(), 1, Limits::for_slots(32));
    rig.open_all();
    let (sum, _) = rig.finish();
    assert_eq!((sum.opened, failures(&sum)), (12, vec![(Failure::NoPorts, 8)]));
}

#[test]
fn a_tuple_that_somebody_else_has_is_passed_over() {
    let plan = load(10, 1, Model::Idle);
    let mut rig = Rig::new(plan, Faults::default(), 1, Limits::for_slots(32));
    let mut other = rig.world.network(&[]);
    let taken: Vec<_> = [1026, 1029]
        .map(|port| {
            let source = Some(SocketAddr::from(([127, 0, 0, 2], port)));
            other.connect(&reactor::Route { source, target: target(), share_port: false })
        })
        .into_iter()
        .map(|stream| stream.expect("free"))
        .collect();
    rig.open_all();
    let totals = rig.totals();
    assert_eq!((totals.opened, totals.failed, totals.tuples_skipped), (10, 0, 2));
    drop(taken);
    rig.finish();
}

#[test]
fn peers_that_never_answer_are_given_up_within_an_eighth_of_the_limit() {
    let limit = Nanos::from_millis(200);
    let load = Load { reply_timeout: limit, first_echo: false, ..load(6, 2, Model::Closed(2)) };
    let (mut rig, mut server) = Rig::by_hand(load);
    rig.ramp();
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    rig.run_until(start + limit);
    server.read();
    assert_eq!(rig.totals().lost, 0);
    rig.run_until(start + Nanos(limit.0 + limit.0 / 8 + 1));
    assert_eq!(rig.totals().lost, 6);
    rig.until_done(DRIVE);
    let (sum, _) = rig.finish();
    assert_eq!((sum.sent, sum.unanswered), (12, 12));
    assert_eq!(failures(&sum), [(Failure::TimedOut, 6)]);
}

#[test]
fn peers_that_close_at_once_are_lost_by_kind() {
    for (unread, kind) in [(false, Failure::Closed), (true, Failure::Reset)] {
        let (mut rig, mut server) = Rig::by_hand(load(8, 2, Model::Open(100.0)));
        rig.ramp();
        rig.tell(begin(FIRST_ECHO, Nanos::ZERO));
        rig.settle();
        server.accept();
        if !unread {
            server.read();
        }
        server.peers.clear();
        rig.until_done(FIRST_ECHO);
        rig.drive();
        let (sum, _) = rig.finish();
        assert_eq!((sum.opened, sum.lost, sum.sent), (8, 8, 0));
        assert_eq!((sum.first_sent, sum.unanswered, sum.first_unanswered), (8, 8, 8));
        assert_eq!(failures(&sum), [(kind, 8)]);
    }
}

/// One round of the closed model with two messages per connection, answered by `change`.
fn answered_by(change: impl Fn(Vec<u8>) -> Vec<u8>) -> Totals {
    let load = Load { first_echo: false, ..load(4, 2, Model::Closed(2)) };
    let (mut rig, mut server) = Rig::by_hand(load);
    rig.ramp();
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    rig.settle();
    server.answer(change);
    rig.run_until(start + MILLI);
    // Those that are still open are answered rightly from here on, until the time is over.
    while rig.done.iter().any(|done| *done < Some(DRIVE)) {
        server.answer(|bytes| bytes);
        rig.world.advance_to(rig.world.now() + Nanos::from_millis(10));
        rig.round();
    }
    rig.finish().0
}

#[test]
fn wrong_replies_end_their_connection_and_are_counted_once() {
    let right = answered_by(|bytes| bytes);
    assert_eq!((right.lost, right.mismatched), (0, 0));
    assert_eq!(right.sent, right.received);

    let lost = |totals: &Totals| {
        assert_eq!((totals.lost, totals.mismatched), (4, 4), "{totals:?}");
        assert_eq!(failures(totals), [(Failure::Protocol, 4)]);
        (totals.sent, totals.received, totals.unanswered)
    };
    let garbage = answered_by(|_| b"\0\x01 what is this? ".repeat(3));
    assert_eq!(lost(&garbage), (8, 0, 8));
    let other = answered_by(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n what is this?".to_vec());
    assert_eq!((other.lost, other.mismatched), (4, 0), "named, and no reply that was wrong");
    assert_eq!(failures(&other), [(Failure::Protocol, 4)]);
    let greeted = answered_by(|bytes| [b"220 hello\r\n", &bytes[..]].concat());
    assert_eq!((greeted.lost, greeted.mismatched), (0, 0));
    assert_eq!(greeted.sent, greeted.received);
    let foreign = answered_by(|_| {
        let mut echo = Echo::new(0);
        Template::new(32, 2, 43).compose(&mut echo, 2, 0, 0).to_vec()
    });
    assert_eq!(lost(&foreign), (8, 0, 8));
    let swapped = answered_by(|bytes| [&bytes[32..], &bytes[..32]].concat());
    assert_eq!(lost(&swapped), (8, 0, 8));
    let same_twice = answered_by(|bytes| [&bytes[..32], &bytes[..32]].concat());
    assert_eq!(lost(&same_twice), (8, 4, 4));
    let too_much = answered_by(|bytes| [&bytes[..], b"and more"].concat());
    assert_eq!(lost(&too_much), (8, 8, 0));
}

#[test]
fn a_reply_for_another_connection_is_a_mismatch() {
    let load = Load { first_echo: false, ..load(2, 1, Model::Closed(1)) };
    let (mut rig, mut server) = Rig::by_hand(load);
    rig.ramp();
    rig.tell(begin(DRIVE, rig.world.now()));
    rig.settle();
    let read = server.read();
    for (peer, bytes) in server.peers.iter().zip(read.iter().rev()) {
        assert_eq!(peer.send(bytes).ok(), Some(32));
    }
    rig.settle();
    let totals = rig.totals();
    assert_eq!((totals.mismatched, totals.lost, totals.received), (2, 2, 0));
    rig.until_done(DRIVE);
    rig.finish();
}

#[test]
fn replies_that_come_after_the_drain_change_nothing() {
    let load = load(4, 2, Model::Open(100.0));
    let mut rig = Rig::new(load, Faults::default(), 1, Limits::for_slots(16));
    rig.open_all();
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    rig.run_until(start + Nanos::from_millis(500));
    rig.serving = false;
    // The traffic waits for late replies, then the drain does, in vain.
    rig.until_done(DRIVE);
    rig.tell(begin(DRAIN, Nanos::ZERO));
    rig.until_done(DRAIN);
    let before = rig.totals();
    assert_eq!((before.sent, before.received + before.unanswered), (100, 100));
    assert!(before.unanswered >= 49, "{before:?}");
    rig.serving = true;
    rig.finish();
}

#[test]
fn a_connection_that_opens_after_the_drain_changes_nothing() {
    let load = load(4, 1, Model::Idle);
    let mut rig = Rig::new(load, Faults::default(), 1, Limits::for_slots(16));
    rig.world.set_faults(Faults { connect_takes: Nanos::from_millis(50), ..Faults::default() });
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.run_until(MILLI);
    // Somebody has interrupted the ramp.
    rig.tell(begin(DRAIN, Nanos::ZERO));
    rig.until_done(DRAIN);
    rig.run_until(Nanos::from_secs(3));
    let opened = rig.finals[&0].totals.opened;
    assert_eq!((opened, rig.told[0].opened), (0, 0), "the timeline tells what the result does");
    rig.tell(Command::Close);
    rig.settle();
    assert_eq!(rig.world.open_ends(), 0);
}

#[test]
fn leaving_at_once_reports_what_there_is_once() {
    for drained in [false, true] {
        let load = load(4, 2, Model::Closed(3));
        let mut rig = Rig::new(load, Faults::default(), 1, Limits::for_slots(16));
        rig.open_all();
        rig.serving = false;
        rig.tell(begin(DRIVE, rig.world.now()));
        rig.settle();
        if drained {
            rig.tell(begin(DRAIN, Nanos::ZERO));
            rig.settle();
        }
        rig.tell(Command::Abort);
        rig.settle();
        let mut sum = Totals::default();
        rig.finals.values().for_each(|last| sum.merge(&last.totals));
        assert_eq!((rig.finals.len(), sum.sent, sum.received, sum.unanswered), (2, 12, 0, 12));
        assert!(rig.clients.iter().all(|client| client.driver().is_finished_now()));
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let sent = || {
        let plan = Load { size: 64, first_echo: false, ..load(3, 1, Model::Open(50.0)) };
        let (mut rig, mut server) = Rig::by_hand(plan);
        rig.ramp();
        rig.tell(begin(DRIVE, rig.world.now()));
        rig.run_until(rig.world.now() + Nanos::from_secs(1));
        server.read()
    };
    let first = sent();
    assert_eq!(first.iter().map(Vec::len).sum::<usize>(), 50 * 64);
    assert_eq!(first, sent());
}
