//! The invariant that an echo allocates nothing, kept by counting: both drivers over real sockets,
//! the kernel's event queue and all, on one thread that is counted.

use super::*;
use crate::load::addresses::Tuples;
use crate::load::lanes::Lanes;
use crate::protocol::Raw;
use c1000k_server::driver::{Admission, EchoDriver};
use crossbeam_channel::{Receiver, bounded};
use host::socket::{self, ListenOptions};
use measure::Clock;
use reactor::mailbox;
use reactor::{Limits, Reactor, System};

type Client = Reactor<System, LoadDriver<Raw>>;
type Server = Reactor<System, EchoDriver>;

const CONNECTIONS: usize = 32;
/// Turns of both ends that are counted at a stretch.
const TURNS: usize = 200;

/// Both ends, turned by hand.
struct Pair {
    client: Client,
    server: Server,
    reports: Receiver<Report>,
    outside: mailbox::Outside<Command>,
    clock: Clock,
}

impl Pair {
    fn new(model: Model, size: usize) -> Self {
        let clock = Clock::start();
        let options = ListenOptions { backlog: 128, reuse_port: false };
        let listener = socket::listen(([127, 0, 0, 1], 0).into(), &options).expect("listener");
        let target = socket::local_address(&listener).expect("its address");
        let limits = Limits::for_slots(CONNECTIONS);
        let (_, mut inbox) = mailbox::open().expect("mailbox");
        let net = System::new(&mut inbox, clock, limits.events_per_wait, vec![listener]);
        // With a time limit for silence, so that its bookkeeping is counted too.
        let admission = Arc::new(Admission::new(CONNECTIONS as u64));
        let idle = Some(Nanos::from_secs(60));
        let driver = EchoDriver::new(0, 0, admission, idle, clock.now());
        let server = Reactor::new(net.expect("network"), driver, inbox, limits, 1);

        let load = Load {
            connections: CONNECTIONS as u64,
            reactors: 1,
            tuples: Tuples::new(vec![target], &[[127, 0, 0, 2].into()], 1024, 65_535),
            lanes: Lanes::new(&[0], 1),
            connect_rate: None,
            connect_timeout: Nanos::from_secs(10),
            first_echo: true,
            model,
            duration: Nanos::from_secs(60),
            size,
            reply_timeout: Nanos::from_secs(60),
            drain_timeout: Nanos::from_secs(5),
            ping: None,
            seed: 1,
        };
        let (send, reports) = bounded(64);
        let (outside, mut inbox) = mailbox::open().expect("mailbox");
        let net = System::new(&mut inbox, clock, limits.events_per_wait, Vec::new());
        let raw = Raw::new(&load);
        let driver = LoadDriver::new(0, Arc::new(load), raw, send, clock.now());
        let client = Reactor::new(net.expect("network"), driver, inbox, limits, 0);
        Self { client, server, reports, outside, clock }
    }

    /// One turn of each. The client comes first: either it has something to send or the replies to
    /// read that the server gave before, so nobody waits for the other on this one thread.
    fn turn(&mut self) {
        self.client.turn().expect("turn");
        self.server.turn().expect("turn");
    }

    fn step(&mut self, command: Command, step: Step) {
        self.outside.send(command).expect("room");
        while self.client.driver().done < step {
            self.turn();
        }
    }

    fn received(&self) -> u64 {
        self.client.driver().totals.received
    }

    /// Whether the client has told of a second in the meantime, which is allowed to allocate.
    fn told(&self) -> bool {
        self.reports.try_iter().count() > 0
    }
}

fn allocations_of_an_echo(model: Model, size: usize) {
    let mut pair = Pair::new(model, size);
    let now = pair.clock.now();
    pair.step(Command::Ramp(now), Step::Ramp);
    pair.step(Command::FirstEcho, Step::FirstEcho);
    pair.outside.send(Command::Drive(pair.clock.now())).expect("room");
    for _ in 0..TURNS {
        pair.turn();
    }
    let give_up = pair.clock.now() + Nanos::from_secs(20);
    loop {
        pair.told();
        let before = pair.received();
        let counted = allocation_counter::measure(|| (0..TURNS).for_each(|_| pair.turn()));
        let echoes = pair.received() - before;
        if !pair.told() {
            assert!(echoes >= TURNS as u64, "only {echoes} echoes");
            assert_eq!(counted.count_total, 0, "{echoes} echoes, {model:?}: {counted:?}");
            return;
        }
        assert!(pair.clock.now() < give_up, "no {TURNS} turns fit between two reports");
    }
}

#[test]
fn an_echo_allocates_nothing_in_the_closed_model() {
    allocations_of_an_echo(Model::Closed(1), 32);
    allocations_of_an_echo(Model::Closed(4), 1_000);
}

#[test]
fn an_echo_allocates_nothing_in_the_open_model() {
    // More than one thread can do: something is due in each turn.
    allocations_of_an_echo(Model::Open(5e6), 32);
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 100])));
    assert_eq!(counted.count_total, 1);
}
