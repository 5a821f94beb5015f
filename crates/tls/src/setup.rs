//! `Setup`: what connections of one kind begin with: certificates, trust, versions, suites, groups.
//! It is made once, and serves all reactors.

use crate::handshake::{Capture, Handshake, name_of};
use crate::tickets::Tickets;
use crate::verify::{Anything, Remembering};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, ALL_KX_GROUPS};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Error, InconsistentKeys, KeyLog, RootCertStore, ServerConfig,
    ServerConnection, SupportedCipherSuite, SupportedProtocolVersion,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why connections cannot begin like that: a sentence that goes behind the name of an option.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetupError {
    /// There is no certificate in a file.
    #[error("there is no certificate in it: give a PEM file with BEGIN CERTIFICATE")]
    NoCertificate,
    /// A certificate in a file cannot be read.
    #[error("a certificate in it cannot be read ({0}): give a PEM file as a CA hands it out")]
    BadCertificate(String),
    /// There is no private key in a file.
    #[error(
        "there is no private key in it that can be used: give a PEM file with an unencrypted \
         BEGIN PRIVATE KEY (openssl pkey -in FILE removes a password)"
    )]
    NoKey,
    /// The key is of a kind that is not supported.
    #[error("the key is of a kind that TLS has no use for ({0}): use P-256, P-384, RSA or Ed25519")]
    BadKey(String),
    /// Key and certificate are no pair.
    #[error("the key is not that of the certificate: give the two that belong together")]
    NoPair,
    /// No such suite.
    #[error("'{0}' is not known here: {1}")]
    UnknownSuite(String, String),
    /// No such group.
    #[error("'{0}' is not known here: {1}")]
    UnknownGroup(String, String),
    /// None of the suites is of a version that may be spoken.
    #[error(
        "none of these suites is one of the versions that may be spoken: add one, or a version"
    )]
    NoSuite,
    /// Not a name that a certificate could have.
    #[error("'{0}' is no name that a certificate can have: give a host name or an address")]
    BadName(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Which versions may be spoken: the oldest and the newest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Versions {
    /// Whether 1.2 may be.
    pub tls12: bool,
    /// Whether 1.3 may be.
    pub tls13: bool,
}

impl Versions {
    fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        let both = [(self.tls12, &rustls::version::TLS12), (self.tls13, &rustls::version::TLS13)];
        both.into_iter().filter(|(is_spoken, _)| *is_spoken).map(|(_, version)| version).collect()
    }
}

/// A certificate and what proves it: the chain, its own first, and the private key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From two PEM files, which may be the same.
    ///
    /// # Errors
    /// The first of the two that is wrong, or both do not belong together, which the second is
    /// blamed for.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, (Of, SetupError)> {
        let chain = certificates(chain).map_err(|error| (Of::Certificate, error))?;
        let key = PrivateKeyDer::from_pem_slice(key);
        let key = key.map_err(|_| (Of::Key, SetupError::NoKey))?;
        let identity = Self { chain, key };
        let provider = aws_lc_rs::default_provider();
        let signing = provider.key_provider.load_private_key(identity.key.clone_key());
        let signing = signing.map_err(|error| (Of::Key, SetupError::BadKey(error.to_string())))?;
        let pair = rustls::sign::CertifiedKey::new(identity.chain.clone(), signing);
        match pair.keys_match() {
            Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) | Ok(()) => Ok(identity),
            Err(Error::InconsistentKeys(_)) => Err((Of::Key, SetupError::NoPair)),
            Err(error) => Err((Of::Certificate, SetupError::BadCertificate(error.to_string()))),
        }
    }

    /// From what was made just now.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }
}

/// Nothing of a key is ever shown.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Which of two files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Of {
    /// That with the certificate.
    Certificate,
    /// That with the key.
    Key,
}

/// All certificates of a PEM file, one at the least.
///
/// # Errors
/// If there is none, or one that cannot be read.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| SetupError::BadCertificate(error.to_string()))?;
    if all.is_empty() { Err(SetupError::NoCertificate) } else { Ok(all) }
}

/// The authorities of a PEM file: whoever they vouch for is trusted.
///
/// # Errors
/// If there is none, or one that cannot be read.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| SetupError::BadCertificate(error.to_string()))?;
    }
    Ok(roots)
}

/// What a server is set up with.
#[derive(Debug)]
pub struct ServerOptions<'a> {
    /// What it shows.
    pub identity: &'a Identity,
    /// Whoever does not show a certificate that one of these vouches for is refused.
    pub client_authorities: Option<RootCertStore>,
    /// The protocols that ALPN may choose, the best first.
    pub alpn: Vec<String>,
    /// Which versions it speaks.
    pub versions: Versions,
    /// Tickets after each handshake of 1.3. 0: none, and none by 1.2 either.
    pub tickets: usize,
}

/// Whom a client trusts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whoever these vouch for.
    Authorities(Arc<RootCertStore>),
    /// Anybody.
    Anybody,
}

