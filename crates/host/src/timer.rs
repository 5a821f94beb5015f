//! A one-shot timer that a poll loop can wait for to the nanosecond: epoll's own timeout is rounded
//! to whole milliseconds.

use measure::Nanos;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A timerfd of the monotonic clock (timerfd_create(2)), readable once its time is over.
///
/// Registered edge-triggered it needs no read: arming it again sets the count of expirations back
/// to zero, and each expiration is a new edge.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// A timer that is not armed.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self { fd: timerfd_create(TimerfdClockId::Monotonic, flags)? })
    }

    /// Lets the timer expire once, that long from now, in place of any earlier arming. Zero, which
    /// the kernel would take for "never", means one nanosecond.
    pub fn arm(&self, after: Nanos) -> io::Result<()> {
        self.set(after.0.max(1))
    }

    /// Takes back the arming, and an expiration that nobody has seen.
    pub fn disarm(&self) -> io::Result<()> {
        self.set(0)
    }

    fn set(&self, nanos: u64) -> io::Result<()> {
        const SECOND: u64 = 1_000_000_000;
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(nanos / SECOND).map_err(|_| Errno::INVAL)?,
            tv_nsec: (nanos % SECOND) as _,
        };
        let setting = Itimerspec { it_interval: once, it_value: value };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &setting)?;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::Clock;
    use rustix::event::{PollFd, PollFlags, epoll, poll};

    fn expires_within(timer: &Timer, millis: i64) -> bool {
        let limit = Timespec { tv_sec: millis / 1_000, tv_nsec: millis % 1_000 * 1_000_000 };
        poll(&mut [PollFd::new(timer, PollFlags::IN)], Some(&limit)).expect("poll") == 1
    }

    #[test]
    fn expires_when_due_and_not_before() {
        let timer = Timer::new().expect("timer");
        assert!(!expires_within(&timer, 0), "not armed");
        let clock = Clock::start();
        timer.arm(Nanos::from_millis(20)).expect("arm");
        assert!(expires_within(&timer, 5_000));
        assert!(clock.now() >= Nanos::from_millis(20));
        timer.arm(Nanos::ZERO).expect("arm");
        assert!(expires_within(&timer, 5_000), "zero is at once");
        timer.arm(Nanos::MAX).expect("arm");
        assert!(!expires_within(&timer, 0), "the end of time is not now");
    }

    #[test]
    fn disarming_takes_an_expiration_back() {
        let timer = Timer::new().expect("timer");
        timer.arm(Nanos::ZERO).expect("arm");
        assert!(expires_within(&timer, 5_000));
        timer.disarm().expect("disarm");
        assert!(!expires_within(&timer, 0));
    }

    #[test]
    fn every_arming_is_an_edge_without_a_read() {
        let timer = Timer::new().expect("timer");
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&poller, &timer, epoll::EventData::new_u64(7), edge).expect("add");
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        for _ in 0..3 {
            timer.arm(Nanos::from_micros(50)).expect("arm");
            let mut events = [epoll::Event { flags: edge, data: epoll::EventData::new_u64(0) }; 4];
            assert_eq!(epoll::wait(&poller, &mut events, Some(&limit)), Ok(1));
            assert_eq!(epoll::wait(&poller, &mut events, Some(&none)), Ok(0));
        }
    }
}
