//! Source addresses: what a client's `--source-ip` texts name, which loopback addresses there are
//! to use, which source the kernel would choose, and which ports it gives out.

use crate::{sockopt, sysctl};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The most source addresses of one run, in all ranges together: at 60,000 ports each, far more
/// than any machine has memory for.
pub const MAX_SOURCES: u64 = 65_536;

/// Addresses that follow each other, counted and never listed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SourceRange {
    first: IpAddr,
    count: u64,
}

impl SourceRange {
    /// One address.
    #[must_use]
    pub const fn single(address: IpAddr) -> Self {
        Self { first: address, count: 1 }
    }

    /// How many addresses there are: 1 to [`MAX_SOURCES`].
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Address number `index`, counted from 0; `None` at the end.
    #[must_use]
    pub fn nth(&self, index: u64) -> Option<IpAddr> {
        let number = to_number(self.first) + u128::from(index);
        (index < self.count).then(|| from_number(number, self.first.is_ipv4()))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        (0..self.count).map_while(|index| self.nth(index))
    }

    /// From `first` to `last`, both included.
    fn between(text: &str, first: IpAddr, last: IpAddr) -> Result<Self, SourceError> {
        if first.is_ipv4() != last.is_ipv4() {
            return Err(SourceError::MixedRange(text.to_owned()));
        }
        let (from, to) = (to_number(first), to_number(last));
        if to < from {
            return Err(SourceError::Backwards(text.to_owned()));
        }
        match u64::try_from(to - from) {
            Ok(steps) if steps < MAX_SOURCES => Ok(Self { first, count: steps + 1 }),
            _ => Err(SourceError::TooMany((to - from).saturating_add(1))),
        }
    }

    fn last(&self) -> IpAddr {
        from_number(to_number(self.first) + u128::from(self.count - 1), self.first.is_ipv4())
    }
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn from_number(number: u128, is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        IpAddr::V4(Ipv4Addr::from_bits(number as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(number))
    }
}

/// What one item of `--source-ip` asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SourceSpec {
    /// As many addresses as the run needs, to be found by the program.
    Auto,
    /// These addresses.
    Range(SourceRange),
}

/// Why source addresses were not understood, or cannot serve.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// Neither an address in any form nor an interface of this machine.
    #[error(
        "'{text}' is not an IP address, a range a-b, a CIDR block or an interface \
         (this machine has: {interfaces})"
    )]
    Unknown {
        /// What was written.
        text: String,
        /// The interfaces that have addresses.
        interfaces: String,
    },
    /// The interface has no address that could reach a target.
    #[error("interface {0} has no address of the targets' family: name the addresses themselves")]
    NoAddress(String),
    /// A prefix that is no number or too long for the family.
    #[error("'{0}' is not a CIDR block: write it like 10.0.0.0/24")]
    Prefix(String),
    /// The ends of a range are of different families.
    #[error("the range '{0}' goes from IPv4 to IPv6: write two ranges")]
    MixedRange(String),
    /// A range ends before it starts.
    #[error("the range '{0}' runs backwards: write the lower address first")]
    Backwards(String),
    /// More than a run can use.
    #[error("{0} source addresses are too many: at most {MAX_SOURCES} can be used, name fewer")]
    TooMany(u128),
    /// The same address is in two items.
    #[error("source address {0} is named twice: name each once")]
    Twice(IpAddr),
    /// `auto` does not go with named addresses.
    #[error("'auto' finds the source addresses itself: leave out either it or the others")]
    AutoAndOthers,
    /// The unspecified address, a multicast group, or the broadcast address.
    #[error("{0} cannot be a source address: name one of this machine's own")]
    NotASource(IpAddr),
    /// No target can be reached from there.
    #[error(
        "source address {0} reaches none of the targets: \
         they are of another family, or it is a loopback address and they are not"
    )]
    NoTarget(IpAddr),
    /// The interfaces could not be listed.
    #[error("the interfaces of this machine cannot be listed: {0}")]
    Interfaces(String),
}

/// What the texts of `--source-ip` name, in the order written. Each text is a list with commas of:
/// an address, a range `a-b`, a CIDR block, the name of an interface (all of its addresses), or
/// `auto` alone. Of a block shorter than /31 the network and the broadcast address are left out, of
/// an IPv6 block shorter than /127 the router anycast address (RFC 4291 section 2.6.1). Interfaces
/// give the addresses that could reach one of `targets`, without those that need a zone.
///
/// No text gives no item. Whether the addresses are this machine's is for [`is_local`].
pub fn parse_sources(
    texts: &[String],
    targets: &[SocketAddr],
) -> Result<Vec<SourceSpec>, SourceError> {
    let items = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    let items: Vec<&str> = items.collect();
    if items.contains(&"auto") {
        let alone = items.len() == 1;
        return if alone { Ok(vec![SourceSpec::Auto]) } else { Err(SourceError::AutoAndOthers) };
    }
    let mut ranges = Vec::new();
    for item in items {
        ranges.extend(parse_item(item, targets)?);
    }
    check_ranges(&ranges, targets)?;
    Ok(ranges.into_iter().map(SourceSpec::Range).collect())
}

