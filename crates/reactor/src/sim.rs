//! The simulated network: pipes instead of sockets, and a clock that only moves by hand.
//!
//! Readiness is edge-triggered exactly as epoll's: an event comes when something changed, never for
//! what was left undone. That is what makes the simulator worth having: a loop that forgets a mark
//! or does not arm a write stands still here, at once and every time. Faults ([`Faults`]) cut reads
//! and writes to any size, shrink pipes, delay and refuse connects, and starve `accept`. Stamps of
//! receipt are those of a kernel: one for each write that arrived, by a time of day that can be
//! set.
//!
//! Connections to some addresses ([`World::add_layer`]), or to all of them if the environment has
//! [`LAYER_VARIABLE`], have a layer ([`Toy`]), those by hand as well: so tests that know nothing of
//! layers hold with one.

mod toy;

pub use toy::{CONTENT_BYTES_MAX, HEADER_BYTES, Toy};

use crate::file_part::FilePart;
use crate::layer::{End as LayerEnd, Layer as _};
use crate::network::{Interest, Network, Origin, Ready, Route, Stream, Token};
use host::receipt::TcpHealth;
use host::socket::{ConnectError, ConnectStep};
use measure::{Nanos, Sighting, Wall, WallClock};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// With this in the environment all connections of a simulation have a layer.
pub const LAYER_VARIABLE: &str = "C1000K_SIM_LAYER";

/// Runs those tests of this program whose names begin like this a second time, all connections with
/// layers, but for those whose names contain one of `but`.
///
/// # Panics
/// If one of them fails then.
pub fn again_with_layers(begin: &str, but: &[&str]) {
    if std::env::var_os(LAYER_VARIABLE).is_some() {
        // This is the second time.
        return;
    }
    let program = std::env::current_exe().expect("a test has a program");
    let mut again = std::process::Command::new(program);
    again.arg(begin).args(but.iter().flat_map(|name| ["--skip", name])).env(LAYER_VARIABLE, "1");
    let output = again.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let failures = said.split_once("failures:").map_or(&*said, |(_, failures)| failures);
    assert!(output.status.success(), "with layers:{failures}");
    assert!(!said.contains("running 0 tests"), "no test is named {begin}");
}

/// The bytes that a connection carries one way for writes of so many bytes: what was written, and,
/// if all connections of this test have layers, what their layers add.
#[must_use]
pub fn carried(writes: &[usize]) -> u64 {
    let written = writes.iter().sum::<usize>();
    let records = writes.iter().map(|bytes| bytes.div_ceil(CONTENT_BYTES_MAX)).sum::<usize>();
    let hello = HEADER_BYTES + 1;
    let added = hello + records * HEADER_BYTES;
    (written + if std::env::var_os(LAYER_VARIABLE).is_some() { added } else { 0 }) as u64
}

/// What goes wrong, and how much fits.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The most bytes that one read gives.
    pub read_max: usize,
    /// The most bytes that one write takes.
    pub write_max: usize,
    /// The bytes that fit into a pipe, each way.
    pub pipe_bytes: usize,
    /// How long a connect takes; zero: it is established when `connect` returns.
    pub connect_takes: Nanos,
    /// How many of the next accepts fail with this errno.
    pub accept_errors: (u32, i32),
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            read_max: usize::MAX,
            write_max: usize::MAX,
            pipe_bytes: 64 * 1024,
            connect_takes: Nanos::ZERO,
            accept_errors: (0, 0),
        }
    }
}

