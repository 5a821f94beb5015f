//! `Tally`: what became of handshakes and connections, counted by name.

use crate::alert::Alert;
use crate::handshake::{Facts, Failed};
use crate::secured::{Broken, End, Version};
use rustls::{
    AlertDescription, CertificateError, Error, HandshakeType, NamedGroup, PeerIncompatible,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts by name.
pub type Counts = BTreeMap<String, u64>;

/// What became of handshakes and connections.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Tally {
    /// Handshakes that are done.
    pub handshakes: u64,
    /// Those of them that went on from an earlier session.
    pub resumed: u64,
    /// Those of them whose peer has shown a certificate, or had before, that was verified.
    pub verified: u64,
    /// By version, as OpenSSL names it: `TLSv1.3`.
    pub versions: Counts,
    /// By cipher suite, as IANA names it: `TLS_AES_128_GCM_SHA256`.
    pub suites: Counts,
    /// By the group of the key exchange, as IANA names it: `x25519`.
    pub groups: Counts,
    /// By the protocol that ALPN chose.
    pub alpn: Counts,
    /// Handshakes and connections that failed, by cause.
    pub failures: Counts,
    /// Alerts that we sent, by name; `close_notify` is none of them.
    pub alerts_sent: Counts,
    /// Alerts that came, by name; `close_notify` is none of them.
    pub alerts_received: Counts,
    /// Streams that ended without the peer's `close_notify`.
    pub truncated: u64,
}

