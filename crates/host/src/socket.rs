//! TCP sockets as reactors use them: non-blocking, closed on exec, without Nagle's delay. Nothing
//! here allocates after [`listen`].

use crate::{sockopt, steering};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt as options};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How a listener is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenOptions {
    /// How many established connections may wait to be accepted. The kernel silently takes the
    /// lesser of this and `net.core.somaxconn`; the preflight compares the two.
    pub backlog: u32,
    /// Several listeners on one address share its connections (`SO_REUSEPORT`): by hash, or as
    /// [`attach_steering`] says.
    pub reuse_port: bool,
}

/// A listener. Accepted sockets inherit `TCP_NODELAY` from it, which saves a call for each of them.
/// A listener on an IPv6 address takes no IPv4 connections.
pub fn listen(address: SocketAddr, options: &ListenOptions) -> io::Result<OwnedFd> {
    let domain = socket2::Domain::for_address(address);
    let kind = socket2::Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// The address that a socket is bound to: the real port where 0 was asked for.
pub fn local_address(fd: impl AsFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(net::getsockname(fd)?)?)
}

/// Accepts one connection; `WouldBlock` when none waits. The peer's address is not fetched.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    Ok(net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?)
}

/// The call that [`connect`] failed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectStep {
    /// Making the socket and setting its options: no descriptor or no memory is left.
    Socket,
    /// Binding the source: the address is not ours or its port is taken.
    Bind,
    /// Connecting itself.
    Connect,
}

impl fmt::Display for ConnectStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "socket",
            Self::Bind => "bind",
            Self::Connect => "connect",
        })
    }
}

/// Why a connection could not be begun: which call, and what the kernel said.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}")]
pub struct ConnectError {
    /// The call that failed.
    pub step: ConnectStep,
    /// What the kernel said.
    pub error: io::Error,
}

/// Begins a connection. `Ok` means established or on its way: wait for writability, then ask
/// [`take_error`] and [`is_established`].
///
/// `source` names the address to come from. Where its port is 0 the kernel chooses one at
/// `connect`, so that an address can use a port once for each target (`IP_BIND_ADDRESS_NO_PORT`,
/// ip(7)); its search gets very slow once half of the port range is in use, so name the port where
/// many are wanted. With `share_port` one named (address, port) can serve several targets
/// (`SO_REUSEADDR` on every socket that uses it).
pub fn connect(
    source: Option<SocketAddr>,
    target: SocketAddr,
    share_port: bool,
) -> Result<OwnedFd, ConnectError> {
    let socket = new_socket(target).map_err(at(ConnectStep::Socket))?;
    if let Some(source) = source {
        bind_source(&socket, source, share_port).map_err(at(ConnectStep::Bind))?;
    }
    match net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(at(ConnectStep::Connect)(errno.into())),
    }
}

fn at(step: ConnectStep) -> impl FnOnce(io::Error) -> ConnectError {
    move |error| ConnectError { step, error }
}

fn new_socket(target: SocketAddr) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    options::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

fn bind_source(socket: &OwnedFd, source: SocketAddr, share_port: bool) -> io::Result<()> {
    if source.port() == 0 {
        sockopt::bind_address_no_port(socket)?;
    }
    if share_port {
        options::set_socket_reuseaddr(socket, true)?;
    }
    Ok(net::bind(socket, &source)?)
}

/// Whether the connection is established, or was until the peer closed it: Linux knows a peer's
/// address in every state but CLOSE and SYN_SENT.
pub fn is_established(fd: impl AsFd) -> bool {
    matches!(net::getpeername(fd), Ok(Some(_)))
}

/// The error that waits on the socket, taken off it (`SO_ERROR`); `None` where there is none.
pub fn take_error(fd: impl AsFd) -> Option<io::Error> {
    match options::socket_error(fd) {
        Ok(Ok(())) => None,
        Ok(Err(errno)) | Err(errno) => Some(errno.into()),
    }
}

/// Lets the coming close send RST (`SO_LINGER` of 0 s): no TIME_WAIT is left and no port stays
/// taken. Unsent and unread bytes are thrown away.
pub fn reset_on_close(fd: impl AsFd) -> io::Result<()> {
    Ok(options::set_socket_linger(fd, Some(Duration::ZERO))?)
}

