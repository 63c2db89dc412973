# Whole virtual machines: a Debian of their own on a disk, with Debian's kernel,
# booted as often as it takes. Sourced by tests/suites/vm/run.
#
# A scenario is one file, scenarios/NAME, read by both sides, in bash:
#   kernels()        says which kernels it is for, the default first
#   scenario()       runs here, and has:
#     machine [PACKAGE...]       a new disk, of $KERNEL, with these packages too
#     machine_from FILE          a new disk that begins as that one, or stays
#                                what it is but for what is written from now on
#     boot STAGE [OPTION...]     boots it; guest_STAGE runs in it; powers off
#       --payload DIR            that directory, as /run/payload, for this boot
#       --disk FILE SERIAL       a further disk, /dev/disk/by-id/virtio-SERIAL
#       --network                a network card (guest: `networked`); what
#                                listens on 127.0.0.1 here is 10.0.2.2 there
#       --append PARAMETER       of the kernel, as systemd.mask=UNIT
#       --seconds N              at most (300)
#       --bare                   the stage in the place of the init system
#       --cut SECONDS            the power fails so long after the guest's `now`
#     disk FILE MEGABYTES        an empty ext4 file system, for --disk
#     packages SUITE PACKAGE...  names of .deb files: these, and what they need
#                                beyond what a machine of SUITE has
#     $SHUTDOWN                  milliseconds that the last shutdown took
#   guest_STAGE()    runs in the machine once it is up; see guest.sh
# Without root's systemd but with sysvinit-core among the packages, a machine
# has that init; what runs the stage there is scenarios' own (see `init_files`).
# shellcheck shell=bash

# shellcheck source=tests/suites/emulated.sh
. "$(dirname "${BASH_SOURCE[0]}")/../emulated.sh"

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
ROOTS=$CACHE/vm
FILES=0
DISK=""     # of the machine at hand
KERNEL=""   # whose kernel: bookworm, trixie, sid
SCENARIO="" # its name
SHUTDOWN=0
declare -A RELEASES=() # of kernels, by suite
TAIL=40

# Debian's names for what foreign programs there are.
FOREIGN=(arm64 armhf ppc64el riscv64 s390x)
BASE=(udev kmod dbus)

# begin [BINARY]
begin() {
    local arch
    make_work vm
    BINARY=$(binary "${1:-}")
    need qemu-system-x86 qemu-utils debootstrap e2fsprogs kmod xz-utils
    mkdir -p "$ROOTS" "$WORK/kernel" "$WORK/common/bin" "$WORK/common/vm/foreign"
    unpack trixie amd64 "$WORK/native" busybox-static
    cp "$WORK/native/usr/bin/busybox" "$WORK/common/bin/"
    ln -s busybox "$WORK/common/bin/sh"
    for arch in "${FOREIGN[@]}"; do
        unpack trixie "$arch" "$WORK/foreign/$arch" busybox-static
        cp "$WORK/foreign/$arch/usr/bin/busybox" "$WORK/common/vm/foreign/$arch"
    done
    cp "$BINARY" "$WORK/common/vm/binfmtctl"
    cp "$HERE/guest.sh" "$WORK/common/vm/"
    cp "$HERE/initial" "$WORK/common/init"
    cp -r "$REPOSITORY/packaging" "$WORK/common/vm/"
}

### The disk

# userland KERNEL: whose packages the machine with that kernel has.
userland() {
    case $1 in
    sid) say trixie ;; # the kernel alone is newer
    *) say "$1" ;;
    esac
}

# key WORD...: stands for them in a file name.
key() { printf '%s\n' "$@" | sort -u | sha256sum | cut -c 1-12; }

# release SUITE: unpacks its kernel and says its release.
release() {
    if [ -z "${RELEASES[$1]:-}" ]; then
        mkdir "$WORK/kernel/$1"
        unpack_kernel "$1" "$WORK/kernel/$1" || die "fetch a kernel of $1"
        # One place for the modules, as a root of today has it.
        if [ -d "$WORK/kernel/$1/lib" ]; then
            mkdir -p "$WORK/kernel/$1/usr"
            mv "$WORK/kernel/$1/lib" "$WORK/kernel/$1/usr/"
        fi
        RELEASES[$1]=$(ls "$WORK/kernel/$1/usr/lib/modules")
        mv "$(find "$WORK/kernel/$1" -name 'vmlinuz*')" "$WORK/kernel/$1/vmlinuz"
        ln -s usr/lib "$WORK/kernel/$1/lib"
        depmod -b "$WORK/kernel/$1" "${RELEASES[$1]}"
    fi
}

# in_cache FILE COMMAND...: makes FILE by `COMMAND... TEMPORARY` where it isn't
# there yet, also beside another run of this suite.
in_cache() {
    local file=$1
    shift
    [ ! -e "$file" ] || return 0
    say "making ${file##*/}"
    (
        flock 9
        [ ! -e "$file" ] || exit 0
        rm -rf --one-file-system "$file.new"
        "$@" "$file.new" && mv "$file.new" "$file"
    ) 9>"$file.lock" >"$LOG" 2>&1 || die "make ${file##*/}" "$(tail "$LOG")"
}

