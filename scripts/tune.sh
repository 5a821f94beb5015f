#!/usr/bin/env bash
# Makes this machine fit for a run, as the programs' own `check` says, and puts it back.
#
#   ./scripts/tune.sh check    [OPTIONS]     say what the run lacks here (exit code 3 if something)
#   ./scripts/tune.sh apply    [OPTIONS]     set what it lacks, only that, until undo or the next boot
#   ./scripts/tune.sh undo     [--dry-run]   put back exactly what apply has changed
#   ./scripts/tune.sh persist  [OPTIONS]     write it for every boot from now on: sysctl.d, limits.d, systemd
#   ./scripts/tune.sh persist --remove       remove those files
#
#   --connections N   of the run (default 1m)
#   --role R          the end that this machine is: client, server, or both (default)
#   --target URL      where the client connects, where the server listens (default: on loopback)
#   --dry-run         only say what would be done
#   --state FILE      where apply notes what it changes (default /run/c1000k/tune.undo)
#   --root DIR        persist writes below DIR in place of / (to look at the files, or for an image)
#   --                what follows goes to the client's `check`, such as --source-ip 10.0.0.0/24
#
# What cannot be set is named with the reason (no privilege, a container, read-only), and the rest goes
# on. apply may be started again at any time, also after it was killed; so may undo. Needs the release
# programs (cargo build --release), bash, coreutils and awk. Exit code: 0, 1 if something could not be
# undone or written, 2 wrong usage, 3 (check) something is lacking.
set -euo pipefail

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=${CARGO_TARGET_DIR:-$folder/target}/release
mark="# Written by c1000k's tune.sh persist; tune.sh persist --remove takes it away."

say() { echo "tune: $*" >&2 || true; }
die() { say "${@:2}"; exit "$1"; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
# shellcheck source=/dev/null
source "$folder/scripts/settings.sh"
undo_other() { say "an unknown line in the undo file is left out: $*"; }

verb=${1-}
case $verb in
    check | apply | undo | persist) shift ;;
    -h | --help) usage && exit 0 ;;
    '') usage >&2 && exit 2 ;;
    *) die 2 "'$verb' is not known: give check, apply, undo or persist (--help says what they do)" ;;
esac
connections=1m role=both target='' dry_run=false remove=false undo=/run/c1000k/tune.undo root=''
while (($#)); do
    case $1 in
        --connections | --role | --target | --state | --root)
            (($# >= 2)) || die 2 "$1 needs a value (--help lists the options)"
            ;;&
        --connections) connections=$2 && shift ;;
        --role) role=$2 && shift ;;
        --target) target=$2 && shift ;;
        --state) undo=$2 && shift ;;
        --root) root=${2%/} && shift ;;
        --dry-run) dry_run=true ;;
        --remove) remove=true ;;
        -h | --help) usage && exit 0 ;;
        --) shift && break ;;
        *) die 2 "unknown option '$1' (--help lists the options; those of the client go after --)" ;;
    esac
    shift
done
extra=("$@")
case $role in client | server | both) ;; *) die 2 "--role $role is not known: give client, server or both" ;; esac

# Asks both ends, or the one that this machine is, what they lack: ask FORMAT...
code_of_check=0 reactors=()
ask() {
    local end=0
    if [[ $role != server ]]; then
        "$programs/c1000k-client" check "${target:-tcp://127.0.0.1:9}" --connections "$connections" \
            "$@" "${reactors[@]}" "${extra[@]}" || end=$?
        answered "$end"
    fi
    if [[ $role != client ]]; then
        end=0
        "$programs/c1000k-server" check "${target:-tcp://127.0.0.1:9}" --connections-max "$connections" \
            "$@" "${reactors[@]}" || end=$?
        answered "$end"
    fi
    return "$code_of_check"
}
answered() { case $1 in 0) ;; 3) code_of_check=3 ;; *) exit 2 ;; esac; }
# The same where 3 is no answer of interest.
answer() { ask "$@" || (($? == 3)) || exit 2; }

if [[ $verb != undo ]] && ! $remove; then
    for program in c1000k-client c1000k-server; do
        [[ -x $programs/$program ]] ||
            die 1 "$programs/$program is missing: cargo build --release, then start again"
    done
fi

# ---- check, apply, undo ---------------------------------------------------------------------------

