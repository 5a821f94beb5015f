//! The subcommands.

mod check;
mod echo;
pub(crate) mod repeat;
pub(crate) mod run;
