//! A protocol of a test's own: numbered lines, each of which comes back. It shows what a protocol
//! takes at the client: what is here, and nothing of the driver.

use super::rig::{self, target};
use super::*;
use crate::load::pace::Pace;
use crate::load::phases::steps::{DRIVE, begin};
use crate::protocol::{Before, Content, End, State, Times};
use c1000k_server::driver::{Admission, ServerDriver};
use proptest::prelude::*;
use reactor::sim::Faults;
use reactor::{Limits, Stream};
use std::collections::VecDeque;

/// The longest line, its end included.
const LINE_MAX: usize = 11;

/// Lines are laid out here.
#[derive(Debug, Default)]
struct Lines {
    out: Vec<u8>,
}

/// The lines of one connection.
#[derive(Debug, Default)]
struct Conversation {
    connection: u32,
    /// The number of the next line, and of the next that is to come back.
    next: u32,
    received: u32,
    on_their_way: VecDeque<Times>,
    partial: Vec<u8>,
}

impl Protocol for Lines {
    type Session = Conversation;

    const HANDSHAKES: bool = false;
    const STAGES: &'static [Stage] = &[];

    fn session(&self, number: u32, _target: u16, _before: Before) -> Conversation {
        Conversation { connection: number, ..Conversation::default() }
    }

    fn number(session: &Conversation) -> u32 {
        session.connection
    }

    fn state(_: &Conversation) -> State {
        State::Open
    }

    fn in_flight(session: &Conversation) -> u32 {
        session.on_their_way.len() as u32
    }

    fn received(session: &Conversation) -> u32 {
        session.received
    }

    fn batch_max(&self) -> usize {
        4
    }

    fn message_bytes(&self) -> usize {
        LINE_MAX
    }

    fn compose(
        &mut self,
        session: &mut Conversation,
        count: usize,
        intended: Nanos,
        sent: Nanos,
    ) -> &[u8] {
        self.out.clear();
        for _ in 0..count {
            let first = session.next == 0;
            session.on_their_way.push_back(Times { first, intended, sent });
            self.out.extend_from_slice(format!("{}\n", session.next).as_bytes());
            session.next += 1;
        }
        &self.out
    }

    fn receive(
        &mut self,
        session: &mut Conversation,
        bytes: &mut [u8],
        _now: Nanos,
        mut on_reply: impl FnMut(&Times, Option<Content>),
    ) -> Received {
        let mut received = Received::default();
        for byte in bytes {
            if *byte != b'\n' {
                session.partial.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut session.partial);
            let times = session.on_their_way.pop_front();
            let Some(times) = times.filter(|_| line == session.received.to_string().as_bytes())
            else {
                received.end = Some(End::Violation("a line is not the next one".to_owned()));
                return received;
            };
            on_reply(&times, None);
            session.received += 1;
            received.replies += 1;
        }
        received
    }

    fn forget(&mut self, _: &mut Conversation) {}
}

type Rig = rig::Rig<Lines, ServerDriver>;

fn rig(load: Load, servers: usize, faults: Faults, limits: Limits) -> Rig {
    let admission = Arc::new(Admission::new(u64::MAX));
    let server = |index| ServerDriver::new(index, 0, Arc::clone(&admission), None, Nanos::ZERO);
    Rig::with(load, |_| Lines::default(), (0..servers).map(server), faults, limits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn whatever_is_cut_each_line_is_answered_once(
        (connections, reactors, rate) in (1..20u64, 1..4u64, 50.0..1_000.0f64),
        (read_max, write_max, pipe_bytes) in (1..8usize, 1..8usize, 1..20usize),
        closed in any::<bool>(),
    ) {
        let faults = Faults { read_max, write_max, pipe_bytes, ..Faults::default() };
        let model = if closed { Model::Closed(3) } else { Model::Open(rate) };
        let duration = Nanos::from_millis(100);
        let load = Load { duration, ..Load::for_tests(connections, reactors, model) };
        let mut rig = rig(load, 2, faults, Limits::for_slots(64));
        rig.round_takes = Nanos::from_micros(50);
        rig.run();
        let (sum, recorder) = rig.finish();
        prop_assert_eq!((sum.opened, sum.first_received), (connections, connections));
        prop_assert_eq!((sum.lost, sum.unanswered), (0, 0));
        prop_assert_eq!(rig::count(&recorder, Stage::Service), sum.received);
        let planned = Pace::new(rate).count_before(duration);
        let asked = if closed { sum.sent >= 3 * connections } else { sum.sent == planned };
        prop_assert!(asked, "{} lines were sent", sum.sent);
    }
}

#[test]
fn a_line_that_is_not_the_next_one_loses_its_connection_by_that_rule() {
    let load = Load { first_echo: false, ..Load::for_tests(1, 1, Model::Open(10.0)) };
    let mut rig = rig(load, 0, Faults::default(), Limits::for_slots(16));
    let mut net = rig.world.network_by_hand(&[target()]);
    rig.ramp();
    let peer = net.accept_by_hand(0).expect("a connection");
    rig.tell(begin(DRIVE, rig.world.now()));
    rig.settle();
    assert_eq!(peer.send(b"7\n").ok(), Some(2));
    rig.until_done(DRIVE);
    let rules = rig.clients[0].driver().books.causes.rules.clone();
    assert_eq!(rules.into_iter().collect::<Vec<_>>(), [("a line is not the next one".into(), 1)]);
    let (sum, _) = rig.finish();
    assert_eq!((sum.opened, sum.lost, sum.received), (1, 1, 0));
}
