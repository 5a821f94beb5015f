//! Bounds of a load that its plan has to know, too. Pure.

/// Connections in the making at the same time, per reactor. On loopback none waits; towards a far
/// target it is what is on the way, and the accept queue there has to take it.
pub(crate) const CONNECTING_MAX: usize = 256;
/// Bytes of one reactor that may wait for their peers, unless the closed model plans for more.
pub(crate) const UNSENT_BYTES: usize = 64 * 1024 * 1024;
/// Connections of one reactor that await their first echo at the same time.
const FIRST_ECHO_WINDOW: u64 = 64;

/// How many connections of one reactor await their first echo at the same time: as many as their
/// messages have room if no peer takes any.
pub(crate) fn first_echo_window(message_bytes: usize) -> u64 {
    (UNSENT_BYTES / message_bytes).clamp(1, FIRST_ECHO_WINDOW as usize) as u64
}
