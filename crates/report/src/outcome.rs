//! How a run can end: the outcome, the exit code, and the doubts that a reader of its numbers should
//! have.

use crate::schema::{Model, Outcome, Warning};
use crate::statuses::Expected;
use crate::{ResultFile, generator, text};
use measure::units::{format_duration, format_grouped, format_rate};
use measure::{Nanos, Stage};

/// Rates within this share of what was asked count as reached.
const RATE_TOLERANCE: f64 = 0.01;
/// And so does a generator that was late by no more than this: one pause of a busy machine.
const LATE_SECONDS: f64 = 0.05;

/// How the run ended, by what it reached. `interrupted`: somebody stopped it.
#[must_use]
pub fn outcome(result: &ResultFile, interrupted: bool) -> Outcome {
    let connections = &result.connections;
    if interrupted {
        return Outcome::Interrupted;
    }
    if connections.opened == 0 {
        return Outcome::Failed;
    }
    let first = result.messages.first_echo.as_ref();
    let echoed = first.is_none_or(|round| round.received - round.unserved == round.planned);
    let wrong = result.messages.mismatched > 0;
    // Where each request has a connection of its own, the plan says how many may be open, not how many.
    let few = connections.opened < connections.planned && !has_churn(result);
    let short = few || connections.failed > 0 || connections.lost > 0;
    let behind = result.server.as_ref().is_some_and(|server| server.behind);
    if short || !echoed || wrong || behind || !rate_reached(result) {
        Outcome::NotReached
    } else {
        Outcome::Done
    }
}

fn has_churn(result: &ResultFile) -> bool {
    result.plan.http.as_ref().is_some_and(|http| http.close)
}

