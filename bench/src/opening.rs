//! Opening and holding connections by the hundred thousand: the floor for "a million".
//!
//! Client threads name their source ports and connect to server threads of this same process behind
//! one `SO_REUSEPORT` port. Every thread has a descriptor table of its own, so that a limit of
//! 20,000 descriptors stands in no one's way and no table is locked or shared.
//!
//! ```text
//! main thread                     client thread (one for each share of the connections)
//!            ---- Open ------->   socket, bind, connect, register: connect() timed
//!            <--- Opened -----
//!   (memory) ---- Echo ------->   one message over each connection, 64 in flight
//!            <--- Echoed -----
//!            ---- Close ------>   reset, no TIME_WAIT
//!            <--- Closed -----
//! ```
//! Openers take turns where the main thread keeps some waiting; echo and close run all at once.

use crate::cli::OpenArgs;
use crate::procfs::{self, Memory};
use crate::server::EchoServer;
use crate::socket::{self, PATIENCE, event_room, send_all};
use crate::sources::Lane;
use crate::values::Openers;
use anyhow::{Context, Result, bail, ensure};
use measure::{Clock, FineHistogram, Nanos, share};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

/// Connections for each thread unless told otherwise: below a table of 20,000 with room for what
/// `SO_REUSEPORT` lays unevenly.
const CONNECTIONS_PER_THREAD: u64 = 18_000;
/// Descriptors that a thread needs beside its connections.
const DESCRIPTORS_BESIDE: u64 = 64;
const MESSAGE: usize = 32;
const IN_FLIGHT: usize = 64;
/// The run is cut into so many parts, to see whether the first and the last go equally fast.
const PARTS: usize = 20;
/// The longest that the threads may say nothing before the run is given up.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// What a run showed, as it is printed. Bytes are per pair: both ends are on this machine.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct OpenLine {
    pub(crate) connections: u64,
    pub(crate) threads: u64,
    pub(crate) server_threads: u64,
    pub(crate) openers: u64,
    pub(crate) sources: u64,
    pub(crate) seconds: f64,
    pub(crate) rate_per_second: f64,
    /// Over the first and the last 5 % of the connections.
    pub(crate) rate_first_per_second: f64,
    pub(crate) rate_last_per_second: f64,
    pub(crate) connect_p50_ns: u64,
    pub(crate) connect_p99_ns: u64,
    pub(crate) connect_max_ns: u64,
    /// Ports that were taken by somebody else and passed over.
    pub(crate) ports_skipped: u64,
    /// From the last connect to the last accept.
    pub(crate) accept_lag_seconds: f64,
    /// By `MemFree`: kernel and this process together.
    pub(crate) memory_bytes_per_pair: i64,
    /// By `Slab`: the kernel's objects alone.
    pub(crate) slab_bytes_per_pair: i64,
    pub(crate) resident_bytes_per_pair: i64,
    pub(crate) echo_rounds: u32,
    pub(crate) echoes_per_second: Option<f64>,
    pub(crate) closes_per_second: f64,
}

/// A number of threads for each job, checked against the descriptor limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Crew {
    clients: u64,
    servers: u64,
    openers: u64,
    sources: u64,
}

impl Crew {
    fn new(args: &OpenArgs, descriptors_max: u64) -> Result<Self> {
        let room = descriptors_max.saturating_sub(DESCRIPTORS_BESIDE).max(1);
        let least = args.connections.div_ceil(room.min(CONNECTIONS_PER_THREAD));
        let clients = args.threads.map_or(least, u64::from);
        let servers = args.server_threads.map_or(least, u64::from);
        for (count, option) in [(clients, "--threads"), (servers, "--server-threads")] {
            ensure!(
                args.connections.div_ceil(count) <= room,
                "{count} threads hold at most {room} connections each: use {option} {least}"
            );
        }
        let openers = match args.openers {
            Openers::All => clients,
            Openers::AtMost(count) => u64::from(count).min(clients),
        };
        let sources = args.sources.map_or(clients, u64::from).min(clients);
        Ok(Self { clients, servers, openers, sources })
    }
}

enum Order {
    Open,
    Echo(u32),
    Close,
}

/// What a thread tells the main one. Errors come the same way, and end the run.
enum Done {
    Listening,
    Opened(Box<Opened>),
    Echoed,
    Closed,
}

struct Opened {
    connect: FineHistogram,
    ports_skipped: u64,
}

/// What all threads see: the clock and how far the run is.
struct Progress {
    clock: Clock,
    total: u64,
    opened: AtomicU64,
    accepted: AtomicU64,
    /// When each part was complete, written by the thread that completed it.
    parts: [AtomicU64; PARTS + 1],
}

