//! Our records against rustls as the other end: every suite of both versions, wherever reads are
//! cut, updates of keys both ways, tickets, padding, alerts, ends; both of our own ends against
//! each other.

mod connections;
pub(crate) mod ends;

use crate::{Alert, Broken, CONTENT_BYTES_MAX, Contexts, End, Opened, Version};
use ends::{Certificates, Ours, Side, Suite, pair, shaken};
use proptest::prelude::*;
use rustls::Connection;
use std::io::{Read, Write};

/// Everything that rustls wants to say.
fn said(connection: &mut Connection) -> Vec<u8> {
    let mut wire = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut wire).expect("into a vector");
    }
    wire
}

/// What rustls makes of bytes.
fn heard(connection: &mut Connection, mut wire: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    while !wire.is_empty() {
        connection.read_tls(&mut wire).expect("from a slice");
        let state = connection.process_new_packets()?;
        let at = plain.len();
        plain.resize(at + state.plaintext_bytes_to_read(), 0);
        connection.reader().read_exact(&mut plain[at..]).expect("they are ready");
    }
    Ok(plain)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_one_end_says_the_other_hears_wherever_reads_are_cut(
        suite in prop::sample::select(&Suite::ALL[..]),
        side in prop::sample::select(&[Side::Client, Side::Server][..]),
        messages in prop::collection::vec(
            (
                any::<bool>(),
                any::<u8>(),
                prop_oneof![0..100usize, Just(16_384), 16_000..40_000usize],
            ),
            1..8,
        ),
        cuts in prop::collection::vec(1..3_000usize, 1..5),
        updates in any::<u8>(),
    ) {
        let (mut ours, mut theirs) = shaken(suite, side, 2, &cuts);
        prop_assert_eq!(ours.facts.version, suite.version());
        prop_assert_eq!(ours.facts.suite, suite.name().replace("TLS13", "TLS"));
        prop_assert!(!ours.facts.resumed);
        for (number, (from_us, byte, length)) in messages.into_iter().enumerate() {
            let message = vec![byte; length];
            if from_us {
                let mut wire = Vec::new();
                ours.seal(&message, &mut wire);
                prop_assert_eq!(wire.len() <= ours.secured.sealed_bytes(length), true);
                prop_assert_eq!(heard(&mut theirs, &wire).expect("ours is right"), message);
            } else {
                // An update of their key now and then; it asks for ours.
                if suite.version() == Version::Tls13 && updates >> (number % 8) & 1 == 1 {
                    theirs.refresh_traffic_keys().expect("a key of 1.3");
                }
                theirs.writer().write_all(&message).expect("room");
                let wire = said(&mut theirs);
                let (plain, answer) = ours.open(&wire, &cuts).expect("theirs is right");
                prop_assert_eq!(plain, message);
                prop_assert_eq!(heard(&mut theirs, &answer).expect("the answer is right"), []);
            }
        }
        // They end, and so do we.
        theirs.send_close_notify();
        let end = ours.open(&said(&mut theirs), &cuts).expect_err("that is an end");
        prop_assert_eq!(end, End::Goodbye);
        let mut wire = Vec::new();
        ours.goodbye(&mut wire);
        prop_assert_eq!(heard(&mut theirs, &wire).expect("ours is right"), []);
        prop_assert!(theirs.process_new_packets().expect("nothing new").peer_has_closed());
    }

    #[test]
    fn whatever_is_changed_on_the_way_is_found(
        suite in prop::sample::select(&Suite::ALL[..]),
        length in 1..300usize,
        (at, bit) in (any::<prop::sample::Index>(), 0..8u32),
    ) {
        let (mut ours, mut theirs) = shaken(suite, Side::Server, 0, &[4096]);
        theirs.writer().write_all(&vec![7; length]).expect("room");
        let mut wire = said(&mut theirs);
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let Opened { end, .. } = ours.secured.open(&mut ours.contexts, &wire, &mut plain, &mut out);
        prop_assert_eq!(plain, Vec::<u8>::new());
        match end {
            // A length that is larger than what has come: the rest would show it.
            None => prop_assert!((3..5).contains(&at)),
            Some(End::Broken(Broken::Peer(alert))) => {
                let error = heard(&mut theirs, &out).expect_err("they are told");
                prop_assert!(
                    matches!(error, rustls::Error::AlertReceived(told) if u8::from(told) == alert.0)
                );
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(
        suite in prop::sample::select(&Suite::ALL[..]),
        wire in prop::collection::vec(any::<u8>(), 0..400),
        header in any::<bool>(),
    ) {
        let (mut ours, _) = shaken(suite, Side::Client, 0, &[4096]);
        let mut wire = wire;
        if header && wire.len() > 5 {
            let length = (wire.len() - 5) as u16;
            wire[..3].copy_from_slice(&[23, 3, 3]);
            wire[3..5].copy_from_slice(&length.to_be_bytes());
        }
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let opened = ours.secured.open(&mut ours.contexts, &wire, &mut plain, &mut out);
        prop_assert!(opened.used <= wire.len());
        prop_assert!(plain.is_empty());
    }

    #[test]
    fn both_of_our_ends_understand_each_other(
        suite in prop::sample::select(&Suite::ALL[..]),
        length in 0..50_000usize,
        cuts in prop::collection::vec(1..9_000usize, 1..4),
    ) {
        let (mut client, mut server) = pair(suite, &cuts);
        let message: Vec<u8> = (0..length).map(|at| at as u8).collect();
        for _ in 0..2 {
            let mut wire = Vec::new();
            client.seal(&message, &mut wire);
            prop_assert_eq!(&server.open(&wire, &cuts).expect("right").0, &message);
            wire.clear();
            server.seal(&message, &mut wire);
            prop_assert_eq!(&client.open(&wire, &cuts).expect("right").0, &message);
        }
        let mut wire = Vec::new();
        client.goodbye(&mut wire);
        prop_assert_eq!(server.open(&wire, &cuts).expect_err("an end"), End::Goodbye);
    }
}

#[test]
fn early_bytes_of_either_end_are_not_lost_in_the_handover() {
    for suite in Suite::ALL {
        for cut in [1, 7, 100, 20_000] {
            let certificates = Certificates::new();
            // Theirs is the client: what it says goes out with its last message of the handshake.
            let (mut client, mut server) = (
                certificates.theirs(suite, Side::Client, 0),
                certificates.ours(suite, Side::Server, 2),
            );
            let (mut plain, mut to_server) = (Vec::new(), said(&mut client));
            let mut said_early = false;
            for _ in 0..4 {
                let to_client = server.take(&to_server, &[cut], &mut plain);
                heard(&mut client, &to_client).expect("right");
                if !client.is_handshaking() && !std::mem::replace(&mut said_early, true) {
                    client.writer().write_all(b"early").expect("room");
                }
                to_server = said(&mut client);
            }
            assert_eq!(plain, b"early", "{suite:?}, cut at {cut}");
        }
    }
}

#[test]
fn a_key_is_changed_before_it_is_used_up_and_theirs_follows() {
    let (mut ours, mut theirs) = shaken(Suite::ALL[0], Side::Client, 0, &[4096]);
    // Each of these asks for ours to be changed too: they follow one after the other.
    for round in 0..100 {
        theirs.refresh_traffic_keys().expect("a key of 1.3");
        theirs.writer().write_all(&[round]).expect("room");
        let (plain, answer) = ours.open(&said(&mut theirs), &[4096]).expect("right");
        assert_eq!(plain, [round]);
        let mut wire = answer;
        ours.seal(&[round, round], &mut wire);
        assert_eq!(heard(&mut theirs, &wire).expect("right"), [round, round]);
    }
}

#[test]
fn floods_that_say_nothing_are_ended() {
    // Updates of keys without content between them.
    let (mut ours, mut theirs) = shaken(Suite::ALL[0], Side::Server, 0, &[4096]);
    let mut end = None;
    for _ in 0..40 {
        theirs.refresh_traffic_keys().expect("a key of 1.3");
        match ours.open(&said(&mut theirs), &[4096]) {
            Ok((_, answer)) => drop(heard(&mut theirs, &answer).expect("right")),
            Err(why) => {
                end = Some(why);
                break;
            }
        }
    }
    assert_eq!(end, Some(End::Broken(Broken::Peer(Alert::UNEXPECTED_MESSAGE))));
    for suite in Suite::ALL {
        // Empty records.
        let (mut client, mut server) = pair(suite, &[4096]);
        let mut end = None;
        for _ in 0..40 {
            let wire = client.sealed_as(23, b"");
            end = server.open(&wire, &[4096]).err();
            if end.is_some() {
                break;
            }
        }
        assert_eq!(end, Some(End::Broken(Broken::Peer(Alert::UNEXPECTED_MESSAGE))), "{suite:?}");
        // Warnings.
        let (mut client, mut server) = pair(suite, &[4096]);
        let mut count = 0;
        let end = loop {
            let wire = client.sealed_as(21, &[1, Alert::USER_CANCELED.0]);
            match server.open(&wire, &[4096]) {
                Ok(_) => count += 1,
                Err(end) => break end,
            }
        };
        assert_eq!(end, End::Broken(Broken::Peer(Alert::UNEXPECTED_MESSAGE)), "{suite:?}");
        assert_eq!(count, 4);
    }
}

#[test]
fn what_breaks_a_rule_is_answered_with_the_alert_of_the_standard() {
    let v13 = Suite::ALL[0];
    let v12 = Suite::ALL[3];
    assert_eq!((v13.version(), v12.version()), (Version::Tls13, Version::Tls12));
    for (suite, kind, content, alert) in [
        // An alert of the wrong length, an unknown kind, a message that may not come.
        (v13, 21, &[1][..], Alert::DECODE_ERROR),
        (v13, 20, &[1], Alert::UNEXPECTED_MESSAGE),
        (v13, 22, &[1, 0, 0, 1, 0], Alert::UNEXPECTED_MESSAGE),
        (v13, 22, &[], Alert::UNEXPECTED_MESSAGE),
        (v13, 22, &[13, 0, 0, 0], Alert::UNEXPECTED_MESSAGE),
        // Updates with something wrong, or with something behind them.
        (v13, 22, &[24, 0, 0, 1, 2], Alert::ILLEGAL_PARAMETER),
        (v13, 22, &[24, 0, 0, 2, 0, 0], Alert::DECODE_ERROR),
        (v13, 22, &[24, 0, 0, 1, 0, 4], Alert::UNEXPECTED_MESSAGE),
        (v12, 22, &[24, 0, 0, 1, 0], Alert::UNEXPECTED_MESSAGE),
        (v12, 22, &[0, 0, 0, 1, 0], Alert::DECODE_ERROR),
    ] {
        let (mut client, mut server) = pair(suite, &[4096]);
        let wire = client.sealed_as(kind, content);
        let end = server.open(&wire, &[4096]).expect_err("a broken rule");
        assert_eq!(end, End::Broken(Broken::Peer(alert)), "{suite:?} {kind} {content:?}");
        // And the other end hears of it.
        let told = client.open(&server.out, &[4096]).expect_err("an alert");
        assert_eq!(told, End::Broken(Broken::Us(alert)));
    }
    // A record that is longer than any may be, and no record at all.
    for (header, alert) in [
        ([23, 3, 3, 0x48, 1], Alert::RECORD_OVERFLOW),
        ([23, 2, 0, 0, 9], Alert::DECODE_ERROR),
        (*b"GET /", Alert::DECODE_ERROR),
    ] {
        let (_, mut server) = pair(v13, &[4096]);
        assert_eq!(
            server.open(&header, &[4096]).expect_err("refused"),
            End::Broken(Broken::Peer(alert))
        );
    }
    // One of 1.3 that is a byte longer than 1.3 allows.
    let (_, mut server) = pair(v13, &[100_000]);
    let mut record = vec![0; 5 + CONTENT_BYTES_MAX + 257];
    record[..5].copy_from_slice(&[23, 3, 3, 0x41, 1]);
    assert_eq!(
        server.open(&record, &[100_000]).expect_err("refused"),
        End::Broken(Broken::Peer(Alert::RECORD_OVERFLOW))
    );
}

#[test]
fn a_message_may_be_cut_across_records_and_nothing_may_come_between() {
    let (mut client, mut server) = pair(Suite::ALL[0], &[4096]);
    // A ticket of 300 bytes in three records, then an update in two.
    let ticket = [&[4, 0, 1, 44][..], &[9; 300]].concat();
    for part in [&ticket[..2], &ticket[2..100], &ticket[100..]] {
        let wire = client.sealed_as(22, part);
        assert_eq!(server.open(&wire, &[3]).expect("right").0, []);
    }
    let wire = client.sealed_as(22, &[24, 0]);
    server.open(&wire, &[4096]).expect("right");
    let wire = client.sealed_as(23, b"between");
    assert_eq!(
        server.open(&wire, &[4096]).expect_err("that may not come now"),
        End::Broken(Broken::Peer(Alert::UNEXPECTED_MESSAGE))
    );
}

#[test]
fn a_new_handshake_is_refused_and_the_connection_goes_on() {
    let (mut client, mut server) = pair(Suite::ALL[3], &[4096]);
    let hello = client.sealed_as(22, &[1, 0, 0, 2, 3, 3]);
    let (plain, answer) = server.open(&hello, &[4096]).expect("no end");
    assert_eq!(plain, []);
    assert_eq!(client.open(&answer, &[4096]).expect("a warning").0, []);
    let mut wire = Vec::new();
    client.seal(b"still here", &mut wire);
    assert_eq!(server.open(&wire, &[4096]).expect("right").0, b"still here");
}

#[test]
fn padding_is_taken_off_and_nothing_but_padding_is_refused() {
    let (mut client, mut server) = pair(Suite::ALL[0], &[4096]);
    // What looks like a kind of its own is padding behind the true one.
    let wire = client.sealed_padded(23, b"padded", 200);
    assert_eq!(server.open(&wire, &[4096]).expect("right").0, b"padded");
    let wire = client.sealed_padded(0, b"", 50);
    assert_eq!(
        server.open(&wire, &[4096]).expect_err("there is nothing in it"),
        End::Broken(Broken::Peer(Alert::UNEXPECTED_MESSAGE))
    );
}

#[test]
fn ciphers_are_kept_for_the_busy_and_forgotten_with_their_connections() {
    let (mut client, mut server) = pair(Suite::ALL[1], &[4096]);
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.seal(b"again", &mut wire);
        server.open(&wire, &[4096]).expect("right");
    }
    let (hits, misses) = server.contexts.hits_and_misses();
    assert!(hits >= 9 && misses <= 2, "{hits} hits, {misses} misses");
    let Ours { secured, mut contexts, .. } = server;
    secured.end(&mut contexts);
    assert_eq!(contexts.kept(), 0);
    assert_eq!(Contexts::new(100).kept(), 0);
}
