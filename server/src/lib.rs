//! `c1000k-server`: the matching target. One reactor per pinned core, each behind a `SO_REUSEPORT`
//! listener of its own, sends back what it gets, bytes over plain TCP and messages over WebSocket,
//! or serves files over HTTP.
//!
//! ```text
//!   main ── reads the command line, plans, starts:
//!     ├─ reactor-0 … reactor-k   pinned; own descriptor table, own listeners, own connections
//!     │    driver ── a service per listener: plain TCP, websocket, http
//!     ├─ counters                for HTTP's page: once a second, those of all reactors to each
//!     ├─ metrics                 asks the reactors for snapshots when somebody asks it
//!     └─ signals                 the first stops politely, the second at once
//! ```

#![forbid(unsafe_code)]

mod admission;
mod board;
pub mod cli;
mod delay;
pub mod driver;
pub mod faults;
pub mod files;
pub mod http;
mod limits;
pub mod metrics;
pub mod plan;
mod run;
pub mod secure;
mod service;
mod session;
mod snapshot;
mod tcp;
pub mod websocket;

pub use run::{Server, Summary, run};
