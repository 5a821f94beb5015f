# shellcheck shell=bash
# What the scripts with peers share: a work folder, what was started and how it ends, what is installed.
# Sourced, not run, in the project's folder, by a script that has set `name`, the first word of its messages.
#
# Sets: target, programs (PROGRAMS, or those of a release build), peers (where packages are put; PEERS is its
# full path), python (that of the virtual environment), work (removed at the end; others may read it: nginx's
# worker is another user), pids (of all that is ended with the script).

# shellcheck disable=SC2034 # what is set here is for the scripts
: "${name:?a script sets it}"
target=${CARGO_TARGET_DIR:-target}
programs=${PROGRAMS:-$target/release}
peers=$target/peers
mkdir -p "$peers"
PEERS=$(realpath "$peers")
export PEERS
python=$PEERS/venv/bin/python
work=$(mktemp -d)
chmod 755 "$work"
pids=()

fail() {
    echo "$name: $*" >&2
    tail -n 20 "$work"/*.log >&2 || true
    exit 1
}
clean_up() {
    local pid
    for pid in "${pids[@]}"; do
        if kill "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || true; fi
    done
    rm -rf "$work"
}
trap 'echo "$name: line $LINENO failed" >&2' ERR
trap clean_up EXIT
trap 'exit 130' INT TERM

# Standard input of the peers stays open as long as the script runs: they end with it.
mkfifo "$work/hold"
exec 3<>"$work/hold"

# Starts a program in the background and waits for its first line: start NAME COMMAND... The line is in
# $work/NAME.out, what it says besides in $work/NAME.log.
start() {
    local out=$work/$1.out pid _
    : >"$out"
    "${@:2}" <&3 >"$out" 2>"$work/$1.log" &
    pid=$!
    pids+=("$pid")
    for _ in {1..300}; do
        if [[ -s $out ]]; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    fail "$1 did not start"
}
# Where a service of a peer is: service PEER SERVICE
service() { sed -n "1s|.*\"$2\": *\"\([^\"]*\)\".*|\1|p" "$work/$1.out"; }

# Waits until somebody listens: listening PORT
listening() {
    local _
    for _ in {1..100}; do
        if (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.1
    done
    fail "nobody listens on port $1"
}

# Starts nginx in the foreground of a job, with one worker, and waits until it listens: nginx_at PORT <BLOCK,
# where BLOCK is what its block `http` holds.
nginx_at() {
    local part
    {
        printf 'daemon off;\nworker_processes 1;\npid %s/nginx.pid;\nerror_log %s/nginx.log;\n' "$work" "$work"
        printf 'events { worker_connections 1000; }\nhttp {\naccess_log off;\n'
        # Those of Debian belong to root.
        for part in client_body proxy fastcgi uwsgi scgi; do printf '%s_temp_path %s/%s;\n' $part "$work" $part; done
        cat
        echo '}'
    } >"$work/nginx.conf"
    nginx -c "$work/nginx.conf" 2>"$work/nginx-start.log" &
    pids+=("$!")
    listening "$1"
}

# Puts npm's `ws` among the peers.
install_ws() {
    if [[ -d $peers/node_modules/ws ]]; then return; fi
    npm install --silent --no-audit --no-fund --prefix "$peers" 'ws@^8.18' || fail "npm could not install ws"
}
# Puts a package of PyPI into the virtual environment: install_python MODULE PACKAGE
install_python() {
    if [[ ! -x $python ]]; then
        python3 -m venv "$peers/venv" || fail "python3 could not make a virtual environment"
    fi
    if ! "$python" -c "import $1" 2>/dev/null; then
        "$python" -m pip install --quiet --disable-pip-version-check "$2" || fail "pip could not install $2"
    fi
}
