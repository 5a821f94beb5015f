//! What became of the messages of the traffic phase.

use super::parts::{Kind, known};
use super::server::slope;
use super::statuses::Expected;
use super::{
    Doubts, FirstEcho, Model, Number, Outcome, ResultFile, connections, first_echo, generator,
    less, more, whole,
};
use crate::figure::{Unit, ratio, saturating};
use crate::words::{counted, format_rate, percent, size};
use measure::units::{format_duration, format_grouped};
use measure::{Nanos, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the messages of the traffic phase; the first echoes are counted apart.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Messages {
    /// How many were to be sent; null in the closed model, which has no such number, and without
    /// traffic.
    pub planned: Option<u64>,
    /// How many were sent.
    pub sent: u64,
    /// How many replies came, each to its message; over HTTP whatever their status.
    pub received: u64,
    /// How many of those have a status that is not expected: none of `plan.http.expect` (HTTP).
    pub unserved: u64,
    /// How many were sent once more, since the server ended their connection before a byte of their
    /// response came (HTTP). Each counts once in what was sent.
    pub resent: u64,
    /// How many were sent and had no right reply in time.
    pub lost: u64,
    /// How many replies were not what had been sent, or belonged to no message; a message that got
    /// such a reply is among the lost.
    pub mismatched: u64,
    /// How many messages were the reply to nothing, and were passed over: greetings and pushes.
    /// Over `tcp://` all that came before the first reply of a connection is one.
    pub unasked: u64,
    /// Bytes in those.
    pub unasked_bytes: u64,
    /// The first 64 bytes of the first of them, escaped; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unasked_first: Option<String>,
    /// Payload bytes sent; over HTTP those of the requests' bodies.
    pub bytes_sent: u64,
    /// Payload bytes received; over HTTP those of the responses' bodies, without what frames them.
    pub bytes_received: u64,
    /// Bytes that came behind the last response of a connection; they mean nothing and were dropped
    /// (HTTP).
    pub bytes_surplus: u64,
    /// All bytes that came from the server, of whatever kind: heads, frames and halves of answers
    /// among them. Null in files from before these were counted.
    pub bytes_read: Option<u64>,
    /// How long messages were sent: the planned duration, or longer where the generator was late.
    pub seconds: f64,
    /// Messages per second that were asked for; null in the closed model and without traffic.
    pub rate_planned: Option<f64>,
    /// Replies received per second of that time: `received` / `seconds`. Derived.
    pub rate_achieved: f64,
    /// How many replies came within the planned time and brought what was asked for.
    pub served: u64,
    /// The planned time, also where no connection was left before its end; of a run that somebody
    /// ended, how much of it there was. 0 in files from before this was counted.
    pub served_seconds: f64,
    /// Those replies per second of that time, `served` / `served_seconds`: what the server served
    /// while it was asked. Null in files from before it was counted. Derived.
    pub rate_served: Option<f64>,
    /// How many messages waited for an answer at the end of the planned time: on their way, or held
    /// up by their peers. Those that the generator itself was late with are none of them: `sent`
    /// tells of these. Of merged repeats the most.
    pub backlog_at_end: Option<u64>,
    /// By how many messages a second that grew: the straight line of least squares through
    /// `backlog`. Derived.
    pub backlog_growth_per_second: Option<f64>,
    /// The most messages on their way at one of those marks, and at their ends where results were
    /// merged.
    pub in_flight_max: Option<u64>,
    /// The time from one mark of `backlog` to the next; 0 without any.
    pub backlog_step_seconds: f64,
    /// How many messages waited for an answer at 60 evenly spaced marks of the planned time, the
    /// last of them at its end: those on their way, and those of `waiting`. Empty in merged
    /// repeats, and fewer in a run that was cut short.
    pub backlog: Vec<u64>,
    /// How many of those waited at the client at each mark, since every connection was busy or its
    /// peer took nothing. Empty likewise, and in files from before these were counted.
    pub waiting: Vec<u64>,
    /// The round in which each connection echoes once; null if there was none.
    pub first_echo: Option<FirstEcho>,
}

impl Messages {
    pub(super) fn fill_derived(&mut self) {
        self.rate_achieved = ratio(self.received as f64, self.seconds);
        if self.served_seconds > 0.0 {
            self.rate_served = Some(ratio(self.served as f64, self.served_seconds));
        }
        if !self.backlog.is_empty() {
            let marks: Vec<f64> = self.backlog.iter().map(|mark| *mark as f64).collect();
            self.backlog_growth_per_second = Some(ratio(slope(&marks), self.backlog_step_seconds));
            let waiting = self.waiting.iter().chain(std::iter::repeat(&0));
            let in_flight = self.backlog.iter().zip(waiting);
            self.in_flight_max =
                in_flight.map(|(owed, waiting)| owed.saturating_sub(*waiting)).max();
        }
        if let Some(round) = &mut self.first_echo {
            round.rate_per_second = ratio(round.received as f64, round.seconds);
        }
    }
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    more("messages.planned", Unit::Count, |r| r.messages.planned.map(|n| n as f64)),
    more("messages.sent", Unit::Count, |r| Some(r.messages.sent as f64)),
    more("messages.received", Unit::Count, |r| Some(r.messages.received as f64)),
    less("messages.unserved", Unit::Count, |r| Some(r.messages.unserved as f64)),
    less("messages.resent", Unit::Count, |r| Some(r.messages.resent as f64)),
    less("messages.lost", Unit::Count, |r| Some(r.messages.lost as f64)),
    less("messages.mismatched", Unit::Count, |r| Some(r.messages.mismatched as f64)),
    less("messages.unasked", Unit::Count, |r| Some(r.messages.unasked as f64)),
    less("messages.unasked_bytes", Unit::Bytes, |r| Some(r.messages.unasked_bytes as f64)),
    more("messages.bytes_sent", Unit::Bytes, |r| Some(r.messages.bytes_sent as f64)),
    more("messages.bytes_received", Unit::Bytes, |r| Some(r.messages.bytes_received as f64)),
    less("messages.bytes_surplus", Unit::Bytes, |r| Some(r.messages.bytes_surplus as f64)),
    more("messages.bytes_read", Unit::Bytes, |r| r.messages.bytes_read.map(|bytes| bytes as f64)),
    more("messages.rate_planned", Unit::PerSecond, |r| r.messages.rate_planned),
    more("messages.rate_achieved", Unit::PerSecond, |r| Some(r.messages.rate_achieved)),
    more("messages.rate_served", Unit::PerSecond, |r| r.messages.rate_served),
    less("messages.backlog_at_end", Unit::Count, |r| whole(r.messages.backlog_at_end)),
    less("messages.backlog_growth_per_second", Unit::PerSecond, |r| {
        r.messages.backlog_growth_per_second
    }),
    less("messages.in_flight_max", Unit::Count, |r| whole(r.messages.in_flight_max)),
];

/// Those of all parts.
pub(crate) fn merge(results: &[&ResultFile], kind: Kind) -> Messages {
    let all = || results.iter().map(|result| &result.messages);
    let sum = |of: fn(&Messages) -> u64| saturating(all().map(of));
    let seconds = kind.time(all().map(|one| one.seconds));
    let received = sum(|one| one.received);
    let rate_planned = match kind {
        Kind::Shards => all().map(|one| one.rate_planned).sum(),
        Kind::Repeats => results[0].messages.rate_planned,
    };
    let mut merged = Messages {
        planned: known(all().map(|one| one.planned)),
        sent: sum(|one| one.sent),
        received,
        unserved: sum(|one| one.unserved),
        resent: sum(|one| one.resent),
        lost: sum(|one| one.lost),
        mismatched: sum(|one| one.mismatched),
        unasked: sum(|one| one.unasked),
        unasked_bytes: sum(|one| one.unasked_bytes),
        unasked_first: results.iter().find_map(|one| one.messages.unasked_first.clone()),
        bytes_sent: sum(|one| one.bytes_sent),
        bytes_received: sum(|one| one.bytes_received),
        bytes_surplus: sum(|one| one.bytes_surplus),
        bytes_read: known(all().map(|one| one.bytes_read)),
        seconds,
        rate_planned,
        served: sum(|one| one.served),
        served_seconds: match all().all(|one| one.rate_served.is_some()) {
            true => kind.time(all().map(|one| one.served_seconds)),
            // Not known of all.
            false => 0.0,
        },
        backlog_step_seconds: all().map(|one| one.backlog_step_seconds).fold(0.0, f64::max),
        backlog_at_end: kind.backlog(all().map(|one| one.backlog_at_end)),
        in_flight_max: kind.backlog(all().map(|one| one.in_flight_max)),
        backlog: marks(results, kind, |one| &one.backlog),
        waiting: marks(results, kind, |one| &one.waiting),
        first_echo: first_echo::merge(results, kind),
        // Derived.
        rate_achieved: 0.0,
        rate_served: None,
        backlog_growth_per_second: None,
    };
    merged.fill_derived();
    merged
}

/// The marks of shards added, as far as all of them have some: they began together, or nearly so.
/// Repeats have no marks in common.
fn marks(results: &[&ResultFile], kind: Kind, of: fn(&Messages) -> &Vec<u64>) -> Vec<u64> {
    let each = || results.iter().map(|result| of(&result.messages));
    match (kind, results) {
        (_, [one]) => of(&one.messages).clone(),
        (Kind::Repeats, _) => Vec::new(),
        (Kind::Shards, _) => {
            let count = each().map(Vec::len).min().unwrap_or(0);
            (0..count).map(|mark| saturating(each().map(|marks| marks[mark]))).collect()
        }
    }
}

/// What became of them, in words; nothing if none were sent or to be sent.
pub(crate) fn words(result: &ResultFile) -> String {
    let it = &result.messages;
    if it.sent == 0 && it.planned.is_none_or(|planned| planned == 0) {
        return String::new();
    }
    let asked = it.rate_planned.map_or_else(
        || ", as fast as replies come".to_owned(),
        |rate| {
            // A share of nothing is no share.
            let share = percent(ratio(it.rate_achieved, rate), 1);
            let share = if it.sent > 0 { format!(" ({share})") } else { String::new() };
            format!(" of {} asked{share}", format_rate(rate))
        },
    );
    let served = served(result).map_or_else(String::new, |served| format!("{served}\n"));
    let planned =
        it.planned.map_or_else(String::new, |planned| format!(" of {}", format_grouped(planned)));
    let (count, wrong) = match &result.plan.http {
        Some(http) => (it.unserved, Expected::of(http).others()),
        None => (it.mismatched, "mismatched".to_owned()),
    };
    let resent = match it.resent {
        0 => String::new(),
        count => format!("; {} sent once more", format_grouped(count)),
    };
    let unasked = match it.unasked {
        0 => String::new(),
        count => format!("; {} unasked ({})", format_grouped(count), size(it.unasked_bytes)),
    };
    format!(
        "{}{planned} sent, {} received, {} lost\n{served}{} achieved{asked}\n\
         {} {wrong}; {} out, {} in{resent}{unasked}",
        format_grouped(it.sent),
        format_grouped(it.received),
        format_grouped(it.lost),
        format_rate(it.rate_achieved),
        format_grouped(count),
        size(it.bytes_sent),
        size(it.bytes_received),
    )
}

/// What was served in time, where that is not what came in the end: where they differ by more than
/// 1 %.
pub(crate) fn served(result: &ResultFile) -> Option<String> {
    let it = &result.messages;
    let served = it.rate_served.filter(|_| it.rate_planned.is_some())?;
    if (served - it.rate_achieved).abs() <= 0.01 * it.rate_achieved {
        return None;
    }
    let share = it.rate_planned.map_or_else(String::new, |rate| {
        format!(" of {} asked ({})", format_rate(rate), percent(ratio(served, rate), 1))
    });
    let backlog = it.backlog_at_end.map_or_else(String::new, |count| {
        let growth = it.backlog_growth_per_second.filter(|growth| *growth >= 1.0);
        let growth =
            growth.map_or_else(String::new, |by| format!(", grown by {}", format_rate(by)));
        format!("; {} waited for an answer at the end{growth}", format_grouped(count))
    });
    Some(format!("{} served in time{share}{backlog}", format_rate(served)))
}

/// Rates within this share of what was asked count as reached.
const RATE_TOLERANCE: f64 = 0.01;

/// And so does a generator that was late by no more than this: one pause of a busy machine.
const LATE_SECONDS: f64 = 0.05;

/// Whether the traffic was what was planned: nearly all served, and nearly at the rate asked for.
pub(crate) fn rate_reached(result: &ResultFile) -> bool {
    let messages = &result.messages;
    // The closed model has no plan of its own: what it sent is what was to be answered.
    let planned = messages.planned.unwrap_or(messages.sent) as f64;
    let served = messages.received - messages.unserved;
    let answered = served as f64 >= planned * (1.0 - RATE_TOLERANCE);
    let nothing = result.plan.model == Model::Closed && messages.received == 0;
    answered && on_time(result) && !nothing
}

/// Whether what was planned was sent in the time that was planned for it.
fn on_time(result: &ResultFile) -> bool {
    let messages = &result.messages;
    let planned_seconds = Nanos(result.plan.duration_ns).as_secs_f64();
    messages.planned.is_none()
        || messages.seconds <= planned_seconds * (1.0 + RATE_TOLERANCE) + LATE_SECONDS
}

/// Whether the server said anything at all, be it not what was asked for.
fn spoke(result: &ResultFile) -> bool {
    let messages = &result.messages;
    messages.received > 0
        || messages.unasked > 0
        || messages.mismatched > 0
        || !result.violations.is_empty()
        || !result.http_statuses.is_empty()
        || !result.close_codes.is_empty()
}

/// How much came that was the reply to nothing.
fn unasked_text(result: &ResultFile) -> String {
    let messages = &result.messages;
    let first = messages.unasked_first.as_deref().unwrap_or_default();
    format!(
        "{} ({}) came from the server that were the reply to nothing, and were passed over; the \
         first \
         begins \"{first}\"",
        counted(messages.unasked, "message"),
        counted(messages.unasked_bytes, "byte"),
    )
}

fn unasked_remedy(result: &ResultFile) -> &'static str {
    let (messages, first) = (&result.messages, result.messages.first_echo.as_ref());
    let answered = messages.received + first.map_or(0, |round| round.received);
    let unanswered = messages.lost + first.map_or(0, |round| round.sent - round.received);
    match (unanswered > 0, result.plan.websocket.is_some()) {
        (false, _) => "greetings and pushes are no fault; --strict takes them for one",
        (true, true) if answered == 0 => {
            "no message was answered by itself: if these are the answers, the server spoils what \
             it \
             sends back, or answers something else (--match order takes that)"
        }
        (true, true) => {
            "messages were not answered: if these are their answers, the server spoils some of \
             what it \
             sends back, or answers something else (--match order takes that)"
        }
        (true, false) => {
            "messages were not answered: if these are their answers, the target is no echo server"
        }
    }
}

