//! The loop and a layer, against the simulated network: records that reads cut anywhere,
//! handshakes, good-byes and streams that end without one, bounds, files.

use c1000k_reactor::sim::{CONTENT_BYTES_MAX, Faults, HEADER_BYTES, Sim, SimStream, Toy, World};
use c1000k_reactor::{
    Core, Driver, End, Ending, FilePart, Key, Layer, Limits, Marks, Opened, Reactor, Read, Route,
    Stream, mailbox,
};
use measure::{Failure, Nanos};
use proptest::prelude::*;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

fn sealed() -> SocketAddr {
    ([127, 0, 0, 1], 9000).into()
}

fn plain() -> SocketAddr {
    ([127, 0, 0, 1], 9001).into()
}

/// Sends back what it gets; a file behind it, if it has one.
#[derive(Default)]
struct Probe {
    opened: Vec<Key>,
    received: Vec<u8>,
    endings: Vec<Ending>,
    /// The byte behind which nothing more is sent, and the one behind which it closes at once.
    last_word: Option<u8>,
    closing: Option<u8>,
    /// Takes one byte of a read and puts the others back.
    slow: bool,
    /// What follows each byte.
    file: Option<FilePart>,
    /// Does not answer.
    mute: bool,
}

impl Probe {
    fn say(&mut self, core: &mut Core<Sim, ()>, key: Key, bytes: &[u8]) {
        let sent = match &self.file {
            _ if self.mute => Ok(()),
            Some(part) => core.send_file(key, bytes, part.clone()),
            None => core.send(key, bytes),
        };
        if let Err(failure) = sent {
            core.close(key);
            self.endings.push(Ending::Broken(failure));
        }
    }
}

impl Driver<Sim> for Probe {
    type Session = ();
    type Command = Route;
    const PAUSE_READS_WHILE_BLOCKED: bool = true;

