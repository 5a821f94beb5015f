#!/usr/bin/env bash
# Our client against servers that are no echo of ours: they close idle connections, speak before they are
# asked, refuse, and fall behind. nginx, node's own http, npm's `ws`, and Python's asyncio.
#
#   ./scripts/tests/realservers.sh      (needs nginx, node, npm, python3 and the release programs; puts `ws`
#                                        into target/peers)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=realservers
. scripts/tests/common.sh
folder=scripts/tests/realservers
install_ws

# nginx ends connections after 100 requests and after one idle second; $nginx is its address.
start_nginx() {
    nginx=http://127.0.0.1:$1
    nginx_at "$1" <<CONF
keepalive_requests 100;
keepalive_timeout 1s;
server {
    listen 127.0.0.1:$1;
    location / { return 200 "hello"; }
}
CONF
}

# A run with an expected exit code, whose result and summary hold what is said of them in Python, `r` and
# `said`: run_for CODE CONDITION OPTIONS...
run_for() {
    local code=0
    timeout 60 "$programs/c1000k-client" run "${@:3}" --quiet --output "$work/result.json" \
        >"$work/client.log" 2>&1 || code=$?
    ((code == $1)) || fail "our client's exit code is $code, not $1, with: ${*:3}"
    python3 - "$work" "$2" <<'PYTHON' || fail "that does not hold with: ${*:3}"
import json
import sys
work, condition = sys.argv[1:]
with open(f"{work}/result.json") as file:
    r = json.load(file)
with open(f"{work}/client.log") as file:
    said = file.read()
codes = [warning["code"] for warning in r["run"]["warnings"]]
if not eval(f"({condition})"):
    parts = {key: r.get(key) for key in ("connections", "messages", "failures", "violations")}
    print(f"not so: {condition}\n{json.dumps(parts)}\nwarnings: {codes}", file=sys.stderr)
    sys.exit(1)
PYTHON
}
none_lost="r['connections']['lost'] == 0 and r['messages']['lost'] == 0 and not r['violations']"

start http python3 "$folder/http.py"
start tcp python3 "$folder/tcp.py"
start node node "$folder/node.mjs"
# Below the ports that outgoing connections have, where that is allowed.
start_nginx "$((EUID == 0 ? 779 : 28779))"

# ---- Servers that fall behind ---------------------------------------------------------------------

# 500/s are served of 1,000/s.
run_for 6 "500 > r['messages']['rate_served'] * 0.9 and r['messages']['backlog_at_end'] > 1000
    and 'fell behind' in said" "$(service tcp slow)" -c 20 --rate 1k -d 4s --timeout 30s
run_for 0 "r['messages']['rate_served'] > 95 and 'the server kept up' in said" \
    "$(service tcp slow)" -c 20 --rate 100 -d 2s
echo "realservers: a server that falls behind is said to, one that keeps up too"

# ---- Connections that end and begin again ---------------------------------------------------------

for name in close_third reset_third surplus impatient; do
    run_for 0 "$none_lost and r['connections']['ended'] > 10" "$(service http "$name")" -c 20 --rate 300 -d 2s
done
run_for 0 "$none_lost and r['connections']['ended'] > 10" "$(service http close_third)" -c 10 --closed -d 1s
# One request in four seconds for each connection, which is closed long before the next.
run_for 0 "$none_lost and r['connections']['ended_idle'] > 10" "$(service node http)" -c 20 --rate 5 -d 6s
run_for 0 "$none_lost and r['connections']['ended'] > 10" "$nginx/" -c 10 --rate 1k -d 2s
run_for 0 "$none_lost and r['connections']['ended_idle'] > 5" "$nginx/" -c 10 --rate 5 -d 4s
run_for 0 "$none_lost" "$(service http folded)" -c 5 --rate 100 -d 1s
run_for 6 "r['messages']['unserved'] > 20" "$(service http limited)" -c 5 --rate 100 -d 1s
run_for 4 True "$(service http limited)" -c 5 --rate 100 -d 1s --fail-if 'http.429>10%'
run_for 0 "r['messages']['unserved'] == 0 and r['stages']['response_4xx']['count'] > 20" \
    "$(service http limited)" -c 5 --rate 100 -d 1s --expect 200,429
echo "realservers: connections of nginx, node and others that end are replaced, and no request is lost"

# ---- Servers that speak of themselves -------------------------------------------------------------

run_for 0 "r['messages']['unasked'] == 10 and $none_lost" "$(service node greet)" -c 10 --rate 200 -d 1s
run_for 0 "r['messages']['unasked'] >= 200 and $none_lost" "$(service node push)" -c 10 --rate 200 -d 1s
run_for 0 "r['messages']['unasked'] > 0 and $none_lost" "$(service tcp greeting)" -c 10 --rate 200 -d 1s
run_for 6 "r['violations']" "$(service node greet)" -c 10 --rate 200 -d 1s --strict
run_for 6 "'4401' in said and 'login timeout' in said" "$(service node login)" -c 10 --rate 200 -d 1s
run_for 6 "'speaks SSH' in said and r['failures']['protocol'] > 0 and 'silent' not in codes" \
    "$(service tcp ssh)" -c 10 --rate 200 -d 1s
echo "realservers: greetings, pushes, close codes and other protocols are told as what they are"
