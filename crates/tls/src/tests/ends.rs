//! Both kinds of ends in memory: ours, and rustls alone.

use crate::{Capture, Contexts, End, Facts, Handshake, Identity, Secured, Step, Version};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig,
    ServerConnection,
};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A cipher suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suite(CipherSuite);

impl Suite {
    /// Three of TLS 1.3, then three of TLS 1.2.
    pub(crate) const ALL: [Self; 6] = [
        Self(CipherSuite::TLS13_AES_128_GCM_SHA256),
        Self(CipherSuite::TLS13_AES_256_GCM_SHA384),
        Self(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        Self(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        Self(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        Self(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ];

    pub(crate) fn version(self) -> Version {
        if self.name().starts_with("TLS13") { Version::Tls13 } else { Version::Tls12 }
    }

    pub(crate) fn name(self) -> &'static str {
        self.0.as_str().expect("it has a name")
    }

    fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suite.suite() == self.0);
        Arc::new(provider)
    }
}

/// A certificate for localhost that is proven, and its CA's.
pub(crate) fn made() -> (Identity, CertificateDer<'static>) {
    let Certificates { ca, leaf, key } = Certificates::new();
    let key = PrivateKeyDer::try_from(key).expect("a key");
    (Identity::new(vec![leaf], key), ca)
}

/// A CA, and a certificate of its for localhost.
pub(crate) struct Certificates {
    ca: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca = params.self_signed(&ca_key).expect("a CA");
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let leaf = params.signed_by(&key, &issuer).expect("a certificate");
        Self { ca: ca.der().clone(), leaf: leaf.der().clone(), key: key.serialize_der() }
    }

    /// An end by rustls, which sends so many tickets if it is a server.
    pub(crate) fn theirs(&self, suite: Suite, side: Side, tickets: usize) -> Connection {
        let provider = suite.provider();
        match side {
            Side::Client => {
                let mut roots = RootCertStore::empty();
                roots.add(self.ca.clone()).expect("a root");
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .expect("versions");
                let mut config = config.with_root_certificates(roots).with_no_client_auth();
                config.enable_secret_extraction = true;
                config.key_log = Arc::new(Capture::default());
                let name = ServerName::try_from("localhost").expect("a name");
                ClientConnection::new(Arc::new(config), name).expect("a client").into()
            }
            Side::Server => {
                let key = PrivateKeyDer::try_from(self.key.clone()).expect("a key");
                let config = ServerConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .expect("versions");
                let config = config.with_no_client_auth();
                let config = config.with_single_cert(vec![self.leaf.clone()], key);
                let mut config = config.expect("a certificate");
                config.enable_secret_extraction = true;
                config.key_log = Arc::new(Capture::default());
                config.send_tls13_tickets = tickets;
                ServerConnection::new(Arc::new(config)).expect("a server").into()
            }
        }
    }

    /// One of ours, which has said nothing.
    pub(crate) fn ours(&self, suite: Suite, side: Side, tickets: usize) -> Shaking {
        Shaking::Under(Handshake::new(self.theirs(suite, side, tickets)), Contexts::new(8))
    }
}

/// One of our ends, from its first byte on.
pub(crate) enum Shaking {
    Under(Handshake, Contexts),
    Done(Box<Ours>),
    Gone,
}

impl Shaking {
    /// Takes bytes cut like that; what has to be said to them.
    pub(crate) fn take(&mut self, wire: &[u8], cuts: &[usize], plain: &mut Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        for read in cut(wire, cuts) {
            let mut read = read;
            if let Self::Under(handshake, _) = self {
                let (step, used) = handshake.take(read, plain, &mut out);
                read = &read[used..];
                if step.expect("a good handshake") == Step::Agreed {
                    let Self::Under(mut done, contexts) = std::mem::replace(self, Self::Gone)
                    else {
                        unreachable!("it was under way")
                    };
                    let facts = done.facts().expect("it is done");
                    let secured = done.hand_over().expect("it can be taken over");
                    *self = Self::Done(Box::new(Ours {
                        secured,
                        facts,
                        contexts,
                        partial: Vec::new(),
                        out: Vec::new(),
                    }));
                }
            }
            if let Self::Done(ours) = self
                && !read.is_empty()
            {
                let (more, answer) = ours.open(read, &[usize::MAX]).expect("right records");
                plain.extend(more);
                out.extend(answer);
            }
        }
        out
    }

