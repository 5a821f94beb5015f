//! The driver over WebSocket on the simulated network, against a server of the codec's own and
//! against peers whose every byte is a test's: by a clock that is moved by hand.

use super::rig::{self, count, failures, target};
use super::*;
use crate::load::addresses::Addresses;
use crate::load::pace::Pace;
use crate::load::phases::steps::*;
use crate::orders::Final;
use crate::protocol::{Setup, WebSocket};
use measure::Failure;
use proptest::prelude::*;
use reactor::sim::{Faults, Sim, SimStream};
use reactor::{Limits, Stream};
use std::net::SocketAddr;
use wire::ws::{self, Head, HeadPool, Kind, Policy, Pools, Request, RequestSpec, Role, Writer, Ws};

const MILLI: Nanos = Nanos::from_millis(1);

/// An echo server made of the codec: it pings behind each answer, if it is told to.
#[derive(Debug, Default)]
pub(crate) struct WsPeer {
    policy: Policy,
    pings: bool,
    /// Never waits for events: whoever turns both ends on one thread is not kept by this one.
    restless: bool,
    heads: HeadPool,
    pools: Pools,
    out: Vec<u8>,
    /// Pongs and echoes go through here.
    echoes: Vec<u8>,
}

impl WsPeer {
    /// One for a thread that turns both ends.
    pub(super) fn restless() -> Self {
        Self { restless: true, ..Self::default() }
    }

    /// One that pings behind each answer.
    pub(crate) fn pinging() -> Self {
        Self { pings: true, ..Self::default() }
    }
}

#[derive(Debug)]
pub(crate) enum PeerSession {
    Upgrading(Head),
    Open(Ws),
}

impl<N: Network> Driver<N> for WsPeer {
    type Session = PeerSession;
    type Command = ();

    const PAUSE_READS_WHILE_BLOCKED: bool = true;

    fn admit(&mut self, _: &mut Core<N, PeerSession>, _: usize) -> Option<PeerSession> {
        Some(PeerSession::Upgrading(Head::default()))
    }

    fn on_open(&mut self, _: &mut Core<N, PeerSession>, _: Key) {}

    fn on_bytes(
        &mut self,
        core: &mut Core<N, PeerSession>,
        key: Key,
        Read { bytes, .. }: Read<'_>,
    ) {
        self.out.clear();
        let Self { policy, pings, heads, pools, out, echoes, .. } = self;
        let mut bytes = bytes;
        let Some(session) = core.session(key) else { return };
        if let PeerSession::Upgrading(head) = session {
            let read = head.read(heads, bytes, |head| policy.answer(head, out));
            let Some((accepted, used)) = read.expect("a head") else { return };
            let deflate = accepted.expect("a good request").deflate;
            *session = PeerSession::Open(Ws::new(Role::Server, deflate));
            bytes = &mut bytes[used..];
        }
        let PeerSession::Open(ws) = session else { return };
        let limits = ws::Limits::default();
        let echoed = ws::echo(ws, &limits, pools, || [0; 4], bytes, echoes);
        out.extend_from_slice(echoed.reply);
        let ended = echoed.end;
        if *pings && echoed.messages > 0 && ended.is_none() && !ws.writer.is_mid_frame() {
            Writer::ping(b"are you there?", None, out);
        }
        core.send(key, out).expect("room");
        if ended.is_some() {
            // The server closes first (RFC 6455 7.1.1).
            core.finish(key);
        }
    }

    fn on_end(&mut self, _: &mut Core<N, PeerSession>, _: PeerSession, _: Ending, _: Marks) {}

    fn on_command(&mut self, _: &mut Core<N, PeerSession>, (): ()) {}

    fn on_turn(&mut self, _: &mut Core<N, PeerSession>) -> Option<Nanos> {
        self.restless.then_some(Nanos::ZERO)
    }

    fn is_finished(&self) -> bool {
        false
    }
}