/// One end of a simulated connection.
#[derive(Debug, Default)]
struct End {
    /// Bytes that have arrived here.
    arrived: VecDeque<u8>,
    /// What they came in: how many bytes are left of each packet, and its stamp.
    packets: VecDeque<(usize, Option<Wall>)>,
    /// Packets are stamped as they arrive.
    stamps: bool,
    /// The peer has said its last word.
    peer_closed: bool,
    /// The peer has reset.
    reset: bool,
    /// Closing sends a reset.
    reset_on_close: bool,
    /// Connecting succeeds at this time; `None`: it has.
    established_at: Option<Nanos>,
    /// Connecting ends with this errno.
    connect_error: Option<i32>,
    /// A write was refused or cut: room is news.
    blocked: bool,
    watched: Option<Watched>,
    open: bool,
    /// Our side is closed: nothing more can be sent from here.
    finished: bool,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    reactor: usize,
    token: Token,
    writable: bool,
}

#[derive(Debug, Default)]
struct Listening {
    reactor: usize,
    token_index: usize,
    /// What comes is accepted by hand.
    by_hand: bool,
    queue: VecDeque<usize>,
}

#[derive(Debug, Default)]
struct WorldState {
    now: Nanos,
    faults: Faults,
    ends: Vec<End>,
    /// Edges that have not been reported yet: (reactor, end).
    edges: BTreeSet<(usize, usize)>,
    /// The same for listeners: (reactor, listener's number).
    listener_edges: BTreeSet<(usize, usize)>,
    listeners: BTreeMap<SocketAddr, Vec<Listening>>,
    /// Where nobody answers, and where nothing leads to.
    silent: BTreeSet<SocketAddr>,
    unreachable: BTreeSet<SocketAddr>,
    reactors: usize,
    sources_in_use: BTreeSet<(SocketAddr, SocketAddr)>,
    routes: BTreeMap<usize, (SocketAddr, SocketAddr)>,
    next_listener: usize,
    /// The time of day at the start of the clock.
    midnight: i64,
    health: TcpHealth,
    /// Where connections have a layer, and whether they have one everywhere.
    layers: BTreeSet<SocketAddr>,
    layers_everywhere: bool,
    /// Layers that were made.
    layers_made: u8,
    /// The layers of far ends that wait to be accepted by hand. They have said hello.
    hands: BTreeMap<usize, Toy>,
    /// Reads that asked for bytes alone, and those that asked for a stamp as well.
    reads: (u64, u64),
}

/// The world that the reactors of one test share.
#[derive(Clone, Debug, Default)]
pub struct World {
    state: Rc<RefCell<WorldState>>,
}