    fn admit(&mut self, _: &mut Core<Sim, ()>, _: usize) -> Option<()> {
        Some(())
    }
    fn on_open(&mut self, core: &mut Core<Sim, ()>, key: Key) {
        assert!(!core.is_connecting(key) && !self.opened.contains(&key));
        self.opened.push(key);
    }
    fn on_bytes(&mut self, core: &mut Core<Sim, ()>, key: Key, Read { bytes, .. }: Read<'_>) {
        assert!(self.opened.contains(&key), "bytes before it was open");
        let (now, later) = bytes.split_at(if self.slow { 1 } else { bytes.len() });
        self.received.extend_from_slice(now);
        // Two records may come in one read: what is behind the last word is not answered.
        let last = self.last_word.and_then(|last| now.iter().position(|byte| *byte == last));
        self.say(core, key, last.map_or(now, |at| &now[..=at]));
        if last.is_some() {
            core.finish(key);
        }
        if self.closing.is_some_and(|last| now.contains(&last)) {
            core.close(key);
        }
        core.put_back(key, now.len(), later);
    }
    fn on_end(&mut self, _: &mut Core<Sim, ()>, (): (), ending: Ending, _: Marks) {
        self.endings.push(ending);
    }
    fn on_command(&mut self, core: &mut Core<Sim, ()>, route: Route) {
        match core.open(&route, ()).map_err(|(error, ())| error) {
            Ok(Opened::AtOnce(key)) => self.opened.push(key),
            Ok(Opened::Waiting(key)) => assert!(core.is_connecting(key)),
            Err(error) => {
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

type Server = Reactor<Sim, Probe>;

fn limits() -> Limits {
    Limits { receive_buffer_bytes: 16, ..Limits::for_slots(8) }
}

/// A server whose first listener has a layer and whose second has none.
fn server(faults: Faults, limits: Limits, probe: Probe) -> (World, Server) {
    let world = World::new(faults);
    world.add_layer(sealed());
    let (_, inbox) = mailbox::open_unwatched();
    let net = world.network(&[sealed(), plain()]);
    (world, Reactor::new(net, probe, inbox, limits, 2))
}

/// Turns until nothing is ready and no mark is left.
fn settle(reactor: &mut Server, world: &World) {
    let mut quiet = 0;
    for _ in 0..200_000 {
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

/// A peer whose every byte on the wire is the test's.
struct Peer {
    stream: SimStream,
    layer: Toy,
    /// What is still to be sent, as it travels.
    wire: Vec<u8>,
    heard: Vec<u8>,
    end: Option<End>,
    /// The stream has ended, or broke.
    over: Option<std::io::ErrorKind>,
}

impl Peer {
    /// One that has said its hello.
    fn new(world: &World) -> Self {
        let mut layer = Toy::new(77, true);
        let mut wire = Vec::new();
        layer.begin(&mut (), &mut wire);
        let (stream, heard) = (world.connect_raw(sealed()), Vec::new());
        Self { stream, layer, wire, heard, end: None, over: None }
    }

    fn seal(&mut self, bytes: &[u8]) {
        self.layer.seal(&mut (), bytes, &mut self.wire).expect("a toy seals without end");
    }

    /// Sends the next bytes, `most` at the most.
    fn send(&mut self, most: usize) {
        let most = most.min(self.wire.len());
        let taken = self.stream.send(&self.wire[..most]).unwrap_or(0);
        self.wire.drain(..taken);
    }

    fn read(&mut self) {
        let mut buffer = [0; 64];
        loop {
            match self.stream.receive(&mut buffer) {
                Ok(0) => return self.over = Some(std::io::ErrorKind::UnexpectedEof),
                Ok(count) => {
                    let mut said = Vec::new();
                    let wire = &mut buffer[..count];
                    let progress = self.layer.open(&mut (), wire, &mut self.heard, &mut said);
                    assert!(said.is_empty(), "it has said hello");
                    assert_ne!(progress.end, Some(End::Broken));
                    self.end = self.end.or(progress.end);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => return self.over = Some(error.kind()),
            }
        }
    }

    /// Sends all, and reads until nothing more comes back.
    fn talk(&mut self, server: &mut Server, world: &World) {
        let mut quiet = 0;
        // A record is heard when the last byte of it has come through the pipe.
        while quiet < HEADER_BYTES + CONTENT_BYTES_MAX {
            self.send(usize::MAX);
            settle(server, world);
            let before = self.heard.len();
            self.read();
            settle(server, world);
            let is_quiet = self.wire.is_empty() && self.heard.len() == before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_byte_comes_back_in_order_whatever_is_cut(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 1..12),
        pieces in prop::collection::vec(1..90usize, 1..30),
        read_max in 1..40usize,
        write_max in 1..40usize,
        pipe_bytes in 1..200usize,
        reads_per_turn in 1..4usize,
        work_per_portion in prop_oneof![Just(u64::MAX), 1..5_000u64],
        receive_buffer_bytes in 1..100usize,
        slow in any::<bool>(),
    ) {
        let faults = Faults { read_max, write_max, pipe_bytes, ..Faults::default() };
        let work_per_turn = work_per_portion;
        let limits = Limits {
            reads_per_turn, work_per_portion, work_per_turn, receive_buffer_bytes, ..limits()
        };
        let (world, mut server) = server(faults, limits, Probe { slow, ..Probe::default() });
        let mut peer = Peer::new(&world);
        for record in &records {
            peer.seal(record);
        }
        let message = records.concat();
        for (round, piece) in pieces.iter().cycle().take(20_000).enumerate() {
            peer.send(*piece);
            // A slow reader: it reads only every other time.
            if round % 3 == 0 || peer.wire.is_empty() {
                peer.read();
            }
            settle(&mut server, &world);
            if peer.heard.len() == message.len() {
                break;
            }
        }
        prop_assert_eq!(&peer.heard, &message);
        prop_assert_eq!(&server.driver().received, &message);
        // The good-bye comes in pieces, too, and behind it the end.
        peer.layer.goodbye(&mut (), &mut peer.wire);
        while !peer.wire.is_empty() {
            peer.send(1);
            settle(&mut server, &world);
        }
        for _ in 0..100 {
            settle(&mut server, &world);
            peer.read();
        }
        prop_assert_eq!(&server.driver().endings, &[Ending::Closed]);
        prop_assert_eq!(server.core().unsent_bytes(), 0);
        prop_assert_eq!(server.core().put_back_bytes(), 0);
    }

    #[test]
    fn a_cut_is_told_apart_wherever_it_falls(length in 1..60usize, at in 0..80usize) {
        let (world, mut server) = server(Faults::default(), limits(), Probe::default());
        let mut peer = Peer::new(&world);
        let hello = peer.wire.len();
        peer.seal(&vec![7; length]);
        let whole = peer.wire.len();
        peer.layer.goodbye(&mut (), &mut peer.wire);
        let at = at.min(peer.wire.len());
        let all = at == peer.wire.len();
        peer.send(at);
        settle(&mut server, &world);
        peer.read();
        peer.stream.finish_sending();
        settle(&mut server, &world);
        let ending = match at {
            _ if all => Ending::Closed,
            _ if at < hello => Ending::NotOpened(Failure::Closed, None),
            _ => Ending::Broken(Failure::TlsTruncated),
        };
        let found = match server.driver().endings[..] {
            [Ending::NotOpened(failure, Some(_))] => Ending::NotOpened(failure, None),
            [ending] => ending,
            _ => panic!("one ending: {:?}", server.driver().endings),
        };
        prop_assert_eq!(found, ending);
        prop_assert_eq!(server.driver().opened.len(), usize::from(at >= hello));
        prop_assert_eq!(server.driver().received.len(), if at >= whole { length } else { 0 });
        // Who cuts the stream hears no good-bye: what it was answered need not be whole.
        peer.read();
        prop_assert_eq!(peer.end.is_some(), all);
        drop(peer);
        prop_assert_eq!(world.open_ends(), 0);
    }
}

#[test]
fn records_of_every_size_are_sealed_and_opened() {
    for length in [1, 2, CONTENT_BYTES_MAX - 1, CONTENT_BYTES_MAX, CONTENT_BYTES_MAX + 1, 100_000] {
        let limits = Limits { receive_buffer_bytes: 65_536, ..limits() };
        let (world, mut server) = server(Faults::default(), limits, Probe::default());
        let mut peer = Peer::new(&world);
        let message: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        peer.seal(&message);
        peer.talk(&mut server, &world);
        assert_eq!(peer.heard, message, "{length}");
    }
}

#[test]
fn a_broken_rule_ends_the_connection_without_a_good_bye() {
    let (world, mut server) = server(Faults::default(), limits(), Probe::default());
    let mut peer = Peer::new(&world);
    peer.seal(b"right");
    let last = peer.wire.len();
    peer.seal(b"wrong");
    peer.wire[last + 1] ^= 1;
    peer.send(usize::MAX);
    settle(&mut server, &world);
    peer.read();
    assert_eq!(server.driver().received, b"right");
    assert_eq!(server.driver().endings, [Ending::Broken(Failure::Tls)]);
    assert_eq!((peer.end, peer.over.is_some()), (None, true));
    // One that does not begin as it should never was open.
    let stranger = world.connect_raw(sealed());
    stranger.send(b"GET / HTTP/1.1\r\n\r\n").expect("room");
    settle(&mut server, &world);
    assert!(matches!(server.driver().endings[1], Ending::NotOpened(Failure::Tls, Some(_))));
    assert_eq!(server.driver().opened.len(), 1);
}

#[test]
fn a_last_word_and_the_good_bye_arrive_before_the_end() {
    for pipe_bytes in [1, 3, 17, 1000] {
        let faults = Faults { pipe_bytes, ..Faults::default() };
        let probe = Probe { last_word: Some(9), ..Probe::default() };
        let (world, mut server) = server(faults, limits(), probe);
        let mut peer = Peer::new(&world);
        peer.seal(&[&[7; 100][..], &[9]].concat());
        // Behind the last word nothing is answered.
        peer.seal(b"more");
        peer.talk(&mut server, &world);
        assert_eq!(peer.heard[..], [&[7; 100][..], &[9]].concat(), "{pipe_bytes}");
        assert_eq!(peer.end, Some(End::Goodbye));
        assert_eq!(peer.over, Some(std::io::ErrorKind::UnexpectedEof));
        assert_eq!(server.core().connections(), 1, "the peer has not closed yet");
        // Our last word was said: a peer that closes without a good-bye destroys nothing.
        peer.stream.finish_sending();
        settle(&mut server, &world);
        assert_eq!(server.driver().endings, [Ending::Closed]);
    }
}

#[test]
fn closing_at_once_says_good_bye_and_a_reset_does_not() {
    let probe = Probe { closing: Some(9), ..Probe::default() };
    let (world, mut server) = server(Faults::default(), limits(), probe);
    let mut peer = Peer::new(&world);
    peer.seal(&[9]);
    peer.talk(&mut server, &world);
    assert_eq!((peer.end, &peer.heard[..]), (Some(End::Goodbye), &[9][..]));
    assert_eq!(server.core().connections(), 0);
    // By hand it is the same in the other direction.
    for (polite, ending) in [(true, Ending::Closed), (false, Ending::Broken(Failure::TlsTruncated))]
    {
        let stream = world.connect_by_hand(sealed());
        settle(&mut server, &world);
        if polite {
            drop(stream)
        } else {
            stream.cut()
        }
        settle(&mut server, &world);
        assert_eq!(server.driver().endings.last(), Some(&ending));
    }
}

#[test]
fn who_does_not_read_its_answers_is_read_from_no_more() {
    let faults = Faults { pipe_bytes: 64, ..Faults::default() };
    let (world, mut server) = server(faults, limits(), Probe::default());
    let mut peer = Peer::new(&world);
    let message: Vec<u8> = (0..5_000_u32).map(|n| (n % 253) as u8).collect();
    for record in message.chunks(10) {
        peer.seal(record);
    }
    for _ in 0..1_000 {
        peer.send(usize::MAX);
        settle(&mut server, &world);
    }
    assert!(peer.wire.len() > 4_000, "{} bytes did not fit", peer.wire.len());
    // One read holds no more than two records, which come back as one.
    assert!(server.core().unsent_bytes() <= 2 * 10 + HEADER_BYTES);
    peer.talk(&mut server, &world);
    assert_eq!(peer.heard, message);
    assert_eq!(server.core().unsent_bytes(), 0);
}

#[test]
fn bounds_hold_for_bytes_as_they_travel() {
    // Each byte comes alone, and goes back with a header.
    let limits = Limits { unsent_bytes_per_connection: 50, ..limits() };
    let limits = Limits { unsent_bytes_to_pause: 1_000, unsent_bytes: 10_000, ..limits };
    let faults = Faults { pipe_bytes: 5, ..Faults::default() };
    let (world, mut server) = server(faults, limits, Probe::default());
    let mut peer = Peer::new(&world);
    for _ in 0..40 {
        peer.seal(b"x");
    }
    for _ in 0..100 {
        peer.send(usize::MAX);
        settle(&mut server, &world);
    }
    assert_eq!(server.driver().endings, [Ending::Broken(Failure::NoMemory)]);
    assert!(server.driver().received.len() < 20, "forty bytes would have fit as they are meant");
    assert_eq!(server.core().unsent_bytes(), 0);
}

#[test]
fn connections_with_a_layer_and_without_live_in_one_reactor() {
    let (world, mut server) = server(Faults::default(), limits(), Probe::default());
    let mut with = Peer::new(&world);
    let without = world.connect_raw(plain());
    with.seal(b"sealed");
    without.send(b"as it is").expect("room");
    with.talk(&mut server, &world);
    let mut buffer = [0; 64];
    let count = without.receive(&mut buffer).expect("an answer");
    assert_eq!((&buffer[..count], &with.heard[..]), (&b"as it is"[..], &b"sealed"[..]));
    // The plain one needs no good-bye.
    drop(without);
    settle(&mut server, &world);
    assert_eq!(server.driver().endings, [Ending::Closed]);
}

#[test]
fn a_client_is_open_when_the_layers_have_agreed() {
    for takes in [0, 1_000] {
        for (target, waits) in [(sealed(), true), (plain(), false)] {
            let faults = Faults { connect_takes: Nanos(takes), ..Faults::default() };
            let (world, mut server) = server(faults, limits(), Probe::default());
            let (outside, inbox) = mailbox::open_unwatched();
            let net = world.network(&[]);
            let mut client = Reactor::new(net, Probe::default(), inbox, limits(), 0);
            let route = Route { source: None, target, share_port: false };
            outside.send(route).expect("room");
            settle(&mut client, &world);
            world.advance_to(Nanos(takes));
            settle(&mut client, &world);
            let before = client.driver().opened.len();
            assert_eq!(before, usize::from(!waits), "the server has said nothing yet");
            settle(&mut server, &world);
            settle(&mut client, &world);
            assert_eq!((client.driver().opened.len(), server.driver().opened.len()), (1, 1));
            assert!(client.driver().endings.is_empty() && server.driver().endings.is_empty());
        }
    }
}

#[test]
fn a_client_whose_server_never_agrees_was_not_opened() {
    let world = World::new(Faults::default());
    world.add_layer(sealed());
    let mut net = world.network(&[sealed()]);
    let (outside, inbox) = mailbox::open_unwatched();
    let mut client = Reactor::new(world.network(&[]), Probe::default(), inbox, limits(), 0);
    outside.send(Route { source: None, target: sealed(), share_port: false }).expect("room");
    settle(&mut client, &world);
    net.accept_by_hand(0).expect("it has come").cut();
    settle(&mut client, &world);
    // Its hello came, and then the end: that was open, and cut.
    assert_eq!(client.driver().endings, [Ending::Broken(Failure::TlsTruncated)]);
    outside.send(Route { source: None, target: sealed(), share_port: false }).expect("room");
    settle(&mut client, &world);
    drop(c1000k_reactor::Network::accept(&mut net, 0).expect("it has come"));
    settle(&mut client, &world);
    let endings = &client.driver().endings;
    assert!(matches!(endings[1], Ending::NotOpened(_, Some(_))), "{endings:?}");
    assert_eq!(client.driver().opened.len(), 1);
}

fn file_of(bytes: &[u8]) -> (std::fs::File, FilePart) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("room");
    let copy = file.try_clone().expect("a descriptor");
    (file, FilePart::new(Arc::new(copy.into()), 0, bytes.len() as u64))
}

#[test]
fn files_are_sealed_piece_by_piece() {
    let bytes: Vec<u8> = (0..40_000_u32).map(|number| (number % 251) as u8).collect();
    let usual = Limits::for_slots(4);
    for (limits, faults) in [
        (usual, Faults::default()),
        (Limits { file_bytes_per_turn: 100, ..usual }, Faults::default()),
        (
            Limits { file_bytes_per_turn: 700, ..usual },
            Faults { pipe_bytes: 50, ..Faults::default() },
        ),
        (usual, Faults { pipe_bytes: 999, write_max: 33, ..Faults::default() }),
    ] {
        let (_file, part) = file_of(&bytes);
        let probe = Probe { file: Some(part), last_word: Some(b'x'), ..Probe::default() };
        let (world, mut server) = server(faults, limits, probe);
        let mut peer = Peer::new(&world);
        peer.seal(b"x");
        for _ in 0..100_000 {
            peer.send(usize::MAX);
            server.turn().expect("turn");
            peer.read();
            assert!(server.core().unsent_bytes() < 20_000, "no more than a piece waits");
            if peer.over.is_some() {
                break;
            }
        }
        assert!(peer.heard == [b"x", &bytes[..]].concat(), "{limits:?} {faults:?}");
        assert_eq!(peer.end, Some(End::Goodbye), "behind the file");
        assert_eq!(server.core().unsent_bytes(), 0);
    }
}

#[test]
fn a_file_that_ends_early_looks_whole_to_nobody() {
    let (file, part) = file_of(&[7; 5_000]);
    let probe = Probe { file: Some(part), ..Probe::default() };
    let faults = Faults { pipe_bytes: 600, ..Faults::default() };
    let limits = Limits { file_bytes_per_turn: 1_000, ..Limits::for_slots(4) };
    let (world, mut server) = server(faults, limits, probe);
    let mut peer = Peer::new(&world);
    peer.seal(b"x");
    peer.send(usize::MAX);
    for _ in 0..5 {
        server.turn().expect("turn");
    }
    file.set_len(100).expect("a cut");
    for _ in 0..100 {
        peer.read();
        server.turn().expect("turn");
    }
    assert_eq!((peer.end, peer.over), (None, Some(std::io::ErrorKind::ConnectionReset)));
    assert_eq!(server.core().counters.files_cut, 1);
    assert_eq!(server.driver().endings, [Ending::Broken(Failure::Other)]);
}
