//! Starting, serving, stopping.

use crate::board::Board;
use crate::cli::{CheckArgs, Cli, Command as CliCommand, ServeArgs, Steer};
use crate::driver::{Admission, Command, ServerDriver};
use crate::http::Site;
use crate::metrics::{ServerSnapshot, Watcher};
use crate::plan::Plan;
use control::Error;
use control::check::{Checked, Form};
use control::console::{complain, say};
use control::endpoint::Endpoint;
use control::group::{self, Parts, Running, Seat};
use control::signals::{self, Signals};
use control::spawn::join_all;
use host::facts::Facts;
use host::preflight;
use host::socket::{self, ListenOptions};
use measure::Clock;
use measure::units::{format_grouped, format_size};
use reactor::Secured;
use reactor::mailbox::Undelivered;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use wire::Url;

/// What a server did from start to end.
pub type Summary = ServerSnapshot;

type Reactor = Running<ServerDriver, Command, ()>;

/// A server that is running.
#[derive(Debug)]
pub struct Server {
    reactors: Vec<Reactor>,
    watcher: Arc<Watcher>,
    endpoint: Option<Endpoint>,
    board: Option<Board>,
    addresses: Vec<SocketAddr>,
}

/// Does what the command line says, and returns the exit code.
///
/// # Errors
/// What kept it from starting or broke it.
pub fn run(cli: &Cli) -> Result<u8, Error> {
    if let Some(CliCommand::Check(check)) = &cli.command {
        return self::check(check);
    }
    let failed = |what: &str, error: io::Error| Error::Failed(format!("{what}: {error}"));
    signals::survive_file_limits().map_err(|error| failed("catching signals", error))?;
    host::table::raise_descriptor_limit()
        .map_err(|error| failed("raising the descriptor limit", error))?;
    let plan = Plan::new(&cli.serve, &Facts::read())?;
    if plan.is_refused() && !cli.serve.force {
        return Err(Error::Refused(format!(
            "this machine cannot hold what is asked for (--force tries all the same)\n{}",
            preflight::table(&plan.findings).trim_end()
        )));
    }
    let signals = Signals::install().map_err(|error| failed("catching signals", error))?;
    for note in &plan.notes {
        complain("c1000k-server", note);
    }
    let server = Server::start(&plan)?;
    if let Some(authority) = &plan.secure.authority {
        // Before anybody is told that the server stands.
        authority.write()?;
        complain("c1000k-server", authority.in_words());
    }
    server.announce(&plan)?;
    // The first signal stops it politely; the second does not wait for that, see `Signals`.
    let _ = signals.receiver().recv();
    let second = signals.receiver().clone();
    let finished = crossbeam_channel::bounded(1);
    let (send, done) = finished;
    let stopping = control::spawn::spawn_named("stop", control::spawn::STACK_BYTES, move || {
        let _ = send.send(server.stop());
    });
    stopping.map_err(|error| failed("stopping", error))?;
    let summary = crossbeam_channel::select! {
        recv(done) -> summary => summary.map_err(|_| Error::Failed("stopping broke off".into()))??,
        recv(second) -> _ => return Ok(130),
    };
    complain("c1000k-server", last_line(&summary));
    Ok(0)
}

/// What the server did, in one line.
fn last_line(summary: &Summary) -> String {
    let counts = format_grouped;
    let mut line = format!(
        "accepted {} connections, refused {}, echoed {} messages",
        counts(summary.accepted),
        counts(summary.refused_full),
        counts(summary.messages),
    );
    let serves = |schemes: [&str; 2]| {
        summary.urls.iter().any(|url| schemes.iter().any(|scheme| url.starts_with(scheme)))
    };
    if let Some(tls) = &summary.tls {
        line += &format!(
            "; TLS: {} handshakes, {} failed, {} streams cut",
            counts(tls.handshakes),
            by_key(&tls.failures),
            counts(tls.truncated),
        );
    }
    let http = &summary.http;
    if serves(["http://", "https://"]) {
        line += &format!(
            "; HTTP: answered {}, {} of answers, closed for silence {}, ended within a request {}",
            by_key(&http.responses),
            format_size(http.response_bytes),
            counts(http.idle_closed),
            counts(http.abandoned),
        );
    }
    let ws = &summary.websocket;
    if serves(["ws://", "wss://"]) || ws.upgraded > 0 {
        line += &format!(
            "; WebSocket: upgraded {}, refused {}, broken rules {}, lost without a close {}",
            counts(ws.upgraded),
            by_key(&ws.refused),
            by_key(&ws.protocol_errors),
            counts(ws.lost),
        );
    }
    line
}

