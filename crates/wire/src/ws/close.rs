//! Close codes and the bodies of close frames (RFC 6455 5.5.1 and 7.4).

use super::error::WsError;

/// A close code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// A rule of the protocol was broken.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data that this end does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Data that does not fit its kind, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer does what is not wanted here.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message that is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// This end cannot go on, by no fault of the peer's.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// Whether the code may be on the wire: those that RFC 6455 defines or IANA has registered
    /// since (1012 to 1014), and those for libraries and applications. 1005, 1006 and 1015 are for
    /// local use only, 1004 has no meaning, the others below 3000 are reserved.
    #[must_use]
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// The body of a close frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Close<'a> {
    /// The code, or `None` if the body was empty.
    pub code: Option<CloseCode>,
    /// The reason; mostly empty.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    /// The meaning of a close frame's body.
    ///
    /// # Errors
    /// A body of one byte, a code that must not be sent, a reason that is not UTF-8.
    pub fn decode(body: &'a [u8]) -> Result<Self, WsError> {
        let (code, reason) = match body {
            [] => return Ok(Self { code: None, reason: "" }),
            [_] => return Err(WsError::CloseBodyTooShort),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        if !CloseCode(code).may_be_sent() {
            return Err(WsError::CloseCodeInvalid(code));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| WsError::CloseReasonNotUtf8)?;
        Ok(Self { code: Some(CloseCode(code)), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_verdict() {
        let good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000]
            .into_iter()
            .chain([3999, 4000, 4999]);
        for code in good {
            let body = [&u16::to_be_bytes(code)[..], b"why"].concat();
            let close = Close { code: Some(CloseCode(code)), reason: "why" };
            assert_eq!(Close::decode(&body), Ok(close));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            let verdict = Close::decode(&u16::to_be_bytes(code)).map(|close| close.code);
            assert_eq!(verdict, Err(WsError::CloseCodeInvalid(code)));
        }
    }

    #[test]
    fn bodies_are_empty_or_a_code_and_utf8() {
        assert_eq!(Close::decode(b""), Ok(Close { code: None, reason: "" }));
        assert_eq!(Close::decode(&[3]), Err(WsError::CloseBodyTooShort));
        assert_eq!(Close::decode(&[3, 232, 0xff]), Err(WsError::CloseReasonNotUtf8));
        assert_eq!(Close::decode(&[3, 232, 0xe2, 0x82]), Err(WsError::CloseReasonNotUtf8));
    }

    #[test]
    fn every_answer_to_an_error_may_be_sent() {
        for error in [WsError::TextNotUtf8, WsError::MessageTooBig, WsError::NoInflater] {
            assert!(error.close_code().may_be_sent());
        }
        assert_eq!(WsError::ReservedBits.close_code(), CloseCode::PROTOCOL_ERROR);
        assert_eq!(WsError::DeflateInvalid.close_code(), CloseCode::INVALID_PAYLOAD);
    }
}
