"""PyPI's `websockets` as a client of our server, and as a server for our client.

    peers.py client URL GUARDED     talks to an echo server in every way it knows; GUARDED is one that
                                    lets in https://example.test only and speaks superchat and chat
    peers.py server                 listens on free ports; one line of JSON says where

The server's services: `echo` in every variant of compression, and `push`, which sends first, wants
everything back as it was, and says on standard output how that went.
"""

import asyncio
import json
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

SIZES = [0, 1, 125, 126, 127, 4096, 65535, 65536, 1 << 20, 16 << 20]
LIMITS = {"max_size": None, "max_queue": None}


def payloads():
    """Texts and bytes of every length form: some that compress well, some that do not."""
    for size in SIZES:
        # 19 bytes, over and over.
        yield "é€😀 and more " * (size // 19) + "t" * (size % 19)
        yield os.urandom(size) if size < 1 << 20 else os.urandom(1 << 16) * (size >> 16)


def describe(message):
    return f"{type(message).__name__} of {len(message)}"


# ---- As a client -----------------------------------------------------------------------------------


def offers():
    """What the client offers for compression; None: nothing."""
    yield "no deflate", None
    for server_bits, client_bits, server_alone, client_alone in [
        (None, None, False, False), (None, True, False, False), (None, None, True, True),
        (None, None, True, False), (None, None, False, True), (10, 9, False, False), (12, 12, True, True),
    ]:
        factory = ClientPerMessageDeflateFactory(
            server_no_context_takeover=server_alone, client_no_context_takeover=client_alone,
            server_max_window_bits=server_bits, client_max_window_bits=client_bits)
        yield f"deflate {server_bits}/{client_bits}/{server_alone}/{client_alone}", [factory]


def open_to(url, extensions=None, **options):
    # With a bound on what is received, a long echo would wait for a reader who is still sending.
    return connect(url, compression=None, extensions=extensions, proxy=None, **LIMITS, **options)


async def exchange(ws):
    """Sends, in turn and many at once, and wants it all back."""
    for message in payloads():
        await ws.send(message)
        assert await ws.recv() == message, f"{describe(message)} came back otherwise"
    # Fragments, which may end within a character; an iterable makes one of each of its items.
    await ws.send(["Hel", "lo, ", "", "wörld"])
    assert await ws.recv() == "Hello, wörld"
    await ws.send([b"\xff" * 70000, b"", b"\0"])
    assert await ws.recv() == b"\xff" * 70000 + b"\0"
    texts = [f"message {number} " * 5 for number in range(500)]
    for text in texts:
        await ws.send(text)
    for text in texts:
        assert await ws.recv() == text
    for data in ("", "a ping", "p" * 125):
        await asyncio.wait_for(await ws.ping(data), 10)


async def client(url, guarded):
    for name, extensions in offers():
        async with asyncio.timeout(100), open_to(url, extensions) as ws:
            await exchange(ws)
            await ws.close(4321, "as you like")
            assert ws.protocol.close_rcvd.code == 4321, ws.protocol.close_rcvd
        print(f"peers: websockets, {name}: our server echoes all", flush=True)
    wanted = ["unknown", "chat", "superchat"]
    async with open_to(guarded, subprotocols=wanted, origin="https://example.test") as ws:
        assert ws.subprotocol == "superchat", ws.subprotocol
    async with open_to(guarded, subprotocols=["unknown"]) as ws:
        assert ws.subprotocol is None, ws.subprotocol
    try:
        await open_to(guarded, origin="https://other.test")
        raise AssertionError("another origin is let in")
    except InvalidStatus as refusal:
        assert refusal.response.status_code == 403, refusal
    print("peers: websockets: subprotocols are chosen, another origin is refused", flush=True)


# ---- As a server -----------------------------------------------------------------------------------


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def push(ws):
    """Sends first and wants it all back; then closes, and wants that answered."""
    try:
        async with asyncio.timeout(100):
            await exchange(ws)
            await ws.close(1000, "that was all")
        code = ws.protocol.close_rcvd and ws.protocol.close_rcvd.code
        print(json.dumps({"push": "held" if code == 1000 else f"closed with {code}"}), flush=True)
    except (AssertionError, ConnectionClosed, TimeoutError) as error:
        print(json.dumps({"push": repr(error)}), flush=True)


def answers():
    """What the server is ready for: the name of it, compression."""
    yield "plain", None
    yield "deflate", [ServerPerMessageDeflateFactory()]
    yield "deflate-alone", [
        ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)]
    yield "deflate-small", [ServerPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=10)]


async def server():
    urls = {}
    for name, extensions in answers():
        for service in (echo, push):
            one = await serve(service, "127.0.0.1", 0, compression=None, extensions=extensions, **LIMITS)
            port = one.sockets[0].getsockname()[1]
            urls[f"{service.__name__} {name}"] = f"ws://127.0.0.1:{port}/"
    print(json.dumps(urls), flush=True)
    # Until standard input ends.
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    if sys.argv[1:] == ["server"]:
        asyncio.run(server())
    elif sys.argv[1:2] == ["client"] and len(sys.argv) == 4:
        asyncio.run(client(*sys.argv[2:]))
    else:
        sys.exit(__doc__)