fn parse_item(item: &str, targets: &[SocketAddr]) -> Result<Vec<SourceRange>, SourceError> {
    if let Ok(address) = item.parse() {
        return Ok(vec![SourceRange::single(address)]);
    }
    if let Some((address, prefix)) = item.split_once('/') {
        let error = || SourceError::Prefix(item.to_owned());
        let address = address.parse().map_err(|_| error())?;
        return Ok(vec![block(item, address, prefix.parse().map_err(|_| error())?)?]);
    }
    // An interface may have a dash in its name too, but no address before it.
    if let Some((Ok(first), Ok(last))) = item.split_once('-').map(|(a, b)| (a.parse(), b.parse())) {
        return Ok(vec![SourceRange::between(item, first, last)?]);
    }
    interface(item, targets)
}

/// The addresses of a CIDR block that can be a source.
fn block(text: &str, address: IpAddr, prefix: u32) -> Result<SourceRange, SourceError> {
    let width = if address.is_ipv4() { 32 } else { 128 };
    if prefix > width {
        return Err(SourceError::Prefix(text.to_owned()));
    }
    let host_bits = u128::MAX.checked_shr(128 - (width - prefix)).unwrap_or(0);
    let network = to_number(address) & !host_bits;
    let skip_first = u128::from(host_bits > 1);
    let skip_last = u128::from(host_bits > 1 && address.is_ipv4());
    let end = |number| from_number(number, address.is_ipv4());
    SourceRange::between(text, end(network + skip_first), end((network | host_bits) - skip_last))
}

fn interface(name: &str, targets: &[SocketAddr]) -> Result<Vec<SourceRange>, SourceError> {
    let all = if_addrs::get_if_addrs().map_err(|e| SourceError::Interfaces(e.to_string()))?;
    let mut own = all.iter().filter(|entry| entry.name == name).peekable();
    if own.peek().is_none() {
        let mut interfaces: Vec<_> = all.iter().map(|entry| entry.name.as_str()).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        let interfaces = interfaces.join(", ");
        return Err(SourceError::Unknown { text: name.to_owned(), interfaces });
    }
    let addresses = own.map(|entry| entry.ip()).filter(|ip| {
        let needs_zone = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        !needs_zone && reaches_any(*ip, targets)
    });
    let ranges: Vec<_> = addresses.map(SourceRange::single).collect();
    if ranges.is_empty() { Err(SourceError::NoAddress(name.to_owned())) } else { Ok(ranges) }
}

/// Whether a packet from there could go to one of the targets at all. No target asks nothing.
fn reaches_any(source: IpAddr, targets: &[SocketAddr]) -> bool {
    let reaches = |target: &SocketAddr| {
        // Linux takes a connection to the unspecified address as one to itself.
        let here = target.ip().is_loopback() || target.ip().is_unspecified();
        source.is_ipv4() == target.is_ipv4() && (here || !source.is_loopback())
    };
    targets.is_empty() || targets.iter().any(reaches)
}

fn check_ranges(ranges: &[SourceRange], targets: &[SocketAddr]) -> Result<(), SourceError> {
    let total: u128 = ranges.iter().map(|range| u128::from(range.count)).sum();
    if total > u128::from(MAX_SOURCES) {
        return Err(SourceError::TooMany(total));
    }
    for range in ranges {
        for end in [range.first, range.last()] {
            let broadcast = matches!(end, IpAddr::V4(ip) if ip.is_broadcast());
            if end.is_unspecified() || end.is_multicast() || broadcast {
                return Err(SourceError::NotASource(end));
            }
            if !reaches_any(end, targets) {
                return Err(SourceError::NoTarget(end));
            }
        }
    }
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| (range.first.is_ipv6(), to_number(range.first)));
    let overlap = sorted.windows(2).find(|pair| {
        let [before, after] = [pair[0], pair[1]];
        before.first.is_ipv4() == after.first.is_ipv4()
            && to_number(before.last()) >= to_number(after.first)
    });
    overlap.map_or(Ok(()), |pair| Err(SourceError::Twice(pair[1].first)))
}

/// Loopback addresses to come from: 127.1.0.1, 127.1.0.2 and on, never one that ends in 0 or 255,
/// never one of `avoid`; at most [`MAX_SOURCES`]. Linux takes all of 127.0.0.0/8 for its own.
#[must_use]
pub fn loopback_sources(count: u64, avoid: &[IpAddr]) -> Vec<IpAddr> {
    let all = Ipv4Addr::new(127, 1, 0, 1).to_bits()..Ipv4Addr::new(127, 255, 255, 255).to_bits();
    let usable = all.filter(|bits| !matches!(bits & 0xff, 0 | 0xff));
    let usable = usable.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    usable.filter(|ip| !avoid.contains(ip)).take(count.min(MAX_SOURCES) as usize).collect()
}

