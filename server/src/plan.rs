//! What was meant: the options resolved against this machine, or the sentence that says why not.

use crate::cli::{Deflate, ServeArgs, Steer};
use crate::faults::Faults;
use crate::files::{Root, SMALL_BYTES_MAX};
use crate::http;
use crate::limits::{
    ANSWER_EXCESS_BYTES, DELAYED_UNSENT_BYTES, HTTP_ANSWERS_BYTES_MAX, OPEN_FILES,
    OPEN_FILES_TABLE_SHARE, sharing,
};
use crate::secure::Secure;
use crate::session::SLOT_BYTES;
use crate::websocket;
use control::Error;
use control::options::{FdTable, Reactors, choose_cpus, even_reactors};
use host::card;
use host::facts::Facts;
use host::preflight::{self, Demand, Finding, Role, Severity};
use measure::Nanos;
use measure::units::{format_duration, format_grouped, format_size};
use reactor::Limits;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use wire::http::HeadLimits;
use wire::ws::{DeflatePolicy, Policy};
use wire::{Protocol, Url};

/// Slots that one reactor has room for at the most where descriptors set no lower bound.
const SLOTS_MAX: u64 = 4_000_000;

/// Memory of ours for one idle connection besides its slot, in bytes: its share of the reactor's
/// buffers and lists. Measured, with a million connections, plain TCP and WebSocket alike.
const USER_BYTES_BESIDES_SLOT: u64 = 8;
/// The same with its slot.
const USER_BYTES_PER_CONNECTION: u64 = SLOT_BYTES as u64 + USER_BYTES_BESIDES_SLOT;

/// A server, worked out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to listen, and the URL it came from.
    pub listen: Vec<(Url, SocketAddr)>,
    /// The CPU of each reactor.
    pub seats: Vec<usize>,
    /// Connections in all.
    pub connections_max: u64,
    /// Bounds of each reactor.
    pub limits: Limits,
    /// Connections that may wait to be accepted, per listener.
    pub backlog: u32,
    /// Whether to steer by CPU.
    pub steer: Steer,
    /// Whether each reactor has a descriptor table of its own.
    pub own_tables: bool,
    /// After how much silence a connection is closed.
    pub idle_timeout: Option<Nanos>,
    /// How long a WebSocket handshake, or any other request, may take.
    pub handshake_timeout: Option<Nanos>,
    /// The time limit for a WebSocket message, from its first byte to its last.
    pub message_timeout: Option<Nanos>,
    /// What WebSocket clients are granted.
    pub websocket: Arc<websocket::Config>,
    /// What is served over HTTP.
    pub http: http::Config,
    /// What connections with TLS are set up with.
    pub secure: Secure,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// Where to serve metrics.
    pub metrics: Option<SocketAddr>,
    /// Whether to speak JSON.
    pub json: bool,
    /// What the user should know before it starts.
    pub notes: Vec<String>,
    /// What the machine was found to offer.
    pub findings: Vec<Finding>,
}

