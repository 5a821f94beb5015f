//! TLS behind its handshake, and strangers before it: records of any kind and content, changed
//! ones, and bytes that are none.

use super::cuts;
use crate::Verdict;
use rcgen::{CertificateParams, KeyPair};
use std::sync::LazyLock;
use tls::rustls::pki_types::PrivateKeyDer;
use tls::{
    ClientOptions, Connection, End, Identity, ServerOptions, Setup, Shared, Trust, Versions,
};

/// Kinds of records and messages of handshakes.
pub(super) const WORDS: &[&str] = &["\u{14}", "\u{15}", "\u{16}", "\u{17}", "\u{18}", "\u{4}"];

/// Bytes of records that may be partly here.
const PARTIAL_BYTES: usize = 1 << 16;

/// A server and a client for 1.2, and for 1.3.
static SETUPS: LazyLock<[[Setup; 2]; 2]> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.self_signed(&key).expect("a certificate");
    let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let identity = Identity::new(vec![certificate.der().clone()], der);
    [false, true].map(|tls13| {
        let versions = Versions { tls12: !tls13, tls13 };
        let server = ServerOptions {
            identity: &identity,
            client_authorities: None,
            alpn: Vec::new(),
            versions,
            tickets: 1,
        };
        let client = ClientOptions {
            trust: &Trust::Anybody,
            identity: None,
            name: "localhost",
            alpn: Vec::new(),
            versions,
            suites: &[],
            groups: &[],
            resumes: 0.0,
            key_log: None,
        };
        [Setup::server(server).expect("a server"), Setup::client(client).expect("a client")]
    })
});

/// One end.
struct Side {
    shared: Shared,
    connection: Connection,
    heard: Vec<u8>,
    said: Vec<u8>,
    agreed: bool,
    end: Option<End>,
}

impl Side {
    fn new(setup: &Setup) -> Self {
        let shared = Shared::new(vec![setup.clone()], PARTIAL_BYTES);
        let connection = shared.connection(0).expect("a setup");
        let (heard, said) = (Vec::new(), Vec::new());
        Self { shared, connection, heard, said, agreed: false, end: None }
    }

    /// Takes bytes in reads of these lengths, the rest at once.
    fn take(&mut self, mut wire: &[u8], cuts: &[usize]) {
        let mut cuts = cuts.iter();
        while !wire.is_empty() && self.end.is_none() {
            let length = cuts.next().map_or(wire.len(), |cut| (*cut).clamp(1, wire.len()));
            let (read, rest) = wire.split_at(length);
            wire = rest;
            let progress =
                self.connection.open(&mut self.shared, read, &mut self.heard, &mut self.said);
            (self.agreed, self.end) = (progress.agreed, progress.end);
        }
    }

    /// What there is to say of how it went.
    fn verdict(self) -> (bool, Option<End>, Vec<u8>, Vec<String>) {
        let causes = self.shared.tally.failures.keys().cloned().collect();
        (self.agreed, self.end, self.heard, causes)
    }
}

/// The first byte says what the others are.
pub(super) fn tls(input: &[u8]) -> Verdict {
    let Some((how, rest)) = input.split_first() else { return Verdict::of("nothing") };
    let [server, client] = &SETUPS[usize::from(how >> 1 & 1)];
    let is_tls13 = how >> 1 & 1 == 1;
    match how & 1 {
        0 => strangers(server, rest),
        _ => records((server, client, is_tls13), how >> 2, rest),
    }
}

/// Bytes of whoever comes: the same end and the same cause wherever reads fall.
fn strangers(server: &Setup, wire: &[u8]) -> Verdict {
    let verdicts = cuts(wire).map(|cuts| {
        let mut side = Side::new(server);
        side.take(wire, &cuts);
        assert!(side.said.len() < 20_000, "{} bytes are said", side.said.len());
        side.verdict()
    });
    assert_eq!(verdicts[0], verdicts[1]);
    assert_eq!(verdicts[0], verdicts[2]);
    let [(agreed, end, _, causes), ..] = verdicts;
    assert!(!agreed, "nobody can guess a handshake");
    Verdict::of((format!("{end:?}"), causes))
}

/// What a record carries, if that is data. By TLS 1.3 the kind is the last byte that is not zero: a
/// kind of zero makes padding of what it stands behind (RFC 8446 5.2).
fn data_of(is_tls13: bool, kind: u8, content: &[u8]) -> Option<&[u8]> {
    if !is_tls13 || kind != 0 {
        return (kind == 23).then_some(content);
    }
    let at = content.iter().rposition(|byte| *byte != 0)?;
    (content[at] == 23).then(|| &content[..at])
}

/// Records as a peer that breaks rules might send them: kind, length, content, and so on.
fn records(
    (server, client, is_tls13): (&Setup, &Setup, bool),
    changed: u8,
    program: &[u8],
) -> Verdict {
    let (mut ours, mut theirs) = (Side::new(server), Side::new(client));
    theirs.connection.begin(&mut theirs.shared, &mut theirs.said);
    while !theirs.said.is_empty() || !ours.said.is_empty() {
        ours.take(&std::mem::take(&mut theirs.said), &[]);
        theirs.take(&std::mem::take(&mut ours.said), &[]);
    }
    assert!(ours.agreed && theirs.agreed, "they shake hands");
    let (mut wire, mut content_of_all, mut rest) = (Vec::new(), Vec::new(), program);
    while let [kind, length, more @ ..] = rest {
        let (content, behind) = more.split_at(more.len().min(usize::from(*length)));
        rest = behind;
        theirs.connection.seal_as(&mut theirs.shared, *kind, content, &mut wire);
        if let Some(data) = data_of(is_tls13, *kind, content) {
            content_of_all.extend_from_slice(data);
        }
    }
    // The last record that is changed is not believed, and what follows it is not heard.
    let broken = changed != 0 && !wire.is_empty();
    if broken {
        let at = usize::from(changed) * wire.len() / 64;
        let at = at.min(wire.len() - 1);
        wire[at] ^= 1;
    }
    let own = cuts(program).into_iter().next_back().unwrap_or_default();
    ours.take(&wire, &own);
    assert!(content_of_all.starts_with(&ours.heard), "what is heard was said, in order");
    let records = program.len() / 2 + 1;
    assert!(ours.said.len() <= 64 * records + 64, "{} bytes are said", ours.said.len());
    if !broken && ours.end.is_none() {
        assert_eq!(ours.heard, content_of_all, "what was said is heard");
    }
    let (heard_all, end) = (ours.heard.len() == content_of_all.len(), ours.end);
    let (_, _, _, causes) = ours.verdict();
    Verdict::of((heard_all, format!("{end:?}"), causes))
}