/// What a listener has turned away since it listens: connections that found its accept queue full,
/// and handshakes that came to nothing. Modulo 2^32; `None` where the kernel does not tell (before
/// Linux 4.12).
#[must_use]
pub fn dropped(listener: impl AsFd) -> Option<u64> {
    sockopt::dropped(listener).ok().map(u64::from)
}

/// Lets the CPU that a SYN arrives on choose the listener, instead of a hash of the addresses.
///
/// `listener` is any one of a group on one address with `reuse_port`; reactor `i`, pinned to
/// `cpus[i]`, must own the listener made as number `i`. Closing a listener moves the last one to
/// its place: then the choice is no longer true, but still one of the group. Over loopback that CPU
/// is the client's own.
///
/// # Errors
/// `InvalidInput` where the reactors do not go round the CPUs in whole turns
/// ([`steering::SteeringError`]); otherwise what the kernel says.
pub fn attach_steering(listener: impl AsFd, cpus: &[usize]) -> io::Result<()> {
    let program = steering::steering_program(cpus)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    sockopt::attach_reuseport_program(listener, &program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    const V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
    const ALONE: ListenOptions = ListenOptions { backlog: 64, reuse_port: false };
    const SHARED: ListenOptions = ListenOptions { backlog: 64, reuse_port: true };

    fn wait(fd: &OwnedFd, flags: PollFlags) -> PollFlags {
        let mut fds = [PollFd::new(fd, flags)];
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        poll(&mut fds, Some(&limit)).expect("poll");
        fds[0].revents()
    }

    fn listener(address: SocketAddr, options: &ListenOptions) -> (OwnedFd, SocketAddr) {
        let listener = listen(address, options).expect("listen");
        let address = local_address(&listener).expect("address");
        (listener, address)
    }

    fn accepted(listener: &OwnedFd) -> OwnedFd {
        assert!(wait(listener, PollFlags::IN).contains(PollFlags::IN));
        accept(listener).expect("accept")
    }

    #[test]
    fn both_ends_are_non_blocking_and_without_delay() {
        for address in [V4, V6] {
            let (listener, address) = listener(address, &ALONE);
            assert_eq!(
                accept(&listener).map_err(|e| e.kind()).err(),
                Some(io::ErrorKind::WouldBlock)
            );
            let near = connect(None, address, false).expect("connect");
            let far = accepted(&listener);
            assert!(wait(&near, PollFlags::OUT).contains(PollFlags::OUT));
            assert!(is_established(&near) && is_established(&far));
            assert!(take_error(&near).is_none());
            for end in [&near, &far] {
                assert!(options::tcp_nodelay(end).expect("nodelay"));
                let flags = rustix::fs::fcntl_getfl(end).expect("flags");
                assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
                let flags = rustix::io::fcntl_getfd(end).expect("flags");
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            }
        }
    }

    #[test]
    fn one_source_port_serves_two_targets() {
        let (one, first) = listener(V4, &ALONE);
        let (_two, second) = listener(V4, &ALONE);
        let any: SocketAddr = "127.1.0.9:0".parse().expect("address");
        let near = connect(Some(any), first, true).expect("first");
        let source = local_address(&near).expect("source");
        assert_eq!(source.ip(), any.ip());
        assert_ne!(source.port(), 0);
        let _far = accepted(&one);
        let other = connect(Some(source), second, true).expect("second");
        assert_eq!(local_address(&other).expect("source"), source);
        // Unshared, or to the same target again, the port is taken.
        let error = connect(Some(source), second, false).expect_err("taken");
        assert_eq!((error.step, error.error.kind()), (ConnectStep::Bind, io::ErrorKind::AddrInUse));
        let error = connect(Some(source), first, true).expect_err("same 4-tuple");
        assert_eq!(error.step, ConnectStep::Connect);
        assert_eq!(error.error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_source_without_port_takes_none_before_it_connects() {
        for any in [V4, V6] {
            let (_listener, address) = listener(any, &ALONE);
            let socket = new_socket(address).expect("socket");
            bind_source(&socket, any, false).expect("bind");
            assert_eq!(local_address(&socket).expect("bound").port(), 0);
            let near = connect(Some(any), address, false).expect("connect");
            assert_ne!(local_address(&near).expect("source").port(), 0);
        }
    }

    #[test]
    fn a_foreign_source_fails_in_bind() {
        // TEST-NET-3 (RFC 5737) belongs to nobody; no packet leaves for a bind.
        let foreign: SocketAddr = "203.0.113.77:0".parse().expect("address");
        let (_listener, address) = listener(V4, &ALONE);
        let error = connect(Some(foreign), address, false).expect_err("foreign");
        assert_eq!(error.step, ConnectStep::Bind);
        assert_eq!(error.error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().starts_with("bind: "), "{error}");
    }

    #[test]
    fn a_refused_connection_says_so() {
        let (listener, address) = listener(V4, &ALONE);
        drop(listener);
        let refused = match connect(None, address, false) {
            Err(error) => error.error,
            Ok(socket) => {
                wait(&socket, PollFlags::OUT);
                assert!(!is_established(&socket));
                take_error(&socket).expect("refused")
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn closing_with_reset_is_seen_as_a_reset() {
        let (listener, address) = listener(V4, &ALONE);
        let near = connect(None, address, false).expect("connect");
        let far = accepted(&listener);
        reset_on_close(&near).expect("linger");
        drop(near);
        assert!(wait(&far, PollFlags::IN).contains(PollFlags::ERR));
        let error = take_error(&far).expect("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(take_error(&far).is_none(), "an error is taken once");
    }

    #[test]
    fn an_address_is_shared_only_when_asked() {
        let (_one, address) = listener(V4, &SHARED);
        listen(address, &SHARED).expect("shared");
        let error = listen(address, &ALONE).expect_err("alone");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    /// Each connection must reach the only listener of this CPU: by hash, 40 connections would all
    /// do so once in 10^19 runs.
    #[test]
    fn connections_are_steered_to_the_cpu_they_come_from() {
        let cpu = crate::cpu::allowed_cpus()[0];
        std::thread::spawn(move || {
            crate::cpu::pin_current_thread(cpu).expect("pin");
            let (_elsewhere, address) = listener(V4, &SHARED);
            let two = listen(address, &SHARED).expect("second");
            let three = listen(address, &SHARED).expect("third");
            attach_steering(&two, &[cpu + 1, cpu, cpu + 2]).expect("steering");
            for _ in 0..40 {
                let near = connect(None, address, false).expect("connect");
                drop((accepted(&two), near));
            }
            // Both the second and the third, chosen at random.
            attach_steering(&two, &[cpu, cpu, cpu]).expect("steering");
            let (mut seen_two, mut seen_three) = (false, false);
            for _ in 0..60 {
                let _near = connect(None, address, false).expect("connect");
                seen_two |= accept(&two).is_ok();
                seen_three |= accept(&three).is_ok();
            }
            assert!(seen_two && seen_three);
        })
        .join()
        .expect("steered");
    }

    #[test]
    fn uneven_steering_is_invalid_input() {
        let (listener, _) = listener(V4, &SHARED);
        let error = attach_steering(&listener, &[0, 1, 0]).expect_err("uneven");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("3 reactors on 2 CPUs"), "{error}");
    }

    #[test]
    fn a_listener_knows_what_it_turned_away() {
        let options = ListenOptions { backlog: 1, reuse_port: false };
        let listeners = [(); 2]
            .map(|()| listen("127.0.0.1:0".parse().expect("address"), &options).expect("listener"));
        let [full, other] = &listeners;
        assert_eq!([dropped(full), dropped(other)], [Some(0); 2]);
        let at = local_address(full).expect("address");
        let wait = Duration::from_millis(200);
        let peers: Vec<_> =
            (0..4).map(|_| std::net::TcpStream::connect_timeout(&at, wait)).collect();
        assert!(peers.iter().any(Result::is_err), "two fit");
        assert!(dropped(full).is_some_and(|count| count > 0));
        assert_eq!(dropped(other), Some(0));
    }
}
