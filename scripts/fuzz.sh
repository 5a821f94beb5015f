#!/usr/bin/env bash
# Fuzzes the parsers on stable Rust: the targets and seeds of crates/fuzz.
#
#   ./scripts/fuzz.sh [SECONDS] [TARGET]...        (default: 60 seconds of all targets together)
#
# A failing input is made small, printed, and kept in target/fuzz/. Every run tries other mutations;
# FUZZ_SEED=N tries those of the run that printed N. For coverage feedback there is fuzz/, which
# needs a nightly toolchain and cargo-fuzz. FUZZ_PROGRAM names a program that is built already, and is not
# built again. Needs cargo; installs and changes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
if [[ ! $seconds =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2
    exit 2
fi
failures=${CARGO_TARGET_DIR:-target}/fuzz
mkdir -p "$failures"
# Not the release profile: overflows and debug assertions are to be seen, and panics to be caught.
fuzz=(cargo run --quiet --locked -p c1000k-fuzz --)
if [[ -n ${FUZZ_PROGRAM-} ]]; then fuzz=("$FUZZ_PROGRAM"); fi
"${fuzz[@]}" --seconds "$seconds" --seed "${FUZZ_SEED:-$(date +%s)}" --failures "$failures" "${@:2}"
