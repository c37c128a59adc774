#!/bin/bash
# Shows memtrace find a leak in a live database: builds, starts the demo database (tests/targets/lightning) under load with some of
# its bugs on, attaches memtrace to it, and holds memtrace's last report to the database's own account of what it leaked.
#
#   sudo scripts/run-demo.sh [--bugs cursor-buffer,connection] [--seconds 20] [--rate 1500] [--no-install] [--keep]
#
#   --bugs NAMES    cursor-buffer, cache-unbounded, error-path, connection
#   --seconds N     how long memtrace is attached, 6 or more
#   --rate N        requests per second
#   --no-install    do not look for missing packages
#   --keep          leave the working directory (snapshots, logs) where it is
#
# Status 0 only if the site that memtrace saw grow most is in a leaking function, and its figures agree with the account.
set -euo pipefail

bugs=cursor-buffer,connection
seconds=20
rate=1500
install=1
keep=
warm_up=3

die() {
    printf 'run-demo: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

say() {
    printf '== %s\n' "$*"
}

while (($# > 0)); do
    case $1 in
    --bugs | --seconds | --rate)
        if (($# < 2)); then die "$1 wants a value"; fi
        printf -v "${1#--}" '%s' "$2"
        shift
        ;;
    --no-install) install= ;;
    --keep) keep=1 ;;
    --help)
        usage
        exit 0
        ;;
    *) die "unknown option $1, try --help" ;;
    esac
    shift
done
[[ $seconds =~ ^([6-9]|[1-9][0-9]{1,3})$ ]] || die "--seconds wants a number from 6 to 9999"
[[ $rate =~ ^[1-9][0-9]{0,6}$ ]] || die "--rate wants a number above 0"
((EUID == 0)) || die "root is needed to attach to a process: run sudo scripts/run-demo.sh"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=.output
demo=tests/targets/lightning/demo.py

# What is built belongs to whoever owns the tree, also under sudo.
as_owner() {
    local owner
    owner=$(stat -c %U .)
    if [[ $owner == root || $owner == UNKNOWN ]]; then "$@"; else runuser -u "$owner" -- "$@"; fi
}

build() {
    if [[ -n $install ]]; then
        say "looking for missing packages"
        scripts/install-deps.sh
    fi
    say "building memtrace and the programs it is tried on"
    as_owner make -j"$(nproc)"
    as_owner make -j"$(nproc)" targets
}

work=
clean_up() {
    local pid
    trap - EXIT INT TERM
    for pid in $(jobs -p); do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [[ -n $work && -z $keep ]]; then rm -rf "$work"; fi
}

# Starts lightningd; returns once it can be connected to.
start_server() {
    local line
    mkfifo "$work/ready"
    "$out/targets/lightningd" --db "$work/db" --socket "$work/socket" --bug "$bugs" >"$work/ready" 2>"$work/server.err" &
    server=$!
    exec {server_out}<"$work/ready"
    read -r -t 20 line <&"$server_out" || die "lightningd did not start: $(cat "$work/server.err")"
    say "$line, bugs on: $bugs"
}

start_load() {
    "$out/targets/lightning-load" --socket "$work/socket" --connections 4 --seconds $((warm_up + seconds + 60)) --rate "$rate" \
        --mix get=50,put=32,delete=2,scan=8,bad=8 --reconnect 40 --forget 30 --keys 200000 >"$work/load.log" 2>&1 &
    load=$!
    /usr/bin/python3 "$demo" watch "$work/socket" "$work/truth" &
    say "load of $rate requests/s on 4 connections, $warm_up s of it before anybody looks"
    sleep "$warm_up"
}

trace() {
    local interval=$((seconds >= 15 ? 5 : seconds / 3)) status=0
    say "memtrace --pid $server --sample exact --interval ${interval}s --duration ${seconds}s"
    timeout --foreground -s INT -k 10 $((seconds + 30)) "$out/memtrace" --pid "$server" --sample exact --interval "${interval}s" \
        --duration "${seconds}s" --snapshot-dir "$work/snapshots" --snapshot-format json --snapshot-interval "${interval}s" \
        >"$work/memtrace.log" 2>&1 || status=$?
    if ((status != 0)); then die "memtrace ended with status $status: $(tail -n 5 "$work/memtrace.log")"; fi
    kill -0 "$server" 2>/dev/null || die "the database did not survive: $(cat "$work/server.err")"
    kill -0 "$load" 2>/dev/null || die "the load ended early: $(cat "$work/load.log")"
}

# Ends the load, then the server; shows what each has to say.
show_truth() {
    kill "$load"
    wait "$load" || true
    say "the load meanwhile"
    cat "$work/load.log"
    kill -TERM "$server"
    say "the truth: what the database itself says that it leaked since its start (bug, function, bytes, count)"
    grep '^leak' <&"$server_out"
}

build
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d -t memtrace-demo.XXXXXX)
mkdir "$work/snapshots"
start_server
start_load
trace
say "memtrace's last report"
"$out/memtrace" report "$(/usr/bin/python3 "$demo" last "$work/snapshots")" --format text
show_truth
if [[ -n $keep ]]; then say "kept: $work"; fi
say "memtrace beside the truth"
/usr/bin/python3 "$demo" verdict "$work/snapshots" "$work/truth"
