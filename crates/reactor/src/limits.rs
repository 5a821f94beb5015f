//! The bounds of one reactor: every table, buffer and batch has its maximum here, and a counter in
//! [`crate::Counters`] for reaching it.

use measure::Nanos;

/// Bounds of one reactor. Memory for slots is reserved at the start and touched as it is used.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time.
    pub slots: usize,
    /// The shared receive buffer, in bytes: the most that one read takes.
    pub receive_buffer_bytes: usize,
    /// Connections accepted from one listener before other work gets its turn.
    pub accept_batch: usize,
    /// Reads from one connection before the others get their turn.
    pub reads_per_turn: usize,
    /// Work for one connection before the others get their turn, in units: see
    /// [`crate::Core::charge`]. What is left of a read then waits.
    pub work_per_portion: u64,
    /// Work of one turn for connections that had a portion already, or made much work before; as
    /// much as the turn's events make at the least, if that is more. Who has not had a turn by then
    /// is the first of the next one, behind whoever needs little.
    pub work_per_turn: u64,
    /// Bytes that all connections of this reactor together may have read and not worked on yet, but
    /// for one read.
    pub put_back_bytes: usize,
    /// Bytes that one connection may have waiting for its peer to take them.
    pub unsent_bytes_per_connection: usize,
    /// Bytes of a connection's that may wait before it is read from no more, where the driver wants
    /// that at all. Peers that send a large message to its end before they read the answer need as
    /// much as that. It is granted only while half of `unsent_bytes` is free.
    pub unsent_bytes_to_pause: usize,
    /// Bytes that all connections of this reactor together may have waiting.
    pub unsent_bytes: usize,
    /// When that is used up: whether those go whose peers have taken nothing for longest (a server,
    /// where one deaf peer must not harm the others), or the one that asks for more.
    pub evicts_blocked: bool,
    /// Bytes of a file that one connection is sent before the others get their turn.
    pub file_bytes_per_turn: usize,
    /// Events taken from the kernel by one wait.
    pub events_per_wait: usize,
    /// Connections whose layers may be on their way to agree at the same time. Those beyond that
    /// hold no more than a slot until others have.
    pub agreeing: usize,
    /// How long a turn may work on agreements; one step of one is made in any case.
    pub agreeing_per_turn: Nanos,
}

impl Limits {
    /// The bounds that serve well for `slots` connections.
    #[must_use]
    pub const fn for_slots(slots: usize) -> Self {
        Self {
            slots,
            receive_buffer_bytes: 64 * 1024,
            accept_batch: 256,
            reads_per_turn: 16,
            work_per_portion: u64::MAX,
            work_per_turn: u64::MAX,
            put_back_bytes: 16 * 1024 * 1024,
            unsent_bytes_per_connection: 64 * 1024,
            unsent_bytes_to_pause: 0,
            unsent_bytes: 64 * 1024 * 1024,
            evicts_blocked: false,
            file_bytes_per_turn: 1024 * 1024,
            events_per_wait: 1024,
            agreeing: 1024,
            agreeing_per_turn: Nanos::from_millis(1),
        }
    }
}
