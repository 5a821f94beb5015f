#!/usr/bin/env bash
# WebSocket against programs that are not ours: conformance cases over raw sockets, npm's `ws`, PyPI's
# `websockets`, and a page in Chromium.
#
#   ./scripts/tests/websocket.sh        (needs python3 with venv, node, npm, chromium, and the release
#                                        programs; puts the two packages into target/peers)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=websocket
. scripts/tests/common.sh
folder=scripts/tests/websocket
install_ws
install_python websockets 'websockets>=15'

# ---- Case by case ---------------------------------------------------------------------------------

# Both ends at once: neither needs more than a core.
conforms() {
    PYTHONPATH=scripts/tests python3 -B "$folder/$1.py" "$programs/c1000k-$1" 2>"$work/conformance-$1.log"
}
conforms server &
server_cases=$!
pids+=("$server_cases")
conforms client || fail "our client does not conform"
wait "$server_cases" || fail "our server does not conform"

# ---- Their clients, our server --------------------------------------------------------------------

# Their clients against our servers: that without windows, with shared and with windows of its own for each
# connection, and the one that is picky.
their_clients() {
    local server theirs guarded=$4
    for server in "${@:1:3}"; do
        # Both at once: neither needs more than a core.
        timeout 300 "$python" "$folder/peers.py" client "$server" "$guarded" &
        theirs=$!
        timeout 300 node "$folder/peers.mjs" client "$server" "$guarded" || return 1
        wait "$theirs" || return 1
    done
    for server in "$1" "$3"; do
        timeout 120 node "$folder/peers.mjs" page "$server" "$(command -v chromium)" || return 1
    done
}
export folder python
export -f their_clients
server=("$programs/c1000k-server" --json)
"$programs/c1000k-reference" pair --as websocket --servers 4 --log "$work/servers.log" -- \
    "${server[@]}" ws://127.0.0.1:0 -- \
    "${server[@]}" --deflate ws://127.0.0.1:0 -- \
    "${server[@]}" --deflate=dedicated ws://127.0.0.1:0 -- \
    "${server[@]}" --origin=https://example.test --subprotocol superchat --subprotocol chat ws://127.0.0.1:0 -- \
    bash -euo pipefail -c 'their_clients "$@"' their_clients '{url.1}' '{url.2}' '{url.3}' '{url.4}' ||
    fail "their clients and our servers: see above"

# ---- Our client, their servers --------------------------------------------------------------------

# A short run, all of whose messages have to come back; as fast as they do, since this is no place to
# miss a rate: run_against URL OPTIONS...
run_against() {
    "$programs/c1000k-client" run "$@" --connections 10 --closed --in-flight 2 --duration 1s --quiet \
        --output "$work/result.json" --fail-if 'connections.failed>0' --fail-if 'connections.lost>0' \
        --fail-if 'messages.lost>0' --fail-if 'messages.mismatched>0' --fail-if 'messages.received<20' \
        >"$work/client.log" 2>&1 || fail "our client's exit code is $? with: $*"
}
start python "$python" "$folder/peers.py" server
start node node "$folder/peers.mjs" server
for peer in python node; do
    url=$(service "$peer" "echo plain")
    run_against "$url"
    run_against "$url" --text --size 1k --fragment 100
    run_against "$url" --size 100k --ping 200ms
    run_against "$url" --size 64k --fragment 1000
    for answer in deflate deflate-alone deflate-small; do
        run_against "$(service "$peer" "echo $answer")" --deflate --text --size 4k
        run_against "$(service "$peer" "echo $answer")" --deflate --size 70k --fragment 5000
    done
    # A client that offers no compression gets none.
    run_against "$(service "$peer" "echo deflate")"
    pushes=0
    for answer in plain deflate deflate-alone deflate-small; do
        for offer in '' --deflate; do
            timeout 120 "$programs/c1000k-client" echo ${offer:+"$offer"} "$(service "$peer" "push $answer")" \
                >"$work/echo.log" 2>&1 || fail "our echo's exit code is $? at $peer, $answer, ${offer:-no offer}"
            pushes=$((pushes + 1))
        done
    done
    # The peer's word follows the close that has ended our client.
    for _ in {1..50}; do
        held=$(grep -c '"push": *"held"' "$work/$peer.out" || true)
        if ((held == pushes)); then break; fi
        sleep 0.1
    done
    ((held == pushes)) || fail "$held of $pushes pushes held at $peer: $(grep push "$work/$peer.out" | tail -n +2)"
    echo "websocket: our client and $peer: runs with and without compression, $pushes pushes sent back"
done
