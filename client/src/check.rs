//! `check`: what this machine lacks for a run, without the run.

use crate::outcome::Error;
use crate::plan::Plan;
use host::facts::Facts;
use host::preflight;
use measure::units::format_grouped;

/// The findings of a plan, and how much of it fits, as text or JSON.
pub(crate) fn text(plan: &Plan, facts: &Facts, json: bool) -> Result<String, Error> {
    let (fits, reason) = preflight::largest_that_fits(&plan.demand, facts);
    if json {
        let value = serde_json::json!({
            "connections": plan.demand.connections,
            "fits": fits,
            "reason": reason,
            "findings": plan.findings,
        });
        return serde_json::to_string_pretty(&value).map_err(|e| Error::Failed(e.to_string()));
    }
    let [what, takes] = plan.describe();
    let table = preflight::table(&plan.findings);
    let mut text = format!("{what}\n{takes}\n\n{table}");
    if fits < plan.demand.connections {
        text.push_str(&format!(
            "\n{} of {} connections would fit here: {reason}\n",
            format_grouped(fits),
            format_grouped(plan.demand.connections)
        ));
    }
    Ok(text)
}
