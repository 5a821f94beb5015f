#!/usr/bin/env bash
# Runs the tests.
#
#   ./scripts/test.sh [--all]
#
# Alone: all tests of the workspace, in debug mode. Needs a Rust toolchain and a C compiler, writes to target/ only.
#
# --all adds: the tests in release mode; formatting, lints, documents; shellcheck; what the workspace
# depends on; a minute of fuzzing; and, with the release programs, million.sh where things go wrong,
# a short calibration, two network namespaces, and peers that are not ours (for WebSocket: npm's ws, PyPI's websockets and
# Chromium; for HTTP: curl, wrk, h2load, nginx and node; for TLS: OpenSSL, HAProxy, sslyze and all of these). As root it
# installs the Debian packages that this
# needs and that are missing. What cannot run here is named with the reason; with CI=true nothing may be
# left out.
#
# The last line is 'N passed, N failed, N skipped': each test of the workspace and each check counts.
# Exit code: 0 if none failed (and none was skipped, where CI=true), 1 otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=false
case ${1-} in
    '') ;;
    --all) all=true ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
log=$target/test.log
passed=0 failed=0 skipped=0
remarks=()
building=''

title() { printf '\n==== %s\n' "$1"; }
# Runs one check: check NAME COMMAND...
check() {
    local began=$SECONDS
    title "$1"
    if "${@:2}"; then
        passed=$((passed + 1))
        echo "---- passed in $((SECONDS - began)) s: $1"
    else
        failed=$((failed + 1))
        remarks+=("failed: $1")
        echo "---- FAILED after $((SECONDS - began)) s: $1"
    fi
}
# Leaves one out: skip NAME REASON
skip() {
    title "$1"
    echo "---- skipped: $2"
    skipped=$((skipped + 1))
    remarks+=("skipped: $1: $2")
}
# Runs tests of the workspace, and counts each: tests NAME OPTIONS OF cargo test...
tests() {
    local began=$SECONDS code=0 good bad ignored
    title "$1"
    cargo test --workspace --locked --no-fail-fast "${@:2}" 2>&1 | tee "$log" || code=$?
    read -r good bad ignored < <(awk '/^test result:/ { good += $4; bad += $6; ignored += $8 }
        END { print good + 0, bad + 0, ignored + 0 }' "$log")
    # One that did not compile, or crashed, has no line of its own.
    if ((code != 0 && bad == 0)); then bad=1; fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + ignored))
    if ((bad > 0)); then remarks+=("failed: $1: $bad"); fi
    if ((ignored > 0)); then remarks+=("skipped: $1: $ignored marked as ignored in the code"); fi
    echo "---- $good passed, $bad failed, $ignored ignored in $((SECONDS - began)) s: $1"
}
have() { command -v "$1" >/dev/null; }
# Builds with what the tests leave of the processors, which is half of them: they wait for sockets and time
# limits. ahead COMMAND... begins, `check NAME built` waits for it; one at a time.
ahead() {
    local idle=(nice -n 19)
    if have chrt; then idle=(chrt --idle 0); fi
    "${idle[@]}" "$@" >"$log.ahead" 2>&1 &
    building=$!
}
built() {
    local code=0
    wait "$building" || code=$?
    building=''
    if ((code != 0)); then cat "$log.ahead"; fi
    return "$code"
}
trap 'if [[ -n $building ]]; then kill "$building"; fi' EXIT

