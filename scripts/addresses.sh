#!/usr/bin/env bash
# Gives this machine source addresses for a client with more connections than one address has ports,
# and takes them away.
#
#   ./scripts/addresses.sh add PREFIX...             take all addresses of a prefix for our own: one local
#                                                    route (AnyIP), however many they are
#   ./scripts/addresses.sh add --dev NAME ADDRESS... an alias each on that interface: an address or a range
#                                                    a-b of IPv4, for networks that ask for it by ARP
#   ./scripts/addresses.sh remove [PREFIX|ADDRESS...]  take those away, or all that this script has added
#   ./scripts/addresses.sh list                      what this script has added, in the client's --source-ip form
#
#   --dry-run   only print the commands
#
# What it has added is marked in the kernel's own tables (routes of protocol 199, labels NAME:c1k), so
# nothing has to be remembered: it may be started twice or killed half-way, and the next boot takes all
# of it away. Other hosts need a way back: a route to the prefix by this machine, or the same network.
# Needs root, except for list, and ip of iproute2. Exit code: 0, 1 if something failed, 2 wrong usage.
set -euo pipefail

protocol=199 suffix=c1k aliases_max=4096
say() { echo "addresses: $*" >&2 || true; }
die() { say "${@:2}"; exit "$1"; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

verb=${1-}
case $verb in
    add | remove | list) shift ;;
    -h | --help) usage && exit 0 ;;
    '') usage >&2 && exit 2 ;;
    *) die 2 "'$verb' is not known: give add, remove or list (--help says what they do)" ;;
esac
device='' dry_run=false given=()
while (($#)); do
    case $1 in
        --dev) (($# >= 2)) || die 2 "--dev needs the name of an interface" && device=$2 && shift ;;
        --dry-run) dry_run=true ;;
        -h | --help) usage && exit 0 ;;
        -*) die 2 "unknown option '$1' (--help lists the options)" ;;
        *) given+=("$1") ;;
    esac
    shift
done
command -v ip >/dev/null || die 1 "ip is missing: install iproute2"

# Changes something, or says what it would: change COMMAND...
change() {
    if $dry_run; then
        echo "$*"
    elif ((EUID != 0)); then
        die 1 "that needs root: sudo $0 $verb ..."
    else
        "$@" || die 1 "failed: $*"
    fi
}
family() { if [[ $1 == *:* ]]; then echo -6; else echo -4; fi; }

# What we have added: prefixes with a local route, and aliases as ADDRESS DEVICE.
our_routes() {
    local family
    for family in -4 -6; do
        ip "$family" route show table local proto "$protocol" 2>/dev/null |
            awk '$1 == "local" { print $2 }'
    done
}
our_aliases() {
    ip -o -4 address show 2>/dev/null | awk -v label=":$suffix" '
        { sub(/\\.*/, ""); for (i = 1; i <= NF; i++) if (substr($i, length($i) - length(label) + 1) == label) {
            split($4, address, "/"); print address[1], $2; break } }'
}

# A local route makes all of its prefix this machine's own: not what others have, nor our own network.
is_free() {
    local prefix=$1 family others
    family=$(family "$prefix")
    case $prefix in
        */[0-7]) die 2 "$prefix: that would take half the world for this machine's own: choose a smaller prefix" ;;
        127.*) die 2 "$prefix: all of 127.0.0.0/8 is this machine's own already" ;;
    esac
    others=$({ ip "$family" route show table all root "$prefix" &&
        ip "$family" route show table all match "$prefix"; } |
        grep -v "proto $protocol" | grep -v '^default' | grep -v 'dev lo .*table local' |
        grep -v '^multicast\|^ff00\|^anycast' || true)
    if [[ -n $others ]]; then
        die 2 "$prefix: there are routes in it or around it already (${others%%$'\n'*}): choose another prefix, or single addresses with --dev"
    fi
}
add_route() {
    local prefix=$1
    if [[ ! $prefix =~ ^[0-9a-fA-F.:]+(/[0-9]+)?$ ]]; then
        die 2 "'$prefix' is no prefix: write it like 10.99.0.0/24"
    fi
    if [[ $'\n'$(our_routes)$'\n' == *$'\n'"${prefix%/32}"$'\n'* ]]; then
        say "$prefix: there already"
        return
    fi
    is_free "$prefix"
    change ip "$(family "$prefix")" route add local "$prefix" dev lo table local proto "$protocol"
}

number() { local a b c d && IFS=. read -r a b c d <<<"$1" && echo $(((a << 24) + (b << 16) + (c << 8) + d)); }
dotted() { echo "$(($1 >> 24)).$(($1 >> 16 & 255)).$(($1 >> 8 & 255)).$(($1 & 255))"; }
add_aliases() {
    local first=${1%-*} last=${1#*-} n end ours
    if [[ ! $first$last =~ ^[0-9.]+$ ]]; then die 2 "'$1' is no IPv4 address or range a-b"; fi
    # An interface's name and the mark share 15 bytes (IFNAMSIZ).
    if ((${#device} + ${#suffix} + 1 > 15)); then die 2 "the name of $device is too long for a label"; fi
    n=$(number "$first") end=$(number "$last")
    if ((end < n || end - n >= aliases_max)); then
        die 2 "$1: give at most $aliases_max addresses, the lowest first; a prefix needs no --dev"
    fi
    ours=$(our_aliases)
    for ((; n <= end; n++)); do
        if [[ $'\n'$ours$'\n' == *$'\n'"$(dotted "$n") $device"$'\n'* ]]; then continue; fi
        change ip address add "$(dotted "$n")/32" dev "$device" label "$device:$suffix"
    done
}

remove() {
    local prefix address interface wanted
    # Compared as `our_...` prints them.
    wanted=" ${given[*]} "
    while read -r prefix; do
        if [[ -z $prefix ]] || ((${#given[@]} > 0)) && [[ $wanted != *" $prefix "* && $wanted != *" $prefix/32 "* ]]; then continue; fi
        change ip "$(family "$prefix")" route del local "$prefix" dev lo table local proto "$protocol"
    done < <(our_routes)
    while read -r address interface; do
        if [[ -z $address ]] || ((${#given[@]} > 0)) && [[ $wanted != *" $address "* ]]; then continue; fi
        change ip address del "$address/32" dev "$interface"
    done < <(our_aliases)
}

case $verb in
    add)
        ((${#given[@]} > 0)) || die 2 "name a prefix such as 10.99.0.0/24 (or --dev NAME and addresses)"
        for item in "${given[@]}"; do
            if [[ -n $device ]]; then add_aliases "$item"; else add_route "$item"; fi
        done
        ;;
    remove) remove ;;
    list) our_routes && our_aliases | cut -d ' ' -f 1 ;;
esac