impl World {
    /// A world at time zero.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        let world = Self::default();
        let mut state = world.state.borrow_mut();
        state.faults = faults;
        state.layers_everywhere = std::env::var_os(LAYER_VARIABLE).is_some();
        drop(state);
        world
    }

    /// From now on connections to there have a layer.
    pub fn add_layer(&self, target: SocketAddr) {
        self.state.borrow_mut().layers.insert(target);
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.state.borrow().now
    }

    /// Moves the clock, never backwards. Connects that are due by then succeed.
    pub fn advance_to(&self, time: Nanos) {
        let mut state = self.state.borrow_mut();
        state.now = state.now.max(time);
        for at in 0..state.ends.len() {
            if state.ends[at].established_at.is_some_and(|due| due <= state.now) {
                state.ends[at].established_at = None;
                state.edge(at);
            }
        }
    }

    /// When the next connect is due, if any is under way.
    #[must_use]
    pub fn next_event(&self) -> Option<Nanos> {
        let state = self.state.borrow();
        let due = state.ends.iter().filter_map(|end| end.established_at);
        due.filter(|due| *due < Nanos::MAX).min()
    }

    /// Sets the time of day forward, or back.
    pub fn set_wall(&self, by: i64) {
        self.state.borrow_mut().midnight += by;
    }

    /// What TCP says of every connection from now on.
    pub fn set_health(&self, health: TcpHealth) {
        self.state.borrow_mut().health = health;
    }

    /// From now on nothing comes back from there.
    pub fn silence(&self, target: SocketAddr) {
        self.state.borrow_mut().silent.insert(target);
    }

    /// From now on nothing leads there.
    pub fn cut_off(&self, target: SocketAddr) {
        self.state.borrow_mut().unreachable.insert(target);
    }

    /// How many reads asked for bytes alone, and how many for a stamp as well.
    #[must_use]
    pub fn reads(&self) -> (u64, u64) {
        self.state.borrow().reads
    }

    /// Whether nothing is left to report to any reactor.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let state = self.state.borrow();
        state.edges.is_empty() && state.listener_edges.is_empty()
    }

    /// Ends of connections that nobody has closed.
    #[must_use]
    pub fn open_ends(&self) -> usize {
        self.state.borrow().ends.iter().filter(|end| end.open).count()
    }

    /// A network for one more reactor, which listens on these addresses. Several reactors may
    /// listen on one address: connections go to them in turn.
    #[must_use]
    pub fn network(&self, listen: &[SocketAddr]) -> Sim {
        self.listen(listen, false)
    }

    /// A network whose connections are accepted and served by hand. Their layers, if they have any,
    /// agree as soon as a connection stands.
    #[must_use]
    pub fn network_by_hand(&self, listen: &[SocketAddr]) -> Sim {
        self.listen(listen, true)
    }

    fn listen(&self, listen: &[SocketAddr], by_hand: bool) -> Sim {
        let mut state = self.state.borrow_mut();
        let reactor = state.reactors;
        state.reactors += 1;
        for (token_index, address) in listen.iter().enumerate() {
            let listening = Listening { reactor, token_index, by_hand, queue: VecDeque::new() };
            state.listeners.entry(*address).or_default().push(listening);
        }
        Sim { world: self.clone(), reactor, listen: listen.to_vec(), wall: None, shared: () }
    }

    /// Opens a connection as a foreign peer would, to be read and written by hand.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn connect_by_hand(&self, target: SocketAddr) -> SimStream {
        let mut stream = self.connect_raw(target);
        let layer = self.state.borrow_mut().layer(target, true);
        stream.take_in_hand(layer);
        stream
    }

    /// The same, but what is sent and received are the bytes as they travel, layer or not.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn connect_raw(&self, target: SocketAddr) -> SimStream {
        let at = self.state.borrow_mut().connect(target).expect("somebody listens");
        SimStream { world: self.clone(), at, hand: None }
    }
}

impl WorldState {
    /// Something changed at this end: tell its reactor, if it is watched.
    fn edge(&mut self, at: usize) {
        if let Some(watched) = self.ends[at].watched {
            self.edges.insert((watched.reactor, at));
        }
    }

    /// A layer for one end of a connection to there, if those have one.
    fn layer(&mut self, target: SocketAddr, begins: bool) -> Option<Toy> {
        let layered = self.layers_everywhere || self.layers.contains(&target);
        layered.then(|| {
            self.layers_made = self.layers_made.wrapping_add(1);
            Toy::new(self.layers_made, begins)
        })
    }

    /// Bytes arrive at this end.
    fn arrive(&mut self, at: usize, bytes: &[u8]) {
        let stamp = Wall(self.midnight + self.now.0 as i64);
        let end = &mut self.ends[at];
        end.arrived.extend(bytes);
        end.packets.push_back((bytes.len(), end.stamps.then_some(stamp)));
        self.edge(at);
    }

    /// Makes a pair of ends and queues the far one; the number of the near one.
    fn connect(&mut self, target: SocketAddr) -> Option<usize> {
        let turn = self.next_listener;
        let listening = self.listeners.get_mut(&target)?;
        let count = listening.len();
        let listening = &mut listening[turn % count];
        self.next_listener += 1;
        let near = self.ends.len();
        self.ends.push(End { open: true, ..End::default() });
        self.ends.push(End { open: true, ..End::default() });
        listening.queue.push_back(near + 1);
        self.listener_edges.insert((listening.reactor, listening.token_index));
        if listening.by_hand
            && let Some(mut layer) = self.layer(target, false)
        {
            let mut hello = Vec::new();
            layer.hello(&mut hello);
            self.arrive(near, &hello);
            self.hands.insert(near + 1, layer);
        }
        Some(near)
    }
}

