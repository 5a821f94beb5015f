//! `FilePart`: bytes of an open file that are to follow what a connection sends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A part of a file on its way to a socket. The file stays open as long as anybody sends from it.
#[derive(Clone, Debug)]
pub struct FilePart {
    file: Arc<OwnedFd>,
    /// What is to be sent next, and where it ends.
    at: u64,
    end: u64,
}

impl FilePart {
    /// The bytes from `first` up to, not including, `end`.
    #[must_use]
    pub fn new(file: Arc<OwnedFd>, first: u64, end: u64) -> Self {
        Self { file, at: first, end: end.max(first) }
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Where the next byte lies in the file.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that are left to send.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.end - self.at
    }

    /// So many of them were sent.
    pub(crate) fn advance(&mut self, count: usize) {
        self.at = self.end.min(self.at + count as u64);
    }
}