impl Progress {
    fn new(total: u64) -> Self {
        let (opened, accepted) = (AtomicU64::new(0), AtomicU64::new(0));
        let parts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { clock: Clock::start(), total, opened, accepted, parts }
    }

    /// How many connections are open when `part` parts are complete.
    fn boundary(&self, part: usize) -> u64 {
        (self.total * part as u64).div_ceil(PARTS as u64)
    }

    fn count_opened(&self, now: Nanos) {
        let opened = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let part = (opened * PARTS as u64 / self.total) as usize;
        if self.boundary(part) == opened {
            self.parts[part].store(now.0, Ordering::Relaxed);
        }
    }

    /// Connections per second from one boundary to another.
    fn rate(&self, from: usize, to: usize) -> f64 {
        let at = |part: usize| Nanos(self.parts[part].load(Ordering::Relaxed));
        (self.boundary(to) - self.boundary(from)) as f64 / (at(to) - at(from)).as_secs_f64()
    }
}

pub(crate) fn run(args: &OpenArgs) -> Result<()> {
    ensure!(args.connections >= PARTS as u64, "--connections {PARTS} is the least");
    let crew = Crew::new(args, socket::descriptors_max())?;
    let port = match args.port {
        Some(port) => port,
        None => procfs::free_ports(1)?[0],
    };
    let progress = Arc::new(Progress::new(args.connections));
    let (sender, reports) = mpsc::channel();
    for index in 0..crew.servers {
        start("server", index, &sender, {
            let (sender, progress) = (sender.clone(), Arc::clone(&progress));
            move || serve(port, &sender, &progress)
        })?;
    }
    expect(&reports, crew.servers, |done| matches!(done, Done::Listening).then_some(()))?;
    let mut clients = Vec::new();
    for index in 0..crew.clients {
        let (orders, inbox) = mpsc::channel();
        let client = Client::new(index, port, args, crew, &progress)?;
        start("client", index, &sender, {
            let sender = sender.clone();
            move || client.obey(&inbox, &sender)
        })?;
        clients.push(orders);
    }
    let line = conduct(args, crew, &progress, &clients, &reports)?;
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}

/// Starts a thread with a table of its own, on the CPUs in turn. Its error goes to the main thread.
fn start(
    role: &str,
    index: u64,
    sender: &Sender<Result<Done>>,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    let sender = sender.clone();
    let name = format!("{role} {index}");
    let named = name.clone();
    let cpus = thread::available_parallelism()?.get();
    thread::Builder::new().name(name).stack_size(256 << 10).spawn(move || {
        let done = host::table::unshare_descriptors()
            .context("no descriptor table of its own")
            .and_then(|()| socket::pin(Some(index as usize % cpus)))
            .and_then(|()| work());
        if let Err(error) = done {
            // Where the main thread has gone, nobody needs to know any more.
            let _ = sender.send(Err(error.context(format!("thread '{named}'"))));
        }
    })?;
    Ok(())
}

fn serve(port: u16, sender: &Sender<Result<Done>>, progress: &Progress) -> Result<()> {
    let server = EchoServer::bind(port, true)?;
    sender.send(Ok(Done::Listening))?;
    match server.run(&progress.accepted)? {}
}

/// Leads the threads through opening, holding, echoing and closing.
fn conduct(
    args: &OpenArgs,
    crew: Crew,
    progress: &Progress,
    clients: &[Sender<Order>],
    reports: &Receiver<Result<Done>>,
) -> Result<OpenLine> {
    let clock = progress.clock;
    let before = Memory::read()?;
    let start = clock.now();
    progress.parts[0].store(start.0, Ordering::Relaxed);
    let (connect, ports_skipped) = open_in_turns(crew, clients, reports)?;
    let seconds = (clock.now() - start).as_secs_f64();
    let accept_lag = wait_for_accepts(progress)?;
    pause(Duration::from_millis(500));
    let held = Memory::read()?;

    let start = clock.now();
    if args.echo_rounds > 0 {
        tell(clients, || Order::Echo(args.echo_rounds))?;
        expect(reports, crew.clients, |done| matches!(done, Done::Echoed).then_some(()))?;
    }
    let echoing = (clock.now() - start).as_secs_f64();
    let echoes = (args.connections * u64::from(args.echo_rounds)) as f64;

    let start = clock.now();
    tell(clients, || Order::Close)?;
    expect(reports, crew.clients, |done| matches!(done, Done::Closed).then_some(()))?;
    let closing = (clock.now() - start).as_secs_f64();

    let per_pair = |bytes: i64| bytes / args.connections as i64;
    Ok(OpenLine {
        connections: args.connections,
        threads: crew.clients,
        server_threads: crew.servers,
        openers: crew.openers,
        sources: crew.sources,
        seconds,
        rate_per_second: args.connections as f64 / seconds,
        rate_first_per_second: progress.rate(0, 1),
        rate_last_per_second: progress.rate(PARTS - 1, PARTS),
        connect_p50_ns: connect.quantile(0.5).unwrap_or_default(),
        connect_p99_ns: connect.quantile(0.99).unwrap_or_default(),
        connect_max_ns: connect.max().unwrap_or_default(),
        ports_skipped,
        accept_lag_seconds: accept_lag.as_secs_f64(),
        memory_bytes_per_pair: per_pair(before.free as i64 - held.free as i64),
        slab_bytes_per_pair: per_pair(held.slab as i64 - before.slab as i64),
        resident_bytes_per_pair: per_pair(held.resident as i64 - before.resident as i64),
        echo_rounds: args.echo_rounds,
        echoes_per_second: (args.echo_rounds > 0).then(|| echoes / echoing),
        closes_per_second: args.connections as f64 / closing,
    })
}

