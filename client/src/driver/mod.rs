//! The client's side of the loop: opens its share of the connections, sends what is due, verifies
//! and times what comes back, takes leave.
//!
//! What it does is an act of the phase that the run is in (`acts/`); the conductor begins each, the
//! driver says when it is done. A connection is `opening → open → leaving`, and while it is open
//! its session counts what is on its way; see `docs/LIFECYCLE.md`. What is spoken on it is the
//! [`Protocol`]'s business.

mod acts;
mod connections;
mod ending;
mod opening;
mod reports;
mod sending;

use crate::books::Books;
use crate::load::phases::Act;
use crate::load::{Load, Model};
use crate::orders::{Command, Report};
use crate::protocol::{Protocol, Received, Session};
use acts::{Acting, Running};
use connections::Connections;
use crossbeam_channel::Sender;
use measure::{Nanos, Stage};
use reactor::{Core, Driver, Ending, Key, Marks, Network, Read};
use reports::{Reports, SECOND};
use sending::{NEXT_ROUND, Traffic};
use std::sync::Arc;

/// What the loop keeps for a driver of this protocol.
type Table<N, P> = Core<N, Session<P>>;

/// The client's driver. It lives on one reactor.
#[derive(Debug)]
pub(crate) struct LoadDriver<P: Protocol> {
    index: usize,
    load: Arc<Load>,
    protocol: P,

    /// The phase, and how far its act is.
    running: Running,
    acting: Acting,
    finished: bool,

    connections: Connections,
    traffic: Traffic,
    books: Books,
    reports: Reports,
}

impl<P: Protocol> LoadDriver<P> {
    /// The driver of reactor `index`, which reports into `reports`.
    #[must_use]
    pub(crate) fn new(
        index: usize,
        load: Arc<Load>,
        protocol: P,
        reports: Sender<Report>,
        started: Nanos,
    ) -> Self {
        let (audits, addresses) = (!load.audit.is_off(), load.addresses.all().len());
        Self {
            index,
            protocol,
            running: Running::new(None, Act::Rest),
            acting: Acting::Resting,
            finished: false,
            connections: Connections::new(index as u64, &load, P::ENDS_AGREED),
            traffic: Traffic::new(load.schedule(index as u64)),
            books: Books::new(&stages::<P>(&load), load.first_echo, audits, addresses),
            reports: Reports::new(reports, started),
            load,
        }
    }

    // ---- Phases ---------------------------------------------------------------------------------

    /// A phase begins, or the end.
    fn begin<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        number: Option<u16>,
        act: Act,
        at: Nanos,
    ) {
        // The run may be cut short in the middle of a phase.
        if self.running.act == Act::Traffic && !self.running.done {
            self.end_traffic(core);
        }
        self.end_phase();
        self.running = Running::new(number, act);
        if !self.running.expects.opening {
            self.abandon_opening(core);
            self.drop_owed();
        }
        self.traffic.pings.on &= self.running.expects.pings;
        self.traffic.next_round.clear();
        self.acting = Acting::begin(act, at, self, core);
    }

    /// What was recorded up to now was in the phase that is over.
    fn end_phase(&mut self) {
        if let Some(number) = self.running.number.filter(|_| !self.reports.ended) {
            self.books.end_phase(number);
        }
    }

    /// The phase has come to its end: say so, once, behind the counts.
    fn finish_phase<N: Network>(&mut self, core: &Table<N, P>) {
        let Some(phase) = self.running.number.filter(|_| !self.running.done) else { return };
        self.running.done = true;
        self.traffic.pings.on |= self.running.expects.pings;
        let at = core.now();
        if self.running.act == Act::Traffic {
            self.end_traffic(core);
        }
        self.report_second(at.0 / SECOND, false);
        if self.running.act == Act::Leave {
            self.report_final(core);
        }
        self.reports.send(Report::Done { reactor: self.index, phase, at });
    }

    // ---- Replies --------------------------------------------------------------------------------

    /// Replies have come: the closed model goes on by them, and so does the round of first echoes.
    #[inline]
    fn answered<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, replies: u32, now: Nanos) {
        match (self.running.act, self.load.model) {
            (Act::Traffic, Model::Closed(_)) if now < self.traffic.started + self.load.duration => {
                self.traffic.next_round.push((key, replies));
                if self.traffic.next_round.len() == NEXT_ROUND {
                    self.send_next_round(core);
                }
            }
            (Act::FirstEcho, _) => {
                self.act(core);
            }
            _ => {}
        }
    }

    /// Something else than replies, or something beside them, was received.
    #[cold]
    fn handle_received<N: Network>(
        &mut self,
        core: &mut Table<N, P>,
        key: Key,
        received: Received,
        now: Nanos,
    ) {
        if let Some(asked) = received.opened {
            self.upgraded(core, key, asked, now);
        }
        if let Some(asked) = received.pong {
            self.books.recorder.record(Stage::Ping, now - asked);
        }
        let sent = if received.answers { core.send(key, self.protocol.answers()) } else { Ok(()) };
        if let Some(end) = received.end {
            return self.end(core, key, end, sent.is_ok());
        }
        if let Err(failure) = sent {
            return self.lose(core, key, failure);
        }
        if let Some(asked) = received.left {
            self.connections.leaving.answered();
            self.books.recorder.record(Stage::Close, now - asked);
        }
        if received.replies > 0 {
            self.answered(core, key, received.replies, now);
        }
    }
}