/// One reactor's view of a [`World`].
#[derive(Debug)]
pub struct Sim {
    world: World,
    reactor: usize,
    listen: Vec<SocketAddr>,
    wall: Option<WallClock>,
    /// What toys share: nothing.
    shared: (),
}

impl Sim {
    /// Takes the next connection from a listener, to be read and written by hand.
    ///
    /// # Errors
    /// As [`Network::accept`].
    pub fn accept_by_hand(&mut self, listener: usize) -> io::Result<SimStream> {
        let mut stream = self.accept(listener)?;
        let agreed = self.world.state.borrow_mut().hands.remove(&stream.at);
        match agreed {
            Some(layer) => stream.hand = Some(RefCell::new(Hand::new(layer))),
            None => {
                let layer = self.world.state.borrow_mut().layer(self.listen[listener], false);
                stream.take_in_hand(layer);
            }
        }
        Ok(stream)
    }
}

/// One end of a simulated connection; dropping it closes it.
#[derive(Debug)]
pub struct SimStream {
    world: World,
    at: usize,
    /// The layer of one that is read and written by hand.
    hand: Option<RefCell<Hand>>,
}

/// The layer of an end without a reactor, and what it has opened. It knows no bound but that of the
/// pipe: its own records arrive whole, whatever the faults.
#[derive(Debug)]
struct Hand {
    layer: Toy,
    opened: VecDeque<u8>,
    end: Option<LayerEnd>,
}

impl Hand {
    fn new(layer: Toy) -> Self {
        Self { layer, opened: VecDeque::new(), end: None }
    }

    /// What has come is opened, and answered.
    fn open(&mut self, wire: &mut [u8]) -> Vec<u8> {
        let (mut plain, mut said) = (Vec::new(), Vec::new());
        self.end = self.layer.open(&mut (), wire, &mut plain, &mut said).end;
        self.opened.extend(plain);
        said
    }
}

impl SimStream {
    /// Gives it a layer, if there is one, which says its hello at once.
    fn take_in_hand(&mut self, layer: Option<Toy>) {
        let Some(mut layer) = layer else { return };
        let mut hello = Vec::new();
        layer.hello(&mut hello);
        self.world.state.borrow_mut().arrive(self.peer(), &hello);
        self.hand = Some(RefCell::new(Hand::new(layer)));
    }

    /// Closes it without the good-bye of its layer, as if the stream were cut.
    pub fn cut(mut self) {
        self.hand = None;
        self.world.state.borrow_mut().ends[self.at].arrived.clear();
    }

    /// Takes bytes as they are meant.
    fn receive_by_hand(&self, hand: &RefCell<Hand>, buffer: &mut [u8]) -> io::Result<usize> {
        let hand = &mut *hand.borrow_mut();
        while hand.opened.is_empty() {
            match hand.end {
                None => {}
                Some(LayerEnd::Goodbye) => return Ok(0),
                Some(LayerEnd::Broken) => return Err(errno(EPROTO)),
            }
            let mut wire = vec![0; buffer.len() + HEADER_BYTES];
            let (count, _) = self.take(&mut wire)?;
            if count == 0 {
                return Ok(0);
            }
            let said = hand.open(&mut wire[..count]);
            assert!(said.is_empty(), "it has said hello");
        }
        let count = buffer.len().min(hand.opened.len());
        for (byte, opened) in buffer.iter_mut().zip(hand.opened.drain(..count)) {
            *byte = opened;
        }
        Ok(count)
    }

    /// Says good-bye, as an end does that closes in the ordinary way.
    fn say_goodbye(&self, state: &mut WorldState) {
        if let Some(hand) = &self.hand
            && !state.ends[self.at].finished
        {
            let mut goodbye = Vec::new();
            hand.borrow_mut().layer.goodbye(&mut (), &mut goodbye);
            state.arrive(self.peer(), &goodbye);
        }
    }

