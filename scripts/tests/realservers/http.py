#!/usr/bin/env python3
"""HTTP servers that end connections in their own ways, each on a port of its own: http.py

Prints one line of JSON: the address of each. Ends with its standard input.
"""

import asyncio
import json
import socket
import sys

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
FOLDED = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n  more of it\r\nContent-Length: 5\r\n\r\nhello"
LIMITED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"


async def request(reader):
    """Reads one request, which has a body only if it says how long that is."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))


def reset(writer):
    """Ends a connection with RST."""
    linger = b"\1\0\0\0\0\0\0\0"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def close_third(_reader, writer, count):
    """Closes behind each third response, and never said that it would."""
    writer.write(OK)
    return count < 3


async def reset_third(_reader, writer, count):
    """The same with a reset."""
    writer.write(OK)
    if count < 3:
        return True
    await writer.drain()
    reset(writer)
    return False


async def surplus(_reader, writer, count):
    """Sends more behind a response that it called its last."""
    writer.write(LAST + b"and more" if count == 3 else OK)
    return count < 3


async def impatient(_reader, writer, _count):
    """Closes connections on which nothing is asked for 20 ms: a request may cross the end on its way."""
    writer.write(OK)
    return True


async def folded(_reader, writer, _count):
    """Folds a header line."""
    writer.write(FOLDED)
    return True


async def limited(_reader, writer, count):
    """Refuses every second request with 429."""
    writer.write(LIMITED if count % 2 == 0 else OK)
    return True


def serve(answer, patience=None):
    """What a server does with a connection, given what it does with a request and how many seconds it waits
    for the next one."""

    async def connection(reader, writer):
        count = 0
        try:
            while True:
                await asyncio.wait_for(request(reader), patience if count else None)
                count += 1
                if not await answer(reader, writer, count):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()

    return connection


async def main():
    services = {}
    for answer in (close_third, reset_third, surplus, impatient, folded, limited):
        patience = 0.02 if answer is impatient else None
        server = await asyncio.start_server(serve(answer, patience), "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        services[answer.__name__] = f"http://127.0.0.1:{port}/"
    print(json.dumps(services), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
