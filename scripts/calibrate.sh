#!/usr/bin/env bash
# Holds what the client measures against what is known: a server that stands still and replies late on
# request, and the percentiles that must come of it.
#
#   ./scripts/calibrate.sh [--quick] [OPTIONS]
#
# The whole table (no fault, 5 ms delay, 100 ms stall each second, 1 s stall once; 1,000 and 100,000
# connections; a low and a high rate; three rounds; and what the closed model makes of it) takes about a
# quarter of an hour and wants a machine that does nothing else, with two CPUs at least. OPTIONS go to
# 'c1000k-reference calibrate', for a part of it: --part table, --part teaching, --connections 1k, --rounds 1.
#
# --quick takes half a minute, looks at 1,000 connections and the low rate only, and judges so that a busy
# machine does not fail it.
#
# Prints Markdown. Writes target/calibration.jsonl (every figure). CALIBRATE_PROGRAMS=DIR takes the programs
# from there instead of building them. Installs and changes nothing.
#
# Exit code: 0 if every percentile of the open model is what it must be (docs/METHODOLOGY.md says what that
# means), 1 if not, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1-} in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" && exit 0 ;;
esac
target=${CARGO_TARGET_DIR:-target}
if [[ -z ${CALIBRATE_PROGRAMS:-} ]]; then
    cargo build --release --locked --quiet -p c1000k-bench -p c1000k-server -p c1000k-client
fi
programs=${CALIBRATE_PROGRAMS:-$target/release}
mkdir -p "$target"
rm -f "$target/calibration.jsonl"
exec timeout --foreground --kill-after=5 1800 "$programs/c1000k-reference" calibrate \
    --client "$programs/c1000k-client" --server "$programs/c1000k-server" \
    --output "$target/calibration.jsonl" "$@"
