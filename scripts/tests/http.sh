#!/usr/bin/env bash
# HTTP case by case over raw sockets, and against programs that are not ours: curl, wrk and h2load at our
# server, our client at nginx.
#
#   ./scripts/tests/http.sh        (needs curl, wrk, h2load, nginx, python3 and the release programs)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=http
. scripts/tests/common.sh
root=$work/root

# ---- Our server, their clients --------------------------------------------------------------------

# What curl says of an answer: expect WHAT FORMAT EXPECTED CURL OPTIONS...
expect() {
    local said
    said=$(curl --silent --show-error --max-time 60 --output "$work/body" --write-out "$2" "${@:4}") ||
        fail "curl's exit code is $? with $1"
    [[ $said == "$3" ]] || fail "$1: '$said' instead of '$3'"
}

# The server of files and the one with the page: their_clients URL URL
their_clients() {
    local url=$1 page=$2 server

    # ---- curl, case by case
    expect "a small file" '%{http_code} %{size_download}' '200 1024' "$url/f1k"
    cmp "$work/body" "$root/f1k"
    expect "a large file" '%{http_code} %{size_download}' '200 20000000' "$url/large"
    cmp "$work/body" "$root/large"
    expect "a part" '%{http_code}' 206 --range 5000-12345678 "$url/large"
    cmp "$work/body" <(tail -c +5001 "$root/large" | head -c 12340679)
    head -c 7654321 "$root/large" >"$work/resumed"
    curl --silent --show-error --continue-at - --output "$work/resumed" "$url/large" || fail "curl does not resume"
    cmp "$work/resumed" "$root/large"
    expect "the same again" '%{http_code}' 200 --etag-save "$work/tag" "$url/f1k"
    expect "what curl has" '%{http_code} %{size_download}' '304 0' --etag-compare "$work/tag" "$url/f1k"
    expect "nothing newer" '%{http_code}' 304 --time-cond "$root/f1k" "$url/f1k"
    expect "a head" '%{http_code} %header{content-length}' '200 20000000' --head "$url/large"
    expect "a folder" '%{http_code} %{num_redirects} %{content_type}' '200 1 text/html' --location "$url/folder"
    expect "nothing" '%{http_code}' 404 "$url/none"
    expect "what is outside" '%{http_code}' 400 --path-as-is "$url/../../etc/passwd"
    expect "a form" '%{http_code} %header{allow}' '405 GET, HEAD' --data 'a=b' "$url/f1k"
    expect "chunks" '%{http_code}' 405 --header 'Transfer-Encoding: chunked' --data 'a=b' "$url/f1k"
    expect "an invitation" '%{http_code}' 405 --header 'Expect: 100-continue' --data 'a=b' "$url/f1k"
    expect "a large body" '%{http_code}' 413 --data-binary "@$root/large" "$url/f1k"
    expect "HTTP/1.0" '%{http_code} %header{connection}' '200 close' --http1.0 "$url/f1k"
    expect "two on one connection" '%{num_connects}' 10 "$url/f1k" --next --silent --output "$work/body" \
        --write-out '%{num_connects}' "$url/large"
    expect "the page" '%{http_code} %{content_type}' '200 text/html; charset=utf-8' "$page/"
    expect "its counters" '%{http_code} %{content_type}' '200 application/json' "$page/counters.json"
    python3 -m json.tool "$work/body" >/dev/null || fail "the counters are no JSON"

    # ---- wrk: as fast as it goes, and nothing but 200
    timeout 60 wrk --threads 1 --connections 100 --duration 2s "$url/f1k" >"$work/wrk.log" 2>&1 ||
        fail "wrk's exit code is $?"
    grep -q 'Requests/sec' "$work/wrk.log" || fail "wrk did not measure"
    if grep -Eq 'Socket errors|Non-2xx' "$work/wrk.log"; then fail "wrk found errors"; fi
    timeout 60 wrk --threads 1 --connections 20 --duration 2s --timeout 20s "$url/large" >"$work/wrk.log" 2>&1 ||
        fail "wrk's exit code is $? with a large file"
    if grep -Eq 'Socket errors|Non-2xx' "$work/wrk.log"; then fail "wrk found errors in a large file"; fi

    # ---- h2load: pipelined, every answer counted and measured
    for server in "20000 100 16 f1k" "200 10 4 large"; do
        local requests clients depth file bytes
        read -r requests clients depth file <<<"$server"
        bytes=$((requests * $(stat -c %s "$root/$file")))
        timeout 120 h2load --h1 --requests "$requests" --clients "$clients" --max-concurrent-streams "$depth" \
            "$url/$file" >"$work/h2load.log" 2>&1 || fail "h2load's exit code is $?"
        grep -q "$requests succeeded, 0 failed, 0 errored, 0 timeout" "$work/h2load.log" ||
            fail "h2load misses answers for $file"
        grep -q "($bytes) data" "$work/h2load.log" || fail "h2load misses bytes of $file"
    done
}

our_server() {
    mkdir -p "$root/folder"
    head -c 1024 /dev/urandom >"$root/f1k"
    head -c 20000000 /dev/urandom >"$root/large"
    echo '<p>folder' >"$root/folder/index.html"
    local server=("$programs/c1000k-server" --json)
    "$programs/c1000k-reference" pair --as http --servers 2 --log "$work/servers.log" -- \
        "${server[@]}" --root "$root" --body-max 1000 http://127.0.0.1:0 -- "${server[@]}" http://127.0.0.1:0 -- \
        bash -euo pipefail -c 'their_clients "$@"' their_clients '{url.1}' '{url.2}' ||
        fail "their clients and our servers: see above"
    echo "http: our server with curl, wrk and h2load"
}
export work root name
export -f fail expect their_clients

# ---- Our client, their servers --------------------------------------------------------------------

# nginx ends a connection after 50 requests, so the client has to replace it; $nginx is its address.
start_nginx() {
    nginx=http://127.0.0.1:$1
    mkdir "$work/htdocs"
    head -c 1024 /dev/urandom >"$work/htdocs/1k"
    head -c 1000000 /dev/urandom >"$work/htdocs/large"
    printf 'hello\n' >"$work/htdocs/index.html"
    nginx_at "$1" <<CONF
keepalive_requests 50;
server {
    listen 127.0.0.1:$1;
    root $work/htdocs;
    location /moved { return 302 /1k; }
    location /busy { return 503; }
    location /take { return 200 "taken"; }
    location /chunks { ssi on; ssi_types *; alias $work/htdocs; }
}
CONF
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

# Both at once: each waits for time limits mostly.
conform() {
    local role
    local -A running=()
    for role in server client; do
        PYTHONPATH=scripts/tests python3 -B "scripts/tests/http/$role.py" "$programs/c1000k-$role" \
            2>"$work/conformance-$role.log" &
        running[$role]=$!
        pids+=("$!")
    done
    for role in server client; do
        wait "${running[$role]}" || fail "our $role does not conform"
    done
}

conform
our_server
our_client
