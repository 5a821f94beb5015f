//! The verdict on the server: did it keep up with what was asked of it? Pure rules over a result,
//! beside those on the generator; `docs/METHODOLOGY.md` gives the reasons for each.
//!
//! What has to hold for each word:
//!
//! - *kept up*: 99 % of the rate asked for was served within the planned time, or more;
//! - *fell behind*: less was, the backlog grew over most of that time, and the generator was not at
//!   its end;
//! - *served a share*: less was, for another reason: a stall near the end, a generator at its end,
//!   lost or busy connections.
//!
//! The backlog grew over most of the time if it never came back, from the middle of the planned
//! time on, to less than a quarter of what it was at the end, in that second half alone rose by a
//! quarter of that or more along its straight line (least squares), and was longer at the end than
//! ever in the first half, by a quarter: what a server that answers in blocks has on its way goes
//! up and down. So a stall that is caught up with is not *behind*, nor is a queue that has grown to
//! a length and keeps it, as a constant delay makes one. A stall is told by itself, and fails
//! nothing.
//!
//! The backlog is what is due and not answered. Where every connection is busy (HTTP), or peers
//! take nothing, a part of it waits at the client, and that may have two causes: a server at its
//! end, or so few connections that even an idle server could not answer more on them. A server at
//! its end keeps what it is asked waiting: so where more than half of the backlog waits at the
//! client, it fell behind only if the median of the service is three times its least or more. Else
//! more connections are what it takes, and the run misses its rate with words of its own.
//!
//! The closed model asks for no rate: it sends when replies come, so no server ever falls behind
//! it.

use super::{Model, Number, ResultFile, Warning, generator, less, noise};
use crate::figure::Unit;
use measure::units::{format_duration, format_grouped, format_rate};
use measure::{Nanos, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of the server under the load that was asked for (open model).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Server {
    /// Whether it fell behind: less than 99 % was served in time, and its backlog grew over most of
    /// the time, while the generator was not at its end. Such a run has the outcome `not_reached`.
    pub behind: bool,
    /// The time in which it answered nothing although much was on its way; null if there was none
    /// such.
    pub stalled: Option<Stall>,
}

/// A time without any answer, counted from the start of the traffic.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Stall {
    /// When the last answer before it came, from the start of the traffic.
    pub from_seconds: f64,
    /// When the first answer behind it came, likewise.
    pub to_seconds: f64,
    /// How long that was.
    pub longest_silence_ns: u64,
}

/// The numbers of this section that can be named.
pub(super) const NUMBERS: &[Number] = &[
    less("server.behind", Unit::Count, |r| Some(f64::from(r.server.as_ref()?.behind))),
    less("server.stalled.longest_silence_ns", Unit::Nanoseconds, |r| {
        Some(r.server.as_ref()?.stalled.map_or(0.0, |stall| stall.longest_silence_ns as f64))
    }),
];

/// The server fell behind in all of it if it did in a part: that part's times are in it. Its
/// longest stall is that of the part that had it, counted from that part's traffic.
pub(crate) fn merge(results: &[&ResultFile]) -> Option<Server> {
    let judged: Vec<_> = results.iter().filter_map(|result| result.server.as_ref()).collect();
    if judged.is_empty() {
        return None;
    }
    let stalls = judged.iter().filter_map(|server| server.stalled);
    Some(Server {
        behind: judged.iter().any(|server| server.behind),
        stalled: stalls.max_by_key(|stall| stall.longest_silence_ns),
    })
}

/// The share of what was asked that has to be served in time.
pub const SERVED: f64 = 0.99;

/// The backlog's least part, from the middle of the time on, of what it is at the end.
const NEVER_LESS: f64 = 0.25;

/// The part of it by which it has to rise along its line in the second half: all the time would be
/// a half.
const ROSE: f64 = 0.25;

/// How much longer it is at the end than it ever was in the first half: all the time would be
/// twice.
const OUTGREW: f64 = 1.25;

/// A server that keeps requests waiting takes so many times its least service, at the median.
const QUEUED: u64 = 3;

/// A server that is silent for so much of the planned time, up to its end, has not caught up.
const SILENT_AT_END: f64 = 0.25;

