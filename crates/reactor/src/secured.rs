//! TLS as the layer of the kernel's connections: which of them have it, and what of `tls` answers
//! to which call of [`Layer`].

use crate::layer::{End, Layer, Progress};
use crate::network::Origin;
use measure::Failure;
use std::collections::HashMap;
use std::net::SocketAddr;
use tls::{Connection, Setup, Shared};

/// Bytes of records that are only partly here, of all connections of one reactor.
const PARTIAL_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Which connections of a reactor have TLS.
#[derive(Clone, Debug, Default)]
pub struct Secured {
    /// For each listener, in their order, what those are set up with that arrive there.
    pub listeners: Vec<Option<Setup>>,
    /// What connections to there are set up with.
    pub targets: Vec<(SocketAddr, Setup)>,
}

impl Secured {
    /// None has.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether any has.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.listeners.iter().any(Option::is_some) || !self.targets.is_empty()
    }
}

/// The same on its reactor.
#[derive(Debug)]
pub(crate) struct Securing {
    /// The numbers of their setups.
    listeners: Vec<Option<usize>>,
    targets: HashMap<SocketAddr, usize>,
    shared: Shared,
}

impl Securing {
    pub(crate) fn new(secured: &Secured) -> Self {
        let mut setups = Vec::new();
        let mut number = |setup: &Setup| {
            setups.push(setup.clone());
            setups.len() - 1
        };
        let listeners =
            secured.listeners.iter().map(|setup| setup.as_ref().map(&mut number)).collect();
        let targets =
            secured.targets.iter().map(|(target, setup)| (*target, number(setup))).collect();
        Self { listeners, targets, shared: Shared::new(setups, PARTIAL_BYTES_MAX) }
    }

    pub(crate) fn connection(&self, origin: Origin<'_>) -> Option<Connection> {
        let setup = match origin {
            Origin::Listener(listener) => self.listeners.get(listener).copied().flatten(),
            Origin::Route(route) => self.targets.get(&route.target).copied(),
        };
        self.shared.connection(setup?)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn shared_mut(&mut self) -> &mut Shared {
        &mut self.shared
    }
}

impl Layer for Connection {
    type Shared = Shared;

    fn begin(&mut self, shared: &mut Shared, out: &mut Vec<u8>) {
        Self::begin(self, shared, out);
    }

    #[inline]
    fn open(
        &mut self,
        shared: &mut Shared,
        wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Progress {
        let tls::Progress { agreed, end } = Self::open(self, shared, wire, plain, out);
        let end = end.map(|end| match end {
            tls::End::Goodbye => End::Goodbye,
            tls::End::Broken(_) => End::Broken,
        });
        Progress { agreed, end }
    }

    #[inline]
    fn seal(
        &mut self,
        shared: &mut Shared,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        Self::seal(self, shared, plain, out).map_err(|_| Failure::Tls)
    }

    fn goodbye(&mut self, shared: &mut Shared, out: &mut Vec<u8>) {
        Self::goodbye(self, shared, out);
    }

    fn cut(&mut self, shared: &mut Shared) {
        Self::cut(self, shared);
    }

    fn ended(self, shared: &mut Shared) {
        Self::ended(self, shared);
    }

    fn tally(shared: &Shared) -> Option<&tls::Tally> {
        Some(&shared.tally)
    }
}
