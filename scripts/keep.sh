#!/usr/bin/env bash
# Keeps a run: makes its folder in results/ complete and says what is left to write.
#
#   ./scripts/keep.sh FOLDER NAME        e.g. results/20261123T084500Z-tcp-1000000 2026-11-23-tcp-1m
#
# FOLDER is one of million.sh; it is copied to results/kept-NAME. Needs cargo, and python3 for the README.
# Exit codes: 0 kept, 1 something failed, 2 wrong usage.
set -euo pipefail
if (($# != 2)) || [[ ! -s $1/result.json || ! -s $1/command.txt || ! $2 =~ ^[a-z0-9.-]+$ ]]; then
    echo "keep.sh: give a folder with result.json and command.txt, and a name of a-z, 0-9, '.' and '-'" >&2
    exit 2
fi
from=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kept=results/kept-$2
mkdir "$kept"
for file in result.json summary.txt command.txt server.log; do
    if [[ -s $from/$file ]]; then cp "$from/$file" "$kept/"; fi
done
report() { cargo run --quiet --locked --package c1000k-report -- "$@"; }
report html "$kept/result.json" --output "$kept/report.html"
report export --format hgrm --stage response "$kept/result.json" --output "$kept/response.hgrm"
python3 scripts/keep.py "$kept" "$2" >"$kept/README.md"
echo "$kept/README.md: write what the run shows; results/README.md: add the row | [kept-$2](kept-$2/README.md) | ... |"
