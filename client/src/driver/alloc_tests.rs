//! The invariant that an echo allocates nothing, kept by counting: both drivers over real sockets,
//! the kernel's event queue and all, on one thread that is counted.

use super::http_tests::{self, HttpPeer, Script};
use super::ws_tests::WsPeer;
use super::*;
use crate::load::addresses::Addresses;
use crate::load::audited_share::Share;
use crate::load::phases::steps::*;
use crate::load::schedule::Arrivals;
use crate::protocol::{Http, Raw, Setup, WebSocket};
use ::tls::{ClientOptions, ServerOptions, Trust, Versions};
use c1000k_server::driver::{Admission, ServerDriver};
use control::secure::certificate;
use crossbeam_channel::{Receiver, bounded};
use host::socket::{self, ListenOptions};
use measure::Clock;
use reactor::mailbox;
use reactor::{Limits, Reactor, Secured, System};
use std::net::SocketAddr;
use wire::http::Method;
use wire::ws::Kind;

const CONNECTIONS: usize = 32;
/// Turns of both ends that are counted at a stretch.
const TURNS: usize = 200;

/// Both ends, turned by hand.
struct Pair<P: Protocol, S: Driver<System>> {
    client: Reactor<System, LoadDriver<P>>,
    server: Reactor<System, S>,
    reports: Receiver<Report>,
    outside: mailbox::Outside<Command>,
    clock: Clock,
}

/// The raw echo server, with a time limit for silence, so that its bookkeeping is counted too.
fn raw_server(clock: Clock) -> ServerDriver {
    let admission = Arc::new(Admission::new(CONNECTIONS as u64));
    ServerDriver::new(0, 0, admission, Some(Nanos::from_secs(60)), clock.now())
}

/// TLS at both ends of connections to there: the client's, and the server's.
fn secured(target: SocketAddr) -> [Secured; 2] {
    let versions = Versions { tls12: false, tls13: true };
    let made = certificate::make(&["localhost".to_owned()], &[]).expect("a certificate");
    let server = ServerOptions {
        identity: &made.identity,
        client_authorities: None,
        alpn: Vec::new(),
        versions,
        tickets: 0,
    };
    let client = ClientOptions {
        trust: &Trust::Anybody,
        identity: None,
        name: "localhost",
        alpn: Vec::new(),
        versions,
        suites: &[],
        groups: &[],
        resumes: 0.0,
        key_log: None,
    };
    let client = (target, ::tls::Setup::client(client).expect("a client"));
    let server = ::tls::Setup::server(server).expect("a server");
    [
        Secured { listeners: Vec::new(), targets: vec![client] },
        Secured { listeners: vec![Some(server)], targets: Vec::new() },
    ]
}

impl<P: Protocol, S: Driver<System, Command: Send>> Pair<P, S> {
    fn new(
        model: Model,
        size: usize,
        audit: Share,
        server: impl FnOnce(Clock) -> S,
        protocol: impl FnOnce(&Load, SocketAddr) -> P,
    ) -> Self {
        Self::with(model, size, |load| Load { audit, ..load }, server, protocol)
    }

    /// The same with a load that differs in something.
    fn with(
        model: Model,
        size: usize,
        change: impl FnOnce(Load) -> Load,
        server: impl FnOnce(Clock) -> S,
        protocol: impl FnOnce(&Load, SocketAddr) -> P,
    ) -> Self {
        let clock = Clock::start();
        let options = ListenOptions { backlog: 128, reuse_port: false };
        let listener = socket::listen(([127, 0, 0, 1], 0).into(), &options).expect("listener");
        let target = socket::local_address(&listener).expect("its address");
        let limits = Limits::for_slots(CONNECTIONS);
        let source = [127, 0, 0, 2].into();
        let load = Load {
            addresses: Addresses::new(&[vec![target]], &[source], (1024, 65_535), false),
            duration: Nanos::from_secs(60),
            size,
            reply_timeout: Nanos::from_secs(60),
            audit: Share::ALL,
            ..Load::for_tests(CONNECTIONS as u64, 1, model)
        };
        let load = change(load);
        let [here, there] = if load.tls { secured(target) } else { Default::default() };
        let events = limits.events_per_wait;
        let (_, mut inbox) = mailbox::open().expect("mailbox");
        let net = System::new(&mut inbox, clock, events, vec![listener], &there);
        let server = Reactor::new(net.expect("network"), server(clock), inbox, limits, 1);
        let (send, reports) = bounded(64);
        let (outside, mut inbox) = mailbox::open().expect("mailbox");
        let net = System::new(&mut inbox, clock, events, Vec::new(), &here);
        let protocol = protocol(&load, target);
        let driver = LoadDriver::new(0, Arc::new(load), protocol, send, clock.now());
        let client = Reactor::new(net.expect("network"), driver, inbox, limits, 0);
        Self { client, server, reports, outside, clock }
    }

