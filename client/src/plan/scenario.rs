//! The phases of a run, by what its options ask for.

use crate::load::phases::{Act, Edge, Landmark, Phase};
use crate::load::{Load, Model};
use measure::Nanos;

/// How long accepting may lag behind opening before the first readings are taken.
const SETTLE: Nanos = Nanos::from_millis(300);

/// The phases, in their order.
pub(super) fn phases(load: &Load, hold: Nanos) -> Vec<Phase> {
    let settle = Phase::rest("settle", SETTLE);
    let mut phases =
        vec![Phase::new("ramp", Act::Open), Phase { behind: vec![Landmark::Opened], ..settle }];
    if load.first_echo {
        phases.push(Phase::new("first_echo", Act::FirstEcho));
    }
    if load.model == Model::Idle {
        if let Some(last) = phases.last_mut() {
            last.behind.extend([Landmark::TrafficFrom, Landmark::TrafficTo]);
        }
    } else {
        let audited = !load.audit.is_off();
        // Before the readings, so that what it costs is not among what the traffic does.
        let survey = |name, edge| audited.then(|| Phase::new(name, Act::Survey(edge)));
        phases.extend(survey("audit_before", Edge::Before));
        phases.push(Phase {
            before: vec![Landmark::TrafficFrom],
            behind: vec![Landmark::TrafficTo],
            ..Phase::new("drive", Act::Traffic)
        });
        phases.extend(survey("audit_behind", Edge::Behind));
    }
    if hold > Nanos::ZERO {
        phases.push(Phase::rest("hold", hold));
    }
    phases.push(Phase::new("drain", Act::Leave));
    phases
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use crate::load::phases::{Phase, Until};
    use crate::plan::Plan;
    use clap::Parser;
    use host::facts::Facts;
    use measure::units::format_duration;

    /// The order of the phases as text, a line a phase.
    fn order(options: &str) -> String {
        let line = format!("c1000k-client run {options} --source-ip 127.0.0.2");
        let Command::Run(args) = Cli::parse_from(line.split(' ')).command else {
            panic!("a run");
        };
        let plan = Plan::new(&args, &Facts::read()).expect("a plan");
        let line = |phase: &Phase| {
            let until = match phase.until {
                Until::Done => String::new(),
                Until::For(span) => format!(" for {}", format_duration(span)),
            };
            let readings = |of: &[_], word| match of {
                [] => String::new(),
                of => format!(", {word} it {of:?}"),
            };
            format!(
                "{}: {:?}{until}{}{}\n",
                phase.name,
                phase.act,
                readings(&phase.before, "before"),
                readings(&phase.behind, "behind")
            )
        };
        plan.load.phases.iter().map(line).collect()
    }

    const OPENING: &str = "ramp: Open\nsettle: Rest for 300 ms, behind it [Opened]\n";
    const DRIVE: &str = "drive: Traffic, before it [TrafficFrom], behind it [TrafficTo]\n";

    #[test]
    fn options_decide_which_phases_there_are_and_in_which_order() {
        let (tcp, ws, http) =
            ("tcp://127.0.0.1:9000", "ws://127.0.0.1:9000", "http://127.0.0.1:9000");
        let idle = "ramp: Open\nsettle: Rest for 300 ms, behind it [Opened]\n\
            first_echo: FirstEcho, behind it [TrafficFrom, TrafficTo]\n";
        for target in [tcp, ws, http] {
            assert_eq!(order(target), format!("{idle}drain: Leave\n"));
            assert_eq!(
                order(&format!("{target} --hold 2s")),
                format!("{idle}hold: Rest for 2 s\ndrain: Leave\n")
            );
            assert_eq!(
                order(&format!("{target} --no-first-echo")),
                "ramp: Open\nsettle: Rest for 300 ms, behind it [Opened, TrafficFrom, TrafficTo]\n\
                 drain: Leave\n"
            );
            for traffic in ["--rate 10", "--closed"] {
                assert_eq!(
                    order(&format!("{target} {traffic} --hold 1s")),
                    format!(
                        "{OPENING}first_echo: FirstEcho\naudit_before: Survey(Before)\n{DRIVE}\
                         audit_behind: Survey(Behind)\nhold: Rest for 1 s\ndrain: Leave\n"
                    )
                );
                assert_eq!(
                    order(&format!("{target} {traffic} --audit off")),
                    format!("{OPENING}first_echo: FirstEcho\n{DRIVE}drain: Leave\n")
                );
                assert_eq!(
                    order(&format!("{target} {traffic} --no-first-echo --audit off")),
                    format!("{OPENING}{DRIVE}drain: Leave\n")
                );
            }
        }
        // Where each request has a connection of its own, none stands before the traffic.
        for traffic in ["--rate 10", "--closed"] {
            assert_eq!(
                order(&format!("{http} {traffic} --close")),
                format!(
                    "{OPENING}audit_before: Survey(Before)\n{DRIVE}audit_behind: Survey(Behind)\n\
                     drain: Leave\n"
                )
            );
        }
    }
}
