//! `Session`: what is kept for each connection, whatever is spoken on it, and what that costs.

use super::{Http, Protocol, Raw, WebSocket};
use measure::Nanos;
use reactor::{System, slot_bytes};

/// What is kept for each connection.
#[derive(Debug)]
pub(crate) struct Session<P: Protocol> {
    pub(crate) spoken: P::Session,
    /// When what it waits for began: opening, or the wait for the next reply (since it was sent, or
    /// since the reply before it).
    pub(crate) since: Nanos,
}

// For a million connections: 40 MB over plain TCP, 72 MB over WebSocket, 64 MB over HTTP.
const _: () = assert!(slot_bytes::<System, Session<Raw>>() == 40);
const _: () = assert!(slot_bytes::<System, Session<WebSocket>>() == 72);
const _: () = assert!(slot_bytes::<System, Session<Http>>() == 64);

/// Memory of ours for an idle connection besides its slot, in bytes: its share of what a reactor
/// has. Measured with 100,000 and a million of them: 5 to 15.
const BESIDES_SLOT: u64 = 16;

/// Memory of ours for an idle connection that speaks this, in bytes.
pub(crate) const fn bytes_per_connection<P: Protocol>() -> u64 {
    slot_bytes::<System, Session<P>>() as u64 + BESIDES_SLOT
}
