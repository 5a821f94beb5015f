"""The rules of RFC 6455 and RFC 7692, case by case over raw sockets, against both of our ends.

    conformance.py server PROGRAM       PROGRAM is c1000k-server, which is started here
    conformance.py client PROGRAM       PROGRAM is c1000k-client, whose `echo` joins a server here

Each case says which bytes are sent and what must come back. It runs with its bytes in one write and
with its bytes in many. Needs Python 3.9 and nothing else.
"""

import base64
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NAMES = {TEXT: "text", BINARY: "binary", PING: "ping", PONG: "pong"}
TAIL = b"\x00\x00\xff\xff"
PATIENCE = 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MIB = 1 << 20

failed = []
passed = 0


def mask(payload, key):
    whole = int.from_bytes(payload, "big")
    keys = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (whole ^ int.from_bytes(keys, "big")).to_bytes(len(payload), "big")


class Role:
    """Which end the driver plays: whether it masks, and whether it has to."""

    masks = True


def frame(opcode, payload=b"", fin=True, rsv=0, form=None, masked=None, key=None, length=None):
    """A frame, right or wrong: `form` forces a length form, `length` announces another length."""
    masked = Role.masks if masked is None else masked
    length = len(payload) if length is None else length
    if form is None:
        form = 7 if length < 126 else 16 if length < 1 << 16 else 64
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit = masked << 7
    if form == 7:
        head += bytes([bit | length])
    elif form == 16:
        head += bytes([bit | 126]) + struct.pack(">H", length)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    key = os.urandom(4) if key is None else key
    return head + key + mask(payload, key)


def close(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason)


def deflated(message, bits=15, stream=None):
    stream = stream or zlib.compressobj(6, zlib.DEFLATED, -bits)
    data = stream.compress(message) + stream.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


class Reader:
    """Reads what comes, holds it against the rules, and gives messages."""

    def __init__(self, sock, takeover=False, compressed=False):
        self.sock, self.bytes, self.at = sock, b"", 0
        self.takeover, self.compressed = takeover, compressed
        self.inflater = zlib.decompressobj(-15)
        self.keys = []
        sock.settimeout(PATIENCE)

    def take(self, count):
        if len(self.bytes) - self.at < count:
            parts, have = [self.bytes[self.at :]], len(self.bytes) - self.at
            while have < count:
                more = self.sock.recv(1 << 20)
                if not more:
                    raise EOFError
                parts.append(more)
                have += len(more)
            self.bytes, self.at = b"".join(parts), 0
        self.at += count
        return self.bytes[self.at - count : self.at]

    def head(self):
        """An HTTP head."""
        while b"\r\n\r\n" not in self.bytes:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.bytes += more
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        return lines[0], {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}

    def frame(self):
        first, second = self.take(2)
        fin, rsv, opcode, length = first >> 7, first >> 4 & 7, first & 15, second & 127
        assert (second >> 7) == (not Role.masks), "masked the wrong way"
        if length == 126:
            (length,) = struct.unpack(">H", self.take(2))
            assert length > 125, "a length that is not in its shortest form"
        elif length == 127:
            (length,) = struct.unpack(">Q", self.take(8))
            assert length > 65535, "a length that is not in its shortest form"
        key = self.take(4) if second >> 7 else None
        payload = self.take(length)
        if key:
            self.keys.append(key)
            payload = mask(payload, key)
        assert rsv in ((0, 4) if self.compressed and opcode in (TEXT, BINARY) else (0,)), f"rsv {rsv}"
        if opcode >= 8:
            assert fin and length <= 125, "a control frame that is too long or fragmented"
        return fin, rsv == 4, opcode, payload

    def events(self):
        """Everything up to the end of the stream: messages, control frames, ('close', code)."""
        opened = None
        try:
            while True:
                fin, squeezed, opcode, payload = self.frame()
                if opcode == CLOSE:
                    code = struct.unpack(">H", payload[:2])[0] if payload else None
                    payload[2:].decode()
                    yield ("close", code)
                    if not Role.masks:
                        # The server ends the stream, and the client waits for that (RFC 6455 7.1.1).
                        self.sock.shutdown(socket.SHUT_WR)
                    assert self.sock.recv(1) == b"", "bytes behind the close frame"
                    yield ("end",)
                    return
                if opcode in (PING, PONG):
                    yield (NAMES[opcode], payload)
                    continue
                assert (opened is None) == (opcode != 0), "fragments out of order"
                opened = opened or [opcode, squeezed, []]
                opened[2].append(payload)
                if fin:
                    opcode, squeezed, parts = opened
                    whole, opened = b"".join(parts), None
                    if squeezed:
                        whole = self.inflater.decompress(whole + TAIL)
                        if not self.takeover:
                            self.inflater = zlib.decompressobj(-15)
                    if opcode == TEXT:
                        whole.decode()
                    yield (NAMES[opcode], whole)
        except EOFError:
            yield ("end",)
        except ConnectionResetError:
            yield ("reset",)
        except socket.timeout:
            yield ("silence",)


