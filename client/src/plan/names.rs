//! From URLs to addresses: all that a name has, in the order in which they are to be tried.

use super::usage;
use crate::load::addresses::interleaved;
use control::Error;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::path::Path;
use wire::Url;

/// The most addresses of one name that are used. Lists of more are made for picking at random.
const ADDRESSES_MAX: usize = 64;

/// The addresses of URLs, in the order of the URLs, and those of each in the order of preference.
/// With `spread` all of them are begun with, and not only the first of each.
///
/// # Errors
/// If a host is not known, or an address makes no target, or is begun with twice.
pub(crate) fn resolve(urls: &[Url], spread: bool) -> Result<Vec<Vec<SocketAddr>>, Error> {
    // The system's resolver sorts by preference (RFC 6724), with what is reachable first.
    resolve_by(urls, spread, |host, port| (host, port).to_socket_addrs().map(Iterator::collect))
}

fn resolve_by(
    urls: &[Url],
    spread: bool,
    look_up: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> Result<Vec<Vec<SocketAddr>>, Error> {
    let mut targets: Vec<Vec<SocketAddr>> = Vec::new();
    let mut begun: Vec<SocketAddr> = Vec::new();
    for url in urls {
        if url.port == 0 {
            return Err(usage(format!("{url}: port 0 is for servers: name the server's port")));
        }
        let found = match with_zone(url)? {
            Some(address) => vec![address],
            None => look_up(&url.host, url.port).map_err(|_| {
                usage(format!("{url}: the host '{}' is not known: check its name", url.host))
            })?,
        };
        let mut addresses = interleaved(found);
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(usage(format!(
                "{url}: the host '{}' has no address: check its name",
                url.host
            )));
        }
        if let Some(any) = addresses.iter().find(|address| address.ip().is_unspecified()) {
            return Err(usage(format!(
                "{url}: {} means every address of a server: name one of them",
                any.ip()
            )));
        }
        let begins = if spread { addresses.len() } else { 1 };
        for address in &addresses[..begins] {
            if begun.contains(address) {
                return Err(usage(format!(
                    "{address} is given twice, last by {url}: leave one out"
                )));
            }
            begun.push(*address);
        }
        targets.push(addresses);
    }
    Ok(targets)
}

/// The address of a URL whose host is an IPv6 address with a zone: the name or the number of an
/// interface. It matters for link-local addresses alone (RFC 4007 11).
fn with_zone(url: &Url) -> Result<Option<SocketAddr>, Error> {
    let Some((address, zone)) = url.zone() else { return Ok(None) };
    let file = Path::new("/sys/class/net").join(zone).join("ifindex");
    let index = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    let (Ok(address), Some(index)) =
        (address.parse::<Ipv6Addr>(), index.or_else(|| zone.parse::<u32>().ok()))
    else {
        return Err(usage(format!(
            "{url}: there is no interface '{zone}' on this machine: check the zone (ip address)"
        )));
    };
    let scope = if address.is_unicast_link_local() { index } else { 0 };
    Ok(Some(SocketAddr::V6(SocketAddrV6::new(address, url.port, 0, scope))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn zones_name_interfaces() {
        let resolve = |text: &str| resolve(&[url(text)], false);
        for text in ["http://[::1%25lo]:9/", "tcp://[::1%lo]:9"] {
            assert_eq!(resolve(text).expect("fine"), [["[::1]:9".parse().expect("fine")]]);
        }
        match resolve("http://[fe80::1%257]:9/").expect("fine")[0][..] {
            [SocketAddr::V6(address)] => assert_eq!(address.scope_id(), 7),
            ref other => panic!("{other:?}"),
        }
        let error = resolve("http://[::1%25nowhere]/").expect_err("refused").to_string();
        assert!(error.contains("no interface 'nowhere'"), "{error}");
    }

    /// A resolver that knows some names, by their lists.
    fn known(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let list = match host {
            "many" => "127.0.0.2 127.0.0.3 127.0.0.2",
            "both" => "::1 ::2 ::3 127.0.0.1 127.0.0.2",
            "old" => "127.0.0.1 ::1 127.0.0.2",
            "none" => "",
            "any" => "127.0.0.1 0.0.0.0",
            "127.0.0.3" => "127.0.0.3",
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        let addresses = list.split_whitespace().map(|ip| ip.parse().expect("an address"));
        Ok(addresses.map(|ip| SocketAddr::new(ip, port)).collect())
    }

    fn ips(texts: &[&str], spread: bool) -> Result<Vec<Vec<String>>, String> {
        let urls: Vec<_> = texts.iter().map(|text| url(text)).collect();
        let found = resolve_by(&urls, spread, known).map_err(|error| error.to_string())?;
        let ips = |list: Vec<SocketAddr>| list.iter().map(|at| at.ip().to_string()).collect();
        Ok(found.into_iter().map(ips).collect())
    }

    #[test]
    fn all_addresses_of_a_name_are_there_once_and_the_families_take_turns() {
        for (name, order) in [
            ("tcp://many:9", "127.0.0.2 127.0.0.3"),
            ("tcp://both:9", "::1 127.0.0.1 ::2 127.0.0.2 ::3"),
            ("tcp://old:9", "127.0.0.1 ::1 127.0.0.2"),
        ] {
            let found = ips(&[name], false).expect("known");
            assert_eq!(found, [order.split(' ').collect::<Vec<_>>()], "{name}");
        }
    }

    #[test]
    fn what_makes_no_target_is_refused() {
        for (urls, spread, problem) in [
            (&["tcp://nobody:9"][..], false, "the host 'nobody' is not known"),
            (&["tcp://none:9"], false, "the host 'none' has no address"),
            (&["tcp://any:9"], false, "0.0.0.0 means every address of a server"),
            (&["tcp://many:9", "tcp://127.0.0.3:9"], true, "127.0.0.3:9 is given twice, last by"),
            (&["tcp://many:9", "tcp://many:9"], false, "127.0.0.2:9 is given twice, last by"),
            (&["tcp://many:0"], false, "port 0 is for servers"),
        ] {
            let error = ips(urls, spread).expect_err("refused");
            assert!(error.contains(problem), "{error}");
        }
        // What only comes second may be another's first.
        assert!(ips(&["tcp://many:9", "tcp://127.0.0.3:9"], false).is_ok());
    }
}
