//! What a `ws://` run asks for.

use super::{authorization, usage};
use crate::cli::{HandshakeArgs, Matching, RunArgs};
use crate::load::Load;
use crate::protocol::Setup;
use control::Error;
use measure::Nanos;
use measure::units::{format_duration, format_size};
use report::schema;
use wire::Url;
use wire::ws::{DeflatePolicy, Kind, Request, RequestSpec};

/// The same for an upgraded one.
pub(super) const USER_BYTES_PER_WEBSOCKET: u64 = 112;
/// What a WebSocket may have waiting besides its messages, in bytes: pongs, for the most part.
pub(super) const CONTROL_BYTES: usize = 256 * 1024;

/// What all WebSockets of the run have in common.
pub(super) fn setup(args: &RunArgs, load: &Load) -> Result<Setup, Error> {
    let requests = args.urls.iter().map(|url| request(url, &args.handshake));
    Ok(Setup {
        requests: requests.collect::<Result<_, Error>>()?,
        kind: if args.frames.text { Kind::Text } else { Kind::Binary },
        fragment: args.frames.fragment.map(|bytes| bytes as usize),
        deflate: args.handshake.deflate,
        in_order: args.frames.matching == Some(Matching::Order),
        strict: load.strict,
        size: load.size,
        in_flight: load.in_flight(),
        reactors: load.reactors,
        seed: load.seed,
    })
}

/// The request for a URL.
///
/// # Errors
/// If something in it cannot be sent.
pub(crate) fn request(url: &Url, args: &HandshakeArgs) -> Result<Request, Error> {
    let mut headers = args.header.clone();
    headers.extend(authorization(url, args)?);
    let spec = RequestSpec {
        host: url.host_without_zone().to_owned(),
        port: url.port,
        default_port: url.protocol.default_port(url.transport).unwrap_or_default(),
        target: url.target.clone(),
        origin: args.origin.clone(),
        subprotocols: args.subprotocol.clone(),
        headers,
        deflate: args.deflate.then(DeflatePolicy::default),
    };
    Request::new(&spec).map_err(|error| usage(format!("{url}: {error}")))
}

pub(super) fn websocket_record(args: &RunArgs) -> schema::WebSocket {
    let HandshakeArgs { header, origin, subprotocol, deflate } = args.handshake.clone();
    schema::WebSocket {
        text: args.frames.text,
        fragment_bytes: args.frames.fragment,
        deflate,
        ping_interval_ns: args.frames.ping.map(|interval| interval.0),
        matching: match args.frames.matching {
            Some(Matching::Order) => schema::Matching::Order,
            Some(Matching::Content) | None => schema::Matching::Content,
        },
        origin,
        subprotocols: subprotocol,
        headers: header.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
    }
}

/// How messages go over a WebSocket, as far as that is out of the ordinary.
pub(super) fn manner(websocket: &schema::WebSocket) -> String {
    let mut manner = String::new();
    if websocket.text {
        manner.push_str(" of text");
    }
    if let Some(bytes) = websocket.fragment_bytes {
        manner.push_str(&format!(" in frames of {}", format_size(bytes)));
    }
    if websocket.deflate {
        manner.push_str(", deflate offered");
    }
    if let Some(interval) = websocket.ping_interval_ns {
        manner.push_str(&format!(", a ping every {}", format_duration(Nanos(interval))));
    }
    manner
}
