//! WebSocket with a client that is not ours: `tungstenite`, at a `ws://` port and at the port of
//! HTTP.

use crate::common::{PATIENCE, Server};
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// What an independent client may ask of each of them.
fn servers() -> [Server; 3] {
    [
        Server::on(&["ws://127.0.0.1:0"], &[]),
        // It offers no compression, and gets none.
        Server::on(&["ws://127.0.0.1:0"], &["--deflate=dedicated"]),
        Server::on(&["http://127.0.0.1:0"], &[]),
    ]
}

fn join(server: &Server) -> (WebSocket<TcpStream>, Response) {
    let url = format!("ws://{}/chat?room=1", server.address());
    tungstenite::client(url, server.connect()).expect("an upgrade")
}

/// All messages and control frames up to the next of this kind, which is the last element.
fn until(socket: &mut WebSocket<TcpStream>, is_last: impl Fn(&Message) -> bool) -> Vec<Message> {
    let mut heard = Vec::new();
    loop {
        heard.push(socket.read().expect("a message"));
        if heard.last().is_some_and(&is_last) {
            return heard;
        }
    }
}

#[test]
fn a_library_upgrades_and_hears_its_messages_again() {
    for server in servers() {
        let (mut socket, response) = join(&server);
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers().get("Sec-WebSocket-Extensions"), None);
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            for message in
                [Message::text("\u{20ac}".repeat(size / 3)), Message::binary(vec![7; size])]
            {
                socket.send(message.clone()).expect("sent");
                assert!(socket.read().expect("an echo") == message, "{size}");
            }
        }
    }
}

#[test]
fn a_library_hears_a_message_of_16_mib_again() {
    const SIZE: usize = 16 << 20;
    let config = WebSocketConfig::default().max_frame_size(Some(SIZE)).max_message_size(Some(SIZE));
    for server in servers() {
        let (socket, _) = join(&server);
        // Both ends at once: a message of this size fits into no buffer between them.
        let sending = socket.get_ref().try_clone().expect("a second handle");
        let mut sender = WebSocket::from_raw_socket(sending, Role::Client, Some(config));
        let mut receiver =
            WebSocket::from_raw_socket(socket.into_inner(), Role::Client, Some(config));
        let message: Vec<u8> = (0..SIZE).map(|number| (number % 251) as u8).collect();
        let sent = Message::binary(message.clone());
        let thread = std::thread::spawn(move || sender.send(sent).expect("sent"));
        let heard = receiver.read().expect("an echo");
        assert!(heard.into_data() == message);
        thread.join().expect("sent");
    }
}

#[test]
fn a_library_sends_fragments_and_pings_between_them() {
    let part = |code, bytes: &'static [u8], last| {
        Message::Frame(Frame::message(bytes, OpCode::Data(code), last))
    };
    for server in servers() {
        let (mut socket, _) = join(&server);
        for message in [
            part(Data::Text, b"a \xe2\x82", false),
            Message::Ping(b"within".as_slice().into()),
            part(Data::Continue, b"\xac", false),
            part(Data::Continue, b"", false),
            part(Data::Continue, b" b", true),
        ] {
            socket.send(message).expect("sent");
        }
        let mut heard = until(&mut socket, Message::is_text);
        assert_eq!(heard.pop(), Some(Message::text("a \u{20ac} b")));
        assert_eq!(heard, [Message::Pong(b"within".as_slice().into())]);
        for payload in [&b""[..], &[7; 125]] {
            socket.send(Message::Ping(payload.to_vec().into())).expect("sent");
            assert_eq!(socket.read().expect("a pong"), Message::Pong(payload.to_vec().into()));
        }
        // A pong that nobody asked for is no question.
        socket.send(Message::Pong(b"unasked".as_slice().into())).expect("sent");
        socket.send(Message::text("still here")).expect("sent");
        assert_eq!(socket.read().expect("an echo"), Message::text("still here"));
    }
}

#[test]
fn a_library_closes_and_hears_its_own_code() {
    let code =
        |code: CloseCode, reason: &'static str| Some(CloseFrame { code, reason: reason.into() });
    for server in servers() {
        for close in [
            None,
            code(CloseCode::Normal, ""),
            code(CloseCode::Away, "over the hills"),
            code(CloseCode::Protocol, "\u{20ac}"),
            code(CloseCode::Extension, ""),
            code(CloseCode::Iana(3000), "library"),
            code(CloseCode::Library(4999), "private"),
        ] {
            let (mut socket, _) = join(&server);
            socket.send(Message::text("first")).expect("sent");
            socket.close(close.clone()).expect("sent");
            let mut heard = until(&mut socket, Message::is_close);
            let Some(Message::Close(answer)) = heard.pop() else { panic!("{heard:?}") };
            assert_eq!(answer.as_ref().map(|c| c.code), close.as_ref().map(|c| c.code));
            assert_eq!(heard, [Message::text("first")]);
            // The server ends the connection (RFC 6455 7.1.1).
            assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "{close:?}");
        }
    }
}

#[test]
fn a_library_is_told_why_it_is_refused() {
    let server = Server::on(&["ws://127.0.0.1:0"], &["--origin", "https://example.test"]);
    let request = |origin: &str| {
        let mut request = tungstenite::client::IntoClientRequest::into_client_request(format!(
            "ws://{}/",
            server.address()
        ))
        .expect("a request");
        request.headers_mut().insert("Origin", origin.parse().expect("a value"));
        request
    };
    assert!(tungstenite::client(request("https://example.test"), server.connect()).is_ok());
    let refused = tungstenite::client(request("https://other.test"), server.connect());
    let Err(tungstenite::HandshakeError::Failure(Error::Http(response))) = refused else {
        panic!("it was let in");
    };
    assert_eq!(response.status(), 403);
}

#[test]
fn a_library_hears_that_the_server_stops() {
    for server in servers() {
        let (mut socket, _) = join(&server);
        socket.get_ref().set_read_timeout(Some(Duration::from(PATIENCE))).expect("option");
        server.signal(rustix::process::Signal::TERM);
        let heard = until(&mut socket, Message::is_close);
        let Some(Message::Close(Some(close))) = heard.last() else { panic!("{heard:?}") };
        assert_eq!(close.code, CloseCode::Away);
        assert_eq!(server.finish().0, Some(0));
    }
}