/// Whether requests that were due had to wait for a connection that could take them (HTTP).
pub(super) fn busy_connections(result: &ResultFile) -> bool {
    let waited = result.limits_reached.get("pace_blocked").is_some_and(|count| *count > 0);
    waited && result.plan.http.is_some() && result.plan.model == Model::Open
}

/// The doubts about the traffic.
pub(super) fn traffic(result: &ResultFile, doubts: &mut Doubts) {
    let (plan, messages) = (&result.plan, &result.messages);
    if plan.model == Model::None || result.connections.opened == 0 {
        return;
    }
    if plan.model == Model::Closed {
        doubts.add(
            "closed_model",
            "the closed model waits for replies, so it sends less while the server is slow",
            "it is blind to what users feel then (coordinated omission): use --rate for latency",
        );
    }
    // Late by the generator's own fault is the verdict's to tell; HTTP has its own words for this
    // one.
    let lag = result.stages.get(Stage::SendLag).map(|entry| Nanos(entry.p99));
    let blocked = result.limits_reached.get("pace_blocked").is_some_and(|count| *count > 0);
    let held_up = blocked && plan.http.is_none() && generator::reasons(result).is_empty();
    if let Some(lag) = lag.filter(|lag| held_up && *lag > generator::LATE) {
        doubts.add(
            "held_up",
            format!(
                "1 % of the messages left more than {} late, since their peers took no more",
                format_duration(lag)
            ),
            "the server does not read as fast as it is sent to: that wait is its own, and in the \
             response times",
        );
    }
    if !rate_reached(result) && result.run.outcome != Outcome::Interrupted {
        let asked = messages.rate_planned.map_or_else(String::new, |rate| {
            format!(
                ", at {} where {} was asked",
                format_rate(messages.rate_achieved),
                format_rate(rate)
            )
        });
        let planned = messages.planned.unwrap_or(messages.sent);
        if messages.received >= planned && messages.unserved > 0 && on_time(result) {
            let expected = plan.http.as_ref().map(Expected::of).unwrap_or_default();
            doubts.add(
                "not_served",
                format!(
                    "all {} requests were answered, but {} of them with a status that is {}",
                    format_grouped(messages.received),
                    format_grouped(messages.unserved),
                    expected.others(),
                ),
                "a request that is not served does not count as done (exit code 6)",
            );
            return;
        }
        doubts.add(
            "rate_not_reached",
            format!(
                "{} of {} messages were answered{asked}",
                format_grouped(messages.received),
                format_grouped(planned),
            ),
            match (generator::reasons(result).is_empty(), busy_connections(result)) {
                _ if connections::lost_most(result) => {
                    "connections were lost, and what was on its way there, or was to leave on \
                     them, \
                                 with them: see the failures by kind"
                }
                _ if result.server.as_ref().is_some_and(|server| server.behind) => {
                    "the server fell behind: ask for a rate below what it served"
                }
                (true, true) => {
                    "every connection was busy, and the client had time to spare: give more \
                                 --connections, if the server is to take them"
                }
                (true, false) => {
                    "the client had time to spare: the server, or the way to it, is at its end"
                }
                (false, _) => "the client was at its end: see what is said of the generator",
            },
        );
    }
}