impl Plan {
    /// Resolves the options.
    ///
    /// # Errors
    /// If they contradict each other, name what does not exist, or ask for more than can be.
    pub fn new(args: &ServeArgs, facts: &Facts) -> Result<Self, Error> {
        let listen = resolve_all(&args.urls)?;
        let cpus = choose_cpus(args.cores.as_ref(), &facts.cpus_allowed).map_err(Error::Usage)?;
        let own_tables = args.fd_table == FdTable::Own;
        // Each listener takes a descriptor out of the table too.
        let open_files = choose_open_files(args, facts)?;
        let for_files = if args.root.is_some() { open_files } else { 0 };
        let not_for_connections = listen.len() as u64 + for_files;
        let limit = facts.descriptors_hard.saturating_sub(not_for_connections).min(SLOTS_MAX);
        let wanted = args.connections_max;
        if wanted == Some(0) {
            return Err(Error::Usage(
                "--connections-max 0 leaves nothing to serve: give at least 1".into(),
            ));
        }
        let reactors = choose_reactors(args.reactors, wanted, limit, own_tables, cpus.len());
        let per_table = preflight::descriptors_per_table(limit, reactors as u64);
        let tables = if own_tables { reactors as u64 } else { 1 };
        let connections_max = wanted.unwrap_or_else(|| per_table.saturating_mul(tables));
        let seats: Vec<usize> = cpus.iter().copied().cycle().take(reactors).collect();
        if args.steer == Steer::Cpu && !reactors.is_multiple_of(cpus.len()) {
            return Err(Error::Usage(format!(
                "--steer cpu needs as many reactors on each CPU: {reactors} reactors do not \
                 divide over {} CPUs; give --reactors a multiple of {0}",
                cpus.len()
            )));
        }
        let somaxconn = facts.somaxconn.map_or(4096, |n| u32::try_from(n).unwrap_or(u32::MAX));
        let backlog = args.backlog.unwrap_or(somaxconn).min(i32::MAX as u32);
        let mut notes = Vec::new();
        if facts.memory.is_none() {
            notes.push(
                "this system shows nothing in /proc: the server's memory and the bounds that \
                 follow from the machine's are not known; mount it (mount -t proc proc /proc)"
                    .to_owned(),
            );
        }
        if backlog > somaxconn {
            notes.push(format!(
                "the kernel cuts the backlog of {} to {} (net.core.somaxconn): \
                 sudo sysctl -w net.core.somaxconn={backlog}",
                format_grouped(backlog.into()),
                format_grouped(somaxconn.into()),
            ));
        }
        let secure = Secure::new(&args.tls, &listen)?;
        let slots = connections_max.min(per_table) as usize;
        let limits = choose_limits(args, slots, reactors)?;
        let usual = choose_websocket(args, reactors)?;
        let memory = preflight::spare_bytes(facts).unwrap_or(u64::MAX);
        let websocket = usual.clone().within(memory, reactors);
        let mut http = choose_http(args, reactors)?;
        http.open_files_max = usize::try_from(open_files).unwrap_or(usize::MAX);
        let demand = Demand {
            role: Role::Server,
            peer_here: listen.iter().all(|(_, address)| address.ip().is_loopback()),
            connections: wanted.unwrap_or(1),
            reactors: reactors as u64,
            own_tables,
            other_descriptors: not_for_connections,
            sources: 1,
            targets: listen.len() as u64,
            ports: facts.port_range,
            four_tuples: 0,
            backlog,
            user_bytes_per_connection: USER_BYTES_PER_CONNECTION
                + if secure.is_any() { tls::BYTES_PER_CONNECTION } else { 0 },
            messages_in_flight: 0,
            message_bytes: 0,
            silent_seconds: 0,
            handshakes: secure.handshakes(reactors),
            interfaces: interfaces_of(&listen, facts),
        };
        let mut findings = preflight::check(&demand, facts);
        if args.deflate.is_some() {
            let all = |each: usize| (each * reactors) as u64;
            let enough = websocket.inflaters_max == usual.inflaters_max;
            findings.push(preflight::streams(
                all(websocket.inflaters_max),
                all(websocket.deflaters_max),
                websocket.stream_bytes(reactors),
                enough,
                facts,
            ));
        }
        Ok(Self {
            listen,
            seats,
            connections_max,
            limits,
            backlog,
            steer: args.steer,
            own_tables,
            idle_timeout: unless_zero(args.idle_timeout),
            handshake_timeout: unless_zero(args.handshake_timeout),
            message_timeout: unless_zero(args.message_timeout),
            websocket: Arc::new(websocket),
            http,
            secure,
            faults: choose_faults(args, reactors)?,
            metrics: args.metrics,
            json: args.json,
            notes,
            findings,
        })
    }

    /// What each listener serves.
    #[must_use]
    pub fn services(&self) -> Vec<Protocol> {
        self.listen.iter().map(|(url, _)| url.protocol).collect()
    }

    /// Whether the page with the server's counters is served.
    #[must_use]
    pub fn serves_page(&self) -> bool {
        self.http.root.is_none() && self.services().contains(&Protocol::Http)
    }

    /// Whether the machine lacks something without which this server cannot hold its connections.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Refusal)
    }
}

fn unless_zero(time: Nanos) -> Option<Nanos> {
    (time > Nanos::ZERO).then_some(time)
}

