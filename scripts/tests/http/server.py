"""The rules of RFC 9110 and RFC 9112, case by case over raw sockets, against our server.

    server.py PROGRAM       PROGRAM is c1000k-server, which is started here

Each case says which bytes are sent and which answers must come back. Behind them a request follows that is
answered if, and only if, the connection goes on: so a reader that finds another end of a message than the
rules say is found out. Each case runs with its bytes in one write and byte by byte.
Needs Python 3.9 and nothing else, with PYTHONPATH=scripts/tests.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from email.utils import formatdate

from conformance import MIB, PATIENCE, check, main, send_in_pieces

BODY_MAX = 1000
LAST = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
UPGRADE = (b"GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
HELLO, ECHO = b"\x82\x85\0\0\0\0hello", b"\x82\x05hello"


class Server:
    """`c1000k-server`, started with these options on a port of its own."""

    def __init__(self, program, *options, files=None):
        def limit():
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.process = subprocess.Popen([program, "--json", *options, "http://127.0.0.1:0"], preexec_fn=limit,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.url = json.loads(self.process.stdout.readline())["url"]
        self.port = int(self.url.rsplit(":", 1)[1])

    def connect(self, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=PATIENCE)
        check("the server's end", (self.process.returncode, b"panic" in errors), (0, False))


class Answer:
    """One answer: status, headers by name in lower case, body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:60]!r}"


def read_all(sock):
    """All that comes up to the end, and whether that was a reset or a silence."""
    parts, end = [], "closed"
    try:
        while True:
            more = sock.recv(MIB)
            if not more:
                break
            parts.append(more)
    except ConnectionResetError:
        end = "reset"
    except socket.timeout:
        end = "silence"
    return b"".join(parts), end


def parse(data, heads=()):
    """The answers in these bytes; those whose numbers are in `heads` have no bodies. What does not follow
    the grammar is the last element, as bytes."""
    answers = []
    while data:
        number = len([a for a in answers if a.status >= 200])
        if b"\r\n\r\n" not in data:
            return answers + [data]
        head, rest = data.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        if not re.fullmatch(r"HTTP/1\.1 [1-5]\d\d [\x20-\x7e]*", lines[0]):
            return answers + [data]
        status, headers = int(lines[0][9:12]), {}
        for line in lines[1:]:
            field = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)", line)
            if not field or field[1].lower() in headers:
                return answers + [data]
            headers[field[1].lower()] = field[2]
        if status == 101:
            return answers + [Answer(status, headers, rest)]
        if status >= 200 and not re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers.get("date", "")):
            return answers + [data]
        length = headers.get("content-length")
        bodiless = status in (100, 304) or number in heads
        if not bodiless and (length is None or len(rest) < int(length)):
            return answers + [data]
        end = 0 if bodiless else int(length)
        answers.append(Answer(status, headers, rest[:end]))
        data = rest[end:]
    return answers


def run_case(server, name, data, expected, heads=(), sizes=(0, 1, 7)):
    """Sends the bytes and the last request behind them, and compares the statuses. An expectation that is
    a tuple names headers, too, and perhaps the body: (status, {name: value or None}, body)."""
    for size in sizes:
        with server.connect() as sock:
            send_in_pieces(sock, data + LAST, size)
            got, end = read_all(sock)
        answers = parse(got, heads)
        label = f"{name} ({'one write' if size == 0 else f'pieces of {size}'})"
        wanted = [status if isinstance(status, int) else status[0] for status in expected]
        seen = [a if isinstance(a, bytes) else a.status for a in answers if isinstance(a, bytes) or a.status != 100]
        check(label, (seen, end), (wanted, "closed"))
        if seen != wanted:
            continue
        for answer, want in zip([a for a in answers if a.status != 100], expected):
            if isinstance(want, tuple):
                headers = {key: answer.headers.get(key) for key in want[1]}
                check(f"{label}: headers", headers, want[1])
                if len(want) > 2:
                    check(f"{label}: body", answer.body, want[2])


def request(line, *headers, host="h", body=b""):
    lines = [line] + ([f"Host: {host}"] if host is not None else []) + list(headers)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def get(path="/small", *headers, **more):
    return request(f"GET {path} HTTP/1.1", *headers, **more)


def post(*headers, body=b""):
    return request("POST /small HTTP/1.1", *headers, body=body)


