#!/usr/bin/env bash
# Good peers beside bad ones: what the p99 of 100 good connections becomes while others attack their server, in
# forty ways and more.
#
#   ./scripts/tests/attack.sh [--kinds a,b] [--peers N] [--repeats N] [--tries N] [--seconds N] [--bound X] [--floor MS]
#                             [--json FILE] [--list]
#
# Each kind is measured in alternation with its control: the same attack, at the same time, on the same cores,
# but on *another* server of ours. So the ratio says what the server does to its good peers, not what a busy
# machine does. The least of a few repeats counts. Needs Python 3 and the programs (release, or those of
# PROGRAMS=target/debug). Exit code: 0 if all kinds are within the bound, 1 otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${PROGRAMS:-${CARGO_TARGET_DIR:-target}/release}
exec python3 scripts/tests/attack/measure.py --programs "$programs" "$@"
