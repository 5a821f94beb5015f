//! The driver over HTTP on the simulated network, against a server whose every byte is a test's: by
//! a clock that is moved by hand.

use super::rig::{self, count, failures, target};
use super::*;
use crate::load::addresses::Addresses;
use crate::load::audited_share::Share;
use crate::load::pace::Pace;
use crate::load::phases::steps::*;
use crate::orders::Final;
use crate::protocol::{Http, HttpSetup};
use measure::Failure;
use proptest::prelude::*;
use reactor::Limits;
use reactor::sim::Faults;
use report::statuses::Expected;
use std::net::SocketAddr;
use wire::http::{Composer, HeadLimits, Method, RequestSpec};

/// How the scripted server answers.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// What follows each request.
    pub(crate) answer: Vec<u8>,
    /// So many requests of a connection are answered, then it is closed.
    pub(crate) requests: usize,
    /// What the last of those gets instead.
    pub(crate) last: Vec<u8>,
    /// Never waits for events: whoever turns both ends on one thread is not kept by this one.
    pub(crate) restless: bool,
}

impl Script {
    pub(crate) fn always(answer: &[u8]) -> Self {
        Self { answer: answer.to_vec(), requests: usize::MAX, last: Vec::new(), restless: false }
    }
}

/// A server that takes requests without a body, each ending with an empty line.
#[derive(Debug)]
pub(crate) struct HttpPeer {
    script: Script,
    /// Requests by their first line, each once.
    asked: Vec<String>,
}

impl HttpPeer {
    pub(crate) fn new(script: Script) -> Self {
        Self { script, asked: Vec::new() }
    }
}

/// What of a request is here, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct PeerSession {
    partial: Vec<u8>,
    requests: usize,
}

impl<N: Network> Driver<N> for HttpPeer {
    type Session = PeerSession;
    type Command = ();

    const PAUSE_READS_WHILE_BLOCKED: bool = false;

    fn admit(&mut self, _: &mut Core<N, PeerSession>, _: usize) -> Option<PeerSession> {
        Some(PeerSession { partial: Vec::with_capacity(4096), requests: 0 })
    }

    fn on_open(&mut self, _: &mut Core<N, PeerSession>, _: Key) {}

    fn on_bytes(
        &mut self,
        core: &mut Core<N, PeerSession>,
        key: Key,
        Read { bytes, .. }: Read<'_>,
    ) {
        let Some(session) = core.session(key) else { return };
        let mut partial = std::mem::take(&mut session.partial);
        partial.extend_from_slice(bytes);
        while let Some(end) = partial.windows(4).position(|four| four == b"\r\n\r\n") {
            let Some(session) = core.session(key) else { return };
            session.requests += 1;
            let last = session.requests >= self.script.requests;
            if !self.script.restless {
                let line = partial.split(|byte| *byte == b'\r').next().unwrap_or_default();
                self.asked.push(String::from_utf8_lossy(line).into_owned());
            }
            partial.drain(..end + 4);
            if last {
                core.send(key, &self.script.last).expect("room");
                return core.finish(key);
            }
            core.send(key, &self.script.answer).expect("room");
        }
        if let Some(session) = core.session(key) {
            session.partial = partial;
        }
    }

    fn on_end(&mut self, _: &mut Core<N, PeerSession>, _: PeerSession, _: Ending, _: Marks) {}

    fn on_command(&mut self, _: &mut Core<N, PeerSession>, (): ()) {}

    fn on_turn(&mut self, _: &mut Core<N, PeerSession>) -> Option<Nanos> {
        self.script.restless.then_some(Nanos::ZERO)
    }

    fn is_finished(&self) -> bool {
        false
    }
}

pub(super) fn setup(load: &Load, target: SocketAddr, paths: &[&str], method: Method) -> HttpSetup {
    let spec = RequestSpec {
        host: "127.0.0.1".into(),
        port: target.port(),
        method: method.name().to_owned(),
        targets: paths.iter().map(|path| (*path).to_owned()).collect(),
        close: load.churn,
        ..RequestSpec::default()
    };
    HttpSetup {
        requests: vec![Composer::new(&spec).expect("requests")],
        paths: paths.len() as u64,
        in_flight: load.in_flight_max,
        close: load.churn,
        heads: HeadLimits::default(),
        expected: Expected::default(),
    }
}

