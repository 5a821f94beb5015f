//! `check`: what this machine lacks for a run, without the run.

use crate::cli::{CheckArgs, RunArgs};
use crate::plan::Plan;
use control::Error;
use host::facts::Facts;
use host::preflight;
use measure::units::format_grouped;

/// The findings of a plan, and how much of it fits: as text, as JSON, or the part that was asked for.
pub(crate) fn text(args: &CheckArgs, plan: &Plan, facts: &Facts) -> Result<String, Error> {
    if args.sysctl {
        return Ok(preflight::settings(&plan.findings));
    }
    if args.shell {
        return Ok(preflight::shell(&plan.findings));
    }
    let (fits, reason) = largest_that_fits(&args.run, facts);
    if args.fits {
        return Ok(format!("{fits}\t{reason}"));
    }
    if args.run.json {
        let value = serde_json::json!({
            "connections": plan.demand.connections,
            "fits": fits,
            "reason": reason,
            "findings": plan.findings,
        });
        return serde_json::to_string_pretty(&value).map_err(|e| Error::Failed(e.to_string()));
    }
    let table = preflight::table(&plan.findings);
    let mut text = format!("{}\n\n{table}", plan.describe().join("\n"));
    if fits < plan.demand.connections {
        text.push_str(&format!(
            "\nof {} connections only {reason}\n",
            format_grouped(plan.demand.connections)
        ));
    }
    Ok(text)
}

/// How many connections fit with these options. Fewer of them may be planned with fewer reactors and
/// source addresses, so each number is planned anew.
fn largest_that_fits(args: &RunArgs, facts: &Facts) -> (u64, String) {
    preflight::largest_unrefused(args.connections, |connections| {
        let plan = Plan::new(&RunArgs { connections, ..args.clone() }, facts);
        // Other options were found right before; only zero connections cannot be planned, and need
        // nothing.
        plan.map_or_else(|_| Vec::new(), |plan| plan.findings)
    })
}
