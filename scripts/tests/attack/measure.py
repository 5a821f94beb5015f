"""Good peers beside bad ones: see attack.sh."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.path.join(HERE, "peers.py")
HOST = "127.0.0.1"


def options():
    parser = argparse.ArgumentParser(prog="attack.sh", description=__doc__)
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--kinds", default="", help="only kinds whose name has one of these words, a,b,c")
    parser.add_argument("--peers", type=int, default=20, help="bad peers (default 20)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of each measurement (default 3)")
    parser.add_argument("--tries", type=int, default=6,
                        help="how often a kind beyond the bound is measured at the most (default 6)")
    parser.add_argument("--seconds", type=float, default=2, help="length of a measurement (default 2)")
    parser.add_argument("--rate", default="1k", help="messages of the good ones per second (default 1k)")
    parser.add_argument("--bound", type=float, default=3, help="the largest ratio of p99 that passes (default 3)")
    parser.add_argument("--floor", type=float, default=5,
                        help="a p99 up to this many milliseconds passes whatever the ratio (default 5): the "
                             "scheduler's slice where attackers, servers and client share the cores")
    parser.add_argument("--json", help="write the figures there")
    parser.add_argument("--list", action="store_true", help="print the kinds")
    return parser.parse_args()


class Server:
    def __init__(self, programs, root, name):
        self.log = open(os.path.join(root, f"{name}.log"), "w+b")
        urls = [f"{scheme}://{HOST}:0" for scheme in ("tcp", "ws", "http")]
        command = [os.path.join(programs, "c1000k-server"), *urls, "--root", os.path.join(root, "site"),
                   "--deflate", "--json", "--connections-max", "20k"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log)
        self.ports = {}
        for _ in urls:
            line = self.process.stdout.readline()
            if not line:
                self.log.seek(0)
                sys.exit(f"attack: the server did not start: {self.log.read().decode()}")
            scheme, _, at = json.loads(line)["url"].partition("://")
            self.ports[scheme] = int(at.rsplit(":", 1)[1])

    def stop(self):
        self.process.terminate()
        code = self.process.wait(20)
        if code != 0:
            sys.exit(f"attack: a server ended with {code}")


class Bad:
    """Bad peers at work."""

    def __init__(self, kind, server, seconds, peers):
        command = [sys.executable, PEERS, kind, HOST, json.dumps(server.ports), str(seconds), str(peers)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if not self.process.stdout.readline():
            sys.exit(f"attack: the peers of {kind} did not start")

    def stop(self):
        self.process.stdin.close()
        last = self.process.stdout.read()
        self.process.wait()
        return last.decode().strip()


def good(args, server, scheme, root, bad=None):
    """The p99 of 100 good connections in milliseconds, and what they lost."""
    result = os.path.join(root, "result.json")
    if os.path.exists(result):
        os.remove(result)
    path = "/small.txt" if scheme == "http" else ""
    command = [os.path.join(args.programs, "c1000k-client"), "run",
               f"{scheme}://{HOST}:{server.ports[scheme]}{path}", "--connections", "100", "--rate", args.rate,
               "--duration", f"{args.seconds}s", "--output", result, "--audit", "off", "--force"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = []
    for line in client.stdout:
        said.append(line.decode())
        # What is to be measured is over.
        if bad and (" drain," in said[-1] or " close," in said[-1]):
            bad.stop()
            bad = None
    client.wait()
    if bad:
        bad.stop()
    try:
        with open(result, encoding="utf-8") as file:
            run = json.load(file)
    except OSError:
        sys.exit(f"attack: the client has no result: {''.join(said)}")
    p99 = (run["stages"].get("response") or {}).get("p99")
    # Who got no reply at all waited for as long as there was.
    p99 = p99 / 1e6 if p99 is not None else args.seconds * 1e3
    return p99, run["connections"]["lost"] + run["messages"]["lost"]


def main():
    args = options()
    kinds = subprocess.run([sys.executable, PEERS, "--list", "", "", "", ""], check=True,
                           stdout=subprocess.PIPE).stdout.decode().split()
    words = [word for word in args.kinds.split(",") if word]
    kinds = [kind for kind in kinds if not words or any(word in kind for word in words)]
    if args.list:
        print("\n".join(kinds))
        return 0
    if not kinds:
        sys.exit("attack: no kind has such a name (--list prints them)")
    failed, table = [], []
    with tempfile.TemporaryDirectory() as root:
        site = os.path.join(root, "site")
        os.mkdir(site)
        with open(os.path.join(site, "small.txt"), "wb") as file:
            file.write(b"a" * 1024)
        with open(os.path.join(site, "large.bin"), "wb") as file:
            file.write(bytes(16 << 20))
        attacked, other = Server(args.programs, root, "attacked"), Server(args.programs, root, "other")
        alone = {}
        print(f"{'kind':28} {'alone':>8} {'control':>8} {'attacked':>9} {'ratio':>6}   p99 in ms")
        for kind in kinds:
            scheme = kind.split("-")[0] if "-" in kind else "ws"
            if scheme not in alone:
                alone[scheme] = good(args, attacked, scheme, root)[0]
            control, hit, lost = [], [], 0

            def once(kind=kind, scheme=scheme, control=control, hit=hit):
                lost = 0
                for at, into in ((other, control), (attacked, hit)):
                    bad = Bad(kind, at, args.seconds + 20, args.peers)
                    p99, losses = good(args, attacked, scheme, root, bad)
                    into.append(p99)
                    lost += losses
                    # What the bad ones left behind is dealt with before the next.
                    time.sleep(0.3)
                return lost

            def passes(control=control, hit=hit):
                return min(hit) <= max(args.bound * min(control), args.floor)

            for _ in range(args.repeats):
                lost += once()
            # A machine that was busy for a moment is asked again; a server that is slow stays slow.
            for _ in range(args.repeats, args.tries):
                if passes():
                    break
                lost += once()
            bad_ratio, control, hit = not passes(), min(control), min(hit)
            ratio = hit / max(control, 1e-3)
            verdict = "  TOO MUCH" if bad_ratio else f"  LOST {lost}" if lost else ""
            if verdict:
                failed.append(kind)
            print(f"{kind:28} {alone[scheme]:8.2f} {control:8.2f} {hit:9.2f} {ratio:6.1f}{verdict}", flush=True)
            table.append({"kind": kind, "alone_ms": alone[scheme], "control_ms": control, "attacked_ms": hit,
                          "ratio": ratio, "lost": lost})
        attacked.stop()
        other.stop()
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=1)
    print(f"attack: {len(table) - len(failed)} of {len(table)} kinds within {args.bound:g}x of their control "
          f"or {args.floor:g} ms" + (f"; not: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
