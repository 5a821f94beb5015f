//! How measurements become the sections of a result.

pub(crate) mod pacing;
pub(crate) mod reactors;
