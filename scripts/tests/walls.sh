#!/usr/bin/env bash
# Runs against each wall that a run can meet, made for real in two network namespaces: a full accept
# queue, servers and clients at their limits, no port left, too many handshakes under way, a full
# conntrack table, firewalls, nobody there. Each time the client has to name it, on the screen and in
# its result.
#
#   ./scripts/tests/walls.sh        (needs root, ip, prlimit, python3, nft, and the release programs)
#
# Without nft the walls that need it are left out, and with CI=true that is a failure. The conntrack
# table is filled only where nobody else uses it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${CARGO_TARGET_DIR:-target}/release
here=c1000k-client-$$ there=c1000k-server-$$
work=$(mktemp -d)
server_pid='' client_pid='' conntrack_was=''
conntrack_max=/proc/sys/net/netfilter/nf_conntrack_max

fail() {
    echo "walls: $*" >&2
    tail -n 30 "$work"/*.log >&2
    exit 1
}
# An unexpected end says where it was.
trap 'echo "walls: line $LINENO failed" >&2' ERR
clean_up() {
    local pid
    if [[ -n $conntrack_was ]]; then echo "$conntrack_was" >"$conntrack_max"; fi
    for pid in $client_pid $server_pid; do
        # One that was stopped hears nothing but this.
        if kill -KILL "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || true; fi
    done
    ip netns delete "$here" 2>/dev/null || true
    ip netns delete "$there" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
left_out() { echo "walls: $1 is left out: $2"; }
# Repeats a command until it succeeds, 20 s at most.
until_true() {
    local _
    for _ in {1..200}; do
        if "$@"; then return; fi
        sleep 0.1
    done
    return 1
}
at_client() { ip netns exec "$here" "$@"; }
at_server() { ip netns exec "$there" "$@"; }
setting() { at_server sh -c "echo '$2' >/proc/sys/${1//.//}"; }

# Starts our server with these options, under the limits that come before --: serve [LIMITS] -- OPTIONS
serve() {
    local limits=()
    while [[ $1 != -- ]]; do limits+=("$1") && shift; done
    shift
    : >"$work/server.log"
    ip netns exec "$there" "${limits[@]}" "$programs/c1000k-server" tcp://10.78.0.1:9000 \
        --metrics 10.78.0.1:9100 --reactors 1 --json "$@" >"$work/server.log" 2>&1 &
    server_pid=$!
    until_true grep -q '"url"' "$work/server.log" || fail "the server did not start"
}
stop() {
    if kill "$server_pid" 2>/dev/null; then wait "$server_pid" || true; fi
    server_pid=''
}

# Starts the client in a namespace, in the background: begin NAMESPACE CONNECTIONS OPTIONS...
begin() {
    rm -f "$work/result.json"
    : >"$work/screen.log"
    ip netns exec "$1" "${limit[@]}" "$programs/c1000k-client" run "$url" --connections "$2" \
        --reactors 1 --force --output "$work/result.json" "${@:3}" \
        >"$work/client.log" 2>"$work/screen.log" &
    client_pid=$!
}
# Waits for its end, and asks for a sentence on the screen and in the result: names WALL SENTENCE
names() {
    wait "$client_pid" || true
    client_pid=''
    grep -q "^warning: $2" "$work/screen.log" || fail "$1: the screen does not say '$2'"
    grep -q "\"text\": \"$2" "$work/result.json" || fail "$1: the result does not say '$2'"
    echo "walls: $1: $(grep -o "\"text\": \"$2[^\"]*" "$work/result.json" | cut -d '"' -f 4)"
}
# Runs it in its own namespace: meets WALL SENTENCE CONNECTIONS OPTIONS...
meets() {
    begin "$here" "${@:3}"
    names "$1" "$2"
}
# The server accepts nothing for a while in the middle of a ramp: stands_still WALL SENTENCE
stands_still() {
    begin "$here" 300 --connect-rate 100 --connect-timeout 20s --peer 10.78.0.1:9100
    # The first look has been taken then.
    until_true grep -q ' ramp' "$work/screen.log" || fail "$1: the client did not start"
    kill -STOP "$server_pid"
    sleep 2
    kill -CONT "$server_pid"
    names "$1" "$2"
    grep -q '"opened": 300,' "$work/result.json" || fail "$1: not all were opened when it went on"
}

ip netns add "$here"
ip netns add "$there"
ip -netns "$here" link add cable type veth peer name cable netns "$there"
ip -netns "$there" address add 10.78.0.1/16 dev cable
ip -netns "$here" address add 10.78.1.1/16 dev cable
for namespace in "$here" "$there"; do
    ip -netns "$namespace" link set lo up
    ip -netns "$namespace" link set cable up
done
url=tcp://10.78.0.1:9000
peer=(--peer 10.78.0.1:9100)
limit=()

# ---- The server -----------------------------------------------------------------------------------

overflowed='the accept queue of the server at tcp://10.78.0.1:9000 overflowed [0-9,]* times:'
serve -- --backlog 16
stands_still "accept queue" "$overflowed its backlog is 16 (somaxconn "
stop

setting net.core.somaxconn 8
serve -- --backlog 1000
stands_still "somaxconn" "$overflowed its backlog is 8 (1,000 asked for, somaxconn 8)"
stop
setting net.core.somaxconn 4096

# Not ours, and never accepts. On one host its queue can be seen all the same.
ip netns exec "$there" python3 -c '
import socket, time
listener = socket.create_server(("10.78.0.1", 9000), backlog=8)
print("ready", flush=True)
time.sleep(600)' >"$work/server.log" 2>&1 &
server_pid=$!
until_true grep -q ready "$work/server.log" || fail "python3 does not listen"
begin "$there" 100 --connect-timeout 4s --no-first-echo
names "accept queue of a stranger" "an accept queue on this machine overflowed .*; the kernel counts all \
listeners together, so that it was that of 10.78.0.1:9000 cannot be told. If it was: it accepts more slowly"
stop

serve prlimit --nofile=150:150 -- --connections-max 1000 --force
meets "descriptors of the server" \
    "the server is at its descriptor limit (150): a table was full, and [0-9]* connections were turned away" \
    200 "${peer[@]}"
stop
# It did not know of the limit when it started.
serve -- --connections-max 1000
prlimit --pid "$server_pid" --nofile=60:60
meets "descriptors of the server, later" "the server is at its descriptor limit (60): accepting failed [0-9,]* times" \
    200 --timeout 1s "${peer[@]}"
stop

serve -- --connections-max 50
meets "a full server" "the server turned 50 connections away: it holds 50 at the most" 100 "${peer[@]}"
stop
serve -- --connections-max 1000

# ---- The client -----------------------------------------------------------------------------------

meets "ports" "source 10.78.1.1 has no port left towards 10.78.0.1:9000: 30 connections were not opened" \
    40 --source-ip 10.78.1.1 --source-ports 5000-5009
limit=(prlimit --nofile=40:40)
meets "descriptors of the client" "the client is at its descriptor limit (40 in each table)" \
    49 --fd-table shared
limit=()
stop

# ---- The way between ------------------------------------------------------------------------------

url=tcp://10.78.0.1:9001
meets "refused" "nobody listens at 10.78.0.1:9001: every connection was refused" 10
ip -netns "$here" route add unreachable 10.79.0.0/24
ip -netns "$here" route add prohibit 10.79.1.0/24
url=tcp://10.79.0.1:9000
meets "unreachable" "there is no way to 10.79.0.1:9000: 10 connections were answered with" \
    10 --source-ip 10.78.1.1
url=tcp://10.79.1.1:9000
meets "denied" "this machine does not permit them: 10 connections were denied" 10 --source-ip 10.78.1.1
url=tcp://10.78.0.1:9000

if ! command -v nft >/dev/null || ! at_server nft add table inet walls 2>/dev/null; then
    left_out "a firewall, too many handshakes, a full conntrack table" "nft does not work here"
    if [[ ${CI-} == true ]]; then exit 1; fi
    exit 0
fi
at_client nft add table inet walls
at_client nft 'add chain inet walls in { type filter hook input priority 0; }'
at_server nft 'add chain inet walls in { type filter hook input priority 0; }'

serve -- --backlog 16
at_server nft add rule inet walls in tcp dport 9000 drop
meets "firewall" '[0-9a-z ]* no answer from 10.78.0.1:9000 (first packets were sent again [0-9]* times): no queue of the server dropped them, so something on the way does' \
    20 --connect-timeout 3s "${peer[@]}"
meets "firewall, seen from one side" '[0-9a-z ]* no answer from 10.78.0.1:9000 (first packets were sent again [0-9]* times): a firewall drops them, or a queue or table of the server is full' \
    20 --connect-timeout 3s
at_server nft flush chain inet walls in

# The server's answers get lost, so that handshakes stay under way.
at_client nft add rule inet walls in tcp sport 9000 drop
meets "too many handshakes, with cookies" 'the server answered handshakes with SYN cookies [0-9,]* times, since too many were under way: its backlog is 16' \
    200 --connect-timeout 3s "${peer[@]}"
setting net.ipv4.tcp_syncookies 0
setting net.ipv4.tcp_max_syn_backlog 128
meets "too many handshakes, without" 'the server dropped new handshakes [0-9,]* times, since too many were under way: its backlog is 16, tcp_max_syn_backlog is 128 and tcp_syncookies is off' \
    200 --connect-timeout 3s "${peer[@]}"
at_client nft flush chain inet walls in

# The table's size is one for all namespaces: it is lowered only where nobody else tracks anything.
tracked=$(cat /proc/sys/net/netfilter/nf_conntrack_count 2>/dev/null || echo none)
if [[ $tracked != 0 ]]; then
    left_out "a full conntrack table" "this machine tracks connections of its own, or has no such table ($tracked)"
elif ! { conntrack_was=$(<"$conntrack_max") && echo 100 >"$conntrack_max"; } 2>/dev/null; then
    conntrack_was=''
    left_out "a full conntrack table" "this machine does not let its size be changed"
else
    # The way to the server's counters stays open.
    at_server nft 'add chain inet walls early { type filter hook prerouting priority -300; }'
    at_server nft 'add chain inet walls out { type filter hook output priority -300; }'
    at_server nft add rule inet walls early tcp dport 9100 notrack
    at_server nft add rule inet walls out tcp sport 9100 notrack
    at_server nft add rule inet walls in tcp dport 9000 ct state new accept
    full='is full at 100: packets dropped [0-9,]* times'
    meets "conntrack of the server" "the conntrack table of the server's machine $full" \
        200 --connect-timeout 3s --timeout 2s "${peer[@]}"
    at_server nft delete table inet walls
    at_client nft add rule inet walls in tcp sport 9000 ct state new accept
    meets "conntrack of the client" "the conntrack table of this machine $full" \
        200 --connect-timeout 3s --timeout 2s
    echo "$conntrack_was" >"$conntrack_max"
    conntrack_was=''
fi
echo "walls: each was named for what it is"
