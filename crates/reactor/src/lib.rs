//! The event loop that carries both ends.
//!
//! A [`Reactor`] is one thread's world: it owns its connections for their whole life, and shares
//! nothing. What differs between server and client is a [`Driver`]; what differs between the kernel
//! and a test is a [`Network`]. Only commands come in and only snapshots go out, over bounded
//! channels (see [`mailbox`]). What may change the bytes between the two is a [`Layer`].
//!
//! ```text
//!            commands                                              snapshots
//!               │                                                      ▲
//!   ┌───────────▼──────────────────────────────────────────────────────┴──────┐
//!   │ one turn:  wait → events → marks left by budgets → commands → on_turn   │
//!   │                │                                                 │      │
//!   │   Core: slots, unsent bytes, layers, counters  ◄──────────►  Driver     │
//!   └────────────────┼────────────────────────────────────────────────────────┘
//!                Network: System (mio, sockets, clock) or Sim (pipes, a clock moved by hand)
//! ```
//!
//! A driver may not block, lock, log, or allocate per message.

#![forbid(unsafe_code)]

mod audit;
mod core;
mod counters;
mod driver;
mod event_loop;
mod file_part;
mod layer;
mod limits;
pub mod mailbox;
mod network;
mod secured;
#[cfg(feature = "sim")]
pub mod sim;
mod slots;
mod stall;
mod sweep;
mod system;
mod times;
mod unsent;

pub use crate::core::{Core, Opened, slot_bytes};
pub use audit::Receipt;
pub use counters::Counters;
pub use driver::{Driver, Ending, Marks, Read};
pub use event_loop::Reactor;
pub use file_part::FilePart;
pub use layer::{Agreement, End, Layer, Progress};
pub use limits::Limits;
pub use network::{Interest, Network, Origin, Ready, Route, Stream, Token};
pub use secured::Secured;
pub use slots::Key;
pub use stall::Stall;
pub use sweep::Sweep;
pub use system::System;
pub use times::{LoopTimes, Spans};
