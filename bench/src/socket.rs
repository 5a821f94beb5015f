//! Sockets as the floor needs them: listen, connect, send, reset; and the limits around them.

use anyhow::{Context, Result};
use rustix::event::epoll::{self, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{self, Errno};
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// How many handshakes may wait for accept; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// How long a peer may leave a send or an answer waiting before the run is given up.
pub(crate) const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Raises the soft limit on descriptors to the hard one.
pub(crate) fn raise_descriptor_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("the soft limit on descriptors could not be raised to the hard one")
}

/// How many descriptors one table may hold.
pub(crate) fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Pins the calling thread to one CPU, if one is asked for.
pub(crate) fn pin(cpu: Option<usize>) -> Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    anyhow::ensure!(cpu < CpuSet::MAX_CPU, "there is no CPU {cpu}");
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("this thread may not run on CPU {cpu}"))
}

fn stream_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
}

/// A non-blocking listener on 127.0.0.1, together with others on the same port if `shared`.
pub(crate) fn listen(port: u16, shared: bool) -> io::Result<OwnedFd> {
    let listener = stream_socket(SocketFlags::NONBLOCK)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    if shared {
        sockopt::set_socket_reuseport(&listener, true)?;
    }
    // Accepted sockets inherit it: one system call less for each connection.
    sockopt::set_tcp_nodelay(&listener, true)?;
    net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// The port that a socket has.
pub(crate) fn port(socket: &OwnedFd) -> Result<u16> {
    let address = SocketAddrV4::try_from(net::getsockname(socket)?)?;
    Ok(address.port())
}

/// A socket bound to `source`, or left to the kernel's choice; still blocking, not yet connected.
///
/// The port is named without `SO_REUSEADDR`, so that one which anybody uses is refused with
/// `EADDRINUSE` here and not with a surprise in `connect`.
pub(crate) fn bound(source: Option<SocketAddrV4>) -> io::Result<OwnedFd> {
    let socket = stream_socket(SocketFlags::empty())?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(source) = source {
        net::bind(&socket, &source)?;
    }
    Ok(socket)
}

/// Connects to a port of 127.0.0.1 and makes the socket non-blocking.
///
/// A blocking connect on loopback does the whole handshake within the call, so its duration is the
/// handshake's; where the accept queue is full it waits for the kernel's retries (about two minutes
/// at most).
pub(crate) fn connect(socket: &OwnedFd, port: u16) -> io::Result<()> {
    net::connect(socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    io::ioctl_fionbio(socket, true)
}

/// Sends all bytes. The floor has no output queue: a full socket is waited for, which happens only
/// beyond the 64 KiB in flight that the loads keep to.
pub(crate) fn send_all(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match net::send(&socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::AGAIN) => {
                let mut waiting = [PollFd::new(&socket, PollFlags::OUT)];
                if poll(&mut waiting, Some(&PATIENCE))? == 0 {
                    return Err(Errno::TIMEDOUT);
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Closes with a reset, so that no TIME_WAIT holds the port for the next run.
pub(crate) fn reset(socket: OwnedFd) {
    // If the option is refused the socket is closed all the same, only with TIME_WAIT.
    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
}

/// Waits for events and returns how many came; a wait that a signal interrupts starts again.
pub(crate) fn wait(
    epoll: &OwnedFd,
    events: &mut [Event],
    timeout: Option<&Timespec>,
) -> io::Result<usize> {
    loop {
        match epoll::wait(epoll, &mut *events, timeout) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Room for the events of one wait.
pub(crate) fn event_room() -> Box<[Event]> {
    let empty = Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
    vec![empty; 1024].into_boxed_slice()
}
