//! The options of `ws://`; those of its handshake that `http://` has too among them.

use clap::{Args, ValueEnum};
use measure::Nanos;
use measure::units::{parse_duration, parse_size};

/// What the opening handshake of a WebSocket says.
#[derive(Args, Clone, Debug, Default)]
pub struct HandshakeArgs {
    /// A further header of the handshake (ws://) or of each request (http://) (repeat)
    #[arg(
        long,
        value_name = "NAME: VALUE",
        value_parser = parse_header,
        help_heading = "Requests (ws:// and http://)"
    )]
    pub header: Vec<(String, String)>,
    /// The origin that the handshake names
    #[arg(long, value_name = "ORIGIN", help_heading = "WebSocket (ws:// only)")]
    pub origin: Option<String>,
    /// A subprotocol to ask for, the best first (repeat)
    #[arg(long, value_name = "NAME", help_heading = "WebSocket (ws:// only)")]
    pub subprotocol: Vec<String>,
    /// Offer permessage-deflate, and compress messages if the server accepts it
    #[arg(long, help_heading = "WebSocket (ws:// only)")]
    pub deflate: bool,
}

/// How messages go over a WebSocket.
#[derive(Args, Clone, Debug, Default)]
pub struct FrameArgs {
    /// Send text messages (the stamp in hexadecimal digits) instead of binary ones
    #[arg(long, help_heading = "WebSocket (ws:// only)")]
    pub text: bool,
    /// Cut messages into frames of at most so many bytes
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = parse_size,
        help_heading = "WebSocket (ws:// only)"
    )]
    pub fragment: Option<u64>,
    /// Ping every connection this often, evenly spread
    #[arg(
        long,
        value_name = "TIME",
        value_parser = parse_duration,
        help_heading = "WebSocket (ws:// only)"
    )]
    pub ping: Option<Nanos>,
    /// How replies are matched with messages [default: content]
    #[arg(long = "match", value_name = "HOW", value_enum, help_heading = "WebSocket (ws:// only)")]
    pub matching: Option<Matching>,
}

/// How replies are matched with messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Matching {
    /// A reply has to be the message, byte for byte.
    Content,
    /// Any reply belongs to the oldest message that has none, for servers that answer something
    /// else.
    Order,
}

impl HandshakeArgs {
    /// The first option that was given, if any was; but for the headers where requests have them
    /// too.
    pub(crate) fn given(&self, headers_too: bool) -> Option<&'static str> {
        let Self { header, origin, subprotocol, deflate } = self;
        let given = [
            ("--header", !header.is_empty() && !headers_too),
            ("--origin", origin.is_some()),
            ("--subprotocol", !subprotocol.is_empty()),
            ("--deflate", *deflate),
        ];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}

impl FrameArgs {
    /// The first option that was given, if any was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let Self { text, fragment, ping, matching } = self;
        let given = [
            ("--text", *text),
            ("--fragment", fragment.is_some()),
            ("--ping", ping.is_some()),
            ("--match", matching.is_some()),
        ];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it like 'Name: value'")?;
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}
