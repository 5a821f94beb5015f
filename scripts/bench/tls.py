"""What TLS costs, each figure beside its base in the same minute: the comparisons of `bench.sh tls`.

    tls.py PROGRAMS [--rounds N] [WHAT...]

WHAT: handshakes, memory, echo, storm, files, nginx (default: all). The server runs on one core, the client on
another. Tables as Markdown on standard output; a row's figures are medians over the rounds, and so is its ratio,
whose smallest and largest stand behind it. nginx is left out where it is not installed.
"""

import argparse
import atexit
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SERVER_CPU = os.environ.get("BENCH_SERVER_CPU", "0")
CLIENT_CPU = os.environ.get("BENCH_CLIENT_CPU", "1")
# How often the floor of a handshake is measured for one figure: each takes 50 ms.
FLOORS = 5
TICKS = os.sysconf("SC_CLK_TCK")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Server:
    """Ours, on one core: plain and with TLS beside each other."""

    def __init__(self, programs, folder, *options):
        self.ca = tempfile.mkstemp(suffix=".pem", dir=folder)[1]
        command = [f"{programs}/c1000k-server", "--json", "--reactors", "1", "--cores", SERVER_CPU,
                   "--connections-max", "19k", "--metrics", "127.0.0.1:0", "--write-ca", self.ca, *options]
        if "--fd-table" in options:
            command.remove("--connections-max")
        schemes = ["tcp", "tls", "ws", "wss", "http", "https"]
        command += [f"{scheme}://127.0.0.1:0" for scheme in schemes]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        # A run that fails ends this program: it leaves no server behind.
        atexit.register(self.stop)
        ready = [json.loads(self.process.stdout.readline()) for _ in schemes]
        self.urls = {line["url"].split("://")[0]: line["url"] for line in ready}
        self.metrics = ready[0]["metrics"]

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Client:
    def __init__(self, programs, server):
        self.programs, self.server = programs, server

    def command(self, url, *options):
        trust = ["--cacert", self.server.ca] if re.match("tls|wss|https", url) and "-k" not in options else []
        return [f"{self.programs}/c1000k-client", "run", url, "--json", "-q", "--reactors", "1", "--cores", CLIENT_CPU,
                *trust, *options]

    def run(self, url, *options, peer=True):
        peers = ["--peer", self.server.metrics] if peer else []
        done = subprocess.run(self.command(url, *peers, *options), capture_output=True, text=True)
        if not done.stdout:
            raise SystemExit(f"{url}: {done.stderr}")
        result = json.loads(done.stdout)
        if result["connections"]["failed"]:
            raise SystemExit(f"{url}: {result['connections']['failed']} connections failed")
        return result

    def floor(self, *options):
        """CPU us of a handshake in memory: client, server. As in a run both cores are busy with it: a core has
        another speed beside one that idles."""
        command = self.command("tls://127.0.0.1:9", "-c", "1k", *options)
        command[1] = "check"
        at = command.index("--cores")
        command = [word for word in command[:at] + command[at + 2:] if word != "-q"]
        seen = []
        for _ in range(FLOORS):
            # The process is put on its core, the reactors that are planned there as well.
            both = [subprocess.Popen(["taskset", "-c", cpu, *command, "--cores", cpu], stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL) for cpu in (CLIENT_CPU, SERVER_CPU)]
            costs = []
            for one in both:
                found = json.loads(one.communicate()[0])
                findings = found["findings"] if isinstance(found, dict) else found
                finding = next(one for one in findings if one["name"] == "tls")
                costs.append((micros(finding["have"]), micros(finding["why"].split("(")[1])))
            seen.append((costs[0][0], costs[1][1]))
        return [median(one[at] for one in seen) for at in (0, 1)]


def micros(text):
    number, unit = re.search(r"([\d.]+) (us|ms)", text).groups()
    return float(number) * {"us": 1, "ms": 1000}[unit]


def cpu_of(result, end, what):
    """CPU us of one end, for each connection or message."""
    value = result["resources"][end][f"cpu_ns_per_{what}"]
    return value / 1000


def bytes_of(result, end):
    return result["resources"][end]["bytes_per_connection"]


def median(values):
    return statistics.median(values)


