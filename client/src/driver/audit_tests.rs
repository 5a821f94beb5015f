//! The audit on the simulated network: receipts at known times, so each part of each response is
//! exact.

use super::tests::{HandServer, Rig, load};
use super::*;
use crate::books::audited::Audited;
use crate::load::audited_share::Share;
use crate::load::phases::steps::*;
use host::receipt::TcpHealth;
use reactor::sim::Faults;
use reactor::{Limits, Stream};
use std::collections::BTreeMap;

const MILLI: Nanos = Nanos::from_millis(1);

fn millis(count: u64) -> Nanos {
    Nanos::from_millis(count)
}

fn audited(connections: u64, model: Model) -> (Rig, HandServer) {
    let load = Load { audit: Share::ALL, first_echo: false, ..load(connections, 1, model) };
    let (mut rig, server) = Rig::by_hand(Load { duration: millis(100), ..load });
    rig.ramp();
    rig.step(AUDIT_FROM);
    (rig, server)
}

/// By name: how many messages had that part so many milliseconds long.
type Parts = BTreeMap<&'static str, Vec<(u64, u64)>>;

/// Ends the run, and returns what the audit of its only reactor brought.
fn parts(mut rig: Rig) -> (Parts, Box<Audited>) {
    rig.until_done(DRIVE);
    rig.step(AUDIT_TO);
    rig.step(DRAIN);
    let mut last = rig.finals.remove(&0).expect("the last word");
    let audit = last.audit.take().expect("an audit");
    let stage = |stage| last.recorder.stage(stage).expect("recorded");
    let named = [
        ("send_lag", &audit.send_lag),
        ("outside", stage(Stage::Outside)),
        ("receive_lag", stage(Stage::ReceiveLag)),
        ("response", &audit.response),
    ];
    let [send_lag, outside, receive_lag, response] =
        named.map(|(_, part)| part.mean().unwrap_or(0.0));
    assert!((send_lag + outside + receive_lag - response).abs() < 1e-3, "the means add up");
    // Cells are less than a thousandth wide.
    let millis = |part: &measure::FineHistogram| {
        part.cells().map(|(span, count)| ((span + 500_000) / 1_000_000, count)).collect()
    };
    (named.map(|(name, part)| (name, millis(part))).into(), audit)
}

#[test]
fn the_parts_of_each_response_are_exact() {
    let (mut rig, mut server) = audited(2, Model::Open(100.0));
    rig.world.set_health(TcpHealth { rtt: millis(7), rtt_variation: MILLI, retransmits: 3 });
    let start = rig.world.now() + millis(20);
    rig.tell(begin(DRIVE, start));
    rig.settle();
    for message in 0..10 {
        // It leaves 2 ms late, its reply comes 3 ms later, and is read 1 ms behind that.
        let due = start + millis(10 * message);
        rig.world.advance_to(due + millis(2));
        rig.settle();
        rig.world.advance_to(due + millis(5));
        server.answer(|bytes| bytes);
        rig.world.advance_to(due + millis(6));
        rig.settle();
    }
    let (parts, audit) = parts(rig);
    let all = |millis| vec![(millis, 10)];
    for (name, span) in [("send_lag", 2), ("outside", 3), ("receive_lag", 1), ("response", 6)] {
        assert_eq!(parts[name], all(span), "{name}");
    }
    assert_eq!((audit.connections, audit.messages), (2, 10));
    assert_eq!((audit.unstamped, audit.misfits, audit.clock_steps), (0, 0, 0));
}

#[test]
fn replies_of_one_read_have_the_receipt_of_its_last_bytes() {
    let (mut rig, mut server) = audited(1, Model::Closed(2));
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    rig.settle();
    let sent = server.read().remove(0);
    rig.world.advance_to(start + MILLI);
    server.peers[0].send(&sent[..32]).expect("room");
    rig.world.advance_to(start + millis(3));
    server.peers[0].send(&sent[32..40]).expect("room");
    rig.world.advance_to(start + millis(4));
    server.peers[0].send(&sent[40..]).expect("room");
    // The time is over: nothing more is sent.
    rig.world.advance_to(start + millis(100));
    rig.settle();
    let (parts, _) = parts(rig);
    assert_eq!(parts["outside"], [(4, 2)]);
    assert_eq!(parts["receive_lag"], [(96, 2)]);
}

#[test]
fn a_reply_in_pieces_is_received_with_its_last_piece() {
    let (mut rig, mut server) = audited(1, Model::Closed(1));
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    rig.settle();
    let sent = server.read().remove(0);
    for (at, piece) in [(1, &sent[..8]), (7, &sent[8..30]), (98, &sent[30..])] {
        rig.world.advance_to(start + millis(at));
        server.peers[0].send(piece).expect("room");
        if at < 98 {
            rig.settle();
        }
    }
    rig.world.advance_to(start + millis(101));
    rig.settle();
    let (parts, _) = parts(rig);
    assert_eq!((&parts["outside"][..], &parts["receive_lag"][..]), (&[(98, 1)][..], &[(3, 1)][..]));
}

