//! What was meant: the options resolved against this machine, or the sentence that says why not.

pub(crate) mod checks;
mod http;
mod names;
mod protocol;
pub(crate) mod record;
mod scenario;
mod sources;
pub(crate) mod tls;
mod websocket;

pub(crate) use names::resolve;
pub(crate) use protocol::ProtocolPlan;
pub(crate) use websocket::request;

use crate::cli::{HandshakeArgs, Openers, RunArgs, Spread};
use crate::load::addresses::Addresses;
use crate::load::audited_share::Share;
use crate::load::bounds::{UNSENT_BYTES, first_echo_window};
use crate::load::lanes::Lanes;
use crate::load::schedule::Arrivals;
use crate::load::{Load, Model};
use checks::{check_numbers, check_thresholds};
use control::Error;
use control::options::{FdTable, Reactors, choose_cpus, even_reactors};
use host::card;
use host::facts::Facts;
use host::preflight::{self, Demand, Finding, Role, Severity};
use measure::Nanos;
use measure::units::{format_count, format_duration, format_grouped, format_rate, format_size};
use protocol::Asked;
use reactor::{Limits, Secured};
use record::{addresses_record, record};
use report::schema;
use report::store;
use sources::choose_sources;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::Url;

/// How long is waited for replies when the traffic is over.
const DRAIN_TIMEOUT: Nanos = Nanos::from_secs(5);

/// A run, worked out.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What the reactors have in common.
    pub(crate) load: Arc<Load>,
    /// What is spoken.
    pub(crate) protocol: ProtocolPlan,
    /// Which connections have TLS, and what those are set up with.
    pub(crate) secured: Secured,
    /// The CPU of each reactor.
    pub(crate) seats: Vec<usize>,
    /// Bounds of each reactor.
    pub(crate) limits: Limits,
    /// Whether each reactor has a descriptor table of its own.
    pub(crate) own_tables: bool,
    /// What is asked of this machine, and what it was found to offer.
    pub(crate) demand: Demand,
    /// The findings.
    pub(crate) findings: Vec<Finding>,
    /// The plan as it goes into the result.
    pub(crate) record: schema::Plan,
    /// Whether all targets are on loopback: then the other end's memory is this machine's too.
    pub(crate) loopback: bool,
    /// What is to be done with the result, and what is shown meanwhile.
    pub(crate) output: Output,
    /// Whether to run although preflight objects.
    pub(crate) force: bool,
    /// The server's metrics address.
    pub(crate) peer: Option<SocketAddr>,
    /// A duration that was given where no messages are sent.
    pub(crate) unused_duration: Option<Nanos>,
}

/// What is to be done with the result, and what is shown meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    /// The file that it goes to.
    pub(crate) file: Option<PathBuf>,
    /// Whether it goes to stdout as JSON, instead of its summary.
    pub(crate) json: bool,
    /// Whether nothing is shown of the progress.
    pub(crate) quiet: bool,
    /// The name of the run.
    pub(crate) label: Option<String>,
}

impl Output {
    /// `-o -` is `--json`: the result, and nothing else, on stdout.
    pub(crate) fn new(args: &RunArgs) -> Self {
        let (file, json) = match &args.output {
            Some(file) if store::is_stdout(file) => (None, true),
            file => (file.clone(), args.json),
        };
        Self { file, json, quiet: args.quiet, label: args.label.clone() }
    }
}

impl Plan {
    /// Resolves the options.
    ///
    /// # Errors
    /// If they contradict each other, name what does not exist, or make no sense.
    pub(crate) fn new(args: &RunArgs, facts: &Facts) -> Result<Self, Error> {
        check_numbers(args)?;
        let asked = Asked::new(args)?;
        let targets = resolve(&args.urls, args.spread_addresses)?;
        let secured = tls::secure(&args.tls, &args.urls, &targets)?;
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
        let seed = args.seed.unwrap_or_else(fresh_seed);
        let mut load = Load {
            phases: Vec::new(),
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
            size: asked.size(args),
            reply_timeout: args.timeout,
            drain_timeout: DRAIN_TIMEOUT.min(args.timeout),
            in_flight_max: asked.in_flight_max(pipeline),
            churn: args.http.close,
            ping: args.frames.ping,
            strict: args.strict,
            tls: secured.is_any(),
            // Without traffic there is nothing to look at.
            audit: if model == Model::Idle { Share::OFF } else { args.audit },
            seed,
        };
        load.phases = scenario::phases(&load, args.hold);
        check_thresholds(args, &load.phases)?;
        let protocol = asked.setup(args, &load)?;
        let message_bytes = protocol.message_bytes(&load);
        let slots = args.connections.div_ceil(reactors as u64).max(1) as usize;
        // The closed model may have everything waiting at once: that is part of what is asked for,
        // and of the memory that preflight counts. Elsewhere sending waits for room.
        let one_connection = message_bytes.saturating_mul(pipeline as usize);
        let planned = if args.closed { one_connection.saturating_mul(slots) } else { 0 };
        let limits = Limits {
            unsent_bytes_per_connection: one_connection + protocol.control_bytes(),
            unsent_bytes: planned.max(UNSENT_BYTES),
            agreeing: control::secure::under_way(reactors),
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
            user_bytes_per_connection: protocol.bytes_per_connection()
                + if load.tls { ::tls::BYTES_PER_CONNECTION } else { 0 },
            messages_in_flight: match model {
                Model::Closed(in_flight) => args.connections.saturating_mul(in_flight.into()),
                Model::Idle | Model::Open(_) => first_echo_window(message_bytes) * reactors as u64,
            },
            message_bytes: message_bytes as u64,
            silent_seconds: (args.hold + args.duration()).0.div_ceil(1_000_000_000),
            handshakes: tls::handshakes(&args.tls, load.tls, reactors),
            interfaces: card::interfaces_of(&sources),
        };
        let findings = preflight::check(&demand, facts);
        let record = schema::Plan {
            first_echo_window: first_echo_window(message_bytes),
            addresses: addresses_record(&args.urls, &targets, &sources),
            tls: tls::record(&args.tls, &args.urls),
            ..record(asked.record(args, &load), args, &load, &seats, &sources, ports, openers)
        };
        let load = Arc::new(load);
        Ok(Self {
            load,
            protocol,
            secured,
            seats,
            limits,
            own_tables,
            demand,
            findings,
            record,
            loopback,
            output: Output::new(args),
            force: args.force,
            peer: args.peer,
            unused_duration: args.duration.filter(|_| model == Model::Idle),
        })
    }

    /// Whether the machine lacks something without which the run cannot reach its plan.
    #[must_use]
    pub(crate) fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Refusal)
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
    pub(crate) fn describe(&self) -> [String; 3] {
        let Load { connections, reactors, connect_rate, model, .. } = *self.load;
        let traffic = match model {
            Model::Idle => self.protocol.first_messages().to_owned(),
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
                protocol::messages(&self.record, self.load.size),
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

fn usage(text: String) -> Error {
    Error::Usage(text)
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

/// A seed that differs from run to run: the clock's low digits and the process number, spread.
pub(crate) fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_nanos() as u64);
    (now ^ u64::from(std::process::id()) << 40) % 1_000_000_000_000
}
