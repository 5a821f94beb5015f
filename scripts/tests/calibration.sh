#!/usr/bin/env bash
# The client's percentiles against what is known, and against a client that is not ours: npm's `ws` with an
# open loop of its own sees the same stalls of our server.
#
#   ./scripts/tests/calibration.sh       (needs node, npm, python3, and the release programs; puts `ws` into
#                                         target/peers)
#
# The server stands still for 200 ms of every second, so one message in five waits, evenly spread from 0 to
# 200 ms: p50 is that of a server without a fault, p90 is 100 ms, p99 190 ms. Both clients have to be within
# 15 ms of that, and so of each other, at one of three attempts: the machine may be busy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=calibration
. scripts/tests/common.sh
folder=scripts/tests/calibration
install_ws

# ---- A client that is not ours --------------------------------------------------------------------

# 200.2 messages per second for five seconds: no two stalls see the same phases.
attempt() {
    local url=$1
    timeout 30 node "$folder/open_loop.mjs" "$url" 200.2 5 10 >"$work/ws.json" 2>"$work/ws.log" || return 1
    timeout 30 "$programs/c1000k-client" run "$url" --connections 10 --rate 200.2 --duration 5s --quiet \
        --output "$work/ours.json" >"$work/ours.log" 2>&1 || return 1
    python3 - "$work/ws.json" "$work/ours.json" <<'PYTHON'
import json
import sys

theirs, ours = (json.load(open(path)) for path in sys.argv[1:])
stage = ours["stages"]["response"]
right = True
for name, known in [("p50", 0), ("p90", 100), ("p99", 190)]:
    measured = [theirs[name], stage[name] / 1e6]
    right &= all(abs(value - known) <= 15 for value in measured)
    print(f"calibration: {name}: known {known} ms, npm's ws {measured[0]:.1f} ms, ours {measured[1]:.1f} ms")
sys.exit(0 if right else 1)
PYTHON
}
both_agree() {
    for _ in {1..3}; do
        if attempt "$1"; then return; fi
        echo "calibration: not within 15 ms; the machine may be busy"
    done
    return 1
}
export work folder programs
export -f attempt both_agree
"$programs/c1000k-reference" pair --as calibration --log "$work/server.log" -- \
    "$programs/c1000k-server" --json --stall 200ms/1s ws://127.0.0.1:0 -- \
    bash -euo pipefail -c 'both_agree "$@"' both_agree '{url}' ||
    fail "npm's ws and our client do not see the stalls that the server makes"

# ---- What is known --------------------------------------------------------------------------------

CALIBRATE_PROGRAMS=$programs ./scripts/calibrate.sh --quick 2>"$work/quick.log" || fail "calibrate.sh --quick"
