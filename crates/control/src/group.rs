//! Starting reactors: a mailbox, a thread, a descriptor table, a core, and a word when it is ready.

use crate::spawn::{STACK_BYTES, spawn_named};
use crossbeam_channel::bounded;
use measure::Clock;
use reactor::mailbox::{self, Outside};
use reactor::{Driver, Limits, Reactor, Secured, System};
use std::io;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

/// Where and within which bounds one reactor runs.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Its number among the reactors of this program.
    pub index: usize,
    /// The CPU it is pinned to.
    pub cpu: usize,
    /// Whether it gets a descriptor table of its own: its own limit, and no lock to share.
    pub own_table: bool,
    /// The run's clock.
    pub clock: Clock,
    /// Its bounds.
    pub limits: Limits,
}

/// What a reactor is made of, put together on its own thread.
#[derive(Debug)]
pub struct Parts<D, R> {
    /// What it does.
    pub driver: D,
    /// Where it listens.
    pub listeners: Vec<OwnedFd>,
    /// Which of its connections have TLS.
    pub secured: Secured,
    /// What the starter wants to know.
    pub report: R,
}

/// A reactor that is running.
#[derive(Debug)]
pub struct Running<D, C, R> {
    /// The way in.
    pub outside: Outside<C>,
    /// Gives the driver back when the reactor has ended; `None` if it never started.
    pub thread: JoinHandle<Option<D>>,
    /// What `build` reported.
    pub report: R,
    /// The CPU it is pinned to, as the kernel says.
    pub cpu: usize,
}

/// Starts a reactor and waits until it is ready. Reactors that are started one after the other
/// hence listen in that order, which steering by CPU counts on.
///
/// # Errors
/// If the thread cannot be had, set apart or pinned, or `build` fails: that error.
pub fn start<D, R, B>(
    seat: Seat,
    build: B,
) -> io::Result<Running<D, <D as Driver<System>>::Command, R>>
where
    D: Driver<System> + Send + 'static,
    D::Command: Send + 'static,
    R: Send + 'static,
    B: FnOnce() -> io::Result<Parts<D, R>> + Send + 'static,
{
    let (outside, mut inbox) = mailbox::open::<D::Command>()?;
    let (ready, is_ready) = bounded::<io::Result<(R, usize)>>(1);
    let run = move || {
        let prepare = || -> io::Result<(Reactor<System, D>, R, usize)> {
            if seat.own_table {
                host::table::unshare_descriptors()?;
            }
            let cpu = host::cpu::pin_current_thread(seat.cpu)?;
            let Parts { driver, listeners, secured, report } = build()?;
            let count = listeners.len();
            let events_per_wait = seat.limits.events_per_wait;
            let net = System::new(&mut inbox, seat.clock, events_per_wait, listeners, &secured)?;
            Ok((Reactor::new(net, driver, inbox, seat.limits, count), report, cpu))
        };
        match prepare() {
            Ok((reactor, report, cpu)) => {
                // The starter waits for exactly this; it cannot have gone.
                let _ = ready.send(Ok((report, cpu)));
                // The kernel refuses to wait only if the event queue is broken. A reactor that is
                // dead must not look like one that is slow: this ends the program.
                Some(reactor.run().expect("the event queue is sound"))
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                None
            }
        }
    };
    let thread = spawn_named(&format!("reactor-{}", seat.index), STACK_BYTES, run)?;
    let ended = || Err(io::Error::other("the reactor ended before it was ready"));
    let (report, cpu) = is_ready.recv().unwrap_or_else(|_| ended())?;
    Ok(Running { outside, thread, report, cpu })
}
