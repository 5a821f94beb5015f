//! The loop against the simulated network: edge-triggered events, one-byte reads, budgets of one.

use c1000k_reactor::sim::{Faults, Sim, SimStream, World};
use c1000k_reactor::{
    Core, Driver, Ending, FilePart, Key, Limits, Marks, Opened, Reactor, Read, Route, Stream,
    mailbox,
};
use measure::{Failure, Nanos};
use proptest::prelude::*;
use std::net::SocketAddr;

fn address() -> SocketAddr {
    ([127, 0, 0, 1], 9000).into()
}

/// Sends back what it gets; opens connections when told to, and notes what becomes of them.
#[derive(Debug, Default)]
struct Probe {
    refuse: bool,
    /// The byte behind which nothing more is sent.
    last_word: Option<u8>,
    opened: u32,
    endings: Vec<Ending>,
    received: Vec<u8>,
}

enum Command {
    Open(Route),
}

impl Driver<Sim> for Probe {
    type Session = ();
    type Command = Command;
    const PAUSE_READS_WHILE_BLOCKED: bool = true;

    fn admit(&mut self, _: &mut Core<Sim, ()>, _: usize) -> Option<()> {
        (!self.refuse).then_some(())
    }
    fn on_open(&mut self, _: &mut Core<Sim, ()>, _: Key) {
        self.opened += 1;
    }
    fn on_bytes(&mut self, core: &mut Core<Sim, ()>, key: Key, Read { bytes, .. }: Read<'_>) {
        self.received.extend_from_slice(bytes);
        if let Err(failure) = core.send(key, bytes) {
            core.close(key);
            self.endings.push(Ending::Broken(failure));
        }
        if self.last_word.is_some_and(|last| bytes.contains(&last)) {
            core.finish(key);
        }
    }
    fn on_end(&mut self, _: &mut Core<Sim, ()>, (): (), ending: Ending, _: Marks) {
        self.endings.push(ending);
    }
    fn on_command(&mut self, core: &mut Core<Sim, ()>, Command::Open(route): Command) {
        match core.open(&route, ()) {
            Ok(Opened::AtOnce(_)) => self.opened += 1,
            Ok(Opened::Waiting(_)) => {}
            Err((error, ())) => {
                self.endings.push(Ending::NotOpened(Failure::from_io(&error.error), None));
            }
        }
    }
    fn on_turn(&mut self, _: &mut Core<Sim, ()>) -> Option<Nanos> {
        None
    }
    fn is_finished(&self) -> bool {
        false
    }
}

type Echo = Reactor<Sim, Probe>;

fn limits() -> Limits {
    Limits { receive_buffer_bytes: 16, ..Limits::for_slots(8) }
}

fn server(world: &World, limits: Limits) -> Echo {
    let (_, inbox) = mailbox::open_unwatched();
    Reactor::new(world.network(&[address()]), Probe::default(), inbox, limits, 1)
}

/// Turns until nothing is ready and no mark is left.
fn settle(reactor: &mut Echo, world: &World) {
    // A command may make news after the wait of its turn: rest is two quiet turns in a row.
    let mut quiet = 0;
    for _ in 0..100_000 {
        let events = reactor.core().counters.events;
        reactor.turn().expect("the simulator never fails to wait");
        let at_once = reactor.deadline().is_some_and(|deadline| deadline <= world.now());
        quiet = if reactor.core().counters.events == events && !at_once { quiet + 1 } else { 0 };
        if quiet == 2 {
            return;
        }
    }
    panic!("the loop never comes to rest");
}