/// Whether the traffic was what was planned: nearly all served, and nearly at the rate asked for.
fn rate_reached(result: &ResultFile) -> bool {
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

/// Whether half of the connections or more went in the middle of the traffic: then that is why it is not
/// what was planned, however busy the client was with the rest.
fn lost_most(result: &ResultFile) -> bool {
    let connections = &result.connections;
    connections.lost > 0 && connections.lost.saturating_mul(2) >= connections.opened
}

/// The exit code that goes with an outcome when the thresholds have spoken.
#[must_use]
pub fn exit_code(outcome: Outcome, thresholds_ok: bool) -> u8 {
    match outcome {
        Outcome::Interrupted => 130,
        Outcome::Failed => 1,
        _ if !thresholds_ok => 4,
        Outcome::NotReached => 6,
        Outcome::Done => 0,
    }
}

/// The doubts about a result, each with what to do about it. The walls that it met are the doctor's.
#[must_use]
pub fn warnings(result: &ResultFile) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut doubt = |code: &str, text: String, remedy: &str| {
        let (code, remedy) = (code.to_owned(), remedy.to_owned());
        warnings.push(Warning { code, text, remedy });
    };
    let (plan, connections) = (&result.plan, &result.connections);
    if connections.lost > 0 {
        doubt(
            "lost",
            format!(
                "{} of {} connections were lost before the end",
                format_grouped(connections.lost),
                format_grouped(connections.opened)
            ),
            "look at the failures by kind, and at the server's log of the same time",
        );
    }
    if plan.spread_addresses && connections.opened > 0 {
        let down: Vec<_> = plan.addresses.iter().filter(|it| it.took_none()).collect();
        if !down.is_empty() {
            let each = down.iter().map(|it| it.address.as_str()).collect::<Vec<_>>().join(" ");
            doubt(
                "address_down",
                format!("{each} took no connection; the shares went to the other addresses"),
                "look at the server there, or take the address out of the name",
            );
        }
    }
    let first = result.messages.first_echo.as_ref();
    if first.is_some_and(|round| round.sent > 0 && round.received == 0) && !spoke(result) {
        doubt(
            "silent",
            "the server takes connections and never answered a message".to_owned(),
            "make sure that it speaks this protocol; --no-first-echo only opens and holds",
        );
    }
    if result.messages.unasked > 0 {
        doubt("unasked", unasked(result), unasked_remedy(result));
    }
    if !result.close_codes.is_empty() {
        doubt(
            "closed_by_server",
            text::close_codes(result).replace('\n', "; "),
            "the server took leave of connections that the run still needed: its codes and reasons say why",
        );
    }
    if result.messages.mismatched > 0 {
        doubt(
            "mismatched",
            format!(
                "{} replies were not what had been sent",
                format_grouped(result.messages.mismatched)
            ),
            "make sure that the target is an echo server for this protocol",
        );
    }
    if result.plan.http.is_some() {
        response_doubts(result, &mut doubt);
    } else if !result.http_statuses.is_empty() {
        let each = statuses(result, |_| true);
        let text = format!("handshakes were answered by something else than an upgrade: {each}");
        doubt("http_status", text, status_remedy(result));
    }
    if !result.violations.is_empty() {
        let remedy = match result.plan.http {
            Some(_) => "the server, or something on the way to it, does not keep to the protocol",
            None => {
                "the server, or something on the way to it, does not keep to the protocol; where it \
                 answers something else than it gets, --match order takes that"
            }
        };
        doubt("violations", violations(result), remedy);
    }
    if let (true, Some(left)) = (connections.open_at_end > 0, left(result)) {
        let missing = connections.open_at_end.saturating_sub(left);
        if missing > 0 && result.run.outcome != Outcome::Interrupted {
            doubt(
                "not_closed",
                format!(
                    "{} connections had no answer to their close frame",
                    format_grouped(missing)
                ),
                "the server does not finish the closing handshake (RFC 6455 5.5.1), or not in time",
            );
        }
    }
    if plan.model != Model::None && connections.opened > 0 {
        traffic_doubts(result, &mut doubt);
    }
    let cores = plan.cores.len().max(1) as u64;
    let opening = plan.openers_per_core.min(plan.reactors.div_ceil(cores));
    if opening > 1 && connections.opened > 0 {
        doubt(
            "crowded_ramp",
            format!("{opening} reactors of one core opened connections at the same time"),
            "connect times contain the run queue; --openers-per-core 1 keeps them true",
        );
    }
    let clipped: u64 = result.stages.iter().map(|(_, entry)| entry.clipped).sum();
    if clipped > 0 {
        doubt(
            "clipped",
            format!("{} latencies were above 73 minutes", format_grouped(clipped)),
            "they count as the highest value; the maximum is exact",
        );
    }
    warnings
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
fn unasked(result: &ResultFile) -> String {
    let messages = &result.messages;
    let first = messages.unasked_first.as_deref().unwrap_or_default();
    format!(
        "{} ({}) came from the server that were the reply to nothing, and were passed over; the first \
         begins \"{first}\"",
        counted(messages.unasked, "message"),
        counted(messages.unasked_bytes, "byte"),
    )
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", format_grouped(count), if count == 1 { "" } else { "s" })
}

fn unasked_remedy(result: &ResultFile) -> &'static str {
    let (messages, first) = (&result.messages, result.messages.first_echo.as_ref());
    let answered = messages.received + first.map_or(0, |round| round.received);
    let unanswered = messages.lost + first.map_or(0, |round| round.sent - round.received);
    match (unanswered > 0, result.plan.websocket.is_some()) {
        (false, _) => "greetings and pushes are no fault; --strict takes them for one",
        (true, true) if answered == 0 => {
            "no message was answered by itself: if these are the answers, the server spoils what it \
             sends back, or answers something else (--match order takes that)"
        }
        (true, true) => {
            "messages were not answered: if these are their answers, the server spoils some of what it \
             sends back, or answers something else (--match order takes that)"
        }
        (true, false) => {
            "messages were not answered: if these are their answers, the target is no echo server"
        }
    }
}

/// Whether requests that were due had to wait for a connection that could take them (HTTP).
fn busy_connections(result: &ResultFile) -> bool {
    let waited = result.limits_reached.get("pace_blocked").is_some_and(|count| *count > 0);
    waited && result.plan.http.is_some() && result.plan.model == Model::Open
}

/// Connections that ended by a closing handshake; `None` where the protocol has none.
fn left(result: &ResultFile) -> Option<u64> {
    result.plan.websocket.as_ref()?;
    Some(result.stages.get(Stage::Close).map_or(0, |close| close.count))
}

/// How many were answered with which of these statuses.
fn statuses(result: &ResultFile, these: impl Fn(&str) -> bool) -> String {
    let each = result.http_statuses.iter().filter(|(status, _)| these(status));
    let each: Vec<_> = each
        .map(|(status, count)| format!("{} with status {status}", format_grouped(*count)))
        .collect();
    each.join(", ")
}

