//! `Failure`: why a connection could not be opened or was lost. A failed connection is data: it is
//! counted by kind, never formatted.

use std::io;

/// The kinds of failure that are counted.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Failure {
    /// Nobody listens there (ECONNREFUSED).
    Refused,
    /// The peer reset the connection (ECONNRESET, EPIPE, ECONNABORTED).
    Reset,
    /// The peer closed the connection although the run still needed it.
    Closed,
    /// No answer within the time limit, ours or the kernel's (ETIMEDOUT).
    TimedOut,
    /// No route, network or host down (EHOSTUNREACH, ENETUNREACH and their kin).
    Unreachable,
    /// No source port is left towards the target (EADDRINUSE, EADDRNOTAVAIL).
    NoPorts,
    /// No descriptor is left (EMFILE, ENFILE).
    NoFds,
    /// The kernel has no memory or buffers to give (ENOMEM, ENOBUFS).
    NoMemory,
    /// The peer broke the protocol: a wrong, reordered, truncated or foreign reply.
    Protocol,
    /// The TLS handshake failed, or a rule of TLS was broken.
    Tls,
    /// The stream ended without TLS's good-bye (`close_notify`): what came may not be all.
    TlsTruncated,
    /// Not permitted (EPERM, EACCES): a firewall or a security policy.
    Denied,
    /// Any other error of the operating system.
    Other,
}

impl Failure {
    /// All kinds, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::Refused,
        Self::Reset,
        Self::Closed,
        Self::TimedOut,
        Self::Unreachable,
        Self::NoPorts,
        Self::NoFds,
        Self::NoMemory,
        Self::Protocol,
        Self::Tls,
        Self::TlsTruncated,
        Self::Denied,
        Self::Other,
    ];

    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name in result files and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::NoPorts => "no_ports",
            Self::NoFds => "no_fds",
            Self::NoMemory => "no_memory",
            Self::Protocol => "protocol",
            Self::Tls => "tls",
            Self::TlsTruncated => "tls_truncated",
            Self::Denied => "denied",
            Self::Other => "other",
        }
    }

    /// The kind that an error of a socket call belongs to.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::ConnectionAborted => Self::Reset,
            Kind::NotConnected | Kind::UnexpectedEof => Self::Closed,
            Kind::TimedOut => Self::TimedOut,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
                Self::Unreachable
            }
            Kind::AddrInUse | Kind::AddrNotAvailable => Self::NoPorts,
            Kind::OutOfMemory => Self::NoMemory,
            Kind::PermissionDenied => Self::Denied,
            _ => match error.raw_os_error() {
                // ENFILE and EMFILE have no kind of their own; the numbers are those of Linux,
                // macOS and the BSDs alike. ENOBUFS is Linux's.
                Some(23 | 24) => Self::NoFds,
                Some(105) => Self::NoMemory,
                _ => Self::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        for (index, kind) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(Failure::ALL.iter().filter(|other| other.name() == kind.name()).count(), 1);
        }
    }

    #[test]
    fn errno_leads_to_its_kind() {
        for (errno, kind) in [
            (111, Failure::Refused),
            (104, Failure::Reset),
            (32, Failure::Reset),
            (110, Failure::TimedOut),
            (113, Failure::Unreachable),
            (101, Failure::Unreachable),
            (98, Failure::NoPorts),
            (99, Failure::NoPorts),
            (24, Failure::NoFds),
            (23, Failure::NoFds),
            (12, Failure::NoMemory),
            (105, Failure::NoMemory),
            (1, Failure::Denied),
            (5, Failure::Other),
        ] {
            assert_eq!(Failure::from_io(&io::Error::from_raw_os_error(errno)), kind, "{errno}");
        }
    }
}
