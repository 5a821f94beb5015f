//! TLS at the server: its options, what they mean, and the certificate that is made where none is
//! given.

use clap::Args;
use control::Error;
use control::secure::calibration::{self, HandshakeCost};
use control::secure::{self, TlsVersion, certificate, versions};
use host::preflight::Handshakes;
use measure::Nanos;
use measure::units::parse_count;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use tls::{ServerOptions, Setup};
use wire::{Protocol, Transport, Url};

/// The most tickets after a handshake.
const TICKETS_MAX: u64 = 8;

/// The options of TLS.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsArgs {
    /// The certificate for tls://, wss:// and https://, a PEM file with the chain behind it, and
    /// read at the start only: a changed one needs a restart [default: one made at the start, for
    /// localhost and the addresses listened on]
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "TLS")]
    pub cert: Option<PathBuf>,
    /// The private key of that certificate, a PEM file without a password
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    pub key: Option<PathBuf>,
    /// Write the authority of the certificate that is made at the start to this file, for the
    /// --cacert of clients
    #[arg(long, value_name = "FILE", conflicts_with = "cert", help_heading = "TLS")]
    pub write_ca: Option<PathBuf>,
    /// Refuse clients without a certificate that an authority in this PEM file vouches for
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub client_ca: Option<PathBuf>,
    /// The protocols that ALPN may choose, the best first, or 'none' [default: http/1.1 for wss://
    /// and https://, none for tls://]
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "TLS")]
    pub alpn: Vec<String>,
    /// The oldest version to speak [default: 1.2]
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "TLS")]
    pub tls_min: Option<TlsVersion>,
    /// The newest version to speak [default: 1.3]
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "TLS")]
    pub tls_max: Option<TlsVersion>,
    /// Tickets that a client gets after a handshake, to go on from it with another connection, 8 at
    /// the most [default: 0]
    #[arg(long, value_name = "N", value_parser = parse_tickets, help_heading = "TLS")]
    pub tls_tickets: Option<usize>,
}

fn parse_tickets(text: &str) -> Result<usize, String> {
    let count = parse_count(text).map_err(|error| error.to_string())?;
    let fits = count <= TICKETS_MAX;
    if fits { Ok(count as usize) } else { Err("give a number from 0 to 8".to_owned()) }
}

impl TlsArgs {
    /// The first of these options that is given.
    fn given(&self) -> Option<&'static str> {
        let all = [
            ("--cert", self.cert.is_some()),
            ("--write-ca", self.write_ca.is_some()),
            ("--client-ca", self.client_ca.is_some()),
            ("--alpn", !self.alpn.is_empty()),
            ("--tls-min", self.tls_min.is_some()),
            ("--tls-max", self.tls_max.is_some()),
            ("--tls-tickets", self.tls_tickets.is_some()),
        ];
        all.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

/// What connections with TLS are set up with.
#[derive(Clone, Debug, Default)]
pub struct Secure {
    /// For each listener, if it has TLS.
    pub listeners: Vec<Option<Setup>>,
    /// The authority that was made at the start: as PEM, and the SHA-256 of it.
    pub authority: Option<Authority>,
    /// What a handshake takes here; not known where clients have to show a certificate.
    pub cost: Option<HandshakeCost>,
}

/// An authority that was made at the start.
#[derive(Clone, Debug)]
pub struct Authority {
    pem: String,
    /// SHA-256 of its certificate, as `openssl x509 -fingerprint -sha256` shows it.
    pub fingerprint: String,
    file: Option<PathBuf>,
}

impl Secure {
    /// Whether any listener has TLS.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.listeners.iter().any(Option::is_some)
    }

