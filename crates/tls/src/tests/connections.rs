//! Whole connections of ours against each other, as reactors have them: from the first byte to the
//! last, wherever reads are cut; sessions that go on; what is counted; strangers.

use super::ends::{Side, made};
use crate::{
    Alert, Broken, ClientOptions, Connection, End, Progress, ServerOptions, Setup, Shared, Trust,
    Versions,
};
use proptest::prelude::*;

const BOTH: Versions = Versions { tls12: true, tls13: true };
const PARTIAL_BYTES: usize = 100_000;

fn server(tickets: usize) -> Setup {
    let (identity, _) = made();
    let options = ServerOptions {
        identity: &identity,
        client_authorities: None,
        alpn: vec!["http/1.1".to_owned()],
        versions: BOTH,
        tickets,
    };
    Setup::server(options).expect("a server")
}

fn client(versions: Versions, resumes: f64) -> Setup {
    let options = ClientOptions {
        trust: &Trust::Anybody,
        identity: None,
        name: "localhost",
        alpn: vec!["http/1.1".to_owned()],
        versions,
        suites: &[],
        groups: &[],
        resumes,
        key_log: None,
    };
    Setup::client(options).expect("a client")
}

/// One end, with what it has heard.
struct Ended {
    connection: Connection,
    heard: Vec<u8>,
    agreed: bool,
    end: Option<End>,
}

impl Ended {
    fn new(shared: &Shared) -> Self {
        let connection = shared.connection(0).expect("a setup");
        Self { connection, heard: Vec::new(), agreed: false, end: None }
    }

    /// Takes bytes in reads of these lengths; what is said to them.
    fn take(&mut self, shared: &mut Shared, mut wire: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !wire.is_empty() && self.end.is_none() {
            let (read, rest) = wire.split_at(wire.len().min(*cuts.next().expect("endless")));
            wire = rest;
            let Progress { agreed, end } =
                self.connection.open(shared, read, &mut self.heard, &mut out);
            (self.agreed, self.end) = (agreed, end);
        }
        out
    }
}

/// Two ends whose handshake is done, and what they said last.
fn shake(shared: &mut [Shared; 2], cuts: &[usize]) -> [Ended; 2] {
    let mut ends = [Ended::new(&shared[0]), Ended::new(&shared[1])];
    let mut wire = Vec::new();
    ends[0].connection.begin(&mut shared[0], &mut wire);
    let mut to = 1;
    while !wire.is_empty() {
        wire = ends[to].take(&mut shared[to], &wire, cuts);
        to = 1 - to;
    }
    assert!(ends.iter().all(|end| end.agreed && end.end.is_none()));
    ends
}

fn shared(setup: Setup) -> Shared {
    Shared::new(vec![setup], PARTIAL_BYTES)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn bytes_arrive_in_order_wherever_reads_are_cut(
        tls12 in any::<bool>(),
        resumes in prop::sample::select(&[0.0, 1.0][..]),
        tickets in 0..3usize,
        messages in prop::collection::vec((any::<bool>(), any::<u8>(), 0..40_000usize), 1..8),
        cuts in prop::collection::vec(prop_oneof![1..40usize, 1..20_000usize], 1..5),
    ) {
        let versions = if tls12 { Versions { tls13: false, ..BOTH } } else { BOTH };
        crate::tickets::forget();
        let mut shared = [shared(client(versions, resumes)), shared(server(tickets))];
        for _ in 0..2 {
            let mut ends = shake(&mut shared, &cuts);
            let mut said = [Vec::new(), Vec::new()];
            for (from_server, byte, length) in &messages {
                let from = usize::from(*from_server);
                let (message, mut wire) = (vec![*byte; *length], Vec::new());
                said[from].extend_from_slice(&message);
                ends[from].connection.seal(&mut shared[from], &message, &mut wire).expect("sealed");
                let answer = ends[1 - from].take(&mut shared[1 - from], &wire, &cuts);
                prop_assert!(answer.is_empty());
            }
            let [from_client, from_server] = said;
            prop_assert_eq!(&ends[1].heard, &from_client);
            prop_assert_eq!(&ends[0].heard, &from_server);
            let mut wire = Vec::new();
            ends[0].connection.goodbye(&mut shared[0], &mut wire);
            ends[1].take(&mut shared[1], &wire, &cuts);
            prop_assert_eq!(ends[1].end, Some(End::Goodbye));
            for (end, shared) in ends.into_iter().zip(&mut shared) {
                end.connection.ended(shared);
                prop_assert_eq!(shared.kept(), (0, 0));
            }
        }
        prop_assert_eq!((shared[0].tally.handshakes, shared[1].tally.handshakes), (2, 2));
        prop_assert_eq!(shared[0].tally.resumed, shared[1].tally.resumed);
        // The second goes on from the first where a ticket came.
        let goes_on = resumes > 0.0 && tickets > 0;
        prop_assert_eq!(shared[0].tally.resumed > 0, goes_on);
        prop_assert!(shared[0].tally.failures.is_empty() && shared[1].tally.failures.is_empty());
    }
}

