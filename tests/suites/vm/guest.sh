# Runs one stage of a scenario in the machine, once it is up. Each check is told
# in a line on the second serial port; what is printed goes to the console.
# Stages have: `is`, `check`, `runs`, `note`, `own`, `networked`, and
#   now     the moment from which --cut counts
#   ENDING  how the machine ends: reboot, poweroff
# shellcheck shell=bash
# shellcheck disable=SC2034 # for the scenarios
export LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
MOUNT=/proc/sys/fs/binfmt_misc
CONF=/etc/binfmt.d/zz-binfmtctl.conf
STORE=/opt/binfmtctl
VM=/run/vm
PAYLOAD=/run/payload
ENDING=poweroff

tell() { echo "vm: $*" >/dev/ttyS1; }

note() { tell "note $*"; }

now() { tell "now"; }

# is NAME WANTED GOT
is() {
    if [ "$2" = "$3" ]; then
        tell "ok $1"
    else
        tell "FAIL $1: wanted '${2//$'\n'/ }', got '${3//$'\n'/ }'"
    fi
}

# check NAME COMMAND...: passes when the command does.
check() {
    local name=$1 output status=0
    shift
    output=$("$@" 2>&1) || status=$?
    if [ $status -eq 0 ]; then
        tell "ok $name"
    else
        tell "FAIL $name: exit $status of $*: $(tail -n 3 <<<"$output" | tr '\n' ' ')"
        printf '%s\n' "$output"
    fi
}

# exits NAME STATUS COMMAND...
exits() {
    local name=$1 wanted=$2 output status=0
    shift 2
    output=$("$@" 2>&1) || status=$?
    if [ $status -eq "$wanted" ]; then
        tell "ok $name"
    else
        tell "FAIL $name: exit $status, not $wanted, of $*: $(tail -n 3 <<<"$output" | tr '\n' ' ')"
        printf '%s\n' "$output"
    fi
}

not() { ! "$@"; }

# machine_of ARCH: what `uname -m` says there.
machine_of() {
    case $1 in
    arm64) echo aarch64 ;;
    armhf) echo armv7l ;;
    ppc64el) echo ppc64le ;;
    *) echo "$1" ;;
    esac
}

# in_empty_root ARCH: what a foreign program says that is all there is.
in_empty_root() {
    mkdir -p /run/empty
    cp "$VM/foreign/$1" /run/empty/busybox
    timeout 60 chroot /run/empty /busybox uname -m 2>/dev/null
}

# runs NAME ARCH...
runs() {
    local name=$1 arch wanted="" got=""
    shift
    for arch; do
        wanted+="$(machine_of "$arch") "
        got+="$(in_empty_root "$arch") "
    done
    is "$name: $* run in an empty root" "$wanted" "$got"
}

# runs_not NAME ARCH
runs_not() { is "$1: $2 doesn't run" "" "$(in_empty_root "$2")"; }

# own: the program is on the machine from now on.
own() { install -m 0755 "$VM/binfmtctl" /usr/bin/binfmtctl; }

# own_unit: and the unit.
own_unit() {
    install -m 0644 "$VM/packaging/systemd/binfmtctl.service" /etc/systemd/system/
    systemctl daemon-reload
    systemctl enable binfmtctl.service
}

# rules [PATTERN]: names of what is registered.
rules() { find "$MOUNT" -mindepth 1 -name "${1:-*}" ! -name register ! -name status -printf '%f\n' 2>/dev/null | sort; }

# failed_units: names; empty where all is well.
failed_units() { systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1; }

# networked: the network card has an address, 10.0.2.15.
networked() {
    mkdir -p /run/systemd/network
    printf '[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n' >/run/systemd/network/vm.network
    systemctl start systemd-networkd.service
    local tries=0
    until grep -qE '^(eth|en)' /proc/net/route || [ $tries -ge 100 ]; do
        sleep 0.2
        tries=$((tries + 1))
    done
}

# up: when the init system has nothing left to do.
up() {
    if [ -d /run/systemd/system ] && [ -d /run/systemd/units ]; then
        timeout 200 systemctl is-system-running --wait >/dev/null
    fi
}

# payload: of this boot, if it has one.
payload() {
    local disk
    for disk in /sys/block/vd*; do
        [ "$(cat "$disk/serial")" = payload ] || continue
        mkdir -p $PAYLOAD
        mount -o ro "/dev/${disk##*/}" $PAYLOAD
    done
}

main() {
    up
    payload
    # shellcheck source=/dev/null
    . $VM/scenario
    "guest_$(cat $VM/stage)"
    # Then nothing syncs what the stage hasn't.
    [ ! -e $VM/cut ] || sleep 1000
    cd /
    mountpoint -q $PAYLOAD && umount $PAYLOAD
    sync
    tell "end"
    if [ -e $VM/bare ]; then
        mount -o remount,ro / || sync
        echo o >/proc/sysrq-trigger
        sleep 100
    fi
    case $ENDING in
    reboot) reboot ;;
    *) poweroff ;;
    esac
}

main