    /// The SHA-256 of the authority that was made at the start.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.authority.as_ref().map(|authority| authority.fingerprint.as_str())
    }

    /// What handshakes take of this machine.
    #[must_use]
    pub(crate) fn handshakes(&self, reactors: usize) -> Option<Handshakes> {
        let cost = self.cost.unwrap_or(HandshakeCost { client: Nanos::ZERO, server: Nanos::ZERO });
        self.is_any().then(|| Handshakes {
            here_ns: cost.server.0,
            there_ns: cost.client.0,
            ..secure::handshakes(reactors)
        })
    }

    /// Works out the options for these listeners.
    ///
    /// # Errors
    /// If they make no sense, or name files that are of no use.
    pub fn new(args: &TlsArgs, listen: &[(Url, SocketAddr)]) -> Result<Self, Error> {
        let any = listen.iter().any(|(url, _)| url.transport == Transport::Tls);
        if let (false, Some(option)) = (any, args.given()) {
            return Err(Error::Usage(format!(
                "{option} is for TLS, which none of the URLs has: add a tls://, wss:// or \
                 https:// URL, or leave {option} out"
            )));
        }
        if !any {
            return Ok(Self::default());
        }
        let versions = versions(args.tls_min, args.tls_max)?;
        let (identity, authority) = match (&args.cert, &args.key) {
            (Some(cert), Some(key)) => (secure::identity(cert, key)?, None),
            _ => {
                let (hosts, addresses) = names(listen);
                let certificate::Made { identity, authority_pem: pem, fingerprint } =
                    certificate::make(&hosts, &addresses)?;
                let file = args.write_ca.clone();
                (identity, Some(Authority { pem, fingerprint, file }))
            }
        };
        let client_authorities = match &args.client_ca {
            Some(file) => Some(secure::authorities("--client-ca", file)?),
            None => None,
        };
        let mut listeners = Vec::with_capacity(listen.len());
        for (url, _) in listen {
            if url.transport == Transport::Plain {
                listeners.push(None);
                continue;
            }
            let setup = Setup::server(ServerOptions {
                identity: &identity,
                client_authorities: client_authorities.clone(),
                alpn: secure::alpn(&args.alpn, url.protocol != Protocol::Tcp),
                versions,
                tickets: args.tls_tickets.unwrap_or(0),
            });
            let setup =
                setup.map_err(|error| Error::Usage(format!("the options of TLS: {error}")))?;
            listeners.push(Some(setup));
        }
        let cost =
            listeners.iter().flatten().next().and_then(|it| calibration::of_server(it, versions));
        Ok(Self { listeners, authority, cost })
    }
}

impl Authority {
    /// Writes it where it was asked for. Everybody may read it: it is for everybody.
    ///
    /// # Errors
    /// If that fails.
    pub fn write(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        std::fs::write(file, &self.pem)
            .map_err(|error| Error::Failed(format!("--write-ca {}: {error}", file.display())))
    }

    /// What is said of it when the server stands.
    #[must_use]
    pub fn in_words(&self) -> String {
        let how = match &self.file {
            Some(file) => format!("its authority is in {}, for --cacert", file.display()),
            None => "clients need -k, or --cacert with the file of --write-ca".to_owned(),
        };
        format!(
            "TLS by a certificate made just now, good for 30 days: {how}\n  SHA-256 of the \
                 authority: {}",
            self.fingerprint
        )
    }
}

/// What the certificate is for: this machine by its usual names, and where it listens.
fn names(listen: &[(Url, SocketAddr)]) -> (Vec<String>, Vec<IpAddr>) {
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut hosts = vec!["localhost".to_owned()];
    for (url, address) in listen {
        let ip = address.ip();
        if !ip.is_unspecified() && !addresses.contains(&ip) {
            addresses.push(ip);
        }
        let host = url.host.to_ascii_lowercase();
        if host.parse::<IpAddr>().is_err() && url.zone().is_none() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    (hosts, addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(texts: &[&str]) -> Vec<(Url, SocketAddr)> {
        let at = |text: &&str| {
            let url: Url = text.parse().expect("a URL");
            let ip: IpAddr = url.host.parse().unwrap_or_else(|_| [127, 0, 0, 9].into());
            (url.clone(), SocketAddr::new(ip, url.port))
        };
        texts.iter().map(at).collect()
    }

    #[test]
    fn a_certificate_is_made_where_none_is_given_and_names_what_is_listened_on() {
        let all = listen(&["wss://127.0.0.5:1", "tcp://127.0.0.1:2", "https://example.test:3"]);
        let secure = Secure::new(&TlsArgs::default(), &all).expect("fine");
        let with: Vec<bool> = secure.listeners.iter().map(Option::is_some).collect();
        assert_eq!(with, [true, false, true]);
        let authority = secure.authority.expect("one was made");
        assert_eq!(authority.fingerprint.len(), 32 * 3 - 1);
        assert!(authority.pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(!authority.pem.contains("PRIVATE"));
        let names = format!("{:?}", names(&all));
        for name in ["localhost", "example.test", "127.0.0.5", "127.0.0.9", "::1"] {
            assert!(names.contains(name), "{name}: {names}");
        }
    }

    #[test]
    fn options_of_tls_are_refused_where_nothing_has_tls() {
        let args = TlsArgs { tls_tickets: Some(1), ..TlsArgs::default() };
        let error = Secure::new(&args, &listen(&["ws://127.0.0.1:1"])).expect_err("refused");
        assert!(error.to_string().contains("--tls-tickets is for TLS"), "{error}");
        let args =
            TlsArgs { tls_min: Some(TlsVersion::V13), tls_max: Some(TlsVersion::V12), ..args };
        let error = Secure::new(&args, &listen(&["wss://127.0.0.1:1"])).expect_err("refused");
        assert!(error.to_string().contains("--tls-min"), "{error}");
    }
}