#[test]
fn when_the_time_of_day_is_set_no_nonsense_is_recorded() {
    for (set, misfits) in [(3_600_000_000_000, 2), (-3_600_000_000_000, 2), (0, 0)] {
        let (mut rig, mut server) = audited(2, Model::Open(100.0));
        let start = rig.world.now() + millis(20);
        rig.tell(begin(DRIVE, start));
        rig.settle();
        for message in 0..10 {
            let due = start + millis(10 * message);
            rig.world.advance_to(due);
            rig.settle();
            rig.world.advance_to(due + millis(5));
            if message == 8 {
                rig.world.set_wall(set);
            }
            server.answer(|bytes| bytes);
            rig.world.advance_to(due + millis(6));
            rig.settle();
        }
        let (parts, audit) = parts(rig);
        assert_eq!((audit.messages, audit.misfits), (10 - misfits, misfits), "{set}");
        assert_eq!(parts["outside"], [(5, 10 - misfits)]);
        // Nothing was read after that which could tell of it.
        assert_eq!(audit.clock_steps, 0);
    }
}

#[test]
fn a_clock_that_was_set_is_followed_a_moment_later() {
    let (mut rig, mut server) = audited(1, Model::Closed(1));
    let start = rig.world.now();
    rig.tell(begin(DRIVE, start));
    rig.settle();
    for at in [10, 20, 30] {
        rig.world.advance_to(start + millis(at));
        if at == 20 {
            rig.world.set_wall(60_000_000_000);
        }
        server.answer(|bytes| bytes);
        rig.settle();
    }
    // The last message waits until the clocks are looked at again.
    rig.world.advance_to(start + millis(150));
    server.answer(|bytes| bytes);
    rig.world.advance_to(start + millis(151));
    rig.settle();
    let (parts, audit) = parts(rig);
    assert_eq!((audit.messages, audit.misfits, audit.clock_steps), (2, 2, 1));
    assert_eq!(parts["outside"], [(10, 1), (120, 1)]);
}

#[test]
fn tcp_is_asked_before_the_traffic_and_behind_it() {
    let (mut rig, mut server) = audited(300, Model::Open(100.0));
    // More than are asked in one turn.
    assert_eq!(rig.clients[0].core().connections(), 300);
    rig.tell(begin(DRIVE, rig.world.now()));
    rig.run_until(rig.world.now() + millis(99));
    rig.world.set_health(TcpHealth { rtt: millis(7), rtt_variation: MILLI, retransmits: 3 });
    server.answer(|bytes| bytes);
    server.peers.truncate(200);
    let (_, audit) = parts(rig);
    let [start, end] = [audit.start.expect("before"), audit.end.expect("behind")];
    assert_eq!((start.connections, start.retransmits, start.rtt.max()), (300, 0, Some(0)));
    assert_eq!((end.connections, end.retransmits, end.rtt.max()), (200, 600, Some(7_000_000)));
    assert_eq!(end.rtt_variation.max(), Some(1_000_000));
}

#[test]
fn only_audited_connections_are_read_with_stamps() {
    for (share, expected) in [("off", 0), ("10%", 3), ("100%", 30)] {
        let share: Share = share.parse().expect("a share");
        let load = Load { audit: share, ..load(30, 3, Model::Open(3_000.0)) };
        let mut rig = Rig::new(load, Faults::default(), 1, Limits::for_slots(64));
        rig.open_all();
        let server_reads = |rig: &Rig| rig.servers[0].core().counters.reads;
        assert_eq!(rig.world.reads().1, 0, "nobody needs stamps before the traffic");
        let before = server_reads(&rig);
        if !share.is_off() {
            rig.step(AUDIT_FROM);
        }
        rig.drive();
        let stamped = rig.world.reads().1;
        assert_eq!(server_reads(&rig) - before, 3_000);
        // Each connection had 100 messages, each in a read of its own.
        assert_eq!(stamped, 100 * expected, "{share}");
        rig.step(DRAIN);
        let audits = rig.finals.values().filter_map(|last| last.audit.as_ref());
        let (mut connections, mut messages) = (Vec::new(), 0);
        for audit in audits {
            connections.push(audit.connections);
            messages += audit.messages;
        }
        assert_eq!((connections.iter().sum(), messages), (expected, 100 * expected));
        assert!(share.is_off() || connections.iter().all(|each| *each == expected / 3));
    }
}
