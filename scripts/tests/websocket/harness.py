"""WebSocket frames, right and wrong, and a reader that holds what comes against RFC 6455 and RFC 7692."""

import os
import socket
import struct
import zlib

from conformance import PATIENCE

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NAMES = {TEXT: "text", BINARY: "binary", PING: "ping", PONG: "pong"}
TAIL = b"\x00\x00\xff\xff"


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