    /// Ends are made in pairs, an even number and the odd one behind it.
    fn peer(&self) -> usize {
        self.at ^ 1
    }

    /// Takes bytes, and the stamp of the last packet that any of them were taken from.
    fn take(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<Wall>)> {
        let mut state = self.world.state.borrow_mut();
        let (read_max, peer) = (state.faults.read_max, self.peer());
        let end = &mut state.ends[self.at];
        if end.reset {
            return Err(errno(ECONNRESET));
        }
        if end.arrived.is_empty() {
            let none = io::ErrorKind::WouldBlock.into();
            return if end.peer_closed { Ok((0, None)) } else { Err(none) };
        }
        let count = buffer.len().min(end.arrived.len()).min(read_max);
        for (byte, arrived) in buffer.iter_mut().zip(end.arrived.drain(..count)) {
            *byte = arrived;
        }
        let (mut left, mut stamp) = (count, None);
        while left > 0 {
            let packet = end.packets.front_mut().expect("every byte came in a packet");
            let taken = left.min(packet.0);
            (left, packet.0, stamp) = (left - taken, packet.0 - taken, packet.1);
            if packet.0 == 0 {
                end.packets.pop_front();
            }
        }
        // A fault that cuts a read leaves bytes behind without an edge to come; as a short read
        // says that nothing is left, the rest has to be news of its own.
        if !end.arrived.is_empty() && count == read_max && count < buffer.len() {
            state.edge(self.at);
        }
        if std::mem::take(&mut state.ends[peer].blocked) {
            state.edge(peer);
        }
        Ok((count, stamp))
    }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

const ECONNREFUSED: i32 = 111;
const ECONNRESET: i32 = 104;
const EPIPE: i32 = 32;
const EPROTO: i32 = 71;
const ENETUNREACH: i32 = 101;
const EADDRINUSE: i32 = 98;
const EADDRNOTAVAIL: i32 = 99;

impl Stream for SimStream {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.world.state.borrow_mut().reads.0 += 1;
        match &self.hand {
            Some(hand) => self.receive_by_hand(hand, buffer),
            None => self.take(buffer).map(|(count, _)| count),
        }
    }

    fn stamp_receipts(&self) -> io::Result<()> {
        self.world.state.borrow_mut().ends[self.at].stamps = true;
        Ok(())
    }

    fn receive_stamped(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<Wall>)> {
        self.world.state.borrow_mut().reads.1 += 1;
        self.take(buffer)
    }

    fn health(&self) -> Option<TcpHealth> {
        Some(self.world.state.borrow().health)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.world.state.borrow_mut();
        let peer = self.peer();
        if state.ends[self.at].reset {
            return Err(errno(ECONNRESET));
        }
        if !state.ends[peer].open || state.ends[self.at].finished {
            return Err(errno(EPIPE));
        }
        let room = state.faults.pipe_bytes.saturating_sub(state.ends[peer].arrived.len());
        let count = bytes.len().min(room).min(state.faults.write_max);
        if count < bytes.len() {
            state.ends[self.at].blocked = true;
            if room > count {
                // Cut by a fault and not for want of room: room is there, and that is news.
                state.ends[self.at].blocked = false;
                state.edge(self.at);
            }
        }
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match &self.hand {
            None => state.arrive(peer, &bytes[..count]),
            Some(hand) => {
                let mut sealed = Vec::new();
                let sealing = hand.borrow_mut().layer.seal(&mut (), &bytes[..count], &mut sealed);
                sealing.expect("a toy seals without end");
                state.arrive(peer, &sealed);
            }
        }
        Ok(count)
    }

