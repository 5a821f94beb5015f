//! The client's side of the loop: opens its share of the connections, sends what is due, verifies
//! and times what comes back, takes leave.
//!
//! What it does is an act of the phase that the run is in (`acts/`); the conductor begins each, the driver
//! says when it is done. A connection is `opening → open → leaving`, and while it is open its session counts
//! what is on its way; see `docs/LIFECYCLE.md`. What is spoken on it is the [`Protocol`]'s business.

mod acts;
mod ending;
mod opening;
mod sending;

use crate::books::audited::Audited;
use crate::books::backlog::Backlog;
use crate::books::causes::Causes;
use crate::books::effort::Effort;
use crate::books::recorder::Recorder;
use crate::books::send_windows::SendWindows;
use crate::books::totals::{Attempts, Totals};
use crate::load::addresses::Hands;
use crate::load::lanes::Places;
use crate::load::phases::Act;
use crate::load::schedule::Schedule;
use crate::load::{Load, Model};
use crate::orders::{Command, Final, Report, Second};
use crate::protocol::{Content, Heard, Owed, Protocol, Times};
use acts::{Acting, Running, Turn};
use crossbeam_channel::{Sender, TrySendError};
use ending::Leaving;
use measure::{IntervalHistogram, Nanos, Stage, share};
use opening::{Attempt, Opening};
use reactor::{
    Core, Driver, Ending, Key, Marks, Network, Read, Receipt, Sweep, System, slot_bytes,
};
use sending::{NEXT_ROUND, Pings};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;

/// What is kept for each connection.
#[derive(Debug)]
pub(crate) struct Session<P: Protocol> {
    spoken: P::Session,
    /// When what it waits for began: opening, or the wait for the next reply (since it was sent, or
    /// since the reply before it).
    since: Nanos,
}

// For a million connections: 40 MB over plain TCP, 72 MB over WebSocket, 64 MB over HTTP.
const _: () = assert!(slot_bytes::<System, Session<crate::protocol::Raw>>() == 40);
const _: () = assert!(slot_bytes::<System, Session<crate::protocol::WebSocket>>() == 72);
const _: () = assert!(slot_bytes::<System, Session<crate::protocol::Http>>() == 64);

/// What the loop keeps for a driver of this protocol.
type Table<N, P> = Core<N, Session<P>>;

/// The client's driver. It lives on one reactor.
#[derive(Debug)]
pub(crate) struct LoadDriver<P: Protocol> {
    index: usize,
    load: Arc<Load>,
    protocol: P,
    reports: Sender<Report>,
    /// Reports that found the channel full; never many, see `flush_reports`.
    unsent_reports: VecDeque<Report>,

    /// The phase, and how far its act is.
    running: Running,
    acting: Acting,
    finished: bool,

    // Connections.
    /// Whether four-tuples are handed out more than once.
    opens_again: bool,
    hands: Hands,
    /// What became of the attempts at each address.
    addresses: Vec<Attempts>,
    /// The attempt that each connection in the making is at; nothing where there is one address.
    attempts: HashMap<Key, Attempt>,
    /// Connections of this reactor's share, and how many were begun so far.
    share: u64,
    begun: u64,
    /// Their places in the order of all.
    places: Places,
    opening: Opening,

    // Traffic.
    sweep: Sweep,
    /// Slots that the round of first echoes has passed.
    greeted: usize,
    drive_started: Nanos,
    /// Messages of this reactor's part of the plan that are still to be sent.
    schedule: Schedule,
    /// How many were sent when.
    sends: SendWindows,
    /// How many wait for their replies.
    backlog: Backlog,
    /// The closed model: connections that were answered, and how often. Each answer lets one message
    /// leave; see [`sending::NEXT_ROUND`].
    next_round: Vec<(Key, u32)>,
    /// Messages that are to be sent once more: their connection came to its end before they were
    /// answered. Never more than connections may have on their way.
    again: VecDeque<Owed>,
    /// With a connection for each message: until when opening rests.
    rest_until: Nanos,
    /// Whether pings are sent.
    pinging: bool,
    pings: Pings,
    leaving: Leaving,

