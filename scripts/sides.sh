#!/usr/bin/env bash
# Compares two settings of the server: runs the same load against both, in turns, each time with a fresh server.
#
#   ./scripts/sides.sh FOLDER 'BASE OPTIONS' 'NEW OPTIONS' URL [CLIENT OPTIONS...]
#   ./scripts/sides.sh results/backlog '--backlog 128' '--backlog 4k' tcp://127.0.0.1:0 -c 20k -r 10k -d 5s
#
# FOLDER is made: base/ and new/ with the results, the comparison as comparison.md, .txt and .json, both sides laid
# over each other as report.html, and command.txt. The port 0 is any that is free. RUNS (5) is how many runs each side
# has. --repeat cannot take turns between two servers, and one side after the other would show what changed on the
# machine in between; hence this loop. Needs cargo and a quiet machine; changes nothing on it.
# Exit codes: 0 done, whatever the comparison says; 1 something failed, 2 wrong usage.
set -euo pipefail
if (($# < 4)) || [[ -e $1 || $4 != *://*:* || ! ${RUNS:=5} =~ ^[1-9][0-9]?$ ]]; then
    echo "sides.sh: give a folder that is not there yet, options of both servers, a URL, options of the client" >&2
    exit 2
fi
folder=$1 url=$4
declare -A options=([base]=$2 [new]=$3)
shift 4
mkdir -p "$folder"/{base,new}
folder=$(realpath "$folder")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Results record the command line: where this machine keeps its folders is nobody's business.
folder=$(realpath --relative-to=. "$folder")
cargo build --quiet --release --locked -p c1000k-server -p c1000k-client -p c1000k-report -p c1000k-bench
target=${CARGO_TARGET_DIR:-target}/release

# one SIDE NUMBER CLIENT_OPTIONS...: a server, a run, and the end of both.
one() {
    local side=$1 number=$2
    shift 2
    rm -f "$folder/server.log"
    local code=0
    # The options are words that the user separated by spaces.
    # shellcheck disable=SC2086
    "$target/c1000k-reference" pair --as sides.sh --log "$folder/server.log" -- \
        "$target/c1000k-server" --json --metrics 127.0.0.1:0 ${options[$side]} "$url" -- \
        "$target/c1000k-client" run '{url}' --peer '{metrics}' --label="${options[$side]:-default}" \
        --quiet --output "$folder/$side/run-$number.json" "$@" >"$folder/summary" || code=$?
    # What fell short of its plan is for the comparison to name.
    if ((code != 0 && code != 6)); then echo "sides.sh: $side, run $number: exit code $code" >&2 && exit 1; fi
    echo "$side, run $number: $(grep -m1 opened "$folder/summary")"
    # As long as run --repeat rests at least.
    sleep 1
}
for number in $(seq "$RUNS"); do
    one base "$number" "$@"
    one new "$number" "$@"
done
rm -f "$folder"/{server.log,summary}

cat >"$folder/command.txt" <<TEXT
# ${RUNS} runs a side, in turns, each with a server of its own; base:
c1000k-server ${options[base]} $url
# new:
c1000k-server ${options[new]} $url
# both:
c1000k-client run $url $*
TEXT
report=$(realpath "$target/c1000k-report")
cd "$folder"
# Worse is a finding here, and no failure.
compare() { "$report" compare base new "$@" || (($? == 5)); }
compare --markdown >comparison.md
compare --json >comparison.json
compare | tee comparison.txt
for side in base new; do "$report" merge "$side" --output "$side.json"; done
"$report" html base.json new.json --output report.html
rm base.json new.json
echo "$folder"
