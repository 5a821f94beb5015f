//! WebSocket.

mod close;
mod error;
mod frame;
mod mask;
mod utf8;

pub use close::{Close, CloseCode};
pub use error::WsError;
pub use frame::{HEADER_BYTES_MAX, Header, Opcode, Role};
pub use mask::{advance, mask};
pub use utf8::{NotUtf8, Utf8};
