//! The Linux that a run stands on: CPUs, descriptor tables, sockets and timers to work with;
//! limits, sysctls and memory to know; and the preflight that says what is missing before a run
//! starts.
//!
//! The lowest floor of the house, beside `measure` and `wire`. The modules that reactors call while
//! connections are open ([`socket`], [`receipt`], [`timer`]) allocate nothing. What reads `/proc`
//! is split into a pure parser, tested on recorded text, and a reader of one line. The only
//! `unsafe` of the whole workspace is in `sockopt.rs`.

pub mod address;
pub mod card;
mod cgroup;
pub mod cpu;
pub mod doctor;
pub mod facts;
pub mod kernel;
pub mod memory;
pub mod preflight;
pub mod receipt;
pub mod schedule;
pub mod socket;
mod sockopt;
pub mod steering;
pub mod sysctl;
pub mod table;
pub mod timer;
pub mod usage;