/// The stages that occur in a run.
fn stages<P: Protocol>(load: &Load) -> Vec<Stage> {
    let mut stages = vec![Stage::Connect, Stage::Service];
    if load.first_echo {
        stages.push(Stage::FirstEcho);
    }
    if matches!(load.model, Model::Open(_)) {
        stages.extend([Stage::Response, Stage::SendLag]);
    }
    if !load.audit.is_off() {
        stages.extend([Stage::Outside, Stage::ReceiveLag]);
    }
    if load.tls {
        stages.extend([Stage::Tls, Stage::TlsWait, Stage::Handshake]);
    }
    let pings = load.ping.is_some();
    stages.extend(P::STAGES.iter().filter(|stage| pings || **stage != Stage::Ping));
    stages
}

impl<N: Network, P: Protocol> Driver<N> for LoadDriver<P> {
    type Session = Session<P>;
    type Command = Command;

    /// Two ends that wait for each other to read would stand still for ever.
    const PAUSE_READS_WHILE_BLOCKED: bool = false;

    fn admit(&mut self, _: &mut Table<N, P>, _: usize) -> Option<Session<P>> {
        None
    }

    fn on_open(&mut self, core: &mut Table<N, P>, key: Key) {
        self.connections.opening.count -= 1;
        self.connected(core, key);
    }

    #[inline]
    fn on_bytes(&mut self, core: &mut Table<N, P>, key: Key, read: Read<'_>) {
        let (now, Read { bytes, receipt }) = (core.now(), read);
        let Some(session) = core.session(key) else { return };
        let mut replies = self.books.replies(now, receipt, self.traffic.held_up());
        let received = self.protocol.receive(&mut session.spoken, bytes, now, |times, content| {
            replies.enter(times, content);
        });
        replies.record_batch();
        if received.replies > 0 {
            session.since = now;
            self.books.answered(now);
        }
        if !received.is_plain() {
            return self.handle_received(core, key, received, now);
        }
        if received.replies > 0 {
            self.answered(core, key, received.replies, now);
        }
    }

    fn on_end(
        &mut self,
        core: &mut Table<N, P>,
        session: Session<P>,
        ending: Ending,
        marks: Marks,
    ) {
        self.ended(core, session, ending, marks);
    }

    fn on_command(&mut self, core: &mut Table<N, P>, command: Command) {
        match command {
            Command::Begin { phase, at } => {
                // The conductor goes by the same list.
                let Some(act) = self.load.phases.get(usize::from(phase)).map(|phase| phase.act)
                else {
                    return;
                };
                self.begin(core, Some(phase), act, at);
            }
            Command::Close => self.begin(core, None, Act::Close, core.now()),
            Command::Abort => {
                self.report_final(core);
                self.finished = true;
            }
        }
    }

    fn on_turn(&mut self, core: &mut Table<N, P>) -> Option<Nanos> {
        self.reports.flush();
        self.give_up_leaving(core);
        self.give_up_opening(core);
        let due = self.act(core);
        if self.running.act == Act::Close {
            return Some(due);
        }
        let pings = self.send_pings(core);
        let waiting = self.give_up_waiting(core).min(self.leaving_deadline());
        let now = core.turn_started();
        if let Some(second) = self.reports.second_ended(now) {
            // Everything since the last report belongs to it.
            self.report_second(second, true);
        }
        let reports = self.reports.deadline(now);
        Some(due.min(self.opening_deadline()).min(pings).min(waiting).min(reports))
    }

    fn is_finished(&self) -> bool {
        // Never with the last word unsaid.
        self.finished && self.reports.are_sent()
    }
}

#[cfg(test)]
pub(crate) mod rig;

#[cfg(test)]
mod drop_tests;

#[cfg(test)]
mod toy_tests;

#[cfg(test)]
#[path = "pair_tests.rs"]
mod tests;

#[cfg(test)]
mod alloc_tests;

#[cfg(test)]
mod address_tests;

#[cfg(test)]
mod audit_tests;

#[cfg(test)]
pub(crate) mod ws_tests;

#[cfg(test)]
pub(crate) mod http_tests;