def table(title, columns, rows):
    print(f"### {title}\n")
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def spread(values, digits=2):
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def handshakes(programs, folder, rounds):
    # The floor makes no tickets.
    servers = {tickets: Server(programs, folder, "--tls-tickets", tickets) for tickets in ("0", "2")}
    client = Client(programs, servers["0"])
    cases = {"full, verified": [], "full, -k": ["-k"], "full, TLS 1.2": ["--tls-max", "1.2"],
             "resumed, TLS 1.3": ["--tls-resume", "--connect-rate", "1500"]}
    count = ["-c", "5k", "--no-first-echo"]
    seen = {name: [] for name in cases}
    for number in range(rounds):
        say(f"handshakes, round {number + 1} of {rounds}")
        plain = client.run(servers["0"].urls["tcp"], *count)
        for name, options in cases.items():
            floor_options = [word for word in options if word not in ("--tls-resume", "--connect-rate", "1500")]
            before = client.floor(*floor_options)
            client.server = servers["2" if "--tls-resume" in options else "0"]
            secured = client.run(client.server.urls["tls"], *count, *options)
            floor = [median(pair) for pair in zip(before, client.floor(*floor_options))]
            added = [cpu_of(secured, end, "connection") - cpu_of(plain, end, "connection") for end in ("client", "server")]
            seen[name].append((added, floor))
    for server in servers.values():
        server.stop()
    rows = []
    for name, all_of in seen.items():
        for at, end in enumerate(["client", "server"]):
            added, floor = [one[0][at] for one in all_of], [one[1][at] for one in all_of]
            ratios = [mine / theirs for mine, theirs in zip(added, floor)]
            rows.append([name, end, f"{median(added):.0f}", f"{median(floor):.0f}", spread(ratios)])
    table("CPU of a handshake over that of a plain opening, us",
          ["handshake", "end", "over plain opening", "full one in memory", "ratio"], rows)


