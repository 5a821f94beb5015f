//! The smallest epoll echo server: what a server cannot do without, and nothing else.
//!
//! One receive per event into one 64 KiB buffer, one send back, edge-triggered registration once
//! for life. It neither queues output, nor limits, nor counts: every connection costs it 4 bytes.

use crate::cli::ServerArgs;
use crate::socket::{self, event_room, listen, send_all};
use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SocketFlags};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFER: usize = 65_536;

/// The listener's token; a connection's is its descriptor number.
const LISTENER: u64 = u64::MAX;

/// Listens, says so on standard output, and echoes until it is killed.
pub(crate) fn run(args: &ServerArgs) -> Result<()> {
    socket::pin(args.cpu)?;
    let server = EchoServer::bind(args.port, false)?;
    let port = socket::port(&server.listener)?;
    println!(
        "{}",
        serde_json::json!({
            "url": format!("tcp://127.0.0.1:{port}"),
            "pid": std::process::id(),
        })
    );
    match server.run(&AtomicU64::new(0))? {}
}

pub(crate) struct EchoServer {
    epoll: OwnedFd,
    listener: OwnedFd,
    connections: Vec<Option<OwnedFd>>,
    buffer: Box<[u8]>,
}

impl EchoServer {
    /// Listens on a port of 127.0.0.1, beside other threads on the same port if `shared`.
    pub(crate) fn bind(port: u16, shared: bool) -> Result<Self> {
        let listener = listen(port, shared)
            .with_context(|| format!("127.0.0.1:{port} cannot be listened on"))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // The listener stays level-triggered: an accept that failed is tried again.
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Ok(Self { epoll, listener, connections: Vec::new(), buffer })
    }

    /// Serves for ever, and counts what it accepts. Ends only with an error.
    pub(crate) fn run(mut self, accepted: &AtomicU64) -> Result<Infallible> {
        let mut events = event_room();
        loop {
            let count = socket::wait(&self.epoll, &mut events, None)?;
            for event in &events[..count] {
                match event.data.u64() {
                    LISTENER => self.accept(accepted)?,
                    token => self.echo(token as usize, event.flags),
                }
            }
        }
    }

    fn accept(&mut self, accepted: &AtomicU64) -> Result<()> {
        loop {
            match net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(connection) => {
                    self.keep(connection)?;
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(Errno::MFILE) => bail!(
                    "a server thread has used up its {} descriptors: use more server threads",
                    socket::descriptors_max()
                ),
                Err(error) => return Err(error).context("accept failed"),
            }
        }
    }

    fn keep(&mut self, connection: OwnedFd) -> Result<()> {
        let slot = connection.as_raw_fd() as usize;
        let interest = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &connection, EventData::new_u64(slot as u64), interest)?;
        if slot >= self.connections.len() {
            self.connections.resize_with(slot + 1, || None);
        }
        self.connections[slot] = Some(connection);
        Ok(())
    }

    fn echo(&mut self, slot: usize, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        // After a short read nothing is left, and what comes later brings its own event. Only an
        // end that came together with the bytes does not: then the read goes on until it is seen.
        let ending = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        loop {
            match net::recv(&*connection, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => break,
                Ok((read, _)) => {
                    if send_all(&*connection, &self.buffer[..read]).is_err() {
                        break;
                    }
                    if read < BUFFER && !ending {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.connections[slot] = None;
    }
}