/// The source address that the kernel would choose towards a target. Nothing is sent: a UDP socket
/// is connected, which is only a look at the routing table.
pub fn route_source(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// Whether connections may come from this address: the error is the kernel's own answer to a bind.
/// It takes no port, so that an address whose ports are all in use is still one of this machine.
pub fn is_local(ip: IpAddr) -> io::Result<()> {
    let address = SocketAddr::new(ip, 0);
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    sockopt::bind_address_no_port(&socket)?;
    socket.bind(&address.into())
}

/// The first and the last port that the kernel gives out by itself
/// (`net.ipv4.ip_local_port_range`, which holds for IPv6 too); the kernel's default where it cannot
/// be read.
#[must_use]
pub fn port_range() -> (u16, u16) {
    const DEFAULT: (u16, u16) = (32_768, 60_999);
    let range = sysctl::numbers::<2>("net.ipv4.ip_local_port_range");
    let range = range.and_then(|[low, high]| Some((low.try_into().ok()?, high.try_into().ok()?)));
    range.unwrap_or(DEFAULT)
}

/// The ports of that range that the kernel leaves out (`net.ipv4.ip_local_reserved_ports`), as
/// first and last of each run.
#[must_use]
pub fn reserved_ports() -> Vec<(u16, u16)> {
    let text = sysctl::read("net.ipv4.ip_local_reserved_ports").unwrap_or_default();
    parse_reserved_ports(&text)
}

/// Reads `8080,9148,5000-5010`; empty is none.
fn parse_reserved_ports(text: &str) -> Vec<(u16, u16)> {
    let runs = text.split(',').filter_map(|run| {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    });
    runs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOOPBACK: &str = "127.0.0.1:80";

    fn parse(texts: &[&str], targets: &[&str]) -> Result<Vec<SourceSpec>, SourceError> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let targets: Vec<SocketAddr> =
            targets.iter().map(|target| target.parse().expect("target")).collect();
        parse_sources(&texts, &targets)
    }

    fn addresses(texts: &[&str], targets: &[&str]) -> Vec<String> {
        let specs = parse(texts, targets).expect("sources");
        let listed = specs.iter().flat_map(|spec| match spec {
            SourceSpec::Auto => vec!["auto".to_owned()],
            SourceSpec::Range(range) => range.iter().map(|ip| ip.to_string()).collect(),
        });
        listed.collect()
    }

    fn sentence(texts: &[&str], targets: &[&str]) -> String {
        parse(texts, targets).expect_err("refused").to_string()
    }

    #[test]
    fn every_form_names_its_addresses() {
        assert_eq!(addresses(&["127.0.0.5"], &[LOOPBACK]), ["127.0.0.5"]);
        assert_eq!(
            addresses(&["127.0.0.5, 127.0.0.7", "127.0.0.6"], &[LOOPBACK]),
            ["127.0.0.5", "127.0.0.7", "127.0.0.6"]
        );
        assert_eq!(
            addresses(&["10.0.0.254-10.0.1.1"], &[]),
            ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1"]
        );
        assert_eq!(addresses(&["10.0.0.9/30"], &[]), ["10.0.0.9", "10.0.0.10"]);
        assert_eq!(addresses(&["10.0.0.8/31"], &[]), ["10.0.0.8", "10.0.0.9"]);
        assert_eq!(addresses(&["10.0.0.8/32"], &[]), ["10.0.0.8"]);
        assert_eq!(addresses(&["fd00::/126"], &[]), ["fd00::1", "fd00::2", "fd00::3"]);
        assert_eq!(
            addresses(&["fd00::7/128", "fd00::8/127"], &[]),
            ["fd00::7", "fd00::8", "fd00::9"]
        );
        assert_eq!(addresses(&["auto"], &[LOOPBACK]), ["auto"]);
        assert_eq!(addresses(&[], &[LOOPBACK]), [""; 0]);
    }

    #[test]
    fn an_interface_gives_the_addresses_that_reach_a_target() {
        assert!(addresses(&["lo"], &[LOOPBACK]).contains(&"127.0.0.1".to_owned()));
        assert!(!addresses(&["lo"], &[LOOPBACK]).contains(&"::1".to_owned()));
        assert_eq!(
            sentence(&["lo"], &["10.1.2.3:80"]),
            "interface lo has no address of the targets' family: name the addresses themselves"
        );
        let unknown = sentence(&["no-such0"], &[LOOPBACK]);
        assert!(unknown.starts_with("'no-such0' is not an IP address, a range a-b"), "{unknown}");
        assert!(unknown.contains("lo"), "{unknown}");
    }

    #[test]
    fn what_cannot_serve_is_refused_with_a_sentence() {
        for (texts, expected) in [
            (&["127.0.0.9-127.0.0.1"][..], SourceError::Backwards("127.0.0.9-127.0.0.1".into())),
            (&["127.0.0.1-::1"], SourceError::MixedRange("127.0.0.1-::1".into())),
            (&["127.0.0.0/33"], SourceError::Prefix("127.0.0.0/33".into())),
            (&["127.0.0.0/x"], SourceError::Prefix("127.0.0.0/x".into())),
            (&["localhost/8"], SourceError::Prefix("localhost/8".into())),
            (&["127.0.0.0/8"], SourceError::TooMany(16_777_214)),
            (&["::/0"], SourceError::TooMany(u128::MAX)),
            (&["127.1.0.0/16", "127.2.0.0/16"], SourceError::TooMany(131_068)),
            (&["auto", "127.0.0.1"], SourceError::AutoAndOthers),
            (&["0.0.0.0"], SourceError::NotASource(Ipv4Addr::UNSPECIFIED.into())),
            (&["224.0.0.1"], SourceError::NotASource(Ipv4Addr::new(224, 0, 0, 1).into())),
            (&["255.255.255.255"], SourceError::NotASource(Ipv4Addr::BROADCAST.into())),
            (&["::1"], SourceError::NoTarget(Ipv6Addr::LOCALHOST.into())),
            (
                &["127.0.0.7", "127.0.0.0/28"],
                SourceError::Twice(Ipv4Addr::new(127, 0, 0, 7).into()),
            ),
        ] {
            assert_eq!(parse(texts, &[LOOPBACK]), Err(expected), "{texts:?}");
        }
        assert!(sentence(&["127.0.0.1"], &["10.0.0.1:80"]).contains("is a loopback address"));
        assert!(sentence(&[""], &[LOOPBACK]).starts_with("'' is not an IP address"));
    }

    #[test]
    fn loopback_sources_leave_out_what_is_taken_or_odd() {
        let avoid: Vec<IpAddr> = vec![Ipv4Addr::new(127, 1, 0, 2).into()];
        let sources = loopback_sources(600, &avoid);
        assert_eq!(sources.len(), 600);
        assert_eq!(sources[0].to_string(), "127.1.0.1");
        assert_eq!(sources[1].to_string(), "127.1.0.3");
        assert_eq!(sources[253].to_string(), "127.1.1.1");
        for source in &sources {
            let IpAddr::V4(v4) = source else { panic!("{source} is not IPv4") };
            assert!(!matches!(v4.octets()[3], 0 | 255) && !avoid.contains(source));
        }
        assert_eq!(loopback_sources(u64::MAX, &[]).len() as u64, MAX_SOURCES);
        assert_eq!(is_local(sources[599]).map_err(|e| e.kind()), Ok(()));
    }

    #[test]
    fn the_kernel_answers_for_addresses() {
        for loopback in ["127.0.0.9:80", "[::1]:80"] {
            let target: SocketAddr = loopback.parse().expect("target");
            assert!(route_source(target).expect("route").is_loopback());
        }
        // TEST-NET-3 (RFC 5737) belongs to nobody.
        let foreign: IpAddr = Ipv4Addr::new(203, 0, 113, 77).into();
        let answer = is_local(foreign).map_err(|error| error.kind());
        assert_eq!(answer, Err(io::ErrorKind::AddrNotAvailable));
    }

    #[test]
    fn ports_are_read() {
        let (first, last) = port_range();
        assert!(first < last);
        assert_eq!(parse_reserved_ports(""), []);
        assert_eq!(parse_reserved_ports("8080,9000-9010\n"), [(8080, 8080), (9000, 9010)]);
        assert!(reserved_ports().iter().all(|(first, last)| first <= last));
    }

    proptest! {
        #[test]
        fn a_range_counts_what_it_lists(first: u32, length in 0..500u32) {
            let last = first.saturating_add(length);
            let (first, last) = (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last));
            let range = SourceRange::between("", first.into(), last.into()).expect("range");
            let listed: Vec<IpAddr> = range.iter().collect();
            prop_assert_eq!(listed.len() as u64, range.len());
            prop_assert_eq!(range.nth(range.len()), None);
            prop_assert_eq!(listed[0], IpAddr::V4(first));
            prop_assert_eq!(listed.last().copied(), Some(IpAddr::V4(last)));
            let follows = |pair: &[IpAddr]| to_number(pair[0]) + 1 == to_number(pair[1]);
            prop_assert!(listed.windows(2).all(follows));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[0-9a-f.:/,-]{0,24}") {
            let _ = parse_sources(&[text], &[]);
        }
    }
}