def feed(sock, data, piece):
    """Sends bytes whole or in pieces; what the peer has closed already need not be taken."""
    try:
        if piece is None:
            sock.sendall(data)
            return
        for at in range(0, len(data), piece):
            sock.sendall(data[at : at + piece])
    except (BrokenPipeError, ConnectionResetError):
        pass


def short(value):
    text = repr(value)
    return text if len(text) < 300 else text[:200] + f"... ({len(text)} characters)"


def check(name, seen, expected):
    global passed
    if seen == expected:
        passed += 1
    else:
        failed.append(name)
        print(f"conformance: FAILED {name}:\n    seen     {short(seen)}\n    expected {short(expected)}")


def cases():
    """The cases of frames: name, bytes, what must come back. All end with a close."""
    bye, normal = close(1000), [("close", 1000), ("end",)]

    def refused(code):
        return [("close", code), ("end",)]

    for opcode in (TEXT, BINARY):
        for size in (0, 1, 124, 125, 126, 127, 128, 65535, 65536, 65537, MIB):
            payload = bytes(97 + i % 26 for i in range(min(size, 9973))) * (size // 9973 + 1)
            payload = payload[:size]
            yield (f"echo of {size} B, {NAMES[opcode]}", frame(opcode, payload) + bye,
                   [(NAMES[opcode], payload)] + normal)
    yield ("all bytes", frame(BINARY, bytes(range(256))) + bye, [("binary", bytes(range(256)))] + normal)
    yield ("16 MiB", frame(BINARY, b"m" * (16 * MIB)) + bye, [("binary", b"m" * (16 * MIB))] + normal)
    many = b"".join(frame(TEXT, b"message %d" % n) for n in range(1000))
    yield ("a thousand messages at once", many + bye, [("text", b"message %d" % n) for n in range(1000)] + normal)
    pieces = frame(BINARY, b"f" * 256, fin=False) + frame(0, b"f" * 256, fin=False) * 65534 + frame(0, b"f" * 256)
    yield ("16 MiB in 65,536 fragments", pieces + bye, [("binary", b"f" * (16 * MIB))] + normal)

    for form, size in ((16, 0), (16, 125), (64, 5), (64, 65535)):
        yield (f"{size} B in the {form}-bit form", frame(BINARY, b"x" * size, form=form), refused(1002))
    top = bytes([0x82, 0x7F | Role.masks << 7]) + b"\x80" + bytes(7) + bytes(4)
    yield ("a length with its top bit", top, refused(1002))
    yield ("masked the wrong way", frame(TEXT, b"x", masked=not Role.masks), refused(1002))
    if Role.masks:
        yield ("a mask of zeros", frame(TEXT, b"zero", key=bytes(4)) + bye, [("text", b"zero")] + normal)
    for rsv in range(1, 8):
        yield (f"reserved bits {rsv}", frame(TEXT, b"ok") + frame(TEXT, b"x", rsv=rsv),
               [("text", b"ok")] + refused(1002))
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield (f"opcode {opcode}", frame(TEXT, b"ok") + frame(opcode, b""), [("text", b"ok")] + refused(1002))
        yield (f"opcode {opcode}, with a payload", frame(opcode, b"x"), refused(1002))

    for size in (0, 1, 125):
        yield (f"a ping of {size} B", frame(PING, b"p" * size) + bye, [("pong", b"p" * size)] + normal)
    yield ("a ping of bytes that are no text", frame(PING, b"\xff\xfe\0") + bye, [("pong", b"\xff\xfe\0")] + normal)
    yield ("a ping that is too long", frame(PING, b"p" * 126), refused(1002))
    yield ("a ping in fragments", frame(PING, b"p", fin=False), refused(1002))
    yield ("a pong out of the blue", frame(PONG, b"?") + bye, normal)
    yield ("a pong that is too long", frame(PONG, b"p" * 126), refused(1002))
    yield ("ten pings", b"".join(frame(PING, bytes([n])) for n in range(10)) + bye,
           [("pong", bytes([n])) for n in range(10)] + normal)
    yield ("a ping between fragments",
           frame(TEXT, b"Hel", fin=False) + frame(PING, b"now") + frame(0, b"lo") + bye,
           [("pong", b"now"), ("text", b"Hello")] + normal)
    yield ("a close between fragments", frame(TEXT, b"Hel", fin=False) + bye, normal)

    yield ("two fragments", frame(TEXT, b"Hel", fin=False) + frame(0, b"lo") + bye, [("text", b"Hello")] + normal)
    yield ("empty fragments", frame(BINARY, fin=False) + frame(0, fin=False) + frame(0, b"") + bye,
           [("binary", b"")] + normal)
    yield ("fragments of 1 B", frame(BINARY, b"a", fin=False) + frame(0, b"b", fin=False) * 500 + frame(0, b"c") + bye,
           [("binary", b"a" + b"b" * 500 + b"c")] + normal)
    yield ("a continuation of nothing", frame(0, b"x"), refused(1002))
    yield ("a continuation after the end", frame(TEXT, b"x") + frame(0, b"y"), [("text", b"x")] + refused(1002))
    yield ("a message within a message", frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), refused(1002))
    yield ("a message within a message, unfinished", frame(TEXT, b"x", fin=False) + frame(BINARY, b"y", fin=False),
           refused(1002))

    good = "κόσμε €😀\U0010ffff\ufeff".encode()
    yield ("text beyond ASCII", frame(TEXT, good) + bye, [("text", good)] + normal)
    for cut in range(1, len(good)):
        yield (f"text cut at {cut}", frame(TEXT, good[:cut], fin=False) + frame(0, good[cut:]) + bye,
               [("text", good)] + normal)
    bad = {"a lone byte": b"\x80", "overlong": b"\xc0\xaf", "overlong, 3 B": b"\xe0\x9f\xbf",
           "a surrogate": b"\xed\xa0\x80", "beyond U+10FFFF": b"\xf4\x90\x80\x80", "0xff": b"\xff",
           "5 B": b"\xf8\x88\x80\x80\x80"}
    for name, wrong in bad.items():
        yield (f"not UTF-8: {name}", frame(TEXT, b"text" + wrong + b"text"), refused(1007))
        yield (f"not UTF-8: {name}, first fragment, nothing behind it", frame(TEXT, b"ab" + wrong, fin=False), refused(1007))
        yield (f"not UTF-8: {name}, frame unfinished", frame(TEXT, b"ab" + wrong, length=100), refused(1007))
    yield ("text that ends within a character", frame(TEXT, b"ab\xe2\x82"), refused(1007))
    yield ("a surrogate over two fragments", frame(TEXT, b"\xed", fin=False) + frame(0, b"\xa0\x80"), refused(1007))
    yield ("bytes that are no text, as binary", frame(BINARY, b"\xff\x80") + bye, [("binary", b"\xff\x80")] + normal)

    yield ("an empty close", close(), refused(None))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999):
        yield (f"close {code}", close(code), refused(code))
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield (f"close {code}, which must not be", close(code), refused(1002))
    yield ("a close with a reason", close(1000, b"r" * 123), normal)
    yield ("a close that is too long", close(1000, b"r" * 124), refused(1002))
    yield ("a close with half a code", frame(CLOSE, b"\x03"), refused(1002))
    yield ("a close with a reason that is no text", close(1000, b"\xff"), refused(1007))
    yield ("what follows a close", bye + frame(TEXT, b"late") + frame(PING, b"late"), normal)

    yield ("a frame that is too big", frame(BINARY, b"", length=16 * MIB + 1), refused(1009))
    yield ("a frame of 2^62 B", frame(BINARY, b"", length=1 << 62), refused(1009))
    yield ("fragments that are too big together",
           frame(BINARY, b"b" * (8 * MIB), fin=False) + frame(0, b"b" * (8 * MIB), fin=False) + frame(0, b"!"),
           refused(1009))


