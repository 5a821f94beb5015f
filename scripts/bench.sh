#!/usr/bin/env bash
# Compares the project's programs with the floor that the kernel sets (bench/), on loopback.
#
#   ./scripts/bench.sh [codec|echo|client|open|pace|websocket|all]        (default: all, about 16 minutes)
#
#   codec      the WebSocket codec alone: instructions (where valgrind is there) and time
#   echo       the server's CPU time per message and its rate, against a minimal epoll server
#   client     the client's CPU time per message and its rate, against a minimal epoll client
#   open       connections per second, against bare threads that name their ports
#   pace       messages sent against messages asked for, and how evenly
#   websocket  the server's ws:// echo against plain TCP, the client against a minimal one over ws://,
#              handshakes against connections
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
    codec | echo | client | open | pace | websocket | all) ;;
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

pids=()
stop_servers() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}
trap stop_servers EXIT
trap 'exit 130' INT TERM

# Starts a server and waits for the line that says it listens: start NAME COMMAND... sets $started.
start() {
    local ready=$out/$1.ready
    : >"$ready"
    "${@:2}" >"$ready" &
    started=$!
    pids+=("$started")
    for _ in {1..100}; do
        if [[ -s $ready ]]; then return; fi
        if ! kill -0 "$started" 2>/dev/null; then break; fi
        sleep 0.1
    done
    echo "bench: $1 did not start listening within 10 s" >&2
    exit 1
}

failures=0
# Runs one comparison, 10 minutes at most, and keeps its table: measure WHAT COMMAND...
measure() {
    echo "bench: $1" >&2
    if ! timeout --foreground 600 "${@:2}" --output "$out/bench.jsonl" >>"$tables"; then
        failures=$((failures + 1))
        printf '**%s: failed, see the message above**\n\n' "$1" >>"$tables"
    fi
}

bench_codec() {
    echo "bench: codec" >&2
    # Its table has a column for what valgrind counts.
    cargo bench --quiet -p c1000k-wire --bench codec >>"$tables"
}

bench_echo() {
    local ports first twin ours
    mapfile -t ports < <("$reference" free-ports 3)
    start reference "$reference" server --port "${ports[0]}" --cpu "$server_cpu"
    first=$started
    start twin "$reference" server --port "${ports[1]}" --cpu "$server_cpu"
    twin=$started
    start server "$server" --json --reactors 1 --cores "$server_cpu" --connections-max 16k \
        "tcp://127.0.0.1:${ports[2]}"
    ours=$started
    local compare=("$reference" compare --cpu "$client_cpu" --null "reference again"
        --target "reference:${ports[0]}:$first" --target "reference again:${ports[1]}:$twin"
        --target "c1000k-server:${ports[2]}:$ours")
    measure "echo, 1,000 connections" "${compare[@]}"
    measure "echo, 16 in flight" "${compare[@]}" --depth 16
    measure "echo, 16 of 1 KiB in flight" "${compare[@]}" --depth 16 --size 1k
    measure "echo, 15,000 connections" "${compare[@]}" --connections 15k --slice 0.9 --rounds 9
    stop_servers
}

bench_client() {
    local port
    port=$("$reference" free-ports)
    start reference "$reference" server --port "$port" --cpu "$server_cpu"
    local compare=("$reference" compare-clients --program "$client" --port "$port" --cpu "$client_cpu")
    measure "client, 1 in flight" "${compare[@]}"
    measure "client, 16 in flight" "${compare[@]}" --depth 16
    stop_servers
}

# A server for more connections than one descriptor table may hold, on all CPUs.
start_wide_server() {
    wide_port=$("$reference" free-ports)
    start server "$server" --json --connections-max 110k "tcp://127.0.0.1:$wide_port"
}

bench_open() {
    start_wide_server
    local compare=("$reference" compare-opening --program "$client" --port "$wide_port")
    measure "opening 100,000" "${compare[@]}"
    measure "opening 60,000 from one address" "${compare[@]}" --connections 60k --one-source
    stop_servers
}

# Pace on one server: pace_on NAME OPTIONS OF c1000k-server... -- CASES AND OPTIONS OF pace...
pace_on() {
    local name=$1 options=() cases=() port
    shift
    while [[ $1 != -- ]]; do options+=("$1"); shift; done
    shift
    while (($#)); do
        if [[ $1 == --* ]]; then cases+=("$1" "$2"); shift; else cases+=(--case "$1"); fi
        shift
    done
    port=$("$reference" free-ports)
    start server "$server" --json "${options[@]}" "tcp://127.0.0.1:$port"
    measure "pace, $name" "$reference" pace --program "$client" --port "$port" --server-pid "$started" "${cases[@]}"
    stop_servers
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
    local ports first twin ours
    mapfile -t ports < <("$reference" free-ports 3)
    start reference "$reference" server --port "${ports[0]}" --cpu "$server_cpu"
    first=$started
    start twin "$reference" server --port "${ports[1]}" --cpu "$server_cpu"
    twin=$started
    start server "$server" --json --reactors 1 --cores "$server_cpu" --connections-max 16k \
        "ws://127.0.0.1:${ports[2]}"
    ours=$started
    local compare=("$reference" compare --cpu "$client_cpu" --null "plain TCP again"
        --target "plain TCP:${ports[0]}:$first" --target "plain TCP again:${ports[1]}:$twin"
        --target "c1000k-server, WebSocket:${ports[2]}:$ours:ws")
    measure "WebSocket echo, 1,000 connections" "${compare[@]}"
    measure "WebSocket echo, 16 in flight" "${compare[@]}" --depth 16
    measure "WebSocket echo, 15,000 connections" "${compare[@]}" --connections 15k --slice 0.9 --rounds 9
    local clients=("$reference" compare-clients --ws --program "$client" --port "${ports[2]}" --cpu "$client_cpu")
    measure "WebSocket client, 1 in flight" "${clients[@]}"
    measure "WebSocket client, 16 in flight" "${clients[@]}" --depth 16
    stop_servers

    mapfile -t ports < <("$reference" free-ports 2)
    start server "$server" --json --connections-max 110k "tcp://127.0.0.1:${ports[0]}" "ws://127.0.0.1:${ports[1]}"
    measure "handshakes" "$reference" compare-opening --program "$client" --port "${ports[0]}" --ws-port "${ports[1]}"
    stop_servers
}

for part in codec echo client open pace websocket; do
    if [[ $what == all || $what == "$part" ]]; then "bench_$part"; fi
done

rm -f "$out"/*.ready
cat "$tables"
echo "bench: tables in $tables, figures in $out/bench.jsonl" >&2
((failures == 0))