fn read_all(stream: &SimStream, into: &mut Vec<u8>) {
    let mut buffer = [0; 64];
    while let Ok(count @ 1..) = stream.receive(&mut buffer) {
        into.extend_from_slice(&buffer[..count]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_byte_comes_back_in_order_whatever_is_cut(
        message in prop::collection::vec(any::<u8>(), 1..400),
        pieces in prop::collection::vec(1..60usize, 1..30),
        read_max in 1..40usize,
        write_max in 1..40usize,
        pipe_bytes in 1..200usize,
        reads_per_turn in 1..4usize,
        accept_batch in 1..3usize,
        peers in 1..5usize,
    ) {
        let world = World::new(Faults { read_max, write_max, pipe_bytes, ..Faults::default() });
        let mut server = server(&world, Limits { reads_per_turn, accept_batch, ..limits() });
        let streams: Vec<_> = (0..peers).map(|_| world.connect_by_hand(address())).collect();
        let mut got = vec![Vec::new(); peers];
        let mut sent = vec![0; peers];
        for (round, piece) in pieces.iter().cycle().take(4_000).enumerate() {
            for (peer, stream) in streams.iter().enumerate() {
                let rest = &message[sent[peer]..];
                // Slow readers: a peer reads only every other time.
                sent[peer] += stream.send(&rest[..rest.len().min(*piece)]).unwrap_or(0);
                if (round + peer) % 3 == 0 || sent[peer] == message.len() {
                    read_all(stream, &mut got[peer]);
                }
            }
            settle(&mut server, &world);
            prop_assert!(server.core().unsent_bytes() <= 16 * peers, "more than one read waits");
        }
        for got in got {
            prop_assert_eq!(&got, &message);
        }
        prop_assert_eq!(server.core().unsent_bytes(), 0);
        prop_assert_eq!(server.core().counters.stale_events, 0);
    }

    #[test]
    fn what_a_peer_is_owed_reaches_it_after_it_has_closed_its_side(
        length in 1..300usize, pipe_bytes in 1..50usize,
    ) {
        // The far end of the pipe reads only after the server has seen the end of the stream.
        let world = World::new(Faults { pipe_bytes, ..Faults::default() });
        let mut server = server(&world, limits());
        let stream = world.connect_by_hand(address());
        let message = vec![7; length];
        let (mut sent, mut got) = (0, Vec::new());
        while sent < length {
            sent += stream.send(&message[sent..]).unwrap_or(0);
            settle(&mut server, &world);
            if sent < length {
                read_all(&stream, &mut got);
            }
        }
        while got.len() < length {
            let before = got.len();
            read_all(&stream, &mut got);
            settle(&mut server, &world);
            prop_assert!(got.len() > before, "stands still");
        }
        drop(stream);
        settle(&mut server, &world);
        prop_assert_eq!(server.driver().endings.len(), 1);
        prop_assert_eq!(world.open_ends(), 0);
    }

    #[test]
    fn a_last_word_arrives_whole_though_the_peer_goes_on_talking(
        length in 1..200usize, pipe_bytes in 1..50usize, write_max in 1..40usize,
    ) {
        let world = World::new(Faults { pipe_bytes, write_max, ..Faults::default() });
        let (_, inbox) = mailbox::open_unwatched();
        let probe = Probe { last_word: Some(9), ..Probe::default() };
        let mut server =
            Reactor::new(world.network(&[address()]), probe, inbox, limits(), 1);
        let stream = world.connect_by_hand(address());
        let mut message = vec![7; length];
        message.push(9);
        let (mut sent, mut got) = (0, Vec::new());
        for _ in 0..2_000 {
            sent += stream.send(&message[sent..]).unwrap_or(0);
            settle(&mut server, &world);
            read_all(&stream, &mut got);
            if sent == message.len() {
                // Behind the last word: taken, and answered no more.
                let _ = stream.send(&[5; 3]);
            }
        }
        let answered = got.iter().filter(|byte| **byte != 5).count();
        prop_assert_eq!(answered, message.len());
        prop_assert_eq!(got.last(), Some(&9));
        prop_assert_eq!(stream.receive(&mut [0; 1]).ok(), Some(0), "the end of the stream");
        prop_assert_eq!(server.core().connections(), 1, "the peer has not closed yet");
        prop_assert_eq!(&server.driver().endings, &[]);
        drop(stream);
        settle(&mut server, &world);
        prop_assert_eq!(&server.driver().endings, &[Ending::Closed]);
        prop_assert_eq!(world.open_ends(), 0);
    }
}

#[test]
fn a_peer_that_never_reads_costs_a_bounded_amount_and_harms_nobody() {
    let world = World::new(Faults { pipe_bytes: 64, ..Faults::default() });
    let mut server = server(&world, limits());
    let deaf = world.connect_by_hand(address());
    let good = world.connect_by_hand(address());
    for _ in 0..100 {
        let _ = deaf.send(&[1; 64]);
        assert_eq!(good.send(b"ping").ok(), Some(4));
        settle(&mut server, &world);
        let mut got = Vec::new();
        read_all(&good, &mut got);
        assert_eq!(got, b"ping");
        assert!(server.core().unsent_bytes() <= 16);
    }
    assert_eq!(server.core().connections(), 2);
    drop((deaf, good));
    settle(&mut server, &world);
    assert_eq!((server.core().connections(), server.core().unsent_bytes()), (0, 0));
}

#[test]
fn when_the_room_for_unsent_bytes_is_used_up_the_connection_is_closed_and_counted() {
    let world = World::new(Faults { pipe_bytes: 8, ..Faults::default() });
    let mut server = server(&world, Limits { unsent_bytes: 20, ..limits() });
    let peers: Vec<_> = (0..8).map(|_| world.connect_by_hand(address())).collect();
    for _ in 0..10 {
        for peer in &peers {
            let _ = peer.send(&[1; 8]);
        }
        settle(&mut server, &world);
    }
    let full = server.core().counters.unsent_full;
    assert!(full > 0 && full < 8, "{full}");
    let broken = Ending::Broken(Failure::NoMemory);
    assert_eq!(server.driver().endings, vec![broken; full as usize]);
    assert_eq!(server.core().connections() as u64, 8 - full);
}

#[test]
fn who_has_been_deaf_for_longest_makes_room_and_the_newcomer_is_spared() {
    let world = World::new(Faults { pipe_bytes: 8, ..Faults::default() });
    let limits = Limits { unsent_bytes: 20, evicts_blocked: true, ..limits() };
    let mut server = server(&world, limits);
    let deaf: Vec<_> = (0..3).map(|_| world.connect_by_hand(address())).collect();
    for _ in 0..4 {
        for peer in &deaf {
            let _ = peer.send(&[1; 8]);
            settle(&mut server, &world);
        }
    }
    assert!(server.core().unsent_bytes() <= 20);
    // A peer that reads late, but reads, is served while the deaf ones go.
    let good = world.connect_by_hand(address());
    let (mut sent, mut got) = (0, Vec::new());
    for round in 0..20 {
        sent += good.send(&[round; 8]).unwrap_or(0);
        settle(&mut server, &world);
        if round % 2 == 1 {
            read_all(&good, &mut got);
            settle(&mut server, &world);
        }
    }
    while got.len() < sent {
        let before = got.len();
        read_all(&good, &mut got);
        settle(&mut server, &world);
        assert!(got.len() > before, "{before} of {sent}");
    }
    let full = server.core().counters.unsent_full;
    assert!(full > 0 && full <= 3, "{full}");
    assert_eq!(server.driver().endings, vec![Ending::Evicted; full as usize]);
    assert_eq!(server.core().connections() as u64, 4 - full);
    drop((deaf, good));
}

#[test]
fn a_full_table_refuses_and_counts() {
    let world = World::new(Faults::default());
    let mut server = server(&world, limits());
    let peers: Vec<_> = (0..11).map(|_| world.connect_by_hand(address())).collect();
    settle(&mut server, &world);
    assert_eq!(server.core().counters.accepted, 8);
    assert_eq!(server.core().counters.refused_full, 3);
    assert_eq!(world.open_ends(), 11 + 8);
    drop(peers);
    settle(&mut server, &world);
    let again = world.connect_by_hand(address());
    settle(&mut server, &world);
    assert_eq!(server.core().counters.accepted, 9);
    drop(again);
}

#[test]
fn accepting_recovers_from_a_lack_of_descriptors_without_a_new_event() {
    for (errno, failures) in [(24, 3), (23, 1), (105, 2), (12, 2)] {
        let faults = Faults { accept_errors: (failures, errno), ..Faults::default() };
        let world = World::new(faults);
        let mut server = server(&world, limits());
        let peers: Vec<_> = (0..3).map(|_| world.connect_by_hand(address())).collect();
        for turn in 0..failures {
            settle(&mut server, &world);
            assert_eq!(server.core().counters.accepted, 0, "errno {errno}, turn {turn}");
            let deadline = server.deadline().expect("it comes back by itself");
            assert!(deadline > world.now(), "it does not spin meanwhile");
            world.advance_to(deadline);
        }
        settle(&mut server, &world);
        let counters = server.core().counters;
        assert_eq!(counters.accepted, 3);
        assert_eq!(counters.accept_no_fds + counters.accept_no_memory, u64::from(failures));
        drop(peers);
    }
}

#[test]
fn connects_at_once_later_and_not_at_all() {
    let world = World::new(Faults::default());
    let mut server = server(&world, limits());
    let (outside, inbox) = mailbox::open_unwatched();
    let mut client: Echo = Reactor::new(world.network(&[]), Probe::default(), inbox, limits(), 0);
    let route =
        |port| Route { source: None, target: ([127, 0, 0, 1], port).into(), share_port: false };

    outside.send(Command::Open(route(9000))).expect("room");
    settle(&mut client, &world);
    assert_eq!(client.driver().opened, 1);

    let slow = Nanos::from_millis(5);
    world.set_faults(Faults { connect_takes: slow, ..Faults::default() });
    outside.send(Command::Open(route(9000))).expect("room");
    settle(&mut client, &world);
    assert_eq!(client.driver().opened, 1, "not before its time");
    world.advance_to(slow);
    settle(&mut client, &world);
    assert_eq!(client.driver().opened, 2);

    outside.send(Command::Open(route(9001))).expect("room");
    settle(&mut client, &world);
    let endings = &client.driver().endings;
    assert!(matches!(endings[..], [Ending::NotOpened(Failure::Refused, Some(_))]), "{endings:?}");
    settle(&mut server, &world);
    assert_eq!(server.core().counters.accepted, 2);
}

#[test]
fn one_source_port_serves_one_target_unless_shared() {
    let world = World::new(Faults::default());
    let _first = world.network(&[address()]);
    let other = SocketAddr::from(([127, 0, 0, 1], 9001));
    let _second = world.network(&[other]);
    let (outside, inbox) = mailbox::open_unwatched();
    let mut client: Echo = Reactor::new(world.network(&[]), Probe::default(), inbox, limits(), 0);
    let source = Some(SocketAddr::from(([127, 0, 0, 2], 5000)));
    let mut open = |target, share_port| {
        outside.send(Command::Open(Route { source, target, share_port })).expect("room");
        settle(&mut client, &world);
        (client.driver().opened, client.driver().endings.len())
    };
    assert_eq!(open(address(), true), (1, 0));
    assert_eq!(open(other, false), (1, 1));
    assert_eq!(open(other, true), (2, 1));
    assert_eq!(open(other, true), (2, 2), "the same four-tuple");
}

#[test]
fn a_reset_peer_ends_as_broken_and_a_closed_one_as_closed() {
    let world = World::new(Faults::default());
    let mut server = server(&world, limits());
    let (polite, rude) = (world.connect_by_hand(address()), world.connect_by_hand(address()));
    settle(&mut server, &world);
    drop(polite);
    settle(&mut server, &world);
    assert_eq!(server.driver().endings, [Ending::Closed]);
    rude.reset_on_close();
    drop(rude);
    settle(&mut server, &world);
    assert_eq!(server.driver().endings[1], Ending::Broken(Failure::Reset));
    assert_eq!(server.core().connections(), 0);
}

/// Answers each byte with itself and, behind it, a part of a file.
struct FileSender {
    file: std::sync::Arc<std::os::fd::OwnedFd>,
    length: u64,
    /// Bytes that came while the answer to another was under way.
    held: Vec<u8>,
    progress: u32,
    endings: Vec<Ending>,
}

impl FileSender {
    fn answer(&mut self, core: &mut Core<Sim, ()>, key: Key, bytes: &[u8]) {
        let part = FilePart::new(self.file.clone(), 0, self.length);
        if let Err(failure) = core.send_file(key, &bytes[..1], part) {
            core.close(key);
            self.endings.push(Ending::Broken(failure));
            return;
        }
        self.held.extend_from_slice(&bytes[1..]);
        if !self.held.is_empty() && !core.is_blocked(key) {
            core.yield_turn(key);
        }
    }
}

impl Driver<Sim> for FileSender {
    type Session = ();
    type Command = ();
    const PAUSE_READS_WHILE_BLOCKED: bool = true;

    fn admit(&mut self, _: &mut Core<Sim, ()>, _: usize) -> Option<()> {
        Some(())
    }
    fn on_open(&mut self, _: &mut Core<Sim, ()>, _: Key) {}
    fn on_bytes(&mut self, core: &mut Core<Sim, ()>, key: Key, Read { bytes, .. }: Read<'_>) {
        assert!(!core.is_blocked(key) && self.held.is_empty(), "nothing is read before its turn");
        self.answer(core, key, bytes);
    }
    fn on_progress(&mut self, core: &mut Core<Sim, ()>, key: Key) {
        self.progress += 1;
        if !core.is_blocked(key) && !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.answer(core, key, &held);
        }
    }
    fn on_end(&mut self, _: &mut Core<Sim, ()>, (): (), ending: Ending, _: Marks) {
        self.endings.push(ending);
    }
    fn on_command(&mut self, _: &mut Core<Sim, ()>, (): ()) {}
    fn on_turn(&mut self, _: &mut Core<Sim, ()>) -> Option<Nanos> {
        None
    }
    fn is_finished(&self) -> bool {
        false
    }
}

/// A file of these bytes, to be changed by its other handle.
fn file_of(bytes: &[u8]) -> (std::fs::File, std::sync::Arc<std::os::fd::OwnedFd>) {
    use std::io::Write as _;
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("room");
    let copy = file.try_clone().expect("a descriptor");
    (file, std::sync::Arc::new(copy.into()))
}

fn file_server(
    world: &World,
    bytes: &[u8],
    limits: Limits,
) -> (std::fs::File, Reactor<Sim, FileSender>) {
    let (file, fd) = file_of(bytes);
    let sender = FileSender {
        file: fd,
        length: bytes.len() as u64,
        held: Vec::new(),
        progress: 0,
        endings: Vec::new(),
    };
    let (_, inbox) = mailbox::open_unwatched();
    (file, Reactor::new(world.network(&[address()]), sender, inbox, limits, 1))
}

#[test]
fn files_follow_bytes_in_order_however_little_fits() {
    let bytes: Vec<u8> = (0..3_000_u32).map(|number| (number % 251) as u8).collect();
    let expected: Vec<u8> =
        b"abc".iter().flat_map(|byte| [&[*byte], &bytes[..]].concat()).collect();
    let usual = Limits::for_slots(4);
    for (limits, faults) in [
        (usual, Faults::default()),
        (Limits { file_bytes_per_turn: 1, reads_per_turn: 1, ..usual }, Faults::default()),
        (
            Limits { file_bytes_per_turn: 700, ..usual },
            Faults { pipe_bytes: 50, ..Faults::default() },
        ),
        (usual, Faults { pipe_bytes: 7, write_max: 3, ..Faults::default() }),
        (usual, Faults { pipe_bytes: 1, ..Faults::default() }),
    ] {
        let world = World::new(faults);
        let (_file, mut server) = file_server(&world, &bytes, limits);
        let peer = world.connect_by_hand(address());
        // All three at once, where they fit, and the end right behind them.
        let (mut said, mut heard, mut buffer) = (0, Vec::new(), [0; 4096]);
        for _ in 0..200_000 {
            if said < 3 {
                said += peer.send(&b"abc"[said..]).unwrap_or(0);
                if said == 3 {
                    peer.finish_sending();
                }
            }
            server.turn().expect("turn");
            match peer.receive(&mut buffer) {
                Ok(0) => break,
                Ok(count) => heard.extend_from_slice(&buffer[..count]),
                Err(_) => {}
            }
        }
        assert!(heard == expected, "{limits:?} {faults:?}: {} bytes", heard.len());
        assert_eq!(server.driver().endings, [Ending::Closed]);
        assert_eq!(server.core().unsent_bytes(), 0);
        assert_eq!(server.core().counters.bytes_sent, expected.len() as u64);
    }
}

#[test]
fn one_large_file_does_not_hold_up_the_others() {
    let world = World::new(Faults { pipe_bytes: 1 << 20, ..Faults::default() });
    let limits = Limits { file_bytes_per_turn: 1_000, ..Limits::for_slots(4) };
    let (_file, mut server) = file_server(&world, &vec![7; 100_000], limits);
    let peers: Vec<SimStream> = (0..2).map(|_| world.connect_by_hand(address())).collect();
    for peer in &peers {
        peer.send(b"x").expect("room");
    }
    for _ in 0..10 {
        server.turn().expect("turn");
    }
    let mut buffer = vec![0; 200_000];
    let counts: Vec<usize> =
        peers.iter().map(|peer| peer.receive(&mut buffer).expect("a part")).collect();
    assert!(counts.iter().all(|count| (5_000..=11_001).contains(count)), "{counts:?}");
    assert!(server.core().counters.sends_budget_hits > 10);
}

#[test]
fn a_file_that_ends_early_resets_its_connection() {
    let world = World::new(Faults { pipe_bytes: 600, ..Faults::default() });
    let (file, mut server) = file_server(&world, &[7; 5_000], Limits::for_slots(4));
    let peer = world.connect_by_hand(address());
    peer.send(b"x").expect("room");
    for _ in 0..5 {
        server.turn().expect("turn");
    }
    file.set_len(100).expect("a cut");
    let (mut buffer, mut heard) = ([0; 600], 0);
    let error = loop {
        match peer.receive(&mut buffer) {
            Ok(count) => heard += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => break error,
        }
        server.turn().expect("turn");
    };
    assert_eq!((heard, error.kind()), (600, std::io::ErrorKind::ConnectionReset));
    assert_eq!(server.core().counters.files_cut, 1);
    assert_eq!(server.driver().endings, [Ending::Broken(Failure::Other)]);
}