#[test]
fn records_that_are_partly_here_are_bounded() {
    let mut shared = [shared(client(BOTH, 0.0)), shared(server(0))];
    let mut ends: Vec<_> = (0..8).map(|_| shake(&mut shared, &[usize::MAX])).collect();
    let mut broken = 0;
    for [client, server] in &mut ends {
        let mut wire = Vec::new();
        client.connection.seal(&mut shared[0], &[7; 16_384], &mut wire).expect("sealed");
        server.take(&mut shared[1], &wire[..wire.len() - 1], &[usize::MAX]);
        broken += usize::from(server.end.is_some());
        assert!(shared[1].kept().0 <= PARTIAL_BYTES);
        assert!(server.heard.is_empty());
    }
    assert_eq!(broken, 8 - PARTIAL_BYTES / 16_405);
    assert_eq!(shared[1].tally.failures["no_room"], broken as u64);
    for [_, server] in ends {
        server.connection.ended(&mut shared[1]);
    }
    assert_eq!(shared[1].kept().0, 0);
}

#[test]
fn a_client_waits_for_its_ticket_and_hands_over_then_or_never() {
    for tickets in [0, 1] {
        let mut shared = [shared(client(BOTH, 1.0)), shared(server(tickets))];
        let [mut client, mut server] = shake(&mut shared, &[usize::MAX]);
        assert_eq!(shared[0].kept().1, 1 - tickets, "rustls keeps it until a ticket has come");
        // It can be used all the same, both ways.
        for (from, to) in [(0, 1), (1, 0)] {
            let mut wire = Vec::new();
            let ends = [&mut client, &mut server];
            ends[from].connection.seal(&mut shared[from], b"hello", &mut wire).expect("sealed");
            ends[to].take(&mut shared[to], &wire, &[3]);
            assert_eq!(ends[to].heard, b"hello");
        }
        let mut wire = Vec::new();
        server.connection.goodbye(&mut shared[1], &mut wire);
        client.take(&mut shared[0], &wire, &[5]);
        assert_eq!(client.end, Some(End::Goodbye));
        client.connection.ended(&mut shared[0]);
        assert_eq!(shared[0].kept(), (0, 0));
    }
}

#[test]
fn strangers_are_told_and_counted() {
    let hello = |side: Side| match side {
        Side::Client => &b"\x16\x03\x01\xff\xff not TLS"[..],
        Side::Server => &b"GET / HTTP/1.1\r\n\r\n"[..],
    };
    for (side, said) in [(Side::Server, &b"HTTP/1.1 400"[..]), (Side::Client, &b"\x15\x03\x03"[..])]
    {
        let mut shared = shared(server(0));
        let mut end = Ended::new(&shared);
        let answer = end.take(&mut shared, hello(side), &[4]);
        assert!(answer.starts_with(said), "{answer:?}");
        assert!(matches!(end.end, Some(End::Broken(Broken::Peer(_)))));
        assert_eq!(shared.tally.failures["not_tls"], 1);
        // Nothing more is said or taken.
        let mut out = Vec::new();
        end.connection.goodbye(&mut shared, &mut out);
        assert!(end.connection.seal(&mut shared, b"x", &mut out).is_err() && out.is_empty());
        end.connection.ended(&mut shared);
    }
    // Who echoes a hello speaks no TLS.
    let mut shared = shared(client(BOTH, 0.0));
    let mut end = Ended::new(&shared);
    let mut wire = Vec::new();
    end.connection.begin(&mut shared, &mut wire);
    end.take(&mut shared, &wire, &[usize::MAX]);
    assert_eq!(shared.tally.failures["echoed"], 1);
}

#[test]
fn a_record_that_was_changed_ends_the_connection_with_an_alert() {
    let mut shared = [shared(client(BOTH, 0.0)), shared(server(0))];
    let [mut client, mut server] = shake(&mut shared, &[usize::MAX]);
    let mut wire = Vec::new();
    client.connection.seal(&mut shared[0], b"hello", &mut wire).expect("sealed");
    wire[7] ^= 1;
    let answer = server.take(&mut shared[1], &wire, &[2]);
    assert_eq!(server.end, Some(End::Broken(Broken::Peer(Alert::BAD_RECORD_MAC))));
    client.take(&mut shared[0], &answer, &[2]);
    assert_eq!(client.end, Some(End::Broken(Broken::Us(Alert::BAD_RECORD_MAC))));
    assert_eq!(shared[1].tally.alerts_sent["bad_record_mac"], 1);
    assert_eq!(shared[0].tally.alerts_received["bad_record_mac"], 1);
}
