//! SIGINT, SIGTERM and SIGHUP as messages: the first asks to drain, the second to leave.
//!
//! SIGPIPE needs no care: Rust programs start with it ignored, so a write to a closed pipe or
//! socket is an error (EPIPE) like any other.

use crate::spawn::{STACK_BYTES, spawn_named};
use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Shells and the result's contract say 130 for an interrupted run.
const INTERRUPTED: i32 = 130;

/// What the user asks for by a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// The first: stop the load, close what is open, write the result.
    Drain,
    /// The second: write the result with what there is and leave at once.
    Abort,
}

/// The signals caught since [`Signals::install`]. One value per process, made in `main` before
/// other threads; the handlers stay for as long as the process lives, also when the value is
/// dropped.
#[derive(Debug)]
pub struct Signals {
    receiver: Receiver<Signal>,
    count: Arc<AtomicUsize>,
}

impl Signals {
    /// Catches SIGINT and SIGTERM from now on, and SIGHUP (the terminal is gone) unless the process
    /// was started to ignore that, as nohup(1) does. A third signal ends the process with code 130
    /// without asking anyone: the way out when even the writing hangs.
    ///
    /// # Errors
    /// If a descriptor, a handler or the forwarding thread cannot be had.
    pub fn install() -> io::Result<Self> {
        let (caught, handler) = UnixStream::pair()?;
        let (sender, receiver) = bounded(2);
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let leave = Arc::new(AtomicBool::new(false));
        let aborted = Arc::clone(&leave);
        spawn_named("signals", STACK_BYTES, move || forward(caught, &sender, &counted, &aborted))?;
        let hang_up = (!ignores_hang_up()).then_some(SIGHUP);
        for number in [SIGINT, SIGTERM].into_iter().chain(hang_up) {
            flag::register_conditional_shutdown(number, INTERRUPTED, Arc::clone(&leave))?;
            pipe::register(number, handler.try_clone()?)?;
        }
        Ok(Self { receiver, count })
    }

    /// Where the signals arrive, for `select!`: at most one `Drain`, then at most one `Abort`.
    #[must_use]
    pub fn receiver(&self) -> &Receiver<Signal> {
        &self.receiver
    }

    /// How many signals were caught so far. Two that arrive while the first is still pending in the
    /// kernel count as one (`signal(7)`).
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

/// Has a write beyond the limit of file sizes (`ulimit -f`) fail with an error, as on a full disk,
/// where the kernel would end the process by SIGXFSZ.
///
/// # Errors
/// If the handler cannot be had.
pub fn survive_file_limits() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(|_| ())
}

/// Whether this process ignores SIGHUP, as `/proc/self/status` has it (proc_pid_status(5)).
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & 1 << (SIGHUP - 1) != 0)
}

/// A handler may do little more than write a byte (`signal-safety(7)`); this thread does the rest.
fn forward(
    mut caught: UnixStream,
    sender: &Sender<Signal>,
    count: &AtomicUsize,
    leave: &AtomicBool,
) {
    let mut byte = [0];
    while caught.read_exact(&mut byte).is_ok() {
        // Before the message, so that who has got `Abort` can rely on the third signal.
        let earlier = count.fetch_add(1, Ordering::AcqRel);
        leave.store(earlier >= 1, Ordering::Release);
        let signal = if earlier == 0 { Signal::Drain } else { Signal::Abort };
        // A full or closed channel has had all that it needs to know.
        let _ = sender.try_send(signal);
    }
}
