"""What the conformance cases of HTTP and WebSocket share, of both ends: counting, sending in pieces, telling how it went."""

import sys
import time

PATIENCE = 10
MIB = 1 << 20

failed = []
passed = 0


def check(name, got, expected):
    global passed
    if got == expected:
        passed += 1
    else:
        failed.append(name)
        print(f"FAILED {name}\n    expected {expected!r:.300}\n    got      {got!r:.300}", file=sys.stderr)


def send_in_pieces(sock, data, size):
    try:
        step = size or len(data) or 1
        for at in range(0, len(data), step):
            sock.sendall(data[at : at + step])
            if size == 1:
                # So that the server reads the pieces one by one, as far as it can.
                time.sleep(0)
    except OSError:
        pass


def main(end, cases, usage):
    """Runs the cases of one end against the program that is named on the command line."""
    if len(sys.argv) != 2:
        sys.exit(usage)
    began = time.monotonic()
    cases(sys.argv[1])
    print(f"conformance: our {end}: {passed} passed, {len(failed)} failed in {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)
