//! What was meant: the options resolved against this machine, or the sentence that says why not.

mod names;

pub(crate) use names::resolve;

use crate::books::audited::Share;
use crate::cli::{HandshakeArgs, Matching, Openers, RunArgs, Spread};
use crate::commands::repeat;
use crate::driver::{CONNECTING_MAX, UNSENT_BYTES, first_echo_window};
use crate::load::addresses::{Addresses, Tuples};
use crate::load::lanes::Lanes;
use crate::load::schedule::Arrivals;
use crate::load::{Load, Model};
use crate::protocol::{HttpSetup, Setup};
use crate::result::pacing;
use control::Error;
use control::options::{FdTable, Reactors, choose_cpus, even_reactors};
use host::address::{self, SourceSpec};
use host::card;
use host::facts::Facts;
use host::preflight::{self, Demand, Finding, Role, Severity};
use measure::Nanos;
use measure::units::{format_count, format_duration, format_grouped, format_rate, format_size};
use reactor::Limits;
use report::schema;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::http::{self, Composer, HeadLimits, RequestSpecError};
use wire::ws::{DeflatePolicy, Kind, Request, RequestSpec};
use wire::{MESSAGE_BYTES_MAX, Scheme, Url, UrlError};

/// Connections that one client is made for: a hundred times what any has held.
const CONNECTIONS_MAX: u64 = 100_000_000;
/// Source ports that automatic loopback addresses are planned to fill: the rest is left for ports
/// that turn out to be taken.
const PORTS_PER_LOOPBACK_SOURCE: u64 = 50_000;
/// All ports that need no privilege.
const ALL_PORTS: (u16, u16) = (1024, 65_535);
/// Memory of ours for one idle connection, in bytes: a slot, and the reactor's share. Measured.
const USER_BYTES_PER_CONNECTION: u64 = 80;
/// The same for an upgraded one.
const USER_BYTES_PER_WEBSOCKET: u64 = 112;
/// The same for one that speaks HTTP.
const USER_BYTES_PER_HTTP: u64 = 104;
/// Paths that are asked for in turn: each has a request laid out for it.
const PATHS_MAX: usize = 100_000;
/// Bytes of a file that is a body, or names paths.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a WebSocket may have waiting besides its messages, in bytes: pongs, for the most part.
const CONTROL_BYTES: usize = 256 * 1024;
/// Frames that a message may be cut into: what peers should let through.
const FRAGMENTS_MAX: u64 = 65_536;
/// How long is waited for replies when the traffic is over.
const DRAIN_TIMEOUT: Nanos = Nanos::from_secs(5);
/// Messages per second that no single machine reaches: a typing error.
const RATE_MAX: f64 = 1e9;

/// What is spoken on the connections of a run.
#[derive(Clone, Debug)]
pub enum Spoken {
    /// Nothing but the messages themselves.
    Raw,
    /// WebSocket.
    WebSocket(Arc<Setup>),
    /// HTTP/1.1.
    Http(Arc<HttpSetup>),
}

/// A run, worked out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the reactors have in common.
    pub load: Arc<Load>,
    /// What is spoken.
    pub spoken: Spoken,
    /// The CPU of each reactor.
    pub seats: Vec<usize>,
    /// Bounds of each reactor.
    pub limits: Limits,
    /// Whether each reactor has a descriptor table of its own.
    pub own_tables: bool,
    /// How long to hold the connections after the traffic.
    pub hold: Nanos,
    /// What is asked of this machine, and what it was found to offer.
    pub demand: Demand,
    /// The findings.
    pub findings: Vec<Finding>,
    /// The plan as it goes into the result.
    pub record: schema::Plan,
    /// Whether all targets are on loopback: then the other end's memory is this machine's too.
    pub loopback: bool,
}