/// The bounds of each reactor. An answer must find room whole: reading rests only behind it. For
/// WebSocket it goes on while a whole message's answer waits: many clients send a message to its
/// end before they read.
fn choose_limits(args: &ServeArgs, slots: usize, reactors: usize) -> Result<Limits, Error> {
    let usual = sharing(Limits::for_slots(slots), reactors);
    let serves_ws = takes_websocket(args);
    let excess = if serves_ws { ANSWER_EXCESS_BYTES } else { 0 };
    let serves_http = args.urls.iter().any(|url| url.protocol == Protocol::Http);
    let answers = HTTP_ANSWERS_BYTES_MAX + SMALL_BYTES_MAX as usize;
    let answers = if serves_http { answers } else { usual.receive_buffer_bytes };
    let least = usual.receive_buffer_bytes.max(answers) + excess;
    let unsent = usize::try_from(args.unsent_max / reactors as u64).unwrap_or(usize::MAX);
    if unsent < least {
        return Err(Error::Usage(format!(
            "--unsent-max is too little for {reactors} reactors: give at least {}",
            format_size((least * reactors) as u64)
        )));
    }
    // What comes compressed may go back as it was before.
    let inflated = if args.deflate.is_some() { args.message_max as usize } else { 0 };
    let ahead = if serves_ws { args.message_max as usize } else { 0 };
    // Replies of several reads can fall due at once.
    let delayed = if args.delay.is_some() { DELAYED_UNSENT_BYTES } else { 0 };
    Ok(Limits {
        unsent_bytes_per_connection: (least + ahead + inflated + delayed).min(unsent),
        unsent_bytes_to_pause: ahead,
        unsent_bytes: unsent,
        evicts_blocked: true,
        ..usual
    })
}

/// Whether anything here speaks WebSocket; on an http:// port those who ask for it do.
fn takes_websocket(args: &ServeArgs) -> bool {
    args.urls.iter().any(|url| matches!(url.protocol, Protocol::Ws | Protocol::Http))
}

fn choose_http(args: &ServeArgs, reactors: usize) -> Result<http::Config, Error> {
    if let Some(root) = &args.root {
        if args.urls.iter().all(|url| url.protocol != Protocol::Http) {
            return Err(Error::Usage(
                "--root is for http://, which none of the URLs is: add one, or leave --root out"
                    .to_owned(),
            ));
        }
        Root::open(root).map_err(|error| {
            Error::Usage(format!(
                "--root {}: {}: give a folder that exists and may be read",
                root.display(),
                match error.kind() {
                    io::ErrorKind::NotFound => "there is no such folder".to_owned(),
                    io::ErrorKind::NotADirectory => "this is no folder".to_owned(),
                    _ => error.to_string(),
                }
            ))
        })?;
    }
    let heads = HeadLimits { bytes: args.head_max, headers: args.headers_max };
    let config = http::Config::new(args.root.clone(), args.body_max, reactors);
    // A head of the largest size must find room where no other is.
    let least = args.head_max.saturating_mul(2);
    let partial_request_bytes_max = config.partial_request_bytes_max.max(least);
    Ok(http::Config { heads, partial_request_bytes_max, ..config })
}

/// How many large files each reactor may have open: they share its table with connections.
fn choose_open_files(args: &ServeArgs, facts: &Facts) -> Result<u64, Error> {
    let table = facts.descriptors_hard;
    let Some(asked) = args.open_files else {
        return Ok(OPEN_FILES.min(table / OPEN_FILES_TABLE_SHARE).max(1));
    };
    if args.root.is_none() {
        return Err(Error::Usage(
            "--open-files is for the files of --root: give that too, or leave --open-files out"
                .to_owned(),
        ));
    }
    if asked == 0 || asked > table / 2 {
        return Err(Error::Usage(format!(
            "--open-files {}: give from 1 to {}, half of a descriptor table: connections \
             need the other half",
            format_grouped(asked),
            format_grouped(table / 2)
        )));
    }
    Ok(asked)
}