    /// One turn of each. The client comes first: either it has something to send or the replies to
    /// read that the server gave before, so nobody waits for the other on this one thread.
    fn turn(&mut self) {
        self.client.turn().expect("turn");
        self.server.turn().expect("turn");
    }

    fn step(&mut self, command: Command, step: u16) {
        self.outside.send(command).expect("room");
        while self.client.driver().running.number != Some(step)
            || !self.client.driver().running.done
        {
            self.turn();
        }
    }

    fn received(&self) -> u64 {
        self.client.driver().books.totals.received
    }

    /// Whether the client has told of a second in the meantime, which is allowed to allocate.
    fn told(&self) -> bool {
        self.reports.try_iter().count() > 0
    }
}

fn allocations_of_an_echo(model: Model, size: usize) {
    for audit in [Share::OFF, Share::ALL] {
        let raw = |load: &Load, _| Raw::new(load);
        let pair = Pair::new(model, size, audit, raw_server, raw);
        no_allocations(pair, &format!("{model:?}, audit {audit}"));
    }
}

fn no_allocations<P: Protocol, S: Driver<System, Command: Send>>(mut pair: Pair<P, S>, what: &str) {
    let now = pair.clock.now();
    pair.step(begin(RAMP, now), RAMP);
    pair.step(begin(FIRST_ECHO, Nanos::ZERO), FIRST_ECHO);
    // Without an audit the round is for nothing.
    pair.step(begin(AUDIT_FROM, Nanos::ZERO), AUDIT_FROM);
    pair.outside.send(begin(DRIVE, pair.clock.now())).expect("room");
    for _ in 0..TURNS {
        pair.turn();
    }
    let give_up = pair.clock.now() + Nanos::from_secs(20);
    let mut turns = TURNS;
    loop {
        pair.told();
        let before = pair.received();
        let counted = allocation_counter::measure(|| (0..turns).for_each(|_| pair.turn()));
        let echoes = pair.received() - before;
        if !pair.told() {
            assert!(echoes >= turns as u64, "only {echoes} echoes");
            let audited =
                pair.client.driver().books.audited.as_ref().map_or(0, |audit| audit.connections);
            assert!(audited == 0 || audited == CONNECTIONS as u64, "{audited} audited");
            assert_eq!(counted.count_total, 0, "{echoes} echoes, {what}: {counted:?}");
            return;
        }
        assert!(pair.clock.now() < give_up, "no {turns} turns fit between two reports");
        // On a busy machine a turn takes its time.
        turns = (turns / 2).max(10);
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
    let load = |load| Load { arrivals: Arrivals::Poisson, ..load };
    no_allocations(
        Pair::with(Model::Open(5e6), 32, load, raw_server, |l, _| Raw::new(l)),
        "Poisson",
    );
}

#[test]
fn an_echo_over_tls_allocates_nothing() {
    for (model, size) in [(Model::Closed(1), 32), (Model::Closed(4), 1_000)] {
        let load = |load| Load { tls: true, ..load };
        let pair = Pair::with(model, size, load, raw_server, |load, _| Raw::new(load));
        no_allocations(pair, &format!("TLS, {model:?}"));
    }
}

#[test]
fn an_echo_over_a_websocket_allocates_nothing() {
    for (model, kind, fragment, in_order) in [
        (Model::Closed(1), Kind::Binary, None, false),
        (Model::Closed(4), Kind::Text, None, false),
        (Model::Closed(2), Kind::Binary, Some(100), false),
        (Model::Closed(2), Kind::Binary, None, true),
    ] {
        let protocol = |load: &Load, target| {
            let setup = ws_tests::setup(load, target);
            WebSocket::new(Arc::new(Setup { kind, fragment, in_order, ..setup }), 0)
        };
        let pair = Pair::new(model, 300, Share::ALL, |_| WsPeer::restless(), protocol);
        no_allocations(pair, &format!("{model:?}, {kind:?}, {fragment:?}, in order {in_order}"));
    }
}

#[test]
fn a_request_and_its_response_allocate_nothing() {
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for (model, answer) in [
        (Model::Closed(1), sized),
        (Model::Closed(4), chunked),
        (Model::Closed(4), &format!("HTTP/1.1 102 Wait\r\n\r\n{sized}")),
        (Model::Open(5e6), sized),
    ] {
        let protocol = |load: &Load, target| {
            let setup = http_tests::setup(load, target, &["/a", "/b?c", "/d"], Method::Get);
            Http::new(Arc::new(setup))
        };
        let script = Script { restless: true, ..Script::always(answer.as_bytes()) };
        let pair = Pair::new(model, 0, Share::ALL, |_| HttpPeer::new(script), protocol);
        no_allocations(pair, &format!("{model:?}, {answer}"));
    }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 100])));
    assert_eq!(counted.count_total, 1);
}