    // What was counted and recorded.
    /// What the audit brings; `None` without one.
    audited: Option<Box<Audited>>,
    /// Audited connections are stamped as they open.
    auditing: bool,
    totals: Totals,
    causes: Causes,
    /// Of this phase, and of those before it by their numbers.
    recorder: Recorder,
    by_phase: Vec<(u16, Recorder)>,
    response: IntervalHistogram,
    service: IntervalHistogram,
    send_lag: IntervalHistogram,
    open_peak: u64,
    next_second: u64,
    /// What the traffic asked of this thread, over the time in which messages were to be sent.
    effort: Effort,
    /// The send lag of each message, as far as no peer was in the way: zero for the others.
    own_lag: IntervalHistogram,
    /// Messages are late because peers took none, and what they held up is not caught up with yet.
    held_up: bool,
    last_sent_at: Nanos,
    last_reply_at: Nanos,
    started: Nanos,
    final_reported: bool,
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
        let share = share(load.connections, load.reactors, index as u64);
        Self {
            index,
            protocol,
            reports,
            unsent_reports: VecDeque::new(),
            running: Running::new(None, Act::Rest),
            acting: Acting::Resting,
            finished: false,
            opens_again: P::ENDS_AGREED || load.opens_again(),
            hands: Hands::new(&load.addresses, index as u64, load.reactors),
            addresses: vec![Attempts::default(); load.addresses.all().len()],
            attempts: HashMap::new(),
            share,
            begun: 0,
            places: load.lanes.places(index, load.connections),
            opening: Opening::default(),
            sweep: Sweep::for_limit(load.reply_timeout),
            greeted: 0,
            drive_started: Nanos::ZERO,
            schedule: load.schedule(index as u64),
            sends: SendWindows::default(),
            backlog: Backlog::default(),
            next_round: Vec::new(),
            again: VecDeque::new(),
            rest_until: Nanos::ZERO,
            pinging: false,
            pings: Pings::default(),
            leaving: Leaving::default(),
            audited: (!load.audit.is_off()).then(Box::default),
            auditing: false,
            totals: Totals::default(),
            causes: Causes::default(),
            recorder: Recorder::for_stages(&stages::<P>(&load)),
            by_phase: Vec::new(),
            response: IntervalHistogram::new(),
            service: IntervalHistogram::new(),
            send_lag: IntervalHistogram::new(),
            open_peak: 0,
            next_second: 1,
            effort: Effort::default(),
            own_lag: IntervalHistogram::new(),
            held_up: false,
            last_sent_at: Nanos::ZERO,
            last_reply_at: Nanos::ZERO,
            started,
            final_reported: false,
            load,
        }
    }

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
            self.note_drive_ended(core);
        }
        self.keep_recorded();
        self.running = Running::new(number, act);
        if !self.running.expects.opening {
            self.abandon_opening(core);
            self.drop_owed();
        }
        self.pinging &= self.running.expects.pings;
        self.next_round.clear();
        self.acting = Acting::begin(act, at, self, core);
    }

    /// What was recorded up to now was in the phase that is over.
    fn keep_recorded(&mut self) {
        if let Some(number) = self.running.number.filter(|_| !self.final_reported) {
            self.by_phase.push((number, self.recorder.take_recorded()));
        }
    }

    /// Traffic begins at this time.
    fn begin_traffic<N: Network>(&mut self, core: &mut Table<N, P>, at: Nanos) {
        self.drive_started = at;
        self.schedule = self.load.schedule(self.index as u64);
        core.times.clear();
        self.effort.begin();
        self.backlog.begin(at, self.load.duration);
        if matches!(self.load.model, Model::Open(_)) {
            self.sends = SendWindows::for_span(self.load.duration);
        }
    }

    /// The phase has come to its end: say so, once, behind the counts.
    fn finish_phase<N: Network>(&mut self, core: &Table<N, P>) {
        let Some(phase) = self.running.number.filter(|_| !self.running.done) else { return };
        self.running.done = true;
        self.pinging |= self.running.expects.pings;
        let at = core.now();
        if self.running.act == Act::Traffic {
            self.note_drive_ended(core);
        }
        self.report_second(at.0 / SECOND, false);
        if self.running.act == Act::Leave {
            self.report_final(core);
        }
        self.report(Report::Done { reactor: self.index, phase, at });
    }

    /// The traffic has come to its end, planned or not.
    fn note_drive_ended<N: Network>(&mut self, core: &Table<N, P>) {
        let time = core.now() - self.drive_started;
        self.effort.end_sending(time, &core.times);
        self.effort.end(time);
        let held_up = self.held_up.then_some(&self.schedule);
        self.backlog.end(core.now(), &self.totals, held_up);
    }

    /// Hands over all that was counted and recorded, once.
    fn report_final<N: Network>(&mut self, core: &Table<N, P>) {
        if self.final_reported {
            return;
        }
        self.keep_recorded();
        self.final_reported = true;
        for (_, part) in &self.by_phase {
            self.recorder.merge(part);
        }
        for (status, count) in self.protocol.statuses() {
            self.causes.answered_with(status, count);
        }
        self.totals.bytes_surplus = self.protocol.surplus();
        self.causes.unasked = self.protocol.unasked();
        self.causes.closes = self.protocol.closes();
        // What is still on its way will not be waited for.
        self.totals.unanswered += self.totals.in_flight();
        let mut audit = self.audited.take();
        if let Some(audit) = &mut audit {
            audit.clock_steps = core.wall_steps();
        }
        // Where the traffic never began, what was before it is no part of it.
        let began = self.drive_started > Nanos::ZERO;
        let since_drive = |at: Nanos| if began { at - self.drive_started } else { Nanos::ZERO };
        let last = Final {
            audit,
            totals: self.totals,
            addresses: self.addresses.clone(),
            causes: std::mem::take(&mut self.causes),
            recorder: std::mem::take(&mut self.recorder),
            by_phase: std::mem::take(&mut self.by_phase),
            sends: std::mem::take(&mut self.sends),
            backlog: std::mem::take(&mut self.backlog),
            counters: core.counters,
            limits_reached: self.protocol.limits_reached(),
            open_peak: self.open_peak,
            cpu: host::usage::thread_cpu_time(),
            drive_time: self.effort.time(),
            effort: self.effort.take(&core.times),
            own_lag: self.own_lag.clone(),
            last_sent: since_drive(self.last_sent_at),
            last_reply: since_drive(self.last_reply_at),
            uptime: core.now() - self.started,
        };
        self.report(Report::Final { reactor: self.index, last: Box::new(last) });
    }

    // ---- Reports ------------------------------------------------------------------------------

    /// Never waits: what does not fit into the channel goes with the next turn.
    fn report(&mut self, report: Report) {
        self.unsent_reports.push_back(report);
        self.flush_reports();
    }

    fn flush_reports(&mut self) {
        while let Some(report) = self.unsent_reports.pop_front() {
            match self.reports.try_send(report) {
                Ok(()) => {}
                Err(TrySendError::Full(report)) => return self.unsent_reports.push_front(report),
                // Nobody listens any more: the run is being abandoned.
                Err(TrySendError::Disconnected(_)) => self.unsent_reports.clear(),
            }
        }
    }

    fn report_second(&mut self, second: u64, whole: bool) {
        if self.final_reported {
            // The last word is spoken: what comes now is no part of the result.
            return;
        }
        if self.unsent_reports.iter().any(|report| matches!(report, Report::Second(_))) {
            // One waits already. The counts are running totals and the histogram goes on filling,
            // so the next report covers this second too.
            return;
        }
        let second = Second {
            reactor: self.index,
            second,
            whole,
            totals: self.totals,
            response: self.response.clone(),
            service: self.service.clone(),
            send_lag: self.send_lag.clone(),
        };
        self.response.clear();
        self.service.clear();
        self.send_lag.clear();
        self.report(Report::Second(Box::new(second)));
    }

    // ---- Replies ------------------------------------------------------------------------------

    /// The protocol, and where its replies are entered that were received at `receipt`.
    #[inline]
    fn books(&mut self, now: Nanos, receipt: Receipt) -> (&mut P, Books<'_>) {
        let Self { protocol, recorder, response, service, totals, load, audited, .. } = self;
        let audit = match receipt {
            Receipt::NotAudited => None,
            Receipt::Missing | Receipt::At(_) => audited.as_deref_mut(),
        };
        let (first_echo, alike) = (load.first_echo, Alike::default());
        let books =
            Books { recorder, response, service, totals, first_echo, now, alike, audit, receipt };
        (protocol, books)
    }

    /// Replies have come: the closed model goes on by them, and so does the round of first echoes.
    #[inline]
    fn answered<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, replies: u32, now: Nanos) {
        match (self.running.act, self.load.model) {
            (Act::Traffic, Model::Closed(_)) if now < self.drive_started + self.load.duration => {
                self.next_round.push((key, replies));
                if self.next_round.len() == NEXT_ROUND {
                    self.send_next_round(core);
                }
            }
            (Act::FirstEcho, _) if self.first_echo(core) == Turn::Done => self.finish_phase(core),
            _ => {}
        }
    }

    /// Something else than replies, or something beside them, was heard.
    #[cold]
    fn heed<N: Network>(&mut self, core: &mut Table<N, P>, key: Key, heard: Heard, now: Nanos) {
        if let Some(asked) = heard.opened {
            self.upgraded(core, key, asked, now);
        }
        if let Some(asked) = heard.pong {
            self.recorder.record(Stage::Ping, now - asked);
        }
        let sent = if heard.answers { core.send(key, self.protocol.answers()) } else { Ok(()) };
        if let Some(end) = heard.end {
            return self.end(core, key, end, sent.is_ok());
        }
        if let Err(failure) = sent {
            return self.lose(core, key, failure);
        }
        if let Some(asked) = heard.left {
            self.leaving.answered();
            self.recorder.record(Stage::Close, now - asked);
        }
        if heard.replies > 0 {
            self.answered(core, key, heard.replies, now);
        }
    }
}

