//! The load as planned: which four-tuples, when to send, who opens when. All pure.

pub mod addresses;
pub mod lanes;
pub mod pace;
