#!/usr/bin/env bash
# Opens a million connections (TCP, or WebSocket or HTTP over it, or any of these over TLS) over loopback, has each of them send and get back at
# least one verified message (with HTTP: ask for a file and get it, whole), sends traffic over them, and writes down how it went.
#
#   ./scripts/million.sh [OPTIONS] [-- OPTIONS OF c1000k-client run]
#
#   --connections N   how many (default 1m)
#   --protocol NAME   tcp (default), ws or http; tls, wss or https, which verify the server unless -k is among
#                     the options of the client
#   --rate R          messages per second, all connections together (default 20k; 0: no traffic)
#   --duration D      how long to send them (default 10s)
#   --output DIR      where the files go (default results/<UTC time>-<protocol>-<connections>)
#   --fit             on a machine that is too small, run as many connections as fit
#   --undo DIR        put back what a killed run with this output folder left changed, and stop its server
#
# Builds what is missing, and shows how far it is; needs Rust, bash, coreutils and util-linux. As root it
# sets the sysctls that the programs' own `check` asks for and puts them back at the end, also after Ctrl-C or a failure; if
# the script itself was killed, the next start does. Otherwise it names the commands.
# Ctrl-C once lets the run end in order and write its result, twice ends it at once.
#
# Writes result.json, report.html (the same as a page), summary.txt (what is printed at the end),
# command.txt and server.log.
# Exit code: the client's (0 done, 4 a threshold was missed, 6 the plan was not reached, ...);
# 2 wrong usage, 3 too many connections for this machine, 130 interrupted.
set -euo pipefail

started_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
server=$target/release/c1000k-server
client=$target/release/c1000k-client
report=$target/release/c1000k-report
# What runs server and client as a pair.
reference=$target/release/c1000k-reference
# Names the output folder of the run that is going on: whoever finds it later can undo that run.
pending=$target/million.pending

