#!/usr/bin/env bash
# TLS against programs that are not ours, both ways: OpenSSL, curl, Python's ssl, npm's `ws`, PyPI's
# `websockets`, Chromium, nginx, HAProxy and socat; what sslyze says of our server; and strangers that break
# rules, or stop half-way.
#
#   ./scripts/tests/tls.sh      (needs openssl, curl, socat, nginx, haproxy, node, npm, chromium, python3 with
#                                venv, and the release programs; puts `ws`, `websockets` and `sslyze` into
#                                target/peers)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=tls
. scripts/tests/common.sh
folder=scripts/tests/tls
install_ws
install_python websockets 'websockets>=15'
install_python sslyze 'sslyze>=6.1'

# ---- Certificates -----------------------------------------------------------------------------------

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
    -keyout "$work/ca.key" -out "$work/ca.pem" 2>"$work/openssl.log" || fail "openssl made no authority"
# A certificate of it: issue NAME ALGORITHM...
issue() {
    openssl req -newkey "${@:2}" -nodes -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/$1.csr" \
        2>"$work/openssl.log" || fail "openssl made no request for $1"
    openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -days 2 -out "$work/$1.pem" \
        -extfile <(printf '%s\n' 'subjectAltName=DNS:localhost,IP:127.0.0.1' 'basicConstraints=critical,CA:FALSE' \
            'keyUsage=critical,digitalSignature' 'extendedKeyUsage=serverAuth,clientAuth') 2>"$work/openssl.log" ||
        fail "openssl made no certificate for $1"
    cat "$work/$1.pem" "$work/$1.key" >"$work/$1.both"
}
issue p256 ec -pkeyopt ec_paramgen_curve:P-256
issue rsa rsa:2048
issue client ec -pkeyopt ec_paramgen_curve:P-256
chmod 644 "$work"/*.key "$work"/*.both

# ---- Our server, their clients ----------------------------------------------------------------------

# Starts our server, waits until it stands; its URLs are in $urls: serve NAME OPTIONS...
serve() {
    local out=$work/$1.out count pid _
    count=$(printf '%s\n' "${@:2}" | grep -c '^[a-z]*://127')
    : >"$out"
    "$programs/c1000k-server" --json "${@:2}" >"$out" 2>"$work/$1.log" &
    pid=$!
    pids+=("$pid")
    for _ in {1..100}; do
        if (($(wc -l <"$out") >= count)); then
            mapfile -t urls < <(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$out")
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    fail "our server did not start: $*"
}
mkdir "$work/root"
head -c 1000 /dev/urandom >"$work/root/small"
head -c 5000000 /dev/urandom >"$work/root/large"
serve p256 tls://127.0.0.1:0 wss://127.0.0.1:0 https://127.0.0.1:0 https://127.0.0.1:0 --root "$work/root" \
    --cert "$work/p256.pem" --key "$work/p256.key" --tls-tickets 2
tls=${urls[0]#*://} wss=${urls[1]} https=https://localhost:${urls[2]##*:}
wss=wss://localhost:${wss##*:}
serve rsa tls://127.0.0.1:0 --cert "$work/rsa.pem" --key "$work/rsa.key"
rsa=${urls[0]#*://}
serve page https://127.0.0.1:0 --cert "$work/p256.pem" --key "$work/p256.key"
page=https://localhost:${urls[0]##*:}
serve mutual https://127.0.0.1:0 --cert "$work/p256.pem" --key "$work/p256.key" --client-ca "$work/ca.pem"
mutual=https://localhost:${urls[0]##*:}
serve picky wss://127.0.0.1:0 --cert "$work/p256.pem" --key "$work/p256.key" \
    --origin=https://example.test --subprotocol superchat --subprotocol chat
picky=wss://localhost:${urls[0]##*:}

# A line there and back by s_client: s_client ADDRESS OPTIONS...
s_client() {
    local said
    said=$( (echo 'there and back'; sleep 0.3) | timeout 20 openssl s_client -connect "$1" -CAfile "$work/ca.pem" \
        -verify_return_error -verify_hostname localhost -servername localhost -ign_eof -no_ign_eof "${@:2}" 2>&1) ||
        fail "s_client's exit code is $? at $*: $said"
    [[ $said == *'there and back'* ]] || fail "s_client heard nothing at $*: $said"
    if [[ $said == *'Verify return code'* && $said != *'Verify return code: 0 (ok)'* ]]; then
        fail "s_client does not verify $*"
    fi
}
for at in "$tls" "$rsa"; do
    for version in -tls1_2 -tls1_3; do s_client "$at" $version; done
    s_client "$at" -tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256
    s_client "$at" -tls1_3 -groups P-384
done
s_client "$tls" -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256
s_client "$rsa" -tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305
# Updates of keys, asked for both ways, between lines; renegotiation is refused.
said=$( (echo one; sleep 0.2; echo K; sleep 0.2; echo k; sleep 0.2; echo two; sleep 0.3; echo Q) |
    timeout 20 openssl s_client -connect "$tls" -tls1_3 2>&1 || true)
[[ $said == *KEYUPDATE* && $said == *one* && $said == *two* ]] || fail "updates of keys: $said"
said=$( (echo one; sleep 0.2; echo R; sleep 0.3; echo Q) |
    timeout 20 openssl s_client -connect "$tls" -tls1_2 2>&1 || true)
[[ $said == *RENEGOTIATING* && $said == *renegotiation* ]] || fail "renegotiation: $said"
echo "tls: s_client verifies, echoes, updates keys, and is refused a renegotiation"

expect() {
    local said
    said=$(curl --silent --show-error --max-time 60 --cacert "$work/ca.pem" --output "$work/body" \
        --write-out "$2" "${@:4}" 2>"$work/curl.log") || fail "curl's exit code is $? with $1"
    [[ $said == "$3" ]] || fail "$1: '$said' instead of '$3'"
}
expect "a small file" '%{http_code} %{http_version} %{ssl_verify_result}' '200 1.1 0' "$https/small"
cmp "$work/body" "$work/root/small"
expect "a large file" '%{http_code}' 200 "$https/large"
cmp "$work/body" "$work/root/large"
expect "a large file by TLS 1.2" '%{http_code}' 200 --tls-max 1.2 "$https/large"
cmp "$work/body" "$work/root/large"
expect "a part" '%{http_code}' 206 --range 16000-4000000 "$https/large"
cmp "$work/body" <(tail -c +16001 "$work/root/large" | head -c 3984001)
expect "two on one connection" '%{num_connects}' 10 "$https/small" --next --silent --cacert "$work/ca.pem" \
    --output "$work/body" --write-out '%{num_connects}' "$https/large"
expect "plain HTTP at a port with TLS" '%{http_code}' 400 "http://${https#https://}/"
expect "with a certificate" '%{http_code}' 200 --cert "$work/client.pem" --key "$work/client.key" "$mutual/"
if curl --silent --max-time 20 --cacert "$work/ca.pem" --output /dev/null "$mutual/" 2>"$work/curl.log"; then
    fail "a client without a certificate is let in"
fi
echo "tls: curl gets files whole, in part, by both versions, and shows a certificate where one is wanted"

"$python" -B "$folder/peers.py" client "$tls" "$work/ca.pem" || fail "Python's ssl: see above"
SSL_CERT_FILE=$work/ca.pem timeout 200 "$python" -B scripts/tests/websocket/peers.py client "$wss" "$picky" &
theirs=$!
NODE_EXTRA_CA_CERTS=$work/ca.pem timeout 200 node scripts/tests/websocket/peers.mjs client "$wss" "$picky" ||
    fail "npm's ws: see above"
wait "$theirs" || fail "PyPI's websockets: see above"
# The page opens a WebSocket of its own, on the port that it came from.
timeout 60 chromium --headless --no-sandbox --disable-gpu --ignore-certificate-errors --virtual-time-budget=6000 \
    --user-data-dir="$work/chromium" --dump-dom "$page/" >"$work/page.html" 2>"$work/chromium.log" ||
    fail "Chromium's exit code is $?"
grep -q 'there and back in [0-9]' "$work/page.html" || fail "the page in Chromium has no echo over wss://"
grep -q '<div class="soft">TLS handshakes a second</div>' "$work/page.html" || fail "the page does not tell of TLS"
echo "tls: ws, websockets and Chromium echo over wss://"

"$python" -B "$folder/scan.py" "$tls" "$rsa" || fail "sslyze: see above"

# ---- Strangers --------------------------------------------------------------------------------------

"$python" -B "$folder/peers.py" hostile "$tls" || fail "strangers: see above"
start half "$python" -B "$folder/peers.py" half "$tls" 10000
timeout 60 "$programs/c1000k-client" run "tls://$tls" --cacert "$work/ca.pem" -c 200 --rate 500 -d 2s --quiet \
    --output "$work/result.json" --fail-if 'connections.failed>0' --fail-if 'messages.lost>0' \
    --fail-if 'connections.lost>0' >"$work/client.log" 2>&1 ||
    fail "beside 10,000 handshakes that stop half-way our client's exit code is $?"
echo "tls: $(cat "$work/half.out") half-way, and 200 good ones beside them lose nothing"
kill "${pids[-1]}"
wait "${pids[-1]}" 2>/dev/null || true
unset 'pids[-1]'

# ---- Our client, their servers ----------------------------------------------------------------------

run_against() {
    timeout 60 "$programs/c1000k-client" run "$@" --cacert "$work/ca.pem" --connections 20 --closed \
        --duration 500ms --quiet --output "$work/result.json" --fail-if 'connections.failed>0' \
        --fail-if 'connections.lost>0' --fail-if 'messages.lost>0' --fail-if 'messages.mismatched>0' \
        --fail-if 'messages.received<40' --fail-if 'tls.failed>0' >"$work/client.log" 2>&1 ||
        fail "our client's exit code is $? with: $*"
}
port=$((EUID == 0 ? 810 : 28810))
# OpenSSL, by socat: an echo.
socat "OPENSSL-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork,cert=$work/p256.both,verify=0,backlog=128" PIPE \
    2>"$work/socat.log" &
pids+=("$!")
socat "OPENSSL-LISTEN:$((port + 1)),bind=127.0.0.1,reuseaddr,fork,cert=$work/client.both,cafile=$work/ca.pem,backlog=128" \
    PIPE 2>"$work/socat2.log" &
pids+=("$!")
listening "$port"
for options in '' '--tls-max 1.2' '--tls-min 1.3 --ciphers TLS_CHACHA20_POLY1305_SHA256' '--size 40k' '--tls-resume'; do
    # shellcheck disable=SC2086 # they are words
    run_against "tls://localhost:$port" $options
done
run_against "tls://localhost:$((port + 1))" --cert "$work/client.pem" --key "$work/client.key"
# s_server wants nothing but lines, and sends pages.
openssl s_server -accept "127.0.0.1:$((port + 2))" -cert "$work/rsa.pem" -key "$work/rsa.key" -WWW -quiet \
    >"$work/s_server.log" 2>&1 &
pids+=("$!")
listening "$((port + 2))"
timeout 60 "$programs/c1000k-client" run "https://localhost:$((port + 2))/none" --cacert "$work/ca.pem" -c 1 --closed \
    --close -d 300ms --quiet --output "$work/result.json" >"$work/client.log" 2>&1 || true
python3 - "$work/result.json" <<'PYTHON' || fail "s_server did not shake hands with our client"
import json, sys
r = json.load(open(sys.argv[1]))
assert r["tls"]["verified"] > 5 and not r["tls"]["failures"], r["tls"]
PYTHON

nginx_at "$((port + 3))" <<CONF
keepalive_requests 50;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_session_cache shared:s:1m;
server {
    listen 127.0.0.1:$((port + 3)) ssl;
    ssl_certificate $work/p256.pem;
    ssl_certificate_key $work/p256.key;
    location / { return 200 "hello"; }
}
server {
    listen 127.0.0.1:$((port + 4)) ssl;
    ssl_certificate $work/rsa.pem;
    ssl_certificate_key $work/rsa.key;
    ssl_client_certificate $work/ca.pem;
    ssl_verify_client on;
    location / { return 200 "hello"; }
}
CONF
for options in '' '--tls-max 1.2' '--tls-resume' '--close' '--pipeline 8'; do
    # shellcheck disable=SC2086 # they are words
    run_against "https://localhost:$((port + 3))/" $options
done
run_against "https://localhost:$((port + 4))/" --cert "$work/client.pem" --key "$work/client.key"
echo "tls: our client echoes through OpenSSL, and gets answers of s_server and nginx"

# HAProxy takes TLS off, and our plain server answers.
serve plain tcp://127.0.0.1:0 ws://127.0.0.1:0
cat >"$work/haproxy.cfg" <<CONF
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend tls
    bind 127.0.0.1:$((port + 5)) ssl crt $work/p256.both
    default_backend tcp
frontend wss
    bind 127.0.0.1:$((port + 6)) ssl crt $work/p256.both
    default_backend ws
backend tcp
    server one ${urls[0]#*://}
backend ws
    server one ${urls[1]#*://}
CONF
haproxy -q -f "$work/haproxy.cfg" 2>"$work/haproxy.log" &
pids+=("$!")
listening "$((port + 6))"
run_against "tls://localhost:$((port + 5))"
run_against "tls://localhost:$((port + 5))" --size 100k --tls-resume
run_against "wss://localhost:$((port + 6))" --text --size 1k
echo "tls: our client echoes through HAProxy"
