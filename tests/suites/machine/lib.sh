# Emulated machines with a root file system in memory, whose /init makes the
# checks and tells of each in a line that starts "vm: ". Sourced by
# tests/suites/{selinux,machine}/run.
# shellcheck shell=bash

# shellcheck source=tests/suites/emulated.sh
. "$(dirname "${BASH_SOURCE[0]}")/../emulated.sh"

# begin NAME SUITE [BINARY]: what every such suite starts with; SUITE is whose
# kernel it is.
begin() {
    make_work "$1"
    # shellcheck disable=SC2034 # for the suites
    BINARY=$(binary "${3:-}")
    need qemu-system-x86
    unpack_kernel "$2" "$WORK/kernel" || die "fetch a kernel"
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
    uncompressed "$file" "$WORK/root"
}

# boot MEGABYTES [PARAMETER...]: runs /init, and takes over what it tells.
boot() {
    pack "$WORK/root" >"$WORK/initrd"
    play "$@"
    ! crashed "$WORK/console" || play "$@"
    take_over "$WORK/console" "$WORK/console"
}

# play MEGABYTES [PARAMETER...]: once; the machine's console is a file.
play() {
    local memory=$1
    shift
    emulate 500 -m "$memory" -serial stdio -kernel "$WORK"/kernel/boot/vmlinuz-* \
        -initrd "$WORK/initrd" -append "console=ttyS0 quiet panic=-1 no_timer_check $*" |
        tr -d '\r' >"$WORK/console" || true
}
