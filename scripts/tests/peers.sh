#!/usr/bin/env bash
# Our client against a server that is not ours, and a client that is not ours against our server:
# both are socat.
#
#   ./scripts/tests/peers.sh        (needs socat, and the release programs)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=peers
. scripts/tests/common.sh

# Waits, 20 s at most, for socat to listen.
listens() {
    local _
    for _ in {1..200}; do
        if grep -q "listening on" "$work/socat.log" 2>/dev/null; then return; fi
        kill -0 "$socat_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# ---- Our client, their server ---------------------------------------------------------------------

# Below the kernel's usual ephemeral range; the first that is free.
port=''
for candidate in {20731..20750}; do
    socat -d -d -T 30 "TCP4-LISTEN:$candidate,bind=127.0.0.1,fork,backlog=64" PIPE 2>"$work/socat.log" &
    socat_pid=$!
    pids+=("$socat_pid")
    if listens; then
        port=$candidate
        break
    fi
    wait "$socat_pid" || true
done
[[ -n $port ]] || fail "socat found no free port"
"$programs/c1000k-client" run "tcp://127.0.0.1:$port" --connections 20 --rate 200 --duration 2s --size 1k \
    --output "$work/result.json" --fail-if 'connections.lost>0' --fail-if 'messages.lost>0' \
    --fail-if 'messages.mismatched>0' --fail-if 'messages.received<400' >"$work/client.log" 2>&1 ||
    fail "the client's exit code is $?"
# Each connection is a process there: their server's own count.
accepted=$(grep -c 'accepting connection' "$work/socat.log")
((accepted == 20)) || fail "socat has accepted $accepted connections, not 20"
echo "peers: our client and socat: 20 connections, 400 messages of 1 KiB came back as they were sent"

# ---- Their client, our server ---------------------------------------------------------------------

sent_back() {
    head -c 4000000 /dev/urandom >"$work/sent"
    for round in 1 2 3; do
        # Reads on until all is back or nothing has come for 10 s.
        timeout 60 socat -t 10 - "TCP4:${1#tcp://}" <"$work/sent" >"$work/back"
        cmp "$work/sent" "$work/back" || {
            echo "round $round: what came back is not what was sent" >&2
            return 1
        }
    done
}
export work
export -f sent_back
"$programs/c1000k-reference" pair --as peers --log "$work/server.log" -- \
    "$programs/c1000k-server" tcp://127.0.0.1:0 --json -- \
    bash -euo pipefail -c 'sent_back "$@"' sent_back '{url}' || fail "socat and our server: see above"
echo "peers: socat and our server: 4 MB of random bytes came back as they were sent, three times"