    fn send_ahead(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    fn send_file(&self, part: &FilePart, max: usize) -> io::Result<usize> {
        let mut bytes = vec![0; part.left().min(max as u64) as usize];
        let count = rustix::io::pread(part.file(), &mut bytes, part.at())?;
        if count == 0 { Ok(0) } else { self.send(&bytes[..count]) }
    }

    fn is_established(&self) -> bool {
        let state = self.world.state.borrow();
        let end = &state.ends[self.at];
        end.established_at.is_none() && end.connect_error.is_none()
    }

    fn take_error(&self) -> Option<io::Error> {
        let mut state = self.world.state.borrow_mut();
        let end = &mut state.ends[self.at];
        end.connect_error.take().map(errno)
    }

    fn finish_sending(&self) {
        let mut state = self.world.state.borrow_mut();
        let peer = self.peer();
        self.say_goodbye(&mut state);
        state.ends[self.at].finished = true;
        state.ends[peer].peer_closed = true;
        state.edge(peer);
    }

    fn reset_on_close(&self) {
        self.world.state.borrow_mut().ends[self.at].reset_on_close = true;
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut state = self.world.state.borrow_mut();
        let (at, peer) = (self.at, self.peer());
        let end = &mut state.ends[at];
        end.open = false;
        end.watched = None;
        let mut unread = !end.arrived.is_empty();
        if let Some(hand) = &self.hand {
            // What only the layer reads was read.
            let mut arrived: Vec<u8> = end.arrived.drain(..).collect();
            let mut hand = hand.borrow_mut();
            hand.open(&mut arrived);
            unread = !hand.opened.is_empty();
        }
        // Closing with bytes unread is a reset, as in TCP (RFC 1122, 4.2.2.13).
        let reset = end.reset_on_close || unread;
        if !reset && state.ends[peer].open {
            self.say_goodbye(&mut state);
        }
        state.edges.retain(|&(_, edge)| edge != at);
        if let Some(route) = state.routes.remove(&at) {
            state.sources_in_use.remove(&route);
        }
        if let Some(peer_end) = state.ends.get_mut(peer).filter(|end| end.open) {
            peer_end.peer_closed = true;
            peer_end.reset |= reset;
            state.edge(peer);
        }
    }
}

impl Network for Sim {
    type Stream = SimStream;
    type Layer = Toy;

    fn layer(&mut self, origin: Origin<'_>) -> Option<Toy> {
        let (target, begins) = match origin {
            Origin::Listener(listener) => (self.listen[listener], false),
            Origin::Route(route) => (route.target, true),
        };
        self.world.state.borrow_mut().layer(target, begins)
    }

    fn shared(&self) -> &() {
        &self.shared
    }

    fn shared_mut(&mut self) -> &mut () {
        &mut self.shared
    }

    fn now(&self) -> Nanos {
        self.world.now()
    }

    fn receipt(&mut self, stamp: Wall, now: Nanos) -> Nanos {
        let (time, midnight) = {
            let state = self.world.state.borrow();
            (state.now, state.midnight)
        };
        let look = || Sighting::take(|| time, || Wall(midnight + time.0 as i64));
        WallClock::place(&mut self.wall, stamp, now, look)
    }

    fn wall_steps(&self) -> u64 {
        self.wall.map_or(0, |wall| wall.steps())
    }

    fn wait(&mut self, ready: &mut Vec<Ready>, _deadline: Option<Nanos>) -> io::Result<()> {
        ready.clear();
        // The mailbox of a simulated reactor has no waker: every turn looks into it anyway.
        let mut state = self.world.state.borrow_mut();
        let mine = (self.reactor, 0)..(self.reactor + 1, 0);
        let listeners: Vec<_> = state.listener_edges.range(mine.clone()).copied().collect();
        for edge in listeners {
            state.listener_edges.remove(&edge);
            let token = Token::listener(edge.1);
            ready.push(Ready { token, readable: true, writable: false, closed: false });
        }
        let edges: Vec<_> = state.edges.range(mine).copied().collect();
        for edge in edges {
            state.edges.remove(&edge);
            let at = edge.1;
            let Some(watched) = state.ends[at].watched else { continue };
            let room = state.faults.pipe_bytes
                > state.ends.get(at ^ 1).map_or(0, |peer| peer.arrived.len());
            let end = &state.ends[at];
            // A write to a broken connection fails at once, which counts as room (tcp_poll).
            let room = room || end.reset;
            let connecting = end.established_at.is_some();
            ready.push(Ready {
                token: watched.token,
                readable: !connecting && (!end.arrived.is_empty() || end.peer_closed),
                writable: watched.writable && !connecting && room,
                closed: end.peer_closed || end.reset || end.connect_error.is_some(),
            });
        }
        Ok(())
    }

