//! What a server answers with: the files below a root, or the page with its counters.

use super::Config;
use crate::files::{Answered, Files, Kept, Root};
use measure::Nanos;
use std::io;
use std::sync::Arc;
use wire::http::{DateText, Request, Status, write_status};

/// The page, which needs nothing but this server.
const PAGE: &str = include_str!("page.html");

/// Where the page finds the counters.
const COUNTERS: &[u8] = b"/counters.json";

/// What requests are answered from.
#[derive(Debug)]
pub enum Site {
    /// Files.
    Files(Box<Files>),
    /// The page and its counters, once there are some.
    Page {
        /// The page.
        page: Box<Kept>,
        /// The counters.
        counters: Option<Box<Kept>>,
    },
}

impl Site {
    /// The site that is configured. Folders are opened here, by the reactor's own thread: it may
    /// have a descriptor table of its own.
    ///
    /// # Errors
    /// If the root is no folder, or may not be opened.
    pub fn open(config: &Config) -> io::Result<Self> {
        let Some(root) = &config.root else { return Ok(Self::page()) };
        let root = Root::open(root)?;
        Ok(Self::Files(Box::new(Files::new(Arc::new(root), config.open_files_max))))
    }

    /// The page.
    pub(crate) fn page() -> Self {
        let page = Kept::of_memory("text/html; charset=utf-8", PAGE.as_bytes(), Nanos::ZERO);
        Self::Page { page: Box::new(page), counters: None }
    }

    /// What the page shows of the server from now on; `unix` is the time since 1970.
    pub(super) fn show(&mut self, json: &[u8], unix: Nanos) {
        if let Self::Page { counters, .. } = self {
            *counters = Some(Box::new(Kept::of_memory("application/json", json, unix)));
        }
    }

    /// Files that are kept, and how often one was found to be, and not to be.
    pub(super) fn cache(&self) -> (u64, u64, u64) {
        match self {
            Self::Files(files) => (files.len() as u64, files.hits(), files.misses()),
            Self::Page { .. } => (0, 0, 0),
        }
    }

    /// Large files that are open, those on their way included.
    pub(super) fn files_open(&self) -> u64 {
        match self {
            Self::Files(files) => files.open_files() as u64,
            Self::Page { .. } => 0,
        }
    }

    /// How often one more was asked for in vain.
    pub(super) fn files_refused(&self) -> u64 {
        match self {
            Self::Files(files) => files.refused(),
            Self::Page { .. } => 0,
        }
    }

    /// How often a file was looked at, or looked for in vain.
    #[inline]
    pub(super) fn lookups(&self) -> u64 {
        match self {
            Self::Files(files) => files.misses(),
            Self::Page { .. } => 0,
        }
    }

    /// Writes the answer to a request behind `out`.
    #[inline]
    pub(super) fn answer(
        &mut self,
        request: &Request<'_>,
        unix: Nanos,
        date: &DateText,
        out: &mut Vec<u8>,
    ) -> Answered {
        let (page, counters) = match self {
            Self::Files(files) => return files.answer(request, unix, date, out),
            Self::Page { page, counters } => (page, counters),
        };
        let (method, persistence) = (request.method(), request.persistence());
        let status = match (method.refusal(), request.path(), counters) {
            (Some(refusal), ..) => refusal,
            (None, b"/", _) => return page.answer(request, unix, date, out),
            (None, COUNTERS, Some(counters)) => return counters.answer(request, unix, date, out),
            // Nobody has counted yet.
            (None, COUNTERS, None) => Status::SERVICE_UNAVAILABLE,
            _ => Status::NOT_FOUND,
        };
        write_status(status, method, persistence, date, out);
        Answered { status, part: None }
    }
}