impl Plan {
    /// Resolves the options.
    ///
    /// # Errors
    /// If they contradict each other, name what does not exist, or make no sense.
    pub fn new(args: &RunArgs, facts: &Facts) -> Result<Self, Error> {
        let scheme = one_scheme(args)?;
        check_numbers(args, scheme)?;
        check_websocket(args, scheme)?;
        check_http(args, scheme)?;
        let targets = resolve(&args.urls, args.spread_addresses)?;
        let loopback = targets.iter().flatten().all(|target| target.ip().is_loopback());
        let cpus = choose_cpus(args.cores.as_ref(), &facts.cpus_allowed).map_err(Error::Usage)?;
        let own_tables = args.fd_table == FdTable::Own;
        let reactors = choose_reactors(args, facts.descriptors_hard, own_tables, cpus.len());
        let seats: Vec<usize> = cpus.iter().copied().cycle().take(reactors).collect();
        let (sources, ports) = choose_sources(args, &targets, facts)?;
        let addresses = Addresses::new(&targets, &sources, ports, args.spread_addresses);
        let openers = match args.openers_per_core {
            Openers::All => reactors,
            Openers::PerCore(count) => count,
        };
        let pipeline = args.http.pipeline.unwrap_or(args.in_flight) as u32;
        let model = match (args.rate, args.closed) {
            (Some(rate), _) => Model::Open(rate),
            (None, true) => Model::Closed(pipeline),
            (None, false) => Model::Idle,
        };
        let asked = (scheme == Scheme::Http).then(|| Asked::new(args)).transpose()?;
        let seed = args.seed.unwrap_or_else(fresh_seed);
        let load = Load {
            connections: args.connections,
            reactors: reactors as u64,
            addresses,
            lanes: Lanes::new(&seats, openers),
            connect_rate: args.connect_rate,
            connect_timeout: args.connect_timeout,
            // Where each request has a connection of its own, none stands before the traffic.
            first_echo: !args.no_first_echo && !args.http.close,
            model,
            arrivals: match args.arrivals {
                Spread::Uniform => Arrivals::Uniform,
                Spread::Poisson => Arrivals::Poisson,
            },
            duration: args.duration(),
            size: match &asked {
                Some(asked) => asked.spec.body.len(),
                None => args.size_bytes() as usize,
            },
            reply_timeout: args.timeout,
            drain_timeout: DRAIN_TIMEOUT.min(args.timeout),
            in_flight_max: if asked.is_some() { pipeline } else { u32::MAX },
            churn: args.http.close,
            ping: args.frames.ping,
            strict: args.strict,
            // Without traffic there is nothing to look at.
            audit: if model == Model::Idle { Share::OFF } else { args.audit },
            seed,
        };
        let spoken = match (&asked, scheme) {
            (Some(asked), _) => Spoken::Http(Arc::new(asked.setup(args, &load)?)),
            (None, Scheme::Ws) => Spoken::WebSocket(Arc::new(setup(args, &load)?)),
            (None, _) => Spoken::Raw,
        };
        let (message_bytes, more_bytes, user_bytes) = match &spoken {
            Spoken::Raw => (load.size, 0, USER_BYTES_PER_CONNECTION),
            Spoken::WebSocket(setup) => {
                (setup.message_bytes(), CONTROL_BYTES, USER_BYTES_PER_WEBSOCKET)
            }
            Spoken::Http(setup) => (setup.message_bytes(), 0, USER_BYTES_PER_HTTP),
        };
        let slots = args.connections.div_ceil(reactors as u64).max(1) as usize;
        // The closed model may have everything waiting at once: that is part of what is asked for, and
        // of the memory that preflight counts. Elsewhere sending waits for room.
        let one_connection = message_bytes.saturating_mul(pipeline as usize);
        let planned = if args.closed { one_connection.saturating_mul(slots) } else { 0 };
        let limits = Limits {
            unsent_bytes_per_connection: one_connection + more_bytes,
            unsent_bytes: planned.max(UNSENT_BYTES),
            ..Limits::for_slots(slots)
        };
        let demand = Demand {
            role: Role::Client,
            peer_here: loopback,
            connections: args.connections,
            reactors: reactors as u64,
            own_tables,
            other_descriptors: 0,
            sources: sources.len() as u64,
            targets: load.addresses.first().targets().len() as u64,
            ports,
            four_tuples: load.addresses.first().count(),
            backlog: 0,
            user_bytes_per_connection: user_bytes,
            messages_in_flight: match model {
                Model::Closed(in_flight) => args.connections.saturating_mul(in_flight.into()),
                Model::Idle | Model::Open(_) => first_echo_window(message_bytes) * reactors as u64,
            },
            message_bytes: message_bytes as u64,
            silent_seconds: (args.hold + args.duration()).0.div_ceil(1_000_000_000),
            interfaces: card::interfaces_of(&sources),
        };
        let findings = preflight::check(&demand, facts);
        let record = schema::Plan {
            first_echo_window: first_echo_window(message_bytes),
            websocket: (scheme == Scheme::Ws).then(|| websocket_record(args)),
            http: asked.as_ref().map(|asked| http_record(args, &load, asked)),
            addresses: addresses_record(&args.urls, &targets, &sources),
            ..record(args, &load, &seats, &sources, ports, openers)
        };
        let load = Arc::new(load);
        Ok(Self {
            load,
            spoken,
            seats,
            limits,
            own_tables,
            hold: args.hold,
            demand,
            findings,
            record,
            loopback,
        })
    }

