#!/usr/bin/env bash
# Checks what the workspace depends on: floors, licences, sources, duplicate versions.
#
#   ./scripts/dependencies.sh
#
# Needs cargo only. Prints what is wrong and exits 1, or says that nothing is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Which crates of the workspace each may use; the order of the house (docs/ARCHITECTURE.md). Tests
# may use more.
floors=(
    "measure:"
    "wire:"
    "tls:"
    "session: measure wire"
    "host: measure"
    "reactor: host measure tls"
    "report: measure"
    "control: host measure reactor tls wire"
    "server: control host measure reactor tls wire"
    "client: control host measure reactor report tls wire"
    "bench: host measure report"
    "fuzz: host measure report session tls wire"
    "tidy:"
)

# Crates that speak to the system. `measure`, `session` and `wire` must not reach them at all; `report`, which
# is to build on macOS and Windows too, not on its own account (clap asks for the terminal's width).
system_crates='libc|rustix|mio|socket2|signal-hook|core_affinity|if-addrs|num_cpus'

# Licence expressions that were read and found to allow use under "MIT OR Apache-2.0", with notices.
licences=(
    "MIT"
    "MIT-0"
    "Apache-2.0"
    "MIT OR Apache-2.0"
    "MIT/Apache-2.0"
    "Apache-2.0 OR MIT"
    "Apache-2.0/MIT"
    "Unlicense OR MIT"
    "Unlicense/MIT"
    "Apache-2.0 OR BSL-1.0"
    "MIT OR BSD-3-Clause"
    "MIT OR Zlib OR Apache-2.0"
    "BSD-2-Clause OR Apache-2.0 OR MIT"
    "MIT OR Apache-2.0 OR Zlib"
    "0BSD OR MIT OR Apache-2.0"
    "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"
    "Zlib"
    "(MIT OR Apache-2.0) AND Unicode-3.0"
    "ISC"
    "BSD-3-Clause"
    "Apache-2.0 OR ISC OR MIT"
    "CC0-1.0 OR MIT-0 OR Apache-2.0"
    # AWS-LC is Apache-2.0 or ISC, with parts under MIT, BSD-3-Clause and ISC.
    "ISC AND (Apache-2.0 OR ISC)"
    "ISC AND (Apache-2.0 OR ISC) AND Apache-2.0 AND MIT AND BSD-3-Clause AND (Apache-2.0 OR ISC OR MIT) AND (Apache-2.0 OR ISC OR MIT-0)"
)

# Packages of which more than one version may be in the programs: "name: reason".
duplicates=(
    "syn: maud's macros are still of version 2; macros run while building, so neither is in the programs"
)

failures=0
wrong() { echo "dependencies: $*" >&2; failures=$((failures + 1)); }

# The packages of a tree, one "FIELD" per line, without cargo's marks for repetition and macros:
# tree FIELD OPTIONS...
tree() {
    cargo tree --locked --prefix none --format "$1" "${@:2}" | sed 's/ (\*)$//; s/ (proc-macro)$//' |
        sed '/^$/d' | sort -u
}
# The names of the workspace's packages in a list.
ours() { sed -n 's/^c1000k-\([a-z]*\) .*/\1/p' <<<"$1"; }
in_list() {
    local wanted=$1 entry
    shift
    for entry in "$@"; do
        if [[ $entry == "$wanted" ]]; then return 0; fi
    done
    return 1
}

check_floors() {
    local floor name allowed other direct all
    for floor in "${floors[@]}"; do
        name=${floor%%:*}
        read -ra allowed <<<"${floor#*:}"
        direct=$(tree '{p}' --package "c1000k-$name" --edges normal,build --depth 1)
        for other in $(ours "$direct"); do
            if [[ $other == "$name" ]] || in_list "$other" "${allowed[@]}"; then continue; fi
            wrong "$name must not use $other: it is not on a lower floor"
        done
    done
    for name in measure session wire; do
        all=$(tree '{p}' --package "c1000k-$name" --edges normal,build)
        refuse_system_crates "$name" "$all"
    done
    direct=$(tree '{p}' --package c1000k-report --edges normal,build --depth 1)
    refuse_system_crates report "$direct"
    # A new crate has to be given its place.
    all=$(tree '{p}' --workspace --depth 0)
    for other in $(ours "$all"); do
        if ! in_list "$other" "${floors[@]%%:*}"; then wrong "$other has no floor in $0"; fi
    done
}
refuse_system_crates() {
    local found
    found=$(grep -E "^($system_crates) v" <<<"$2" || true)
    if [[ -n $found ]]; then wrong "$1 must not use the system: ${found//$'\n'/, }"; fi
}

check_licences() {
    local all licence package
    all=$(tree $'{l}\t{p}' --workspace --edges normal,build,dev)
    while IFS=$'\t' read -r licence package; do
        if ! in_list "$licence" "${licences[@]}"; then
            wrong "the licence '$licence' of $package is not in the list of $0: read it first"
        fi
    done <<<"$all"
}

# The lock file names where each package comes from; those of the workspace come from nowhere.
check_sources() {
    local source
    while read -r source; do
        wrong "a dependency comes from $source: only registry releases are reproducible"
    done < <(sed -n 's/^source = "\(.*\)"$/\1/p' Cargo.lock | sort -u | sed '/^registry+/d')
    if (($(grep -c '^source = ' Cargo.lock) != $(grep -c '^checksum = ' Cargo.lock))); then
        wrong "Cargo.lock: a dependency has no checksum"
    fi
}

check_duplicates() {
    local all name
    all=$(tree '{p}' --workspace --edges normal,build)
    for name in $(cut -d ' ' -f 1 <<<"$all" | uniq -d); do
        if ! in_list "$name" "${duplicates[@]%%:*}"; then
            wrong "more than one version of $name (cargo tree -i $name): agree on one, or list it in $0"
        fi
    done
}

check_floors
check_licences
check_sources
check_duplicates
if ((failures > 0)); then exit 1; fi
count=$(tree '{p}' --workspace --edges normal,build | grep -vc '^c1000k-')
echo "dependencies: floors, licences, sources and versions are right; the programs use $count packages"
