//! The closed-loop load: keeps so many messages in flight on every connection, and counts replies.
//!
//! It is the floor of what a client costs: replies are counted by their bytes, neither compared nor
//! timed.

use crate::cli::{ClientArgs, LoadArgs};
use crate::procfs;
use crate::socket::{self, PATIENCE, event_room, send_all};
use crate::websocket;
use anyhow::{Context, Result, bail, ensure};
use measure::{Clock, Nanos};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags};
use serde::{Deserialize, Serialize};

/// The most bytes in flight on one connection: what a socket's buffers take on both sides without
/// either end ever having to wait in a send, and what one receive can take whole.
const IN_FLIGHT_BYTES_MAX: u64 = 65_536;

/// What was done and used between two marks. The CPU time of a server is known to its scheduler
/// tick, that of this process exactly.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Slice {
    pub(crate) messages: u64,
    pub(crate) span_ns: u64,
    pub(crate) client_cpu_ns: u64,
    pub(crate) server_cpu_ns: Option<u64>,
}

impl Slice {
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 * 1e9 / self.span_ns as f64
    }

    pub(crate) fn client_ns_per_message(&self) -> f64 {
        self.client_cpu_ns as f64 / self.messages as f64
    }

    pub(crate) fn server_ns_per_message(&self) -> Option<f64> {
        self.server_cpu_ns.map(|cpu| cpu as f64 / self.messages as f64)
    }
}

/// All meters at one moment.
struct Mark {
    at: Nanos,
    messages: u64,
    client_cpu: Nanos,
    server_cpu: Option<Nanos>,
}

impl Mark {
    fn until(&self, later: &Self) -> Slice {
        let server_cpu = later.server_cpu.zip(self.server_cpu);
        Slice {
            messages: later.messages - self.messages,
            span_ns: (later.at - self.at).0,
            client_cpu_ns: (later.client_cpu - self.client_cpu).0,
            server_cpu_ns: server_cpu.map(|(later, earlier)| (later - earlier).0),
        }
    }
}

struct Connection {
    socket: OwnedFd,
    /// Bytes of a reply whose rest is still to come.
    partial: usize,
}

/// Connections to one server, and nothing in flight on them between two drives.
pub(crate) struct Load {
    clock: Clock,
    server_pid: Option<u32>,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// As many messages as may be in flight, laid end to end.
    requests: Box<[u8]>,
    request_bytes: usize,
    reply_bytes: usize,
    events: Box<[Event]>,
    buffer: Box<[u8]>,
    /// Replies received so far.
    messages: u64,
    outstanding: usize,
}

impl Load {
    /// Opens all connections to a port of 127.0.0.1: plain, or upgraded to WebSocket.
    pub(crate) fn open(
        port: u16,
        server_pid: Option<u32>,
        ws: bool,
        args: &LoadArgs,
    ) -> Result<Self> {
        let in_flight = args.size.saturating_mul(args.depth);
        ensure!(
            in_flight <= IN_FLIGHT_BYTES_MAX,
            "{in_flight} bytes would be in flight on a connection, and {IN_FLIGHT_BYTES_MAX} are \
             the most: use a smaller --size or --depth"
        );
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(args.connections as usize);
        for index in 0..args.connections {
            let socket = connected(port, ws).with_context(|| {
                format!("connection {} to 127.0.0.1:{port} could not be opened", index + 1)
            })?;
            epoll::add(
                &epoll,
                &socket,
                EventData::new_u64(index),
                EventFlags::IN | EventFlags::ET,
            )?;
            connections.push(Connection { socket, partial: 0 });
        }
        let request =
            if ws { websocket::request(args.size) } else { vec![b'x'; args.size as usize] };
        Ok(Self {
            clock: Clock::start(),
            server_pid,
            epoll,
            connections,
            requests: request.repeat(args.depth as usize).into_boxed_slice(),
            request_bytes: request.len(),
            reply_bytes: if ws { websocket::reply_bytes(args.size) } else { request.len() },
            events: event_room(),
            buffer: vec![0; IN_FLIGHT_BYTES_MAX as usize].into_boxed_slice(),
            messages: 0,
            outstanding: 0,
        })
    }

    /// Fills every connection, exchanges for `warm_up`, counts over `span`, and takes in all that
    /// is still outstanding, so that the next load finds the machine quiet.
    pub(crate) fn drive(&mut self, warm_up: Nanos, span: Nanos) -> Result<Slice> {
        for connection in &self.connections {
            send_all(&connection.socket, &self.requests)?;
        }
        self.outstanding = self.connections.len() * (self.requests.len() / self.request_bytes);
        self.exchange(warm_up)?;
        let from = self.mark()?;
        self.exchange(span)?;
        let slice = from.until(&self.mark()?);
        while self.outstanding > 0 {
            self.turn(false)?;
        }
        ensure!(
            slice.messages > 0,
            "no reply came within {}: use a longer time",
            Nanos(slice.span_ns)
        );
        Ok(slice)
    }

