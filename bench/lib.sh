# What bench/run and bench/profile share: what a measurement needs, and that
# nothing of it stays. Sourced by both.
# shellcheck shell=bash

# shellcheck source=tests/suites/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/suites/lib.sh"

WORK="" CHILD=""
# shellcheck disable=SC2034 # for those who source this
SUITE=$REPOSITORY/bench/suite
# Ends with whoever started it, however that ends.
BOUND=(setpriv --pdeathsig KILL)
# The instance of binfmt_misc is this user namespace's own; all processes in there
# end with the first.
NAMESPACES=("${BOUND[@]}" unshare -Urmpf --mount-proc --kill-child)
TOOLS=()

usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}

# wrong STATUS WHY...
wrong() {
    local status=$1
    shift
    say "bench/${0##*/}: $*" >&2
    exit "$status"
}

finish() {
    local status=$?
    trap - EXIT
    if [ -n "$CHILD" ]; then
        kill -KILL "$CHILD" 2>/dev/null || true
        wait "$CHILD" 2>/dev/null || true
    fi
    [ -z "$WORK" ] || rm -rf --one-file-system "$WORK"
    rm -f "$LOG"
    exit "$status"
}

set_traps() {
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    exec </dev/null
}

# program FILE [OPTION]: an absolute path of it.
program() {
    if [ ! -f "$1" ] || [ ! -x "$1" ]; then
        wrong 2 "${2:+$2 }$1: there is no such program"
    fi
    realpath "$1"
}

# What can't be measured without.
able() {
    [ "$(id -u)" -eq 0 ] || wrong 1 "needs root, to install what it measures with"
    [ "$(dpkg --print-architecture)" = amd64 ] || wrong 1 "it knows amd64 hosts only"
    "${NAMESPACES[@]}" true 2>"$LOG" ||
        wrong 1 "this host gives no user namespaces ($(head -n 1 "$LOG")); see sysctl user.max_user_namespaces"
    "${NAMESPACES[@]}" mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>"$LOG" ||
        wrong 1 "a user namespace has no binfmt_misc of its own here; that takes Linux 6.7 or later," \
            "this is $(uname -r) ($(head -n 1 "$LOG"))"
}

# make_work: the directory, on a disk.
make_work() {
    local type
    WORK=$(mktemp -d /var/tmp/binfmtctl-bench.XXXXXX)
    type=$(findmnt -n -o FSTYPE -T "$WORK")
    case $type in
    tmpfs | ramfs | overlay) wrong 1 "/var/tmp is on no disk ($type)" ;;
    esac
}

# prepare BINARY: everything that is measured, as options for the suite.
prepare() {
    local package rules
    need python3 curl dpkg tar xz-utils coreutils time strace util-linux systemd
    package=$(fetch trixie amd64 qemu-user) || wrong 1 "cannot get qemu-user"
    rules=$(fetch trixie amd64 qemu-user-binfmt) || wrong 1 "cannot get qemu-user-binfmt"
    make_work
    unpack trixie arm64 "$WORK/foreign" busybox-static
    # shellcheck disable=SC2034
    TOOLS=(--binary "$1" --package "$package" --rules-package "$rules"
        --foreign "$WORK/foreign/usr/bin/busybox"
        --systemd-binfmt /usr/lib/systemd/systemd-binfmt --work "$WORK")
}

# child COMMAND...: which ends when this does.
child() {
    local status=0
    "${BOUND[@]}" "$@" &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=""
    return "$status"
}
