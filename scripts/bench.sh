#!/usr/bin/env bash
# Compares the project's programs with the floor that the kernel sets (bench/), on loopback.
#
#   ./scripts/bench.sh [codec|echo|client|open|pace|websocket|tls|all]        (default: all, about 26 minutes)
#
#   codec      the WebSocket codec alone: instructions (where valgrind is there) and time
#   echo       the server's CPU time per message and its rate, against a minimal epoll server
#   client     the client's CPU time per message and its rate, against a minimal epoll client
#   open       connections per second, against bare threads that name their ports
#   pace       messages sent against messages asked for, and how evenly
#   websocket  the server's ws:// echo against plain TCP, the client against a minimal one over ws://,
#              handshakes against connections
#   tls        handshakes, memory and echoes over those of plain connections, what a storm of handshakes does
#              to echoes, and nginx (needs python3, openssl and nginx)
#
# Both sides take turns in one run, so a busy machine spoils absolute figures but not the ratios.
# The reference server is in every echo run twice: where it does not equal itself within 7 %, the
# table says that the run does not count. Needs cargo and coreutils; installs and changes nothing.
#
# Writes target/bench/bench.md (the tables) and target/bench/bench.jsonl (every figure).
# BENCH_PROGRAMS=DIR takes the programs from there instead of building them.
# BENCH_SERVER_CPU and BENCH_CLIENT_CPU (default 0 and 1) say where the two ends are pinned.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-all}
case $what in
    codec | echo | client | open | pace | websocket | tls | all) ;;
    *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

target=${CARGO_TARGET_DIR:-target}
out=$target/bench
server_cpu=${BENCH_SERVER_CPU:-0}
client_cpu=${BENCH_CLIENT_CPU:-1}
if [[ -z ${BENCH_PROGRAMS:-} ]]; then
    cargo build --release --quiet -p c1000k-bench -p c1000k-server -p c1000k-client
fi
programs=${BENCH_PROGRAMS:-$target/release}
reference=$programs/c1000k-reference
server=$programs/c1000k-server
client=$programs/c1000k-client

mkdir -p "$out"
tables=$out/bench.md
: >"$tables"
: >"$out/bench.jsonl"

failures=0
# Runs one comparison, 10 minutes at most, with servers of its own, and keeps its table:
# measure WHAT COMPARISON... The servers' commands are in `servers`, each with '--' behind it.
servers=()
measure() {
    local one count=0
    echo "bench: $1" >&2
    for one in "${servers[@]}"; do if [[ $one == -- ]]; then count=$((count + 1)); fi; done
    if ! timeout --foreground --kill-after=70 600 "$reference" pair --as bench --servers "$count" -- \
        "${servers[@]}" "$reference" "${@:2}" --output "$out/bench.jsonl" >>"$tables"; then
        failures=$((failures + 1))
        printf '**%s: failed, see the message above**\n\n' "$1" >>"$tables"
    fi
}

bench_codec() {
    echo "bench: codec" >&2
    # Its table has a column for what valgrind counts.
    cargo bench --quiet -p c1000k-wire --bench codec >>"$tables"
}

# The reference server twice, and ours with this scheme: three_servers SCHEME
three_servers() {
    local floor=("$reference" server --port '{free}' --cpu "$server_cpu" --)
    servers=("${floor[@]}" "${floor[@]}")
    ours "$1"
}
# Ours on one core, with this scheme, behind what is there: ours SCHEME
ours() {
    servers+=("$server" --json --reactors 1 --cores "$server_cpu" --connections-max 16k
        "$1://127.0.0.1:{free}" --)
}
# Ours for more connections than one descriptor table may hold, on all CPUs: wide_server URL...
wide_server() { servers=("$server" --json --connections-max 110k "$@" --); }

