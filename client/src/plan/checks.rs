//! Options that are well-formed and make no sense, and those that contradict each other.

use super::usage;
use crate::cli::RunArgs;
use control::Error;
use measure::Nanos;
use measure::units::{format_duration, format_grouped, format_rate, format_size};
use wire::{MESSAGE_BYTES_MAX, Protocol};

/// Connections that one client is made for: a hundred times what any has held.
const CONNECTIONS_MAX: u64 = 100_000_000;
/// Frames that a message may be cut into: what peers should let through.
const FRAGMENTS_MAX: u64 = 65_536;
/// Messages per second that no single machine reaches: a typing error.
const RATE_MAX: f64 = 1e9;
/// The most runs of one series. Their results stay in memory until they are merged.
pub(crate) const REPEATS_MAX: u64 = 100;
/// The longest rest that can be asked for.
const COOL_DOWN_MAX: Nanos = Nanos::from_secs(86_400);

/// Numbers that are well-formed and make no sense.
pub(super) fn check_numbers(args: &RunArgs, scheme: Protocol) -> Result<(), Error> {
    if scheme != Protocol::Http {
        check_size(args)?;
    }
    if args.connections == 0 {
        return Err(usage("--connections 0 leaves nothing to do: give at least 1".into()));
    }
    if args.connections > CONNECTIONS_MAX {
        return Err(usage(format!(
            "--connections {} is more than one client is made for: give at most {}",
            format_grouped(args.connections),
            format_grouped(CONNECTIONS_MAX)
        )));
    }
    for (name, rate) in [("--rate", args.rate), ("--connect-rate", args.connect_rate)] {
        if rate.is_some_and(|rate| rate <= 0.0 || rate > RATE_MAX) {
            return Err(usage(format!(
                "{name} must be above 0 and at most {}: leave it out to have no rate",
                format_rate(RATE_MAX)
            )));
        }
    }
    if !(1..=1_000_000).contains(&args.in_flight) {
        return Err(usage("--in-flight takes a number from 1 to 1,000,000".into()));
    }
    for (name, span) in [
        ("--timeout", args.timeout),
        ("--connect-timeout", args.connect_timeout),
        ("--duration", args.duration()),
    ] {
        if span == Nanos::ZERO {
            return Err(usage(format!("{name} 0 leaves no time: give more, such as 10s")));
        }
    }
    let messages = args.rate.map(|rate| rate * args.duration().as_secs_f64());
    if let Some(messages) = messages.filter(|messages| *messages < 0.5) {
        return Err(usage(format!(
            "--rate for {} is {messages:.2} messages, which is none: give a higher rate or a \
             longer --duration",
            format_duration(args.duration())
        )));
    }
    check_repeats(args)?;
    let year = Nanos::from_secs(366 * 86_400);
    for (name, span) in [("--duration", args.duration()), ("--hold", args.hold)] {
        if span > year {
            return Err(usage(format!("{name} is more than a year: give less")));
        }
    }
    Ok(())
}

/// Numbers of a series that make no sense.
fn check_repeats(args: &RunArgs) -> Result<(), Error> {
    if args.repeat.is_some_and(|count| !(1..=REPEATS_MAX).contains(&count)) {
        return Err(usage(format!("--repeat takes a number from 1 to {REPEATS_MAX}")));
    }
    let read = [("--paths", &args.http.paths), ("--body-file", &args.http.body_file)];
    for (option, file) in read {
        let many = args.repeat.is_some_and(|count| count > 1);
        if let Some(file) = file.as_ref().filter(|file| many && file.exists() && !file.is_file()) {
            return Err(usage(format!(
                "{option} {}: with --repeat it is read for each run, and a pipe or device can be \
                 read once: name a file",
                file.display()
            )));
        }
    }
    if args.cool_down.is_some_and(|rest| rest > COOL_DOWN_MAX) {
        return Err(usage("--cool-down is more than a day: give less".to_owned()));
    }
    Ok(())
}

/// The size of messages.
fn check_size(args: &RunArgs) -> Result<(), Error> {
    let size = args.size_bytes();
    let least = args.size_min();
    if size < least {
        return Err(usage(format!(
            "--size {size} has no room for the {least} bytes that prove a reply to be the right \
             one: give at least {least}"
        )));
    }
    if size > MESSAGE_BYTES_MAX as u64 {
        let most = format_size(MESSAGE_BYTES_MAX as u64);
        return Err(usage(format!("--size {size} is too large: give at most 16m ({most})")));
    }
    if args.closed && size.saturating_mul(args.in_flight) > 1 << 30 {
        return Err(usage(
            "--size times --in-flight is more than 1 GiB for each connection: lower one".into(),
        ));
    }
    Ok(())
}

/// The protocol of all URLs: a run measures one.
pub(super) fn one_scheme(args: &RunArgs) -> Result<Protocol, Error> {
    let first = args.urls.first().map_or(Protocol::Tcp, |url| url.protocol);
    match args.urls.iter().find(|url| url.protocol != first) {
        None => Ok(first),
        Some(other) => Err(usage(format!(
            "{other} speaks another protocol than {}: give each a run of its own",
            args.urls[0]
        ))),
    }
}

/// The options that only `ws://` has.
pub(super) fn check_websocket(args: &RunArgs, scheme: Protocol) -> Result<(), Error> {
    let shared = scheme == Protocol::Http;
    if scheme != Protocol::Ws
        && let Some(option) = args.handshake.given(shared).or_else(|| args.frames.given())
    {
        let name = scheme.name();
        return Err(usage(format!(
            "{option} is for ws:// and means nothing to {name}://: leave it out"
        )));
    }
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

/// The options that only `http://` has, and those that it has not.
pub(super) fn check_http(args: &RunArgs, scheme: Protocol) -> Result<(), Error> {
    if scheme != Protocol::Http {
        let name = scheme.name();
        return args.http.given().map_or(Ok(()), |option| {
            Err(usage(format!(
                "{option} is for http:// and means nothing to {name}://: leave it out"
            )))
        });
    }
    let refuse = |text: &str| Err(usage(text.to_owned()));
    let traffic = args.rate.is_some() || args.closed;
    match args.http.pipeline {
        _ if args.strict => refuse(
            "--strict means nothing to http://, where a response that was not asked for always \
             breaks a rule: leave it out",
        ),
        _ if args.size.is_some() => refuse(
            "--size means nothing to http://, where the server decides how long its responses are: \
             leave it out, or give --body",
        ),
        Some(n) if !(1..=1_000_000).contains(&n) => {
            refuse("--pipeline takes a number from 1 to 1,000,000")
        }
        Some(_) if args.in_flight > 1 => {
            refuse("--pipeline and --in-flight say the same for http://: give one of them")
        }
        Some(_) if !traffic => refuse("--pipeline needs traffic: give --closed or --rate"),
        pipeline if args.http.close && (pipeline.is_some() || args.in_flight > 1) => refuse(
            "--close leaves one request on each connection: leave out --pipeline and --in-flight",
        ),
        _ if args.http.close && !traffic => refuse(
            "--close opens connections for requests: say how many with --rate, or give --closed",
        ),
        _ if args.http.close && args.connect_rate.is_some() => refuse(
            "--close opens a connection for each request: give --rate instead of --connect-rate",
        ),
        _ if args.http.close && args.hold > Nanos::ZERO => {
            refuse("--close leaves no connection to be held: leave out --hold")
        }
        _ => Ok(()),
    }
}
