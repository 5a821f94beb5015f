#!/usr/bin/env bash
# Runs server and client in two network namespaces that are joined by a virtual cable, with several
# source addresses: real addresses and routes in place of loopback. The kernel's own list of
# connections, seen from the server's side, is the judge.
#
#   ./scripts/tests/netns.sh        (needs root, ip and ss of iproute2, and the release programs)
#
# All addresses exist only inside the two namespaces, which are removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${CARGO_TARGET_DIR:-target}/release
connections=2000 sources=8
here=c1000k-client-$$ there=c1000k-server-$$
work=$(mktemp -d)
server_pid='' client_pid=''

fail() {
    echo "netns: $*" >&2
    tail -n 20 "$work"/*.log >&2
    exit 1
}
# An unexpected end says where it was.
trap 'echo "netns: line $LINENO failed" >&2' ERR
clean_up() {
    local pid
    for pid in $client_pid $server_pid; do
        if kill "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || true; fi
    done
    ip netns delete "$here" 2>/dev/null || true
    ip netns delete "$there" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
# Repeats a command until it succeeds, 20 s at most.
until_true() {
    local _
    for _ in {1..200}; do
        if "$@"; then return; fi
        sleep 0.1
    done
    return 1
}

ip netns add "$here"
ip netns add "$there"
ip -netns "$here" link add cable type veth peer name cable netns "$there"
ip -netns "$there" address add 10.77.0.1/16 dev cable
for ((i = 1; i <= sources; i++)); do
    ip -netns "$here" address add "10.77.1.$i/16" dev cable
done
for namespace in "$here" "$there"; do
    ip -netns "$namespace" link set lo up
    ip -netns "$namespace" link set cable up
done

ip netns exec "$there" "$programs/c1000k-server" tcp://10.77.0.1:9000 --metrics 10.77.0.1:9100 \
    --connections-max "$connections" --json >"$work/server.log" 2>&1 &
server_pid=$!
until_true grep -q '"url"' "$work/server.log" || fail "the server did not start"

ip netns exec "$here" "$programs/c1000k-client" run tcp://10.77.0.1:9000 --connections "$connections" \
    --source-ip "10.77.1.1-10.77.1.$sources" --rate 2k --duration 2s --hold 4s \
    --peer 10.77.0.1:9100 --output "$work/result.json" --fail-if 'messages.lost>0' \
    >"$work/client.log" 2>&1 &
client_pid=$!

# The other side of each connection to the server's port: one address with port per line.
others() {
    ip netns exec "$there" ss -Htn state established '( sport = :9000 )' | awk '{ print $4 }'
}
all_there() { (($(others | sort -u | wc -l) == connections)); }
until_true all_there || fail "the kernel shows $(others | wc -l) connections, not $connections"
addresses=$(others | sed 's/:[0-9]*$//' | sort -u | wc -l)
((addresses == sources)) || fail "they come from $addresses addresses, not $sources"

# An address is still one of this machine when all ports that the kernel may choose there are in use.
port=$(others | sed -n 's/^10\.77\.1\.1:\([0-9]*\)$/\1/p' | head -n 1)
range=$(ip netns exec "$here" sysctl -n net.ipv4.ip_local_port_range)
ip netns exec "$here" sysctl -qw net.ipv4.ip_local_port_range="$port $port"
ip netns exec "$here" "$programs/c1000k-client" check tcp://10.77.0.1:9000 --source-ip 10.77.1.1 \
    --source-ports 1024-2023 >"$work/check.log" 2>&1 || fail "check calls 10.77.1.1 unusable: $?"
ip netns exec "$here" sysctl -qw net.ipv4.ip_local_port_range="$range"

wait "$client_pid" && code=0 || code=$?
client_pid=''
((code == 0)) || fail "the client's exit code is $code"
"$programs/c1000k-report" show "$work/result.json" >"$work/shown.log"
grep -q '2,000 of 2,000 opened' "$work/shown.log" || fail "the report does not say that all were opened"
"$programs/c1000k-report" show --format json "$work/result.json" >"$work/json.log"
grep -q '"accepted": 2000\b' "$work/json.log" || fail "the server's own count is another one"
kill "$server_pid"
wait "$server_pid" && code=0 || code=$?
server_pid=''
((code == 0)) || fail "the server's exit code is $code"
echo "netns: $connections connections from $sources addresses, as client, server and kernel say"