/// The doubts that only HTTP has.
fn response_doubts(result: &ResultFile, doubt: &mut impl FnMut(&str, String, &str)) {
    let expected = result.plan.http.as_ref().map(Expected::of).unwrap_or_default();
    let served = |status: &str| status.parse().is_ok_and(|code| expected.has(code));
    let unserved = statuses(result, |status| !served(status));
    if !unserved.is_empty() {
        doubt(
            "http_status",
            format!("requests were answered, and not served: {unserved}"),
            "look at the paths, and at the server's log; --expect says which statuses are meant to come, \
             --fail-if 'http.5xx>1%' makes too many of one a failure",
        );
    }
    // Who names redirects in --expect knows of them.
    let meant = |status: &str| expected != Expected::default() && served(status);
    let elsewhere = |status: &str| status.starts_with('3') && status != "304" && !meant(status);
    let elsewhere = statuses(result, elsewhere);
    if !elsewhere.is_empty() {
        doubt(
            "redirected",
            format!("requests were sent elsewhere: {elsewhere}"),
            "redirects are not followed: give the URL that the server names",
        );
    }
    // Of a server that keeps its connections waiting, more of them would wait.
    let behind = result.server.as_ref().is_some_and(|server| server.behind);
    if busy_connections(result) && !behind {
        doubt(
            "connections_busy",
            "requests that were due had to wait since all connections were busy".to_owned(),
            "their waiting counts in response and send lag: give more --connections",
        );
    }
}

fn status_remedy(result: &ResultFile) -> &'static str {
    let any = |range: std::ops::Range<&str>| {
        result.http_statuses.keys().any(|status| range.contains(&status.as_str()))
    };
    if any("300".."400") {
        "redirects are not followed: give the URL that the server names"
    } else if any("401".."402") || any("403".."404") {
        "give what the server wants to see: --header, --origin, --subprotocol"
    } else {
        "make sure that the path of the URL is one at which the server takes WebSockets"
    }
}

/// Rules that a warning shows.
const RULES_SHOWN: usize = 3;

/// The rules that were broken most, with their counts.
fn violations(result: &ResultFile) -> String {
    let mut rules: Vec<_> = result.violations.iter().collect();
    rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown = rules.iter().take(RULES_SHOWN);
    let shown: Vec<_> =
        shown.map(|(rule, count)| format!("{} times: {rule}", format_grouped(**count))).collect();
    let more = match rules.len().saturating_sub(RULES_SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more in the result file"),
    };
    format!("{}{more}", shown.join("; "))
}

