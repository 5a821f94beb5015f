//! TLS at the size of a million connections: rustls shakes hands, and a record layer of our own
//! carries on with its secrets, in two hundred bytes for a connection instead of eight thousand.
//!
//! ```text
//!  Setup (certificates, trust, versions)
//!      │
//!  Connection: Handshake (rustls: 1.2 and 1.3, certificates, tickets)
//!      │           │  when it is done: secrets and sequence numbers of both directions
//!      │           ▼
//!      │       Secured (ours: records, KeyUpdate, alerts, close_notify)
//!      ▼
//!  Shared: Contexts (ciphers of the busy ones), records that are partly here, Tally (counts)
//! ```
//!
//! Bytes in, bytes and events out: nothing in here knows a socket or a clock. What is kept of a
//! connection is erased when it ends.

#![forbid(unsafe_code)]

mod alert;
mod cipher;
mod connection;
mod handshake;
mod post;
mod record;
mod schedule;
mod secured;
mod setup;
mod tally;
mod tickets;
mod verify;

pub use alert::Alert;
pub use cipher::{Aead, CONTEXT_BYTES, Contexts};
pub use connection::{CONTEXTS, Connection, Exhausted, Progress, Shared};
pub use handshake::{Capture, Facts, Failed, Handshake, Step};
pub use rustls;
pub use secured::{Broken, End, Opened, Secured, Version};
pub use setup::{
    ClientOptions, Identity, Of, ServerOptions, Setup, SetupError, Trust, Versions, authorities,
    certificates,
};
pub use tally::{Cause, Counts, Tally};

/// What a connection keeps whose handshake is done, in bytes: itself, and its number.
pub const BYTES_PER_CONNECTION: u64 = size_of::<Option<Connection>>() as u64 + 4;

/// The SHA-256 of a certificate.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    digest.as_ref().try_into().expect("it is as long as that")
}

/// The most bytes of content that one record carries (RFC 8446 5.1).
pub const CONTENT_BYTES_MAX: usize = 1 << 14;
/// Bytes before the content of a record.
pub const HEADER_BYTES: usize = 5;

#[cfg(test)]
mod tests;
