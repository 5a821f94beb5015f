//! The server as its clients and its keeper meet it: the program itself, over real sockets.

mod common;
mod endpoint;
mod peers;
mod start_and_stop;
