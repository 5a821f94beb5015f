//! `Toy`: a layer as simple as one can be that has all that makes layers hard: records with a
//! header, which reads cut anywhere, a number that tells where one is missing, bytes that mean
//! nothing unopened, a handshake of one record each way, a good-bye. It hides nothing from anybody.
//!
//! ```text
//!  kind (1) │ number (1) │ length (2) │ content, each byte XOR key + number + place
//! ```

use crate::layer::{End, Layer, Progress};
use measure::Failure;

/// Bytes before the content of a record.
pub const HEADER_BYTES: usize = 4;
/// The longest content of a record.
pub const CONTENT_BYTES_MAX: usize = 512;

const HELLO: u8 = 1;
const DATA: u8 = 2;
const GOODBYE: u8 = 3;

/// One end's layer.
#[derive(Debug)]
pub struct Toy {
    /// What our records are sealed with: our hello tells it.
    key: u8,
    /// The peer's, once its hello is here.
    peer_key: Option<u8>,
    /// Whether we speak first.
    begins: bool,
    /// Our hello is said.
    greeted: bool,
    /// The numbers of the next records, modulo 256.
    next_sealed: u8,
    next_opened: u8,
    /// A record that is only partly here.
    partial: Vec<u8>,
}

impl Toy {
    /// A layer that has said nothing yet.
    #[must_use]
    pub fn new(key: u8, begins: bool) -> Self {
        let partial = Vec::new();
        Self {
            key,
            peer_key: None,
            begins,
            greeted: false,
            next_sealed: 0,
            next_opened: 0,
            partial,
        }
    }

    /// Says the hello.
    pub(super) fn hello(&mut self, out: &mut Vec<u8>) {
        self.greeted = true;
        self.record(HELLO, &[self.key], 0, out);
    }

    fn record(&mut self, kind: u8, content: &[u8], key: u8, out: &mut Vec<u8>) {
        let [high, low] = (content.len() as u16).to_be_bytes();
        out.extend([kind, self.next_sealed, high, low]);
        let masks = masks(key, self.next_sealed);
        out.extend(content.iter().zip(masks).map(|(byte, mask)| byte ^ mask));
        self.next_sealed = self.next_sealed.wrapping_add(1);
    }
}

/// What the bytes of a record are XORed with. A hello has the key 0 and the number 0: it can be
/// read.
fn masks(key: u8, number: u8) -> impl Iterator<Item = u8> {
    let first = key.wrapping_add(number);
    (0..CONTENT_BYTES_MAX).map(move |place| first.wrapping_add(place as u8))
}

impl Layer for Toy {
    type Shared = ();

    fn begin(&mut self, (): &mut (), out: &mut Vec<u8>) {
        if self.begins {
            self.hello(out);
        }
    }

    fn open(
        &mut self,
        (): &mut (),
        wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Progress {
        self.partial.extend_from_slice(wire);
        let (mut at, mut end) = (0, None);
        while let Some([kind, number, high, low]) = self.partial[at..].first_chunk().copied()
            && end.is_none()
        {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length > CONTENT_BYTES_MAX || number != self.next_opened {
                end = Some(End::Broken);
                break;
            }
            let begin = at + HEADER_BYTES;
            let Some(content) = self.partial.get(begin..begin + length) else { break };
            match (kind, self.peer_key, content) {
                (HELLO, None, [key]) => self.peer_key = Some(*key),
                (DATA, Some(key), content) => {
                    plain.extend(content.iter().zip(masks(key, number)).map(|(b, m)| b ^ m));
                }
                (GOODBYE, Some(_), []) => end = Some(End::Goodbye),
                _ => end = Some(End::Broken),
            }
            self.next_opened = self.next_opened.wrapping_add(1);
            at = begin + length;
        }
        self.partial.drain(..at);
        if self.peer_key.is_some() && !self.greeted {
            self.hello(out);
        }
        Progress { agreed: self.peer_key.is_some(), end }
    }

    fn seal(&mut self, (): &mut (), plain: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        for content in plain.chunks(CONTENT_BYTES_MAX) {
            self.record(DATA, content, self.key, out);
        }
        Ok(())
    }

    fn goodbye(&mut self, (): &mut (), out: &mut Vec<u8>) {
        self.record(GOODBYE, &[], self.key, out);
    }

    fn cut(&mut self, (): &mut ()) {}

    fn ended(self, (): &mut ()) {}
}