def deflate_cases():
    """Where compression was agreed upon, windows of 15 bits both, taken over."""
    bye, normal = close(1000), [("close", 1000), ("end",)]
    hello = [("text", b"Hello")]
    one = frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=4)
    yield ("Hello", one + bye, hello + normal)
    yield ("Hello, twice, the second by the window", one + frame(TEXT, bytes.fromhex("f200110000"), rsv=4) + bye,
           hello * 2 + normal)
    yield ("Hello, in fragments", frame(TEXT, bytes.fromhex("f248cd"), fin=False, rsv=4)
           + frame(PING) + frame(0, bytes.fromhex("c9c90700")) + bye, [("pong", b"")] + hello + normal)
    yield ("Hello, stored", frame(TEXT, bytes.fromhex("000500faff48656c6c6f00"), rsv=4) + bye, hello + normal)
    yield ("Hello, with a final block", frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=4) + bye, hello + normal)
    yield ("Hello, in two blocks", frame(TEXT, bytes.fromhex("f2480500 0000ffff cac9c90700"), rsv=4) + bye, hello + normal)
    yield ("an empty message", frame(BINARY, b"\0", rsv=4) + bye, [("binary", b"")] + normal)
    yield ("a message that is not compressed", frame(TEXT, b"plain") + one + bye, [("text", b"plain")] + hello + normal)
    stream, out, expected = zlib.compressobj(9, zlib.DEFLATED, -15), b"", []
    for n in range(50):
        text = (b"a message of many, number %d; " % n) * (n + 1)
        out += frame(TEXT, deflated(text, stream=stream), rsv=4)
        expected.append(("text", text))
    yield ("fifty over one window", out + bye, expected + normal)
    noise = os.urandom(MIB)
    yield ("1 MiB of noise", frame(BINARY, deflated(noise), rsv=4) + bye, [("binary", noise)] + normal)
    yield ("16 MiB of the same", frame(BINARY, deflated(b"s" * (16 * MIB)), rsv=4) + bye,
           [("binary", b"s" * (16 * MIB))] + normal)
    yield ("RSV1 on a continuation", frame(TEXT, b"x", fin=False) + frame(0, b"y", rsv=4), [("close", 1002), ("end",)])
    yield ("RSV1 on a ping", frame(PING, b"", rsv=4), [("close", 1002), ("end",)])
    yield ("RSV2", frame(TEXT, b"", rsv=2), [("close", 1002), ("end",)])
    yield ("no DEFLATE data", frame(TEXT, b"\xff\xff\xff\xff", rsv=4), [("close", 1007), ("end",)])
    yield ("compressed, and not UTF-8", frame(TEXT, deflated(b"ab\xffcd"), rsv=4), [("close", 1007), ("end",)])
    yield ("a bomb", frame(BINARY, deflated(b"b" * (64 * MIB)), rsv=4), [("close", 1009), ("end",)])


def run_case(name, connect, data, expected, compressed=False, takeover=False):
    pieces = (None, 7) if len(data) < 4096 else (None, 65521)
    for piece in pieces:
        label = name if piece is None else f"{name} (in pieces of {piece} B)"
        try:
            sock, reader = connect()
        except (OSError, AssertionError, EOFError) as error:
            check(label, f"no connection: {error!r}", expected)
            continue
        reader.compressed, reader.takeover = compressed, takeover
        with sock:
            # From a thread, since the echo of a long message comes while it is still being sent.
            sender = threading.Thread(target=feed, args=(sock, data, piece))
            sender.start()
            try:
                seen = list(reader.events())
            except (AssertionError, UnicodeDecodeError, zlib.error) as error:
                seen = f"a rule is broken: {error!r}"
            sender.join()
        check(label, seen, expected)


# ---- Our server ------------------------------------------------------------------------------------


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
                feed(sock, data, piece)
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


# ---- Our client ------------------------------------------------------------------------------------


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


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("server", "client"):
        sys.exit(__doc__)
    began = time.monotonic()
    {"server": check_server, "client": check_client}[sys.argv[1]](sys.argv[2])
    print(f"conformance: our {sys.argv[1]}: {passed} passed, {len(failed)} failed in {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