# Installs what --all needs and this machine lacks, where that can be done without asking anybody.
install_missing() {
    local packages=() pair
    for pair in shellcheck:shellcheck socat:socat ip:iproute2 prlimit:util-linux nft:nftables \
        sysctl:procps node:nodejs npm:npm chromium:chromium python3:python3 curl:curl wrk:wrk \
        h2load:nghttp2-client nginx:nginx-light openssl:openssl haproxy:haproxy cc:gcc; do
        if ! have "${pair%%:*}"; then packages+=("${pair#*:}"); fi
    done
    # Debian's python3 comes without what makes a virtual environment.
    if ! python3 -c 'import ensurepip' 2>/dev/null; then packages+=(python3-venv); fi
    if ((${#packages[@]} > 0 && EUID == 0)) && have apt-get; then
        title "install ${packages[*]}"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; } ||
            echo "apt-get failed: what needs these is skipped"
    fi
    local component
    for component in fmt:rustfmt clippy:clippy; do
        if ! cargo "${component%%:*}" --version >/dev/null 2>&1 && have rustup; then
            rustup component add "${component#*:}" || true
        fi
    done
}

lints() {
    if cargo fmt --version >/dev/null 2>&1; then
        check "formatting" cargo fmt --all --check
    else
        skip "formatting" "rustfmt is missing: rustup component add rustfmt"
    fi
    if cargo clippy --version >/dev/null 2>&1; then
        check "lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
    else
        skip "lints" "clippy is missing: rustup component add clippy"
    fi
    check "documents" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
    if have shellcheck; then
        check "shell scripts" shellcheck scripts/*.sh scripts/tests/*.sh .ci/run
    else
        skip "shell scripts" "shellcheck is missing: apt-get install shellcheck"
    fi
    check "dependencies" ./scripts/dependencies.sh
}

# Whether network namespaces can be made here.
namespaces() { ip netns add "c1000k-probe-$$" && ip netns delete "c1000k-probe-$$"; }

# Runs a check that makes network namespaces, or skips it: in_namespaces NAME COMMAND...
in_namespaces() {
    if ((EUID != 0)); then
        skip "$1" "only root may make network namespaces"
    elif ! have ip || ! have ss; then
        skip "$1" "ip and ss are missing: apt-get install iproute2"
    elif ! namespaces 2>/dev/null; then
        skip "$1" "this machine does not let root make namespaces (a container without CAP_SYS_ADMIN?)"
    else
        check "$@"
    fi
}

programs() {
    if have prlimit; then
        check "million.sh where things go wrong" ./scripts/tests/million.sh
    else
        skip "million.sh where things go wrong" "prlimit is missing: apt-get install util-linux"
    fi
    if have socat; then
        check "peers that are not ours" ./scripts/tests/peers.sh
    else
        skip "peers that are not ours" "socat is missing: apt-get install socat"
    fi
    if ! have chromium; then
        skip "reports read by others" "chromium is missing: apt-get install chromium"
    elif ! python3 -c 'import ensurepip' 2>/dev/null; then
        skip "reports read by others" "python3 with venv is missing: apt-get install python3-venv"
    else
        check "reports read by others" ./scripts/tests/report.sh
    fi
    if have node && have npm && have chromium && python3 -c 'import ensurepip' 2>/dev/null; then
        check "WebSocket peers" ./scripts/tests/websocket.sh
    else
        skip "WebSocket peers" "missing: apt-get install nodejs npm chromium python3-venv"
    fi
    if have curl && have wrk && have h2load && have nginx && have python3; then
        check "HTTP peers" ./scripts/tests/http.sh
    else
        skip "HTTP peers" "missing: apt-get install curl wrk nghttp2-client nginx-light python3"
    fi
    if have node && have npm && have nginx && have python3; then
        check "servers that are not ours" ./scripts/tests/realservers.sh
    else
        skip "servers that are not ours" "missing: apt-get install nodejs npm nginx-light python3"
    fi
    if have openssl && have curl && have socat && have nginx && have haproxy && have node && have npm &&
        have chromium && python3 -c 'import ensurepip' 2>/dev/null; then
        check "TLS peers" ./scripts/tests/tls.sh
    else
        skip "TLS peers" "missing: apt-get install openssl curl socat nginx-light haproxy nodejs npm chromium python3-venv"
    fi
    in_namespaces "network namespaces" ./scripts/tests/netns.sh
    if have prlimit && have python3; then
        in_namespaces "walls that a run can meet" ./scripts/tests/walls.sh
    else
        skip "walls that a run can meet" "prlimit or python3 is missing: apt-get install util-linux python3"
    fi
    in_namespaces "tune.sh and addresses.sh" ./scripts/tests/tune.sh
    # Last what measures.
    if have node && have npm && have python3; then
        check "calibration" ./scripts/tests/calibration.sh
    else
        skip "calibration" "missing: apt-get install nodejs npm python3"
    fi
    # A wide bound: what is left of it on a machine that others use too. The harness alone is exact.
    if have python3; then
        check "good peers beside bad ones" ./scripts/tests/attack.sh --seconds 1 --repeats 1 --tries 4 \
            --bound 10 --floor 25
    else
        skip "good peers beside bad ones" "missing: apt-get install python3"
    fi
}

if ! $all; then
    tests "tests, debug"
else
    install_missing
    # First what is quick to fail.
    lints
    check "build of the tests" cargo test --workspace --locked --quiet --no-run
    ahead cargo build --release --locked --quiet -p c1000k-server -p c1000k-client -p c1000k-report -p c1000k-bench
    tests "tests, debug"
    # The tests have built it; to build it alone would build half of the workspace with other features.
    check "fuzzing, 60 s" env FUZZ_PROGRAM="$target/debug/c1000k-fuzz" ./scripts/fuzz.sh 60
    check "release programs" built
    # Without the checks of debug, as the programs are shipped, on the dependencies that are built already. To
    # optimise as far as a release would be repeated by forty test programs, and take a quarter of an hour.
    unchecked=(--config profile.dev.debug-assertions=false --config profile.dev.overflow-checks=false
        --config 'profile.dev.package."*".debug-assertions=true'
        --config 'profile.dev.package."*".overflow-checks=true')
    ahead cargo test --workspace --locked --quiet --no-run "${unchecked[@]}"
    programs
    check "build of the tests in release mode" built
    tests "tests, release" "${unchecked[@]}"
fi

rm -f "$log" "$log.ahead"
echo
for remark in "${remarks[@]}"; do echo "$remark"; done
echo "$passed passed, $failed failed, $skipped skipped"
if ((failed > 0)) || { [[ ${CI-} == true ]] && ((skipped > 0)); }; then exit 1; fi
