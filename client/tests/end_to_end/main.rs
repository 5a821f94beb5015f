//! The client as a user meets it: the program itself against a server in a process of its own, over
//! real sockets; what it prints, what it writes, how it ends.

mod audit;
mod behind;
mod common;
mod http;
mod names;
mod odd;
mod repeat;
mod runs;
mod tls;
mod usage;
mod verdict;
mod weather;
mod websocket;

/// Not a test of its own: the server of the others, see `common::Server`.
#[test]
fn server_child() {
    common::serve_if_asked();
}
