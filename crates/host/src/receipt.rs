//! Receipts: when the kernel received what is read, and what TCP knows of a connection. Nothing
//! here allocates.

use crate::sockopt;
use measure::{Nanos, Wall};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Has the kernel note when bytes arrive on a socket (`SO_TIMESTAMPING`, by its own clock, not that
/// of the network card). What has arrived already stays without.
///
/// As long as any socket of the machine wants this, the kernel reads its clock for every packet
/// that any socket receives. The first one sets that off; it takes the kernel some milliseconds to
/// begin ([`keep_stamping`]).
pub fn stamp_receipts(fd: impl AsFd) -> io::Result<()> {
    sockopt::stamp_receipts(fd)
}

/// Receives bytes, and the time of day at which the last of them reached the kernel: that of the
/// last packet that any of them were taken from. `None` if it was not noted.
#[inline]
pub fn receive_stamped(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<Wall>)> {
    let (count, stamp) = sockopt::receive_stamped(fd, buffer)?;
    let wall = stamp.map(|time| Wall(time.tv_sec.saturating_mul(1_000_000_000) + time.tv_nsec));
    Ok((count, wall))
}

/// A socket that does nothing but want stamps: while it is there the kernel goes on making them,
/// however many others come and go. Without it, each time that the last one goes and the next one
/// comes, the kernel patches its own code, and what arrives meanwhile has no stamp.
pub fn keep_stamping() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    stamp_receipts(&socket)?;
    Ok(socket)
}

/// What TCP knows of a connection (`TCP_INFO`, tcp(7)).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpHealth {
    /// The smoothed round-trip time, in whole microseconds: from a packet of ours to its
    /// acknowledgement, which may wait for the peer's reply.
    pub rtt: Nanos,
    /// How much that varies, its smoothed mean deviation.
    pub rtt_variation: Nanos,
    /// Packets that were sent again since the connection began.
    pub retransmits: u32,
}

/// What TCP knows of a connection now.
pub fn tcp_health(fd: impl AsFd) -> io::Result<TcpHealth> {
    let info = sockopt::tcp_info(fd)?;
    Ok(TcpHealth {
        rtt: Nanos::from_micros(info.tcpi_rtt.into()),
        rtt_variation: Nanos::from_micros(info.tcpi_rttvar.into()),
        retransmits: info.tcpi_total_retrans,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{self, ListenOptions};
    use measure::{Clock, Sighting, WallClock};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn pair() -> (OwnedFd, OwnedFd) {
        let options = ListenOptions { backlog: 8, reuse_port: false };
        let listener = socket::listen(([127, 0, 0, 1], 0).into(), &options).expect("listen");
        let address = socket::local_address(&listener).expect("address");
        let near = socket::connect(None, address, false).expect("connect");
        readable(&listener);
        let far = socket::accept(&listener).expect("accept");
        (near, far)
    }

    fn readable(fd: &OwnedFd) {
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).expect("poll");
        assert!(fds[0].revents().contains(PollFlags::IN));
    }

    fn send(fd: &OwnedFd, bytes: &[u8]) {
        let sent = net::send(fd, bytes, net::SendFlags::NOSIGNAL);
        assert_eq!(sent.ok(), Some(bytes.len()));
    }

    /// One message each, until the kernel has begun to stamp.
    fn stamped(near: &OwnedFd, far: &OwnedFd) -> Wall {
        let mut buffer = [0; 16];
        for _ in 0..10_000 {
            send(far, b"hello");
            readable(near);
            let (count, stamp) = receive_stamped(near, &mut buffer).expect("bytes");
            assert_eq!(&buffer[..count], b"hello");
            if let Some(stamp) = stamp {
                return stamp;
            }
        }
        panic!("the kernel never began to stamp");
    }

    #[test]
    fn a_receipt_lies_between_the_send_and_the_read() {
        let clock = Clock::start();
        let (near, far) = pair();
        let _keep = keep_stamping().expect("a socket");
        stamp_receipts(&near).expect("set");
        stamped(&near, &far);
        let sighting = Sighting::take(|| clock.now(), Wall::now);
        let wall = WallClock::new(sighting, clock.now());
        let sent = clock.now();
        let receipt = wall.on_run_clock(stamped(&near, &far));
        let read = clock.now();
        // The two clocks are looked at within a moment, which may last longer on a busy machine.
        let slack = Nanos::from_millis(1);
        assert!(sent <= receipt + slack && receipt <= read + slack, "{sent} {receipt} {read}");
    }

    #[test]
    fn the_stamp_is_that_of_the_last_packet_that_was_read_from() {
        let (near, far) = pair();
        let _keep = keep_stamping().expect("a socket");
        stamp_receipts(&near).expect("set");
        stamped(&near, &far);
        send(&far, b"one");
        readable(&near);
        let between = Wall::now();
        // The clock is coarse on no machine that these tests run on, but let it move.
        while Wall::now() == between {}
        send(&far, b"two");
        let mut buffer = [0; 16];
        let (mut read, mut last) = (0, None);
        while read < 6 {
            readable(&near);
            let (count, stamp) = receive_stamped(&near, &mut buffer).expect("bytes");
            (read, last) = (read + count, stamp);
        }
        assert!(last.is_some_and(|last| last > between), "{last:?} {between:?}");
    }

    #[test]
    fn without_being_asked_nothing_is_stamped_and_errors_come_through() {
        let (near, far) = pair();
        send(&far, b"hello");
        readable(&near);
        let mut buffer = [0; 3];
        assert_eq!(receive_stamped(&near, &mut buffer).expect("bytes"), (3, None));
        assert_eq!(receive_stamped(&near, &mut buffer).expect("bytes"), (2, None));
        let nothing = receive_stamped(&near, &mut buffer).expect_err("nothing left");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(far);
        readable(&near);
        assert_eq!(receive_stamped(&near, &mut buffer).expect("the end"), (0, None));
    }

    #[test]
    fn tcp_tells_how_a_connection_fares() {
        let (near, _far) = pair();
        let health = tcp_health(&near).expect("a TCP socket");
        assert_eq!(health.retransmits, 0);
        assert!(health.rtt < Nanos::from_secs(5), "{health:?}");
        let no_tcp = keep_stamping().expect("a socket");
        assert!(tcp_health(&no_tcp).is_err());
    }
}