/// A delay must leave time for what has limits of its own.
fn choose_faults(args: &ServeArgs, reactors: usize) -> Result<Faults, Error> {
    let idle = unless_zero(args.idle_timeout);
    if let (Some(delay), Some(idle)) = (args.delay, idle)
        && idle <= delay
    {
        return Err(Error::Usage(format!(
            "--idle-timeout {} would close connections that wait for replies: give more than \
             --delay, {}",
            format_duration(idle),
            format_duration(delay)
        )));
    }
    if let Some(stall) = args.stall {
        let limits = [
            ("--idle-timeout", idle),
            ("--handshake-timeout", unless_zero(args.handshake_timeout)),
            ("--message-timeout", unless_zero(args.message_timeout)),
        ];
        for (option, limit) in limits {
            if limit.is_some_and(|limit| limit <= stall.length) {
                return Err(Error::Usage(format!(
                    "{option} would close connections whose bytes wait for the end of a stall: \
                     give more than the {} of --stall",
                    format_duration(stall.length)
                )));
            }
        }
    }
    Ok(Faults::new(args.stall, args.delay, reactors))
}

fn choose_websocket(args: &ServeArgs, reactors: usize) -> Result<websocket::Config, Error> {
    let given = [
        ("--deflate", args.deflate.is_some()),
        ("--origin", !args.origins.is_empty()),
        ("--subprotocol", !args.subprotocols.is_empty()),
    ];
    if let (false, Some((name, _))) =
        (takes_websocket(args), given.iter().find(|(_, given)| *given))
    {
        return Err(Error::Usage(format!(
            "{name} is for WebSocket, which none of the URLs asks for: add a ws:// or http:// \
             URL, or leave {name} out"
        )));
    }
    let deflate = args.deflate.map(|windows| DeflatePolicy {
        takeover: windows == Deflate::Dedicated,
        ..DeflatePolicy::default()
    });
    let (origins, subprotocols) = (args.origins.clone(), args.subprotocols.clone());
    let policy = Policy { origins, subprotocols, deflate };
    Ok(websocket::Config::new(policy, wire::ws::Limits::for_messages(args.message_max), reactors))
}

/// The interfaces that connections come in by; every card where the server listens on all.
fn interfaces_of(listen: &[(Url, SocketAddr)], facts: &Facts) -> Vec<String> {
    let addresses: Vec<IpAddr> = listen.iter().map(|(_, address)| address.ip()).collect();
    if addresses.iter().any(IpAddr::is_unspecified) {
        return facts.cards.iter().map(|card| card.name.clone()).collect();
    }
    card::interfaces_of(&addresses)
}

fn resolve_all(urls: &[Url]) -> Result<Vec<(Url, SocketAddr)>, Error> {
    let mut listen: Vec<(Url, SocketAddr)> = Vec::new();
    for url in urls {
        if url.target.len() > 1 {
            return Err(Error::Usage(format!(
                "{url}: the server answers on every path: leave out '{}'",
                url.target
            )));
        }
        let found = (url.host.as_str(), url.port).to_socket_addrs();
        let found = found.map_err(|_| {
            Error::Usage(format!("{url}: the host '{}' is not known: check its name", url.host))
        })?;
        // A name may lead to one address several times.
        let mut own: Vec<SocketAddr> = Vec::new();
        for address in found {
            if own.contains(&address) {
                continue;
            }
            own.push(address);
            let known = listen.iter().any(|(_, other)| *other == address);
            if known && address.port() != 0 {
                return Err(Error::Usage(format!(
                    "{url}: this address is given twice: leave one out"
                )));
            }
            listen.push((url.clone(), address));
        }
    }
    Ok(listen)
}

