//! What a reactor counts and records.

pub mod audited;
pub(crate) mod backlog;
pub(crate) mod effort;
pub(crate) mod totals;
