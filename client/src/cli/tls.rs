//! The options of TLS, with curl's names where curl has the option.

use crate::load::audited_share::Share;
use clap::Args;
use control::secure::TlsVersion;
use std::path::PathBuf;

const HEADING: &str = "TLS (tls://, wss:// and https:// only)";

/// Whom to trust, what to show, what to speak.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsArgs {
    /// Trust whoever answers: neither the certificate nor the signature of the handshake is
    /// verified
    #[arg(short = 'k', long, help_heading = HEADING)]
    pub insecure: bool,
    /// Trust the authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = HEADING)]
    pub cacert: Option<PathBuf>,
    /// Show this certificate to servers that ask for one: a PEM file with the chain behind it
    #[arg(long, value_name = "FILE", requires = "key", help_heading = HEADING)]
    pub cert: Option<PathBuf>,
    /// The private key of that certificate, a PEM file without a password
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = HEADING)]
    pub key: Option<PathBuf>,
    /// The name that servers are asked for and have to prove [default: the URL's host]
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub servername: Option<String>,
    /// The protocols that ALPN may choose, the best first, or 'none' [default: http/1.1 for wss://
    /// and https://, none for tls://]
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = HEADING)]
    pub alpn: Vec<String>,
    /// The oldest version to speak [default: 1.2]
    #[arg(long, value_enum, value_name = "VERSION", help_heading = HEADING)]
    pub tls_min: Option<TlsVersion>,
    /// The newest version to speak [default: 1.3]
    #[arg(long, value_enum, value_name = "VERSION", help_heading = HEADING)]
    pub tls_max: Option<TlsVersion>,
    /// The cipher suites of both versions, the best first, by IANA's names or OpenSSL's, with
    /// commas or colons between them [default: all that are authenticated and have forward secrecy]
    #[arg(long, value_name = "LIST", value_parser = parse_list, help_heading = HEADING)]
    pub ciphers: Option<List>,
    /// The groups for the key exchange, the best first: X25519, P-256, P-384, X25519MLKEM768 and
    /// others [default: these four in this order]
    #[arg(long, value_name = "LIST", value_parser = parse_list, help_heading = HEADING)]
    pub tls_groups: Option<List>,
    /// Let connections, or this share of them, go on from an earlier one's session, as far as the
    /// server hands out tickets [default: off; with the option alone 100%]
    #[arg(
        long,
        value_name = "SHARE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "100%",
        help_heading = HEADING
    )]
    pub tls_resume: Option<Share>,
    /// Append the secrets of all connections to this file, for Wireshark; SSLKEYLOGFILE in the
    /// environment does the same
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    pub keylog: Option<PathBuf>,
}

/// Names in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List(pub Vec<String>);

fn parse_list(text: &str) -> Result<List, String> {
    let names: Vec<String> = text.split([',', ':']).map(str::trim).map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err("give names with commas or colons between them".to_owned());
    }
    Ok(List(names))
}

impl TlsArgs {
    /// The first of these options that is given.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        let all = [
            ("--insecure", self.insecure),
            ("--cacert", self.cacert.is_some()),
            ("--cert", self.cert.is_some()),
            ("--servername", self.servername.is_some()),
            ("--alpn", !self.alpn.is_empty()),
            ("--tls-min", self.tls_min.is_some()),
            ("--tls-max", self.tls_max.is_some()),
            ("--ciphers", self.ciphers.is_some()),
            ("--tls-groups", self.tls_groups.is_some()),
            ("--tls-resume", self.tls_resume.is_some()),
            ("--keylog", self.keylog.is_some()),
        ];
        all.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}
