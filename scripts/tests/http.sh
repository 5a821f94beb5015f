#!/usr/bin/env bash
# HTTP against programs that are not ours: our client and nginx.
#
#   ./scripts/tests/http.sh        (needs nginx and the release programs)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
# nginx's worker is another user.
chmod 755 "$work"
pids=()

fail() {
    echo "http: $*" >&2
    tail -n 20 "$work"/*.log >&2
    exit 1
}
trap 'echo "http: line $LINENO failed" >&2' ERR
clean_up() {
    local pid
    for pid in "${pids[@]}"; do
        if kill "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || true; fi
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- Our client, their servers --------------------------------------------------------------------

# Starts nginx in the foreground of a job of this script; $nginx is its address. Connections end after 50
# requests, so the client has to replace them.
start_nginx() {
    local port=$1 _
    nginx=http://127.0.0.1:$port
    mkdir -p "$work/root" "$work/temp"
    head -c 1024 /dev/urandom >"$work/root/1k"
    head -c 1000000 /dev/urandom >"$work/root/large"
    printf 'hello\n' >"$work/root/index.html"
    cat >"$work/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log;
events { worker_connections 1000; }
http {
    access_log off;
    client_body_temp_path $work/temp/body;
    proxy_temp_path $work/temp/proxy;
    fastcgi_temp_path $work/temp/fastcgi;
    uwsgi_temp_path $work/temp/uwsgi;
    scgi_temp_path $work/temp/scgi;
    keepalive_requests 50;
    server {
        listen 127.0.0.1:$port;
        root $work/root;
        location /moved { return 302 /1k; }
        location /busy { return 503; }
        location /take { return 200 "taken"; }
        location /chunks { ssi on; ssi_types *; alias $work/root; }
    }
}
CONF
    nginx -c "$work/nginx.conf" 2>"$work/start.log" &
    pids+=("$!")
    for _ in {1..100}; do
        if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
        sleep 0.1
    done
    fail "nginx did not start"
}

# A short run with an expected exit code: run_for CODE OPTIONS...
run_for() {
    local code=0
    timeout 60 "$programs/c1000k-client" run "${@:2}" --duration 1s --quiet --output "$work/result.json" \
        >"$work/client.log" 2>&1 || code=$?
    ((code == $1)) || fail "our client's exit code is $code, not $1, with: ${*:2}"
}
# A number out of the last result: number KEY
number() { sed -n "s/^ *\"$1\": \([0-9]*\),\{0,1\}$/\1/p" "$work/result.json" | head -n 1; }

our_client() {
    local strict=(--fail-if 'http.non_2xx>0' --fail-if 'messages.lost>0' --fail-if 'connections.lost>0')
    # Below the ports that outgoing connections have, where that is allowed.
    start_nginx "$((EUID == 0 ? 778 : 28778))"
    run_for 0 "$nginx/1k" -c 20 --rate 2k "${strict[@]}"
    (($(number bytes_received) == 2000 * 1024)) || fail "2,000 files of 1 KiB are not $(number bytes_received) bytes"
    (($(number replaced) >= 20)) || fail "only $(number replaced) connections were replaced"
    run_for 0 "$nginx/1k" -c 20 --closed --fail-if 'http.non_2xx>0'
    run_for 0 "$nginx/large" -c 5 --rate 50 "${strict[@]}"
    (($(number bytes_received) == 50 * 1000000)) || fail "50 large files are not $(number bytes_received) bytes"
    run_for 0 "$nginx/chunks/index.html" -c 5 --rate 100 "${strict[@]}"
    (($(number bytes_received) == 600)) || fail "100 times 6 bytes in chunks are not $(number bytes_received)"
    run_for 0 "$nginx/large" -c 5 --rate 100 --method HEAD "${strict[@]}"
    (($(number bytes_received) == 0)) || fail "HEAD brought a body"
    run_for 0 "$nginx/take" -c 5 --rate 100 --body 'some=thing' "${strict[@]}"
    (($(number bytes_sent) == 1000)) || fail "100 bodies of 10 bytes are not $(number bytes_sent)"
    printf '/1k\n# a comment\n/take?x=y\n/\n' >"$work/paths"
    run_for 0 "$nginx" --paths "$work/paths" -c 6 --rate 300 "${strict[@]}"
    (($(number bytes_received) == 100 * (1024 + 5 + 6))) || fail "three paths in turn are uneven"
    run_for 0 "$nginx/1k" -c 50 --rate 1k --close "${strict[@]}"
    (($(number opened) == 1000 && $(number ended) == 1000)) || fail "1,000 requests were not 1,000 connections"
    run_for 0 "$nginx/moved" -c 5 --rate 100
    run_for 6 "$nginx/busy" -c 5 --rate 100
    run_for 4 "$nginx/none" -c 5 --rate 100 --fail-if 'http.404>0'
    echo "http: our client and nginx: files, chunks, bodies, paths, replaced connections, statuses"
}

our_client