/// What a client is set up with.
#[derive(Debug)]
pub struct ClientOptions<'a> {
    /// Whom it trusts.
    pub trust: &'a Trust,
    /// What it shows if it is asked.
    pub identity: Option<&'a Identity>,
    /// The name that the server has to prove, which it is also told.
    pub name: &'a str,
    /// The protocols that ALPN may choose, the best first.
    pub alpn: Vec<String>,
    /// Which versions it speaks.
    pub versions: Versions,
    /// The cipher suites, the best first; all of them where there are none.
    pub suites: &'a [String],
    /// The groups for the key exchange, the best first; those of rustls where there are none.
    pub groups: &'a [String],
    /// The share of the connections that go on from an earlier one's session, if there is one.
    pub resumes: f64,
    /// Where the secrets of all connections are written.
    pub key_log: Option<Arc<dyn KeyLog>>,
}

/// What connections of one kind begin with.
#[derive(Clone)]
pub struct Setup {
    kind: Kind,
    verifies: bool,
}

#[derive(Clone)]
enum Kind {
    Client { full: Arc<ClientConfig>, resuming: Option<Resuming>, name: ServerName<'static> },
    Server(Arc<ServerConfig>),
}

/// The share of the connections that go on from an earlier session.
#[derive(Clone)]
struct Resuming {
    config: Arc<ClientConfig>,
    share: f64,
    /// Connections so far, over all reactors.
    begun: Arc<AtomicU64>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("verifies", &self.verifies).finish_non_exhaustive()
    }
}

fn other(error: &Error) -> SetupError {
    SetupError::Other(error.to_string())
}

impl Setup {
    /// A server.
    ///
    /// # Errors
    /// If it cannot be set up like that.
    pub fn server(options: ServerOptions<'_>) -> Result<Self, SetupError> {
        let ServerOptions { identity, client_authorities, alpn, versions, tickets } = options;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_protocol_versions(&versions.supported());
        let config = config.map_err(|error| other(&error))?;
        let verifies = client_authorities.is_some();
        let config = match client_authorities {
            None => config.with_no_client_auth(),
            Some(authorities) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(authorities),
                    Arc::clone(&provider),
                );
                let verifier = verifier.build();
                let verifier = verifier.map_err(|error| SetupError::Other(error.to_string()))?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let config = config.with_single_cert(identity.chain.clone(), identity.key.clone_key());
        let mut config = config.map_err(|error| other(&error))?;
        config.alpn_protocols = alpn.into_iter().map(String::into_bytes).collect();
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Capture::default());
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = tickets;
        if tickets > 0 {
            config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| other(&error))?;
        }
        Ok(Self { kind: Kind::Server(Arc::new(config)), verifies })
    }

    /// A client.
    ///
    /// # Errors
    /// If it cannot be set up like that.
    pub fn client(options: ClientOptions<'_>) -> Result<Self, SetupError> {
        let ClientOptions { trust, identity, name, alpn, versions, resumes, key_log, .. } = options;
        let bad_name = || SetupError::BadName(name.to_owned());
        let name = ServerName::try_from(name.to_owned()).map_err(|_| bad_name())?;
        let provider = Arc::new(provider(options.suites, options.groups)?);
        let spoken = versions.supported();
        let may = |suite: &SupportedCipherSuite| spoken.contains(&suite.version());
        if !provider.cipher_suites.iter().any(may) {
            return Err(SetupError::NoSuite);
        }
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_protocol_versions(&spoken).map_err(|error| other(&error))?;
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Anybody => Arc::new(Anything::new(&provider)),
            Trust::Authorities(authorities) => {
                let verifier = Remembering::new(Arc::clone(authorities), Arc::clone(&provider));
                Arc::new(verifier.map_err(|error| SetupError::Other(error.to_string()))?)
            }
        };
        let config = config.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| other(&error))?,
        };
        config.alpn_protocols = alpn.into_iter().map(String::into_bytes).collect();
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Capture::with(key_log));
        config.resumption = Resumption::disabled();
        let resuming = (resumes > 0.0).then(|| {
            let mut config = config.clone();
            config.resumption = Resumption::store(Arc::new(Tickets));
            let config = Arc::new(config);
            Resuming { config, share: resumes, begun: Arc::default() }
        });
        let full = Arc::new(config);
        let verifies = matches!(trust, Trust::Authorities(_));
        let setup = Self { kind: Kind::Client { full, resuming, name }, verifies };
        // What is wrong with it shows at the first connection.
        setup.connection(false).map_err(|error| other(&error))?;
        Ok(setup)
    }

    /// A handshake that has said nothing yet. If it may linger it does, where it resumes.
    pub(crate) fn connection(&self, may_linger: bool) -> Result<Handshake, Error> {
        let (connection, lingers) = match &self.kind {
            Kind::Server(config) => (ServerConnection::new(Arc::clone(config))?.into(), false),
            Kind::Client { full, resuming, name } => {
                let resuming = resuming.as_ref().filter(|it| it.is_next());
                let config = resuming.map_or(full, |it| &it.config);
                let connection = ClientConnection::new(Arc::clone(config), name.clone())?;
                (connection.into(), may_linger && resuming.is_some())
            }
        };
        Ok(Handshake::of_setup(connection, lingers, self.verifies))
    }
}