/// With fewer messages in its backlog than this a server's silence at the end is no evidence.
const OWED_AT_END: u64 = 10;

/// A silence shorter than this is no stall.
pub const SILENCE: Nanos = Nanos::from_millis(200);

/// A stall is so many times the median of the service: a server that always takes its time does not
/// stall. Of a silence that lasts to the end it is the least service that counts: the replies that
/// came after it are late themselves.
const MEDIANS: u64 = 5;

/// How the server fared, in three words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fared {
    /// It served what was asked.
    KeptUp,
    /// It fell behind.
    Behind,
    /// It served this share of what was asked, and that may not be its fault.
    Share(f64),
}

/// Judges a result whose generator has been judged: the verdict goes into its section `server`, and
/// what it says among the warnings.
pub fn fill(result: &mut ResultFile, silence: Option<(Nanos, Nanos)>) {
    if result.plan.model == Model::None || result.messages.sent == 0 {
        return;
    }
    let stalled = silence.and_then(|silence| stall(result, silence));
    let behind = is_behind(result, stalled);
    result.server = Some(Server { behind, stalled });
    result.run.warnings.extend(warnings(result));
}

/// Whether the server fell behind, by the rules above.
fn is_behind(result: &ResultFile, stalled: Option<Stall>) -> bool {
    let messages = &result.messages;
    let (Some(share), Some(at_end)) = (share(result), messages.backlog_at_end) else {
        return false;
    };
    let limited = !generator::reasons(result).is_empty();
    share < SERVED
        && !limited
        && (grew(&messages.backlog, at_end) || silent_at_end(result, stalled))
        && (waiting(result) <= at_end / 2 || queued(result))
}

/// Whether the server stood still for the last part of the time, so that nothing was caught up.
fn silent_at_end(result: &ResultFile, stalled: Option<Stall>) -> bool {
    let planned = result.messages.served_seconds;
    let still = stalled.is_some_and(|stall| {
        stall.to_seconds >= planned && stall.from_seconds <= (1.0 - SILENT_AT_END) * planned
    });
    let marks = &result.messages.backlog;
    let longest = marks[..marks.len() / 2].iter().max().map_or(0.0, |most| *most as f64);
    let at_end = result.messages.backlog_at_end.unwrap_or(0);
    still && at_end >= OWED_AT_END && at_end as f64 > OUTGREW * longest
}

/// How much of the backlog waited at the client in the end.
fn waiting(result: &ResultFile) -> u64 {
    result.messages.waiting.last().copied().unwrap_or(0)
}

/// Whether requests waited at the server: most took far longer than the quickest.
fn queued(result: &ResultFile) -> bool {
    let service = result.stages.get(Stage::Service).filter(|service| service.count > 0);
    service.is_some_and(|service| service.p50 >= service.min.saturating_mul(QUEUED))
}

/// Whether a backlog grew over most of the time. Without marks, as in merged repeats, there is
/// nothing to tell.
fn grew(marks: &[u64], at_end: u64) -> bool {
    let at_end = at_end as f64;
    let (earlier, later) = marks.split_at(marks.len() / 2);
    let longest = earlier.iter().max().map_or(0.0, |most| *most as f64);
    let Some((first, rest)) = later.split_first() else { return false };
    let least = later.iter().min().map_or(0.0, |least| *least as f64);
    let rises: Vec<f64> = rest.iter().map(|mark| *mark as f64 - *first as f64).collect();
    let rose = slope(&rises) * rises.len() as f64;
    at_end > OUTGREW * longest && least >= NEVER_LESS * at_end && rose >= ROSE * at_end
}

/// What a backlog grows by from one mark to the next, along the straight line of least squares; 0
/// of fewer than two marks. The first mark is one step behind the start, where nothing was on its
/// way.
#[must_use]
pub fn slope(marks: &[f64]) -> f64 {
    let count = marks.len() as f64 + 1.0;
    let x_mean = (count - 1.0) / 2.0;
    let y_mean = marks.iter().sum::<f64>() / count;
    let (mut xy, mut xx) = (x_mean * y_mean, x_mean * x_mean);
    for (index, mark) in marks.iter().enumerate() {
        let x = index as f64 + 1.0 - x_mean;
        xy += x * (mark - y_mean);
        xx += x * x;
    }
    if xx > 0.0 { xy / xx } else { 0.0 }
}

