//! Whether a server is who it says: `Remembering` asks webpki, and remembers what that said of a
//! chain; `Anything` takes everything.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Chains that are remembered: as many as servers behind one name are likely to show.
const REMEMBERED_MAX: usize = 8;

/// A verifier that does not verify the same chain for the same name twice in a second. That the
/// server has the key of the certificate is verified each time.
#[derive(Debug)]
pub(crate) struct Remembering {
    inner: Arc<WebPkiServerVerifier>,
    /// Tells apart whom verifiers trust.
    number: u64,
}

/// A chain that was found right in this second.
struct Remembered {
    verifier: u64,
    second: u64,
    name: ServerName<'static>,
    chain: Vec<CertificateDer<'static>>,
}

thread_local! {
    /// Those of this thread, the oldest first.
    static REMEMBERED: RefCell<Vec<Remembered>> = const { RefCell::new(Vec::new()) };
}

impl Remembering {
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
        Ok(Self { inner, number: NUMBERS.fetch_add(1, Ordering::Relaxed) })
    }
}

impl Remembered {
    fn is(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> bool {
        self.chain.split_first().is_some_and(|(first, rest)| first == leaf && rest == others)
    }
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let second = now.as_secs();
        let known = REMEMBERED.with_borrow(|remembered| {
            remembered.iter().any(|it| {
                it.verifier == self.number
                    && it.second == second
                    && it.name == *name
                    && it.is(leaf, others)
            })
        });
        if known {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.inner.verify_server_cert(leaf, others, name, ocsp_response, now)?;
        REMEMBERED.with_borrow_mut(|remembered| {
            remembered.retain(|it| {
                it.second == second && !(it.verifier == self.number && it.is(leaf, others))
            });
            if remembered.len() == REMEMBERED_MAX {
                remembered.remove(0);
            }
            let chain = std::iter::once(leaf).chain(others).map(|it| it.clone().into_owned());
            let (chain, name) = (chain.collect(), name.to_owned());
            remembered.push(Remembered { verifier: self.number, second, name, chain });
        });
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A verifier that takes everything, the server's signature as well: whoever is in between can be
/// the server.
#[derive(Debug)]
pub(crate) struct Anything(WebPkiSupportedAlgorithms);

impl Anything {
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
