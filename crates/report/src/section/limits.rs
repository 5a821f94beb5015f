//! How often each queue, table, buffer and budget was found at its maximum.

use super::ResultFile;
use crate::words::non_zero;

pub(super) fn words(result: &ResultFile) -> String {
    let reached =
        non_zero(result.limits_reached.iter().map(|(name, &count)| (name.as_str(), count)));
    if reached.is_empty() { reached } else { format!("reached: {reached}") }
}