def framing_cases():
    """Name, bytes, expected statuses. 200 at the end: the last request was answered, so the connection
    goes on, and where it should."""
    ok, bad = [405, 200], [400]
    # ---- Content-Length
    yield "a sized body", post("Content-Length: 5", body=b"hello"), ok
    yield "no body", post("Content-Length: 0"), ok
    yield "no length", post(), ok
    yield "leading zeros", post("Content-Length: 0005", body=b"hello"), ok
    yield "blanks around a length", post("Content-Length: \t 5 \t", body=b"hello"), ok
    yield "a body that looks like a request", post(f"Content-Length: {len(LAST)}", body=LAST), ok
    yield "GET with a body", get("/small", "Content-Length: 5", body=b"hello"), [200, 200]
    yield "the largest body", post(f"Content-Length: {BODY_MAX}", body=b"x" * BODY_MAX), ok
    for value in ("5, 5", "5,5", "5, 6", "+5", "-5", "5 5", "0x5", "5;", "5.0", "", "five", "5e0", "\"5\"", "5\xa0", "²",
                  "18446744073709551616", "99999999999999999999999999", "-0", ",5", "5,"):
        yield f"Content-Length: {value}", post(f"Content-Length: {value}", body=b"hello"), bad
    yield "two lengths", post("Content-Length: 5", "Content-Length: 5", body=b"hello"), bad
    yield "two other lengths", post("Content-Length: 5", "Content-Length: 6", body=b"hello"), bad
    for value in (BODY_MAX + 1, 2**31, 2**32 + 5, 2**63, 2**64 - 1):
        yield f"too large: {value}", post(f"Content-Length: {value}", body=b"hello"), [413]
    # ---- Transfer-Encoding
    chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    yield "chunks", post("Transfer-Encoding: chunked", body=chunks), ok
    for value in ("Chunked", "CHUNKED", "\tchunked "):
        yield f"Transfer-Encoding: {value!r}", post(f"Transfer-Encoding: {value}", body=chunks), ok
    for value in ("gzip, chunked", "deflate,chunked", "x, y, chunked"):
        yield f"Transfer-Encoding: {value}", post(f"Transfer-Encoding: {value}", body=chunks), [501]
    for value in ("gzip", "identity", "chunked, gzip", "chunked, chunked", "chunked;q=1", "xchunked", "chunkedx", "chunked x",
                  "\"chunked\"", "", ",", "chunked\x0b", "\x0bchunked", "chunked\xa0", "chunKed\x00", "cow", "chunked, identity",
                  "identity, chunked, identity"):
        yield f"Transfer-Encoding: {value!r}", post(f"Transfer-Encoding: {value}", body=chunks), bad
    both = ("Content-Length: 5", "Transfer-Encoding: chunked")
    yield "both", post(*both, body=chunks), bad
    yield "both, the other way", post(*reversed(both), body=chunks), bad
    yield "both, no length to speak of", post("Content-Length: 0", "Transfer-Encoding: chunked", body=chunks), bad
    yield "two transfer codings", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=chunks), bad
    yield "two, one hidden", post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=chunks), bad
    yield "in HTTP/1.0", request("POST /small HTTP/1.0", "Transfer-Encoding: chunked", body=chunks), bad
    for name, header in (("a blank before the colon", "Transfer-Encoding : chunked"), ("a tab before the colon", "Transfer-Encoding\t: chunked"),
                         ("a vertical tab in a name", "Transfer-Encoding\x0b: chunked"), ("a blank before the name", " Transfer-Encoding: chunked"),
                         ("a folded value", "Transfer-Encoding:\r\n chunked"), ("a folded length", "Content-Length: 1\r\n 2"),
                         ("a bare return", "X: y\rTransfer-Encoding: chunked"), ("a bare feed", "X: y\nTransfer-Encoding: chunked"),
                         ("a NUL in a value", "X: y\x00z"), ("a NUL in a name", "X\x00: y"), ("no colon", "Transfer-Encoding chunked"),
                         ("no name", ": chunked"), ("a delete", "X: y\x7f"), ("a name in quotes", "\"X\": y"), ("a name with an umlaut", "X\xe4: y"),
                         ("a length with a blank before the colon", "Content-Length : 5")):
        yield name, get("/small", header), bad
    # Another line of a value is a blank (RFC 9112 5.2), whatever it looks like.
    yield "a folded header", get("/small", "X: y\r\n Transfer-Encoding: chunked", "Z:\r\n\t y"), [200, 200]
    yield "underscores are another name", post("Transfer_Encoding: chunked", "Content_Length: 5"), ok
    # ---- Chunks
    for name, body in (("extensions", b"3;a=b;c=\"d;e\";f\r\nabc\r\n0;z\r\n\r\n"), ("trailers", b"3\r\nabc\r\n0\r\nA: b\r\nContent-Length: 7\r\n\r\n"),
                       ("leading zeros", b"0000003\r\nabc\r\n000\r\n\r\n"), ("hexadecimal", b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
                       ("17 digits", b"00000000000000003\r\nabc\r\n0\r\n\r\n"), ("no chunks", b"0\r\n\r\n"), ("a blank before an extension", b"3 ;a\r\nabc\r\n0\r\n\r\n")):
        yield f"chunks: {name}", post("Transfer-Encoding: chunked", body=body), ok
    for name, body in (("0x", b"0x3\r\nabc\r\n0\r\n\r\n"), ("a sign", b"+3\r\nabc\r\n0\r\n\r\n"), ("a minus", b"-3\r\nabc\r\n0\r\n\r\n"),
                       ("a bare feed behind the size", b"3\nabc\r\n0\r\n\r\n"), ("a bare feed behind the data", b"3\r\nabc\n0\r\n\r\n"),
                       ("a bare feed in an extension", b"3;a\nabc\r\n0\r\n\r\n"), ("a bare return in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
                       ("too much data", b"3\r\nabcd\r\n0\r\n\r\n"), ("too little data", b"3\r\nab\r\n0\r\n\r\n"),
                       ("no size", b"\r\nabc\r\n0\r\n\r\n"), ("an empty line behind the last", b"3\r\nabc\r\n\r\n0\r\n\r\n"),
                       ("an overflow", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
                       ("a folded trailer", b"0\r\nA: b\r\n c\r\n\r\n"), ("a trailer without a name", b"0\r\n: b\r\n\r\n"),
                       ("a NUL in an extension", b"3;\x00\r\nabc\r\n0\r\n\r\n"), ("an underscore", b"1_0\r\nabc\r\n0\r\n\r\n"),
                       ("a blank before the size", b" 3\r\nabc\r\n0\r\n\r\n"), ("a blank behind the size", b"3 \r\nabc\r\n0\r\n\r\n"),
                       ("a bare feed at the end", b"0\r\n\n"), ("a trailer's bare feed", b"0\r\nA: b\n\r\n")):
        yield f"chunks: {name}", post("Transfer-Encoding: chunked", body=body), bad
    yield "chunks: too much in all", post("Transfer-Encoding: chunked", body=b"64\r\n" + b"x" * 100 + b"\r\n" + b"385\r\n"), [413]
    yield "chunks: one that is too large", post("Transfer-Encoding: chunked", body=b"ffffffffffffffff\r\nabc"), [413]
    # ---- Expect
    for body in (b"hello",):
        yield "an invitation", post("Expect: 100-continue", "Content-Length: 5", body=body), ok
        yield "an invitation in capitals", post("Expect: 100-CONTINUE", "Content-Length: 5", body=body), ok
    yield "an invitation to chunks", post("Expect: 100-continue", "Transfer-Encoding: chunked", body=chunks), ok
    yield "an invitation to nothing", post("Expect: 100-continue", "Content-Length: 0"), ok
    yield "an invitation to too much", post("Expect: 100-continue", "Content-Length: 5000"), [413]
    yield "another expectation", post("Expect: 200-ok", "Content-Length: 5", body=b"hello"), [417]
    yield "an invitation by an old client", request("POST /small HTTP/1.0", "Expect: 100-continue", "Content-Length: 5", body=b"hello"), [405]


def head_cases():
    """What stands in the request line and in the headers."""
    bad = [400]
    close = {"connection": "close"}
    yield "GET", get(), [(200, {"content-length": "10", "content-type": "application/octet-stream", "connection": None}, b"small file"), 200]
    yield "several at once", get() * 20, [200] * 21
    yield "an empty line first", b"\r\n" + get(), [200, 200]
    yield "a bare feed first", b"\n" + get(), bad
    yield "a bare return first", b"\r" + get(), bad
    yield "an empty line between", get() + b"\r\n" + get(), [200, 200, 200]
    yield "HTTP/1.0", request("GET /small HTTP/1.0", host=None), [(200, close)]
    yield "HTTP/1.0, kept", request("GET /small HTTP/1.0", "Connection: keep-alive", host=None), [(200, {"connection": "keep-alive"}), 200]
    yield "Connection: close", get("/small", "Connection: close"), [(200, close)]
    yield "Connection: CLOSE among others", get("/small", "Connection: x, CLOSE ,y"), [(200, close)]
    yield "Connection: close on a second line", get("/small", "Connection: keep-alive", "Connection: close"), [(200, close)]
    yield "Connection: closed", get("/small", "Connection: closed"), [200, 200]
    yield "HTTP/1.2", request("GET /small HTTP/1.2"), [200, 200]
    yield "HTTP/1.9 without a host", request("GET /small HTTP/1.9", host=None), bad
    for version in ("HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0"):
        yield version, request(f"GET /small {version}"), [505]
    for version in ("HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/1.10", "HTTP/11", "http/1.1", "Http/1.1", "HTTP/01.1", "HTTP/1,1", "HTTP/1.1x",
                    "HTTPS/1.1", "HTTP 1.1", "HTTP/1.x", "ICY/1.1", "HTTP/-1.1", "HTTP/ 1.1"):
        yield version, request(f"GET /small {version}"), bad
    yield "HTTP/0.9", b"GET /small\r\n\r\n", bad
    yield "two blanks", request("GET  /small HTTP/1.1"), bad
    yield "two blanks before the version", request("GET /small  HTTP/1.1"), bad
    yield "a tab", request("GET\t/small HTTP/1.1"), bad
    yield "a blank at the end", request("GET /small HTTP/1.1 "), bad
    yield "a blank at the beginning", request(" GET /small HTTP/1.1"), bad
    yield "a blank in the target", request("GET /small file HTTP/1.1"), bad
    yield "no target", request("GET HTTP/1.1"), bad
    # ---- Host
    yield "no Host", request("GET /small HTTP/1.1", host=None), bad
    yield "two Hosts", get("/small", "Host: h"), bad
    yield "two Hosts in an old request", request("GET /small HTTP/1.0", "Host: a", "Host: b", host=None), bad
    for host in ("", "a b", "a,b", "a/b", "u@a", "a:b", "a:80:80", "::1", "[::1", "[]", "a?b", "a#b", "\\", "h\x00", "a:-1", ":80"):
        yield f"Host: {host!r}", get(host=host), bad
    for host in ("h", "h:80", "h:", "[::1]", "[::1]:80", "127.0.0.1:1", "UPPER.example", "a_b", "xn--a", "%41"):
        yield f"Host: {host!r}", get(host=host), [200, 200]
    # ---- Forms of the target
    yield "a whole URL", get("http://h/small"), [200, 200]
    yield "a whole URL in capitals", get("HTTP://H:80/small"), [200, 200]
    yield "a whole URL of another host", get("http://other:99/small", host="h"), [200, 200]
    yield "a whole URL without a path", get("http://h"), [404, 200]
    yield "a whole URL with a query only", get("http://h?/small"), [404, 200]
    for target in ("http://", "http:///small", "http://u@h/small", "http:/small", "http:small", "ftp://h/small", "small", "h", "*", "?",
                   "//h:x", "h:80", "http://h\\small", "javascript:x", "file:///etc/passwd"):
        expected = [404, 200] if target.startswith("//") else bad
        yield f"the target {target}", get(target), expected
    yield "OPTIONS *", request("OPTIONS * HTTP/1.1"), [(405, {"allow": "GET, HEAD"}), 200]
    yield "CONNECT", request("CONNECT h:80 HTTP/1.1"), [405, 200]
    yield "CONNECT without a port", request("CONNECT /small HTTP/1.1"), [405, 200]
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        yield method, request(f"{method} /small HTTP/1.1"), [(405, {"allow": "GET, HEAD", "connection": None}), 200]
    for method in ("BREW", "GETT", "Get", "G", "PROPFIND", "M-SEARCH", "A!#$%&'*+.^_`|~9"):
        yield method, request(f"{method} /small HTTP/1.1"), [501, 200]
    yield "a slash in the method", request("GE/T /small HTTP/1.1"), bad
    yield "the beginning of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]
    yield "TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00", bad
    # ---- Sizes
    yield "a query", get("/small?" + "q" * 1000), [200, 200]
    yield "the longest target", get("/small?" + "q" * (8192 - 7)), [200, 200]
    yield "a target that is too long", get("/small?" + "q" * (8192 - 6)), [414]
    yield "a line without an end", b"GET /" + b"a" * 20000, [414]
    yield "a large header", get("/small", "X: " + "y" * 16000), [200, 200]
    yield "a header that is too large", get("/small", "X: " + "y" * 17000), [431]
    yield "many headers", get("/small", *[f"X{n}: y" for n in range(63)]), [200, 200]
    yield "too many headers", get("/small", *[f"X{n}: y" for n in range(64)]), [431]
    yield "a header without a value", get("/small", "X:", "Y: "), [200, 200]
    yield "obsolete text in a value", get("/small", "X: \xe4\xff"), [200, 200]


def path_cases():
    """Paths that lead out of the root, or nowhere."""
    for path in ("/..", "/../", "/../outside", "/a/../small", "/./small", "/folder/..", "/folder/../../outside", "/folder/../small",
                 "/%2e%2e/outside", "/%2E%2E/outside", "/.%2e/outside", "/%2e./outside", "/%2e%2e%2foutside", "/..%2foutside", "/%2e/small",
                 "/..%5coutside", "/..\\outside", "/\\..\\outside", "/%5c..%5coutside", "/folder%2findex.html", "/folder%2Findex.html",
                 "/small%00", "/small%00.html", "/%00", "/small%0a", "/small%0d%0aX:y", "/%7f", "/%1b", "/%", "/%2", "/%zz", "/%2g", "/%-1",
                 "/small%", "/%u002e%u002e/outside", "/folder/%2e%2e/small", "/.", "/folder/.", "/folder/..?x", "/..;/outside"[:3]):
        yield f"the path {path}", get(path), [400, 200]
    for path in ("/%252e%252e/outside", "/%252e%252e%252foutside", "/...", "/..../outside", "/.../outside", "/.hidden", "/folder/.hidden",
                 "/.hidden/file", "/%2ehidden", "/..outside", "/..;/outside", "/%c0%ae%c0%ae/outside", "/%c0%af", "/%e0%80%ae/x",
                 "/%ef%bc%8e%ef%bc%8e/outside", "/small/", "/small/x", "/small.", "/small..", "/small%20", "/small;x", "/small&x",
                 "//small", "/folder//index.html", "//", "///", "/SMALL", "/nothing", "/folder/nothing", "/empty-folder/",
                 "/out-file", "/out-folder/file", "/out-relative", "/proc-link", "/loop", "/dangling", "/fifo", "/socket", "/null-link",
                 "/no-index/", "/folder-index/", "/fifo-index/", "/" + "a" * 300, "/" + "a/" * 2000, "/" + "a" * 5000, "/~root", "/small:x",
                 "/fifo/", "/http://h/small"):
        yield f"the path {path[:60]}", get(path), [404, 200]
    for path in ("/small", "/%73mall", "/in-link", "/in-folder/index.html", "/folder/", "/folder/index.html", "/sm%61ll?a=..", "/two%20words",
                 "/100%25", "/%c3%a4", "/a+b", "/dot.", "/dot..", "/in..side", "/in-folder/"):
        yield f"the path {path}", get(path), [200, 200]
    yield "a folder without its slash", get("/folder"), [(301, {"location": "/folder/"}), 200]
    yield "a folder without its slash, with a query", get("/folder?a=b"), [(301, {"location": "/folder/?a=b"}), 200]
    yield "a folder in a whole URL", get("http://h/folder"), [(301, {"location": "/folder/"}), 200]
    yield "a folder behind two slashes", get("//folder"), [404, 200]
    yield "a folder whose name is a host", get("//example.com/.."), [404, 200]


def make_root(base):
    root = os.path.join(base, "root")
    os.makedirs(os.path.join(root, "folder"))
    for folder in ("empty-folder", "no-index/inner", "folder-index/index.html", "fifo-index", ".hidden"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    files = {"small": b"small file", "last": b"last", "empty": b"", "two words": b"x", "100%": b"x", "ä": b"x", "a+b": b"x", "dot.": b"x",
             "dot..": b"x", "in..side": b"x", "folder/index.html": b"<p>", "folder/.hidden": b"x", ".hidden/file": b"x", "../outside": b"secret",
             "../out/file": b"secret", "..outside": b"secret", "large": bytes(range(251)) * 4000}
    os.makedirs(os.path.join(base, "out"))
    for name, data in files.items():
        with open(os.path.join(root, name), "wb") as file:
            file.write(data)
    links = {"out-file": os.path.join(base, "outside"), "out-folder": os.path.join(base, "out"), "out-relative": "../outside", "proc-link": "/proc/self/environ",
             "loop": "loop", "dangling": "nowhere", "null-link": "/dev/null", "in-link": "small", "in-folder": "folder"}
    for name, target in links.items():
        os.symlink(target, os.path.join(root, name))
    os.mkfifo(os.path.join(root, "fifo"))
    os.mkfifo(os.path.join(root, "fifo-index", "index.html"))
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.getcwd()
        os.chdir(root)
        unix.bind("socket")
        os.chdir(here)
    return root


def one(server, data, head=False):
    """The first answer to a request on a connection of its own."""
    with server.connect() as sock:
        sock.sendall(data + LAST)
        got, end = read_all(sock)
    answers = parse(got, (0,) if head else ())
    return answers[0] if answers else Answer(end, {}, got)


def check_conditions(server, root):
    """Conditions (RFC 9110 13) and ranges (RFC 9110 14)."""
    for name in ("small", "large"):
        path = os.path.join(root, name)
        data = open(path, "rb").read()
        size, seconds = len(data), int(os.stat(path).st_mtime)
        first = one(server, get("/" + name))
        tag, modified = first.headers["etag"], first.headers["last-modified"]
        check(f"{name}: Last-Modified", modified, formatdate(seconds, usegmt=True))
        older, newer = formatdate(seconds - 1, usegmt=True), formatdate(seconds + 1, usegmt=True)
        rfc850 = time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(seconds))
        asctime = time.asctime(time.gmtime(seconds))
        old_tag = '"something-else"'
        table = [
            (304, f"If-None-Match: {tag}"), (304, f"If-None-Match: W/{tag}"), (304, "If-None-Match: *"), (304, f"If-None-Match: {old_tag}, {tag}"),
            (304, f"If-None-Match: , ,{tag},"), (304, f"If-None-Match: \"a,b\", W/{tag}"), (200, f"If-None-Match: {old_tag}"),
            (200, f"If-None-Match: {tag[1:-1]}"), (200, f"If-None-Match: \"{tag[1:-1]}x\""), (200, f"If-None-Match: {tag[:-1]}"), (200, "If-None-Match: "),
            (200, "If-None-Match: **"), (304, f"If-None-Match: {old_tag}\r\nIf-None-Match: {tag}"), (200, f"If-None-Match: w/{tag}"),
            (304, f"If-Modified-Since: {modified}"), (304, f"If-Modified-Since: {newer}"), (200, f"If-Modified-Since: {older}"),
            (304, f"If-Modified-Since: {rfc850}"), (304, f"If-Modified-Since: {asctime}"), (200, "If-Modified-Since: yesterday"), (200, "If-Modified-Since: "),
            (200, f"If-Modified-Since: {seconds}"), (200, f"If-Modified-Since: {modified[:-4]}"), (200, f"If-Modified-Since: {modified}; length={size}"),
            (200, f"If-Modified-Since: {modified}\r\nIf-Modified-Since: {newer}"),
            (200, f"If-None-Match: {old_tag}\r\nIf-Modified-Since: {newer}"), (304, f"If-None-Match: {tag}\r\nIf-Modified-Since: {older}"),
            # RFC 9110 13.2.2: If-Match comes first, by the strong comparison, then If-Unmodified-Since.
            (200, f"If-Match: {tag}"), (200, "If-Match: *"), (200, f"If-Match: {old_tag}, {tag}"), (412, f"If-Match: {old_tag}"), (412, f"If-Match: W/{tag}"),
            (200, f"If-Unmodified-Since: {modified}"), (200, f"If-Unmodified-Since: {newer}"), (412, f"If-Unmodified-Since: {older}"),
            (200, "If-Unmodified-Since: yesterday"), (200, f"If-Match: {tag}\r\nIf-Unmodified-Since: {older}"),
            (412, f"If-Match: {old_tag}\r\nIf-None-Match: {tag}"), (304, f"If-Match: {tag}\r\nIf-None-Match: {tag}"), (206, f"If-Match: {tag}\r\nRange: bytes=0-1"),
            (412, f"If-Match: {old_tag}\r\nRange: bytes=0-1"),
            (412, f"If-Unmodified-Since: {older}\r\nRange: bytes=0-1"), (304, f"If-Unmodified-Since: {newer}\r\nIf-Modified-Since: {newer}"),
        ]
        for status, header in table:
            answer = one(server, get("/" + name, header))
            expected = (status, tag if status < 400 else None, {200: data, 206: data[:2]}.get(status, b""))
            check(f"{name}: {header!r}", (answer.status, answer.headers.get("etag"), answer.body), expected)
            answer = one(server, request(f"HEAD /{name} HTTP/1.1", header), head=True)
            check(f"{name}: HEAD, {header!r}", answer.status, 200 if status == 206 else status)
        whole = None
        ranges = [
            ("bytes=0-0", (0, 1)), ("bytes=0-4", (0, 5)), ("bytes=3-", (3, size)), ("bytes=-3", (size - 3, size)), (f"bytes=-{size}", (0, size)),
            (f"bytes=-{size + 5}", (0, size)), (f"bytes=0-{size - 1}", (0, size)), (f"bytes=2-{size + 99}", (2, size)), ("bytes=4-4", (4, 5)),
            ("bytes=0-99999999999999999999999999", (0, size)), ("bytes=-99999999999999999999999999", (0, size)), (f"bytes={size - 1}-", (size - 1, size)),
            ("BYTES=0-4", (0, 5)), ("bytes= 0-4 ", (0, 5)), ("bytes=00-04", (0, 5)),
            (f"bytes={size}-", 416), (f"bytes={size}-{size + 1}", 416), ("bytes=99999999999999999999999999-", 416), ("bytes=-0", 416),
            ("bytes=18446744073709551615-18446744073709551615", 416), ("bytes=18446744073709551616-18446744073709551617", 416),
            ("bytes=5-2", whole), ("bytes=0-1,3-4", whole), ("bytes=0-1,", whole), ("bytes=-", whole), ("bytes=", whole), ("bytes", whole), ("bytes=a-b", whole),
            ("bytes=0x0-0x4", whole), ("bytes=+0-4", whole), ("bytes=--4", whole), ("bytes=0-4-5", whole), ("bytes = 0-4", whole), ("items=0-4", whole),
            ("bytes:0-4", whole), ("bytes=0 - 4", whole), ("bytes=0-4;x", whole), ("", whole), ("0-4", whole), ("bytes=99999999999999999999-1", whole),
        ]
        for header, expected in ranges:
            answer = one(server, get("/" + name, f"Range: {header}"))
            if expected == 416:
                check(f"{name}: {header}", (answer.status, answer.headers.get("content-range")), (416, f"bytes */{size}"))
            elif expected is None:
                check(f"{name}: {header}", (answer.status, answer.headers.get("content-range"), answer.body), (200, None, data))
            else:
                at, end = expected
                check(f"{name}: {header}", (answer.status, answer.headers.get("content-range"), answer.body),
                      (206, f"bytes {at}-{end - 1}/{size}", data[at:end]))
            answer = one(server, request(f"HEAD /{name} HTTP/1.1", f"Range: {header}"), head=True)
            check(f"{name}: HEAD, {header}", (answer.status, answer.headers.get("content-length")), (200, str(size)))
        for status, header in ((206, tag), (200, old_tag), (200, "W/" + tag), (206, modified), (200, older), (200, newer), (200, "*"), (200, "")):
            answer = one(server, get("/" + name, "Range: bytes=0-1", f"If-Range: {header}"))
            check(f"{name}: If-Range: {header}", answer.status, status)
        check(f"{name}: If-Range alone", one(server, get("/" + name, f"If-Range: {tag}")).status, 200)
        check(f"{name}: two ranges", one(server, get("/" + name, "Range: bytes=0-1", "Range: bytes=0-1")).status, 200)
    for header, status in (("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-0", 416), ("bytes=-5", 200), ("bytes=1-", 416)):
        check(f"empty: {header}", one(server, get("/empty", f"Range: {header}")).status, status)
    answer = one(server, request("POST /small HTTP/1.1", "If-None-Match: *"))
    check("a condition on what is not allowed", answer.status, 405)
    check("a condition on nothing", one(server, get("/nothing", "If-Match: *")).status, 404)


def timed(what, *arguments):
    """Calls it, and says how long it took where that matters."""
    began = time.monotonic()
    what(*arguments)
    if os.environ.get("TIMES"):
        print(f"{what.__name__}: {time.monotonic() - began:.1f} s", file=sys.stderr)


def run_table(server, cases):
    for name, data, expected in cases:
        run_case(server, name, data, expected)


def check_heads(server):
    """HEAD has the headers of GET and nothing behind them, whatever the answer is."""
    for path in ("/small", "/large", "/empty", "/folder/", "/folder", "/nothing", "/..", "/fifo"):
        whole, head = one(server, get(path)), one(server, request(f"HEAD {path} HTTP/1.1"), head=True)
        drop = lambda answer: {name: value for name, value in answer.headers.items() if name != "date"}
        check(f"HEAD {path}", (head.status, drop(head)), (whole.status, drop(whole)))
    for name, data, status in (
        ("without a host", request("HEAD /small HTTP/1.1", host=None), 400),
        ("with two lengths", request("HEAD /small HTTP/1.1", "Content-Length: 1", "Content-Length: 1"), 400),
        ("with a body that is too large", request("HEAD /small HTTP/1.1", "Content-Length: 5000"), 413),
        ("of a target that is too long", request("HEAD /" + "a" * 9000 + " HTTP/1.1"), 414),
        ("of another version", request("HEAD /small HTTP/2.0"), 505),
        ("that expects", request("HEAD /small HTTP/1.1", "Expect: x"), 417),
    ):
        run_case(server, f"HEAD {name}", data, [status], heads=(0,))


def check_upgrades(server):
    """A WebSocket on the port of HTTP, in every order."""
    def upgraded(name, data, before=0, sizes=(0, 1)):
        for size in sizes:
            with server.connect() as sock:
                send_in_pieces(sock, data, size)
                sock.settimeout(PATIENCE)
                got = b""
                while not got.endswith(ECHO):
                    more = sock.recv(MIB)
                    if not more:
                        break
                    got += more
                answers = parse(got)
            label = f"upgrade: {name} ({size})"
            check(label, [a if isinstance(a, bytes) else a.status for a in answers], [200] * before + [101])
            check(f"{label}: echo", got.endswith(b"\r\n\r\n" + ECHO), True)

    upgraded("alone", UPGRADE + HELLO)
    upgraded("behind a small file", get() + UPGRADE + HELLO, 1)
    upgraded("behind a large file", get("/large") + UPGRADE + HELLO, 1)
    upgraded("behind many", get("/large") * 3 + get() * 3 + UPGRADE + HELLO, 6)
    body = UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello")
    chunked = UPGRADE.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    upgraded("among other protocols", UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c, WebSocket") + HELLO)
    upgraded("with other options", UPGRADE.replace(b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: x,upgrade") + HELLO)
    upgraded("in a higher version", UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.2") + HELLO)
    run_table(server, [
        ("upgrade: HTTP/1.0", UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), [404]),
        ("upgrade: POST", UPGRADE.replace(b"GET", b"POST"), [405, 200]),
        ("upgrade: no Connection", UPGRADE.replace(b"Connection: Upgrade\r\n", b""), [404, 200]),
        ("upgrade: another protocol", UPGRADE.replace(b"websocket", b"h2c"), [404, 200]),
        ("upgrade: another version", UPGRADE.replace(b"Version: 13", b"Version: 8"), [(426, {"sec-websocket-version": "13"})]),
        ("upgrade: no key", UPGRADE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), [400]),
        ("upgrade: with a body", body + HELLO, [400]),
        ("upgrade: with a body in chunks", chunked + HELLO, [400]),
        ("upgrade: no host", UPGRADE.replace(b"Host: h\r\n", b""), [400]),
        ("upgrade: a body that is too large", UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5000\r\n\r\n"), [413]),
    ])


# ---- Files that change, peers that misbehave -------------------------------------------------------


def counters(server_page):
    return json.loads(one(server_page, get("/counters.json")).body)


def check_half_close(server):
    for path in ("/small", "/large"):
        with server.connect(receive_buffer=4096) as sock:
            sock.sendall(get(path) * 3 + LAST)
            sock.shutdown(socket.SHUT_WR)
            time.sleep(0.2)
            got, end = read_all(sock)
        check(f"half closed behind {path}", ([getattr(a, "status", a) for a in parse(got)], end), ([200] * 4, "closed"))
    with server.connect() as sock:
        sock.sendall(get() + b"GET /small HT")
        sock.shutdown(socket.SHUT_WR)
        got, end = read_all(sock)
        check("half closed within a request", ([a.status for a in parse(got)], end), ([200], "closed"))
    with server.connect() as sock:
        sock.shutdown(socket.SHUT_WR)
        check("half closed at once", read_all(sock), (b"", "closed"))


def check_expect(server):
    """The invitation comes before the body, and not instead of a refusal."""
    with server.connect() as sock:
        sock.sendall(post("Expect: 100-continue", "Content-Length: 5"))
        check("the invitation", sock.recv(MIB), b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(b"hello" + LAST)
        check("behind the invitation", [a.status for a in parse(read_all(sock)[0])], [405, 200])


def check_changes(server, root):
    path = os.path.join(root, "changing")
    large = os.path.join(root, "changing-large")

    def write(where, data):
        with open(where + ".new", "wb") as file:
            file.write(data)
        os.replace(where + ".new", where)

    for where, size in ((path, 100), (large, 300_000)):
        name = "/" + os.path.basename(where)
        write(where, b"a" * size)
        check(f"{name}: as it was", one(server, get(name)).body, b"a" * size)
        write(where, b"b" * (size + 1))
        time.sleep(1.1)
        check(f"{name}: replaced", one(server, get(name)).body, b"b" * (size + 1))
        os.truncate(where, size // 2)
        time.sleep(1.1)
        check(f"{name}: shorter", one(server, get(name)).body, b"b" * (size // 2))
        with open(where, "ab") as file:
            file.write(b"c" * size)
        time.sleep(1.1)
        check(f"{name}: longer", one(server, get(name)).body, b"b" * (size // 2) + b"c" * size)
        os.truncate(where, 0)
        time.sleep(1.1)
        check(f"{name}: emptied", (one(server, get(name)).status, one(server, get(name)).body), (200, b""))
        os.remove(where)
        time.sleep(1.1)
        check(f"{name}: gone", one(server, get(name)).status, 404)
        os.mkdir(where)
        check(f"{name}: a folder now", one(server, get(name)).status, 301)
        os.rmdir(where)
        write(where, b"d" * size)
        check(f"{name}: back", one(server, get(name)).body, b"d" * size)
        if os.geteuid() != 0:
            os.chmod(where, 0)
            time.sleep(1.1)
            check(f"{name}: unreadable", one(server, get(name)).status, 404)
    # What shrinks under a transfer ends in a reset, never in silence.
    write(large, b"e" * (64 * MIB))
    time.sleep(1.1)
    with server.connect(receive_buffer=4096) as sock:
        sock.sendall(get("/changing-large"))
        began = sock.recv(4096)
        os.truncate(large, 100_000)
        rest, end = read_all(sock)
        check("cut while it is sent", (began.startswith(b"HTTP/1.1 200"), len(began + rest) < 64 * MIB, end), (True, True, "reset"))
    # What is replaced or removed under a transfer arrives as it was.
    for change in ("replaced", "removed"):
        write(large, b"f" * (8 * MIB))
        time.sleep(1.1)
        with server.connect(receive_buffer=4096) as sock:
            sock.sendall(get("/changing-large", "Connection: close"))
            began = sock.recv(100)
            write(large, b"g" * 5) if change == "replaced" else os.remove(large)
            rest, end = read_all(sock)
            answers = parse(began + rest)
            check(f"{change} while it is sent", (end, answers[0].body == b"f" * (8 * MIB)), ("closed", True))
    # Beyond 4 GiB, without a disk that has them.
    huge = os.path.join(root, "huge")
    with open(huge, "wb") as file:
        file.truncate(5 << 30)
        file.seek((5 << 30) - 5)
        file.write(b"the end"[-5:])
    check("a huge file's length", one(server, request("HEAD /huge HTTP/1.1"), head=True).headers["content-length"], str(5 << 30))
    answer = one(server, get("/huge", "Range: bytes=-5"))
    check("a huge file's end", (answer.status, answer.body, answer.headers["content-range"]), (206, b"e end", f"bytes {(5 << 30) - 5}-{(5 << 30) - 1}/{5 << 30}"))
    answer = one(server, get("/huge", f"Range: bytes={(4 << 30) - 2}-{(4 << 30) + 1}"))
    check("around 4 GiB", (answer.status, answer.body), (206, b"\0" * 4))
    os.remove(huge)
    # A link that is turned while it is followed never leads out.
    swap = os.path.join(root, "swap")
    stop = threading.Event()

    def turn():
        targets, number = (os.path.join(root, "folder"), "../out", "folder", os.path.dirname(root) + "/out"), 0
        while not stop.is_set():
            os.symlink(targets[number % 4], swap + ".new")
            os.replace(swap + ".new", swap)
            number += 1

    thread = threading.Thread(target=turn)
    thread.start()
    statuses, secrets = set(), 0
    for number in range(3000):
        answer = one(server, get(f"/swap/{('file', 'index.html')[number % 2]}"))
        statuses.add(answer.status)
        secrets += b"secret" in answer.body
    stop.set()
    thread.join()
    check("a link that is turned", (secrets, statuses <= {200, 404, 503}), (0, True))
    # A pipe's writer is not woken.
    writer = threading.Thread(target=lambda: open(os.path.join(root, "fifo"), "wb").close(), daemon=True)
    writer.start()
    time.sleep(0.1)
    check("a pipe with a writer", one(server, get("/fifo")).status, 404)
    writer.join(0.2)
    check("a pipe's writer still waits", writer.is_alive(), True)
    os.close(os.open(os.path.join(root, "fifo"), os.O_RDONLY | os.O_NONBLOCK))
    writer.join(PATIENCE)


def check_limits(program, root):
    """Slow senders, idle peers and slow readers meet the time limits."""
    server = Server(program, "--root", root, "--body-max", str(BODY_MAX), "--handshake-timeout", "500ms", "--idle-timeout", "1s")
    for name, data, statuses in (("a head", b"GET /small HT", [408]), ("a body", post("Content-Length: 5", body=b"he"), [408]),
                                 ("a chunk", post("Transfer-Encoding: chunked", body=b"5\r\nhe"), [408]), ("nothing", b"", []), ("one request", get(), [200]),
                                 ("one request and a half", get() + b"G", [200, 408])):
        with server.connect() as sock:
            sock.sendall(data)
            got, end = read_all(sock)
            check(f"silence behind {name}", ([a.status for a in parse(got)], end), (statuses, "closed"))
    with server.connect() as sock:
        began, got, end = time.monotonic(), b"", "no end"
        for byte in get("/small", "X: " + "y" * 500):
            try:
                sock.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.01)
            if time.monotonic() - began > 4:
                break
        got, end = read_all(sock)
        check("a head in drips", [getattr(a, "status", a) for a in parse(got)], [408])
    with server.connect(receive_buffer=4096) as sock:
        sock.sendall(get("/large") * 8)
        time.sleep(3)
        got, end = read_all(sock)
        check("an answer that nobody takes", end, "reset")
    server.stop()


def check_crowd(program, root):
    """A thousand downloads at once, peers that vanish in the middle, and descriptors that run out."""
    server = Server(program, "--root", root)
    with open(os.path.join(root, "crowd"), "wb") as file:
        file.write(b"x" * (4 * MIB))
    socks = [server.connect(receive_buffer=65536) for _ in range(1000)]
    for sock in socks:
        sock.sendall(get("/crowd", "Connection: close"))
    for sock in socks[::2]:
        # A reset in the middle of it.
        sock.recv(4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    odd = []
    for sock in socks[1::2]:
        got, end = read_all(sock)
        sock.close()
        if end != "closed" or len(parse(got)[0].body) != 4 * MIB:
            odd.append((end, len(got)))
    check("500 of 1,000 downloads are whole", odd, [])
    check("memory of 1,000 downloads, in MiB", server.memory() // MIB < 200, True)
    server.stop()


def until_refused(server):
    """Connections that each hold a file open, up to the first that gets none, and its status; None: it was
    not even accepted."""
    socks, status = [], b"200"
    while status == b"200" and len(socks) < 700:
        sock = server.connect(receive_buffer=4096)
        socks.append(sock)
        sock.sendall(get(f"/many/{len(socks)}"))
        sock.settimeout(3)
        try:
            status = sock.recv(12)[9:12]
        except TimeoutError:
            status = None
    return socks, status


def check_descriptors(program, root):
    """No more files can be opened, by a bound that leaves connections their descriptors: 503, and whatever is
    open goes on."""
    server = Server(program, "--root", root, "--reactors", "1", "--force", files=700)
    many = os.path.join(root, "many")
    os.makedirs(many, exist_ok=True)
    for number in range(701):
        with open(os.path.join(many, str(number)), "wb") as file:
            file.truncate(4 * MIB)
    socks, status = until_refused(server)
    # An eighth of the table, unless --open-files says more.
    check("files run out", (status, len(socks)), (b"503", 700 // 8 + 1))
    # Who waits to be accepted waits in the kernel's queue, and is served when there is room.
    late = server.connect()
    late.sendall(get("/many/1", "Range: bytes=0-4", "Connection: close"))
    for sock in socks:
        sock.close()
    check("who came too late is served", [a.status for a in parse(read_all(late)[0])], [206])
    late.close()
    check("descriptors are there again", one(server, get("/many/5")).status, 200)
    server.stop()
    shutil.rmtree(many)


def check_page(program):
    page = Server(program)
    answer = one(page, get("/"))
    check("the page", (answer.status, answer.headers["content-type"]), (200, "text/html; charset=utf-8"))
    for path in ("/index.html", "/..", "/nothing", "/counters.json/", "//"):
        check(f"the page: {path}", one(page, get(path)).status, 404)
    check("the page: HEAD", one(page, request("HEAD / HTTP/1.1"), head=True).status, 200)
    check("the page: POST", one(page, request("POST / HTTP/1.1")).status, 405)
    check("the page: a part", one(page, get("/", "Range: bytes=0-14")).body, b"<!DOCTYPE html>"[:15] if answer.body.startswith(b"<!DOCTYPE") else answer.body[:15])
    check("the page: the same", one(page, get("/", f"If-None-Match: {answer.headers['etag']}")).status, 304)
    check("the page: a query", one(page, get("/?x")).status, 200)
    time.sleep(1.2)
    check("the counters", one(page, get("/counters.json")).status, 200)
    page.stop()


def check_default_sizes(program, root):
    """What a head may be when nobody says otherwise: 64 KiB and 256 lines."""
    server = Server(program, "--root", root)
    for name, data, expected in (
        ("a large header, by default", get("/small", "X: " + "y" * 65000), [200, 200]),
        ("a header that is too large, by default", get("/small", "X: " + "y" * 66000), [431]),
        ("many headers, by default", get("/small", *[f"X{n}: y" for n in range(255)]), [200, 200]),
        ("too many headers, by default", get("/small", *[f"X{n}: y" for n in range(256)]), [431]),
    ):
        run_case(server, name, data, expected, sizes=(0, 997))
    server.stop()


def check_server(program):
    base = tempfile.mkdtemp()
    try:
        root = make_root(base)
        server = Server(program, "--root", root, "--body-max", str(BODY_MAX), "--head-max", "16k", "--headers-max", "64",
                        # Pieces of one byte take their time; the limit has cases of its own.
                        "--handshake-timeout", "60s")
        for cases in (framing_cases, head_cases, path_cases):
            timed(run_table, server, cases())
        timed(check_heads, server)
        timed(check_conditions, server, root)
        timed(check_upgrades, server)
        timed(check_half_close, server)
        timed(check_expect, server)
        timed(check_changes, server, root)
        server.stop()
        timed(check_default_sizes, program, root)
        timed(check_limits, program, root)
        timed(check_crowd, program, root)
        timed(check_descriptors, program, root)
        timed(check_page, program)
        # The root itself may vanish.
        server = Server(program, "--root", root)
        check("before the root goes", one(server, get()).status, 200)
        shutil.rmtree(root)
        time.sleep(1.1)
        check("without the root", one(server, get()).status, 404)
        server.stop()
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main("server", check_server, __doc__)
