#!/usr/bin/env bash
# Tests million.sh where things go wrong: signals, a kill, a machine that is too small, a server that
# does not start, a folder that cannot be written. At small sizes.
#
#   ./scripts/tests/million.sh      (needs util-linux; builds the release programs if they are missing)
#
# As root it also tests that settings are put back, with vm.max_map_count or what `check` asks for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d)
pid=''
fail() {
    echo "million test: $*" >&2
    cat "$work/out" "$work/err" >&2
    exit 1
}
trap 'echo "million test: line $LINENO failed" >&2' ERR
clean_up() {
    if [[ -n $pid ]]; then kill "$pid" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Runs million.sh and checks its exit code: expect CODE COMMAND...
expect() {
    local wanted=$1 code=0
    "${@:2}" >"$work/out" 2>"$work/err" || code=$?
    ((code == wanted)) || fail "exit code $code, not $wanted: ${*:2}"
}
says() { grep -q -- "$1" "$work/$2" || fail "does not say '$1' on std$2"; }
# Starts it in a process group of its own, as a terminal does, and waits for traffic: begin DIR ...
begin() {
    local _
    # What an earlier one has written there must not be taken for this one's.
    : >"$work/err"
    set -m
    ./scripts/million.sh --connections 20k --duration 60s --output "$@" >"$work/out" 2>"$work/err" &
    pid=$!
    set +m
    for _ in {1..600}; do
        if grep -q ' drive' "$work/err"; then return; fi
        kill -0 "$pid" 2>/dev/null || fail "it ended before there was traffic"
        sleep 0.1
    done
    fail "there is no traffic after 60 s"
}
ended_with() {
    local code=0
    # Messages about the signal that ended it are the shell's.
    wait "$pid" 2>/dev/null || code=$?
    pid=''
    ((code == $1)) || fail "exit code $code, not $1"
}
kill_it() {
    { kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || true
    pid=''
}
# Every setting that `check` may name, with its value.
settings() {
    local name
    for name in fs/nr_open fs/file-max net/core/somaxconn net/ipv4/tcp_mem kernel/threads-max \
        kernel/pid_max vm/max_map_count net/netfilter/nf_conntrack_max; do
        if [[ -r /proc/sys/$name ]]; then echo "$name $(<"/proc/sys/$name")"; fi
    done
}
# Nothing of ours runs or stays changed, and the folder has just the files that it should have.
nothing_left() {
    local process
    [[ ! -e $target/million.pending ]] || fail "the pending mark is still there"
    [[ $(settings) == "$before" ]] || fail "settings differ: $(diff <(echo "$before") <(settings))"
    for process in /proc/[0-9]*; do
        # Some end while they are looked at.
        if { tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null | grep -q "c1000k.*$work"; then
            fail "$process still runs"
        fi
    done
    [[ ! -e ${1:-$work}/undo ]] || fail "the undo file is still there"
}
before=$(settings)

expect 2 ./scripts/million.sh --protocol udp
expect 2 ./scripts/million.sh --connection 5
expect 2 ./scripts/million.sh --connections some --output "$work/none"
says 'does not start with a number' err
expect 0 ./scripts/million.sh --help
says '--fit' out
[[ ! -e $work/none ]] || fail "it left a folder behind"

echo "a run, and its files"
expect 0 ./scripts/million.sh --connections 2k --rate 1k --duration 1s --output "$work/run" -- --label small
says '2,000 of 2,000 opened' out
grep -q '"label": "small"' "$work/run/result.json" || fail "the client's own option was not passed on"
grep -q '^c1000k-client run .*--rate 1k' "$work/run/command.txt" || fail "command.txt lacks the client"
grep -q '2,000 of 2,000 opened' "$work/run/summary.txt" || fail "summary.txt is not the summary"
nothing_left "$work/run"
expect 2 ./scripts/million.sh --connections 2k --output "$work/run"
says 'a result already' err
expect 0 ./scripts/million.sh --connections 100 --rate 0 --output "$work/idle"
says 'first echo   100 of 100' out
expect 0 ./scripts/million.sh --protocol ws --connections 2k --rate 1k --duration 1s --output "$work/ws"
says '2,000 of 2,000 opened' out
says '^  upgrade  *2,000 ' out
says '^  close  *2,000 ' out
grep -q '^c1000k-client run ws://' "$work/ws/command.txt" || fail "command.txt lacks the WebSocket URL"
nothing_left "$work/ws"
expect 0 ./scripts/million.sh --protocol http --connections 2k --rate 1k --duration 1s --output "$work/http"
says '2,000 of 2,000 connections were answered' out
says '^  first_byte  *1,000 ' out
says '^statuses  *200 3,000$' out
nothing_left "$work/http"
expect 4 ./scripts/million.sh --connections 100 --rate 0 --output "$work/missed" -- --fail-if 'connections.opened>5'

echo "a folder that cannot be written"
: >"$work/file"
expect 2 ./scripts/million.sh --connections 100 --output "$work/file/folder"
says 'nothing can be written' err
nothing_left

echo "a machine that is too small"
small=(prlimit --nofile=200:200)
expect 3 "${small[@]}" ./scripts/million.sh --connections 1m --output "$work/small"
says 'RLIMIT_NOFILE (hard 200)' err
says 'this machine holds [0-9]* of 1m connections' err
[[ ! -e $work/small ]] || fail "it left a folder behind"
# Of few, half: the number of reactors is given, and each has a table of 100.
expect 0 "${small[@]}" ./scripts/million.sh --connections 2k --fit --rate 0 --output "$work/small" -- --reactors 3
says '282 of 282 opened' out
nothing_left "$work/small"

echo "a server that does not start"
# One that passes the check, and no more. Nothing is to be built over it.
mkdir "$work/broken" "$work/broken/release"
cp "$target/release/c1000k-client" "$target/release/c1000k-reference" "$work/broken/release/"
cat >"$work/broken/release/c1000k-server" <<'END'
#!/bin/sh
case "$*" in
    check*--sysctl*) ;;
    check*) printf '100\tall 100 connections fit\n' ;;
    *) echo "no, thanks" >&2; exit 1 ;;
