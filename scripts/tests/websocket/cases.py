"""What both ends have to do with frames: which bytes are sent and what must come back, each case with its
bytes in one write and in many."""

import os
import threading
import zlib

from conformance import MIB, check, send_in_pieces
from harness import BINARY, CLOSE, NAMES, PING, PONG, TEXT, Role, close, deflated, frame


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
            sender = threading.Thread(target=send_in_pieces, args=(sock, data, piece))
            sender.start()
            try:
                seen = list(reader.events())
            except (AssertionError, UnicodeDecodeError, zlib.error) as error:
                seen = f"a rule is broken: {error!r}"
            sender.join()
        check(label, seen, expected)
