//! The WebSocket codec from outside: through its public interface only, both roles.

mod fuzz;
mod handshake;
mod streams;
mod support;