    /// Whether the machine lacks something without which the run cannot reach its plan.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Refusal)
    }

    /// What is sent.
    fn messages(&self) -> String {
        let size = format_size(self.load.size as u64);
        let Some(http) = &self.record.http else {
            let manner = self.record.websocket.as_ref().map_or_else(String::new, manner);
            return format!("{size} messages{manner}");
        };
        let mut text = http.method.clone();
        if http.paths_file.is_some() {
            text.push_str(&format!(" of {} paths", format_grouped(http.paths)));
        }
        if self.load.size > 0 {
            text.push_str(&format!(" with {size}"));
        }
        if http.close {
            text.push_str(", a connection for each request");
        }
        text
    }

    /// How the connections go to the addresses of names that have several.
    fn by_address(&self) -> String {
        let count = self.record.addresses.len();
        if count == self.record.targets.len() {
            return String::new();
        }
        let how = if self.record.spread_addresses { "in turn" } else { "the first that answers" };
        format!(" ({count} addresses, {how})")
    }

    /// The run in one line, and what it takes in two.
    #[must_use]
    pub fn describe(&self) -> [String; 3] {
        let Load { connections, reactors, connect_rate, model, .. } = *self.load;
        let traffic = match model {
            Model::Idle if self.record.http.is_some() => "one request each".to_owned(),
            Model::Idle => "one echo each".to_owned(),
            Model::Open(rate) => format!(
                "{}{} for {}",
                format_rate(rate),
                if self.load.arrivals == Arrivals::Poisson { " (Poisson)" } else { "" },
                format_duration(self.load.duration)
            ),
            Model::Closed(in_flight) => format!(
                "closed, {in_flight} in flight each, for {}",
                format_duration(self.load.duration)
            ),
        };
        let ramp =
            connect_rate.map_or_else(String::new, |rate| format!(" at {}", format_rate(rate)));
        let sources = match self.record.sources.as_slice() {
            [one] => format!("from {one}"),
            [first, .., last] => {
                format!("from {} addresses {first} to {last}", self.record.sources.len())
            }
            [] => "from no address".to_owned(),
        };
        let ports = self.record.source_ports.unwrap_or_default();
        let bytes = preflight::bytes_needed(&self.demand);
        let per_table = if self.own_tables { self.limits.slots as u64 } else { connections };
        [
            format!(
                "{} connections{ramp} to {}{}, {traffic}, {}",
                format_count(connections),
                self.record.targets.join(" "),
                self.by_address(),
                self.messages(),
            ),
            format!(
                "takes {reactors} reactor{} with {} descriptors each, {} of memory{}",
                if reactors == 1 { "" } else { "s" },
                format_grouped(per_table),
                format_size(bytes),
                if self.loopback { " for both ends" } else { "" },
            ),
            format!(
                "      {} of {} four-tuples {sources}, ports {}-{}",
                format_grouped(connections),
                format_grouped(self.load.addresses.first().count()),
                ports.first,
                ports.last,
            ),
        ]
    }
}

/// How messages go over a WebSocket, as far as that is out of the ordinary.
fn manner(websocket: &schema::WebSocket) -> String {
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

fn usage(text: String) -> Error {
    Error::Usage(text)
}

/// Numbers that are well-formed and make no sense.
fn check_numbers(args: &RunArgs, scheme: Scheme) -> Result<(), Error> {
    if scheme != Scheme::Http {
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
            "--rate for {} is {messages:.2} messages, which is none: give a higher rate or a longer --duration",
            format_duration(args.duration())
        )));
    }
    repeat::check_numbers(args)?;
    let year = Nanos::from_secs(366 * 86_400);
    for (name, span) in [("--duration", args.duration()), ("--hold", args.hold)] {
        if span > year {
            return Err(usage(format!("{name} is more than a year: give less")));
        }
    }
    Ok(())
}

