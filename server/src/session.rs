//! What is kept for each connection, and the services that it can belong to: the only place that
//! lists them all.

use crate::http::{self, Http};
use crate::service::{Full, Goodbye, Reply, Service, TimeLimits, TimedOut, Turn};
use crate::snapshot::{HttpSnapshot, WebSocketSnapshot};
use crate::tcp::{self, Tcp};
use crate::websocket::{self, WebSockets};
use measure::Nanos;
use std::sync::Arc;
use wire::Protocol;
use wire::ws::Accepted;

/// One connection's session. A million of them are held: growing it by eight bytes costs 8 MB.
#[derive(Debug)]
pub struct Session {
    /// When the time limit of its state began to count, in milliseconds of the run's clock, modulo
    /// 2^32 (49 days): for a limit on silence the last word.
    pub(crate) since_ms: u32,
    pub(crate) state: State,
}

/// What a connection costs in the table, in bytes.
pub(crate) const SLOT_BYTES: usize = reactor::slot_bytes::<reactor::System, Session>();

const _: () = assert!(SLOT_BYTES == 40);

/// Which protocol is spoken, and where it stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Bytes go back as they come.
    Tcp(tcp::State),
    /// WebSocket, from the request on.
    WebSocket(websocket::State),
    /// HTTP, until it ends or becomes a WebSocket.
    Http(http::State),
}

/// The services of one reactor.
#[derive(Debug)]
pub(crate) struct Services {
    tcp: Tcp,
    pub(crate) websockets: WebSockets,
    pub(crate) http: Http,
}

/// What all services together have done, for a snapshot.
pub(crate) struct Served {
    pub messages: u64,
    pub requests: u64,
    pub websocket: WebSocketSnapshot,
    pub http: HttpSnapshot,
}

/// Does the same with the service of a connection and its state, whichever that is.
macro_rules! with {
    ($services:expr, $whichever:expr, |$service:ident, $state:ident| $does:expr) => {{
        let Services { tcp, websockets, http } = $services;
        match $whichever {
            State::Tcp($state) => {
                let $service = tcp;
                $does
            }
            State::WebSocket($state) => {
                let $service = websockets;
                $does
            }
            State::Http($state) => {
                let $service = http;
                $does
            }
        }
    }};
}

impl Default for Services {
    fn default() -> Self {
        let websocket = Arc::<websocket::Config>::default();
        let policy = websocket.policy.clone();
        let http = Http::new(http::Config::default(), http::Site::page(), policy);
        Self { tcp: Tcp::default(), websockets: WebSockets::new(websocket), http }
    }
}

impl Services {
    /// Grants this to WebSocket's peers from now on, those that ask for it over HTTP among them.
    pub(crate) fn set_websocket(&mut self, config: Arc<websocket::Config>) {
        self.http.set_policy(config.policy.clone());
        self.websockets = WebSockets::new(config);
    }

    /// A connection has come that speaks this.
    pub(crate) fn arrived(&mut self, protocol: Protocol) -> State {
        match protocol {
            Protocol::Tcp => State::Tcp(self.tcp.arrived()),
            Protocol::Ws => State::WebSocket(self.websockets.arrived()),
            Protocol::Http => State::Http(self.http.arrived()),
        }
    }

    /// A connection has become one of WebSocket; the answer is written already.
    pub(crate) fn upgrade(&mut self, state: &mut State, accepted: Accepted) {
        *state = State::WebSocket(self.websockets.upgraded(accepted));
    }

    /// What was done, and what is going on.
    pub(crate) fn served(&self) -> Served {
        let Self { tcp, websockets, http } = self;
        Served {
            // For single messages in flight a read is a message.
            messages: tcp.reads() + websockets.messages(),
            requests: http.requests(),
            websocket: websockets.snapshot(),
            http: http.snapshot(),
        }
    }

    /// As [`Service::read`].
    #[inline]
    pub(crate) fn read<'a>(
        &'a mut self,
        state: &mut State,
        bytes: &'a mut [u8],
        turn: Turn<'_>,
    ) -> Reply<'a> {
        with!(self, state, |service, state| service.read(state, bytes, turn))
    }

    /// As [`Service::hold`].
    pub(crate) fn hold(&mut self, state: &mut State, rest: &[u8]) -> Result<(), Full> {
        with!(self, state, |service, state| service.hold(state, rest))
    }

    /// As [`Service::resume`].
    pub(crate) fn resume(&mut self, state: &mut State, blocked: bool) -> Option<Vec<u8>> {
        with!(self, state, |service, state| service.resume(state, blocked))
    }

    /// As [`Service::limit`].
    pub(crate) fn limit(&self, state: &State, blocked: bool, limits: &TimeLimits) -> Option<Nanos> {
        with!(self, state, |service, state| service.limit(state, blocked, limits))
    }

    /// Whether any connection has a time limit besides that for silence.
    pub(crate) fn have_deadlines(&self, limits: &TimeLimits) -> bool {
        self.tcp.has_deadlines(limits)
            || self.websockets.has_deadlines(limits)
            || self.http.has_deadlines(limits)
    }

    /// As [`Service::time_out`].
    pub(crate) fn time_out(
        &mut self,
        state: &mut State,
        blocked: bool,
        turn: Turn<'_>,
    ) -> TimedOut<'_> {
        with!(self, state, |service, state| service.time_out(state, blocked, turn))
    }

    /// As [`Service::part`].
    pub(crate) fn say_goodbye(&mut self, state: &mut State, blocked: bool) -> Goodbye<'_> {
        with!(self, state, |service, state| service.say_goodbye(state, blocked))
    }

    /// As [`Service::ended`].
    pub(crate) fn ended(&mut self, state: State) {
        with!(self, state, |service, state| service.ended(state));
    }
}

impl State {
    /// As [`Service::IN_TURN`].
    #[inline]
    pub(crate) fn is_in_turn(&self) -> bool {
        match self {
            Self::Tcp(_) => Tcp::IN_TURN,
            Self::WebSocket(_) => WebSockets::IN_TURN,
            Self::Http(_) => Http::IN_TURN,
        }
    }

    /// As [`Service::says_pongs`].
    pub(crate) fn says_pongs(&self) -> bool {
        match self {
            Self::Tcp(state) => Tcp::says_pongs(state),
            Self::WebSocket(state) => WebSockets::says_pongs(state),
            Self::Http(state) => Http::says_pongs(state),
        }
    }
}
