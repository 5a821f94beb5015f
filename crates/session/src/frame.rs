//! Frames: where a message ends in a stream of bytes, over plain TCP and within WebSocket messages.

use std::ops::Range;

/// How messages are told apart in a stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Frame {
    /// A WebSocket message is a message.
    #[default]
    Message,
    /// Ended by a line feed; a carriage return before it is no part of the message.
    Line,
    /// Ended by a zero byte.
    Nul,
    /// Ended by 0x1e, as `SignalR` does.
    Rs,
    /// Behind its length in two bytes, most significant first.
    U16,
    /// Behind its length in four bytes, most significant first.
    U32,
    /// An MQTT packet with its fixed header (MQTT 3.1.1, 2.2), which is part of the message.
    Mqtt,
}

/// A message at the beginning of a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cut {
    /// Where its content lies.
    pub content: Range<usize>,
    /// How many bytes it takes.
    pub used: usize,
}

/// What comes is no such frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// A length in more bytes than it may have.
    #[error("a packet's length goes on behind its fourth byte")]
    Length,
    /// A message is longer than it may be.
    #[error("a message of {0} bytes is longer than {1} are")]
    TooLong(usize, usize),
}

impl Frame {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Self); 7] = [
        ("message", Self::Message),
        ("line", Self::Line),
        ("nul", Self::Nul),
        ("rs", Self::Rs),
        ("u16", Self::U16),
        ("u32", Self::U32),
        ("mqtt", Self::Mqtt),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        let named = Self::ALL.into_iter().find(|(_, frame)| *frame == self);
        named.map_or("message", |(word, _)| word)
    }

    /// The message at the beginning of what has come; `None` while some of it is missing.
    ///
    /// # Errors
    /// If it is longer than `most`, or its length is none.
    pub fn cut(self, bytes: &[u8], most: usize) -> Result<Option<Cut>, FrameError> {
        let within = |length: usize| {
            if length > most { Err(FrameError::TooLong(length, most)) } else { Ok(length) }
        };
        let ended_by = |end: u8| {
            let Some(length) = memchr::memchr(end, bytes) else {
                within(bytes.len())?;
                return Ok(None);
            };
            within(length)?;
            Ok(Some(Cut { content: 0..length, used: length + 1 }))
        };
        let behind = |header: usize, length: usize| {
            let used = header + within(length)?;
            Ok((bytes.len() >= used).then_some(Cut { content: header..used, used }))
        };
        match self {
            Self::Message => {
                Ok((!bytes.is_empty())
                    .then_some(Cut { content: 0..bytes.len(), used: bytes.len() }))
            }
            Self::Line => Ok(ended_by(b'\n')?.map(|Cut { content, used }| {
                let returned = bytes[content.clone()].ends_with(b"\r");
                Cut { content: 0..content.end - usize::from(returned), used }
            })),
            Self::Nul => ended_by(0),
            Self::Rs => ended_by(0x1e),
            Self::U16 => match bytes.first_chunk() {
                Some(length) => behind(2, usize::from(u16::from_be_bytes(*length))),
                None => Ok(None),
            },
            Self::U32 => match bytes.first_chunk() {
                Some(length) => behind(4, u32::from_be_bytes(*length) as usize),
                None => Ok(None),
            },
            Self::Mqtt => {
                let mut length = 0;
                for at in 1..=4 {
                    let Some(byte) = bytes.get(at) else { return Ok(None) };
                    length |= usize::from(byte & 0x7f) << (7 * (at - 1));
                    if byte & 0x80 == 0 {
                        within(length)?;
                        let used = 1 + at + length;
                        let whole = Cut { content: 0..used, used };
                        return Ok((bytes.len() >= used).then_some(whole));
                    }
                }
                Err(FrameError::Length)
            }
        }
    }

    /// Bytes that it adds to a message.
    #[must_use]
    pub fn added(self) -> usize {
        match self {
            Self::Message | Self::Mqtt => 0,
            Self::Line | Self::Nul | Self::Rs => 1,
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// Makes a frame of the message that lies behind `start`. Of a message longer than its length
    /// can say the length is wrong: the program refuses such.
    pub fn wrap(self, start: usize, out: &mut Vec<u8>) {
        let length = out.len() - start;
        let put = |out: &mut Vec<u8>, bytes: &[u8]| {
            let end = out.len();
            out.extend_from_slice(bytes);
            out.copy_within(start..end, start + bytes.len());
            out[start..start + bytes.len()].copy_from_slice(bytes);
        };
        match self {
            Self::Message | Self::Mqtt => {}
            Self::Line => out.push(b'\n'),
            Self::Nul => out.push(0),
            Self::Rs => out.push(0x1e),
            Self::U16 => put(out, &(length as u16).to_be_bytes()),
            Self::U32 => put(out, &(length as u32).to_be_bytes()),
        }
    }

    /// The longest message that it can carry.
    #[must_use]
    pub fn most(self) -> usize {
        match self {
            Self::U16 => usize::from(u16::MAX),
            _ => u32::MAX as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a frame can carry.
    fn carried(frame: Frame, message: &[u8]) -> Vec<u8> {
        let without = |end: &[u8]| {
            message.iter().copied().filter(|byte| !end.contains(byte)).collect::<Vec<_>>()
        };
        match frame {
            Frame::Line => without(b"\r\n"),
            Frame::Nul => without(b"\0"),
            Frame::Rs => without(b"\x1e"),
            Frame::Mqtt => {
                let mut packet = vec![0x30];
                let mut length = message.len();
                loop {
                    packet.push((length & 0x7f) as u8 | if length > 0x7f { 0x80 } else { 0 });
                    length >>= 7;
                    if length == 0 {
                        break;
                    }
                }
                packet.extend_from_slice(message);
                packet
            }
            Frame::Message | Frame::U16 | Frame::U32 => message.to_vec(),
        }
    }

    proptest! {
        #[test]
        fn what_is_wrapped_is_cut_again(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
        ) {
            for (_, frame) in Frame::ALL.into_iter().skip(1) {
                let messages: Vec<_> = messages.iter().map(|one| carried(frame, one)).collect();
                let mut stream = Vec::new();
                for message in &messages {
                    let start = stream.len();
                    stream.extend_from_slice(message);
                    frame.wrap(start, &mut stream);
                    prop_assert_eq!(stream.len() - start, message.len() + frame.added());
                }
                let mut rest = &stream[..];
                for message in &messages {
                    let cut = frame.cut(rest, 1000).expect("right");
                    let Cut { content, used } = cut.expect("whole");
                    prop_assert_eq!(&rest[content], &message[..]);
                    for cut in 0..used {
                        prop_assert_eq!(frame.cut(&rest[..cut], 1000), Ok(None));
                    }
                    rest = &rest[used..];
                }
                prop_assert_eq!(rest.len(), 0);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_here() {
        let too_long = Err(FrameError::TooLong(11, 10));
        assert_eq!(Frame::Line.cut(b"0123456789a", 10), too_long);
        assert_eq!(Frame::U16.cut(&[0, 11], 10), too_long);
        assert_eq!(Frame::U32.cut(&[0, 0, 0, 11], 10), too_long);
        assert_eq!(Frame::Mqtt.cut(&[0x30, 11], 10), too_long);
        assert_eq!(
            Frame::Mqtt.cut(&[0x30, 0x80, 0x80, 0x80, 0x80, 1], 10),
            Err(FrameError::Length)
        );
        assert_eq!(Frame::Line.cut(b"a\r\nb", 10), Ok(Some(Cut { content: 0..1, used: 3 })));
    }
}