fn load(connections: u64, model: Model, pipeline: u32) -> Load {
    Load {
        addresses: Addresses::new(&[vec![target()]], &[[127, 0, 0, 2].into()], (1024, 1123), false),
        duration: Nanos::from_millis(200),
        size: 0,
        reply_timeout: Nanos::from_secs(2),
        drain_timeout: Nanos::from_secs(1),
        in_flight_max: pipeline,
        ..Load::for_tests(connections, 1, model)
    }
}

fn churn(connections: u64, model: Model) -> Load {
    Load { first_echo: false, churn: true, ..load(connections, model, 1) }
}

/// One client that speaks HTTP, and one server.
type Rig = rig::Rig<Http, HttpPeer>;

impl Rig {
    fn new(load: Load, setup: HttpSetup, script: Script, faults: Faults, limits: Limits) -> Self {
        let (setup, server) = (Arc::new(setup), [HttpPeer::new(script)]);
        let mut rig = Self::with(load, |_| Http::new(Arc::clone(&setup)), server, faults, limits);
        rig.round_takes = Nanos::from_micros(200);
        rig
    }

    /// The whole run; every account balances.
    fn run_all(mut self) -> (Box<Final>, Vec<String>) {
        self.run();
        let asked = self.servers[0].driver().asked.clone();
        let last = self.finish_one();
        let (sum, count) = (last.totals, |stage| count(&last.recorder, stage));
        assert_eq!(count(Stage::FirstByte), sum.received);
        let audited = last.audit.as_ref().map_or(0, |audit| audit.messages);
        assert_eq!((count(Stage::Outside), count(Stage::ReceiveLag)), (audited, audited));
        let answered: u64 = last.causes.statuses.values().sum();
        assert_eq!(answered, sum.received + sum.first_received);
        (last, asked)
    }
}

fn run(load: Load, script: Script) -> Box<Final> {
    let setup = setup(&load, target(), &["/"], Method::Get);
    Rig::new(load, setup, script, Faults::default(), Limits::for_slots(64)).run_all().0
}

const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n";
const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
      HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CLOSING: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
const TO_CLOSE: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nhello";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_is_cut_and_whoever_closes_every_request_is_answered(
        (connections, rate, pipeline) in (1..20u64, 50.0..1_000.0f64, 1..5u32),
        closed in any::<bool>(),
        (read_max, write_max, pipe_bytes) in (1..100usize, 1..100usize, 1..400usize),
        connect_micros in prop_oneof![Just(0), 1..2_000u64],
        receive_buffer_bytes in 1..300usize,
        answer in prop::sample::select(&[SIZED, CHUNKED, INTERIM][..]),
        last in prop::sample::select(&[CLOSING, TO_CLOSE, SIZED][..]),
        requests in prop_oneof![Just(usize::MAX), 1..9usize],
    ) {
        // Of several on their way, those that are cut off unannounced for a second time are lost.
        let pipeline = if last == SIZED { 1 } else { pipeline };
        let connect_takes = Nanos::from_micros(connect_micros);
        let faults = Faults { read_max, write_max, pipe_bytes, connect_takes, ..Faults::default() };
        let limits = Limits { receive_buffer_bytes, ..Limits::for_slots(64) };
        let model = if closed { Model::Closed(pipeline) } else { Model::Open(rate) };
        let load = load(connections, model, pipeline);
        let load = Load { reply_timeout: Nanos::from_secs(60), ..load };
        let load = Load { drain_timeout: Nanos::from_secs(60), audit: Share::ALL, ..load };
        let planned = Pace::new(rate).count_before(load.duration);
        let (script, last_answer) =
            (Script { requests, last: last.to_vec(), ..Script::always(answer) }, last);
        let setup = setup(&load, target(), &["/"], Method::Get);
        let (last, _) = Rig::new(load, setup, script, faults, limits).run_all();
        let sum = last.totals;
        prop_assert_eq!((sum.failed, sum.lost, sum.unanswered), (0, 0, 0), "{:?}", last.causes);
        prop_assert_eq!(sum.first_received, connections);
        prop_assert_eq!(sum.received, if closed { sum.sent } else { planned });
        prop_assert_eq!(sum.bytes_received, 5 * sum.received);
        prop_assert_eq!(sum.opened, connections + sum.replaced);
        prop_assert!(requests < usize::MAX || sum.ended + sum.resent == 0);
        // Who takes the place of an audited connection is audited.
        let audit = last.audit.expect("an audit");
        prop_assert_eq!((audit.messages + audit.unstamped, audit.misfits), (sum.received, 0));
        // Only the end of a connection has no stamp.
        let to_close = requests < usize::MAX && last_answer == TO_CLOSE;
        prop_assert!(to_close || audit.unstamped == 0, "{}", audit.unstamped);
    }

    #[test]
    fn a_connection_for_each_request_holds_no_more_than_planned(
        (connections, rate) in (1..20u64, 50.0..2_000.0f64),
        closed in any::<bool>(),
        connect_micros in prop_oneof![Just(0), 1..2_000u64],
        read_max in 1..100usize,
        answer in prop::sample::select(&[SIZED, CHUNKED, CLOSING, TO_CLOSE][..]),
    ) {
        let connect_takes = Nanos::from_micros(connect_micros);
        let faults = Faults { read_max, connect_takes, ..Faults::default() };
        let model = if closed { Model::Closed(1) } else { Model::Open(rate) };
        let share: Share = "30%".parse().expect("a share");
        // One connection that is read byte by byte takes its time for a few hundred requests.
        let drain_timeout = Nanos::from_secs(60);
        let load = Load { audit: share, drain_timeout, ..churn(connections, model) };
        let planned = Pace::new(rate).count_before(load.duration);
        let script =
            Script { answer: answer.to_vec(), requests: 1, last: answer.to_vec(), restless: false };
        let setup = setup(&load, target(), &["/"], Method::Get);
        let (last, _) = Rig::new(load, setup, script, faults, Limits::for_slots(64)).run_all();
        let sum = last.totals;
        prop_assert_eq!((sum.failed, sum.lost, sum.unanswered), (0, 0, 0), "{:?}", last.causes);
        prop_assert_eq!((sum.opened, sum.ended), (sum.sent, sum.sent));
        prop_assert!(closed || sum.sent == planned, "{} of {planned}", sum.sent);
        let audited = (0..sum.opened).filter(|number| share.has(*number as u32, 1)).count() as u64;
        let audit = last.audit.expect("an audit");
        prop_assert_eq!((audit.connections, audit.misfits), (audited, 0));
        prop_assert_eq!(audit.messages + audit.unstamped, audited);
        // Far more than there are four-tuples: they are used again.
        prop_assert!(last.open_peak <= connections);
    }
}