# One tune.sh at a time: two would note each other's values.
take_turns() {
    # Who is not root changes nothing.
    if $dry_run || ((EUID != 0)); then return 0; fi
    if ! { mkdir -p "$(dirname "$undo")" && exec 9>>"$undo.lock"; } 2>/dev/null; then
        die 1 "nothing can be written to $(dirname "$undo"): choose another place with --state"
    fi
    flock -n 9 || die 1 "another tune.sh is at work: wait for it"
}

apply() {
    local wanted name value changed=0
    wanted=$(answer --sysctl | settings_in) || exit 2
    while IFS=$'\t' read -r name value; do
        if [[ -z $name ]]; then continue; fi
        changed=1
        if $dry_run; then
            say "$name: $(setting "$name" || true) -> $value (not set: --dry-run)"
        else
            change_setting "$name" "$value"
        fi
    done <<<"$wanted"
    if ((changed == 0)); then
        say "no setting has to be changed for $connections connections"
    elif ! $dry_run && [[ -s $undo ]]; then
        say "to put it all back: $0 undo$(if [[ $undo != /run/c1000k/tune.undo ]]; then echo " --state $undo"; fi)"
    fi
    # What no setting mends, such as too little memory, is still to be known.
    if ! $dry_run && ! ask --fits >/dev/null; then say "something is lacking still: $0 check says what"; fi
}

undo() {
    local name old ours
    if [[ ! -s $undo ]]; then
        say "nothing to undo"
    elif $dry_run; then
        tac "$undo" | while IFS=$'\t' read -r _ name old ours; do
            say "$name: $ours -> $old (not set: --dry-run)"
        done
    elif ((EUID != 0)); then
        die 1 "that needs root: sudo $0 undo"
    else
        undo_file "$undo" || die 1 "not all could be put back: as root, $0 undo"
        say "all put back"
    fi
}

# ---- persist --------------------------------------------------------------------------------------

sysctl_file=$root/etc/sysctl.d/90-c1000k.conf
limits_file=$root/etc/security/limits.d/90-c1000k.conf
# What a login's own service manager starts (a desktop's terminal) gets no limits.d.
systemd_file=$root/etc/systemd/system/user@.service.d/90-c1000k.conf

# Writes what comes on stdin to a file of ours, whole or not at all; without any content it removes it.
place() {
    local file=$1 text
    text=$(cat)
    if [[ -e $file && $(head -n 1 "$file") != "$mark" ]]; then
        say "$file: not of tune.sh, so it is left as it is"
        return 1
    fi
    if [[ -z $text ]]; then
        if [[ ! -e $file ]]; then return 0; fi
        if $dry_run; then say "$file: would be removed" && return 0; fi
        if rm -f "$file" 2>/dev/null; then say "$file: removed"; else say "$file: cannot be removed" && return 1; fi
    elif $dry_run; then
        say "$file: would be"
        printf '%s\n' "$mark" "$text"
    elif { mkdir -p "$(dirname "$file")" && printf '%s\n' "$mark" "$text" >"$file.new" &&
        chmod 644 "$file.new" && mv "$file.new" "$file"; } 2>/dev/null; then
        say "$file: written"
    else
        rm -f "$file.new" 2>/dev/null || true
        say "$file: cannot be written ($(if ((EUID != 0)); then echo "that needs root"; else echo "read-only?"; fi))"
        return 1
    fi
}

persist() {
    local sysctls='' limit='' failed=0
    if ! $remove; then
        # One reactor for each CPU, as on a machine whose limits are wide: how many descriptors is that?
        reactors=(--reactors "$(nproc)")
        sysctls=$(answer --sysctl | settings_in | sed 's/\t/ = /') || exit 2
        limit=$(answer --shell | sed -n 's/.*--nofile=\([0-9]*\):.*/\1/p' | sort -n | tail -n 1)
    fi
    place "$sysctl_file" <<<"$sysctls" || failed=1
    # `*` does not mean root (limits.conf(5)).
    place "$limits_file" < <(if [[ -n $limit ]]; then printf '%s - nofile %s\n' '*' "$limit" root "$limit"; fi) || failed=1
    place "$systemd_file" < <(if [[ -n $limit ]]; then printf '[Service]\nLimitNOFILE=%s\n' "$limit"; fi) || failed=1
    if $remove; then
        say "what they had set stays until the next boot, or until it is set otherwise"
    elif ! $dry_run; then
        say "settings hold from the next boot on (now: sysctl --system), limits from the next login on"
    fi
    return "$failed"
}

case $verb in
    check) ask || exit $? ;;
    apply) take_turns && apply ;;
    undo) take_turns && undo ;;
    persist) persist ;;
esac
