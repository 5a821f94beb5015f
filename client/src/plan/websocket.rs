//! What a `ws://` run asks for.

use super::checks::check_size;
use super::{authorization, usage};
use crate::cli::{HandshakeArgs, Matching, RunArgs};
use crate::load::Load;
use crate::protocol::Setup;
use control::Error;
use measure::Nanos;
use measure::units::{format_duration, format_grouped, format_size};
use report::schema;
use wire::Url;
use wire::ws::{DeflatePolicy, Kind, Request, RequestSpec};

/// Frames that a message may be cut into: what peers should let through.
const FRAGMENTS_MAX: u64 = 65_536;
/// What a WebSocket may have waiting besides its messages, in bytes: pongs, for the most part.
pub(super) const CONTROL_BYTES: usize = 256 * 1024;

/// The first of the options that only `ws://` has, if one is given. `http`: or that `http://` has
/// too.
pub(super) fn option_given(args: &RunArgs, http: bool) -> Option<&'static str> {
    args.handshake.given(http).or_else(|| args.frames.given())
}

/// Options that make no sense.
pub(super) fn check(args: &RunArgs) -> Result<(), Error> {
    check_size(args)?;
    if args.frames.ping == Some(Nanos::ZERO) {
        return Err(usage("--ping 0 leaves no time between pings: give more, such as 30s".into()));
    }
    match args.frames.fragment {
        Some(0) => Err(usage("--fragment 0 leaves nothing in a frame: give at least 1".into())),
        Some(bytes) if args.size_bytes().div_ceil(bytes) > FRAGMENTS_MAX => Err(usage(format!(
            "--fragment {bytes} cuts a message of {} bytes into more than {} frames: give more",
            args.size_bytes(),
            format_grouped(FRAGMENTS_MAX)
        ))),
        _ => Ok(()),
    }
}

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

/// The same as it goes into the result.
pub(super) fn record(args: &RunArgs) -> schema::WebSocket {
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