#[test]
fn one_byte_at_a_time_loses_nothing() {
    let faults = Faults { read_max: 1, write_max: 1, pipe_bytes: 1, ..Faults::default() };
    let limits = Limits { receive_buffer_bytes: 1, reads_per_turn: 1, ..Limits::for_slots(16) };
    let load = Load { reply_timeout: Nanos::from_secs(60), ..load(4, Model::Open(100.0), 1) };
    let setup = setup(&load, target(), &["/"], Method::Get);
    let (last, _) = Rig::new(load, setup, Script::always(CHUNKED), faults, limits).run_all();
    assert_eq!((last.totals.received, last.totals.lost), (20, 0));
}

#[test]
fn paths_take_turns_and_each_connection_starts_at_another() {
    let load = load(4, Model::Closed(2), 2);
    let setup = setup(&load, target(), &["/a", "/b?c=d", "/e"], Method::Get);
    let faults = Faults::default();
    let rig = Rig::new(load, setup, Script::always(SIZED), faults, Limits::for_slots(16));
    let (last, asked) = rig.run_all();
    assert_eq!(
        asked[..4],
        ["GET /a", "GET /b?c=d", "GET /e", "GET /a"].map(|l| format!("{l} HTTP/1.1"))
    );
    let all = last.totals.sent + last.totals.first_sent;
    for path in ["/a", "/b?c=d", "/e"] {
        let line = format!("GET {path} HTTP/1.1");
        let count = asked.iter().filter(|asked| **asked == line).count() as u64;
        assert!(count.abs_diff(all / 3) <= 4, "{path}: {count} of {all}");
    }
}

