"""TLS with Python's ssl (OpenSSL) and with raw sockets, at an echo server of ours.

    peers.py client HOST:PORT CA        echoes of every size by both versions, sessions that go on, ends
    peers.py hostile HOST:PORT          what breaks rules is answered with an alert, and the server lives
    peers.py half HOST:PORT N           holds N handshakes that stop half-way until standard input ends
"""

import resource
import socket
import ssl
import sys

SIZES = [1, 16_384, 16_385, 100_000, 1 << 20]
HOST = "localhost"


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def connect(at):
    return socket.create_connection(at, timeout=30)


def alert(data):
    """The description of the alert that the bytes begin with; None: they begin with something else."""
    return data[6] if len(data) >= 7 and data[0] == 21 else None


def read_all(sock):
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


# ---- As a client ------------------------------------------------------------------------------------


def context(ca, version):
    made = ssl.create_default_context(cafile=ca)
    made.minimum_version = made.maximum_version = version
    return made


def exchange(sock, size):
    message = bytes(range(256)) * (size // 256) + b"t" * (size % 256)
    back, sent = b"", 0
    # What is on its way is bounded, or both ends would wait for each other.
    while len(back) < size:
        if sent < size and sent - len(back) < 64_000:
            sent += sock.send(message[sent:sent + 16_000])
        else:
            piece = sock.recv(65536)
            assert piece, f"the server ended after {len(back)} bytes of {size}"
            back += piece
    assert back == message, f"{size} bytes came back otherwise"


def client(at, ca):
    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        made, session = context(ca, version), None
        for round_number in range(3):
            with made.wrap_socket(connect(at), server_hostname=HOST, session=session) as sock:
                for size in SIZES:
                    exchange(sock, size)
                assert round_number == 0 or sock.session_reused, f"{version}: not resumed"
                session = sock.session
                # Our close_notify is answered with the server's, and only then with an end.
                sock.unwrap()
    for old in [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]:
        made = context(ca, ssl.TLSVersion.TLSv1_2)
        try:
            made.minimum_version = made.maximum_version = old
            made.set_ciphers("ALL:@SECLEVEL=0")
            made.wrap_socket(connect(at), server_hostname=HOST)
            raise AssertionError(f"{old} is spoken")
        except (ssl.SSLError, ValueError, ConnectionResetError):
            pass
    made = ssl.create_default_context(cafile=ca)
    for name, trusted in [("elsewhere.test", made), (HOST, ssl.create_default_context())]:
        try:
            trusted.wrap_socket(connect(at), server_hostname=name)
            raise AssertionError("an unknown server is trusted")
        except ssl.SSLCertVerificationError:
            pass
    print("tls: Python's ssl echoes by both versions, goes on with sessions, and ends as it should")


# ---- Hostile ------------------------------------------------------------------------------------------


def hello(versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)):
    """The first message of a client."""
    made = ssl.create_default_context()
    made.minimum_version, made.maximum_version = versions
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        made.wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def record(kind, content, version=(3, 1)):
    return bytes([kind, *version]) + len(content).to_bytes(2, "big") + content


def hostile(at):
    first = hello()
    body = first[5:]
    # Only TLS 1.0 is offered: the version of the message, and no extension that knows better.
    old = b"\x01\x00\x00\x2f\x03\x01" + bytes(32) + b"\x00\x00\x04\x00\x2f\x00\x35\x01\x00" + b"\x00\x02\x00\x00"
    old = b"\x01" + (len(old) - 4).to_bytes(3, "big") + old[4:]
    cases = {
        "garbage": (b"\xffgarbage" * 100, {10, 50}),
        "SSL 2": (b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40), {10, 50}),
        "a record that is too long": (record(22, bytes(1 << 14) + bytes(257)), {22, 10, 50, 47}),
        "a record of no kind": (record(99, b"x"), {10, 50}),
        "records of nothing": (record(22, b"") * 100, {10, 50, 47}),
        "a flood of warnings": (record(21, b"\x01\x5a") * 10_000, {10, 40, 50, 0}),
        "data before the handshake": (record(23, b"hello"), {10}),
        "TLS 1.0 alone": (record(22, old), {70, 40, 50}),
        "a hello twice": (first + first, {10, 50}),
        "a hello of another length": (record(22, body[:4] + body[10:]), {50, 10, 47, 51}),
        "a message that never ends": (record(22, b"\x01\xff\xff\xff" + bytes(1000)) * 64, {50, 10, 47, 22}),
    }
    for name, (wire, alerts) in cases.items():
        with connect(at) as sock:
            try:
                sock.sendall(wire)
                sock.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError, OSError):
                pass
            said = read_all(sock)
            found = alert(said)
            # A reset may have taken the alert with it; an answer of another kind may not come.
            assert said == b"" or said[0] in (21, 22), f"{name}: answered with {said[:40]}"
            if said and said[0] == 21:
                assert found in alerts, f"{name}: alert {found}, not one of {alerts}"
    with connect(at) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        said = read_all(sock)
        assert said.startswith(b"HTTP/1.1 400") and b"https://" in said, said
    print(f"tls: {len(cases) + 1} kinds of strangers are answered with an alert, HTTP in its own words")


def half(at, count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    first = hello()
    held = []
    for number in range(count):
        sock = connect(at)
        # Some say half a hello, some all of it and then nothing.
        sock.sendall(first[: len(first) // 2] if number % 2 else first)
        held.append(sock)
    print(f"{len(held)} are held", flush=True)
    sys.stdin.read()


def main():
    what, at, *rest = sys.argv[1:]
    at = address(at)
    if what == "client":
        client(at, *rest)
    elif what == "hostile":
        hostile(at)
    elif what == "half":
        half(at, int(rest[0]))


main()