# root_file SUITE PACKAGE...: where the archive of that root is.
root_file() {
    local suite=$1 init=systemd-sysv
    shift
    case " $* " in *" sysvinit-core "*) init=sysvinit-core ;; esac
    say "$ROOTS/root-$suite-$(key "${BASE[@]}" "$init" "$@").tar"
}

# make_root SUITE INCLUDE FILE
make_root() {
    local root=$WORK/root archive
    archive=$(debian_archive)
    [ -n "$archive" ] || return
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase --include="$2" "$1" "$root" "$archive" || return
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root/etc/apt/sources.list" \
        "$root/var/log/bootstrap.log"
    tar -C "$root" --numeric-owner --xattrs -cf "$3" .
    rm -rf --one-file-system "$root"
}

# make_image ROOT KERNEL FILE: sparse.
make_image() {
    local root=$WORK/root
    rm -rf --one-file-system "$root"
    mkdir "$root"
    tar -C "$root" --numeric-owner --xattrs -xpf "$1" || return
    cp -a "$WORK/kernel/$2/usr/lib/modules" "$root/usr/lib/" || return
    say vm >"$root/etc/hostname"
    say 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
    mkdir -p "$root/var/log/journal"
    disk "$3" 4096 "$root" || return
    rm -rf --one-file-system "$root"
}

# disk FILE MEGABYTES [DIRECTORY]: an ext4 file system with that content.
disk() {
    rm -f "$1"
    mkfs.ext4 -q -m 0 ${3:+-d "$3"} "$1" "$2M" >/dev/null
}

machine() {
    local suite include=systemd-sysv root image
    suite=$(userland "$KERNEL")
    release "$KERNEL"
    case " $* " in *" sysvinit-core "*) include=sysvinit-core ;; esac
    include=$(printf ',%s' "${BASE[@]}" "$include" "$@")
    root=$(root_file "$suite" "$@")
    in_cache "$root" make_root "$suite" "${include#,}"
    image=${root/root-/image-}
    image=${image%.tar}-${RELEASES[$KERNEL]}.img
    in_cache "$image" make_image "$root" "$KERNEL"
    machine_from "$image"
}

machine_from() {
    local format=qcow2
    case $1 in *.img) format=raw ;; esac
    DISK=$WORK/disk-$((FILES++)).qcow2
    qemu-img create -q -f qcow2 -b "$1" -F $format "$DISK"
}

packages() {
    local suite=$1 root dir conf status
    shift
    dir=$ROOTS/debs-$suite-$(key "$@")
    if [ ! -e "$dir/list" ]; then
        root=$(root_file "$suite")
        in_cache "$root" make_root "$suite" "$(paste -sd , < <(printf '%s\n' "${BASE[@]}" systemd-sysv))"
        conf=$(apt_root "$suite" amd64)
        mkdir -p "$dir"
        status=$dir/status
        tar -xOf "$root" ./var/lib/dpkg/status >"$status"
        APT_CONFIG=$conf apt-get -qq update >&2 || return
        touch "$conf.updated"
        (cd "$dir" && APT_CONFIG=$conf apt-get -qq -o Dir::State::status="$status" \
            --no-install-recommends --print-uris install "$@" | sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p" >names &&
            APT_CONFIG=$conf xargs apt-get -qq download <names >&2 && find "$PWD" -name '*.deb' >list.new &&
            mv list.new list) || return
    fi
    cat "$dir/list"
}

### The boot