#[test]
fn statuses_are_counted_and_those_that_serve_nothing_apart() {
    for (status, unserved) in [("204", false), ("302", false), ("404", true), ("503", true)] {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let last = run(load(4, Model::Open(100.0), 1), Script::always(answer.as_bytes()));
        let sum = last.totals;
        assert_eq!((sum.received, sum.lost), (20, 0));
        let expected = if unserved { (20, 4) } else { (0, 0) };
        assert_eq!((sum.unserved, sum.first_unserved), expected, "{status}");
        assert_eq!(last.causes.statuses, [(status.parse().expect("a code"), 24)].into());
    }
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let load = load(4, Model::Open(100.0), 1);
    let setup = setup(&load, target(), &["/"], Method::Head);
    let script = Script::always(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    let rig = Rig::new(load, setup, script, Faults::default(), Limits::for_slots(16));
    let (last, _) = rig.run_all();
    assert_eq!((last.totals.received, last.totals.bytes_received), (20, 0));
}

#[test]
fn each_rule_that_a_server_breaks_is_named() {
    let cases: [(&[u8], &str); 8] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nhell", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", "chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer coding"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 or HTTP/1.0"),
        (b"hello\r\n\r\n", "malformed"),
        (b"HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n", "switched"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\
              HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "no request had asked",
        ),
    ];
    for (answer, rule) in cases {
        let load = Load { first_echo: false, ..load(4, Model::Closed(1), 1) };
        let last = run(load, Script::always(answer));
        assert_eq!(failures(&last.totals), [(Failure::Protocol, 4)], "{rule}");
        let (said, count) = last.causes.rules.first_key_value().expect("a rule");
        assert_eq!((*count, last.causes.rules.len()), (4, 1));
        assert!(said.contains(rule), "{said}: {rule}");
    }
}

#[test]
fn a_server_that_closes_early_is_counted_by_kind() {
    let cut = |last: &[u8]| Script {
        answer: SIZED.to_vec(),
        requests: 3,
        last: last.to_vec(),
        restless: false,
    };
    let closed = |last: &[u8]| run(load(4, Model::Closed(1), 1), cut(last));
    // Within the head, and within the body.
    for (last, rule) in [
        (&b"HTTP/1.1 200 O"[..], "within the head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "before the body was complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "before the body"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "within the head"),
    ] {
        let last = closed(last);
        assert_eq!(failures(&last.totals), [(Failure::Protocol, 4)], "{rule}");
        assert!(last.causes.rules.keys().all(|said| said.contains(rule)), "{:?}", last.causes);
    }
}

/// A server that answers two requests of a connection as ever, and this to the third; then it
/// closes.
fn closes_with(last: &[u8]) -> Script {
    Script { answer: SIZED.to_vec(), requests: 3, last: last.to_vec(), restless: false }
}