/// Lets the first openers begin, and one more whenever one is done.
fn open_in_turns(
    crew: Crew,
    clients: &[Sender<Order>],
    reports: &Receiver<Result<Done>>,
) -> Result<(FineHistogram, u64)> {
    let (mut connect, mut ports_skipped) = (FineHistogram::new(), 0);
    let mut waiting = clients.iter();
    for client in waiting.by_ref().take(crew.openers as usize) {
        client.send(Order::Open)?;
    }
    for _ in clients {
        let Done::Opened(opened) = report(reports)? else { bail!("a thread is out of step") };
        connect.merge(&opened.connect);
        ports_skipped += opened.ports_skipped;
        if let Some(client) = waiting.next() {
            client.send(Order::Open)?;
        }
    }
    Ok((connect, ports_skipped))
}

/// Waits until the servers have accepted everything, and returns how long that took.
fn wait_for_accepts(progress: &Progress) -> Result<Nanos> {
    let start = progress.clock.now();
    loop {
        let accepted = progress.accepted.load(Ordering::Relaxed);
        let waited = progress.clock.now() - start;
        if accepted >= progress.total {
            return Ok(waited);
        }
        ensure!(
            waited < Nanos::from_secs(30),
            "only {accepted} of {} connections were accepted, 30 s after the last connect",
            progress.total
        );
        pause(Duration::from_millis(1));
    }
}

fn tell(clients: &[Sender<Order>], order: impl Fn() -> Order) -> Result<()> {
    clients.iter().try_for_each(|client| client.send(order())).context("a client thread is gone")
}

fn report(reports: &Receiver<Result<Done>>) -> Result<Done> {
    reports.recv_timeout(SILENCE_MAX).context("the threads made no headway for 10 minutes")?
}

/// Waits for the same report from so many threads.
fn expect(
    reports: &Receiver<Result<Done>>,
    count: u64,
    expected: impl Fn(Done) -> Option<()>,
) -> Result<()> {
    (0..count).try_for_each(|_| expected(report(reports)?).context("a thread is out of step"))
}

#[expect(clippy::disallowed_methods, reason = "the main thread waits for the kernel to settle")]
fn pause(span: Duration) {
    thread::sleep(span);
}

/// One thread's share of the connections. Its sockets belong to the thread's own table.
struct Client {
    share: u64,
    port: u16,
    lane: Lane,
    progress: Arc<Progress>,
}

impl Client {
    fn new(
        index: u64,
        port: u16,
        args: &OpenArgs,
        crew: Crew,
        progress: &Arc<Progress>,
    ) -> Result<Self> {
        let share = share(args.connections, crew.clients, index);
        let lane = Lane::new(index, crew.clients, crew.sources, args.source_octet);
        ensure!(
            share <= lane.left(),
            "a thread has {} ports for its {share} connections: use more --sources",
            lane.left()
        );
        Ok(Self { share, port, lane, progress: Arc::clone(progress) })
    }

    /// Does what it is told until nobody can tell it any more.
    fn obey(mut self, orders: &Receiver<Order>, reports: &Sender<Result<Done>>) -> Result<()> {
        let mut held = Held::new()?;
        for order in orders {
            let done = match order {
                Order::Open => Done::Opened(Box::new(self.open(&mut held)?)),
                Order::Echo(rounds) => {
                    held.echo(rounds)?;
                    Done::Echoed
                }
                Order::Close => {
                    held.sockets.drain(..).for_each(socket::reset);
                    Done::Closed
                }
            };
            reports.send(Ok(done))?;
        }
        Ok(())
    }