    fn mark(&self) -> Result<Mark> {
        Ok(Mark {
            at: self.clock.now(),
            messages: self.messages,
            client_cpu: procfs::own_cpu_time(),
            server_cpu: self.server_pid.map(procfs::cpu_time).transpose()?,
        })
    }

    fn exchange(&mut self, span: Nanos) -> Result<()> {
        let end = self.clock.now() + span;
        while self.clock.now() < end {
            self.turn(true)?;
        }
        Ok(())
    }

    /// One wait and everything it brought; each reply is followed by a new message if `answering`.
    fn turn(&mut self, answering: bool) -> Result<()> {
        let count = socket::wait(&self.epoll, &mut self.events, Some(&PATIENCE))?;
        if count == 0 {
            bail!("the server stalls: {} replies are due for 5 s", self.outstanding);
        }
        for event in &self.events[..count] {
            let connection = &mut self.connections[event.data.u64() as usize];
            let read = match net::recv(&connection.socket, &mut self.buffer[..], RecvFlags::empty())
            {
                Ok((0, _)) => bail!("the server closed a connection"),
                Ok((read, _)) => read,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(error) => return Err(error).context("the server dropped a connection"),
            };
            let bytes = connection.partial + read;
            let replies = bytes / self.reply_bytes;
            connection.partial = bytes % self.reply_bytes;
            self.messages += replies as u64;
            if answering {
                // A server that sends more than was asked for would overrun the requests here.
                let Some(requests) = self.requests.get(..replies * self.request_bytes) else {
                    bail!("the server does not echo: it sent more than it was sent");
                };
                send_all(&connection.socket, requests)?;
            } else {
                self.outstanding = self.outstanding.saturating_sub(replies);
            }
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.connections.drain(..).for_each(|connection| socket::reset(connection.socket));
    }
}

fn connected(port: u16, ws: bool) -> Result<OwnedFd> {
    let socket = socket::bound(None)?;
    socket::connect(&socket, port)?;
    if ws {
        websocket::upgrade(&socket)?;
    }
    Ok(socket)
}

/// One run of the reference client as it is printed: of the traffic alone, without opening and
/// warm-up.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ClientLine {
    pub(crate) connections: u64,
    pub(crate) size: u64,
    pub(crate) depth: u64,
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    pub(crate) messages_per_second: f64,
    pub(crate) client_cpu_ns_per_message: f64,
    pub(crate) server_cpu_ns_per_message: Option<f64>,
}

pub(crate) fn run_client(args: &ClientArgs) -> Result<()> {
    socket::pin(args.load.cpu)?;
    let mut load = Load::open(args.port, args.server_pid, args.ws, &args.load)?;
    let slice = load.drive(from_seconds(args.seconds / 10.0), from_seconds(args.seconds))?;
    let line = ClientLine {
        connections: args.load.connections,
        size: args.load.size,
        depth: args.load.depth,
        messages: slice.messages,
        seconds: Nanos(slice.span_ns).as_secs_f64(),
        messages_per_second: slice.rate(),
        client_cpu_ns_per_message: slice.client_ns_per_message(),
        server_cpu_ns_per_message: slice.server_ns_per_message(),
    };
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}

/// Seconds as they were typed; the command line keeps them within 0.01 to 3,600.
pub(crate) fn from_seconds(seconds: f64) -> Nanos {
    Nanos((seconds * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_the_difference_of_two_marks() {
        let mark = |at, messages, client, server: Option<u64>| Mark {
            at: Nanos(at),
            messages,
            client_cpu: Nanos(client),
            server_cpu: server.map(Nanos),
        };
        let slice = mark(1_000, 10, 50, Some(7)).until(&mark(2_001_000, 2_010, 1_050, Some(4_007)));
        assert_eq!((slice.messages, slice.span_ns), (2_000, 2_000_000));
        assert_eq!(slice.rate(), 1e6);
        assert_eq!(slice.client_ns_per_message(), 0.5);
        assert_eq!(slice.server_ns_per_message(), Some(2.0));
        let unknown = mark(0, 0, 0, None).until(&mark(1, 1, 1, None));
        assert_eq!(unknown.server_ns_per_message(), None);
    }
}