#[test]
fn a_connection_that_ends_between_two_responses_is_replaced_and_nothing_is_lost() {
    let ok_and_408 = [SIZED, b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n"].concat();
    for last in [SIZED, &ok_and_408] {
        for model in [Model::Closed(1), Model::Open(500.0)] {
            let last = run(load(4, model, 1), closes_with(last));
            let sum = last.totals;
            assert_eq!((sum.lost, sum.failed, sum.unanswered), (0, 0, 0), "{:?}", last.causes);
            assert!(sum.ended > 4 && sum.ended == sum.ended_idle, "{sum:?}");
            assert_eq!(sum.opened, 4 + sum.replaced);
            assert!(matches!(model, Model::Closed(_)) || sum.received == 100);
        }
    }
}

#[test]
fn a_request_without_a_byte_of_an_answer_is_sent_once_more_if_that_does_no_harm() {
    for model in [Model::Closed(1), Model::Open(500.0)] {
        let sum = run(load(4, model, 1), closes_with(b"")).totals;
        assert_eq!((sum.lost, sum.failed, sum.unanswered), (0, 0, 0), "{sum:?}");
        assert!(sum.resent > 4 && sum.resent == sum.ended_idle, "{sum:?}");
        assert!(matches!(model, Model::Closed(_)) || sum.received == 100);
    }
    // What may do something twice is not repeated.
    let load = load(4, Model::Closed(1), 1);
    let setup = setup(&load, target(), &["/"], Method::Post);
    let limits = Limits::for_slots(64);
    let last = Rig::new(load, setup, closes_with(b""), Faults::default(), limits).run_all().0;
    assert_eq!(failures(&last.totals), [(Failure::Closed, 4)]);
    assert_eq!((last.totals.resent, last.totals.unanswered), (0, 4));
}

#[test]
fn a_server_that_closes_whatever_comes_is_no_endless_loop() {
    let never = Script { answer: Vec::new(), requests: 1, last: Vec::new(), restless: false };
    // Each request is tried twice, and then it is lost.
    let one_each = Load { first_echo: false, ..load(4, Model::Closed(1), 1) };
    let sum = run(one_each, never.clone()).totals;
    assert_eq!((sum.sent, sum.resent, sum.unanswered, sum.received), (4, 4, 4, 0));
    assert_eq!((sum.opened, sum.replaced, sum.ended, sum.lost), (8, 4, 4, 4));
    // So it is in the round of first echoes, and with a connection for each request.
    let sum = run(load(4, Model::Open(40.0), 1), never.clone()).totals;
    assert_eq!((sum.first_sent, sum.first_unanswered, sum.lost), (4, 4, 4));
    let sum = run(churn(4, Model::Open(40.0)), never).totals;
    assert_eq!((sum.sent, sum.resent, sum.unanswered), (8, 8, 8));
    assert_eq!((sum.opened, sum.ended, sum.lost), (16, 8, 8));
}

#[test]
fn bytes_behind_the_last_response_are_counted_and_dropped() {
    let answer = [CLOSING, b"more"].concat();
    let load = Load { first_echo: false, ..load(4, Model::Open(100.0), 1) };
    let sum = run(load, Script::always(&answer)).totals;
    assert_eq!((sum.received, sum.lost, sum.ended), (20, 0, 20));
    assert_eq!((sum.bytes_surplus, sum.ended_idle), (80, 0));
}

#[test]
fn a_server_that_never_answers_is_given_up_in_time() {
    // Where each request has a connection of its own, those that had to wait fare no better.
    for (load, count) in [(load(4, Model::Open(40.0), 1), 4), (churn(4, Model::Open(40.0)), 8)] {
        let load = Load { first_echo: false, drain_timeout: Nanos::from_secs(5), ..load };
        let last = run(load, Script::always(b""));
        let sum = last.totals;
        assert_eq!((failures(&sum), sum.received), (vec![(Failure::TimedOut, count)], 0));
        assert_eq!(sum.unanswered, sum.sent);
    }
}

#[test]
fn an_open_model_never_has_more_on_a_connection_than_it_may() {
    let load = Load { first_echo: false, ..load(2, Model::Open(1_000.0), 3) };
    let setup = setup(&load, target(), &["/"], Method::Get);
    let mut rig =
        Rig::new(load, setup, Script::always(b""), Faults::default(), Limits::for_slots(16));
    rig.step(RAMP);
    rig.tell(begin(DRIVE, rig.world.now()));
    for _ in 0..200 {
        rig.clients[0].turn().expect("turn");
        rig.servers[0].turn().expect("turn");
        rig.world.advance_to(rig.world.now() + Nanos::from_millis(1));
    }
    let totals = rig.clients[0].driver().books.totals;
    assert_eq!(totals.sent, 6);
    assert!(totals.pace_blocked > 0);
}

#[test]
fn replacements_and_connections_for_one_request_try_the_next_address_too() {
    let dead = SocketAddr::from(([127, 0, 0, 1], 9009));
    let both =
        || Addresses::new(&[vec![dead, target()]], &[[127, 0, 0, 2].into()], (1024, 1123), false);
    for (load, third) in [
        (load(4, Model::Closed(1), 1), true),
        (load(4, Model::Open(500.0), 1), true),
        (churn(4, Model::Closed(1)), false),
        (churn(4, Model::Open(500.0)), false),
    ] {
        let load = Load { addresses: both(), ..load };
        let requests = if third { 3 } else { 1 };
        let script = Script { requests, last: CLOSING.to_vec(), ..Script::always(SIZED) };
        let last = run(load, script);
        let sum = last.totals;
        assert!(sum.opened > 30, "{sum:?}");
        assert_eq!((sum.failed, sum.lost, sum.unanswered, sum.resent), (0, 0, 0, 0), "{sum:?}");
        assert_eq!(sum.tried_again, sum.opened, "each went to the dead one first");
        assert_eq!(last.addresses[0].failures[Failure::Refused as usize], sum.opened);
        assert_eq!(last.addresses[1].connected, sum.opened);
    }
}

#[test]
fn where_no_address_answers_each_request_is_unanswered_once() {
    let dead = [9008, 9009].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let addresses = Addresses::new(&[dead.to_vec()], &[[127, 0, 0, 2].into()], (1024, 1123), false);
    let load = Load { addresses, ..churn(4, Model::Open(500.0)) };
    let sum = run(load, Script::always(SIZED)).totals;
    assert_eq!((sum.sent, sum.received, sum.unanswered), (100, 0, 100));
    assert_eq!((sum.failed, sum.tried_again), (100, 100));
    assert_eq!(failures(&sum), [(Failure::Refused, 100)]);
}
