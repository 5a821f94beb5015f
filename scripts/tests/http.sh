#!/usr/bin/env bash
# HTTP against programs that are not ours: curl, wrk and h2load at our server.
#
#   ./scripts/tests/http.sh        (needs curl, wrk, h2load, python3 and the release programs)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
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

# Starts one of our servers and waits until it listens: serve NAME OPTIONS... Its address is printed to
# $work/NAME.out, what it says at its end to $work/NAME.log.
serve() {
    local _
    "$programs/c1000k-server" --json "${@:2}" http://127.0.0.1:0 >"$work/$1.out" 2>"$work/$1.log" &
    pids+=("$!")
    for _ in {1..200}; do
        if [[ -s $work/$1.out ]]; then return; fi
        kill -0 "$!" 2>/dev/null || break
        sleep 0.1
    done
    fail "the server '$1' did not start"
}
# The address that one of our servers has printed: address NAME
address() { sed -n 's|.*"url": *"\([^"]*\)".*|\1|p' "$work/$1.out"; }

# What curl says of an answer: expect WHAT FORMAT EXPECTED CURL OPTIONS...
expect() {
    local said
    said=$(curl --silent --show-error --max-time 60 --output "$work/body" --write-out "$2" "${@:4}") ||
        fail "curl's exit code is $? with $1"
    [[ $said == "$3" ]] || fail "$1: '$said' instead of '$3'"
}

our_server() {
    local root=$work/root url page server
    mkdir -p "$root/folder"
    head -c 1024 /dev/urandom >"$root/f1k"
    head -c 20000000 /dev/urandom >"$root/large"
    echo '<p>folder' >"$root/folder/index.html"
    serve files --root "$root" --body-max 1000
    serve page
    url=$(address files) page=$(address page)

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
    timeout 60 wrk --threads 1 --connections 20 --duration 2s "$url/large" >"$work/wrk.log" 2>&1 ||
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
    echo "http: our server with curl, wrk and h2load"
}

our_server
