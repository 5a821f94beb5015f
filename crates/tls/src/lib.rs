//! TLS at the size of a million connections: rustls shakes hands, and a record layer of our own
//! carries on with its secrets, in two hundred bytes for a connection instead of eight thousand.
//!
//! ```text
//!  Handshake (rustls: 1.2 and 1.3, certificates, tickets)
//!      │  when it is done: secrets and sequence numbers of both directions
//!      ▼
//!  Secured (ours: records, KeyUpdate, alerts, close_notify) ── Contexts (ciphers of the busy ones)
//! ```
//!
//! Bytes in, bytes and events out: nothing in here knows a socket or a clock. What is kept of a
//! connection is erased when it ends.

#![forbid(unsafe_code)]

mod alert;
mod cipher;
mod handshake;
mod post;
mod record;
mod schedule;
mod secured;

pub use alert::Alert;
pub use cipher::{Aead, Contexts};
pub use handshake::{Capture, Facts, Failed, Handshake, Step};
pub use secured::{Broken, End, Opened, Secured, Version};

/// The most bytes of content that one record carries (RFC 8446 5.1).
pub const CONTENT_BYTES_MAX: usize = 1 << 14;
/// Bytes before the content of a record.
pub const HEADER_BYTES: usize = 5;

#[cfg(test)]
mod tests;
