#!/usr/bin/env python3
"""TCP servers with manners of their own, each on a port of its own: tcp.py

`greeting` sends a banner and then echoes; `ssh` answers as another protocol; `slow` echoes 500 messages of 32
bytes a second, all connections together, and no more. Prints one line of JSON: the address of each. Ends with
its standard input.
"""

import asyncio
import json
import sys

MESSAGE = 32
RATE = 500


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def greeting(reader, writer):
    writer.write(b"220 good day\r\n")
    await echo(reader, writer)


async def ssh(reader, writer):
    await reader.read(1)
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await reader.read()


class Slow:
    """One queue for all connections, served at a fixed rate."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def __call__(self, reader, writer):
        while True:
            self.queue.put_nowait((writer, await reader.readexactly(MESSAGE)))

    async def work(self):
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            writer, message = await self.queue.get()
            due = max(due + 1 / RATE, loop.time() - 0.1)
            await asyncio.sleep(max(0, due - loop.time()))
            writer.write(message)


def quiet(serve):
    """A peer that leaves is no error."""

    async def connection(reader, writer):
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return connection


async def main():
    slow = Slow()
    worker = asyncio.create_task(slow.work())
    services = {}
    for name, serve in {"greeting": greeting, "ssh": ssh, "slow": slow}.items():
        server = await asyncio.start_server(quiet(serve), "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        services[name] = f"tcp://127.0.0.1:{port}"
    print(json.dumps(services), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    worker.cancel()


asyncio.run(main())
