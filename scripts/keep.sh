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
python3 - "$kept" "$2" >"$kept/README.md" <<'PYTHON'
import json, pathlib, sys
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
result, command = json.loads((folder / "result.json").read_text()), (folder / "command.txt").read_text()
host, run = result["host"], result["run"]
print(f"# {name}\n\n<!-- write here what this run shows, in a few sentences -->\n\n## Command\n\n```text\n{command.strip()}\n```\n")
print(f"## Machine\n\nOn {run['started'][:10]}: {host['cpu_model']}, {len(host['cpus_allowed'])} cores,", end=" ")
print(f"{host['memory']['total_bytes'] / 2**30:.0f} GiB,")
print(f"Linux {host['kernel_release']}, {host['descriptors_hard']:,} descriptors per table; the client is", end=" ")
print(f"{result['tool']['version']}, commit\n{result['tool']['commit'] or 'unknown'}.\n\n## Files\n")
about = {"result.json": "the result", "report.html": "the same as a page with charts",
         "response.hgrm": "its response times by percentile", "summary.txt": "what was printed",
         "server.log": "what the server said"}
print("\n".join(f"- [`{file}`]({file}): {text}" for file, text in about.items() if (folder / file).exists()))
PYTHON
echo "$kept/README.md: write what the run shows; results/README.md: add the row | [kept-$2](kept-$2/README.md) | ... |"
