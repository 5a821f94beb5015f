//! The WebSocket codec from outside: through its public interface only, both roles.

mod handshake;
mod streams;
mod support;
