//! `check`: what this machine lacks for a run, without the run.

use crate::cli::{CheckArgs, RunArgs};
use crate::plan::Plan;
use control::Error;
use control::check::{Checked, Form};
use host::facts::Facts;

/// The findings of a plan, and how much of it fits: as text, as JSON, or the part that was asked
/// for.
pub(crate) fn text(args: &CheckArgs, plan: &Plan, facts: &Facts) -> Result<String, Error> {
    let checked = Checked {
        connections: plan.demand.connections,
        findings: &plan.findings,
        description: Some(&plan.describe()),
    };
    let form = Form::of(args.fits, args.run.json, args.shell, args.sysctl);
    // Fewer connections may be planned with fewer source addresses, too.
    checked.text(form, |connections| {
        let plan = Plan::new(&RunArgs { connections, ..args.run.clone() }, facts);
        // Other options were found right before; only zero connections cannot be planned, and need
        // nothing.
        plan.map_or_else(|_| Vec::new(), |plan| plan.findings)
    })
}
