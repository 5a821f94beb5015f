//! A WebSocket client of a few lines, made for saying what no decent client says.

use crate::common::Server;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// The key of RFC 6455, section 1.3, and the value that proves that it was read.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;
/// Without the bit that says that the message ends with this frame.
pub(crate) const FIRST_TEXT: u8 = 0x01;
pub(crate) const FIRST_BINARY: u8 = 0x02;
pub(crate) const NEXT: u8 = 0x00;
pub(crate) const LAST: u8 = 0x80;
/// The bit that says that a message is compressed.
pub(crate) const COMPRESSED: u8 = 0x40;

const MASK: [u8; 4] = [0x9a, 0x00, 0xff, 0x21];

/// A good request, with more header lines.
pub(crate) fn request(more: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// A client's frame: `first` is the first byte, the length is in its shortest form.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header of a client's frame, mask included.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        ..126 => header.push(0x80 | length as u8),
        126..65_536 => {
            header.push(0x80 | 126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend_from_slice(&length.to_be_bytes());
        }
    }
    header.extend_from_slice(&MASK);
    header
}

/// A close frame's payload.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A frame of a server, or a message whose fragments were put together; `first` as in the first
/// fragment, with the FIN bit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(first: u8, payload: &[u8]) -> Self {
        Self { first, payload: payload.to_vec() }
    }

    /// The code, if this is a close frame with one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().filter(|_| self.first == CLOSE);
        code.map(|code| u16::from_be_bytes(*code))
    }
}

/// An upgraded connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// What the server answered to the request, up to the empty line.
    pub(crate) head: String,
    /// A message that has begun.
    open: Option<Frame>,
}

impl Server {
    pub(crate) fn upgrade(&self) -> Peer {
        self.upgrade_with("")
    }

    /// Upgrades with more header lines.
    pub(crate) fn upgrade_with(&self, more: &str) -> Peer {
        let mut stream = self.connect();
        stream.write_all(request(more).as_bytes()).expect("taken");
        Peer::on(stream)
    }
}

/// Everything up to the empty line, and not a byte more.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("more of a head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

impl Peer {
    /// On a connection whose request is sent.
    pub(crate) fn on(mut stream: TcpStream) -> Self {
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains(&format!("\r\nSec-WebSocket-Accept: {ACCEPT}\r\n")), "{head}");
        Self { stream, head, open: None }
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("taken");
    }

    /// The next frame, or `None` at the end of the stream.
    fn next_frame(&mut self) -> Option<Frame> {
        let mut start = [0; 2];
        match self.stream.read(&mut start[..1]).expect("not reset") {
            0 => return None,
            _ => self.stream.read_exact(&mut start[1..]).expect("a header"),
        }
        let [first, length] = start;
        assert!(length < 0x80, "a server's frame with a mask");
        let length = match length {
            126 => self.read_number::<2>(),
            127 => self.read_number::<8>(),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).expect("a payload");
        Some(Frame { first, payload })
    }

    fn read_number<const BYTES: usize>(&mut self) -> usize {
        let mut bytes = [0; BYTES];
        self.stream.read_exact(&mut bytes).expect("a length");
        bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// The next message, its fragments put together, or the control frame that comes before its
    /// end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next_frame()?;
            if frame.first & 0x08 != 0 {
                return Some(frame);
            }
            let whole = match self.open.take() {
                None => frame,
                Some(mut open) => {
                    assert_eq!(frame.first & 0x7f, NEXT, "a message within a message");
                    open.first |= frame.first & 0x80;
                    open.payload.extend(frame.payload);
                    open
                }
            };
            if whole.first & 0x80 != 0 {
                return Some(whole);
            }
            self.open = Some(whole);
        }
    }

    /// All that comes until the server closes.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// One message there and back.
    pub(crate) fn echo(&mut self, first: u8, payload: &[u8]) {
        self.say(&frame(first, payload));
        let answer = self.next().expect("open");
        assert!(answer == Frame::new(first, payload), "{} bytes: {answer:.80?}", payload.len());
    }

    /// Says good-bye and takes the answer to it.
    pub(crate) fn leave(mut self) {
        self.say(&frame(CLOSE, &close(1000, "")));
        assert_eq!(self.rest(), [Frame::new(CLOSE, &close(1000, ""))]);
        self.stream.shutdown(Shutdown::Write).expect("open");
    }
}
