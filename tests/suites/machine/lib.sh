# Emulated machines with Debian's kernels, for what can't be done to the host: a
# root file system in memory, whose /init makes the checks and tells of each in
# a line that starts "vm: ". Sourced by tests/suites/{selinux,machine}/run.
# shellcheck shell=bash

# shellcheck source=tests/suites/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

WORK=""

# begin NAME SUITE [BINARY]: what every such suite starts with; SUITE is whose
# kernel it is.
begin() {
    local kernel
    require_root "the $1 suite"
    if [ "$(uname -m)" != x86_64 ]; then
        skip "the $1 suite" "it knows amd64 hosts only"
        close 0
    fi
    # shellcheck disable=SC2034 # for the suites
    BINARY=$(binary "${3:-}")
    WORK=$(mktemp -d "/var/tmp/binfmtctl-$1.XXXXXX")
    trap finish EXIT
    need qemu-system-x86
    kernel=$(fetch_kernel "$2")
    [ -n "$kernel" ] || die "fetch a kernel"
    dpkg-deb -x "$kernel" "$WORK/kernel"
}

finish() {
    local status=$?
    trap - EXIT
    rm -rf --one-file-system "$WORK"
    close "$status"
}

# fetch_kernel SUITE: what the cloud package of a release stands for.
fetch_kernel() {
    local meta
    meta=$(fetch "$1" amd64 linux-image-cloud-amd64)
    fetch "$1" amd64 "$(dpkg-deb -f "$meta" Depends | grep -o '^linux-image-[^ ,]*')"
}

# put FILE DIRECTORY: a program into the root, with its libraries.
put() {
    local root=$WORK/root library
    mkdir -p "$root/$2"
    cp -L "$1" "$root/$2/"
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
        mkdir -p "$root/$(dirname "$library")"
        cp -Ln "$library" "$root/$library"
    done
}

# make_base APPLET...: a root with busybox, and one for riscv64 as /foreign.
make_base() {
    local root=$WORK/root applet
    mkdir -p "$root"/{bin,proc,sys,dev,opt,tmp}
    unpack trixie amd64 "$WORK/native" busybox-static
    unpack trixie riscv64 "$WORK/riscv64" busybox-static
    cp "$WORK/native/usr/bin/busybox" "$root/bin/"
    cp "$WORK/riscv64/usr/bin/busybox" "$root/foreign"
    for applet; do
        ln -s busybox "$root/bin/$applet"
    done
    module fs/binfmt_misc
}

# module NAME: into the root, as /NAME.ko.
module() {
    local file
    file=$(compgen -G "$WORK/kernel/*lib/modules/*/kernel/$1.ko*" || compgen -G "$WORK/kernel/usr/lib/modules/*/kernel/$1.ko*")
    case $file in
    *.xz) xz -dc "$file" >"$WORK/root/$(basename "$1").ko" ;;
    *) cp "$file" "$WORK/root/" ;;
    esac
}

# boot MEGABYTES [PARAMETER...]: runs /init, and takes over what it tells. Now
# and then the emulation itself, with two threads, makes a kernel crash: then
# once more, which no fault of what is tested would survive twice.
boot() {
    local line
    (cd "$WORK/root" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null) >"$WORK/initrd"
    emulate "$@"
    if grep -q "Kernel panic" "$WORK/console"; then
        say "the emulated kernel crashed; once more:"
        grep -m 1 -A 3 -E 'BUG:|Oops|general protection' "$WORK/console" | sed 's/^/      /'
        emulate "$@"
    fi
    while read -r line; do
        case $line in
        "ok "*) pass "${line#ok }" ;;
        "FAIL "*) fail "${line#FAIL }" ;;
        esac
    done < <(sed -n 's/^vm: //p' "$WORK/console")
    grep -qx "vm: end" "$WORK/console" || fail "the machine comes to its end" "$(tail "$WORK/console")"
}

# emulate MEGABYTES [PARAMETER...]: until it powers off; its console is a file.
emulate() {
    local memory=$1
    shift
    timeout 500 qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m "$memory" -nographic \
        -no-reboot -nodefaults -serial stdio -kernel "$WORK"/kernel/boot/vmlinuz-* \
        -initrd "$WORK/initrd" -append "console=ttyS0 quiet panic=-1 $*" </dev/null |
        tr -d '\r' >"$WORK/console" || true
}