fn traffic_doubts(result: &ResultFile, doubt: &mut impl FnMut(&str, String, &str)) {
    let (plan, messages) = (&result.plan, &result.messages);
    if plan.model == Model::Closed {
        doubt(
            "closed_model",
            "the closed model waits for replies, so it sends less while the server is slow".into(),
            "it is blind to what users feel then (coordinated omission): use --rate for latency",
        );
    }
    // Late by the generator's own fault is the verdict's to tell; HTTP has its own words for this one.
    let lag = result.stages.get(Stage::SendLag).map(|entry| Nanos(entry.p99));
    let blocked = result.limits_reached.get("pace_blocked").is_some_and(|count| *count > 0);
    let held_up = blocked && plan.http.is_none() && generator::reasons(result).is_empty();
    if let Some(lag) = lag.filter(|lag| held_up && *lag > generator::LATE) {
        doubt(
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
            doubt(
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
        doubt(
            "rate_not_reached",
            format!(
                "{} of {} messages were answered{asked}",
                format_grouped(messages.received),
                format_grouped(planned),
            ),
            match (generator::reasons(result).is_empty(), busy_connections(result)) {
                _ if lost_most(result) => {
                    "connections were lost, and what was on its way there, or was to leave on them, \
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Address, FirstEcho};

    fn reached() -> ResultFile {
        let mut result = ResultFile::default();
        result.plan.model = Model::Open;
        result.connections.planned = 10;
        result.connections.opened = 10;
        result.messages.planned = Some(100);
        result.messages.rate_planned = Some(10.0);
        result.messages.sent = 100;
        result.messages.received = 100;
        result.messages.seconds = 10.04;
        result.plan.duration_ns = 10_000_000_000;
        result.messages.first_echo =
            Some(FirstEcho { planned: 10, received: 10, ..FirstEcho::default() });
        result
    }

    fn codes(result: &ResultFile) -> Vec<String> {
        warnings(result).into_iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn a_run_is_done_only_if_all_was_reached() {
        assert_eq!(outcome(&reached(), false), Outcome::Done);
        assert_eq!(codes(&reached()), [""; 0]);
        assert_eq!(outcome(&reached(), true), Outcome::Interrupted);
        let spoil: [fn(&mut ResultFile); 6] = [
            |r| r.connections.opened = 9,
            |r| r.connections.lost = 1,
            |r| r.messages.received = 90,
            |r| r.messages.seconds = 11.0,
            |r| r.messages.mismatched = 1,
            |r| {
                r.messages.first_echo =
                    Some(FirstEcho { planned: 10, received: 9, ..FirstEcho::default() })
            },
        ];
        for spoil in spoil {
            let mut result = reached();
            spoil(&mut result);
            assert_eq!(outcome(&result, false), Outcome::NotReached, "{result:?}");
        }
        let mut nothing = reached();
        nothing.connections.opened = 0;
        assert_eq!(outcome(&nothing, false), Outcome::Failed);
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        use Outcome::{Done, Failed, Interrupted, NotReached};
        let ok = [Done, Failed, Interrupted, NotReached].map(|outcome| exit_code(outcome, true));
        assert_eq!(ok, [0, 1, 130, 6]);
        let missed =
            [Done, Failed, Interrupted, NotReached].map(|outcome| exit_code(outcome, false));
        assert_eq!(missed, [4, 1, 130, 4]);
    }

    #[test]
    fn each_doubt_has_its_cause() {
        type Spoil = fn(&mut ResultFile);
        let cause: [(&str, Spoil); 9] = [
            ("lost", |r| r.connections.lost = 1),
            ("mismatched", |r| r.messages.mismatched = 1),
            ("rate_not_reached", |r| r.messages.seconds = 20.0),
            ("not_served", |r| r.messages.unserved = 2),
            ("silent", |r| {
                // Nothing that it said stands beside it.
                r.plan.model = Model::None;
                (r.messages.planned, r.messages.sent, r.messages.received) = (None, 0, 0);
                r.messages.first_echo =
                    Some(FirstEcho { planned: 10, sent: 10, ..FirstEcho::default() });
            }),
            ("address_down", |r| {
                r.plan.spread_addresses = true;
                let took = |connected| Address { sources: 1, connected, ..Address::default() };
                let failures = [("refused".to_owned(), 5)].into();
                r.plan.addresses = vec![took(10), Address { failures, ..took(0) }];
            }),
            ("closed_model", |r| r.plan.model = Model::Closed),
            ("held_up", |r| {
                r.stages.send_lag =
                    Some(crate::schema::StageEntry { p99: 2_000_000, ..Default::default() });
                r.limits_reached.insert("pace_blocked".to_owned(), 1);
            }),
            ("crowded_ramp", |r| {
                (r.plan.reactors, r.plan.openers_per_core, r.plan.cores) = (8, 2, vec![0, 1]);
            }),
        ];
        for (code, spoil) in cause {
            let mut result = reached();
            spoil(&mut result);
            assert_eq!(codes(&result), [code]);
        }
    }

    #[test]
    fn a_rate_that_was_not_reached_is_laid_at_the_right_door() {
        let remedy = |busy_ratio: f64| {
            let mut result = reached();
            result.messages.seconds = 20.0;
            result.reactors = vec![crate::schema::Reactor { busy_ratio, ..Default::default() }];
            let warning = warnings(&result).pop().expect("the rate");
            assert_eq!(warning.code, "rate_not_reached");
            warning.remedy
        };
        assert!(remedy(0.3).contains("the server, or the way to it, is at its end"));
        assert!(remedy(0.99).contains("the client was at its end"));

        // Connections that are gone need nothing of the client, however busy it was.
        let mut gone = reached();
        (gone.connections.lost, gone.messages.received) = (5, 50);
        gone.reactors = vec![crate::schema::Reactor { busy_ratio: 0.99, ..Default::default() }];
        let warning = warnings(&gone).pop().expect("the rate");
        assert_eq!(warning.code, "rate_not_reached");
        assert!(warning.remedy.starts_with("connections were lost"), "{}", warning.remedy);
    }
}