def memory(programs, folder, rounds):
    few, many = 6_000, 18_000
    cases = {"idle": ("rss_bytes", ["--no-first-echo", "--hold", "500ms"]),
             "behind traffic": ("rss_bytes_after_traffic", ["--rate", "15k", "-d", "3s"])}
    seen = {name: ([], []) for name in cases}
    for number in range(max(rounds // 2, 1)):
        say(f"memory, round {number + 1}")
        for name, (key, options) in cases.items():
            grown = {}
            for scheme in ["tcp", "tls"]:
                for count in [few, many]:
                    # A fresh server each: memory that was used once is not given back at once.
                    server = Server(programs, folder)
                    result = Client(programs, server).run(server.urls[scheme], "-c", str(count), *options)
                    for end in ["client", "server"]:
                        of_end = result["resources"][end]
                        grown[scheme, count, end] = of_end[key] - of_end["rss_bytes_before"]
                    server.stop()
            for at, end in enumerate(["client", "server"]):
                more = [grown["tls", count, end] - grown["tcp", count, end] for count in (few, many)]
                seen[name][at].append((more[1] - more[0]) / (many - few))
    rows = [[name, *(spread(of, 0) for of in both)] for name, both in seen.items()]
    table("Memory of one more connection over that of a plain one, bytes (of 6,000 to 18,000 at one reactor)",
          ["when", "client", "server"], rows)


def echo(programs, folder, rounds):
    server = Server(programs, folder)
    client = Client(programs, server)
    cases = {"64 connections": ["-c", "64"], "64, 16 in flight": ["-c", "64", "--in-flight", "16"],
             "15,000 connections, all keys cold": ["-c", "15k", "--no-first-echo"],
             "64, 16 KiB": ["-c", "64", "-s", "16k"]}
    seen = {name: [] for name in cases}
    for number in range(rounds):
        say(f"echo, round {number + 1} of {rounds}")
        for name, options in cases.items():
            pair = []
            order = ["tcp", "tls"] if number % 2 == 0 else ["tls", "tcp"]
            of = {}
            for scheme in order:
                result = client.run(server.urls[scheme], "--closed", "-d", "1500ms", "--audit", "off", *options)
                of[scheme] = [cpu_of(result, end, "message") for end in ("client", "server")]
            pair = [of["tcp"], of["tls"]]
            seen[name].append(pair)
    server.stop()
    rows = []
    for name, all_of in seen.items():
        for at, end in enumerate(["client", "server"]):
            plain, tls = [one[0][at] for one in all_of], [one[1][at] for one in all_of]
            ratios = [one / two for one, two in zip(plain, tls)]
            rows.append([name, end, f"{median(plain):.2f}", f"{median(tls):.2f}", spread(ratios)])
    table("CPU of an echo, us", ["echo", "end", "plain", "TLS", "plain / TLS"], rows)


def storm(programs, folder, rounds):
    server = Server(programs, folder)
    client = Client(programs, server)
    seen = {"none": [], "plain": [], "TLS": []}
    for number in range(rounds):
        say(f"storm, round {number + 1} of {rounds}")
        for name, url in [("none", None), ("plain", server.urls["http"]), ("TLS", server.urls["https"])]:
            other = None
            if url:
                # A connection for each request, as many as the server takes.
                other = subprocess.Popen(client.command(url, "--close", "--closed", "-c", "64", "-d", "8s"),
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(1)
            result = client.run(server.urls["tls"], "-c", "50", "-r", "500", "-d", "4s")
            seen[name].append(result["stages"]["service"]["p99"] / 1000)
            if other:
                other.terminate()
                other.wait()
    server.stop()
    rows = [[name, spread(all_of, 0)] for name, all_of in seen.items()]
    table("Service p99 of 500 echoes/s over TLS on the one reactor beside a storm of connections, us", ["storm", "p99"], rows)


# ---- nginx --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def nginx(folder, server):
    """One worker on the server's core, with a certificate of the same kind; its URL and process."""
    root = os.path.join(folder, "root")
    key, cert = os.path.join(folder, "n.key"), os.path.join(folder, "n.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    os.chmod(key, 0o644)
    config = os.path.join(folder, "nginx.conf")
    mask = "1" + "0" * int(SERVER_CPU)
    port = 28_443
    with open(config, "w") as file:
        file.write(f"""daemon off; worker_processes 1; worker_cpu_affinity {mask}; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
worker_rlimit_nofile 19000; events {{ worker_connections 19000; }}
http {{ access_log off; sendfile on; keepalive_requests 1000000;
client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
server {{ listen 127.0.0.1:{port} ssl backlog=4096; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
ssl_session_tickets off; ssl_buffer_size 16k; root {root}; }} }}
""")
    process = subprocess.Popen(["nginx", "-c", config], stderr=subprocess.DEVNULL)
    time.sleep(1)
    worker = int(subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()[0])
    try:
        yield f"https://127.0.0.1:{port}", worker, cert
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def beside_nginx(programs, folder, rounds, what):
    root = os.path.join(folder, "root")
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, "1m"), "wb") as file:
        file.write(os.urandom(1 << 20))
    os.chmod(folder, 0o755)
    server = Server(programs, folder, "--root", root)
    client = Client(programs, server)
    seen = []
    with nginx(folder, server) as (url, worker, cert):
        for number in range(rounds):
            say(f"{what}, round {number + 1} of {rounds}")
            of = {}
            for name, target, pid in [("ours", server.urls["https"], server.process.pid), ("nginx", url, worker)]:
                if what == "handshakes":
                    options, count = ["-k", "-c", "4k", "--no-first-echo"], 4000
                else:
                    options, count = ["-k", "-c", "8", "--closed", "-d", "2s"], None
                target = target if what == "handshakes" else f"{target}/1m"
                before = cpu_seconds(pid)
                result = client.run(target, *options, peer=False)
                spent = cpu_seconds(pid) - before
                first = (result["messages"]["first_echo"] or {}).get("received", 0)
                count = count or result["messages"]["received"] + first
                of[name] = (spent / count * 1e6, result["messages"]["rate_achieved"])
            seen.append(of)
    server.stop()
    ours, theirs = [one["ours"][0] for one in seen], [one["nginx"][0] for one in seen]
    ratios = [one / two for one, two in zip(ours, theirs)]
    rows = [["server's CPU, us", f"{median(ours):.0f}", f"{median(theirs):.0f}", spread(ratios)]]
    if what == "files":
        ours, theirs = [one["ours"][1] for one in seen], [one["nginx"][1] for one in seen]
        ratios = [one / two for one, two in zip(ours, theirs)]
        rows.append(["files a second", f"{median(ours):.0f}", f"{median(theirs):.0f}", spread(ratios)])
    title = {"handshakes": "A handshake beside nginx, one core each, the same client",
             "files": "Files of 1 MiB over https beside nginx, one core each, the same client"}[what]
    table(title, ["figure", "ours", "nginx", "ours / nginx"], rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("what", nargs="*")
    args = parser.parse_intermixed_args()
    known = {"handshakes": handshakes, "memory": memory, "echo": echo, "storm": storm}
    wanted = args.what or [*known, "nginx", "files"]
    for what in wanted:
        with tempfile.TemporaryDirectory() as folder:
            if what in known:
                known[what](args.programs, folder, args.rounds)
            elif shutil.which("nginx"):
                beside_nginx(args.programs, folder, args.rounds, "files" if what == "files" else "handshakes")
            else:
                say(f"{what} is left out: nginx is missing")


main()