/// A sum, and what it is made of: `3 (400: 2, 403: 1)`.
fn by_key(counts: &BTreeMap<impl Display, u64>) -> String {
    let sum = format_grouped(counts.values().sum());
    let each = counts.iter().map(|(key, count)| format!("{key}: {}", format_grouped(*count)));
    match each.collect::<Vec<_>>().join(", ") {
        each if each.is_empty() => sum,
        each => format!("{sum} ({each})"),
    }
}

/// Prints what the machine lacks; exit code 0 or 3.
fn check(args: &CheckArgs) -> Result<u8, Error> {
    let facts = Facts::read();
    let plan = Plan::new(&args.serve, &facts)?;
    let form = Form::of(args.fits, args.serve.json, args.shell, args.sysctl);
    let checked =
        Checked { connections: plan.connections_max, findings: &plan.findings, description: None };
    let text = checked.text(form, |connections| {
        let args = ServeArgs { connections_max: Some(connections), ..args.serve.clone() };
        // Other options were found right before; only zero connections cannot be planned, and need
        // nothing.
        Plan::new(&args, &facts).map_or_else(|_| Vec::new(), |plan| plan.findings)
    })?;
    say(text.trim_end())?;
    Ok(if plan.is_refused() { 3 } else { 0 })
}

impl Server {
    /// Starts the reactors one after the other and, last, the metrics endpoint, whose socket the
    /// reactors' tables would else hold copies of.
    ///
    /// # Errors
    /// If an address cannot be listened on, or a thread not be had.
    pub fn start(plan: &Plan) -> Result<Self, Error> {
        let listen: Vec<SocketAddr> =
            plan.listen.iter().map(|(url, at)| probe(url, *at)).collect::<Result<_, _>>()?;
        let admission = Arc::new(Admission::new(plan.connections_max));
        let clock = Clock::start();
        let mut reactors: Vec<Reactor> = Vec::with_capacity(plan.seats.len());
        for index in 0..plan.seats.len() {
            match start_reactor(plan, &listen, index, clock, Arc::clone(&admission)) {
                Ok(reactor) => reactors.push(reactor),
                Err(error) => {
                    stop_all(&reactors);
                    let _ = join_all(reactors.into_iter().map(|reactor| reactor.thread));
                    return Err(Error::Failed(format!("starting reactor {index}: {error}")));
                }
            }
        }
        let named = plan.listen.iter().zip(&listen);
        let urls = named.map(|((url, _), at)| url_of(url, *at)).collect();
        let watcher = Arc::new(Watcher {
            outsides: reactors.iter().map(|reactor| reactor.outside.clone()).collect(),
            urls,
            connections_max: plan.connections_max,
            backlog: plan.backlog,
            faults: plan.faults.snapshot(),
            clock,
        });
        let mut server = Self { reactors, watcher, endpoint: None, board: None, addresses: listen };
        if plan.serves_page() {
            match Board::start(Arc::clone(&server.watcher)) {
                Ok(board) => server.board = Some(board),
                Err(error) => {
                    let _ = server.stop();
                    return Err(Error::Failed(format!("starting the thread of the page: {error}")));
                }
            }
        }
        if let Some(address) = plan.metrics {
            let watcher = Arc::clone(&server.watcher);
            match Endpoint::start(address, Box::new(move |path| watcher.page(path))) {
                Ok(endpoint) => server.endpoint = Some(endpoint),
                Err(error) => {
                    let _ = server.stop();
                    return Err(Error::Failed(error.to_string()));
                }
            }
        }
        Ok(server)
    }