pub(super) fn setup(load: &Load, target: SocketAddr) -> Setup {
    let spec = RequestSpec {
        host: "127.0.0.1".into(),
        port: target.port(),
        default_port: 80,
        target: "/".into(),
        ..RequestSpec::default()
    };
    Setup {
        requests: vec![Request::new(&spec).expect("a request")],
        kind: Kind::Binary,
        fragment: None,
        deflate: false,
        in_order: false,
        size: load.size,
        in_flight: load.in_flight(),
        reactors: load.reactors,
        strict: load.strict,
        seed: load.seed,
    }
}

fn load(connections: u64, model: Model) -> Load {
    let duration = Nanos::from_millis(200);
    Load { duration, size: 100, ..Load::for_tests(connections, 1, model) }
}

/// One client that speaks WebSocket, and one server or none.
type Rig = rig::Rig<WebSocket, WsPeer>;

impl Rig {
    fn new(
        load: Load,
        setup: Setup,
        server: Option<WsPeer>,
        faults: Faults,
        limits: Limits,
    ) -> Self {
        let setup = Arc::new(setup);
        Self::with(load, |_| WebSocket::new(Arc::clone(&setup), 0), server, faults, limits)
    }

    /// Without a server, and the means to be one by hand.
    fn by_hand(load: Load) -> (Self, Sim) {
        let setup = setup(&load, target());
        let rig = Self::new(load, setup, None, Faults::default(), Limits::for_slots(512));
        let net = rig.world.network_by_hand(&[target()]);
        (rig, net)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_is_cut_every_message_is_answered_and_every_connection_closed(
        (connections, rate) in (1..30u64, 50.0..1_000.0f64),
        (read_max, write_max, pipe_bytes) in (1..200usize, 1..200usize, 1..400usize),
        connect_micros in prop_oneof![Just(0), 1..5_000u64],
        (receive_buffer_bytes, reads_per_turn) in (1..300usize, 1..3usize),
        (text, deflate, in_order, pings) in any::<(bool, bool, bool, bool)>(),
        fragment in prop::option::of(1..120usize),
        takeover in any::<bool>(),
    ) {
        let connect_takes = Nanos::from_micros(connect_micros);
        let faults = Faults { read_max, write_max, pipe_bytes, connect_takes, ..Faults::default() };
        let limits = Limits { receive_buffer_bytes, reads_per_turn, ..Limits::for_slots(64) };
        let load = Load {
            ping: pings.then_some(Nanos::from_millis(50)),
            ..load(connections, Model::Open(rate))
        };
        let planned = Pace::new(rate).count_before(load.duration);
        let policy = ws::DeflatePolicy { takeover, ..ws::DeflatePolicy::default() };
        let spec = RequestSpec {
            host: "::1".into(),
            target: "/chat?room=1".into(),
            deflate: deflate.then_some(policy),
            ..RequestSpec::default()
        };
        let setup = Setup {
            requests: vec![Request::new(&spec).expect("a request")],
            kind: if text { Kind::Text } else { Kind::Binary },
            fragment,
            deflate,
            in_order,
            ..setup(&load, target())
        };
        let peer = WsPeer {
            policy: Policy { deflate: Some(policy), ..Policy::default() },
            pings,
            ..WsPeer::default()
        };
        let mut rig = Rig::new(load, setup, Some(peer), faults, limits);
        rig.step(RAMP);
        prop_assert_eq!(rig.totals().opened, connections);
        rig.step(FIRST_ECHO);
        let _start = rig.world.now();
        rig.step(DRIVE);
        let last = rig.finish_one();
        let sum = last.totals;
        let counts = (sum.first_received, sum.sent, sum.received);
        prop_assert_eq!(counts, (connections, planned, planned));
        prop_assert_eq!((sum.lost, sum.mismatched, sum.unanswered), (0, 0, 0));
        prop_assert_eq!(count(&last.recorder, Stage::Close), connections);
        let pongs = count(&last.recorder, Stage::Ping);
        // In 200 ms each is pinged four times, but for those that are blocked at that time.
        prop_assert!(if pings { pongs <= 4 * connections } else { pongs == 0 }, "{}", pongs);
        prop_assert!(last.causes.rules.is_empty());
    }
}

#[test]
fn one_byte_pipes_lose_nothing() {
    let faults = Faults { read_max: 1, write_max: 1, pipe_bytes: 1, ..Faults::default() };
    let limits = Limits {
        reads_per_turn: 1,
        receive_buffer_bytes: 1,
        events_per_wait: 1,
        ..Limits::for_slots(16)
    };
    let load = load(6, Model::Open(100.0));
    let peer = WsPeer { pings: true, ..WsPeer::default() };
    let setup = setup(&load, target());
    let mut rig = Rig::new(load, setup, Some(peer), faults, limits);
    rig.step(RAMP);
    rig.step(FIRST_ECHO);
    let _start = rig.world.now();
    rig.step(DRIVE);
    let last = rig.finish_one();
    assert_eq!((last.totals.received, last.totals.lost), (20, 0));
    assert_eq!(count(&last.recorder, Stage::Close), 6);
}

#[test]
fn pings_are_spread_evenly_and_each_is_timed() {
    let load = Load { ping: Some(Nanos::from_millis(100)), ..load(10, Model::Idle) };
    let setup = setup(&load, target());
    let limits = Limits::for_slots(16);
    let mut rig = Rig::new(load, setup, Some(WsPeer::default()), Faults::default(), limits);
    rig.step(RAMP);
    for millis in [10, 50, 100, 500] {
        rig.run_until(Nanos::from_millis(millis) + Nanos::from_micros(1));
        let histogram =
            rig.clients[0].driver().books.recorder.stage(Stage::Ping).expect("recorded");
        assert_eq!(histogram.count(), millis / 10);
    }
    let last = rig.finish_one();
    assert_eq!((last.totals.lost, count(&last.recorder, Stage::Close)), (0, 10));
}

// ---- Servers by hand ----------------------------------------------------------------------------

fn accept_all(net: &mut Sim) -> Vec<SimStream> {
    std::iter::from_fn(|| net.accept_by_hand(0).ok()).collect()
}

fn read_all(peer: &SimStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = peer.receive(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

/// Accepts and upgrades all that are waiting.
fn upgrade_all(net: &mut Sim) -> Vec<SimStream> {
    let peers = accept_all(net);
    for peer in &peers {
        let mut reply = Vec::new();
        Policy::default().answer(&read_all(peer), &mut reply).expect("a good request");
        assert_eq!(peer.send(&reply).ok(), Some(reply.len()));
    }
    peers
}

#[test]
fn a_server_that_never_answers_the_handshake_is_given_up_in_time() {
    let load = Load { connect_timeout: Nanos::from_millis(300), ..load(40, Model::Idle) };
    let (mut rig, mut net) = Rig::by_hand(load);
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.settle();
    // It might be quick: not all are let loose on it at once, until it turns out not to be.
    let _peers = accept_all(&mut net);
    assert_eq!(rig.clients[0].driver().connections.opening.upgrading, 32);
    rig.run_until(Nanos::from_millis(6));
    assert_eq!(rig.clients[0].driver().connections.opening.upgrading, 40);
    rig.run_until(Nanos::from_millis(299));
    assert_eq!((rig.totals().opened, rig.totals().failed), (0, 0));
    rig.run_until(Nanos::from_millis(306));
    assert_eq!(rig.done, [Some(RAMP)]);
    let last = rig.finish_one();
    assert_eq!(failures(&last.totals), [(Failure::TimedOut, 40)]);
    assert_eq!(count(&last.recorder, Stage::Connect), 40);
}

#[test]
fn handshakes_are_fresh_for_each_connection_and_the_same_for_a_seed() {
    let requests = |seed| {
        let (mut rig, mut net) = Rig::by_hand(Load { seed, ..load(20, Model::Idle) });
        rig.tell(begin(RAMP, Nanos::ZERO));
        rig.settle();
        accept_all(&mut net).iter().map(read_all).collect::<Vec<_>>()
    };
    let first = requests(1);
    let mut distinct = first.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((first.len(), distinct.len()), (20, 20));
    assert_eq!(first, requests(1));
    assert!(first.iter().all(|request| !requests(2).contains(request)));
}

/// What becomes of four upgraded connections with two messages on their way when the server says
/// this.
fn told(bytes: &[u8]) -> (Box<Final>, Vec<Vec<u8>>) {
    told_to(load(4, Model::Closed(2)), bytes)
}

fn told_to(load: Load, bytes: &[u8]) -> (Box<Final>, Vec<Vec<u8>>) {
    let load = Load { first_echo: false, ..load };
    let (mut rig, mut net) = Rig::by_hand(load);
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.settle();
    let peers = upgrade_all(&mut net);
    rig.settle();
    assert_eq!(rig.totals().opened, 4);
    rig.tell(begin(DRIVE, rig.world.now()));
    rig.settle();
    let mut answers = Vec::new();
    for peer in &peers {
        read_all(peer);
        assert_eq!(peer.send(bytes).ok(), Some(bytes.len()));
    }
    rig.run_until(rig.world.now() + MILLI);
    for peer in peers {
        let mut answer = read_all(&peer);
        if let [_, 0x80..=0xff, a, b, c, d, rest @ ..] = answer.as_mut_slice() {
            let mask = [*a, *b, *c, *d];
            ws::mask(rest, mask);
        }
        answers.push(answer);
        drop(peer);
    }
    rig.run_until(rig.world.now() + Nanos::from_secs(1));
    (rig.finish_one(), answers)
}

#[test]
fn each_rule_that_a_server_breaks_is_named_and_answered_by_its_code() {
    let cases: [(&[u8], u16, &str); 9] = [
        (&[0x82, 0x80, 1, 2, 3, 4], 1002, "with a mask"),
        (&[0xc2, 0], 1002, "reserved bit"),
        (&[0x83, 0], 1002, "reserved opcode 0x3"),
        (&[0x09, 0], 1002, "control frame was fragmented"),
        (&[0x80, 0], 1002, "continuation frame"),
        (&[0x82, 126, 0, 5], 1002, "shortest form"),
        (&[0x88, 1, 3], 1002, "half a code"),
        (&[0x88, 2, 3, 237], 1002, "1005 must not be sent"),
        (&[0x81, 1, 0xff], 1007, "not UTF-8"),
    ];
    for (bytes, code, rule) in cases {
        let (last, answers) = told(bytes);
        assert_eq!(failures(&last.totals), [(Failure::Protocol, 4)], "{rule}");
        assert_eq!((last.totals.lost, last.totals.unanswered), (4, last.totals.sent));
        let (said, count) = last.causes.rules.first_key_value().expect("a rule");
        assert_eq!(*count, 4);
        assert!(said.contains(rule), "{said}");
        for answer in answers {
            assert_eq!(answer[0], 0x88, "a close frame");
            assert_eq!(answer[6..8], code.to_be_bytes(), "{rule}");
        }
    }
}

#[test]
fn a_rule_that_is_broken_instead_of_taking_leave_is_named_too() {
    for (bytes, rule) in [(&[0x88, 1, 3][..], "half a code"), (&[0x88, 0x80, 1, 2, 3, 4], "a mask")]
    {
        let (mut rig, mut net) = Rig::by_hand(load(4, Model::Idle));
        rig.tell(begin(RAMP, Nanos::ZERO));
        rig.settle();
        let peers = upgrade_all(&mut net);
        rig.settle();
        rig.tell(begin(DRAIN, Nanos::ZERO));
        rig.settle();
        for peer in &peers {
            assert_eq!(read_all(peer)[0], 0x88);
            assert_eq!(peer.send(bytes).ok(), Some(bytes.len()));
        }
        rig.settle();
        assert_eq!((rig.is_done(DRAIN), rig.clients[0].core().connections()), (true, 0));
        let last = rig.finish_one();
        assert_eq!(failures(&last.totals), [(Failure::Protocol, 4)]);
        assert_eq!((last.totals.lost, count(&last.recorder, Stage::Close)), (4, 0));
        let (said, times) = last.causes.rules.first_key_value().expect("a rule");
        assert!(said.contains(rule) && *times == 4, "{said}");
    }
}

#[test]
fn a_server_that_closes_in_the_middle_gets_its_code_back() {
    let (last, answers) = told(&[0x88, 2, 0x03, 0xe9]);
    assert_eq!(failures(&last.totals), [(Failure::Closed, 4)]);
    for answer in answers {
        assert_eq!((answer[..2].to_vec(), &answer[6..]), (vec![0x88, 0x82], &[0x03, 0xe9][..]));
    }
    assert!(last.causes.rules.is_empty());
}

#[test]
fn tcp_is_the_servers_to_close_behind_both_close_frames() {
    let close = [0x88, 2, 0x03, 0xe8];
    let waits = |peer: &SimStream| {
        let end = peer.receive(&mut [0; 8]).map_err(|error| error.kind());
        end == Err(std::io::ErrorKind::WouldBlock)
    };
    for (we_begin, closes) in [(true, true), (true, false), (false, true), (false, false)] {
        let (mut rig, mut net) = Rig::by_hand(load(4, Model::Idle));
        rig.tell(begin(RAMP, Nanos::ZERO));
        rig.settle();
        let peers = upgrade_all(&mut net);
        rig.settle();
        if we_begin {
            rig.tell(begin(DRAIN, Nanos::ZERO));
            rig.settle();
            assert!(peers.iter().all(|peer| read_all(peer)[0] == 0x88));
        }
        for peer in &peers {
            assert_eq!(peer.send(&close).ok(), Some(close.len()));
        }
        rig.settle();
        if !we_begin {
            assert!(peers.iter().all(|peer| read_all(peer)[0] == 0x88));
            rig.tell(begin(DRAIN, Nanos::ZERO));
            rig.settle();
        }
        assert_eq!(rig.clients[0].core().connections(), 4);
        assert!(peers.iter().all(waits) && (!we_begin || !rig.is_done(DRAIN)));
        let before = rig.world.now();
        if closes {
            drop(peers);
            rig.settle();
        }
        rig.run_until(before + Nanos::from_secs(if closes { 1 } else { 6 }));
        assert_eq!((rig.is_done(DRAIN), rig.clients[0].core().connections()), (true, 0));
        let last = rig.finish_one();
        let left = if we_begin { (0, 4) } else { (4, 0) };
        assert_eq!((last.totals.lost, count(&last.recorder, Stage::Close)), left);
    }
}

#[test]
fn a_message_that_nobody_asked_for_is_passed_over_unless_the_run_is_strict() {
    // Binary, a text where binary data was sent, and in two fragments with a ping between.
    let cut = b"\x02\x03hel\x89\x00\x80\x02lo";
    for said in [&b"\x82\x05hello"[..], b"\x81\x05hello", cut] {
        let (last, _) = told(said);
        assert_eq!(last.totals.mismatched, 0);
        let unasked = &last.causes.unasked;
        assert_eq!((unasked.messages, unasked.bytes), (4, 20));
        assert_eq!(unasked.first, b"hello");
        // The peers hang up in the end.
        assert_eq!(failures(&last.totals), [(Failure::Closed, 4)]);
        let strict = Load { strict: true, ..load(4, Model::Closed(2)) };
        let (last, _) = told_to(strict, said);
        assert_eq!((last.totals.mismatched, last.totals.lost), (4, 4));
        assert_eq!(last.causes.unasked.messages, 0);
    }
}

#[test]
fn close_codes_and_reasons_are_kept() {
    let (last, _) = told(b"\x88\x0f\x11\x31login timeout");
    assert_eq!(last.causes.closes.by_code[&4401], (4, "login timeout".to_owned()));
    assert_eq!(failures(&last.totals), [(Failure::Closed, 4)]);
    let (last, _) = told(b"\x88\x00");
    assert_eq!(last.causes.closes.by_code[&1005], (4, String::new()));
}

#[test]
fn servers_that_never_answer_the_close_are_not_waited_for_one_by_one() {
    let (mut rig, mut net) = Rig::by_hand(load(300, Model::Idle));
    rig.tell(begin(RAMP, Nanos::ZERO));
    let mut peers = Vec::new();
    while rig.totals().opened < 300 {
        rig.settle();
        peers.extend(upgrade_all(&mut net));
    }
    let before = rig.world.now();
    rig.tell(begin(DRAIN, Nanos::ZERO));
    rig.settle();
    // 64 at a time are asked, and no more after them.
    let asked = |peer: &&SimStream| read_all(peer).first() == Some(&0x88);
    assert_eq!(peers.iter().filter(asked).count(), 64);
    rig.run_until(before + Nanos::from_secs(6));
    assert_eq!(rig.done, [Some(DRAIN)]);
    assert_eq!(peers.iter().filter(asked).count(), 0);
    let last = rig.finals.remove(&0).expect("the last word");
    assert_eq!((last.totals.lost, count(&last.recorder, Stage::Close)), (0, 0));
}

#[test]
fn a_server_that_never_answers_pings_is_given_up() {
    let load = Load {
        ping: Some(Nanos::from_millis(100)),
        reply_timeout: Nanos::from_millis(200),
        ..load(4, Model::Idle)
    };
    let (mut rig, mut net) = Rig::by_hand(load);
    rig.tell(begin(RAMP, Nanos::ZERO));
    rig.settle();
    let _peers = upgrade_all(&mut net);
    rig.run_until(Nanos::from_millis(200));
    assert_eq!((rig.totals().opened, rig.totals().lost), (4, 0));
    rig.run_until(Nanos::from_millis(400));
    assert_eq!(failures(&rig.totals()), [(Failure::TimedOut, 4)]);
    rig.finish_one();
}

#[test]
fn the_next_address_is_upgraded_where_one_is_silent_and_the_wait_is_part_of_the_handshake() {
    let dead = SocketAddr::from(([127, 0, 0, 1], 9009));
    let sources = [[127, 0, 0, 2].into()];
    for silent in [false, true] {
        let addresses = Addresses::new(&[vec![dead, target()]], &sources, (1024, 65_535), false);
        let load = Load { addresses, ..load(20, Model::Open(100.0)) };
        let (setup, limits) = (setup(&load, target()), Limits::for_slots(64));
        let peer = Some(WsPeer::default());
        let mut rig = Rig::new(load, setup, peer, Faults::default(), limits);
        if silent {
            rig.world.silence(dead);
        }
        rig.step(RAMP);
        rig.step(FIRST_ECHO);
        rig.step(DRIVE);
        let last = rig.finish_one();
        let sum = last.totals;
        assert_eq!((sum.opened, sum.failed, sum.lost, sum.tried_again), (20, 0, 0, 20));
        assert_eq!(last.addresses[1].connected, 20);
        let waited = if silent { Nanos::from_secs(5).0 } else { 0 };
        for stage in [Stage::Connect, Stage::Handshake] {
            assert_eq!(last.recorder.stage(stage).and_then(|h| h.min()), Some(waited), "{stage:?}");
        }
        let upgrade = last.recorder.stage(Stage::Upgrade).and_then(|h| h.max());
        assert_eq!(upgrade, Some(0), "which begins when the request leaves");
    }
}