/// The size of messages.
fn check_size(args: &RunArgs) -> Result<(), Error> {
    let size = args.size_bytes();
    let least = args.size_min();
    if size < least {
        return Err(usage(format!(
            "--size {size} has no room for the {least} bytes that prove a reply to be the right one: \
             give at least {least}"
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
fn one_scheme(args: &RunArgs) -> Result<Scheme, Error> {
    let first = args.urls.first().map_or(Scheme::Tcp, |url| url.scheme);
    match args.urls.iter().find(|url| url.scheme != first) {
        None => Ok(first),
        Some(other) => Err(usage(format!(
            "{other} speaks another protocol than {}: give each a run of its own",
            args.urls[0]
        ))),
    }
}

/// The options that only `ws://` has.
fn check_websocket(args: &RunArgs, scheme: Scheme) -> Result<(), Error> {
    let shared = scheme == Scheme::Http;
    if scheme != Scheme::Ws
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
fn check_http(args: &RunArgs, scheme: Scheme) -> Result<(), Error> {
    if scheme != Scheme::Http {
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
            "--strict means nothing to http://, where a response that was not asked for always breaks \
             a rule: leave it out",
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

/// What an `http://` run asks for, apart from the targets.
struct Asked {
    /// Everything but the host. Without `--paths` the path is that of each URL.
    spec: http::RequestSpec,
    /// How large the heads of responses may be.
    heads: HeadLimits,
}

impl Asked {
    fn new(args: &RunArgs) -> Result<Self, Error> {
        let body = match (&args.http.body, &args.http.body_file) {
            (_, Some(file)) => read_file("--body-file", file)?,
            (Some(text), None) => text.clone().into_bytes(),
            (None, None) => Vec::new(),
        };
        let default = if body.is_empty() { "GET" } else { "POST" };
        let paths = args.http.paths.as_deref();
        let targets = paths.map(|file| read_paths(file, &args.urls)).transpose()?;
        let spec = http::RequestSpec {
            method: args.http.method.clone().unwrap_or_else(|| default.to_owned()),
            agent: concat!("c1000k/", env!("CARGO_PKG_VERSION")).to_owned(),
            targets: targets.unwrap_or_default(),
            headers: args.handshake.header.clone(),
            body,
            close: args.http.close,
            ..http::RequestSpec::default()
        };
        let usual = HeadLimits::default();
        let heads = HeadLimits {
            bytes: args.http.head_max.unwrap_or(usual.bytes),
            headers: args.http.headers_max.unwrap_or(usual.headers),
        };
        Ok(Self { spec, heads })
    }

    /// How many paths are asked for in turn.
    fn paths(&self) -> u64 {
        self.spec.targets.len().max(1) as u64
    }

    fn setup(&self, args: &RunArgs, load: &Load) -> Result<HttpSetup, Error> {
        let mut requests = Vec::with_capacity(args.urls.len());
        for url in &args.urls {
            let mut spec = self.spec.clone();
            (spec.host, spec.port) = (url.host_without_zone().to_owned(), url.port);
            spec.headers.extend(authorization(url, &args.handshake)?);
            if spec.targets.is_empty() {
                spec.targets.push(url.target.clone());
            }
            let composer = Composer::new(&spec).map_err(|error| {
                let file = args.http.paths.as_deref();
                let file = file.filter(|_| matches!(error, RequestSpecError::Target(_)));
                usage(match file {
                    Some(file) => format!("--paths {}: {error}", file.display()),
                    None => format!("{url}: {error}"),
                })
            })?;
            requests.push(composer);
        }
        let in_flight = load.in_flight_max;
        let setup = HttpSetup {
            requests,
            paths: self.paths(),
            in_flight,
            close: load.churn,
            heads: self.heads,
            expected: args.http.expect.clone().unwrap_or_default(),
        };
        if load.size.saturating_mul(in_flight as usize) > 1 << 30 {
            return Err(usage(
                "the body times --pipeline is more than 1 GiB for each connection: lower one"
                    .into(),
            ));
        }
        Ok(setup)
    }
}

/// The paths that a file names; whole URLs of the service that is asked are paths, too.
fn read_paths(file: &Path, urls: &[Url]) -> Result<Vec<String>, Error> {
    let bytes = read_file("--paths", file)?;
    parse_paths(&bytes, urls)
        .map_err(|problem| usage(format!("--paths {}: {problem}", file.display())))
}

fn parse_paths(bytes: &[u8], urls: &[Url]) -> Result<Vec<String>, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it begins with a byte order mark (BOM) of UTF-16: save it as UTF-8".to_owned());
    }
    // Of UTF-8 it says nothing, and is no part of the first path.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let paths = lines.take(PATHS_MAX + 1).map(|(number, line)| {
        path_of(line, urls).map_err(|problem| format!("line {number}: {problem}"))
    });
    let paths: Vec<String> = paths.collect::<Result<_, _>>()?;
    match paths.len() {
        0 => Err("it names no path: write one a line, such as /index.html".to_owned()),
        1..=PATHS_MAX => Ok(paths),
        _ => {
            Err(format!("it names more than {} paths: give less", format_grouped(PATHS_MAX as u64)))
        }
    }
}

/// The path that a line names.
fn path_of(line: &str, urls: &[Url]) -> Result<String, String> {
    if line.starts_with('/') {
        return Ok(line.to_owned());
    }
    if line.starts_with('\u{feff}') {
        return Err("a byte order mark (BOM) stands before the path: take it out".to_owned());
    }
    let url: Url = match line.parse() {
        Ok(url) => url,
        Err(UrlError::NoScheme(_)) => {
            return Err(format!(
                "'{line}' cannot be requested: write a path, such as /index.html, or a URL of the \
                 target"
            ));
        }
        Err(error) => return Err(error.to_string()),
    };
    // All paths are asked of all targets.
    match urls.iter().find(|target| !target.is_same_service(&url)) {
        None => Ok(url.target),
        Some(target) => Err(format!(
            "{url} is no URL of {target}, which is asked: leave it out, or give it a run of its own"
        )),
    }
}

/// All of a file that an option names.
fn read_file(option: &str, file: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    let problem = match read {
        Err(error) => format!("it cannot be read ({error}): check its name"),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            format!("it is larger than {}: give a smaller one", format_size(FILE_BYTES_MAX))
        }
        Ok(_) => return Ok(bytes),
    };
    Err(usage(format!("{option} {}: {problem}", file.display())))
}

/// What all WebSockets of the run have in common.
fn setup(args: &RunArgs, load: &Load) -> Result<Setup, Error> {
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

/// The header that user and password of a URL make.
fn authorization(url: &Url, args: &HandshakeArgs) -> Result<Option<(String, String)>, Error> {
    let name = "Authorization";
    let Some(value) = url.authorization() else { return Ok(None) };
    if args.header.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
        return Err(usage(format!(
            "{url}: user and password are in the URL, and --header '{name}' says another: give one \
             of them"
        )));
    }
    Ok(Some((name.to_owned(), value)))
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
        default_port: url.scheme.default_port().unwrap_or_default(),
        target: url.target.clone(),
        origin: args.origin.clone(),
        subprotocols: args.subprotocol.clone(),
        headers,
        deflate: args.deflate.then(DeflatePolicy::default),
    };
    Request::new(&spec).map_err(|error| usage(format!("{url}: {error}")))
}

fn choose_reactors(args: &RunArgs, limit: u64, own_tables: bool, cpus: usize) -> usize {
    match args.reactors {
        Reactors::Exactly(count) => count,
        // Fewer connections than cores need no more reactors than there are connections.
        Reactors::Auto => {
            let enough = cpus.min(args.connections as usize).max(1);
            if own_tables {
                // If no number suffices, preflight says so.
                let needed = preflight::reactors_needed(args.connections, limit, false);
                even_reactors(needed.unwrap_or(1), enough, cpus)
            } else {
                enough
            }
        }
    }
}

/// The source addresses and the ports to use on each.
fn choose_sources(
    args: &RunArgs,
    targets: &[Vec<SocketAddr>],
    facts: &Facts,
) -> Result<(Vec<IpAddr>, (u16, u16)), Error> {
    let every: Vec<SocketAddr> = targets.iter().flatten().copied().collect();
    let specs = address::parse_sources(&args.source_ip, &every)
        .map_err(|error| usage(format!("--source-ip: {error}")))?;
    let mut sources = Vec::new();
    for spec in specs {
        match spec {
            SourceSpec::Range(range) => sources.extend(range.iter()),
            SourceSpec::Auto => sources.extend(automatic(args, targets)?),
        }
    }
    for addresses in targets {
        let tuples = Tuples::new(addresses.clone(), &sources, 1, 1);
        if addresses.iter().all(|address| tuples.sources_for(address).is_empty()) {
            return Err(usage(format!(
                "--source-ip: none of the addresses given reaches {}: name one of its kind",
                listed(addresses)
            )));
        }
    }
    // A link-local source is one only together with its target's zone; the kernel has named it.
    let alone = |source: &&IpAddr| !matches!(source, IpAddr::V6(ip) if ip.is_unicast_link_local());
    for source in sources.iter().filter(alone) {
        address::is_local(*source).map_err(|error| {
            usage(format!(
                "--source-ip: {source} cannot be used on this machine ({error}): add it to an \
                 interface first (ip address add {source}/32 dev lo), or give another"
            ))
        })?;
    }
    let on_loopback = sources.iter().all(|source| source.is_loopback() && source.is_ipv4());
    let ports = args.source_ports.unwrap_or_else(|| {
        let (first, last) = facts.port_range;
        let tuples = Addresses::new(targets, &sources, (first, last), args.spread_addresses);
        // The ephemeral range is shared with every other program here, and some of it is taken.
        let enough = tuples.first().count() / 10 * 9 >= args.connections;
        if enough && !on_loopback { (first, last) } else { ALL_PORTS }
    });
    Ok((sources, ports))
}

/// Addresses as a sentence names them.
fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// As many addresses of 127/8 as the run needs for targets there; elsewhere the one that the kernel
/// would choose.
fn automatic(args: &RunArgs, targets: &[Vec<SocketAddr>]) -> Result<Vec<IpAddr>, Error> {
    let mut sources: Vec<IpAddr> = Vec::new();
    let avoid: Vec<IpAddr> = targets.iter().flatten().map(SocketAddr::ip).collect();
    let each = args.source_ports.map_or(PORTS_PER_LOOPBACK_SOURCE, |(first, last)| {
        (u64::from(last - first) + 1).min(PORTS_PER_LOOPBACK_SOURCE)
    });
    // 127/8 has addresses in plenty; every other target has those of one source address. What these
    // cannot take of their share falls to the former. A target with an address there may come to have
    // all of its connections there.
    let plenty = |address: &SocketAddr| address.ip().is_loopback() && address.is_ipv4();
    let all = targets.len() as u64;
    let here = targets.iter().filter(|addresses| addresses.iter().any(plenty)).count() as u64;
    let share = args.connections.saturating_mul(here).div_ceil(all);
    let needed = share.max(args.connections.saturating_sub((all - here) * each));
    for addresses in targets {
        let mut no_route = None;
        let mut reached = false;
        for address in addresses {
            let found = if plenty(address) {
                let count = needed.div_ceil(each * here);
                address::loopback_sources(count.min(address::MAX_SOURCES), &avoid)
            } else {
                match address::route_source(*address) {
                    Ok(source) => vec![source],
                    // Another address of the name may do.
                    Err(error) => {
                        no_route.get_or_insert((address, error));
                        continue;
                    }
                }
            };
            reached = true;
            for source in found {
                if !sources.contains(&source) {
                    sources.push(source);
                }
            }
        }
        if let Some((address, error)) = no_route.filter(|_| !reached) {
            return Err(usage(format!(
                "{} cannot be reached from this machine ({error}): check the address and the routes \
                 (ip route get {})",
                listed(addresses),
                address.ip()
            )));
        }
    }
    Ok(sources)
}

/// The addresses as the result lists them, before any was used.
fn addresses_record(
    urls: &[Url],
    targets: &[Vec<SocketAddr>],
    sources: &[IpAddr],
) -> Vec<schema::Address> {
    let tuples = Tuples::new(Vec::new(), sources, 1, 1);
    let of = |(url, addresses): (&Url, &Vec<SocketAddr>)| {
        let each = addresses.iter().map(|address| schema::Address {
            target: url.to_string(),
            address: address.to_string(),
            sources: tuples.sources_for(address).len() as u64,
            ..schema::Address::default()
        });
        each.collect::<Vec<_>>()
    };
    urls.iter().zip(targets).flat_map(of).collect()
}

/// A seed that differs from run to run: the clock's low digits and the process number, spread.
pub(crate) fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_nanos() as u64);
    (now ^ u64::from(std::process::id()) << 40) % 1_000_000_000_000
}