    fn begin(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Self::Under(handshake, _) = self {
            handshake.begin(&mut out);
        }
        out
    }

    fn done(self) -> Ours {
        match self {
            Self::Done(ours) => *ours,
            Self::Under(..) | Self::Gone => panic!("the handshake is not done"),
        }
    }
}

/// One of our ends whose handshake is done.
pub(crate) struct Ours {
    pub(crate) secured: Secured,
    pub(crate) facts: Facts,
    pub(crate) contexts: Contexts,
    /// A record that is only partly here.
    partial: Vec<u8>,
    /// What it said last.
    pub(crate) out: Vec<u8>,
}

impl Ours {
    pub(crate) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        self.secured.seal(&mut self.contexts, plain, wire).expect("the key is not used up");
    }

    pub(crate) fn goodbye(&mut self, wire: &mut Vec<u8>) {
        self.secured.goodbye(&mut self.contexts, wire);
    }

    /// A record of any kind, as a peer that breaks rules might send it.
    pub(crate) fn sealed_as(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.secured.say(&mut self.contexts, kind, content, &mut out);
        out
    }

    /// The same with padding, of at least one byte: by TLS 1.3 the kind stands before it.
    pub(crate) fn sealed_padded(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let inner = [content, &[kind], &vec![0; padding - 1]].concat();
        self.sealed_as(0, &inner)
    }

    /// Opens bytes cut like that: what they carry, and what has to be said to them.
    pub(crate) fn open(&mut self, wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Vec<u8>), End> {
        let mut plain = Vec::new();
        self.out.clear();
        for read in cut(wire, cuts) {
            self.partial.extend_from_slice(read);
            let opened =
                self.secured.open(&mut self.contexts, &self.partial, &mut plain, &mut self.out);
            self.partial.drain(..opened.used);
            if let Some(end) = opened.end {
                return Err(end);
            }
        }
        Ok((plain, self.out.clone()))
    }
}

/// Reads of these lengths in turn.
fn cut<'a>(mut wire: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> + 'a {
    cuts.iter().cycle().map_while(move |length| {
        let (read, rest) = wire.split_at((*length).min(wire.len()));
        wire = rest;
        (!read.is_empty()).then_some(read)
    })
}

/// One of our ends and one of rustls, whose handshake is done and whose tickets are taken.
pub(crate) fn shaken(
    suite: Suite,
    side: Side,
    tickets: usize,
    cuts: &[usize],
) -> (Ours, Connection) {
    let certificates = Certificates::new();
    let other = if side == Side::Client { Side::Server } else { Side::Client };
    let (mut ours, mut theirs) =
        (certificates.ours(suite, side, tickets), certificates.theirs(suite, other, tickets));
    let mut plain = Vec::new();
    let mut to_theirs = ours.begin();
    loop {
        let mut rest = &to_theirs[..];
        while !rest.is_empty() {
            theirs.read_tls(&mut rest).expect("from a slice");
            theirs.process_new_packets().expect("a good handshake");
        }
        let mut to_ours = Vec::new();
        while theirs.wants_write() {
            theirs.write_tls(&mut to_ours).expect("into a vector");
        }
        let idle = to_theirs.is_empty() && to_ours.is_empty();
        to_theirs = ours.take(&to_ours, cuts, &mut plain);
        if idle && to_theirs.is_empty() {
            break;
        }
    }
    assert!(plain.is_empty() && !theirs.is_handshaking());
    (ours.done(), theirs)
}

/// Two of ours: client and server.
pub(crate) fn pair(suite: Suite, cuts: &[usize]) -> (Ours, Ours) {
    let certificates = Certificates::new();
    let mut client = certificates.ours(suite, Side::Client, 1);
    let mut server = certificates.ours(suite, Side::Server, 1);
    let mut plain = Vec::new();
    let mut wire = client.begin();
    while !wire.is_empty() {
        let answer = server.take(&wire, cuts, &mut plain);
        wire = client.take(&answer, cuts, &mut plain);
    }
    assert!(plain.is_empty());
    (client.done(), server.done())
}
