"""The same rules against our client.

    client.py PROGRAM       PROGRAM is c1000k-client, whose `echo` joins a server here

Needs Python 3.9 and nothing else, with PYTHONPATH=scripts/tests.
"""

import base64
import hashlib
import socket
import subprocess

from cases import cases, deflate_cases, run_case
from conformance import PATIENCE, check, main
from harness import TEXT, Reader, Role, close, frame


class Joined:
    """`c1000k-client echo`, which has joined this server."""

    def __init__(self, program, *options):
        self.program, self.options = program, options
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.process = None

    def accept(self):
        """The request of a client that is started now."""
        self.end()
        url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}/path?query"
        self.process = subprocess.Popen([self.program, "echo", *self.options, url],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        sock = self.listener.accept()[0]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(sock)
        line, headers = reader.head()
        return sock, reader, line, headers

    def end(self):
        """The exit code of the client before, once it has ended."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        try:
            process.stderr.read()
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return "it did not end"

    def upgraded(self, extensions=""):
        sock, reader, _, headers = self.accept()
        sock.sendall(reply(headers, extensions=extensions))
        return sock, reader


def accept_value(headers):
    key = headers["sec-websocket-key"].encode()
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def reply(headers, status="HTTP/1.1 101 Switching Protocols", drop=(), extra=(), accept=None, extensions=""):
    lines = [status]
    all_lines = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: " + (accept or accept_value(headers))]
    lines += [line for line in all_lines if line.split(":")[0] not in drop]
    if extensions:
        lines.append("Sec-WebSocket-Extensions: " + extensions)
    return "\r\n".join(lines + list(extra)).encode() + b"\r\n\r\n"


def bad_replies():
    """Replies that a client has to refuse."""
    yield "another accept value", dict(accept="s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    yield "no accept value", dict(drop=("Sec-WebSocket-Accept",))
    yield "no Upgrade", dict(drop=("Upgrade",))
    yield "another Upgrade", dict(drop=("Upgrade",), extra=("Upgrade: h2c",))
    yield "no Connection", dict(drop=("Connection",))
    yield "another Connection", dict(drop=("Connection",), extra=("Connection: close",))
    yield "an extension unasked", dict(extensions="x-other")
    yield "compression unasked", dict(extensions="permessage-deflate")
    yield "a subprotocol unasked", dict(extra=("Sec-WebSocket-Protocol: chat",))
    yield "status 200", dict(status="HTTP/1.1 200 OK", extra=("Content-Length: 0",))
    yield "a redirect", dict(status="HTTP/1.1 301 Moved Permanently", extra=("Location: ws://other.test/",))
    yield "HTTP/1.0", dict(status="HTTP/1.0 101 Switching Protocols")
    yield "no HTTP", dict(status="SSH-2.0-other")


def check_client(program):
    Role.masks = False
    joined = Joined(program)
    sock, reader, line, headers = joined.accept()
    check("request line", line, "GET /path?query HTTP/1.1")
    port = joined.listener.getsockname()[1]
    wanted = {"host": f"127.0.0.1:{port}", "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
              "origin": None, "sec-websocket-extensions": None, "sec-websocket-protocol": None}
    check("request headers", {name: headers.get(name) for name in wanted}, wanted)
    check("a key of 16 bytes", len(base64.b64decode(headers["sec-websocket-key"])), 16)
    first_key = headers["sec-websocket-key"]
    sock.sendall(reply(headers) + frame(TEXT, b"early") + frame(TEXT, b"again") + close(1000))
    check("frames right behind the reply", list(reader.events()),
          [("text", b"early"), ("text", b"again"), ("close", 1000), ("end",)])
    check("fresh masks", len(set(reader.keys)), len(reader.keys))
    check("the exit code", joined.end(), 0)
    sock.close()
    sock, reader, line, headers = joined.accept()
    check("a fresh key", headers["sec-websocket-key"] != first_key, True)
    sock.close()
    for name, changes in bad_replies():
        sock, reader, _, headers = joined.accept()
        sock.sendall(reply(headers, **changes))
        check(f"reply: {name}: no frame follows", [e for e in reader.events() if e[0] not in ("end", "reset")], [])
        sock.close()
        check(f"reply: {name}: the exit code is an error's", joined.end() not in (0, None, "it did not end"), True)
    for name, data, expected in cases():
        run_case(name, joined.upgraded, data, expected)
    joined.end()
    joined = Joined(program, "--deflate")
    sock, reader, _, headers = joined.accept()
    check("compression is offered", headers.get("sec-websocket-extensions", "").startswith("permessage-deflate"), True)
    sock.close()
    answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    for name, data, expected in deflate_cases():
        if "window" in name:
            continue
        run_case(f"deflate: {name}", lambda: joined.upgraded(answer), data, expected, compressed=True)
    joined.end()


if __name__ == "__main__":
    main("client", check_client, __doc__)
