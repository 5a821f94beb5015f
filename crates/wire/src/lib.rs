//! Protocols as pure machines: bytes in, events and bytes out.
//!
//! Nothing here names a socket, a clock, a thread or a random source: times and seeds are
//! arguments. A codec gives the same events however its input was cut into reads; each has a
//! property that says so. That is what makes the simulator possible, and a fuzz target a page long.

#![forbid(unsafe_code)]

mod echo;
pub mod http;
mod limits;
mod pool;
mod random;
mod stamp;
mod unasked;
mod url;
pub mod ws;

pub use echo::{Echo, Mismatch, PartialPool, Template};
pub use limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, TEXT_MESSAGE_BYTES_MIN};
pub use random::SplitMix64;
pub use stamp::{STAMP_BYTES, Stamp};
pub use unasked::{OtherProtocol, UNASKED_SHOWN_BYTES, Unasked, shown};
pub use url::{Protocol, Transport, Url, UrlError, without_password};
