//! The machines.

use super::{ResultFile, Warning};
use serde_json::Value;

/// The machine, if it is one and the same as far as its facts tell.
pub(crate) fn merge(results: &[&ResultFile], warnings: &mut Vec<Warning>) -> Value {
    let model = |result: &ResultFile| {
        ["cpu_model", "kernel_release", "cpus_allowed"].map(|key| result.host[key].clone())
    };
    if results.iter().all(|result| model(result) == model(results[0])) {
        return results[0].host.clone();
    }
    warnings.push(Warning::new(
        "merged_hosts",
        "the parts are of different machines, so the merged result has no machine",
        "look at its `machines` for theirs",
    ));
    Value::Null
}
