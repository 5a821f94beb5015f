//! What both programs need around TLS: versions, names for ALPN, certificates and keys in files, a
//! certificate made on the spot, what a handshake takes here.

pub mod calibration;
pub mod certificate;

use crate::Error;
use clap::ValueEnum;
use host::preflight::Handshakes;
use std::path::Path;
use tls::rustls::RootCertStore;
use tls::{Identity, Of, Versions};

/// Handshakes under way at the same time, of all reactors of a program; each has at the least as
/// many as keep it busy.
const UNDER_WAY_MAX: usize = 8192;
const UNDER_WAY_PER_REACTOR_MIN: usize = 64;
/// What each takes of memory while rustls has it, in bytes. Measured: 8.3 KB at a server, less at a
/// client.
const UNDER_WAY_BYTES: u64 = 8_500;

/// Handshakes that one of so many reactors may have under way.
#[must_use]
pub fn under_way(reactors: usize) -> usize {
    (UNDER_WAY_MAX / reactors.max(1)).max(UNDER_WAY_PER_REACTOR_MIN)
}

/// What handshakes and ciphers of so many reactors take of memory; what they take of processors is
/// not known.
#[must_use]
pub fn handshakes(reactors: usize) -> Handshakes {
    Handshakes {
        here_ns: 0,
        there_ns: 0,
        under_way: (under_way(reactors) * reactors) as u64,
        bytes_each: UNDER_WAY_BYTES,
        bytes_beside: (reactors * tls::CONTEXTS * tls::CONTEXT_BYTES) as u64,
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[value(name = "1.2")]
    V12,
    /// TLS 1.3.
    #[value(name = "1.3")]
    V13,
}

/// The versions from the oldest to the newest.
///
/// # Errors
/// If there is none.
pub fn versions(min: Option<TlsVersion>, max: Option<TlsVersion>) -> Result<Versions, Error> {
    let (min, max) = (min.unwrap_or(TlsVersion::V12), max.unwrap_or(TlsVersion::V13));
    if min > max {
        return Err(Error::Usage(
            "--tls-min is newer than --tls-max: no version is left to speak".to_owned(),
        ));
    }
    Ok(Versions { tls12: min == TlsVersion::V12, tls13: max == TlsVersion::V13 })
}

/// What ALPN may choose: as asked for, or what `speaks_http` says.
#[must_use]
pub fn alpn(asked: &[String], speaks_http: bool) -> Vec<String> {
    match asked {
        [] if speaks_http => vec!["http/1.1".to_owned()],
        [none] if none == "none" => Vec::new(),
        asked => asked.to_vec(),
    }
}

fn read(option: &str, file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file)
        .map_err(|error| Error::Usage(format!("{option} {}: {error}", file.display())))
}

/// The certificate and key of two files.
///
/// # Errors
/// If one of them is of no use, or both do not belong together.
pub fn identity(cert: &Path, key: &Path) -> Result<Identity, Error> {
    let (chain, private) = (read("--cert", cert)?, read("--key", key)?);
    Identity::from_pem(&chain, &private).map_err(|(of, error)| {
        let (option, file) = match of {
            Of::Certificate => ("--cert", cert),
            Of::Key => ("--key", key),
        };
        Error::Usage(format!("{option} {}: {error}", file.display()))
    })
}

/// The authorities in a file.
///
/// # Errors
/// If there is none.
pub fn authorities(option: &str, file: &Path) -> Result<RootCertStore, Error> {
    let pem = read(option, file)?;
    tls::authorities(&pem)
        .map_err(|error| Error::Usage(format!("{option} {}: {error}", file.display())))
}
