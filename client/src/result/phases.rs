//! The run phase by phase: when each was, what was counted and recorded in it.

use super::stages_of;
use crate::books::totals::Totals;
use crate::conductor::PhaseRecord;
use report::schema;

/// The section.
pub(super) fn section(model: schema::Model, phases: Vec<PhaseRecord>) -> Vec<schema::Phase> {
    let of = |mut phase: PhaseRecord| schema::Phase {
        name: phase.name.to_owned(),
        act: phase.act.name().to_owned(),
        from_seconds: phase.from.as_secs_f64(),
        to_seconds: phase.to.as_secs_f64(),
        totals: totals_of(&phase.totals),
        stages: stages_of(model, &mut phase.recorder),
    };
    phases.into_iter().map(of).collect()
}

fn totals_of(counted: &Totals) -> schema::PhaseTotals {
    schema::PhaseTotals {
        opened: counted.opened,
        failed: counted.failed,
        lost: counted.lost,
        ended: counted.ended,
        replaced: counted.replaced,
        sent: counted.sent + counted.first_sent,
        received: counted.received + counted.first_received,
        unserved: counted.unserved + counted.first_unserved,
        unanswered: counted.unanswered,
        mismatched: counted.mismatched,
        failures: counted.failures.into(),
    }
}