/// One reactor per core, and more where one table cannot hold its share of what is asked for.
fn choose_reactors(
    asked: Reactors,
    connections: Option<u64>,
    limit: u64,
    own_tables: bool,
    cpus: usize,
) -> usize {
    match (asked, connections) {
        (Reactors::Exactly(count), _) => count,
        (Reactors::Auto, Some(connections)) if own_tables => {
            // If no number suffices, preflight says so.
            let needed = preflight::reactors_needed(connections, limit, true);
            even_reactors(needed.unwrap_or(1), cpus, cpus)
        }
        (Reactors::Auto, _) => cpus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn facts(descriptors: u64) -> Facts {
        Facts {
            cpus_allowed: vec![0, 1],
            descriptors_soft: descriptors,
            descriptors_hard: descriptors,
            ..Facts::read()
        }
    }

    fn plan(descriptors: u64, args: &[&str]) -> Result<Plan, Error> {
        let line = ["c1000k-server", "tcp://127.0.0.1:0"].iter().chain(args);
        Plan::new(&Cli::parse_from(line).serve, &facts(descriptors))
    }

    fn lacks(plan: &Plan, name: &str) -> bool {
        plan.findings.iter().any(|f| f.name == name && f.severity == Severity::Refusal)
    }

    #[test]
    fn one_reactor_per_core_where_descriptors_allow_it() {
        let plan = plan(2_000_000, &["--connections-max", "1m"]).expect("fits");
        assert_eq!(plan.seats, [0, 1]);
        assert_eq!(plan.limits.slots, 1_000_000);
    }

    #[test]
    fn as_many_reactors_as_small_tables_ask_for() {
        let plan = plan(20_000, &["--connections-max", "1m"]).expect("fits");
        let mean = 1_000_000 / plan.seats.len();
        assert!(mean + 6 * (mean as f64).sqrt() as usize <= plan.limits.slots, "{mean}");
        assert!(plan.seats.len() < 60, "{}", plan.seats.len());
        assert!(!lacks(&plan, "descriptors"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = plan(20_000, &["--connections-max", "1m", "--reactors", "2"]).expect("plan");
        assert!(refused.is_refused() && lacks(&refused, "descriptors"), "{refused:?}");
        let refused = plan(20_000, &["--connections-max", "1m", "--fd-table", "shared"]);
        assert!(refused.expect("plan").is_refused());
        for args in [
            &["--connections-max", "0"][..],
            &["--cores", "7"],
            &["--steer", "cpu", "--reactors", "3"],
            &["--delay", "1s", "--idle-timeout", "1s"],
        ] {
            assert_eq!(plan(20_000, args).expect_err("refused").code(), 2, "{args:?}");
        }
        let twice = ["c1000k-server", "tcp://127.0.0.1:9", "tcp://127.0.0.1:9"];
        let twice = Plan::new(&Cli::parse_from(twice).serve, &facts(20_000));
        assert_eq!(twice.map(|_| ()).map_err(|e| e.code()), Err(2));
    }

    #[test]
    fn options_of_websocket_need_a_websocket_url() {
        let planned = |args: &[&str]| {
            let cli = Cli::parse_from(["c1000k-server"].iter().chain(args));
            Plan::new(&cli.serve, &facts(20_000))
        };
        for (name, value) in
            [("--deflate", None), ("--origin", Some("null")), ("--subprotocol", Some("chat"))]
        {
            let option: Vec<&str> = [name].into_iter().chain(value).collect();
            let refused = planned(&[&["tcp://127.0.0.1:0"], &option[..]].concat());
            let error = refused.map(|_| ()).expect_err("refused");
            assert!(error.code() == 2 && error.to_string().contains(name), "{error}");
            let urls = ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"];
            let plan = planned(&[&urls[..], &option[..]].concat()).expect("planned");
            assert_eq!(plan.services(), [Protocol::Tcp, Protocol::Ws]);
        }
        for bad in [
            &["ws://127.0.0.1:9/chat"][..],
            &["ws://127.0.0.1:9", "tcp://127.0.0.1:9"],
            &["ws://127.0.0.1:9", "--unsent-max", "128k", "--reactors", "2"],
        ] {
            assert_eq!(planned(bad).map(|_| ()).map_err(|e| e.code()), Err(2), "{bad:?}");
        }
    }

    #[test]
    fn a_message_and_what_it_becomes_find_room() {
        let limits = |args: &[&str]| {
            let line = ["c1000k-server", "ws://127.0.0.1:0"].iter().chain(args);
            let plan = Plan::new(&Cli::parse_from(line).serve, &facts(20_000)).expect("planned");
            (plan.limits, plan.websocket.limits)
        };
        let (plain, ws) = limits(&["--message-max", "1m"]);
        assert_eq!((ws.message_bytes_max, ws.fragments_max), (1 << 20, 128 * 1024));
        // What a compressor may make of bytes that do not deflate: nine bits of each.
        assert!(ws.frame_bytes_max >= (9 << 20) / 8);
        assert_eq!(plain.unsent_bytes_to_pause, 1 << 20);
        assert!(plain.unsent_bytes_per_connection > plain.receive_buffer_bytes + (1 << 20));
        let (deflating, _) = limits(&["--message-max", "1m", "--deflate"]);
        assert!(deflating.unsent_bytes_per_connection > plain.receive_buffer_bytes + (2 << 20));
        let (bounded, _) = limits(&["--deflate", "--unsent-max", "1m", "--reactors", "2"]);
        assert_eq!(bounded.unsent_bytes_per_connection, bounded.unsent_bytes);
    }

    #[test]
    fn compression_takes_no_more_than_a_part_of_the_memory_and_says_so() {
        let planned = |megabytes: u64, group: Option<u64>| {
            let memory = host::memory::MemoryInfo {
                available_bytes: megabytes << 20,
                ..host::memory::MemoryInfo::default()
            };
            let facts = Facts {
                memory: Some(memory),
                cgroup_memory_bytes: group.map(|megabytes| megabytes << 20),
                ..facts(20_000)
            };
            let line = ["c1000k-server", "ws://127.0.0.1:0", "--deflate", "--reactors", "2"];
            let plan = Plan::new(&Cli::parse_from(line).serve, &facts).expect("planned");
            let said = plan.findings.iter().find(|finding| finding.name == "compression");
            let said = said.expect("said").clone();
            (plan.websocket.inflaters_max, plan.websocket.deflaters_max, said)
        };
        let (inflaters, deflaters, said) = planned(64_000, None);
        assert_eq!((inflaters, deflaters, said.severity), (2_048, 512, Severity::Ok));
        assert!(said.why.contains("4,096 inflating and 1,024 deflating"), "{}", said.why);
        // A control group counts as the machine does.
        for (inflaters, deflaters, said) in [planned(200, None), planned(64_000, Some(200))] {
            assert!(
                2 * (inflaters * 48 + deflaters * 300) <= 50 * 1_024,
                "{inflaters} {deflaters}"
            );
            assert!(inflaters > 100 && deflaters > 40, "{inflaters} {deflaters}");
            assert_eq!(said.severity, Severity::Note);
            assert!(said.need.contains("MiB") && said.remedy.is_some(), "{said:?}");
        }
        let (inflaters, deflaters, _) = planned(0, None);
        assert_eq!((inflaters, deflaters), (1, 1));
        let plain = plan(20_000, &[]).expect("planned");
        assert!(!plain.findings.iter().any(|finding| finding.name == "compression"));
    }

    #[test]
    fn files_take_descriptors_that_connections_do_not_get() {
        let planned = |descriptors: u64, args: &[&str]| {
            let line =
                ["c1000k-server", "http://127.0.0.1:0", "--reactors", "2"].iter().chain(args);
            Plan::new(&Cli::parse_from(line).serve, &facts(descriptors))
        };
        let without = planned(20_000, &[]).expect("planned");
        let with = planned(20_000, &["--root", "/"]).expect("planned");
        assert_eq!(with.http.open_files_max, 512);
        assert_eq!(with.connections_max + 2 * 512, without.connections_max);
        let more = planned(20_000, &["--root", "/", "--open-files", "2k"]).expect("planned");
        assert_eq!(more.connections_max + 2 * 2_000, without.connections_max);
        assert_eq!(planned(1_024, &["--root", "/"]).expect("planned").http.open_files_max, 128);
        // What is asked for is held against what is left: one table that has room for 19,000
        // connections, but not with 1,000 files beside them.
        let tight = |root: &[&str]| {
            let line = ["c1000k-server", "http://127.0.0.1:0", "--connections-max", "19k"];
            let line = line.iter().chain(&["--reactors", "1"]).chain(root);
            let plan = Plan::new(&Cli::parse_from(line).serve, &facts(20_000)).expect("planned");
            lacks(&plan, "descriptors")
        };
        assert!(!tight(&[]) && !tight(&["--root", "/"]));
        assert!(tight(&["--root", "/", "--open-files", "1k"]));
        for bad in [
            &["--open-files", "9"][..],
            &["--root", "/", "--open-files", "0"],
            &["--root", "/", "--open-files", "10001"],
        ] {
            assert_eq!(planned(20_000, bad).map(|_| ()).map_err(|e| e.code()), Err(2), "{bad:?}");
        }
    }

    #[test]
    fn a_backlog_that_the_kernel_cuts_is_said() {
        let plan = plan(20_000, &["--backlog", "2000000000"]).expect("plan");
        assert!(plan.notes[0].contains("net.core.somaxconn"), "{:?}", plan.notes);
    }
}