impl Resuming {
    /// Whether the next connection is one of the share: evenly spread, one by one.
    fn is_next(&self) -> bool {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) as f64;
        ((number + 1.0) * self.share).floor() > (number * self.share).floor()
    }
}

/// The provider with these suites and groups, by their names, in their order.
fn provider(suites: &[String], groups: &[String]) -> Result<CryptoProvider, SetupError> {
    let mut provider = aws_lc_rs::default_provider();
    let all = std::mem::take(&mut provider.cipher_suites);
    let names = |suite: &SupportedCipherSuite| name_of(suite.suite()).unwrap_or_default();
    for name in suites {
        let plain = |name: &str| name.replace("_WITH_", "_").replace('-', "_").to_ascii_uppercase();
        let asked = plain(name);
        // OpenSSL leaves out the TLS_ and half of the underlines of 1.2's.
        let short = |suite: &SupportedCipherSuite| {
            let name = plain(names(suite));
            name.trim_start_matches("TLS_").replace("AES_", "AES").replace("_SHA256", "")
        };
        let shortened = asked.replace("AES_", "AES").replace("_SHA256", "");
        let found = all.iter().find(|suite| {
            plain(names(suite)) == asked
                || (suite.tls13().is_none()
                    && short(suite).replace("_SHA384", "") == shortened.replace("_SHA384", ""))
        });
        let known = || format!("use {}", all.iter().map(names).collect::<Vec<_>>().join(", "));
        let suite = found.ok_or_else(|| SetupError::UnknownSuite(name.clone(), known()))?;
        provider.cipher_suites.push(*suite);
    }
    if suites.is_empty() {
        // As browsers have it: AES-128 and SHA-256 before the others, which take more and make
        // nothing safer that a test would feel.
        let is_first = |suite: &&SupportedCipherSuite| names(suite).ends_with("AES_128_GCM_SHA256");
        let (first, others): (Vec<_>, Vec<_>) = all.iter().partition(is_first);
        provider.cipher_suites = first.into_iter().chain(others).copied().collect();
    }
    if !groups.is_empty() {
        provider.kx_groups.clear();
    }
    for name in groups {
        // OpenSSL's names of the same: P-256 is also prime256v1.
        let iana = match name.to_ascii_lowercase().as_str() {
            "p-256" | "p256" | "prime256v1" => "secp256r1".to_owned(),
            "p-384" | "p384" => "secp384r1".to_owned(),
            name => name.to_owned(),
        };
        let named = |group: &&&dyn rustls::crypto::SupportedKxGroup| {
            group.name().as_str().is_some_and(|known| known.eq_ignore_ascii_case(&iana))
        };
        let known = || {
            let names = ALL_KX_GROUPS.iter().filter_map(|group| group.name().as_str());
            format!("use {}", names.collect::<Vec<_>>().join(", "))
        };
        let group = ALL_KX_GROUPS.iter().find(named);
        let group = group.ok_or_else(|| SetupError::UnknownGroup(name.clone(), known()))?;
        provider.kx_groups.push(*group);
    }
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_and_groups_are_found_by_all_their_names() {
        for (names, suite) in [
            (&["TLS_AES_128_GCM_SHA256", "tls_aes_128_gcm_sha256"][..], "TLS13_AES_128_GCM_SHA256"),
            (
                &["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"],
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            ),
            (
                &["ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (&["ECDHE-RSA-CHACHA20-POLY1305"], "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
        ] {
            for name in names {
                let provider = provider(&[(*name).to_owned()], &[]).expect(name);
                let found: Vec<_> =
                    provider.cipher_suites.iter().map(|it| it.suite().as_str()).collect();
                assert_eq!(found, [Some(suite)], "{name}");
            }
        }
        for (name, group) in
            [("X25519", "x25519"), ("P-256", "secp256r1"), ("x25519mlkem768", "X25519MLKEM768")]
        {
            let provider = provider(&[], &[name.to_owned()]).expect(name);
            let found = provider.kx_groups[0].name();
            assert!(found.as_str().is_some_and(|it| it.eq_ignore_ascii_case(group)), "{found:?}");
        }
        for (suites, groups) in
            [(vec!["RC4-MD5".to_owned()], vec![]), (vec![], vec!["sect".into()])]
        {
            let error = provider(&suites, &groups).expect_err("unknown").to_string();
            assert!(error.contains("use ") && error.contains("not known here"), "{error}");
        }
    }
}
