//! How many connections the whole server holds.

use std::sync::atomic::{AtomicU64, Ordering};

/// Connections that all reactors together may hold. An atomic counter, touched once when a
/// connection comes and once when it goes; no lock.
#[derive(Debug)]
pub struct Admission {
    open: AtomicU64,
    max: u64,
}

impl Admission {
    /// Room for `max` connections.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self { open: AtomicU64::new(0), max }
    }

    pub(crate) fn enter(&self) -> bool {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.max {
            return true;
        }
        self.leave();
        false
    }

    pub(crate) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
