//! `System`: the kernel's network, by way of mio (epoll) and plain sockets.

use crate::file_part::FilePart;
use crate::mailbox::Inbox;
use crate::network::{Interest, Network, Origin, Ready, Route, Stream, Token};
use crate::secured::{Secured, Securing};
use host::receipt::{self, TcpHealth};
use host::socket::ConnectError;
use host::timer::Timer;
use measure::{Clock, Nanos, Sighting, Wall, WallClock};
use mio::unix::SourceFd;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// The kernel, as one reactor thread sees it.
#[derive(Debug)]
pub struct System {
    poll: mio::Poll,
    events: mio::Events,
    clock: Clock,
    timer: Timer,
    /// What the timer is set to, so that an unchanged deadline costs no system call.
    armed: Option<Nanos>,
    listeners: Vec<OwnedFd>,
    securing: Securing,
    /// What brings stamps onto the run's clock, from the first of them on.
    wall: Option<WallClock>,
}

impl System {
    /// Takes over the event queue that the mailbox was made with, and the listeners of this
    /// reactor. Connections of those listeners and to those targets have TLS that `secured` names.
    /// To be called on the reactor's own thread, after its descriptor table was set apart.
    ///
    /// # Errors
    /// If the timer cannot be made or something cannot be registered.
    pub fn new<C>(
        inbox: &mut Inbox<C>,
        clock: Clock,
        events_per_wait: usize,
        listeners: Vec<OwnedFd>,
        secured: &Secured,
    ) -> io::Result<Self> {
        let poll = inbox.take_poll();
        let timer = Timer::new()?;
        let registry = poll.registry();
        let mut timer_source = SourceFd(&timer.as_raw_fd());
        registry.register(&mut timer_source, token(Token::TIMER), mio::Interest::READABLE)?;
        for (index, listener) in listeners.iter().enumerate() {
            let token = token(Token::listener(index));
            registry.register(
                &mut SourceFd(&listener.as_raw_fd()),
                token,
                mio::Interest::READABLE,
            )?;
        }
        let events = mio::Events::with_capacity(events_per_wait);
        let securing = Securing::new(secured);
        Ok(Self { poll, events, clock, timer, armed: None, listeners, securing, wall: None })
    }
}

// A token is 64 bits wide; so is `usize` on every machine that can hold a million connections.
const _: () = assert!(usize::BITS == 64);

const fn token(token: Token) -> mio::Token {
    mio::Token(token.0 as usize)
}

impl Network for System {
    type Stream = OwnedFd;
    type Layer = tls::Connection;

    fn layer(&mut self, origin: Origin<'_>) -> Option<tls::Connection> {
        self.securing.connection(origin)
    }

    fn shared(&self) -> &tls::Shared {
        self.securing.shared()
    }

    fn shared_mut(&mut self) -> &mut tls::Shared {
        self.securing.shared_mut()
    }

    #[inline]
    fn now(&self) -> Nanos {
        self.clock.now()
    }

    #[inline]
    fn receipt(&mut self, stamp: Wall, now: Nanos) -> Nanos {
        let clock = self.clock;
        let look = || Sighting::take(|| clock.now(), Wall::now);
        WallClock::place(&mut self.wall, stamp, now, look)
    }

    fn wall_steps(&self) -> u64 {
        self.wall.map_or(0, |wall| wall.steps())
    }

    fn wait(&mut self, ready: &mut Vec<Ready>, deadline: Option<Nanos>) -> io::Result<()> {
        ready.clear();
        let mut timeout = None;
        if let Some(deadline) = deadline {
            let now = self.clock.now();
            if deadline <= now {
                timeout = Some(Duration::ZERO);
            } else if self.armed != Some(deadline) {
                // Poll's own timeout rounds up to whole milliseconds; the timer does not.
                self.timer.arm(deadline - now)?;
                self.armed = Some(deadline);
            }
        }
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.events {
            ready.push(Ready {
                token: Token(event.token().0 as u64),
                readable: event.is_readable(),
                writable: event.is_writable(),
                closed: event.is_read_closed() || event.is_error(),
            });
        }
        Ok(())
    }

    #[cold]
    #[expect(
        clippy::disallowed_methods,
        reason = "a stall is a reactor that stands still, on request"
    )]
    fn stand_still(&mut self, until: Nanos) {
        loop {
            let now = self.clock.now();
            if now >= until {
                return;
            }
            std::thread::sleep(Duration::from(until - now));
        }
    }

    fn watch(&mut self, stream: &OwnedFd, at: Token, interest: Interest) -> io::Result<()> {
        let interest = match interest {
            Interest::Readable => mio::Interest::READABLE,
            Interest::ReadableAndWritable => mio::Interest::READABLE | mio::Interest::WRITABLE,
        };
        self.poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), token(at), interest)
    }

    fn watch_writable(&mut self, stream: &OwnedFd, at: Token) -> io::Result<()> {
        let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
        self.poll.registry().reregister(&mut SourceFd(&stream.as_raw_fd()), token(at), both)
    }

    fn accept(&mut self, listener: usize) -> io::Result<OwnedFd> {
        host::socket::accept(&self.listeners[listener])
    }

    fn turned_away(&self, listener: usize) -> Option<u64> {
        host::socket::dropped(self.listeners.get(listener)?)
    }

    fn connect(&mut self, route: &Route) -> Result<OwnedFd, ConnectError> {
        host::socket::connect(route.source, route.target, route.share_port)
    }
}

impl Stream for OwnedFd {
    #[inline]
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(self, buffer, RecvFlags::empty())?;
        Ok(count)
    }

    fn stamp_receipts(&self) -> io::Result<()> {
        receipt::stamp_receipts(self)
    }

    #[inline]
    fn receive_stamped(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<Wall>)> {
        receipt::receive_stamped(self, buffer)
    }

    fn health(&self) -> Option<TcpHealth> {
        receipt::tcp_health(self).ok()
    }

    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self, bytes, SendFlags::NOSIGNAL)?)
    }

    fn send_ahead(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self, bytes, SendFlags::NOSIGNAL | SendFlags::MORE)?)
    }

    fn send_file(&self, part: &FilePart, max: usize) -> io::Result<usize> {
        let count = part.left().min(max as u64) as usize;
        // Rust programs ignore SIGPIPE, for which this call has no flag.
        Ok(rustix::fs::sendfile(self, part.file(), Some(&mut part.at()), count)?)
    }

    fn is_established(&self) -> bool {
        host::socket::is_established(self)
    }

    fn take_error(&self) -> Option<io::Error> {
        host::socket::take_error(self)
    }

    fn finish_sending(&self) {
        // It fails only where the connection is broken already, which reading from it tells.
        let _ = rustix::net::shutdown(self, rustix::net::Shutdown::Write);
    }

    fn reset_on_close(&self) {
        // If it cannot be set the socket closes in the ordinary way, which is no worse than slow.
        let _ = host::socket::reset_on_close(self);
    }
}
