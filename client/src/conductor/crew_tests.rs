//! A crew on the simulated network: reactors and servers that are turned whenever the conductor
//! waits, by a clock that is moved by hand. Two runs of it are the same, to the nanosecond.

use crate::conductor::crew::{Crew, Event, Reading};
use crate::conductor::probe::Probe;
use crate::driver::LoadDriver;
use crate::driver::http_tests::{HttpPeer, Script};
use crate::driver::ws_tests::WsPeer;
use crate::orders::Command;
use crate::orders::Report;
use crate::plan::{Plan, ProtocolPlan};
use crate::protocol::{Http, Protocol, Raw, WebSocket};
use c1000k_server::driver::{Admission, ServerDriver};
use control::signals::Signal;
use crossbeam_channel::{Receiver, bounded};
use host::schedule::CoreTime;
use measure::Nanos;
use reactor::mailbox::{self, Outside};
use reactor::sim::{Faults, Sim, World};
use reactor::{Driver, Limits, Reactor};
use std::net::SocketAddr;
use std::sync::Arc;

/// How long everybody's turns take together: replies take a few of these.
const ROUND: Nanos = Nanos::from_micros(40);

/// What the servers of a run do.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// What the network does.
    pub(crate) faults: Faults,
    /// The most connections that servers of plain TCP take.
    pub(crate) connections_max: u64,
    /// How an HTTP server answers.
    pub(crate) script: Script,
    /// When somebody asks for the end.
    pub(crate) stop_at: Option<Nanos>,
}

impl Default for Serving {
    fn default() -> Self {
        let connect_takes = Nanos::from_micros(70);
        Self {
            faults: Faults { connect_takes, ..Faults::default() },
            connections_max: u64::MAX,
            script: Script::always(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            stop_at: None,
        }
    }
}

/// One end of a run: reactors, whatever they drive.
trait End {
    /// Turns all of them once.
    fn turn(&mut self);
    /// What they have done so far: events, and when the next is due.
    fn state(&self) -> (u64, Option<Nanos>);
}

impl<D: Driver<Sim>> End for Vec<Reactor<Sim, D>> {
    fn turn(&mut self) {
        for reactor in self.iter_mut().filter(|reactor| !reactor.driver().is_finished()) {
            reactor.turn().expect("the simulator never fails to wait");
        }
    }

    fn state(&self) -> (u64, Option<Nanos>) {
        let running = || self.iter().filter(|reactor| !reactor.driver().is_finished());
        let events = self.iter().map(|reactor| reactor.core().counters.events).sum();
        (events, running().filter_map(Reactor::deadline).min())
    }
}

/// The crew.
pub(crate) struct Simulated {
    world: World,
    clients: Box<dyn End>,
    servers: Box<dyn End>,
    outsides: Vec<Outside<Command>>,
    reports: Receiver<Report>,
    stop_at: Option<Nanos>,
}

impl Simulated {
    /// The reactors of a plan that names one target, and two servers there.
    pub(crate) fn of(plan: &Plan, serving: Serving) -> Self {
        match &plan.protocol {
            ProtocolPlan::Tcp => Self::with(plan, serving, |_| Raw::new(&plan.load)),
            ProtocolPlan::WebSocket(setup) => {
                Self::with(plan, serving, |index| WebSocket::new(Arc::clone(setup), index))
            }
            ProtocolPlan::Http(setup) => {
                Self::with(plan, serving, |_| Http::new(Arc::clone(setup)))
            }
        }
    }

    fn with<P: Protocol>(plan: &Plan, serving: Serving, protocol: impl Fn(usize) -> P) -> Self {
        let Serving { faults, connections_max, script, stop_at } = serving;
        let world = World::new(faults);
        let target = plan.load.addresses.all()[0].at;
        let servers: Box<dyn End> = match plan.protocol {
            ProtocolPlan::Tcp => {
                let admission = Arc::new(Admission::new(connections_max));
                let driver =
                    |index| ServerDriver::new(index, 0, Arc::clone(&admission), None, Nanos::ZERO);
                servers(&world, target, driver)
            }
            ProtocolPlan::WebSocket(_) => servers(&world, target, |_| WsPeer::pinging()),
            ProtocolPlan::Http(_) => servers(&world, target, |_| HttpPeer::new(script.clone())),
        };
        let (send, reports) = bounded(1024);
        let (mut clients, mut outsides) = (Vec::new(), Vec::new());
        for index in 0..plan.seats.len() {
            let (outside, inbox) = mailbox::open_unwatched();
            let (load, protocol) = (Arc::clone(&plan.load), protocol(index));
            let driver = LoadDriver::new(index, load, protocol, send.clone(), Nanos::ZERO);
            clients.push(Reactor::new(world.network(&[]), driver, inbox, plan.limits, 0));
            outsides.push(outside);
        }
        Self { world, clients: Box::new(clients), servers, outsides, reports, stop_at }
    }

    /// One turn of everybody, and the time that it took, or up to what is due next if it was for
    /// nothing.
    fn round(&mut self, until: Nanos) {
        let events = |crew: &Self| crew.clients.state().0 + crew.servers.state().0;
        let before = events(self);
        self.clients.turn();
        self.servers.turn();
        let now = self.world.now();
        let due = [self.clients.state().1, self.servers.state().1, self.world.next_event()];
        let next = due.into_iter().flatten().min().unwrap_or(until).min(until);
        let busy = events(self) > before || next <= now;
        self.world.advance_to(if busy { now + ROUND } else { next });
    }
}

fn servers<D: Driver<Sim> + 'static>(
    world: &World,
    target: SocketAddr,
    driver: impl Fn(usize) -> D,
) -> Box<dyn End> {
    let servers = (0..2).map(|index| {
        let (_, inbox) = mailbox::open_unwatched();
        Reactor::new(world.network(&[target]), driver(index), inbox, Limits::for_slots(512), 1)
    });
    Box::new(servers.collect::<Vec<_>>())
}

impl Crew for Simulated {
    fn size(&self) -> usize {
        self.outsides.len()
    }

    fn now(&self) -> Nanos {
        self.world.now()
    }

    fn tell(&self, reactor: usize, command: Command) {
        self.outsides[reactor].send(command).expect("room for a command");
    }

    fn next(&mut self, patience: Nanos) -> Event {
        let until = self.world.now() + patience;
        loop {
            if let Ok(report) = self.reports.try_recv() {
                return Event::Report(report);
            }
            if self.stop_at.is_some_and(|at| self.world.now() >= at) {
                self.stop_at = None;
                return Event::Signal(Signal::Drain);
            }
            if self.world.now() >= until {
                return Event::Nothing;
            }
            self.round(until);
        }
    }

    /// As if everything took a tenth of the time.
    fn reading(&self) -> Reading {
        let at = self.world.now();
        let ticks = at.0 / 10_000_000;
        let core = CoreTime { total: ticks, stolen: ticks / 50, worked: ticks / 2 };
        Reading {
            rss_bytes: Some(8_000_000 + at.0 / 1_000),
            memfree_bytes: Some(4_000_000_000 - at.0 / 1_000),
            slab_bytes: Some(100_000_000 + at.0 / 2_000),
            open_files: Some(1_000 + ticks),
            cpu: Nanos(at.0 / 10),
            at,
            cores: [(0, core), (1, core)].into(),
            peer: None,
        }
    }

    fn probe(&self, _: &[usize], _: Nanos, _: Nanos) -> Option<Probe> {
        None
    }
}
