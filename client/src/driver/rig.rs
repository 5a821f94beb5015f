//! `Rig`: clients and servers on the simulated network, by a clock that is moved by hand, for the
//! tests of every protocol; and the load that they begin with.

use super::*;
use crate::books::recorder::Recorder;
use crate::books::totals::Totals;
use crate::load::addresses::Addresses;
use crate::load::audited_share::Share;
use crate::load::lanes::Lanes;
use crate::load::phases::steps::*;
use crate::load::schedule::Arrivals;
use crate::orders::Final;
use crossbeam_channel::{Receiver, bounded};
use measure::Failure;
use reactor::mailbox::{self, Outside};
use reactor::sim::{Faults, Sim, World};
use reactor::{Limits, Reactor};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Turns within one moment after which a loop that never rests is a bug.
const TURNS_MAX: usize = 200_000;

/// Where the servers are.
pub(crate) fn target() -> SocketAddr {
    ([127, 0, 0, 1], 9000).into()
}

impl Load {
    /// A second of messages of 32 bytes; tests say what differs.
    pub(crate) fn for_tests(connections: u64, reactors: u64, model: Model) -> Self {
        let source = IpAddr::from([127, 0, 0, 2]);
        let cores: Vec<usize> = (0..reactors as usize).collect();
        Self {
            phases: all(),
            connections,
            reactors,
            addresses: Addresses::new(&[vec![target()]], &[source], (1024, 65_535), false),
            lanes: Lanes::new(&cores, 1),
            connect_rate: None,
            connect_timeout: Nanos::from_secs(10),
            first_echo: true,
            model,
            arrivals: Arrivals::Uniform,
            duration: Nanos::from_secs(1),
            size: 32,
            reply_timeout: Nanos::from_secs(10),
            drain_timeout: Nanos::from_secs(5),
            in_flight_max: u32::MAX,
            churn: false,
            ping: None,
            audit: Share::OFF,
            strict: false,
            tls: false,
            seed: 42,
        }
    }
}

/// How many spans a stage has.
pub(crate) fn count(recorder: &Recorder, stage: Stage) -> u64 {
    recorder.stage(stage).map_or(0, |histogram| histogram.count())
}

/// The kinds of failure that occurred, and how often each did.
pub(crate) fn failures(totals: &Totals) -> Vec<(Failure, u64)> {
    let kinds = Failure::ALL.into_iter().zip(totals.failures);
    kinds.filter(|(_, count)| *count > 0).collect()
}

fn is_due<D: Driver<Sim>>(reactor: &Reactor<Sim, D>, now: Nanos) -> bool {
    reactor.deadline().is_some_and(|deadline| deadline <= now)
}

/// Turns once; whether that was for anything.
fn turn<D: Driver<Sim>>(reactor: &mut Reactor<Sim, D>, now: Nanos) -> bool {
    let (events, due) = (reactor.core().counters.events, is_due(reactor, now));
    reactor.turn().expect("the simulator never fails to wait");
    due || is_due(reactor, now) || reactor.core().counters.events > events
}

impl<P: Protocol> LoadDriver<P> {
    pub(super) fn is_finished_now(&self) -> bool {
        Driver::<Sim>::is_finished(self)
    }
}

/// Clients and servers in one world. A peer by hand has no reactor and is turned by its test.
pub(super) struct Rig<P: Protocol, S: Driver<Sim>> {
    pub(super) world: World,
    pub(super) load: Arc<Load>,
    pub(super) servers: Vec<Reactor<Sim, S>>,
    /// Whether the servers are turned.
    pub(super) serving: bool,
    /// How long a round takes. Usually no time, and whoever has work has it done in one moment.
    /// Where each reply lets a message leave at once, there would be no end to that.
    pub(super) round_takes: Nanos,
    pub(super) clients: Vec<Reactor<Sim, LoadDriver<P>>>,
    outsides: Vec<Outside<Command>>,
    reports: Receiver<Report>,
    pub(super) done: Vec<Option<u16>>,
    pub(super) finals: BTreeMap<usize, Box<Final>>,
    /// The running totals as the reports of the seconds told them, and what their histograms held.
    pub(super) told: Vec<Totals>,
    told_responses: u64,
}

