//! Sessions: what a connection says and hears, from one file, compiled once.
//!
//! A session file says in TOML what each connection of a run does: what it sends to log in, what it
//! then sends again and again, what it answers, which messages it knows, and what it keeps of them.
//! [`Program::load`] compiles it into a flat program that all reactors share. Everything is bounded
//! before the run: a connection keeps a few numbers and the room of its variables, and nothing is
//! allocated while templates are filled ([`Template::write`]) and messages are told apart
//! ([`Kinds::tell`]).
//!
//! Pure: no socket, no clock, no thread. Only [`Program::load`] reads files.

#![forbid(unsafe_code)]

mod data;
mod frame;
mod json;
mod kind;
mod pattern;
mod place;
mod program;
mod source;
mod template;
mod think;

pub use data::{Data, DataError};
pub use frame::{Cut, Frame, FrameError};
pub use kind::{Context, KINDS_MAX, Kept, Kind, Kinds, Message, Scratch};
pub use program::{NAMES_MAX, Program, Rows, Send, Step, TIMERS_MAX, Timer};
pub use source::Problem;
pub use template::{
    Fill, STAMP_MARK, STAMP_TEXT_BYTES, TEMPLATE_BYTES_MAX, Template, Variables, find_stamp,
};
pub use think::Think;

#[cfg(test)]
mod tests;