bench_echo() {
    three_servers tcp
    local compare=(compare --cpu "$client_cpu" --null "reference again"
        --target 'reference:{port.1}:{pid.1}' --target 'reference again:{port.2}:{pid.2}'
        --target 'c1000k-server:{port.3}:{pid.3}')
    measure "echo, 1,000 connections" "${compare[@]}"
    measure "echo, 16 in flight" "${compare[@]}" --depth 16
    measure "echo, 16 of 1 KiB in flight" "${compare[@]}" --depth 16 --size 1k
    measure "echo, 15,000 connections" "${compare[@]}" --connections 15k --slice 0.9 --rounds 9
}

bench_client() {
    servers=("$reference" server --port '{free}' --cpu "$server_cpu" --)
    local compare=(compare-clients --program "$client" --port '{port}' --cpu "$client_cpu")
    measure "client, 1 in flight" "${compare[@]}"
    measure "client, 16 in flight" "${compare[@]}" --depth 16
}

bench_open() {
    wide_server 'tcp://127.0.0.1:{free}'
    local compare=(compare-opening --program "$client" --port '{port}')
    measure "opening 100,000" "${compare[@]}"
    measure "opening 60,000 from one address" "${compare[@]}" --connections 60k --one-source
}

# Pace on one server: pace_on NAME OPTIONS OF c1000k-server... -- CASES AND OPTIONS OF pace...
pace_on() {
    local name=$1 options=() cases=()
    shift
    while [[ $1 != -- ]]; do options+=("$1"); shift; done
    shift
    while (($#)); do
        if [[ $1 == --* ]]; then cases+=("$1" "$2"); shift; else cases+=(--case "$1"); fi
        shift
    done
    servers=("$server" --json "${options[@]}" 'tcp://127.0.0.1:{free}' --)
    measure "pace, $name" pace --program "$client" --port '{port}' --server-pid '{pid}' "${cases[@]}"
}

bench_pace() {
    local arrivals
    for arrivals in uniform poisson; do
        pace_on "one core each, $arrivals" --reactors 1 --cores "$server_cpu" --connections-max 16k -- \
            10kx1 10kx5 10kx10 --cores "$client_cpu" --arrivals "$arrivals"
    done
    pace_on "both on all cores" -- 10kx1 10kx5 100x1000 10kx10
    pace_on "both on all cores, the server with --steer cpu" --steer cpu -- 10kx1 10kx5 100x1000 10kx10
    pace_on "a server for 110,000" --connections-max 110k -- 100kx0.5
}

# The server's WebSocket echo, with the same plain TCP server twice as the floor.
bench_websocket() {
    three_servers ws
    local compare=(compare --cpu "$client_cpu" --null "plain TCP again"
        --target 'plain TCP:{port.1}:{pid.1}' --target 'plain TCP again:{port.2}:{pid.2}'
        --target 'c1000k-server, WebSocket:{port.3}:{pid.3}:ws')
    measure "WebSocket echo, 1,000 connections" "${compare[@]}"
    measure "WebSocket echo, 16 in flight" "${compare[@]}" --depth 16
    measure "WebSocket echo, 15,000 connections" "${compare[@]}" --connections 15k --slice 0.9 --rounds 9
    servers=()
    ours ws
    local clients=(compare-clients --ws --program "$client" --port '{port}' --cpu "$client_cpu")
    measure "WebSocket client, 1 in flight" "${clients[@]}"
    measure "WebSocket client, 16 in flight" "${clients[@]}" --depth 16
    wide_server 'tcp://127.0.0.1:{free}' 'ws://127.0.0.1:{free}'
    measure "handshakes" compare-opening --program "$client" --port '{port.1}' --ws-port '{port.2}'
}

# The figures that TLS is about are differences and ratios of several runs: a script of its own.
bench_tls() {
    BENCH_SERVER_CPU=$server_cpu BENCH_CLIENT_CPU=$client_cpu python3 -B scripts/bench/tls.py "$programs" >>"$tables" ||
        failures=$((failures + 1))
}

for part in codec echo client open pace websocket tls; do
    if [[ $what == all || $what == "$part" ]]; then "bench_$part"; fi
done

cat "$tables"
echo "bench: tables in $tables, figures in $out/bench.jsonl" >&2
((failures == 0))
