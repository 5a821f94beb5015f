//! Results in other programs' formats.
//!
//! | format | what it is for |
//! |---|---|
//! | [`hgrm`] | one stage as percentiles, for the plotter of HdrHistogram |
//! | [`hlog`] | all stages as an interval log, for any HdrHistogram tool |
//! | [`csv`] | the time line, for spreadsheets and notebooks |
//! | [`prometheus`] | every figure, for a text-file collector or a push gateway |
//! | [`junit`] | the plan and the thresholds as test cases, for CI |

mod hdr;
mod junit;
mod metrics;

pub use hdr::{hgrm, hlog};
pub use junit::junit;
pub use metrics::prometheus;

use crate::hist::HistError;
use crate::section::ResultFile;
use measure::Stage;
use std::fmt::Write as _;

/// Why a result cannot be exported.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExportError {
    /// The stage that was asked for is not in it.
    #[error("nothing was measured in stage '{0}': this result has {1}")]
    NoStage(&'static str, String),
    /// No stage at all is in it.
    #[error("nothing was measured in this run")]
    NoStages,
    /// The run does not say when it was.
    #[error("the run's start '{0}' is not a date: an interval log needs one")]
    NoTime(String),
    /// A histogram is damaged.
    #[error("stage '{0}': {1}")]
    Histogram(String, HistError),
}

/// The stage that is exported where none is named: the response, or else the first that there is.
///
/// # Errors
/// If the stage that is named was not measured, or none was.
pub fn stage_or_default(result: &ResultFile, stage: Option<Stage>) -> Result<Stage, ExportError> {
    let names = result.stages.iter().map(|(name, _)| name);
    let measured: Vec<_> = names.filter_map(Stage::from_name).collect();
    let known = || measured.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(", ");
    match stage {
        _ if measured.is_empty() => Err(ExportError::NoStages),
        Some(stage) if measured.contains(&stage) => Ok(stage),
        Some(stage) => Err(ExportError::NoStage(stage.name(), known())),
        None if measured.contains(&Stage::Response) => Ok(Stage::Response),
        None => Ok(measured[0]),
    }
}

/// The time line, a line for each second; what was not measured is empty.
#[must_use]
pub fn csv(result: &ResultFile) -> String {
    let mut text =
        "second,opened,open,failed,sent,received,response_p50_ns,response_p99_ns,response_max_ns,\
         service_p50_ns,service_p99_ns,service_max_ns\n"
            .to_owned();
    for one in &result.timeline {
        let counts = [one.second, one.opened, one.open, one.failed, one.sent, one.received];
        let response = [one.response_p50_ns, one.response_p99_ns, one.response_max_ns];
        let service = [one.service_p50_ns, one.service_p99_ns, one.service_max_ns];
        let cells = counts.map(Some).into_iter().chain(response).chain(service);
        let cells: Vec<_> =
            cells.map(|cell| cell.map_or_else(String::new, |v| v.to_string())).collect();
        let _ = writeln!(text, "{}", cells.join(","));
    }
    text
}
