//! TLS: what its options mean, what connections are set up with, and its record.

use super::usage;
use crate::cli::{List, TlsArgs};
use control::Error;
use control::console::complain;
use control::secure::{self as files, calibration, versions};
use host::preflight::Handshakes;
use reactor::Secured;
use report::schema;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tls::rustls::{KeyLog, RootCertStore};
use tls::{ClientOptions, Setup, SetupError, Trust, Versions};
use wire::{Protocol, Transport, Url};

/// What connections to these targets are set up with; nothing where they have no TLS.
///
/// # Errors
/// If the options make no sense, or name files that are of no use.
pub(crate) fn secure(
    args: &TlsArgs,
    urls: &[Url],
    targets: &[Vec<SocketAddr>],
) -> Result<Secured, Error> {
    if urls.iter().all(|url| url.transport == Transport::Plain) {
        return match args.given() {
            None => Ok(Secured::none()),
            Some(option) => Err(usage(format!(
                "{option} is for TLS and means nothing to {}://: leave it out, or write tls://, \
                 wss:// or https://",
                urls[0].scheme()
            ))),
        };
    }
    let versions = versions(args.tls_min, args.tls_max)?;
    let trust = trust(args)?;
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some(files::identity(cert, key)?),
        _ => None,
    };
    let key_log = key_log(args)?;
    let mut secured = Secured::none();
    let mut names: HashMap<SocketAddr, &str> = HashMap::new();
    for (url, addresses) in urls.iter().zip(targets) {
        let name = args.servername.as_deref().unwrap_or_else(|| url.host_without_zone());
        let setup = Setup::client(ClientOptions {
            trust: &trust,
            identity: identity.as_ref(),
            name,
            alpn: files::alpn(&args.alpn, url.protocol != Protocol::Tcp),
            versions,
            suites: names_of(args.ciphers.as_ref()),
            groups: names_of(args.tls_groups.as_ref()),
            resumes: args.tls_resume.map_or(0.0, |share| share.ratio()),
            key_log: key_log.clone(),
        });
        let setup = setup.map_err(|error| usage(option_of(&error, args, url)))?;
        for address in addresses {
            match names.insert(*address, name) {
                Some(other) if other != name => {
                    return Err(usage(format!(
                        "{address} is an address of both {other} and {name}, and a connection \
                         there can ask for one of them: give --servername, or a run to each"
                    )));
                }
                Some(_) => {}
                None => secured.targets.push((*address, setup.clone())),
            }
        }
    }
    Ok(secured)
}

fn names_of(list: Option<&List>) -> &[String] {
    list.map_or(&[], |list| &list.0)
}

/// The sentence behind the option that it is about.
fn option_of(error: &SetupError, args: &TlsArgs, url: &Url) -> String {
    let option = match error {
        SetupError::UnknownSuite(..) | SetupError::NoSuite => "--ciphers",
        SetupError::UnknownGroup(..) => "--tls-groups",
        SetupError::BadName(_) if args.servername.is_some() => "--servername",
        SetupError::BadName(_) => return format!("{url}: {error}"),
        _ => "the options of TLS",
    };
    format!("{option}: {error}")
}

fn trust(args: &TlsArgs) -> Result<Trust, Error> {
    if args.insecure {
        return Ok(Trust::Anybody);
    }
    if let Some(file) = &args.cacert {
        return Ok(Trust::Authorities(Arc::new(files::authorities("--cacert", file)?)));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry some that nobody can use.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(usage(
            "this system has no certificates of authorities: install them (apt install \
             ca-certificates), give --cacert FILE, or trust whoever answers with -k"
                .to_owned(),
        ));
    }
    Ok(Trust::Authorities(Arc::new(roots)))
}

fn key_log(args: &TlsArgs) -> Result<Option<Arc<dyn KeyLog>>, Error> {
    let from_environment = std::env::var_os("SSLKEYLOGFILE").filter(|file| !file.is_empty());
    let (option, path) = match (&args.keylog, from_environment) {
        (Some(path), _) => ("--keylog", path.clone()),
        (None, Some(path)) => ("SSLKEYLOGFILE", path.into()),
        (None, None) => return Ok(None),
    };
    Ok(Some(Arc::new(
        KeyLogFile::open(&path)
            .map_err(|error| usage(format!("{option} {}: {error}", path.display())))?,
    )))
}

/// A file of secrets, in the format of NSS, which Wireshark reads.
#[derive(Debug)]
struct KeyLogFile {
    file: File,
    failed: AtomicBool,
}

impl KeyLogFile {
    /// Opens a file that only its owner may read, to append to it.
    fn open(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = File::options();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { file, failed: AtomicBool::new(false) })
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        // A line is written at once, to the end of the file: those of two reactors do not mix.
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        if let Err(error) = (&self.file).write_all(line.as_bytes())
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            complain("c1000k-client", format!("the secrets could not be written: {error}"));
        }
    }
}

/// What handshakes take of this machine; `None` without TLS.
pub(super) fn handshakes(args: &TlsArgs, any: bool, reactors: usize) -> Option<Handshakes> {
    let versions = versions(args.tls_min, args.tls_max).ok().filter(|_| any)?;
    let (suites, groups) = (names_of(args.ciphers.as_ref()), names_of(args.tls_groups.as_ref()));
    let cost = calibration::of_client(!args.insecure, versions, suites, groups);
    let (here_ns, there_ns) = cost.map_or((0, 0), |cost| (cost.client.0, cost.server.0));
    Some(Handshakes { here_ns, there_ns, ..files::handshakes(reactors) })
}

/// The options as they go into the result; `None` where no target has TLS.
pub(super) fn record(args: &TlsArgs, urls: &[Url]) -> Option<schema::PlanTls> {
    let first = urls.iter().find(|url| url.transport == Transport::Tls)?;
    // They were found right before.
    let Versions { tls12, tls13 } =
        versions(args.tls_min, args.tls_max).unwrap_or(Versions { tls12: true, tls13: true });
    let spoken = [(tls12, "TLSv1.2"), (tls13, "TLSv1.3")];
    Some(schema::PlanTls {
        verified: !args.insecure,
        authorities: args.cacert.as_ref().map(|file| file.display().to_string()),
        client_certificate: args.cert.is_some(),
        servername: args.servername.clone(),
        alpn: files::alpn(&args.alpn, first.protocol != Protocol::Tcp),
        versions: spoken.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).into()).collect(),
        ciphers: names_of(args.ciphers.as_ref()).to_vec(),
        groups: names_of(args.tls_groups.as_ref()).to_vec(),
        resume_ratio: args.tls_resume.map_or(0.0, |share| share.ratio()),
    })
}