/// The share of the rate asked for that was served in time; `None` without such a rate, and in
/// files from before that was counted.
#[must_use]
pub fn share(result: &ResultFile) -> Option<f64> {
    let asked = result.messages.rate_planned.filter(|asked| *asked > 0.0)?;
    // Where messages come at random, what is asked is what the schedule gave.
    let planned = result.messages.planned.filter(|planned| *planned > 0);
    let served = result.messages.rate_served?;
    let seconds = result.messages.served_seconds;
    let asked = planned.map_or(asked, |planned| asked.min(planned as f64 / seconds.max(1e-9)));
    Some(served / asked)
}

/// How the server fared; `None` where nothing was asked at a rate, or it is not known.
#[must_use]
pub fn fared(result: &ResultFile) -> Option<Fared> {
    if result.server.as_ref().is_some_and(|server| server.behind) {
        return Some(Fared::Behind);
    }
    let share = share(result)?;
    Some(if share >= SERVED { Fared::KeptUp } else { Fared::Share(share) })
}

/// What share of what was asked was served, in words. Where replies came in time that did not bring
/// what was asked for, that they were late is not what is wrong.
#[must_use]
pub fn served_words(result: &ResultFile, share: f64) -> String {
    let unserved = result.messages.unserved;
    let percent = format!("{:.1} % of what was asked was served", 100.0 * share);
    match unserved {
        0 => format!("{percent} in time"),
        _ => format!("{percent}, {} replies said no", format_grouped(unserved)),
    }
}

/// The silence, if it was a stall.
fn stall(result: &ResultFile, (from, to): (Nanos, Nanos)) -> Option<Stall> {
    let to_the_end = to.as_secs_f64() >= result.messages.served_seconds;
    let usual = result
        .stages
        .get(Stage::Service)
        .map_or(0, |service| if to_the_end { service.min } else { service.p50 });
    let silence = to - from;
    if silence < SILENCE || silence.0 < usual.saturating_mul(MEDIANS) {
        return None;
    }
    Some(Stall {
        from_seconds: from.as_secs_f64(),
        to_seconds: to.as_secs_f64(),
        longest_silence_ns: silence.0,
    })
}

/// The sentence that tells how far a server fell behind.
#[must_use]
pub fn sentence(result: &ResultFile) -> String {
    let messages = &result.messages;
    // Merged repeats have no growth in common.
    let growth = messages.backlog_growth_per_second.filter(|growth| *growth > 0.0);
    format!(
        "served {} of {}; the backlog grew{} to {} messages",
        format_rate(messages.rate_served.unwrap_or_default()),
        format_rate(messages.rate_planned.unwrap_or_default()),
        growth.map_or_else(String::new, |growth| format!(" by {}", format_rate(growth))),
        format_grouped(messages.backlog_at_end.unwrap_or_default()),
    )
}

