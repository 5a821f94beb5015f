//! The server as its clients and its keeper meet it: the program itself, over real sockets.

mod common;
mod deflate;
mod endpoint;
mod faults;
mod handshake;
mod http;
mod library;
mod peers;
mod rules;
mod start_and_stop;
mod websocket;
mod ws;
