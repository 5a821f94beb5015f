//! A certificate that is made on the spot: an authority, and what it vouches for.

use crate::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use tls::Identity;
use tls::rustls::pki_types::PrivateKeyDer;

/// How long it is good.
pub const GOOD_FOR_DAYS: u64 = 30;
/// Before when it is good already: clocks differ.
const GOOD_BEFORE: Duration = Duration::from_secs(3600);

/// A certificate that was made just now.
#[derive(Debug)]
pub struct Made {
    /// What is shown, and proven.
    pub identity: Identity,
    /// The certificate of the authority, as PEM: whoever trusts it trusts what was made, and
    /// nothing else, as the authority's key is gone.
    pub authority_pem: String,
    /// SHA-256 of that, as `openssl x509 -fingerprint -sha256` shows it.
    pub fingerprint: String,
}

/// Makes one for these names and addresses, by P-256.
///
/// # Errors
/// If there is no randomness to make it of.
pub fn make(hosts: &[String], addresses: &[IpAddr]) -> Result<Made, Error> {
    let failed = |error: rcgen::Error| Error::Failed(format!("making a certificate: {error}"));
    let authority_key = KeyPair::generate().map_err(failed)?;
    let mut params = named("c1000k, made at its start");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = params.self_signed(&authority_key).map_err(failed)?;
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = named(hosts.first().map_or("localhost", String::as_str));
    let hosts = hosts.iter().filter_map(|host| Ia5String::try_from(host.as_str()).ok());
    let addresses = addresses.iter().map(|address| SanType::IpAddress(*address));
    params.subject_alt_names = hosts.map(SanType::DnsName).chain(addresses).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &issuer).map_err(failed)?;
    let der = PrivateKeyDer::try_from(key.serialize_der());
    let der = der.map_err(|error| Error::Failed(format!("making a certificate: {error}")))?;
    let fingerprint =
        tls::fingerprint(authority.der()).iter().fold(String::new(), |mut all, byte| {
            let colon = if all.is_empty() { "" } else { ":" };
            let _ = write!(all, "{colon}{byte:02X}");
            all
        });
    Ok(Made {
        // The authority's own is not sent: who trusts it has it.
        identity: Identity::new(vec![leaf.der().clone()], der),
        authority_pem: pem(authority.der()),
        fingerprint,
    })
}

fn named(name: &str) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.not_before = (now - GOOD_BEFORE).into();
    params.not_after = (now + Duration::from_secs(GOOD_FOR_DAYS * 24 * 3600)).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A certificate as text (RFC 7468 5).
fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_trusted_by_its_authority() {
        let made = make(&["localhost".to_owned()], &[[127, 0, 0, 1].into()]).expect("made");
        assert_eq!(made.fingerprint.len(), 32 * 3 - 1);
        let authorities = tls::authorities(made.authority_pem.as_bytes()).expect("it is PEM");
        assert_eq!(authorities.len(), 1);
        assert!(!made.authority_pem.contains("PRIVATE"));
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }
}
