//! A run that no option makes yet, on the simulated network: half of the connections are dropped in
//! the middle of it, opened again, and carry traffic again.

use super::Conductor;
use super::crew_tests::{Serving, Simulated};
use crate::cli::{Cli, Command};
use crate::load::Load;
use crate::load::phases::{Act, Phase};
use crate::plan::Plan;
use clap::Parser;
use control::live::{Mode, Progress};
use host::facts::Facts;
use measure::Stage;
use std::sync::Arc;

/// The plan of a run to this target, with as many four-tuples as connections, and these phases.
fn plan(target: &str, phases: Vec<Phase>) -> Plan {
    let options = "-c 20 -r 600 -d 500ms --audit off --no-first-echo --seed 42 --reactors 2";
    let sources = "--source-ip 127.0.0.2 --source-ports 20000-20019";
    let line = format!("c1000k-client run {target} {options} {sources}");
    let Command::Run(args) = Cli::parse_from(line.split(' ')).command else { panic!("a run") };
    let plan = Plan::new(&args, &Facts::read()).expect("a plan");
    Plan { load: Arc::new(Load { phases, ..(*plan.load).clone() }), ..plan }
}

#[test]
fn half_is_dropped_and_opened_again_and_traffic_goes_on() {
    for target in ["tcp://127.0.0.1:9000", "ws://127.0.0.1:9000", "http://127.0.0.1:9000"] {
        let acts = [
            ("ramp", Act::Open),
            ("calm", Act::Traffic),
            ("storm", Act::Drop { each: 2 }),
            ("again", Act::Open),
            ("after", Act::Traffic),
            ("drain", Act::Leave),
        ];
        let plan = plan(target, acts.map(|(name, act)| Phase::new(name, act)).into());
        let crew = Simulated::of(&plan, Serving::default());
        let progress = Progress::new(Mode::detect(true));
        let measured = Conductor::new(&plan, crew, progress).measure();

        let counted: Vec<_> = measured
            .phases
            .iter()
            .map(|phase| {
                let totals = &phase.totals;
                let count = |stage| phase.recorder.stage(stage).map_or(0, |all| all.count());
                assert!(phase.from <= phase.to, "{}", phase.name);
                assert_eq!(count(Stage::Connect), totals.opened, "{target} {}", phase.name);
                assert_eq!(count(Stage::Response), totals.received, "{target} {}", phase.name);
                (phase.name, totals.opened, totals.ended, totals.received)
            })
            .collect();
        let planned = [
            ("ramp", 20, 0, 0),
            ("calm", 0, 0, 300),
            ("storm", 0, 10, 0),
            ("again", 10, 0, 0),
            ("after", 0, 0, 300),
            ("drain", 0, 0, 0),
        ];
        assert_eq!(counted, planned, "{target}");

        let sum = measured.totals;
        let recorded = |stage| measured.recorder.stage(stage).map(|histogram| histogram.count());
        assert_eq!(recorded(Stage::Connect), Some(30), "{target}");
        assert_eq!(recorded(Stage::Response), Some(600), "{target}");
        assert_eq!((sum.opened, sum.ended), (30, 10), "{target}");
        assert_eq!((sum.sent, sum.received), (600, 600), "{target}");
        assert_eq!((sum.failed, sum.lost, sum.mismatched, sum.open()), (0, 0, 0, 20), "{target}");
        assert!(sum.tuples_skipped > 0, "four-tuples were used again, but for those in use");
    }
}