esac
END
chmod +x "$work/broken/release/c1000k-server"
mkdir "$work/bin"
printf '#!/bin/sh\nexit 0\n' >"$work/bin/cargo"
chmod +x "$work/bin/cargo"
expect 1 env PATH="$work/bin:$PATH" CARGO_TARGET_DIR="$work/broken" \
    ./scripts/million.sh --connections 100 --output "$work/no-server"
says 'no, thanks' err
says 'the server did not start' err
nothing_left "$work/no-server"

echo "Ctrl-C once"
begin "$work/once"
kill -INT -- "-$pid"
ended_with 130
grep -q '"outcome": "interrupted"' "$work/once/result.json" || fail "the result does not say interrupted"
says '20,000 of 20,000 opened' out
nothing_left "$work/once"

echo "SIGTERM to the script alone, twice"
begin "$work/term"
kill -TERM "$pid"
sleep 0.2
kill -TERM "$pid" 2>/dev/null || true
ended_with 130
[[ -s $work/term/result.json ]] || fail "there is no result"
nothing_left "$work/term"

echo "a second start meanwhile, then a killed script"
begin "$work/killed"
busy=0
./scripts/million.sh --connections 10 --output "$work/second" 2>"$work/busy" || busy=$?
((busy == 1)) || fail "a second one ends with $busy"
grep -q 'another million.sh' "$work/busy" || fail "the second one does not say why"
kill_it
[[ -e $work/killed/undo ]] || fail "there is nothing to undo the killed run with"
expect 0 ./scripts/million.sh --undo "$work/killed"
says 'left over from a killed run' err
says 'all put back' err
nothing_left "$work/killed"

if ((EUID == 0)); then
    echo "settings are put back: at the end, and by the next start"
    # Too low for any run, so that it has to be raised; put back by this test at its own end.
    setting=/proc/sys/vm/max_map_count
    original=$(<"$setting")
    trap 'echo "$original" >"$setting"; clean_up' EXIT
    if (echo 1010 >"$setting") 2>/dev/null; then
        before=$(settings)
        expect 0 ./scripts/million.sh --connections 100 --rate 0 --output "$work/settings"
        says 'vm.max_map_count: 1010 -> ' err
        says 'vm.max_map_count: .* -> 1010, as it was' err
        grep -q '^# vm.max_map_count: 1010 -> ' "$work/settings/command.txt" || fail "not in command.txt"
        nothing_left "$work/settings"
        begin "$work/next"
        kill_it
        (($(<"$setting") > 1010)) || fail "it was not raised"
        expect 0 ./scripts/million.sh --connections 100 --rate 0 --output "$work/after"
        says 'an earlier run was killed' err
        says 'vm.max_map_count: .* -> 1010, as it was' err
        nothing_left "$work/next"
    else
        echo "(this machine does not let settings be changed)"
    fi
fi
echo "million test: all as it should be"