# initial_root STAGE [bare] [cut]: the modules that reach the disk, the scenario,
# the stage, and what it is told of this boot.
initial_root() {
    local dir=$WORK/initial file count=10
    rm -rf "$dir"
    cp -a "$WORK/common" "$dir"
    mkdir "$dir/modules"
    for file in $(modprobe -d "$WORK/kernel/$KERNEL" -S "${RELEASES[$KERNEL]}" \
        -D -a virtio_pci virtio_blk ext4 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'); do
        uncompressed "$file" "$dir/modules"
        count=$((count + 1))
        file=$(basename "${file%.xz}")
        mv "$dir/modules/$file" "$dir/modules/$count-$file"
    done
    cp "$HERE/scenarios/$SCENARIO" "$dir/vm/scenario"
    say "$1" >"$dir/vm/stage"
    shift
    for file; do touch "$dir/vm/$file"; done
    pack "$dir" >"$WORK/initrd"
}

# drive FILE SERIAL [FORMAT]: options for qemu, as lines.
drive() {
    printf '%s\n' -drive "file=$1,format=${3:-raw},if=none,id=$2,cache=writeback,discard=unmap" \
        -device "virtio-blk-pci,drive=$2,serial=$2"
}

boot() {
    local stage=$1 seconds=300 cut="" bare="" append="" options=() title more
    shift
    title="$SCENARIO, $KERNEL, $stage: "
    mapfile -t options < <(drive "$DISK" root qcow2)
    while [ $# -gt 0 ]; do
        case $1 in
        --payload)
            more=$WORK/payload-$((FILES++)).img
            disk "$more" $(($(du -sm "$2" | cut -f 1) * 11 / 10 + 16)) "$2"
            mapfile -t more < <(drive "$more" payload)
            options+=("${more[@]}")
            shift 2
            ;;
        --disk)
            mapfile -t more < <(drive "$2" "$3")
            options+=("${more[@]}")
            shift 3
            ;;
        --network)
            options+=(-netdev "user,id=net" -device "virtio-net-pci,netdev=net,romfile=")
            shift
            ;;
        --bare) bare=1 && shift ;;
        --append) append+=" $2" && shift 2 ;;
        --seconds) seconds=$2 && shift 2 ;;
        --cut) cut=$2 && shift 2 ;;
        *) die "$title$1 is no option" ;;
        esac
    done
    initial_root "$stage" ${bare:+bare} ${cut:+cut}
    options+=(-m 1024 -kernel "$WORK/kernel/$KERNEL/vmlinuz" -initrd "$WORK/initrd"
        -append "console=ttyS0 panic=-1 no_timer_check systemd.show_status=1$append"
        -serial "file:$WORK/console" -serial "file:$WORK/told")
    say "-- ${title%: }${cut:+, cut after $cut s}"
    cp --reflink=auto "$DISK" "$WORK/before"
    if [ -n "$cut" ]; then
        if ! cut_off "$seconds" "$cut" "${options[@]}"; then
            crashed "$WORK/console" || stuck || die "${title}it comes to the point" "$(tail -n "$TAIL" "$WORK/console")"
            mv "$WORK/before" "$DISK"
            cut_off "$seconds" "$cut" "${options[@]}" ||
                die "${title}it comes to the point" "$(tail -n "$TAIL" "$WORK/console")"
        fi
        rm -f "$WORK/before"
        return
    fi
    play "$seconds" "${options[@]}"
    if crashed "$WORK/console" || stuck; then
        mv "$WORK/before" "$DISK"
        play "$seconds" "${options[@]}"
    fi
    rm -f "$WORK/before"
    take_over "$WORK/told" "$WORK/console" "$title"
    hurt
}

# stuck: the emulated processor has missed that code was changed while it ran,
# and the machine never came to its end.
stuck() {
    ! grep -q '^vm: end' "$WORK/told" && grep -q 'soft lockup' "$WORK/console" || return 1
    say "the emulated processor is stuck; once more:"
    grep -m 1 'soft lockup' "$WORK/console" | sed 's/^/      /'
}

# play SECONDS OPTION...
play() {
    rm -f "$WORK/told" "$WORK/console"
    touch "$WORK/told" "$WORK/console"
    emulate "$@" >"$LOG" 2>&1 || true
    # shellcheck disable=SC2034 # for the scenarios
    SHUTDOWN=$(($(date +%s%3N) - $(date -r "$WORK/told" +%s%3N)))
    sed -i 's/\r$//' "$WORK/told" "$WORK/console"
}

# The marks of an unclean end, on the console; a scenario may say which one is
# TOLERATED, and is told of it.
hurt() {
    local found
    found=$(grep -aE 'Failed unmounting|Failed to unmount|Unable to finalize|Timed out waiting|Job .* timed out|A stop job is running' "$WORK/console" |
        tr -d '\033' | sed 's/\[[0-9;]*m//g' || true)
    if [ -n "${TOLERATED:-}" ] && grep -q "$TOLERATED" <<<"$found"; then
        say "      $(grep -m 1 "$TOLERATED" <<<"$found")"
        found=$(grep -v "$TOLERATED" <<<"$found" || true)
    fi
    [ -z "$found" ] || fail "${title}nothing is held up" "$(head -n 3 <<<"$found")"
}

# cut_off SECONDS AFTER OPTION...: fails where the machine doesn't come so far.
cut_off() {
    local pid deadline=$((SECONDS + $1)) after=$2
    shift 2
    rm -f "$WORK/told" "$WORK/console"
    qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -nographic -no-reboot -nodefaults "$@" \
        </dev/null >"$LOG" 2>&1 &
    pid=$!
    until grep -qs "^vm: now" "$WORK/told"; do
        if [ $SECONDS -ge $deadline ] || ! kill -0 "$pid" 2>/dev/null; then
            kill -9 "$pid" 2>/dev/null || true
            wait "$pid" 2>/dev/null || true
            return 1
        fi
        sleep 0.1
    done
    sleep "$after"
    kill -9 "$pid" || fail "${title}the machine was still on"
    wait "$pid" 2>/dev/null || true
}
