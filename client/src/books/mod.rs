//! What one reactor counts and records: on the hot path by the driver, read when it reports.

pub(crate) mod audited;
pub(crate) mod backlog;
pub(crate) mod causes;
pub(crate) mod effort;
pub(crate) mod recorder;
pub(crate) mod send_windows;
pub(crate) mod totals;
