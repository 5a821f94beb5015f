//! The doctor at work: keeps the first look at both ends, compares it with those between the phases
//! and in a ramp that stalls, and remembers every wall that was named.

use crate::books::totals::Totals;
use crate::plan::Plan;
use host::doctor::{Counters, Evidence, Server, Span, Wall, diagnose};
use measure::Nanos;
use report::schema::Warning;
use serde_json::Value;

/// How long a ramp opens nothing before it is looked into. Reactors report once a second.
const STALLED_AFTER: Nanos = Nanos::from_millis(2_500);
/// And how long until the next look, if it still does not.
const LOOK_AGAIN: Nanos = Nanos::from_secs(10);

/// The walls that the doctor named, as the result carries them.
pub(crate) fn walls(found: &[Wall]) -> Vec<Warning> {
    let warning = |Wall { code, text, remedy }: &Wall| Warning {
        code: (*code).to_owned(),
        text: text.clone(),
        remedy: remedy.clone(),
    };
    found.iter().map(warning).collect()
}

/// Both ends at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    kernel: Counters,
    server: Option<Server>,
}

impl Look {
    /// This end as it is now, and what the server has said of itself.
    pub(crate) fn now(snapshot: Option<&Value>) -> Self {
        // Another program's snapshot says nothing that is known here.
        let server = snapshot.and_then(|snapshot| serde_json::from_value(snapshot.clone()).ok());
        Self { kernel: Counters::read(), server }
    }
}

/// What the doctor knows of a run.
#[derive(Debug)]
pub(crate) struct Doctor {
    first: Option<Look>,
    found: Vec<Wall>,
    same_host: bool,
    descriptors_limit: u64,
    sources: Vec<String>,
    targets: Vec<String>,
    stall: Stall,
}

impl Doctor {
    pub(crate) fn new(plan: &Plan) -> Self {
        let targets: Vec<_> = plan.load.addresses.all().iter().map(|address| address.at).collect();
        Self {
            first: None,
            found: Vec::new(),
            same_host: targets.iter().all(|at| host::address::is_local(at.ip()).is_ok()),
            descriptors_limit: host::table::descriptor_limit().soft,
            sources: plan.record.sources.clone(),
            targets: targets.iter().map(ToString::to_string).collect(),
            stall: Stall::new(plan.load.connect_rate),
        }
    }

    /// Compares a look with the first one, and returns the walls that are named for the first time.
    /// Those named before are brought up to date.
    pub(crate) fn examine(&mut self, look: Look, totals: &Totals, stalled: bool) -> Vec<Wall> {
        let Some(first) = &self.first else {
            self.first = Some(look);
            return Vec::new();
        };
        let walls = diagnose(&Evidence {
            here: Span { before: &first.kernel, after: &look.kernel },
            server: first
                .server
                .as_ref()
                .zip(look.server.as_ref())
                .map(|(before, after)| Span { before, after }),
            same_host: self.same_host,
            opened: totals.opened,
            failed: totals.failed,
            stalled,
            failures: totals.failures,
            descriptors_limit: self.descriptors_limit,
            sources: &self.sources,
            targets: &self.targets,
        });
        let mut new = Vec::new();
        for wall in walls {
            match self.found.iter_mut().find(|known| known.code == wall.code) {
                Some(known) => *known = wall,
                None => {
                    new.push(wall.clone());
                    self.found.push(wall);
                }
            }
        }
        new
    }

    /// Whether a ramp that has opened so many stands still for so long that it is time to look.
    pub(crate) fn is_due(&mut self, now: Nanos, opened: u64) -> bool {
        self.stall.is_due(now, opened)
    }

    /// All walls that were named.
    pub(crate) fn found(&self) -> &[Wall] {
        &self.found
    }
}

/// A ramp that opens nothing.
#[derive(Debug)]
struct Stall {
    /// How long it may take from one connection to the next.
    patience: Nanos,
    opened: u64,
    look_at: Nanos,
}

impl Stall {
    fn new(connect_rate: Option<f64>) -> Self {
        // A slow ramp as planned is no stall.
        let planned = connect_rate.map_or(0, |rate| (3e9 / rate) as u64);
        let patience = STALLED_AFTER.max(Nanos(planned));
        Self { patience, opened: 0, look_at: Nanos::ZERO }
    }

    fn is_due(&mut self, now: Nanos, opened: u64) -> bool {
        if self.look_at == Nanos::ZERO || opened != self.opened {
            (self.opened, self.look_at) = (opened, now + self.patience);
        }
        let due = now >= self.look_at;
        if due {
            self.look_at = now + self.patience.max(LOOK_AGAIN);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::Failure;

    fn doctor() -> Doctor {
        Doctor {
            first: None,
            found: Vec::new(),
            same_host: true,
            descriptors_limit: 100,
            sources: vec!["127.0.0.9".to_owned()],
            targets: vec!["127.0.0.1:9000".to_owned()],
            stall: Stall::new(None),
        }
    }

    #[test]
    fn a_wall_is_named_once_and_kept_up_to_date() {
        let mut doctor = doctor();
        let mut totals = Totals { opened: 5, failed: 90, ..Totals::default() };
        totals.failures[Failure::NoPorts as usize] = 90;
        assert_eq!(doctor.examine(Look::default(), &totals, false), [], "nothing to compare with");
        let named = doctor.examine(Look::default(), &totals, false);
        assert_eq!(named.len(), 1, "{named:?}");
        assert_eq!(named[0].code, "no_ports");
        totals.failures[Failure::NoPorts as usize] = 95;
        assert_eq!(doctor.examine(Look::default(), &totals, false), []);
        assert!(doctor.found()[0].text.ends_with("95 connections were not opened"));
    }

    #[test]
    fn a_stall_is_looked_into_when_it_lasts() {
        let at = Nanos::from_millis;
        let mut stall = Stall::new(None);
        assert!(!stall.is_due(at(100), 0));
        assert!(!stall.is_due(at(2_000), 10), "it goes on");
        assert!(!stall.is_due(at(4_400), 10));
        assert!(stall.is_due(at(4_500), 10));
        assert!(!stall.is_due(at(6_000), 10), "it was just looked into");
        assert!(stall.is_due(at(14_500), 10));
        let mut slow = Stall::new(Some(0.5));
        assert!(!slow.is_due(at(100), 0) && !slow.is_due(at(6_000), 0), "one in two seconds");
        assert!(slow.is_due(at(6_200), 0));
    }

    #[test]
    fn what_a_server_says_is_taken_as_far_as_it_is_known() {
        let ours = serde_json::json!({
            "backlog": 128, "somaxconn": 128, "kernel": {"listen_overflows": 7}, "reactors": []
        });
        let look = Look::now(Some(&ours));
        let server = look.server.expect("a server");
        assert_eq!((server.backlog, server.kernel.expect("counters").listen_overflows), (128, 7));
        assert_eq!(Look::now(Some(&serde_json::json!("hello"))).server, None);
        assert_eq!(Look::now(None).server, None);
    }
}