    /// Where it listens, with real ports, in the order of the URLs.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it serves metrics.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref().map(Endpoint::address)
    }

    /// A look at all reactors.
    #[must_use]
    pub fn snapshot(&self) -> ServerSnapshot {
        self.watcher.snapshot()
    }

    /// Closes all connections, ends all threads, and says what was done.
    ///
    /// # Errors
    /// If a reactor panicked.
    pub fn stop(self) -> Result<Summary, Error> {
        if let Some(board) = self.board {
            board.stop();
        }
        stop_all(&self.reactors);
        let threads = self.reactors.into_iter().map(|reactor| reactor.thread);
        let ended = join_all(threads).map_err(|panic| Error::Failed(panic.to_string()))?;
        let mut last = Vec::with_capacity(ended.len());
        for driver in ended.into_iter().flatten() {
            last.push(driver.last_snapshot().clone());
        }
        Ok(self.watcher.sum(last))
    }

    /// One line per bound address. Who cannot be told where the server listens waits for it in
    /// vain.
    fn announce(&self, plan: &Plan) -> Result<(), Error> {
        for url in &self.watcher.urls {
            let line = if plan.json {
                serde_json::json!({
                    "url": url,
                    "pid": std::process::id(),
                    "reactors": self.reactors.len(),
                    "cores": self.reactors.iter().map(|reactor| reactor.cpu).collect::<Vec<_>>(),
                    "connections_max": plan.connections_max,
                    "backlog": plan.backlog,
                    "open_files_max": plan.http.root.as_ref().map(|_| plan.http.open_files_max),
                    "faults": self.watcher.faults,
                    "tls_authority_sha256": plan.secure.fingerprint(),
                    "metrics": self.metrics_address().map(|address| address.to_string()),
                })
                .to_string()
            } else {
                let mut cores: Vec<usize> = self.reactors.iter().map(|r| r.cpu).collect();
                cores.sort_unstable();
                cores.dedup();
                let metrics = self.metrics_address();
                let metrics =
                    metrics.map_or_else(String::new, |at| format!(", metrics on http://{at}"));
                // A reactor has so many besides its connections.
                let files = plan.http.root.as_ref().map_or_else(String::new, |_| {
                    format!(", {} large files open per reactor", plan.http.open_files_max)
                });
                format!(
                    "listening on {url} ({} reactor{} on CPU {}, up to {} \
                     connections{files}{}{metrics})",
                    self.reactors.len(),
                    if self.reactors.len() == 1 { "" } else { "s" },
                    host::cpu::format_cpu_list(&cores),
                    format_grouped(plan.connections_max),
                    plan.faults.in_words(),
                )
            };
            say(&line)?;
        }
        Ok(())
    }
}

fn url_of(url: &Url, address: SocketAddr) -> String {
    format!("{}://{address}", url.scheme())
}

/// Listens for a moment without sharing the port: `SO_REUSEPORT` would let a second server on the
/// same address take half of the connections in silence. Also finds out the port where 0 was given.
fn probe(url: &Url, address: SocketAddr) -> Result<SocketAddr, Error> {
    let options = ListenOptions { backlog: 1, reuse_port: false };
    let bound =
        socket::listen(address, &options).and_then(|listener| socket::local_address(&listener));
    bound.map_err(|error| {
        let port = address.port();
        Error::Failed(match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{url}: port {port} is in use; choose another port, or stop who has it \
                 (ss -ltnp 'sport = :{port}' names it)"
            ),
            io::ErrorKind::AddrNotAvailable => format!(
                "{url}: {} is no address of this machine (ip address lists those it has)",
                address.ip()
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{url}: ports below 1024 need privilege; choose a port above, or lower \
                 net.ipv4.ip_unprivileged_port_start"
            ),
            _ => format!("{url}: cannot listen: {error}"),
        })
    })
}

fn start_reactor(
    plan: &Plan,
    listen: &[SocketAddr],
    index: usize,
    clock: Clock,
    admission: Arc<Admission>,
) -> io::Result<Reactor> {
    let cpu = plan.seats[index];
    let seat = Seat { index, cpu, own_table: plan.own_tables, clock, limits: plan.limits };
    let (listen, seats) = (listen.to_vec(), plan.seats.clone());
    let options = ListenOptions { backlog: plan.backlog, reuse_port: true };
    // The last listener of a group sees all others: there the steering program goes.
    let steer = plan.steer == Steer::Cpu && index + 1 == seats.len();
    let (idle_timeout, handshake_timeout) = (plan.idle_timeout, plan.handshake_timeout);
    let message_timeout = plan.message_timeout;
    let (services, websocket) = (plan.services(), Arc::clone(&plan.websocket));
    let (http, faults) = (plan.http.clone(), plan.faults);
    let secured = Secured { listeners: plan.secure.listeners.clone(), targets: Vec::new() };
    group::start(seat, move || {
        // Where clients run on the same cores, a million open in two thirds of the time. A machine
        // that forbids it is only slower.
        let _ = host::cpu::schedule_as_batch();
        let listeners: Vec<OwnedFd> = listen
            .iter()
            .map(|address| socket::listen(*address, &options))
            .collect::<io::Result<_>>()?;
        if steer {
            for listener in &listeners {
                socket::attach_steering(listener, &seats)?;
            }
        }
        let site = Site::open(&http)?;
        let driver = ServerDriver::new(index, cpu, admission, idle_timeout, clock.now())
            .serving(services, websocket, handshake_timeout)
            .with_message_timeout(message_timeout)
            .with_site(http, site)
            .with_tls(secured.is_any())
            .with_faults(faults);
        Ok(Parts { driver, listeners, secured, report: () })
    })
}

/// Tells every reactor to stop, also one whose mailbox is full at the moment.
fn stop_all(reactors: &[Reactor]) {
    for reactor in reactors {
        while reactor.outside.send(Command::Stop) == Err(Undelivered::Full) {
            std::thread::yield_now();
        }
    }
}
