"""Bad peers: kinds of attack on a server, each as much of it as a few processes can make.

    python3 peers.py KIND HOST PORTS.json SECONDS PEERS

PORTS.json maps tcp, ws and http to ports. Prints one JSON line when its peers are at work, and ends when its
time is up, or when its standard input is closed. Standard library only.
"""

import json
import os
import random
import select
import selectors
import socket
import struct
import sys
import time
import zlib

CHUNK = 64 * 1024
KEY = "AAECAwQFBgcICQoLDA0ODw=="


# ---- What is sent ------------------------------------------------------------------------------------------------


def frame(first, payload=b""):
    """A masked frame, with a mask of zeros."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    return head + b"\0\0\0\0" + payload


def upgrade(extra=""):
    return (
        f"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{extra}\r\n"
    ).encode()


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


def squeezed(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return out[:-4]


def get(path="/small.txt", more=""):
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()


def post(body, more=""):
    return f"POST /small.txt HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def many(item, least=256 * 1024):
    return item * max(1, least // len(item))


def unique_paths():
    return b"".join(get(f"/no-{random.getrandbits(60):x}") for _ in range(4000))


# ---- Peers ----------------------------------------------------------------------------------------------------------


class Flood:
    """Peers that send `first` once, then `then` again and again, as fast as the server takes it. Whoever is
    closed on comes again."""

    def __init__(self, scheme, first, then, reads=True, slice_bytes=CHUNK, nodelay=False, gap=0.0):
        self.scheme, self.first, self.then, self.reads = scheme, first, memoryview(then), reads
        self.slice, self.nodelay, self.gap = slice_bytes, nodelay, gap

    def run(self, host, ports, peers, until, ready):
        selector = selectors.EpollSelector()
        address = (host, ports[self.scheme])
        live, sent_bytes, opened, again = 0, 0, 0, []
        for _ in range(peers):
            self.open(selector, address)
            opened += 1
        ready()
        sink = bytearray(256 * 1024)
        while (now := time.monotonic()) < until:
            for sock, at, due in again[:]:
                if due <= now:
                    again.remove((sock, at, due))
                    try:
                        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, at)
                    except (OSError, ValueError):
                        pass
            for key, events in selector.select(0.01):
                sock, at = key.fileobj, key.data
                try:
                    if events & selectors.EVENT_READ and self.reads:
                        if sock.recv_into(sink) == 0:
                            raise OSError("closed")
                    if events & selectors.EVENT_WRITE:
                        if at < 0:
                            sock.send(self.first) if self.first else 0
                            at = 0
                        else:
                            count = sock.send(self.then[at : at + self.slice])
                            sent_bytes += count
                            at = (at + count) % len(self.then)
                        if self.gap:
                            selector.unregister(sock)
                            again.append((sock, at, time.monotonic() + self.gap))
                        else:
                            events = selectors.EVENT_WRITE | (selectors.EVENT_READ if self.reads else 0)
                            selector.modify(sock, events, at)
                except BlockingIOError:
                    pass
                except OSError:
                    try:
                        selector.unregister(sock)
                    except (KeyError, ValueError):
                        pass
                    sock.close()
                    self.open(selector, address)
                    opened += 1
        return {"opened": opened, "bytes": sent_bytes}

    def open(self, selector, address):
        sock = socket.socket()
        sock.setblocking(False)
        if self.nodelay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            sock.connect(address)
        except BlockingIOError:
            pass
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, -1)


class Churn:
    """Connections that come, say something, perhaps wait for an answer, and go, as fast as they can."""

    def __init__(self, scheme, says=b"", waits=False, reset=False):
        self.scheme, self.says, self.waits, self.reset = scheme, says, waits, reset

    def run(self, host, ports, peers, until, ready):
        address, opened = (host, ports[self.scheme]), 0
        ready()
        held = []
        linger = struct.pack("ii", 1, 0)
        while time.monotonic() < until:
            sock = socket.socket()
            sock.settimeout(1)
            try:
                sock.connect(address)
                opened += 1
                if self.says:
                    sock.sendall(self.says)
                # A port that waits out its time is lost to the next: all but a few go by reset.
                if self.waits:
                    sock.recv(4096)
                if self.reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                sock.close()
            except OSError:
                sock.close()
                time.sleep(0.001)
        return {"opened": opened, "bytes": 0}


class Hold:
    """Connections that are opened, say the beginning of something, and stay: as many as there are peers, times so
    many. Then they dribble."""

    def __init__(self, scheme, first=b"", dribble=b"", times=50, gap=0.05):
        self.scheme, self.first, self.dribble, self.times, self.gap = scheme, first, dribble, times, gap

    def run(self, host, ports, peers, until, ready):
        socks = []
        for _ in range(peers * self.times):
            sock = socket.socket()
            sock.settimeout(1)
            try:
                sock.connect((host, ports[self.scheme]))
                if self.first:
                    sock.sendall(self.first)
                sock.setblocking(False)
                socks.append(sock)
            except OSError:
                sock.close()
        ready()
        at = 0
        while time.monotonic() < until:
            if self.dribble:
                byte = self.dribble[at % len(self.dribble) : at % len(self.dribble) + 1]
                at += 1
                for sock in socks:
                    try:
                        sock.send(byte)
                    except OSError:
                        pass
            time.sleep(self.gap)
        return {"opened": len(socks), "bytes": 0}


def kinds():
    """All kinds of attack, by name."""
    ws = lambda then, reads=True, extra="", **more: Flood("ws", upgrade(extra), then, reads, **more)
    http = lambda then, reads=True, **more: Flood("http", b"", then, reads, **more)
    bomb = frame(0xC2, squeezed(bytes(4 << 20)))
    large = frame(0x82, bytes(1 << 20))
    chunked = b"POST /small.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    long_head = get("/small.txt", "X-Long: " + "a" * 60000 + "\r\n")
    many_lines = get("/small.txt", "".join(f"X-{n}: {n}\r\n" for n in range(250)))
    ranges = b"".join(get("/large.bin", f"Range: bytes={n * 7919}-{n * 7919 + 99999}\r\n") for n in range(500))
    return {
        "ws-empty-frames": ws(many(frame(0x82))),
        "ws-tiny-frames": ws(many(frame(0x82, b"x"))),
        "ws-tiny-frames-unread": ws(many(frame(0x82, b"x")), reads=False),
        "ws-tiny-texts": ws(many(frame(0x81, b"x"))),
        "ws-pings": ws(many(frame(0x89))),
        "ws-pings-unread": ws(many(frame(0x89, bytes(125))), reads=False),
        "ws-pongs": ws(many(frame(0x8A))),
        "ws-endless-fragments": Flood("ws", upgrade() + frame(0x02, b"a"), many(frame(0x00, b"a"))),
        "ws-many-fragments": ws(many(frame(0x02) + frame(0x00, b"a") * 3 + frame(0x80))),
        "ws-half-compressed": Hold("ws", upgrade(DEFLATE) + frame(0x42, squeezed(b"half of it " * 50)), b"", 50),
        "ws-deflate-bombs": ws(many(bomb), extra=DEFLATE),
        "ws-deflate-bombs-unread": ws(many(bomb), reads=False, extra=DEFLATE),
        "ws-empty-compressed": ws(many(frame(0xC2, b"\0")), extra=DEFLATE),
        "ws-large-messages": ws(large),
        "ws-large-messages-unread": ws(large, reads=False),
        "ws-one-byte-segments": ws(many(frame(0x82, b"abcdefgh")), slice_bytes=1, nodelay=True),
        "ws-close-storm": Churn("ws", upgrade() + frame(0x88, b"\x03\xe8"), waits=True, reset=True),
        "ws-reserved-bits": Churn("ws", upgrade() + frame(0xF2, b"x"), waits=True, reset=True),
        "ws-invalid-utf8": Churn("ws", upgrade() + frame(0x81, b"\xc3\x28"), waits=True, reset=True),
        "ws-upgrade-storm": Churn("ws", upgrade(DEFLATE), waits=True, reset=True),
        "ws-bad-handshakes": Churn("ws", get("/", "Upgrade: h2c\r\n"), waits=True, reset=True),
        "ws-dribbled-handshakes": Hold("ws", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a", 50),
        "http-pipelined-gets": http(many(get())),
        "http-pipelined-gets-unread": http(many(get()), reads=False),
        "http-pipelined-heads": http(many(get().replace(b"GET", b"HEAD"))),
        "http-bodies": http(many(post(bytes(100000)))),
        "http-one-byte-chunks": Flood("http", chunked, many(b"1\r\na\r\n")),
        "http-dribbled-heads": Hold("http", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a", 50),
        "http-slow-bodies": Hold("http", post(b"")[:-24] + b"Content-Length: 99999\r\n\r\n", b"a", 50),
        "http-long-heads": http(many(long_head)),
        "http-many-header-lines": http(many(many_lines)),
        "http-ranges": http(ranges),
        "http-large-files": http(many(get("/large.bin"))),
        "http-large-files-unread": http(many(get("/large.bin")), reads=False),
        "http-not-found": http(many(get("/no"))),
        "http-unique-paths": http(unique_paths()),
        "http-request-and-reset": Churn("http", get(), waits=True, reset=True),
        "http-one-byte-segments": http(many(get()), slice_bytes=1, nodelay=True),
        "tcp-connect-reset": Churn("tcp", reset=True),
        "tcp-connect-close": Churn("tcp", b"x", waits=True, reset=False),
        "tcp-half-open": Hold("tcp", b"", b"", 100),
        "tcp-echo": Flood("tcp", b"", bytes(1 << 20)),
        "tcp-echo-unread": Flood("tcp", b"", bytes(1 << 20), reads=False),
        "tcp-one-byte-segments": Flood("tcp", b"", bytes(4096), slice_bytes=1, nodelay=True),
        "mixed": None,
    }


MIXED = [
    "ws-empty-frames", "ws-pings-unread", "ws-deflate-bombs", "http-pipelined-gets", "http-large-files-unread",
    "http-request-and-reset", "tcp-echo", "tcp-connect-reset",
]


def main():
    kind, host, ports, seconds, peers = sys.argv[1:6]
    if kind == "--list":
        print("\n".join(kinds()))
        return
    ports, until, peers = json.loads(ports), time.monotonic() + float(seconds), int(peers)
    all_kinds = kinds()
    names = MIXED if kind == "mixed" else [kind] * 2
    each = max(1, peers // len(names))
    children = []
    for name in names:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            done = all_kinds[name].run(host, ports, each, until, lambda: os.write(write, b"r\n"))
            os.write(write, (json.dumps(done) + "\n").encode())
            os._exit(0)
        os.close(write)
        children.append((child, os.fdopen(read, "rb")))
    try:
        for _, pipe in children:
            pipe.readline()
        print(json.dumps({"kind": kind, "peers": peers}), flush=True)
        # Whoever started us may go before us.
        while time.monotonic() < until:
            if select.select([sys.stdin], [], [], 0.1)[0] and not sys.stdin.buffer.read1(1):
                break
    finally:
        done = []
        for child, pipe in children:
            if time.monotonic() < until:
                os.kill(child, 9)
            line = pipe.readline()
            done.append(json.loads(line) if line else None)
            os.waitpid(child, 0)
    print(json.dumps({"done": done}), flush=True)


if __name__ == "__main__":
    main()