macro_rules! causes {
    ($($variant:ident = $name:literal, $doc:literal;)+) => {
        /// Why a handshake or a connection failed.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Cause {
            $(
                #[doc = $doc]
                $variant,
            )+
        }

        impl Cause {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name by which it is counted.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

causes! {
    Alert = "alert", "The peer sent an alert.";
    BadEncoding = "bad_encoding", "A certificate cannot be read.";
    BadSignature = "bad_signature", "A signature is wrong.";
    BrokenRule = "broken_rule", "The peer broke a rule.";
    CaAsLeaf = "ca_as_leaf", "A certificate of an authority is shown as that of a peer.";
    Certificate = "certificate", "A certificate is refused otherwise.";
    CertificateRequired = "certificate_required", "The peer shows no certificate, and has to.";
    Echoed = "echoed", "Our own first message came back.";
    Expired = "expired", "A certificate has expired.";
    Incompatible = "incompatible", "The peer lacks something that is needed.";
    KeyUsedUp = "key_used_up", "A key has sealed all that it may, and TLS 1.2 cannot change it.";
    NoCommonAlpn = "no_common_alpn", "No protocol is common to both ends.";
    NoCommonGroup = "no_common_group", "No group for the key exchange is.";
    NoCommonSignature = "no_common_signature", "No kind of signature is.";
    NoCommonSuite = "no_common_suite", "No cipher suite is.";
    NoCommonVersion = "no_common_version", "No version is.";
    NoRoom = "no_room", "There is no room for records that are only partly here.";
    NotTls = "not_tls", "What came is no TLS.";
    NotValidYet = "not_valid_yet", "A certificate is not valid yet.";
    Revoked = "revoked", "A certificate was revoked.";
    UnknownIssuer = "unknown_issuer", "Nobody trusted vouches for a certificate.";
    Unsupported = "unsupported", "What was agreed on cannot be taken over.";
    WrongName = "wrong_name", "A certificate is for another name.";
    WrongPurpose = "wrong_purpose", "A certificate is for another purpose.";
}

fn count(counts: &mut Counts, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

impl Tally {
    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Self) {
        self.handshakes += other.handshakes;
        self.resumed += other.resumed;
        self.verified += other.verified;
        self.truncated += other.truncated;
        for (sum, more) in [
            (&mut self.versions, &other.versions),
            (&mut self.suites, &other.suites),
            (&mut self.groups, &other.groups),
            (&mut self.alpn, &other.alpn),
            (&mut self.failures, &other.failures),
            (&mut self.alerts_sent, &other.alerts_sent),
            (&mut self.alerts_received, &other.alerts_received),
        ] {
            for (name, count) in more {
                *sum.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// A handshake is done.
    pub(crate) fn agreed(&mut self, facts: &Facts, verified: bool) {
        self.handshakes += 1;
        self.resumed += u64::from(facts.resumed);
        self.verified += u64::from(verified);
        count(&mut self.versions, facts.version.name());
        count(&mut self.suites, facts.suite);
        match facts.group {
            Some(NamedGroup::X25519) => count(&mut self.groups, "x25519"),
            Some(group) => count(&mut self.groups, group.as_str().unwrap_or("other")),
            None => {}
        }
        if let Some(alpn) = &facts.alpn {
            count(&mut self.alpn, &String::from_utf8_lossy(alpn));
        }
    }

    /// Something failed, by this cause.
    pub(crate) fn failed(&mut self, cause: Cause) {
        count(&mut self.failures, cause.name());
    }

    /// A connection whose handshake was done has ended.
    pub(crate) fn ended(&mut self, end: End) {
        match end {
            End::Goodbye => {}
            End::Broken(Broken::Peer(alert)) => {
                count(&mut self.alerts_sent, &alert.to_string());
                self.failed(Cause::BrokenRule);
            }
            End::Broken(Broken::Us(alert)) => {
                count(&mut self.alerts_received, &alert.to_string());
                self.failed(Cause::Alert);
            }
        }
    }

    /// A handshake has failed. What the peer is to hear besides an alert is appended to `out`.
    pub(crate) fn handshake_failed(
        &mut self,
        failed: &Failed,
        is_server: bool,
        out: &mut Vec<u8>,
    ) -> Broken {
        let (cause, alert) = match failed {
            Failed::NoRecord(begin) => {
                if is_server {
                    let said = if is_http(begin) { NOT_HERE } else { UNEXPECTED };
                    out.extend_from_slice(said);
                }
                (Cause::NotTls, None)
            }
            Failed::Unsupported => (Cause::Unsupported, None),
            Failed::Rustls(error) => (cause(error), sent(error)),
        };
        self.failed(cause);
        if let Failed::Rustls(Error::AlertReceived(alert)) = failed {
            let alert = Alert(u8::from(*alert));
            count(&mut self.alerts_received, &alert.to_string());
            return Broken::Us(alert);
        }
        if let Some(alert) = alert {
            count(&mut self.alerts_sent, &alert.to_string());
        }
        Broken::Peer(alert.unwrap_or(Alert::HANDSHAKE_FAILURE))
    }
}

/// What is said to somebody who speaks HTTP where TLS is spoken.
const NOT_HERE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 65\r\nConnection: close\r\n\r\n\
    This port speaks TLS: write https:// (or wss://) before its name\n";

/// What is said to somebody else who speaks no TLS: an alert, `unexpected_message`. Those who
/// expect something else can tell by it what is spoken here.
const UNEXPECTED: &[u8] = &[21, 3, 3, 0, 2, 2, 10];

/// Whether somebody speaks HTTP, by the first bytes.
fn is_http(begin: &[u8; 5]) -> bool {
    const METHODS: [&[u8]; 8] =
        [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELET", b"OPTIO", b"PATCH", b"CONNE"];
    METHODS.iter().any(|method| begin.starts_with(method))
}

impl Version {
    /// As OpenSSL names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// What an error is counted as.
fn cause(error: &Error) -> Cause {
    match error {
        Error::InvalidCertificate(error) => certificate_cause(error),
        Error::NoCertificatesPresented => Cause::CertificateRequired,
        Error::AlertReceived(_) => Cause::Alert,
        Error::NoApplicationProtocol => Cause::NoCommonAlpn,
        Error::InappropriateHandshakeMessage { got_type: HandshakeType::ClientHello, .. } => {
            Cause::Echoed
        }
        Error::PeerIncompatible(incompatible) => match incompatible {
            PeerIncompatible::NoCipherSuitesInCommon => Cause::NoCommonSuite,
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired => Cause::NoCommonGroup,
            PeerIncompatible::NoSignatureSchemesInCommon => Cause::NoCommonSignature,
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic => Cause::NoCommonVersion,
            _ => Cause::Incompatible,
        },
        _ => Cause::BrokenRule,
    }
}

fn certificate_cause(error: &CertificateError) -> Cause {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Cause::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Cause::NotValidYet
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Cause::WrongName
        }
        CertificateError::UnknownIssuer => Cause::UnknownIssuer,
        CertificateError::Revoked => Cause::Revoked,
        CertificateError::BadSignature => Cause::BadSignature,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Cause::WrongPurpose
        }
        CertificateError::BadEncoding => Cause::BadEncoding,
        CertificateError::Other(other) if other.0.to_string().contains("CaUsedAsEndEntity") => {
            Cause::CaAsLeaf
        }
        _ => Cause::Certificate,
    }
}

/// The alert that rustls sends with an error, where it says which.
fn sent(error: &Error) -> Option<Alert> {
    let alert = match error {
        Error::InvalidCertificate(error) => AlertDescription::from(error.clone()),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::InvalidMessage(_) => AlertDescription::DecodeError,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        _ => return None,
    };
    Some(Alert(u8::from(alert)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_http_is_as_long_as_it_says() {
        let said = String::from_utf8_lossy(NOT_HERE);
        let (head, body) = said.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
