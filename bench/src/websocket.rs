//! The least of WebSocket that a load needs: an upgrade that trusts the server, frames laid out
//! once.
//!
//! As a floor it masks every message with the same key and looks at replies by their length alone.

use crate::socket::{PATIENCE, send_all};
use anyhow::{Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::net::{RecvFlags, recv};

/// The key of RFC 6455's own example; no reply is held against it.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The largest reply to the upgrade that is waited for, in bytes.
const REPLY_BYTES_MAX: usize = 1024;

/// Upgrades a connection, of which nothing has been read and where nothing follows the reply.
pub(crate) fn upgrade(socket: &OwnedFd) -> Result<()> {
    send_all(socket, REQUEST)?;
    let (mut reply, mut length) = ([0; REPLY_BYTES_MAX], 0);
    while !reply[..length].ends_with(b"\r\n\r\n") {
        ensure!(length < reply.len(), "the server's answer to the upgrade does not end");
        let mut waiting = [PollFd::new(socket, PollFlags::IN)];
        if poll(&mut waiting, Some(&PATIENCE))? == 0 {
            bail!("the server does not answer the upgrade");
        }
        let (read, _) = recv(socket, &mut reply[length..], RecvFlags::empty())?;
        ensure!(read > 0, "the server closed instead of upgrading");
        length += read;
    }
    let status = reply.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let accepted = status.starts_with(b"HTTP/1.1 101 ");
    ensure!(accepted, "the server does not upgrade: {}", status.escape_ascii());
    Ok(())
}

/// A client's frame: a binary message of `size` bytes.
pub(crate) fn request(size: u64) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(size);
    frame[1] |= 0x80;
    frame.extend(KEY);
    frame.extend(KEY.iter().cycle().take(size as usize).map(|key| b'x' ^ key));
    frame
}

/// The length of a server's frame that answers it.
pub(crate) fn reply_bytes(size: u64) -> usize {
    header(size).len() + size as usize
}

fn header(size: u64) -> Vec<u8> {
    let mut header = vec![0x82];
    match size {
        0..=125 => header.push(size as u8),
        126..=0xffff => {
            header.push(126);
            header.extend((size as u16).to_be_bytes());
        }
        _ => {
            header.push(127);
            header.extend(size.to_be_bytes());
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_rfc_6455_section_5_7() {
        assert_eq!(header(5), [0x82, 5]);
        assert_eq!(header(256), [0x82, 0x7e, 1, 0]);
        assert_eq!(header(65_536), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
        let frame = request(5);
        assert_eq!(frame[..6], [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
        let unmasked = frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(a, b)| a ^ b);
        assert_eq!(unmasked.collect::<Vec<u8>>(), b"xxxxx");
        assert_eq!((frame.len(), reply_bytes(5)), (11, 7));
    }
}