fn record(
    args: &RunArgs,
    load: &Load,
    seats: &[usize],
    sources: &[IpAddr],
    ports: (u16, u16),
    openers: usize,
) -> schema::Plan {
    let mut cores: Vec<u32> = seats.iter().map(|core| *core as u32).collect();
    cores.sort_unstable();
    cores.dedup();
    let (model, rate, in_flight) = match load.model {
        Model::Idle => (schema::Model::None, None, None),
        Model::Open(rate) => (schema::Model::Open, Some(rate), None),
        Model::Closed(n) => {
            (schema::Model::Closed, None, Some(load.connections.saturating_mul(n.into())))
        }
    };
    schema::Plan {
        targets: args.urls.iter().map(ToString::to_string).collect(),
        spread_addresses: args.spread_addresses,
        connections: load.connections,
        connect_rate_per_second: load.connect_rate,
        model,
        rate_per_second: rate,
        arrivals: pacing::recorded(load.arrivals),
        in_flight,
        duration_ns: if load.model == Model::Idle { 0 } else { load.duration.0 },
        hold_ns: args.hold.0,
        size_bytes: load.size as u64,
        sources: sources.iter().map(ToString::to_string).collect(),
        source_ports: Some(schema::PortRange { first: ports.0, last: ports.1 }),
        reactors: load.reactors,
        cores,
        openers_per_core: openers as u64,
        connecting_max: CONNECTING_MAX as u64,
        fd_tables: match args.fd_table {
            FdTable::Own => schema::FdTables::Own,
            FdTable::Shared => schema::FdTables::Shared,
        },
        timeouts: schema::Timeouts {
            connect_ns: load.connect_timeout.0,
            reply_ns: load.reply_timeout.0,
            drain_ns: load.drain_timeout.0,
        },
        audit_ratio: (!load.audit.is_off()).then(|| load.audit.ratio()),
        seed: load.seed,
        first_echo: load.first_echo,
        strict: load.strict,
        thresholds: args.fail_if.iter().map(|t| t.expression().to_owned()).collect(),
        ..schema::Plan::default()
    }
}