/// Where a reply is entered.
struct Books<'a> {
    recorder: &'a mut Recorder,
    response: &'a mut IntervalHistogram,
    service: &'a mut IntervalHistogram,
    totals: &'a mut Totals,
    /// Whether the first message of a connection is counted apart.
    first_echo: bool,
    now: Nanos,
    alike: Alike,
    /// Where it goes besides, if its connection is audited, and when it was received.
    audit: Option<&'a mut Audited>,
    receipt: Receipt,
}

/// Replies in a row whose messages left together: they came with the same read, so they took equally
/// long and are recorded at once. With sixteen in flight that is nearly all of them.
#[derive(Default)]
struct Alike {
    intended: Nanos,
    sent: Nanos,
    count: u32,
}

impl Books<'_> {
    /// A reply is complete.
    #[inline]
    fn reply(&mut self, times: &Times, content: Option<Content>) {
        let Alike { intended, sent, count } = self.alike;
        let alike = count > 0 && intended == times.intended && sent == times.sent;
        if alike && !times.first && content.is_none() && self.audit.is_none() {
            self.alike.count += 1;
        } else {
            self.reply_of_its_own(times, content);
        }
    }

    /// One that is not just like the one before it.
    fn reply_of_its_own(&mut self, times: &Times, content: Option<Content>) {
        let Self { recorder, totals, now, audit, receipt, .. } = self;
        let unserved = u64::from(content.is_some_and(|content| !content.served));
        if times.first && self.first_echo {
            recorder.record(Stage::FirstEcho, *now - times.sent);
            totals.first_received += 1;
            totals.first_unserved += unserved;
            return;
        }
        if let Some(audit) = audit {
            audit.reply(recorder, times, *receipt, *now);
        }
        if let Some(content) = content {
            recorder.record(Stage::FirstByte, content.begun - times.sent);
            if let Some(class) = content.class {
                recorder.record(class, *now - times.intended);
            }
            totals.bytes_received += content.bytes;
            totals.unserved += unserved;
        }
        if self.alike.intended != times.intended || self.alike.sent != times.sent {
            self.settle();
            self.alike = Alike { intended: times.intended, sent: times.sent, count: 0 };
        }
        self.alike.count += 1;
    }

    /// Records what [`Books::reply`] has collected. To be called when all bytes of a read are taken.
    #[inline]
    fn settle(&mut self) {
        let Alike { intended, sent, count } = self.alike;
        if count == 0 {
            return;
        }
        self.alike.count = 0;
        let span = self.now - intended;
        self.recorder.record_many(Stage::Response, span, count);
        self.response.record_many(span.0, count);
        let span = self.now - sent;
        self.recorder.record_many(Stage::Service, span, count);
        self.service.record_many(span.0, count);
        self.totals.received += u64::from(count);
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
        self.opening.count -= 1;
        self.connected(core, key);
    }

    #[inline]
    fn on_bytes(&mut self, core: &mut Table<N, P>, key: Key, read: Read<'_>) {
        let (now, Read { bytes, receipt }) = (core.now(), read);
        let Some(session) = core.session(key) else { return };
        self.backlog.look(now, &self.totals, self.held_up.then_some(&self.schedule));
        let (protocol, mut books) = self.books(now, receipt);
        let heard = protocol.receive(&mut session.spoken, bytes, now, |times, content| {
            books.reply(times, content);
        });
        books.settle();
        if heard.replies > 0 {
            session.since = now;
            self.last_reply_at = now;
            self.backlog.answered(now, self.totals.in_flight());
        }
        if !heard.is_plain() {
            return self.heed(core, key, heard, now);
        }
        if heard.replies > 0 {
            self.answered(core, key, heard.replies, now);
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
        self.flush_reports();
        self.give_up_leaving(core);
        self.give_up_opening(core);
        let due = self.act(core);
        if self.running.act == Act::Close {
            return Some(due);
        }
        let pings = self.send_pings(core);
        let waiting = self.give_up_waiting(core).min(self.leaving_deadline());
        let now = core.turn_started();
        if now.0 >= self.next_second * SECOND {
            // Everything since the last report belongs to the second that has just ended.
            self.report_second(now.0 / SECOND - 1, true);
            self.next_second = now.0 / SECOND + 1;
        }
        let retry =
            if self.unsent_reports.is_empty() { Nanos::MAX } else { now + Nanos::from_millis(10) };
        let second = Nanos(self.next_second * SECOND);
        Some(due.min(self.opening_deadline()).min(pings).min(waiting).min(second).min(retry))
    }

    fn is_finished(&self) -> bool {
        // Never with the last word unsaid.
        self.finished && self.unsent_reports.is_empty()
    }
}

#[cfg(test)]
mod drop_tests;

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
