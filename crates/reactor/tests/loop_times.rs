//! How late the loop came and how long its turns took, by a clock that is moved by hand: exact.

use c1000k_reactor::sim::{Faults, Sim, World};
use c1000k_reactor::{
    Core, Driver, Ending, Key, Limits, Marks, Reactor, Read, Spans, Stream, mailbox,
};
use measure::Nanos;
use std::net::SocketAddr;

const MILLI: u64 = 1_000_000;

fn address() -> SocketAddr {
    ([127, 0, 0, 1], 9000).into()
}

/// Takes its time: for each byte, and for each turn.
struct Slow {
    world: World,
    byte_takes: Nanos,
    turn_takes: Nanos,
    next: Option<Nanos>,
}

impl Slow {
    fn pass(&self, span: Nanos) {
        self.world.advance_to(self.world.now() + span);
    }
}

impl Driver<Sim> for Slow {
    type Session = ();
    type Command = ();
    const PAUSE_READS_WHILE_BLOCKED: bool = true;

    fn admit(&mut self, _: &mut Core<Sim, ()>, _: usize) -> Option<()> {
        Some(())
    }
    fn on_open(&mut self, _: &mut Core<Sim, ()>, _: Key) {}
    fn on_bytes(&mut self, _: &mut Core<Sim, ()>, _: Key, read: Read<'_>) {
        self.pass(Nanos(self.byte_takes.0 * read.bytes.len() as u64));
    }
    fn on_end(&mut self, _: &mut Core<Sim, ()>, (): (), _: Ending, _: Marks) {}
    fn on_command(&mut self, _: &mut Core<Sim, ()>, (): ()) {}
    fn on_turn(&mut self, _: &mut Core<Sim, ()>) -> Option<Nanos> {
        self.pass(self.turn_takes);
        self.next
    }
    fn is_finished(&self) -> bool {
        false
    }
}

fn reactor(world: &World, next: Option<Nanos>) -> Reactor<Sim, Slow> {
    let (_, inbox) = mailbox::open_unwatched();
    let driver =
        Slow { world: world.clone(), byte_takes: Nanos(MILLI), turn_takes: Nanos::ZERO, next };
    Reactor::new(world.network(&[address()]), driver, inbox, Limits::for_slots(8), 1)
}

fn delay(reactor: &Reactor<Sim, Slow>) -> Spans {
    Spans::of(&reactor.core().times.delay)
}

fn turns(reactor: &Reactor<Sim, Slow>) -> Spans {
    Spans::of(&reactor.core().times.turn)
}

#[test]
fn a_loop_that_comes_late_says_by_how_much() {
    let world = World::new(Faults::default());
    let mut reactor = reactor(&world, Some(Nanos(10 * MILLI)));
    reactor.turn().expect("a turn");
    assert_eq!(delay(&reactor).count, 0, "nothing was due yet");
    world.advance_to(Nanos(4 * MILLI));
    reactor.turn().expect("a turn before its time");
    assert_eq!(delay(&reactor).count, 0, "what is early is not late");
    world.advance_to(Nanos(10 * MILLI));
    reactor.turn().expect("on time");
    assert_eq!((delay(&reactor).count, delay(&reactor).max), (1, Nanos::ZERO));
    world.advance_to(Nanos(35 * MILLI));
    reactor.turn().expect("late");
    assert_eq!((delay(&reactor).count, delay(&reactor).max), (2, Nanos(25 * MILLI)));
    assert_eq!((turns(&reactor).count, turns(&reactor).max), (4, Nanos::ZERO));
}

#[test]
fn what_is_due_waits_for_the_events_before_it_and_they_wait_for_the_end_of_the_turn() {
    let world = World::new(Faults::default());
    let mut reactor = reactor(&world, Some(Nanos(10 * MILLI)));
    let peer = world.connect_by_hand(address());
    reactor.turn().expect("accepted");
    peer.send(&[0; 15]).expect("room");
    reactor.turn().expect("fifteen bytes of a millisecond each");
    assert_eq!((delay(&reactor).count, delay(&reactor).max), (1, Nanos(5 * MILLI)));
    assert_eq!(turns(&reactor).max, Nanos(15 * MILLI));
}

#[test]
fn work_at_once_and_no_work_have_no_time_to_be_late_for() {
    for next in [Some(Nanos::ZERO), None, Some(Nanos::MAX)] {
        let world = World::new(Faults::default());
        let mut reactor = reactor(&world, next);
        for moment in 1..5 {
            world.advance_to(Nanos(moment * MILLI));
            reactor.turn().expect("a turn");
        }
        assert_eq!((delay(&reactor).count, turns(&reactor).count), (0, 4), "{next:?}");
    }
}