fn websocket_record(args: &RunArgs) -> schema::WebSocket {
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

fn http_record(args: &RunArgs, load: &Load, asked: &Asked) -> schema::Http {
    let headers = args.handshake.header.iter();
    schema::Http {
        method: asked.spec.method.clone(),
        headers: headers.map(|(name, value)| format!("{name}: {value}")).collect(),
        paths_file: args.http.paths.as_ref().map(|file| file.display().to_string()),
        paths: asked.paths(),
        pipeline: load.in_flight_max.into(),
        close: load.churn,
        head_max_bytes: asked.heads.bytes as u64,
        headers_max: asked.heads.headers as u64,
        expect: args.http.expect.clone().unwrap_or_default().names(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &[u8]) -> Result<Vec<String>, String> {
        let urls = ["http://u:secret@Host/a".parse().expect("fine")];
        parse_paths(text, &urls)
    }

    #[test]
    fn paths_are_lines_and_urls_of_the_target() {
        let text = b"\xef\xbb\xbf/a\r\n\n# no\nhttp://host/b?c\nHTTP://HOST:80\n";
        assert_eq!(paths(text).expect("fine"), ["/a", "/b?c", "/"]);
        for (text, problem) in [
            (&b"/a\nhttp://other/b\n"[..], "line 2: http://other:80/b is no URL of"),
            (b"http://host:81/", "line 1: http://host:81 is no URL of http://u:***@Host:80/a"),
            (b"\n#\nb c\n", "line 3: 'b c' cannot be requested"),
            (b"http://host/#a", "line 1: 'http://host/#a' has a fragment"),
            (b"/a\n\xef\xbb\xbf/b", "line 2: a byte order mark (BOM)"),
            (b"\xff\xfe/\0", "byte order mark (BOM) of UTF-16"),
            (b"# none", "it names no path"),
        ] {
            let error = paths(text).expect_err("refused");
            assert!(error.contains(problem) && !error.contains("secret"), "{error}");
        }
    }
}