fn warnings(result: &ResultFile) -> Vec<Warning> {
    let Some(server) = &result.server else { return Vec::new() };
    let mut warnings = Vec::new();
    if server.behind {
        warnings.push(Warning::new(
            "server_behind",
            format!(
                "the server fell behind: {}{}",
                sentence(result),
                noise::others_line(result).map_or_else(String::new, |it| format!("; {it}")),
            ),
            "response times grow as long as that goes on, so they tell how long the run was: ask \
             for a rate \
             below what was served",
        ));
    }
    if let Some(Stall { from_seconds, to_seconds, longest_silence_ns }) = server.stalled {
        warnings.push(Warning::new(
            "stalled",
            format!(
                "the server answered nothing for {}, from {from_seconds:.2} s to {to_seconds:.2} \
                 s of the \
                 traffic, while messages were on their way",
                format_duration(Nanos(longest_silence_ns)),
            ),
            "look at what the server, or the machine, did at that time: the response times \
             contain it",
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::StageEntry;

    /// An open-model run of 10 s at 1,000/s whose backlog was this.
    fn run(served: u64, marks: Vec<u64>) -> ResultFile {
        let mut result = ResultFile::default();
        result.plan.model = Model::Open;
        result.connections.opened = 10;
        let messages = &mut result.messages;
        (messages.planned, messages.rate_planned) = (Some(10_000), Some(1_000.0));
        (messages.sent, messages.received) = (10_000, 10_000);
        (messages.served, messages.served_seconds) = (served, 10.0);
        messages.backlog_at_end = marks.last().copied();
        (messages.backlog, messages.backlog_step_seconds) = (marks, 10.0 / 60.0);
        result.fill_derived();
        result
    }

    fn line(from: u64, step: u64) -> Vec<u64> {
        (1..=60).map(|mark| from + mark * step).collect()
    }

    fn codes(result: &ResultFile) -> Vec<&str> {
        result.run.warnings.iter().map(|warning| warning.code.as_str()).collect()
    }

    #[test]
    fn a_backlog_that_grows_all_the_time_is_behind() {
        let mut result = run(7_000, line(0, 50));
        fill(&mut result, None);
        assert_eq!(fared(&result), Some(Fared::Behind));
        assert_eq!(codes(&result), ["server_behind"]);
        assert_eq!(
            result.run.warnings[0].text,
            "the server fell behind: served 700/s of 1k/s; the backlog grew by 300/s to 3,000 \
             messages"
        );
    }

    #[test]
    fn what_was_served_in_time_is_not_behind() {
        // A server that always holds 100 back, as by a delay.
        let mut result = run(9_900, vec![100; 60]);
        fill(&mut result, None);
        assert_eq!(fared(&result), Some(Fared::KeptUp));
        assert_eq!(codes(&result), [""; 0]);
        // And one that always holds back more than 1 % of it: late, but it keeps up from then on.
        let mut result = run(9_000, (1..=60).map(|mark: u64| mark.min(15) * 67).collect());
        fill(&mut result, None);
        assert_eq!(fared(&result), Some(Fared::Share(0.9)));
    }

    #[test]
    fn a_server_that_answers_in_blocks_is_not_behind_wherever_the_time_ends() {
        // 100 a second, answered each quarter of a second: up to 25 on their way, and a few at the
        // end.
        for (phase, tail) in [(0, 2), (7, 2), (14, 3)] {
            let mut marks: Vec<u64> = (1..=60).map(|mark| (mark + phase) % 15 * 25 / 15).collect();
            for (offset, mark) in marks[30..].iter_mut().enumerate() {
                *mark = (offset as u64 / 15 + 1).min(*mark + 1);
            }
            marks[59] = tail;
            let mut result = run(9_800, marks);
            fill(&mut result, None);
            assert_eq!(fared(&result), Some(Fared::Share(0.98)), "{phase}");
        }
    }

    #[test]
    fn a_stall_is_named_and_not_behind_wherever_it_was() {
        let stalled = |from: usize, to: usize, served| {
            let mut marks = vec![0; 60];
            for (index, mark) in marks.iter_mut().enumerate().take(to).skip(from) {
                *mark = (index - from + 1) as u64 * 166;
            }
            let mut result = run(served, marks);
            fill(&mut result, Some((Nanos::from_secs(1), Nanos::from_millis(1_400))));
            result
        };
        for (from, to, served) in [(3, 12, 10_000), (20, 55, 9_999), (50, 60, 8_400)] {
            let result = stalled(from, to, served);
            assert_ne!(fared(&result), Some(Fared::Behind), "{from} to {to}");
            assert_eq!(codes(&result), ["stalled"]);
            let stall = result.server.and_then(|server| server.stalled).expect("a stall");
            assert_eq!((stall.from_seconds, stall.to_seconds), (1.0, 1.4));
            assert_eq!(stall.longest_silence_ns, 400_000_000);
        }
        // A server that takes 100 ms for each reply does not stall when it is silent for 400 ms.
        let mut result = run(10_000, vec![0; 60]);
        let service = StageEntry { p50: 100_000_000, count: 9, ..Default::default() };
        result.stages.set(Stage::Service, Some(service));
        fill(&mut result, Some((Nanos::ZERO, Nanos::from_millis(400))));
        assert_eq!(codes(&result), [""; 0]);
    }

    #[test]
    fn a_server_that_stands_still_to_the_end_fell_behind_if_that_was_a_quarter_of_the_time() {
        let judged = |from: usize, to: Nanos, min, p50| {
            let mut marks = vec![3; 60];
            for (index, mark) in marks.iter_mut().enumerate().skip(from) {
                *mark = (index - from + 1) as u64 * 166;
            }
            let served = 10_000 - (60 - from as u64) * 166;
            let mut result = run(served, marks);
            let service = StageEntry { count: 9, min, p50, ..StageEntry::default() };
            result.stages.set(Stage::Service, Some(service));
            let seconds = result.messages.served_seconds;
            let began = Nanos((seconds * 1e9) as u64 / 60 * from as u64);
            fill(&mut result, Some((began, to)));
            (matches!(fared(&result), Some(Fared::Behind)), codes(&result).contains(&"stalled"))
        };
        let (ms, end) = (1_000_000, Nanos::from_secs(12));
        // Half of the replies are as late as the stall was long: the median knows of nothing else.
        assert_eq!(judged(40, end, ms, 4_000 * ms), (true, true));
        assert_eq!(judged(50, end, ms, ms), (false, true), "less than a quarter");
        assert_eq!(judged(40, Nanos::from_secs(9), ms, ms), (false, true), "not to the end");
        assert_eq!(judged(40, end, 4_000 * ms, 4_000 * ms), (false, false), "it is that slow");
    }

    #[test]
    fn busy_connections_are_the_servers_fault_only_if_it_keeps_them_waiting() {
        let judged = |waiting_share: u64, min, p50| {
            let mut result = run(7_000, line(0, 50));
            let waiting = result.messages.backlog.iter().map(|owed| owed * waiting_share / 100);
            result.messages.waiting = waiting.collect();
            let service = StageEntry { count: 9, min, p50, ..StageEntry::default() };
            result.stages.set(Stage::Service, Some(service));
            result.fill_derived();
            fill(&mut result, None);
            (fared(&result), result.messages.in_flight_max)
        };
        let share = Some(Fared::Share(0.7));
        assert_eq!(judged(90, 1_000_000, 2_900_000), (share, Some(300)), "too few connections");
        assert_eq!(judged(90, 1_000_000, 3_000_000), (Some(Fared::Behind), Some(300)));
        assert_eq!(judged(40, 1_000_000, 1_000_000), (Some(Fared::Behind), Some(1_800)));
    }

    #[test]
    fn replies_that_say_no_are_not_late() {
        let mut result = run(0, vec![0; 60]);
        assert_eq!(served_words(&result, 0.0), "0.0 % of what was asked was served in time");
        result.messages.unserved = 1_234;
        assert_eq!(
            served_words(&result, 0.0),
            "0.0 % of what was asked was served, 1,234 replies said no"
        );
    }

    #[test]
    fn a_generator_at_its_end_says_nothing_of_the_server() {
        let mut result = run(7_000, line(0, 50));
        result.generator = Some(crate::schema::Generator {
            limited: true,
            reasons: vec![Warning::default()],
            ..Default::default()
        });
        fill(&mut result, None);
        assert_eq!(fared(&result), Some(Fared::Share(0.7)));
    }

    #[test]
    fn without_a_rate_or_traffic_there_is_no_verdict() {
        let mut result = run(7_000, line(0, 50));
        result.messages.rate_planned = None;
        fill(&mut result, None);
        assert_eq!(fared(&result), None);
        assert!(!result.server.expect("traffic").behind);
        let mut idle = ResultFile::default();
        fill(&mut idle, Some((Nanos::ZERO, Nanos::from_secs(9))));
        assert_eq!(idle.server, None);
    }

    #[test]
    fn the_line_of_least_squares_is_that_of_the_marks() {
        let line: Vec<f64> = (1..=60).map(|mark| f64::from(mark) * 7.0).collect();
        assert!((slope(&line) - 7.0).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9 && slope(&[0.0; 60]).abs() < 1e-9);
    }
}
