//! How a run ended, and the doubts that a reader of its numbers should have: what the sections say
//! of it, together.

use crate::section::messages::rate_reached;
use crate::section::{DOUBTS, Doubts, Outcome, ResultFile, Warning};

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
    // Where each request has a connection of its own, the plan says how many may be open, not how
    // many.
    let few = connections.opened < connections.planned && !result.plan.has_churn();
    let short = few || connections.failed > 0 || connections.lost > 0;
    let behind = result.server.as_ref().is_some_and(|server| server.behind);
    if short || !echoed || wrong || behind || !rate_reached(result) {
        Outcome::NotReached
    } else {
        Outcome::Done
    }
}

/// The doubts about a result, each with what to do about it. The walls that it met are the
/// doctor's.
#[must_use]
pub fn warnings(result: &ResultFile) -> Vec<Warning> {
    let mut doubts = Doubts::default();
    DOUBTS.iter().for_each(|of| of(result, &mut doubts));
    doubts.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Address, FirstEcho, Model};

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
                let late = crate::schema::StageEntry { p99: 2_000_000, ..Default::default() };
                r.stages.set(measure::Stage::SendLag, Some(late));
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
