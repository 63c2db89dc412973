# Emulated machines with Debian's kernels, for what can't be done to the host:
# the kernel, the emulation, and taking over what the machine tells, which are
# lines that start "vm: ". Sourced by tests/suites/{machine,vm}/lib.sh.
# shellcheck shell=bash

# shellcheck source=tests/suites/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WORK=""

# make_work NAME: the directory that goes when the suite ends.
make_work() {
    require_root "the $1 suite"
    if [ "$(uname -m)" != x86_64 ]; then
        skip "the $1 suite" "it knows amd64 hosts only"
        close 0
    fi
    WORK=$(mktemp -d "/var/tmp/binfmtctl-$1.XXXXXX")
    trap finish EXIT
}

finish() {
    local status=$?
    trap - EXIT
    rm -rf --one-file-system "$WORK"
    close "$status"
}

# unpack_kernel SUITE DIRECTORY: what the cloud package of a release stands for,
# in one package, or from 7.2 on in those that the image's package names.
unpack_kernel() {
    local suite=$1 dir=$2 image package
    depends() { dpkg-deb -f "$1" Depends | grep -oE "\\b$2-[0-9][^ ,]*"; }
    image=$(fetch "$suite" amd64 linux-image-cloud-amd64) || return
    image=$(fetch "$suite" amd64 "$(depends "$image" linux-image)") || return
    dpkg-deb -x "$image" "$dir" || return
    for package in $(depends "$image" 'linux-(base|binary|modules)' || true); do
        image=$(fetch "$suite" amd64 "$package") || return
        dpkg-deb -x "$image" "$dir" || return
    done
}

# uncompressed FILE DIRECTORY: a kernel module, as insmod of busybox wants it.
uncompressed() {
    case $1 in
    *.xz) xz -dc "$1" >"$2/$(basename "$1" .xz)" ;;
    *) cp "$1" "$2/" ;;
    esac
}

# pack DIRECTORY: an initial root for the kernel, which has busybox in /bin.
pack() { (cd "$1" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null); }

# emulate SECONDS OPTION...: until the machine powers off.
emulate() {
    local seconds=$1
    shift
    timeout "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -nographic \
        -no-reboot -nodefaults "$@" </dev/null
}

# crashed CONSOLE: whether the emulation itself, with two threads, made the
# kernel crash, which happens now and then. No fault of what is tested would
# do so twice.
crashed() {
    grep -q "Kernel panic" "$1" || return
    say "the emulated kernel crashed; once more:"
    grep -m 1 -A 3 -E 'BUG:|Oops|general protection' "$1" | sed 's/^/      /'
}

# take_over TOLD CONSOLE [PREFIX]: what the machine told counts as checks.
take_over() {
    local line
    while read -r line; do
        case $line in
        "ok "*) pass "${3:-}${line#ok }" ;;
        "FAIL "*) fail "${3:-}${line#FAIL }" ;;
        "note "*) say "      ${line#note }" ;;
        esac
    done < <(sed -n 's/^vm: //p' "$1")
    grep -qx "vm: end" "$1" || fail "${3:-}the machine comes to its end" "$(tail -n "${TAIL:-10}" "$2")"
}
