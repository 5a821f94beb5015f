#!/usr/bin/env bash
# Functions for scripts that change settings of the machine and put them back; for sourcing.
#
# Whoever sources it has `say`, which takes a message, and names in `undo` the file in which is noted
# what a setting was, before it is changed: a line `sysctl<TAB>name<TAB>old<TAB>new` each. So whatever
# happens in between, undoing that file puts back exactly what was.

# The words of a setting with one space between them: the kernel prints tabs.
setting() { { tr -s '[:space:]' ' ' <"/proc/sys/${1//.//}" | sed 's/ $//'; } 2>/dev/null; }
write_setting() { { echo "$2" >"/proc/sys/${1//.//}"; } 2>/dev/null; }

# Why a setting cannot be written, in words: why_not NAME
why_not() {
    local file=/proc/sys/${1//.//}
    if [[ ! -e $file ]]; then
        echo "this kernel, or this network namespace, has no such setting"
    elif ((EUID != 0)); then
        echo "that needs root"
    elif grep -q ' /proc/sys [^ ]* ro[, ]' /proc/mounts; then
        echo "/proc/sys is read-only here, as in most containers: set it on the host, or start the container with it"
    elif [[ ! -w $file || $(stat -c %A "$file") != *w* ]]; then
        echo "it belongs to the whole machine: set it outside of this network namespace"
    else
        echo "the kernel does not take this value here"
    fi
}

not_set=''
# Sets NAME to VALUE and remembers in the undo file what it was, before it is changed. One that cannot
# be set is named, with the reason, and is no failure.
change_setting() {
    local name=$1 value=$2 old
    old=$(setting "$name") || old=''
    if [[ $old == "$value" ]]; then return 0; fi
    if ((EUID != 0)); then
        # Both ends may ask for the same.
        if [[ " $not_set " == *" $name=$value "* ]]; then return 0; fi
        not_set+=" $name=$value"
        say "not set, for want of privilege; as root: sysctl -w $name='$value'"
        return 0
    fi
    # shellcheck disable=SC2154 # the file is named by whoever sources this
    printf 'sysctl\t%s\t%s\t%s\n' "$name" "$old" "$value" >>"$undo"
    if write_setting "$name" "$value"; then
        say "$name: $old -> $value"
    else
        say "$name: ${old:-nothing}, and cannot be changed to $value: $(why_not "$name")"
    fi
}

# Puts back one setting, unless it is no longer what was set: restore_setting NAME OLD OURS
restore_setting() {
    local name=$1 old=$2 ours=$3 now
    now=$(setting "$name") || return 0
    if [[ $now == "$old" ]]; then return 0; fi
    if [[ $now != "$ours" ]]; then
        say "$name: somebody has set it to $now, so it is left at that (it was $old)"
    elif write_setting "$name" "$old"; then
        say "$name: $ours -> $old, as it was"
    else
        say "$name: cannot be put back; as root: sysctl -w $name='$old'"
        return 1
    fi
}

# Undoes what an undo file lists, the last first, and removes it when all is done. What is undone leaves
# the list at once: a second start does not do it again. Lines that are no settings go to `undo_other`.
undo_file() {
    local file=$1 kind a b c line failed=0
    local -a lines kept=()
    mapfile -t lines <"$file"
    while ((${#lines[@]} > 0)); do
        line=${lines[-1]}
        unset 'lines[-1]'
        IFS=$'\t' read -r kind a b c <<<"$line"
        case $kind in
            sysctl) restore_setting "$a" "$b" "$c" || { failed=1 && kept=("$line" "${kept[@]}"); } ;;
            *) undo_other "$kind" "$a" "$b" ;;
        esac
        if ((${#lines[@]} + ${#kept[@]} > 0)); then
            printf '%s\n' "${lines[@]}" "${kept[@]}" | sed '/^$/d' >"$file.new" && mv "$file.new" "$file"
        fi
    done
    if ((failed == 0)); then rm -f "$file"; fi
    return "$failed"
}

# The settings of a file of `name = value` lines, as `check --sysctl` prints them: a name, a tab and a
# value per line, the last word on each name.
settings_in() {
    sed -n 's/^\([a-z][^ =]*\) *= *\(.*\)$/\1\t\2/p' | awk -F '\t' '
        !($1 in value) { order[++count] = $1 }
        { value[$1] = $2 }
        END { for (i = 1; i <= count; i++) print order[i] "\t" value[order[i]] }'
}