# A message that nobody can read any more must not keep the settings from being put back.
say() { echo "million: $*" >&2 || true; }
die() { say "${@:2}"; exit "$1"; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
# A path of the user's, who did not start in the folder that this script works in.
from_start() { case $1 in /*) echo "$1" ;; *) echo "$started_in/$1" ;; esac; }

# ---- Settings, and how they are put back ----------------------------------------------------------
# Plain `return` in a function that a trap calls would give the status from before the trap.

# shellcheck source=/dev/null
source scripts/settings.sh
# What an undo file lists beside settings: process NUMBER PROGRAM.
undo_other() { if [[ $1 == process ]]; then stop_leftover "$2" "$3"; fi; }

# Stops a process of a killed run, if the number still belongs to the same program.
stop_leftover() {
    local pid=$1 program=$2 _
    is_it() { [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$program"* ]]; }
    if ! is_it; then return 0; fi
    say "stopping process $pid ($program), left over from a killed run"
    kill "$pid" 2>/dev/null || return 0
    for _ in {1..300}; do
        if ! is_it; then return 0; fi
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

undo_folder() {
    local folder=$1
    if [[ ! -e $folder/undo ]]; then
        say "nothing to undo in $folder"
        return 0
    fi
    undo_file "$folder/undo" || return 1
    if [[ -f $pending && $(<"$pending") == "$folder" ]]; then rm -f "$pending"; fi
    say "$folder: all put back"
}

# ---- What was asked for ---------------------------------------------------------------------------

connections=1m protocol=tcp rate=20k duration=10s output='' fit=false undo_of=''
while (($#)); do
    case $1 in
        --connections | --protocol | --rate | --duration | --output | --undo)
            (($# >= 2)) || die 2 "$1 needs a value (--help lists the options)"
            ;;&
        --connections) connections=$2 && shift ;;
        --protocol) protocol=$2 && shift ;;
        --rate) rate=$2 && shift ;;
        --duration) duration=$2 && shift ;;
        --output) output=$(from_start "$2") && shift ;;
        --undo) undo_of=$(from_start "$2") && shift ;;
        --fit) fit=true ;;
        -h | --help) usage && exit 0 ;;
        --) shift && break ;;
        *) die 2 "unknown option '$1' (--help lists the options; those of the client go after --)" ;;
    esac
    shift
done
case $protocol in
    tcp | ws | http) secured=false ;;
    tls | wss | https) secured=true ;;
    *) die 2 "--protocol $protocol is not known: give tcp, ws, http, tls, wss or https" ;;
esac
# Whom the client trusts: in checks there is nobody yet.
trust=() trust_in_checks=()
if $secured && [[ " $* " != *' -k '* && " $* " != *' --insecure '* && " $* " != *' --cacert'* ]]; then
    trust_in_checks=(-k)
fi

# One run at a time: two would take each other's memory, and undo each other's settings.
mkdir -p "$target" || die 1 "$target cannot be made: CARGO_TARGET_DIR names another place to build in"
exec 9>>"$target/million.lock"
flock -n 9 || die 1 "another million.sh is running in this checkout: wait for it, or stop it"

if [[ -n $undo_of ]]; then
    undo_folder "$undo_of" && exit 0
    exit 1
fi
if [[ -f $pending ]]; then
    left=$(<"$pending")
    say "an earlier run was killed: $left"
    undo_folder "$left" || say "later, as root: ./scripts/million.sh --undo $left"
    rm -f "$pending"
fi

# ---- Build ----------------------------------------------------------------------------------------

command -v cargo >/dev/null || die 1 "cargo is missing: install Rust (rustup.rs), then start again"
command -v setsid >/dev/null || die 1 "setsid is missing: install util-linux, then start again"
say "building the programs into $target/release (a few minutes the first time)"
cargo build --release --locked -p c1000k-server -p c1000k-client -p c1000k-report -p c1000k-bench 9<&- ||
    die 1 "the build failed"

# ---- The output folder, and leaving it all as it was ----------------------------------------------

name=${connections//[^0-9a-zA-Z.]/}
: "${output:="$PWD/results/$(date -u +%Y-%m-%dT%H%M%SZ)-$protocol-$name"}"
# Short, and the same on every machine, where it is this checkout's and that is where the user stands.
if [[ $started_in == "$PWD" ]]; then output=${output#"$PWD"/}; fi
made=false
[[ -d $output ]] || made=true
# The trial is the file that is needed first.
undo=$output/undo
{ mkdir -p "$output" && : >>"$undo"; } 2>/dev/null ||
    die 2 "--output $output: nothing can be written there: choose another folder"
if [[ -e $output/result.json ]]; then
    rm -f "$undo"
    die 2 "--output $output: there is a result already: choose another folder, or move it"
fi
echo "$output" >"$pending"

pair_pid='' signals=0
clean_up() {
    local code=$?
    # Each step is taken, whatever becomes of the others.
    set +e
    # What is begun here is finished: a third Ctrl-C would leave the settings changed.
    trap '' INT TERM HUP PIPE
    # Also ends what still runs.
    if undo_file "$undo"; then rm -f "$pending"; else say "later, as root: $0 --undo $output"; fi
    if $made; then rmdir "$output" 2>/dev/null || true; fi
    exit "$code"
}
# The pair has a session of its own, so the terminal's Ctrl-C reaches only this script. It hands each signal
# on, once, and the pair to the client, which counts them; before and after the run it just ends.
interrupted() {
    signals=$((signals + 1))
    if [[ -z $pair_pid ]]; then exit 130; fi
    if ((signals == 1)); then say "ending the run in order (once more: at once)"; fi
    kill -TERM "$pair_pid" 2>/dev/null || true
}
trap clean_up EXIT
trap interrupted INT TERM HUP PIPE

# ---- What the machine can hold --------------------------------------------------------------------

# Sets both command lines for the number of connections, and adds what the user gave for the client.
plan_run() {
    server_options=(--connections-max "$connections" --metrics 127.0.0.1:0 --json)
    client_options=(--connections "$connections")
    if [[ ! $rate =~ ^0+(\.0*)?$ ]]; then client_options+=(--rate "$rate" --duration "$duration"); fi
    client_options+=(--output "$output/result.json" "$@")
}
plan_run "$@"

# Ports make no difference to the checks; the server will take a free one. It may be one of the
# kernel's ephemeral range: the connections come from other addresses than the server's.
check_client() {
    check "$client" check "$protocol://127.0.0.1:9" "${client_options[@]}" "${trust_in_checks[@]}" "$@"
}
check_server() { check "$server" check "$protocol://127.0.0.1:0" --connections-max "$connections" "$@"; }
# 3 says that something is lacking: what, is in the answer.
check() { "$@" || (($? == 3)) || exit 2; }

set_what_is_wanted() {
    local wanted name value
    # A check that goes wrong says why, and ends this.
    wanted=$("$1" --sysctl | settings_in) || exit 2
    while IFS=$'\t' read -r name value; do
        if [[ -n $name ]]; then change_setting "$name" "$value"; fi
    done <<<"$wanted"
}
# One after the other: what the first has raised may be enough for the second.
set_what_is_wanted check_client
set_what_is_wanted check_server

by_client=$(check_client --fits)
by_server=$(check_server --fits)
say "the client's end: ${by_client#*$'\t'}"
say "the server's end: ${by_server#*$'\t'}"
if [[ $by_client != *$'\tall '* || $by_server != *$'\tall '* ]]; then
    fits=${by_client%%$'\t'*}
    if ((${by_server%%$'\t'*} < fits)); then fits=${by_server%%$'\t'*}; fi
    if ((fits == 0)); then die 3 "this machine holds none of $connections connections"; fi
    if ! $fit; then
        die 3 "this machine holds $fits of $connections connections: --connections $fits, or --fit"
    fi
    say "--fit: running $fits of $connections connections"
    connections=$fits
    plan_run "$@"
fi

# ---- The run --------------------------------------------------------------------------------------

log=$output/server.log path=''
if ((${#trust_in_checks[@]} > 0)); then
    # The server makes a certificate when it starts, and says who vouches for that.
    server_options+=(--write-ca "$output/ca.pem")
    trust=(--cacert "$output/ca.pem")
fi
if [[ $protocol == http || $protocol == https ]]; then
    # One small file, which every connection asks for.
    mkdir -p "$output/root"
    head -c 1024 /dev/zero | tr '\0' '.' >"$output/root/1k"
    server_options+=(--root "$output/root")
    path=/1k
    # Nothing else than the file will do. (That it is whole is the client's own business.)
    client_options+=(--fail-if 'http.non_2xx>0')
fi
client_options+=(--peer '{metrics}')
# In the background, so that a signal to this script is heard at once. Progress goes to the terminal.
setsid "$reference" pair --as million --log "$log" --undo "$undo" --commands "$output/command.txt" -- \
    "$server" "${server_options[@]}" "$protocol://127.0.0.1:0" -- \
    "$client" run "{url}$path" "${client_options[@]}" "${trust[@]}" >"$output/summary.txt" 9<&- &
pair_pid=$!
code=0 seen=-1
# A signal ends the waiting, not the pair.
while ((seen != signals)); do
    seen=$signals code=0
    wait "$pair_pid" || code=$?
done
pair_pid=''
# Without a server there was no run.
if [[ ! -s $output/command.txt ]]; then
    rm -f "$output/summary.txt"
    exit "$code"
fi
# What was set for it belongs to what was run.
sed -n 's/^sysctl\t\([^\t]*\)\t\([^\t]*\)\t\(.*\)/# \1: \2 -> \3, for the run/p' "$undo" >>"$output/command.txt"

cat "$output/summary.txt"
# An interrupted run has a result too; one that failed may have none.
if [[ -s $output/result.json ]]; then
    "$report" html "$output/result.json" --output "$output/report.html" || say "no report.html, see above"
fi
for file in result.json report.html summary.txt command.txt server.log ca.pem; do
    if [[ -s $output/$file ]]; then echo "$output/$file"; else rm -f "${output:?}/$file"; fi
done
# A signal after the last reply changes nothing of the result, but whoever sent it wants to see it.
if ((signals > 0 && code == 0)); then code=130; fi
if ((code != 0)); then exit "$code"; fi
