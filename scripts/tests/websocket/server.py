"""The rules of RFC 6455 and RFC 7692, case by case over raw sockets, against our server.

    server.py PROGRAM       PROGRAM is c1000k-server, which is started here

Needs Python 3.9 and nothing else, with PYTHONPATH=scripts/tests.
"""

import json
import signal
import socket
import subprocess

from cases import cases, deflate_cases, run_case
from conformance import PATIENCE, check, main, send_in_pieces
from harness import TEXT, Reader, close, frame

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


class Server:
    """c1000k-server on a free port."""

    def __init__(self, program, *options):
        command = [program, "--json", *options, "ws://127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.port = int(json.loads(line)["url"].rstrip("/").rsplit(":", 1)[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def upgraded(self, *headers):
        sock = self.connect()
        sock.sendall(request(*headers))
        reader = Reader(sock)
        status, reply = reader.head()
        assert status.startswith("HTTP/1.1 101 "), status
        reader.reply = reply
        return sock, reader


BASE = ("Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: " + KEY.decode())


def request(*headers, line="GET /chat?a=b HTTP/1.1", without=(), base=BASE):
    lines = [line] + [h for h in base if h.split(":")[0] not in without] + list(headers)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def handshakes():
    """Requests, the status that each gets, and headers that the reply must have."""
    yield "plain", request(), 101, {"upgrade": "websocket", "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}
    yield "names in other cases", request("UPGRADE: WebSocket", "cONNECTION: keep-alive, uPGRADE",
                                          without=("Upgrade", "Connection")), 101, {}
    yield "lists over lines", request("Connection: keep-alive", "Connection: Upgrade", "Upgrade: h2c, websocket",
                                      without=("Upgrade", "Connection")), 101, {}
    yield "an unknown extension", request("Sec-WebSocket-Extensions: x-other; a=1"), 101, {"sec-websocket-extensions": None}
    yield "no subprotocol in common", request("Sec-WebSocket-Protocol: none"), 101, {"sec-websocket-protocol": None}
    yield "the best subprotocol", request("Sec-WebSocket-Protocol: chat, superchat"), 101, {"sec-websocket-protocol": "superchat"}
    yield "subprotocols over lines", request("Sec-WebSocket-Protocol: x", "Sec-WebSocket-Protocol: chat"), 101, {"sec-websocket-protocol": "chat"}
    yield "the right origin", request("Origin: https://example.test"), 101, {}
    yield "another origin", request("Origin: https://other.test"), 403, {}
    yield "no upgrade", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426, {"upgrade": "websocket"}
    yield "another version", request("Sec-WebSocket-Version: 8", without=("Sec-WebSocket-Version",)), 426, {"sec-websocket-version": "13"}
    yield "no version", request(without=("Sec-WebSocket-Version",)), 426, {"sec-websocket-version": "13"}
    yield "no key", request(without=("Sec-WebSocket-Key",)), 400, {}
    yield "a short key", request("Sec-WebSocket-Key: c2hvcnQ=", without=("Sec-WebSocket-Key",)), 400, {}
    yield "two keys", request("Sec-WebSocket-Key: " + KEY.decode()), 400, {}
    yield "no host", request(without=("Host",)), 400, {}
    yield "two hosts", request("Host: b"), 400, {}
    yield "no Connection", request(without=("Connection",)), 400, {}
    yield "POST", request(line="POST / HTTP/1.1"), 405, {"allow": "GET"}
    yield "HTTP/1.0", request(line="GET / HTTP/1.0"), 400, {}
    yield "a body", request("Content-Length: 3"), 400, {}
    yield "a broken extension list", request("Sec-WebSocket-Extensions: a;;b"), 400, {}
    yield "a space before a colon", request("X : y"), 400, {}
    yield "bare line feeds", request().replace(b"\r\n", b"\n"), 400, {}
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), 400, {}
    yield "a head that is too large", request("X: " + "y" * 70000), 431, {}
    yield "too many headers", request(*[f"X-{n}: y" for n in range(300)]), 431, {}


def offers():
    """What clients offer for compression, and what is answered by a server that dedicates windows."""
    name = "permessage-deflate"
    yield name, name
    yield name + "; client_max_window_bits", name
    yield name + "; server_no_context_takeover; client_no_context_takeover", name + "; server_no_context_takeover; client_no_context_takeover"
    yield name + "; server_max_window_bits=10", name + "; server_max_window_bits=10"
    yield name + '; server_max_window_bits="10"', name + "; server_max_window_bits=10"
    yield name + "; client_max_window_bits=9", name + "; client_max_window_bits=9"
    yield name + "; server_max_window_bits=8, " + name, name
    yield "x-other, " + name, name
    for wrong in ("server_max_window_bits", "server_max_window_bits=16", "server_max_window_bits=7",
                  "server_max_window_bits=09", "client_max_window_bits=abc", "unknown", "server_no_context_takeover=1",
                  "client_no_context_takeover; client_no_context_takeover"):
        yield f"{name}; {wrong}", None


def check_server(program):
    server = Server(program, "--origin", "https://example.test", "--subprotocol", "superchat", "--subprotocol", "chat")
    for name, data, status, headers in handshakes():
        for piece in (None, 5):
            label = f"handshake: {name}" + (f" (in pieces of {piece} B)" if piece else "")
            with server.connect() as sock:
                send_in_pieces(sock, data, piece)
                reader = Reader(sock)
                try:
                    line, reply = reader.head()
                    seen = [int(line.split()[1])] + [reply.get(key) for key in headers]
                    if status != 101:
                        body = reader.take(int(reply["content-length"]))
                        assert body.endswith(b"\n") and sock.recv(1) == b"", "the connection stays open"
                except (EOFError, OSError, AssertionError, KeyError) as error:
                    seen = repr(error)
                check(label, seen, [status] + list(headers.values()))
    with server.connect() as sock:
        sock.sendall(request() + frame(TEXT, b"early") + close(1000))
        reader = Reader(sock)
        reader.head()
        check("frames right behind the request", list(reader.events()), [("text", b"early"), ("close", 1000), ("end",)])
    for name, data, expected in cases():
        run_case(name, server.upgraded, data, expected)
    with server.upgraded()[0] as sock:
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(PATIENCE)
        check("an end without a close", sock.recv(1), b"")
    open_ones = [server.upgraded() for _ in range(5)]
    server.process.send_signal(signal.SIGTERM)
    for index, (sock, reader) in enumerate(open_ones):
        events = reader.events()
        check(f"shutdown, connection {index}", next(events), ("close", 1001))
        sock.sendall(close(1001))
        sock.close()
    check("the server's exit code", server.process.wait(PATIENCE), 0)

    server = Server(program, "--handshake-timeout", "1s")
    for name, data in (("nothing", b""), ("half a request", b"GET / HTTP/1.1\r\nHost:")):
        with server.connect() as sock:
            sock.sendall(data)
            sock.settimeout(PATIENCE)
            reply = sock.recv(65536)
            check(f"{name} within the time", reply[:12] in (b"", b"HTTP/1.1 408"), True)
    server.stop()

    server = Server(program, "--deflate=dedicated")
    for offer, answer in offers():
        sock, reader = server.upgraded("Sec-WebSocket-Extensions: " + offer)
        check(f"offer: {offer}", reader.reply.get("sec-websocket-extensions"), answer)
        sock.close()

    for name, data, expected in deflate_cases():
        run_case(f"deflate: {name}", lambda: server.upgraded("Sec-WebSocket-Extensions: permessage-deflate"),
                 data, expected, compressed=True, takeover=True)
    server.stop()


if __name__ == "__main__":
    main("server", check_server, __doc__)
