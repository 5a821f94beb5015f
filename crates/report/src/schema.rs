//! The result of one run, as it lies in the file: version 1 of the schema. What it holds is in
//! `section`, a file for each of its sections; here it is described for other programs.

pub use crate::figure::ratio;
pub use crate::section::{
    Address, Arrivals, Audit, AuditParts, Balance, BalanceOf, CloseCode, Connections, Failures,
    FdTables, FirstEcho, Footprint, Generator, Http, Imbalance, Kernel, LatencyUnit, Machine,
    Matching, Messages, Model, Outcome, Pacing, Part, Phase, PhaseTotals, Plan, PlanTls, PortRange,
    Process, Reactor, Repeat, Resources, ResultFile, Run, SCHEMA, Second, Server, Spans, Spread,
    StageEntry, Stages, Stall, TcpInfo, TcpLook, ThresholdVerdict, Timeouts, Tls, Tool, Verdict,
    Warning, WebSocket, timestamp,
};

use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The JSON Schema (draft 2020-12) of what this version writes, with the meaning of every field.
#[must_use]
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<ResultFile>().to_value();
    schema["title"] = Value::from(SCHEMA);
    strip_defaults(&mut schema);
    schema
}

/// Defaults are for reading older files; in what is written every field is present.
fn strip_defaults(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove("default");
            members.values_mut().for_each(strip_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_defaults),
        _ => {}
    }
}
