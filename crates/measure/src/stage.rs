//! `Stage`: the parts of a connection's and of a message's life that get a histogram each.

/// What a latency was measured of. `docs/METHODOLOGY.md` says how each is stamped.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Stage {
    /// From the start of `connect` to an established TCP connection.
    Connect,
    /// The TLS handshake: from an established TCP connection to the end of the handshake.
    Tls,
    /// Of that: how long work on it that was due waited for its turn in the client. It is the
    /// client's own part, besides the work itself.
    TlsWait,
    /// The protocol upgrade: WebSocket opening handshake.
    Upgrade,
    /// From the start of `connect` to a usable connection: TCP, TLS and upgrade together.
    Handshake,
    /// The first message of a connection and its reply, from the actual send.
    FirstEcho,
    /// The first byte of a reply, from the actual send (HTTP).
    FirstByte,
    /// A reply, counted from the time at which its message was *meant* to be sent.
    Response,
    /// Replies with a status of 200 to 299, counted as [`Self::Response`] does (HTTP).
    Response2xx,
    /// The same for 300 to 399.
    Response3xx,
    /// The same for 400 to 499.
    Response4xx,
    /// The same for 500 to 599.
    Response5xx,
    /// The same reply, counted from the time at which its message was sent.
    Service,
    /// Actual minus intended send time: how late the generator was.
    SendLag,
    /// From our sending of a message to the kernel's receipt of its reply: the peer, the network
    /// and the kernels' stacks. Only of audited connections.
    Outside,
    /// From the kernel's receipt of a reply to our reading of it. Only of audited connections.
    ReceiveLag,
    /// A ping of ours and its pong (WebSocket).
    Ping,
    /// The closing handshake: from our close frame to the peer's (WebSocket).
    Close,
}

impl Stage {
    /// All stages in the order of a connection's life, which is the order of the report.
    pub const ALL: [Self; 18] = [
        Self::Connect,
        Self::Tls,
        Self::TlsWait,
        Self::Upgrade,
        Self::Handshake,
        Self::FirstEcho,
        Self::FirstByte,
        Self::Response,
        Self::Response2xx,
        Self::Response3xx,
        Self::Response4xx,
        Self::Response5xx,
        Self::Service,
        Self::SendLag,
        Self::Outside,
        Self::ReceiveLag,
        Self::Ping,
        Self::Close,
    ];

    /// How many stages there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name in result files, thresholds and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::TlsWait => "tls_wait",
            Self::Upgrade => "upgrade",
            Self::Handshake => "handshake",
            Self::FirstEcho => "first_echo",
            Self::FirstByte => "first_byte",
            Self::Response => "response",
            Self::Response2xx => "response_2xx",
            Self::Response3xx => "response_3xx",
            Self::Response4xx => "response_4xx",
            Self::Response5xx => "response_5xx",
            Self::Service => "service",
            Self::SendLag => "send_lag",
            Self::Outside => "outside",
            Self::ReceiveLag => "receive_lag",
            Self::Ping => "ping",
            Self::Close => "close",
        }
    }

    /// The stages that replies are told apart in by the class of their status, from 2xx on.
    pub const BY_CLASS: [Self; 4] =
        [Self::Response2xx, Self::Response3xx, Self::Response4xx, Self::Response5xx];

    /// The one of those for a status; `None` outside of 200 to 599.
    #[must_use]
    pub fn of_status(status: u16) -> Option<Self> {
        Self::BY_CLASS.get(usize::from(status / 100).checked_sub(2)?).copied()
    }

    /// The stage of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_lead_back() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
            assert_eq!(Stage::from_name(stage.name()), Some(stage));
        }
        assert_eq!(Stage::from_name("latency"), None);
        let of = [100, 199, 200, 299, 304, 429, 599, 600, 999].map(Stage::of_status);
        let [two, three, four, five] = Stage::BY_CLASS.map(Some);
        assert_eq!(of, [None, None, two, two, three, four, five, None, None]);
    }
}
