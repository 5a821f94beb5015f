#!/usr/bin/env bash
# Tests tune.sh and addresses.sh in a network namespace, whose settings and routes are its own: what is
# applied and undone, run twice, killed half-way; what cannot be set; the files of persist; addresses
# that a client then uses.
#
#   ./scripts/tests/tune.sh         (needs root, ip of iproute2, and the release programs)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${CARGO_TARGET_DIR:-target}/release
inside=c1000k-tune-$$
work=$(mktemp -d)
server_pid=''
fail() {
    echo "tune test: $*" >&2
    cat "$work/out" "$work/err" >&2
    exit 1
}
trap 'echo "tune test: line $LINENO failed" >&2' ERR
clean_up() {
    if [[ -n $server_pid ]] && kill "$server_pid" 2>/dev/null; then wait "$server_pid" 2>/dev/null || true; fi
    ip netns delete "$inside" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

at() { ip netns exec "$inside" "$@"; }
# Runs a command in the namespace and checks its exit code: expect CODE COMMAND...
expect() {
    local wanted=$1 code=0
    at "${@:2}" >"$work/out" 2>"$work/err" || code=$?
    ((code == wanted)) || fail "exit code $code, not $wanted: ${*:2}"
}
says() { grep -q -- "$1" "$work/$2" || fail "does not say '$1' on std$2"; }
get() { at cat "/proc/sys/${1//.//}" | tr '\t' ' '; }
put() { at sh -c "echo '$2' >/proc/sys/${1//.//}"; }
is() { [[ $(get "$1") == "$2" ]] || fail "$1 is $(get "$1"), not $2"; }

ip netns add "$inside"
ip -netns "$inside" link set lo up
state=(--state "$work/state/undo")
# Few connections, so that only what the namespace itself sets is lacking; the machine's is enough.
run=(--connections 1k --role server --target tcp://127.0.0.1:0)
tune=./scripts/tune.sh

expect 2 "$tune"
expect 2 "$tune" mend
expect 2 "$tune" apply --role judge
expect 2 "$tune" apply --connections some "${state[@]}"
expect 0 "$tune" --help
says 'undo' out

echo "apply, again, and undo"
put net.ipv4.tcp_syncookies 0
put net.ipv4.tcp_max_syn_backlog 100
expect 0 "$tune" check "${run[@]}"
says 'warn  tcp_syncookies' out
rm -rf "$work/state"
expect 0 "$tune" apply "${run[@]}" "${state[@]}" --dry-run
says 'tcp_syncookies: 0 -> 1 (not set: --dry-run)' err
is net.ipv4.tcp_syncookies 0
[[ ! -e $work/state ]] || fail "--dry-run leaves something behind"
expect 0 "$tune" apply "${run[@]}" "${state[@]}"
says 'net.ipv4.tcp_syncookies: 0 -> 1' err
says 'net.ipv4.tcp_max_syn_backlog: 100 -> ' err
is net.ipv4.tcp_syncookies 1
expect 0 "$tune" apply "${run[@]}" "${state[@]}"
says 'no setting has to be changed' err
expect 0 "$tune" undo "${state[@]}" --dry-run
says 'tcp_syncookies: 1 -> 0 (not set: --dry-run)' err
is net.ipv4.tcp_syncookies 1
expect 0 "$tune" undo "${state[@]}"
says 'tcp_syncookies: 1 -> 0, as it was' err
is net.ipv4.tcp_syncookies 0
is net.ipv4.tcp_max_syn_backlog 100
expect 0 "$tune" undo "${state[@]}"
says 'nothing to undo' err

echo "raised twice, undone to the first"
put net.ipv4.tcp_syncookies 0
printf 'sysctl\tnet.ipv4.tcp_max_syn_backlog\t100\t200\n' >"$work/state/undo"
put net.ipv4.tcp_max_syn_backlog 200
expect 0 "$tune" apply "${run[@]}" "${state[@]}"
expect 0 "$tune" undo "${state[@]}"
is net.ipv4.tcp_max_syn_backlog 100

echo "killed between the note and the change, and in the middle of undoing"
# The note is there, the change is not: nothing is to be put back.
printf 'sysctl\tnet.ipv4.tcp_syncookies\t0\t1\n' >"$work/state/undo"
expect 0 "$tune" undo "${state[@]}"
is net.ipv4.tcp_syncookies 0
# The last line was undone before the kill, the first was not.
put net.ipv4.tcp_syncookies 1
printf 'sysctl\tnet.ipv4.tcp_%s\n' $'syncookies\t0\t1' $'max_syn_backlog\t100\t200' >"$work/state/undo"
expect 0 "$tune" undo "${state[@]}"
is net.ipv4.tcp_syncookies 0
is net.ipv4.tcp_max_syn_backlog 100
# What somebody else has set since is theirs.
put net.ipv4.tcp_max_syn_backlog 333
printf 'sysctl\tnet.ipv4.tcp_max_syn_backlog\t100\t200\n' >"$work/state/undo"
expect 0 "$tune" undo "${state[@]}"
says 'somebody has set it to 333' err
is net.ipv4.tcp_max_syn_backlog 333
# Three numbers are put back as three.
put net.ipv4.tcp_rmem '4096 131072 33554432'
printf 'sysctl\tnet.ipv4.tcp_rmem\t4096 131072 6291456\t4096 131072 33554432\n' >"$work/state/undo"
expect 0 "$tune" undo "${state[@]}"
is net.ipv4.tcp_rmem '4096 131072 6291456'

echo "killed at any moment of apply"
for pause in 0.005 0.01 0.02 0.03 0.05; do
    put net.ipv4.tcp_syncookies 0
    put net.ipv4.tcp_max_syn_backlog 100
    at timeout --signal=KILL "$pause" "$tune" apply "${run[@]}" "${state[@]}" >/dev/null 2>&1 || true
    expect 0 "$tune" undo "${state[@]}"
    is net.ipv4.tcp_syncookies 0
    is net.ipv4.tcp_max_syn_backlog 100
done

echo "what cannot be set is named, and the rest is set"
# The table of connections belongs to the whole machine, and cannot be changed from here.
wanted='net.netfilter.nf_conntrack_max = 99999999'
mkdir -p "$work/fake/release"
cp "$programs/c1000k-client" "$work/fake/release/"
printf '#!/bin/sh\ncase "$*" in *--sysctl*) printf "# a reason\\n%s\\nnet.none.such = 1\\nnet.ipv4.tcp_syncookies = 1\\n";; esac\n' \
    "$wanted" >"$work/fake/release/c1000k-server"
chmod +x "$work/fake/release/c1000k-server"
expect 0 env CARGO_TARGET_DIR="$work/fake" "$tune" apply "${run[@]}" "${state[@]}"
says 'net.none.such: nothing, and cannot be changed to 1: this kernel, or this network namespace, has no such' err
if [[ -e /proc/sys/net/netfilter/nf_conntrack_max ]]; then
    says 'nf_conntrack_max: .* cannot be changed to 99999999: ' err
fi
is net.ipv4.tcp_syncookies 1
expect 0 "$tune" undo "${state[@]}"
is net.ipv4.tcp_syncookies 0
# This checkout may be one that only root can read.
if chmod 755 "$work" && setpriv --reuid=nobody --clear-groups test -r "$tune" 2>/dev/null; then
    expect 0 setpriv --reuid=nobody --clear-groups env CARGO_TARGET_DIR="$work/fake" \
        "$tune" apply "${run[@]}" --dry-run
    expect 0 setpriv --reuid=nobody --clear-groups env CARGO_TARGET_DIR="$work/fake" "$tune" apply "${run[@]}"
    says "for want of privilege; as root: sysctl -w net.ipv4.tcp_syncookies='1'" err
    is net.ipv4.tcp_syncookies 0
fi

echo "persist"
root=(--root "$work/root")
limited=(prlimit --nofile=300:300)
expect 0 "${limited[@]}" "$tune" persist "${run[@]}" "${root[@]}" --dry-run
says 'sysctl.d/90-c1000k.conf: would be' err
[[ ! -e $work/root ]] || fail "--dry-run leaves something behind"
expect 0 "${limited[@]}" "$tune" persist "${run[@]}" "${root[@]}"
expect 0 "${limited[@]}" "$tune" persist "${run[@]}" "${root[@]}"
grep -q '^net.ipv4.tcp_syncookies = 1$' "$work/root/etc/sysctl.d/90-c1000k.conf" || fail "no sysctl.d file"
grep -q '^root - nofile [0-9]*$' "$work/root/etc/security/limits.d/90-c1000k.conf" || fail "no limits.d file"
grep -q '^LimitNOFILE=[0-9]*$' "$work/root/etc/systemd/system/user@.service.d/90-c1000k.conf" || fail "no drop-in"
# The kernel takes the file as it is.
at sysctl --load "$work/root/etc/sysctl.d/90-c1000k.conf" >/dev/null || fail "sysctl does not load it"
is net.ipv4.tcp_syncookies 1
expect 0 "$tune" persist --remove "${root[@]}"
[[ -z $(find "$work/root" -type f) ]] || fail "persist --remove leaves files"
echo '# mine' >"$work/root/etc/sysctl.d/90-c1000k.conf"
expect 1 "$tune" persist --remove "${root[@]}"
says 'not of tune.sh' err
[[ $(<"$work/root/etc/sysctl.d/90-c1000k.conf") == '# mine' ]] || fail "somebody's file was changed"

echo "addresses"
addresses=./scripts/addresses.sh
ip -netns "$inside" link add cable type veth peer name other
ip -netns "$inside" link set cable up
ip -netns "$inside" address add 10.5.0.1/24 dev cable
before=$(ip -netns "$inside" route show table all; ip -netns "$inside" address show)
expect 2 "$addresses"
for bad in 10.5.0.0/24 10.5.0.128/25 10.0.0.0/8 0.0.0.0/0 127.0.9.0/24 here; do
    expect 2 "$addresses" add "$bad"
done
expect 0 "$addresses" add 10.99.0.0/24 fd77::/64
expect 0 "$addresses" add 10.99.0.0/24
says 'there already' err
expect 0 "$addresses" add --dev cable 10.5.0.20-10.5.0.22
expect 0 "$addresses" add --dev cable 10.5.0.20-10.5.0.23
expect 0 "$addresses" list
[[ $(tr '\n' ' ' <"$work/out") == '10.99.0.0/24 fd77::/64 10.5.0.20 10.5.0.21 10.5.0.22 10.5.0.23 ' ]] ||
    fail "not what was added"
ip netns exec "$inside" "$programs/c1000k-server" tcp://10.5.0.1:9000 --json >"$work/out" 2>"$work/err" &
server_pid=$!
for _ in {1..100}; do
    if grep -q '"url"' "$work/out"; then break; fi
    sleep 0.1
done
at "$programs/c1000k-client" run tcp://10.5.0.1:9000 --connections 300 --source-ip 10.99.0.0/24,10.5.0.20-10.5.0.23 \
    --output "$work/result.json" -q >"$work/out" 2>"$work/err" || fail "the client ended with $?"
grep -q '"open_at_end": 300,' "$work/result.json" || fail "not all were opened"
kill "$server_pid"
wait "$server_pid" || true
server_pid=''
expect 0 "$addresses" remove 10.5.0.21 --dry-run
says 'ip address del 10.5.0.21/32 dev cable' out
expect 0 "$addresses" remove 10.5.0.21 10.99.0.0/24
expect 0 "$addresses" list
[[ $(tr '\n' ' ' <"$work/out") == 'fd77::/64 10.5.0.20 10.5.0.22 10.5.0.23 ' ]] || fail "not those that are left"
expect 0 "$addresses" remove
expect 0 "$addresses" remove
expect 0 "$addresses" list
[[ ! -s $work/out ]] || fail "something is left"
[[ $(ip -netns "$inside" route show table all; ip -netns "$inside" address show) == "$before" ]] ||
    fail "routes or addresses differ: $(diff <(echo "$before") <(ip -netns "$inside" route show table all; ip -netns "$inside" address show))"
echo "tune test: all as it should be"