    fn stand_still(&mut self, _until: Nanos) {}

    fn watch(&mut self, stream: &SimStream, token: Token, interest: Interest) -> io::Result<()> {
        let mut state = self.world.state.borrow_mut();
        let writable = interest == Interest::ReadableAndWritable;
        let end = &mut state.ends[stream.at];
        end.watched = Some(Watched { reactor: self.reactor, token, writable });
        let news = !end.arrived.is_empty()
            || end.peer_closed
            || end.connect_error.is_some()
            || (writable && end.established_at.is_none());
        if news {
            state.edge(stream.at);
        }
        Ok(())
    }

    fn watch_writable(&mut self, stream: &SimStream, token: Token) -> io::Result<()> {
        self.watch(stream, token, Interest::ReadableAndWritable)
    }

    fn accept(&mut self, listener: usize) -> io::Result<SimStream> {
        let mut state = self.world.state.borrow_mut();
        let (failing, number) = state.faults.accept_errors;
        if failing > 0 {
            state.faults.accept_errors.0 -= 1;
            return Err(errno(number));
        }
        let all = state.listeners.get_mut(&self.listen[listener]);
        let mine = all.and_then(|all| all.iter_mut().find(|l| l.reactor == self.reactor));
        let next = mine.and_then(|mine| mine.queue.pop_front());
        let at = next.ok_or_else(|| io::Error::from(io::ErrorKind::WouldBlock))?;
        Ok(SimStream { world: self.world.clone(), at, hand: None })
    }

    fn connect(&mut self, route: &Route) -> Result<SimStream, ConnectError> {
        let mut state = self.world.state.borrow_mut();
        let failed = |step, number| Err(ConnectError { step, error: errno(number) });
        let source = route.source.filter(|source| source.port() != 0);
        if let Some(source) = source {
            if state.sources_in_use.contains(&(source, route.target)) {
                return failed(ConnectStep::Connect, EADDRNOTAVAIL);
            }
            let bound = state.sources_in_use.iter().any(|(other, _)| *other == source);
            if !route.share_port && bound {
                return failed(ConnectStep::Bind, EADDRINUSE);
            }
        }
        if state.unreachable.contains(&route.target) {
            return failed(ConnectStep::Connect, ENETUNREACH);
        }
        let silent = state.silent.contains(&route.target);
        let reached = if silent { None } else { state.connect(route.target) };
        let at = match reached {
            Some(at) => {
                let takes = state.faults.connect_takes;
                let due = state.now + takes;
                state.ends[at].established_at = (takes > Nanos::ZERO).then_some(due);
                at
            }
            None => {
                // Nobody listens: an end without a peer, whose connecting fails, or never ends.
                let at = state.ends.len();
                state.ends.push(End {
                    open: true,
                    connect_error: (!silent).then_some(ECONNREFUSED),
                    established_at: silent.then_some(Nanos::MAX),
                    ..End::default()
                });
                state.ends.push(End::default());
                at
            }
        };
        if let Some(source) = source {
            state.sources_in_use.insert((source, route.target));
            state.routes.insert(at, (source, route.target));
        }
        Ok(SimStream { world: self.world.clone(), at, hand: None })
    }
}