    fn open(&mut self, held: &mut Held) -> Result<Opened> {
        let mut opened = Opened { connect: FineHistogram::new(), ports_skipped: 0 };
        held.sockets.reserve_exact(self.share as usize);
        while (held.sockets.len() as u64) < self.share {
            let source = self.lane.next().with_context(|| {
                format!("its ports ran out at {} of {} connections", held.sockets.len(), self.share)
            })?;
            let socket = match socket::bound(Some(source)) {
                Ok(socket) => socket,
                // Somebody uses that port: it is passed over and never asked for again.
                Err(Errno::ADDRINUSE) => {
                    opened.ports_skipped += 1;
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("binding to {source}")),
            };
            let start = self.progress.clock.now();
            socket::connect(&socket, self.port)
                .with_context(|| format!("connecting from {source} to port {}", self.port))?;
            let end = self.progress.clock.now();
            opened.connect.record((end - start).0);
            held.add(socket)?;
            self.progress.count_opened(end);
        }
        Ok(opened)
    }
}

/// The connections that a thread holds, each registered for what may come back.
struct Held {
    epoll: OwnedFd,
    sockets: Vec<OwnedFd>,
    events: Box<[Event]>,
}

impl Held {
    fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, sockets: Vec::new(), events: event_room() })
    }

    fn add(&mut self, socket: OwnedFd) -> Result<()> {
        let token = EventData::new_u64(self.sockets.len() as u64);
        epoll::add(&self.epoll, &socket, token, EventFlags::IN | EventFlags::ET)?;
        self.sockets.push(socket);
        Ok(())
    }

    /// Sends a message over each connection and takes its echo, `rounds` times, never with more
    /// than [`IN_FLIGHT`] under way. Echoes are counted by their bytes.
    fn echo(&mut self, rounds: u32) -> Result<()> {
        let message = [b'x'; MESSAGE];
        // As much as one connection may have under way, where there are fewer than IN_FLIGHT.
        let mut buffer = [0; MESSAGE * IN_FLIGHT];
        let total = self.sockets.len() * rounds as usize;
        let (mut sent, mut received) = (0, 0);
        while received < total * MESSAGE {
            while sent < total && sent - received / MESSAGE < IN_FLIGHT {
                send_all(&self.sockets[sent % self.sockets.len()], &message)?;
                sent += 1;
            }
            let count = socket::wait(&self.epoll, &mut self.events, Some(&PATIENCE))?;
            ensure!(count > 0, "no echo came back for 5 s");
            for event in &self.events[..count] {
                let socket = &self.sockets[event.data.u64() as usize];
                match net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((0, _)) => bail!("the server closed a connection"),
                    Ok((read, _)) => received += read,
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(error).context("the server dropped a connection"),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(connections: u64) -> OpenArgs {
        OpenArgs {
            connections,
            threads: None,
            server_threads: None,
            openers: Openers::All,
            sources: None,
            source_octet: 1,
            echo_rounds: 0,
            port: None,
        }
    }

    #[test]
    fn a_crew_fits_the_descriptor_limit() {
        let million = Crew::new(&args(1_000_000), 20_000).expect("a crew");
        assert_eq!(million, Crew { clients: 56, servers: 56, openers: 56, sources: 56 });
        let small = Crew::new(&args(2_000), 1_064).expect("a crew");
        assert_eq!((small.clients, small.servers), (2, 2));
        let turns = OpenArgs { openers: Openers::AtMost(2), sources: Some(1), ..args(60_000) };
        let crew = Crew::new(&turns, 20_000).expect("a crew");
        assert_eq!(crew, Crew { clients: 4, servers: 4, openers: 2, sources: 1 });
        let few = OpenArgs { threads: Some(1), ..args(60_000) };
        let error = Crew::new(&few, 20_000).expect_err("too few").to_string();
        assert!(error.contains("--threads 4"), "{error}");
    }

    #[test]
    fn each_part_is_stamped_once_by_whoever_completes_it() {
        let progress = Progress::new(1_010);
        (1..=1_010).for_each(|n| progress.count_opened(Nanos(n * 1_000)));
        for part in 1..=PARTS {
            let stamp = progress.parts[part].load(Ordering::Relaxed);
            assert_eq!(stamp, progress.boundary(part) * 1_000, "part {part}");
        }
        // One connection each microsecond, from the first part to the last.
        assert!((progress.rate(0, PARTS) - 1e6).abs() < 1.0);
        assert!((progress.rate(PARTS - 1, PARTS) - 1e6).abs() < 1.0);
    }
}
