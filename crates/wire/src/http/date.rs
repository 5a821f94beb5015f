//! The `Date` header: laid out once a second, not once an answer. And dates as peers send them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A date as headers have it (RFC 9110 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub type DateText = [u8; 29];

/// The last second that the format has a year for: the end of 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

/// The current date, kept for as long as the second lasts.
#[derive(Clone, Copy, Debug)]
pub struct DateCache {
    second: u64,
    text: DateText,
}

impl Default for DateCache {
    fn default() -> Self {
        Self { second: 0, text: date_text(0) }
    }
}

impl DateCache {
    /// The text for a time, given in seconds since 1970.
    #[inline]
    pub fn at(&mut self, unix_seconds: u64) -> &DateText {
        if unix_seconds != self.second {
            *self = Self { second: unix_seconds, text: date_text(unix_seconds) };
        }
        &self.text
    }
}

/// The text for a time, given in seconds since 1970; times after 9999 are given as its end.
#[must_use]
pub fn date_text(unix_seconds: u64) -> DateText {
    let time = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(SECONDS_MAX));
    let text = httpdate::fmt_http_date(time);
    // Every year up to 9999 has four digits.
    text.as_bytes().try_into().expect("a date of 29 bytes")
}

/// Puts the date behind the status line of the answer that begins at `begin` and has none: an
/// origin server's refusals have one (RFC 9110 6.6.1), and who writes a WebSocket handshake's knows
/// no time.
#[cold]
pub fn add_date(begin: usize, date: &DateText, out: &mut Vec<u8>) {
    let line = memchr::memchr(b'\n', &out[begin..]).map_or(0, |feed| feed + 1);
    let field = [b"Date: ", &date[..], b"\r\n"].concat();
    out.splice(begin + line..begin + line, field);
}

/// The time of a date in one of the three formats of RFC 9110 5.6.7, in seconds since 1970.
pub(crate) fn parse_date(text: &[u8]) -> Option<u64> {
    let time: SystemTime = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_9110_section_5_6_7() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
        assert_eq!(&date_text(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        for text in ["", "yesterday", "Sun, 06 Nov 1994 08:49:37", "Sun, 32 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_laid_out_for_every_second() {
        let mut cache = DateCache::default();
        for second in [0, 784_111_777, 784_111_777, 784_111_778, u64::MAX] {
            assert_eq!(*cache.at(second), date_text(second));
        }
        assert_eq!(cache.at(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }

    proptest! {
        #[test]
        fn dates_lead_back_to_their_text(second in 0..=SECONDS_MAX) {
            prop_assert_eq!(parse_date(&date_text(second)), Some(second));
        }

        #[test]
        fn any_text_is_a_date_or_not(text in prop::collection::vec(any::<u8>(), 0..40)) {
            parse_date(&text);
        }
    }
}