/// The doubt about a server that never answers, or not to the end.
pub(super) fn silent(result: &ResultFile, doubts: &mut Doubts) {
    let first = result.messages.first_echo.as_ref();
    if first.is_none_or(|round| round.sent == 0 || round.received > 0) || spoke(result) {
        return;
    }
    let read = result.messages.bytes_read.filter(|bytes| *bytes > 0);
    if let Some(bytes) = read {
        doubts.add(
            "broken_off",
            format!("the server sent {}, and no answer to its end", size(bytes)),
            "look at what it does with the first message: its log, and the failures by kind, say \
             how it broke off",
        );
    } else {
        doubts.add(
            "silent",
            "the server takes connections and never answered a message",
            "make sure that it speaks this protocol; --no-first-echo only opens and holds",
        );
    }
}

/// The doubt about messages that were the reply to nothing.
pub(super) fn unasked(result: &ResultFile, doubts: &mut Doubts) {
    if result.messages.unasked > 0 {
        doubts.add("unasked", unasked_text(result), unasked_remedy(result));
    }
}

/// The doubt about replies that were not what had been sent.
pub(super) fn mismatched(result: &ResultFile, doubts: &mut Doubts) {
    let count = result.messages.mismatched;
    if count > 0 {
        doubts.add(
            "mismatched",
            format!("{} replies were not what had been sent", format_grouped(count)),
            "make sure that the target is an echo server for this protocol",
        );
    }
}
