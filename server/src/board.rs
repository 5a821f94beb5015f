//! The thread behind the page of the HTTP service: once a second it asks the reactors what they
//! have done, and tells each of them what all have.

use crate::metrics::Watcher;
use control::spawn::{STACK_BYTES, spawn_named};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the page's counters change.
const PERIOD: Duration = Duration::from_secs(1);

/// The running thread.
#[derive(Debug)]
pub(crate) struct Board {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Board {
    /// Starts it. Call it from a thread that is not pinned, since the new one inherits its CPUs.
    pub(crate) fn start(watcher: Arc<Watcher>) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let run = move || {
            watcher.show();
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                watcher.show();
            }
        };
        let thread = spawn_named("counters", STACK_BYTES, run)?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        drop(self.stop);
        // A panic has already been printed.
        let _ = self.thread.join();
    }
}