impl<P: Protocol, S: Driver<Sim, Command: Send>> Rig<P, S> {
    /// Servers by these drivers, and as many clients as the load has reactors.
    pub(super) fn with(
        load: Load,
        protocol: impl Fn(&Load) -> P,
        servers: impl IntoIterator<Item = S>,
        faults: Faults,
        limits: Limits,
    ) -> Self {
        let world = World::new(faults);
        let servers = servers.into_iter().map(|driver| {
            let (_, inbox) = mailbox::open_unwatched();
            Reactor::new(world.network(&[target()]), driver, inbox, limits, 1)
        });
        let servers = servers.collect();
        let load = Arc::new(load);
        // Small on purpose: reports that find it full must wait and not be lost.
        let (reports, taken) = bounded(2);
        let count = load.reactors as usize;
        let (mut clients, mut outsides) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (outside, inbox) = mailbox::open_unwatched();
            let (load, protocol) = (Arc::clone(&load), protocol(&load));
            let driver = LoadDriver::new(index, load, protocol, reports.clone(), Nanos::ZERO);
            clients.push(Reactor::new(world.network(&[]), driver, inbox, limits, 0));
            outsides.push(outside);
        }
        Self {
            world,
            load,
            servers,
            serving: true,
            round_takes: Nanos::ZERO,
            clients,
            outsides,
            reports: taken,
            done: vec![None; count],
            finals: BTreeMap::new(),
            told: vec![Totals::default(); count],
            told_responses: 0,
        }
    }

    pub(super) fn tell(&self, command: Command) {
        for outside in &self.outsides {
            outside.send(command).expect("room for a command");
        }
    }

    fn collect(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Second(second) => {
                    self.told[second.reactor] = second.totals;
                    self.told_responses += second.response.count();
                }
                Report::Done { reactor, phase, .. } => self.done[reactor] = Some(phase),
                Report::Final { reactor, last } => {
                    let before = self.finals.insert(reactor, last);
                    assert!(before.is_none(), "two finals of one reactor");
                }
            }
        }
    }

    /// One turn of everybody; whether it was for anything.
    pub(super) fn round(&mut self) -> bool {
        let now = self.world.now();
        let mut busy = false;
        for client in self.clients.iter_mut().filter(|c| !c.driver().is_finished_now()) {
            busy |= turn(client, now);
        }
        if self.serving {
            for server in &mut self.servers {
                busy |= turn(server, now);
            }
        }
        self.collect();
        busy
    }

    /// Turns until nothing is left to do at this moment: two rounds in a row for nothing, as a
    /// command makes its news after the wait of its turn.
    pub(super) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            quiet = if self.round() { 0 } else { quiet + 1 };
            if quiet == 2 {
                return;
            }
        }
        panic!("never comes to rest");
    }

    /// The next moment at which anything is due.
    fn next_moment(&self) -> Nanos {
        let clients = self.clients.iter().filter_map(Reactor::deadline);
        let serving = self.servers.iter().filter(|_| self.serving);
        let all = clients.chain(serving.filter_map(Reactor::deadline));
        all.chain(self.world.next_event()).min().unwrap_or(Nanos::MAX)
    }

    /// Lets time pass, moment by moment: nobody is ever late.
    pub(super) fn run_until(&mut self, end: Nanos) {
        loop {
            self.settle();
            match self.next_moment() {
                next if next < end => self.world.advance_to(next),
                _ => break,
            }
        }
        self.world.advance_to(end);
        self.settle();
    }

    /// Whether all reactors have come to the end of a step.
    pub(super) fn is_done(&self, step: u16) -> bool {
        self.done.iter().all(|done| *done >= Some(step))
    }

    /// Lets time pass until they have.
    pub(super) fn until_done(&mut self, step: u16) {
        for _ in 0..TURNS_MAX {
            let timed = self.round_takes > Nanos::ZERO;
            if timed {
                self.round();
            } else {
                self.settle();
            }
            if self.is_done(step) {
                return;
            }
            let next = if timed { self.world.now() + self.round_takes } else { self.next_moment() };
            assert!(next < Nanos::MAX, "a step that is not done has a deadline");
            self.world.advance_to(next);
        }
        panic!("phase {step} never ends");
    }

    /// A step from its beginning, which is now, to its end.
    pub(super) fn step(&mut self, step: u16) {
        self.tell(begin(step, self.world.now()));
        self.until_done(step);
    }

    pub(super) fn ramp(&mut self) {
        self.step(RAMP);
    }

    pub(super) fn open_all(&mut self) {
        self.ramp();
        if self.load.first_echo {
            self.step(FIRST_ECHO);
        }
    }

    pub(super) fn drive(&mut self) {
        self.step(DRIVE);
    }

    /// All that the load asks for, up to the end of the traffic.
    pub(super) fn run(&mut self) {
        self.open_all();
        let audits = !self.load.audit.is_off();
        if audits {
            self.step(AUDIT_FROM);
        }
        if self.load.model != Model::Idle {
            self.drive();
        }
        if audits {
            self.step(AUDIT_TO);
        }
    }

    /// The counts of the moment, over all reactors.
    pub(super) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for client in &self.clients {
            sum.merge(&client.driver().books.totals);
        }
        sum
    }

    /// Drains, checks that every account balances, closes, checks that nothing is left.
    pub(super) fn finish(mut self) -> (Totals, Recorder) {
        self.drain();
        let (mut sum, mut recorder) = (Totals::default(), Recorder::default());
        for last in self.finals.values() {
            sum.merge(&last.totals);
            recorder.merge(&last.recorder);
        }
        self.check(&sum, &recorder);
        self.close();
        (sum, recorder)
    }

    /// The same of the only reactor: all that it leaves behind.
    pub(super) fn finish_one(mut self) -> Box<Final> {
        self.drain();
        let last = self.finals.remove(&0).expect("the last word");
        self.check(&last.totals, &last.recorder);
        self.close();
        last
    }

    fn drain(&mut self) {
        self.step(DRAIN);
        assert_eq!(self.finals.len(), self.clients.len());
        // What happens from here on is no part of the result.
        self.run_until(self.world.now() + Nanos::from_secs(2));
    }

    /// Every account balances.
    fn check(&self, sum: &Totals, recorder: &Recorder) {
        for client in &self.clients {
            let opening = &client.driver().connections.opening;
            let under_way = (opening.count, opening.upgrading);
            assert_eq!(under_way, (0, 0), "nobody is on the way any more");
        }
        if !P::ENDS_AGREED {
            let planned = self.load.connections;
            assert_eq!(sum.opened + sum.failed, planned, "planned = opened + failed");
        }
        assert_eq!(sum.failures.iter().sum::<u64>(), sum.failed + sum.lost, "each has one kind");
        assert_eq!(
            sum.first_sent + sum.sent,
            sum.first_received + sum.received + sum.unanswered,
            "sent = received + unanswered"
        );
        let count = |stage| count(recorder, stage);
        assert_eq!(count(Stage::FirstEcho), sum.first_received);
        assert_eq!(count(Stage::Service), sum.received);
        if P::HANDSHAKES {
            assert_eq!((count(Stage::Upgrade), count(Stage::Handshake)), (sum.opened, sum.opened));
        } else {
            assert_eq!(count(Stage::Connect), sum.opened);
        }
        if matches!(self.load.model, Model::Open(_)) {
            assert_eq!(count(Stage::Response), sum.received);
            assert_eq!(count(Stage::SendLag), sum.sent);
        }
        assert_eq!(self.told_responses, sum.received, "no reply is missing in the timeline");
        let mut told = Totals::default();
        for totals in &self.told {
            told.merge(totals);
        }
        let heart = |t: &Totals| (t.opened, t.failed, t.lost, t.sent, t.received, t.first_received);
        assert_eq!(heart(&told), heart(sum), "the timeline tells what the result does");
    }

    fn close(mut self) {
        let open: usize = self.clients.iter().map(|client| client.core().connections()).sum();
        if !P::HANDSHAKES && !P::ENDS_AGREED {
            assert_eq!(open as u64, self.totals().open(), "open = opened - lost");
        }
        self.tell(Command::Close);
        self.settle();
        assert!(self.clients.iter().all(|client| client.driver().is_finished_now()));
        if self.serving && !self.servers.is_empty() {
            assert_eq!(self.world.open_ends(), 0, "both ends of each connection are closed");
        }
    }
}
