"""The rules of RFC 9110 and RFC 9112, case by case over raw sockets, against our client.

    client.py PROGRAM       PROGRAM is c1000k-client, whose `run` loads servers here

Each case is a server that answers in its own way, and the counts that must come of it.
Needs Python 3.9 and nothing else, with PYTHONPATH=scripts/tests.
"""

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from conformance import MIB, check, main, send_in_pieces

OK = b"HTTP/1.1 200 OK\r\n"
KEEP, CLOSE, RESET, STALL = "keep", "close", "reset", "stall"
# How a client may ask: options, and how many requests it may have on their way.
MODELS = {
    "open": ["--rate", "100"],
    "closed": ["--closed"],
    "pipelined": ["--closed", "--pipeline", "4"],
    "open, pipelined": ["--rate", "200", "--pipeline", "3"],
    "churn": ["--rate", "100", "--close"],
    "closed churn": ["--closed", "--close"],
}


def sized(body=b"hello", status=OK, *headers):
    return status + b"".join(h + b"\r\n" for h in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(chunks, *headers, trailers=b""):
    return OK + b"".join(h + b"\r\n" for h in headers) + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n"


class Peer:
    """A server that answers every request with `answer(number on this connection)`: bytes, and what becomes
    of the connection: it goes on, is closed, is reset, or stays open without a further word. `piece` bytes
    leave at a time, `greeting` before any request."""

    def __init__(self, answer, piece=0, greeting=b"", delay=0):
        self.answer, self.piece, self.greeting, self.delay = answer, piece, greeting, delay
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.requests, self.socks, self.wrong = [], [], []
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.socks.append(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        data, number = b"", 0
        try:
            send_in_pieces(sock, self.greeting, 0)
            while True:
                more = sock.recv(65536)
                if not more:
                    break
                data += more
                while b"\r\n\r\n" in data:
                    head, rest = data.split(b"\r\n\r\n", 1)
                    length = re.search(rb"\r\nContent-Length: (\d+)", head)
                    length = int(length[1]) if length else 0
                    if len(rest) < length:
                        break
                    data = rest[length:]
                    with self.lock:
                        self.requests.append((head, rest[:length]))
                    if not re.match(rb"(GET|HEAD|POST) /\S* HTTP/1\.1\r\nHost: 127\.0\.0\.1:\d+(\r\n|$)", head):
                        self.wrong.append(head)
                    answer, then = self.answer(number)
                    number += 1
                    if self.delay:
                        time.sleep(self.delay)
                    send_in_pieces(sock, answer, self.piece)
                    if then == RESET:
                        time.sleep(0.005)
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    if then in (CLOSE, STALL):
                        if then == CLOSE:
                            sock.shutdown(socket.SHUT_WR)
                        while sock.recv(65536):
                            pass
                        return
        except OSError:
            pass
        finally:
            sock.close()

    def end(self, reset=True):
        """Ends everything at once, as if the server had been killed."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for sock in self.socks:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Run:
    """A run of our client, and what it says."""

    def __init__(self, program, port, *options, path="/a?b", seconds="300ms"):
        folder = tempfile.mkdtemp()
        self.file = os.path.join(folder, "result.json")
        options = [*options, "--duration", seconds, "--quiet", "--reactors", "1", "--output", self.file]
        # As fast as it goes, however busy the machine is: this is about counts.
        self.process = subprocess.Popen([program, "run", f"http://127.0.0.1:{port}{path}", "-c", "3", *options],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def result(self):
        _, self.errors = self.process.communicate(timeout=60)
        self.code = self.process.returncode
        with open(self.file) as file:
            self.json = json.load(file)
        shutil.rmtree(os.path.dirname(self.file))
        return self.json


def balance(result):
    """Whether nothing was lost in the books: what does not add up."""
    c, m = result["connections"], result["messages"]
    first = m["first_echo"] or {"sent": 0, "received": 0}
    wrong = []
    if c["opened"] != c["lost"] + c["ended"] + c["open_at_end"]:
        wrong.append("connections")
    if m["sent"] != m["received"] + m["lost"]:
        wrong.append("messages")
    if m["received"] + first["received"] != sum(result["http_statuses"].values()):
        wrong.append("statuses")
    if c["planned"] is not None and c["failed"] + c["lost"] != sum(result["failures"].values()):
        wrong.append("failures")
    return wrong


def legal_answers():
    """Name, answer, bytes of its body, and perhaps options of the peer."""
    yield "plain", sized(), 5, {}
    yield "byte by byte", sized(), 5, dict(piece=1)
    yield "in pieces", chunked(b"3\r\nabc\r\n2\r\nde\r\n"), 5, dict(piece=3)
    yield "late", sized(), 5, dict(delay=0.02)
    yield "nothing in it", sized(b""), 0, {}
    yield "a large body", sized(b"x" * MIB), MIB, {}
    yield "100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + sized(), 5, {}
    yield "103 first", b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" + sized(), 5, {}
    yield "many first", b"HTTP/1.1 102 Processing\r\n\r\n" * 32 + sized(), 5, dict(piece=11)
    yield "199 first", b"HTTP/1.1 199\r\nContent-Length: 7\r\n\r\n" + sized(), 5, {}
    yield "chunks", chunked(b"3\r\nabc\r\n2\r\nde\r\n"), 5, {}
    yield "no chunks", chunked(b""), 0, {}
    yield "extensions and trailers", chunked(b"3;a;b=c;d=\"e;f\"\r\nabc\r\n2 ;x\r\nde\r\n", trailers=b"A: b\r\nContent-Length: 99\r\n"), 5, {}
    yield "chunks in odd digits", chunked(b"0000A\r\n0123456789\r\na\r\n0123456789\r\n"), 20, {}
    yield "up to the end", OK + b"\r\nhello", 5, dict(then=CLOSE)
    yield "nothing up to the end", OK + b"\r\n", 0, dict(then=CLOSE)
    yield "the last one", sized(b"hello", OK, b"Connection: close"), 5, dict(then=CLOSE)
    yield "the last one of a server that stays", sized(b"hello", OK, b"Connection: Close"), 5, dict(then=STALL)
    yield "the last one in chunks", chunked(b"5\r\nhello\r\n", b"connection: x, close"), 5, dict(then=CLOSE)
    yield "HTTP/1.0", sized(b"hello", b"HTTP/1.0 200 OK\r\n"), 5, dict(then=CLOSE)
    yield "HTTP/1.0, kept", sized(b"hello", b"HTTP/1.0 200 OK\r\n", b"Connection: keep-alive"), 5, {}
    yield "HTTP/1.0 up to the end", b"HTTP/1.0 200 OK\r\n\r\nhello", 5, dict(then=CLOSE)
    yield "HTTP/1.2", sized(b"hello", b"HTTP/1.2 200 OK\r\n"), 5, {}
    yield "204", b"HTTP/1.1 204 No Content\r\n\r\n", 0, {}
    yield "204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 0, {}
    yield "205", sized(b"", b"HTTP/1.1 205 Reset Content\r\n"), 0, {}
    yield "304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n", 0, {}
    yield "304 with chunks", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 0, {}
    yield "no reason", sized(b"hello", b"HTTP/1.1 200 \r\n"), 5, {}
    yield "no reason and no blank", sized(b"hello", b"HTTP/1.1 200\r\n"), 5, {}
    yield "an odd reason", sized(b"hello", b"HTTP/1.1 200 \xe4\t ok\r\n"), 5, {}
    yield "a long head", sized(b"hello", OK, b"X: " + b"y" * 16000), 5, {}
    yield "many headers", sized(b"hello", OK, *[b"X: y"] * 63), 5, {}
    yield "a folded header", OK + b"X: y\r\n z\r\nContent-Length:\r\n 5\r\n\r\nhello", 5, {}
    yield "odd blanks", OK + b"content-LENGTH:\t 005 \t\r\n\r\nhello", 5, {}
    yield "compressed", sized(b"\x1f\x8b\x08\x00", OK, b"Content-Encoding: gzip"), 4, {}
    yield "a body that looks like an answer", sized(sized()), len(sized()), {}
    yield "HEAD", OK + b"Content-Length: 1000\r\n\r\n", 0, dict(options=["--method", "HEAD"])
    yield "HEAD in chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n", 0, dict(options=["--method", "HEAD"])
    yield "HEAD without a length", OK + b"\r\n", 0, dict(options=["--method", "HEAD"])
    yield "HEAD, the last one", OK + b"Connection: close\r\n\r\n", 0, dict(options=["--method", "HEAD"], then=CLOSE)


def illegal_answers():
    """Name, answer, what becomes of the connection, and what is counted: a kind of failure, and a word of
    the rule. None of these is a reply."""
    both = OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    for name, answer, then, rule in (
        ("both lengths", both + b"5\r\nhello\r\n0\r\n\r\n", KEEP, "not both"),
        ("two lengths", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", KEEP, "Content-Length"),
        ("two equal lengths", OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", KEEP, "Content-Length"),
        ("a list of lengths", OK + b"Content-Length: 5, 6\r\n\r\nhello", KEEP, "Content-Length"),
        ("a sign", OK + b"Content-Length: +5\r\n\r\nhello", KEEP, "Content-Length"),
        ("a length that is no number", OK + b"Content-Length: x\r\n\r\nhello", KEEP, "Content-Length"),
        ("an empty length", OK + b"Content-Length:\r\n\r\n", KEEP, "Content-Length"),
        ("a length beyond 64 bits", OK + b"Content-Length: 18446744073709551616\r\n\r\n", KEEP, "Content-Length"),
        ("a body that is too short", OK + b"Content-Length: 6\r\n\r\nhello", CLOSE, "before the body was complete"),
        ("no body", OK + b"Content-Length: 6\r\n\r\n", CLOSE, "before the body was complete"),
        ("a chunk that is too short", OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\nhello", CLOSE, "before the body was complete"),
        ("no last chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", CLOSE, "before the body was complete"),
        ("half a last chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", CLOSE, "before the body was complete"),
        ("half a head", OK + b"Content-Len", CLOSE, "within the head"),
        ("only 100", b"HTTP/1.1 100 Continue\r\n\r\n", CLOSE, "within the head"),
        ("no chunk's size", OK + b"Transfer-Encoding: chunked\r\n\r\nhello", KEEP, "chunk's size"),
        ("a chunk that is too long", OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n", KEEP, "longer than its size"),
        ("a bad trailer", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nx\r\n\r\n", KEEP, "trailer"),
        ("another coding", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", KEEP, "transfer coding"),
        ("chunks in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", KEEP, "HTTP/1.0"),
        ("101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", KEEP, "switched"),
        ("100 for ever", b"HTTP/1.1 100 Continue\r\n\r\n" * 40, KEEP, "informational"),
        ("HTTP/2.0", b"HTTP/2.0 200 OK\r\n\r\n", KEEP, "HTTP/1.1"),
        ("another protocol", b"SSH-2.0-OpenSSH_9\r\n\r\n", KEEP, "speaks SSH"),
        ("TLS", b"\x15\x03\x01\x00\x02\x02\x16", KEEP, "speaks TLS"),
        ("an empty line first", b"\r\n" + sized(), KEEP, "malformed"),
        ("bare feeds", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", KEEP, "malformed"),
        ("a blank before the colon", OK + b"Content-Length : 0\r\n\r\n", KEEP, "malformed"),
        ("status 99", sized(b"", b"HTTP/1.1 099 x\r\n"), KEEP, "malformed"),
        ("a status of four digits", sized(b"", b"HTTP/1.1 2000 x\r\n"), KEEP, "malformed"),
        ("a head without an end", OK + b"X: " + b"y" * 70000, KEEP, "larger than 65536 bytes"),
        ("too many headers", sized(b"", OK, *[b"X: y"] * 256), KEEP, "more than 256 header lines"),
    ):
        yield name, answer, then, "protocol", rule
    yield "nothing", b"", CLOSE, "closed", None
    yield "a reset", b"", RESET, "reset", None
    yield "half an answer and a reset", OK + b"Content-Length: 6\r\n\r\nhel", RESET, "reset", None
    yield "no answer", b"", KEEP, "timed_out", None
    yield "half an answer", OK + b"Content-Length: 6\r\n\r\nhello", KEEP, "timed_out", None


def behind_answers():
    """What comes behind an answer that is right: it counts, and then the connection does not."""
    yield "a body that is too long", sized() + b"!", KEEP, "protocol", "malformed"
    yield "an empty line", sized() + b"\r\n", KEEP, "protocol", "malformed"
    yield "a second answer", sized() * 2, KEEP, "protocol", "no request had asked"
    yield "half a second answer", sized() + b"HTTP/1.1 200", CLOSE, "protocol", "within the head"
    yield "something behind the last", sized(b"hello", OK, b"Connection: close") + b"!", CLOSE, "protocol", "was to be the last"
    yield "a body behind 204", b"HTTP/1.1 204 No Content\r\n\r\nhello", KEEP, "protocol", "malformed"
    yield "a reset", sized(), RESET, "reset", None
    yield "the end without a word", sized(), CLOSE, "closed", None
    yield "a timeout", sized() + b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", CLOSE, "closed", None


def check_legal(program, name, answer, length, peer, model):
    options, then = peer.pop("options", []), peer.pop("then", KEEP)
    server = Peer(lambda number: (answer, then), **peer)
    run = Run(program, server.port, *MODELS[model], *options)
    result, label = run.result(), f"{name} ({model})"
    server.end()
    c, m = result["connections"], result["messages"]
    check(f"{label}: books", balance(result), [])
    check(f"{label}: nothing failed", (c["failed"], c["lost"], m["lost"], m["unserved"], result["violations"]), (0, 0, 0, 0, {}))
    check(f"{label}: answers", (m["received"] > 0, m["bytes_received"]), (True, m["received"] * length))
    check(f"{label}: requests", server.wrong, [])
    if model in ("open", "open, pipelined", "churn"):
        check(f"{label}: all of the plan", m["sent"], 60 if model == "open, pipelined" else 30)
    if then in (CLOSE, STALL) or model in ("churn", "closed churn"):
        check(f"{label}: one connection for each", c["ended"] >= m["received"], True)


def check_illegal(program, name, answer, then, kind, rule, model, replies):
    server = Peer(lambda number: (answer, then))
    run = Run(program, server.port, *MODELS[model], "--timeout", "400ms")
    result, label = run.result(), f"{name} ({model})"
    server.end()
    c, m, first = result["connections"], result["messages"], result["messages"]["first_echo"] or {"received": 0}
    check(f"{label}: books", balance(result), [])
    if replies:
        # What stands behind an answer is heard, or its connection is gone by then.
        churns = model in ("churn", "closed churn")
        check(f"{label}: answers count", m["received"] + first["received"] > 0, True)
        check(f"{label}: its kind", set(k for k, n in result["failures"].items() if n) <= {kind, "closed", "reset"} or result["failures"], True)
        if not churns and "last" not in name:
            # A server may end a connection on which nothing is due (RFC 9112 9.3): then nothing is lost.
            silently = kind in ("closed", "reset")
            check(f"{label}: counted", c["lost"] + c["failed"] + (c["ended_idle"] if silently else 0) > 0, True)
            if silently and model in ("open", "closed"):
                check(f"{label}: ended, not lost", (c["lost"], c["failed"], m["lost"]), (0, 0, 0))
    else:
        check(f"{label}: no answer", (m["received"], first["received"]), (0, 0))
        kinds = {k for k, n in result["failures"].items() if n}
        check(f"{label}: its kind", kinds, {kind})
        if rule:
            check(f"{label}: its rule", [rule in text for text in result["violations"]], [True])
    check(f"{label}: requests", server.wrong, [])


def check_mixed(program):
    """Paths, bodies, connections that end after some answers, servers that die, and a run that is cut short."""
    folder = tempfile.mkdtemp()
    paths, body = os.path.join(folder, "paths"), os.path.join(folder, "body")
    with open(paths, "w") as file:
        file.write("/1\n/2?x\n# no path\n\n/3\n")
    with open(body, "wb") as file:
        file.write(bytes(range(256)) * 100)
    for model in MODELS:
        server = Peer(lambda number: (sized(), KEEP))
        result = Run(program, server.port, *MODELS[model], "--paths", paths, path="").result()
        server.end()
        asked = {}
        for head, _ in server.requests:
            line = head.split(b"\r\n")[0]
            asked[line] = asked.get(line, 0) + 1
        check(f"paths ({model}): all of them", sorted(asked), [b"GET /%s HTTP/1.1" % path for path in (b"1", b"2?x", b"3")])
        check(f"paths ({model}): evenly", max(asked.values()) - min(asked.values()) <= max(12, sum(asked.values()) // 10), True)
        check(f"paths ({model}): books", balance(result), [])
        server = Peer(lambda number: (sized(b""), KEEP))
        result = Run(program, server.port, *MODELS[model], "--method", "POST", "--body-file", body).result()
        server.end()
        check(f"bodies ({model}): whole", {data == bytes(range(256)) * 100 for _, data in server.requests}, {True})
        check(f"bodies ({model}): counted", result["messages"]["bytes_sent"], result["messages"]["sent"] * 25600)
        # The third answer of each connection is its last one.
        server = Peer(lambda number: (sized(), KEEP) if number < 2 else (sized(b"hello", OK, b"Connection: close"), CLOSE))
        result = Run(program, server.port, *MODELS[model]).result()
        server.end()
        c, m = result["connections"], result["messages"]
        check(f"renewed ({model}): books", balance(result), [])
        check(f"renewed ({model}): nothing lost", (c["lost"], c["failed"], m["lost"], c["ended"] > 0), (0, 0, 0, True))
        check(f"renewed ({model}): answers", m["bytes_received"], 5 * m["received"])
        # The server is killed in the middle.
        server = Peer(lambda number: (sized(), KEEP), delay=0.005)
        run = Run(program, server.port, *MODELS[model], seconds="1s")
        time.sleep(0.8)
        server.end()
        result = run.result()
        check(f"killed ({model}): books", balance(result), [])
        check(f"killed ({model}): failed", (result["messages"]["received"] > 0, result["connections"]["open_at_end"]), (True, 0))
        check(f"killed ({model}): exit code", run.code != 0, True)
        # Ctrl-C.
        server = Peer(lambda number: (sized(), KEEP), delay=0.005)
        run = Run(program, server.port, *MODELS[model], seconds="20s")
        time.sleep(1)
        run.process.send_signal(signal.SIGINT)
        result = run.result()
        server.end()
        check(f"cut short ({model}): books", balance(result), [])
        check(f"cut short ({model}): nothing is lost by that", (result["connections"]["lost"], result["connections"]["failed"], result["messages"]["lost"]), (0, 0, 0))
    # Nobody asked anything yet.
    for name, greeting, kind in (("a greeting", b"220 hello\r\n", "protocol"), ("an answer", sized(), "protocol"),
                                 ("a timeout", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", "closed")):
        server = Peer(lambda number: (sized(), KEEP), greeting=greeting)
        result = Run(program, server.port, *MODELS["open"]).result()
        server.end()
        check(f"unasked, {name}: books", balance(result), [])
        kinds = {k for k, n in result["failures"].items() if n}
        check(f"unasked, {name}: nothing but its kind", kinds <= {kind}, True)
    # Statuses are counted one by one, whatever they mean.
    server = Peer(lambda number: (sized(b"x", b"HTTP/1.1 %d x\r\n" % (200, 299, 302, 404, 500, 599, 600, 999)[number % 8]), KEEP))
    result = Run(program, server.port, "--rate", "240").result()
    server.end()
    check("statuses: books", balance(result), [])
    check("statuses: all of them", sorted(result["http_statuses"]), ["200", "299", "302", "404", "500", "599", "600", "999"])
    m = result["messages"]
    good = sum(n for code, n in result["http_statuses"].items() if code < "400")
    check("statuses: served", m["received"] - m["unserved"] + m["first_echo"]["received"] - m["first_echo"]["unserved"], good)
    shutil.rmtree(folder)


def check_client(program):
    with ThreadPoolExecutor(8) as pool:
        jobs = []
        for name, answer, length, peer in legal_answers():
            for model in MODELS:
                jobs.append(pool.submit(check_legal, program, name, answer, length, dict(peer), model))
        for name, answer, then, kind, rule in illegal_answers():
            for model in ("open", "closed", "pipelined", "churn"):
                jobs.append(pool.submit(check_illegal, program, name, answer, then, kind, rule, model, False))
        for name, answer, then, kind, rule in behind_answers():
            for model in MODELS:
                jobs.append(pool.submit(check_illegal, program, "behind: " + name, answer, then, kind, rule, model, True))
        for job in jobs:
            job.result()
    check_mixed(program)


if __name__ == "__main__":
    main("client", check_client, __doc__)
