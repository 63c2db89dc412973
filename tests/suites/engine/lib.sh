# Engines for the suites that need one: Docker's, of their own, on the host's
# binfmt_misc; what they run and build; and putting the host back. Sourced by
# tests/suites/{engine,drop-in,how-to}/run, which define `clean_host`.
# shellcheck shell=bash

# shellcheck source=tests/suites/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/suites/image.sh
. "$(dirname "${BASH_SOURCE[0]}")/../image.sh"

MOUNT=/proc/sys/fs/binfmt_misc
STORE=/opt/binfmtctl
CONF=/etc/binfmt.d/zz-binfmtctl.conf
# platform, what `uname -m` says there, Debian's name
PLATFORMS=(
    "linux/arm64 aarch64 arm64"
    "linux/arm/v7 armv7l armhf"
    "linux/riscv64 riscv64 riscv64"
    "linux/s390x s390x s390x"
    "linux/ppc64le ppc64le ppc64el"
)
WORK=""
DOCKER=/usr/bin/docker
ENGINE=""   # pids of the running engine
OPTIONS=()  # further ones for dockerd
NETWORK=()  # enters the network namespace of engine and registry, if they have one
NETWORKED="" # pid of what holds that
REGISTRY="" # pid of the registry
AT=""       # where it is
STATUS=0    # how what `container` and `action` ran came out
TOUCHED=""  # set once the host may have changed

### The host

# begin NAME [BINARY]: what every suite starts with. Fails where the host can't
# be used, which has been said then.
begin() {
    local name=$1 reason
    exec 3>&1
    require_root "the $name suite"
    BINARY=$(binary "${2:-}")
    WORK=$(mktemp -d "/var/tmp/binfmtctl-$name.XXXXXX")
    trap put_back EXIT
    need docker.io iptables jq
    make_context
    reason=$(unfit)
    if [ -n "$reason" ]; then
        skip "the $name suite" "$(paste -sd ';' <<<"$reason")"
        return 1
    fi
    if mounted; then touch "$WORK/mounted"; fi
    snapshot >"$WORK/before"
}

mounted() { grep -qs " $MOUNT .* - binfmt_misc " /proc/self/mountinfo; }

# Everything that the program under test could change, as text; but for the
# mount itself, which it leaves behind where it had to make it.
snapshot() {
    local entry tree
    for entry in "$MOUNT"/*; do
        case $entry in
        */register | *'/*') continue ;;
        */status) [ -e "$WORK/mounted" ] || continue ;;
        esac
        say "$entry"
        cat "$entry"
    done
    for tree in /opt /etc/binfmt.d /etc/docker; do
        [ ! -d "$tree" ] || {
            find "$tree" -xdev -printf '%y %m %U:%G %p -> %l\n' | sort
            find "$tree" -xdev -type f -print0 | sort -z | xargs -0 -r sha256sum
        }
    done
}

# Why this host can't be used, if so.
unfit() {
    local row arch platform root
    [ "$(uname -m)" = x86_64 ] || say "the suite knows amd64 hosts only"
    [ -d "$MOUNT" ] || say "$MOUNT doesn't exist: no binfmt_misc, or not this kernel's /proc"
    [ ! -e "$STORE" ] || say "$STORE is there already"
    [ ! -e "$CONF" ] || say "$CONF is there already"
    for row in "${PLATFORMS[@]}"; do
        read -r platform _ arch <<<"$row"
        root=$WORK/rootfs/$arch
        ! "$root/bin/busybox" true 2>/dev/null || say "this host runs $platform already"
    done
}

# Holds binfmt_misc mounted, as systemd does where it's in use.
hold() { mounted || mount -t binfmt_misc binfmt_misc "$MOUNT"; }

# Nobody holds it any more, unless somebody did before.
let_go() {
    if [ ! -e "$WORK/mounted" ] && mounted; then
        umount "$MOUNT"
    fi
}

put_back() {
    local status=$? before=$WORK/before
    trap - EXIT
    exec >&3 # the trap may have struck inside a redirection
    stop_engine
    stop_registry
    if [ -n "$TOUCHED" ]; then
        clean_host
        let_go
        check "the host is what it was, byte for byte" \
            diff "$before" <(snapshot)
    fi
    rm -rf --one-file-system "$WORK"
    close "$status"
}

### Engines

# start_engine NAME [PATH_PREFIX]: containerd and dockerd of our own, in a mount
# namespace of their own, so that their mounts end with them and what dockerd
# drops into /etc/docker isn't seen outside. Its settings are
# $WORK/NAME/daemon.json.
start_engine() {
    local dir=$WORK/$1 path=${2:+$2:}$PATH pid
    mkdir -p "$dir"
    [ -e "$dir/daemon.json" ] || say '{}' >"$dir/daemon.json"
    cat >"$dir/containerd.toml" <<-TOML
	version = 2
	disabled_plugins = ["io.containerd.grpc.v1.cri"]
	[plugins."io.containerd.internal.v1.opt"]
	path = "$dir/c/opt"
	TOML
    PATH=$path "${NETWORK[@]}" unshare --mount --propagation slave \
        sh -c '[ ! -d /etc/docker ] || mount -t tmpfs none /etc/docker; exec "$@"' sh \
        containerd --config "$dir/containerd.toml" --root "$dir/c/root" \
        --state "$dir/c/state" --address "$dir/c/sock" >"$dir/containerd.log" 2>&1 &
    pid=$!
    ENGINE=$pid
    wait_for "$pid" test -S "$dir/c/sock" || die "containerd of $1" "$(tail "$dir/containerd.log")"
    PATH=$path nsenter --mount --net --target "$pid" \
        dockerd --config-file "$dir/daemon.json" --containerd "$dir/c/sock" \
        --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" \
        --host "unix://$dir/sock" --iptables=false --ip6tables=false --bridge=none \
        "${OPTIONS[@]}" \
        >"$dir/dockerd.log" 2>&1 &
    pid=$!
    ENGINE="$pid $ENGINE"
    export DOCKER_HOST=unix://$dir/sock
    wait_for "$pid" "$DOCKER" version || die "dockerd of $1" "$(tail "$dir/dockerd.log")"
    say "      engine: $("$DOCKER" version --format '{{.Server.Version}}')"
}

# wait_for PID COMMAND...: until it succeeds, a minute at most, or PID ends.
wait_for() {
    local pid=$1 end=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

# An engine that can have the containerd image store. runc stays the
# distribution's: a newer one may need a newer libc.
newer_engine() {
    [ -d "$WORK/newer/usr" ] || unpack trixie amd64 "$WORK/newer" docker.io docker-cli containerd
    start_engine newer "$WORK/newer/usr/sbin:$WORK/newer/usr/bin"
}

# The distribution's engine, docker.io as it is. A privileged container of 20.10
# gets every capability that the kernel knows, which fails where this machine's
# own root lacks one; there runc is told to make do with those that there are.
own_engine() {
    local wrapper=$WORK/own/bin/runc last effective
    last=$(cat /proc/sys/kernel/cap_last_cap)
    effective=$(sed -n 's/^CapEff:\t*//p' /proc/self/status)
    if [ $((16#$effective)) -ne $(((1 << (last + 1)) - 1)) ]; then
        mkdir -p "$(dirname "$wrapper")"
        cat >"$wrapper" <<-RUNC
	#!/bin/bash
	for word; do
	    [ "\${before:-}" != --bundle ] || bundle=\$word
	    before=\$word
	done
	if [ -n "\${bundle:-}" ]; then
	    jq --arg have "$(setpriv --dump | sed -n 's/^Capability bounding set: //p')" '
	        .process.capabilities |= map_values(map(select(
	            (ltrimstr("CAP_") | ascii_downcase) as \$one | \$have | split(",") | index(\$one))))' \
	        "\$bundle/config.json" >"\$bundle/config.new"
	    mv "\$bundle/config.new" "\$bundle/config.json"
	fi
	exec $(command -v runc) "\$@"
	RUNC
        chmod +x "$wrapper"
    fi
    start_engine own "$WORK/own/bin"
}

# settings NAME JSON: of an engine that is started next.
settings() {
    mkdir -p "$WORK/$1"
    say "$2" >"$WORK/$1/daemon.json"
}

stop_engine() {
    local pid
    for pid in $ENGINE; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    ENGINE=""
}

# A network that isn't the host's, in which an engine may have a bridge.
start_network() {
    unshare --net sleep infinity &
    NETWORKED=$!
    wait_for "$NETWORKED" in_other_network "$NETWORKED"
    NETWORK=(nsenter --net --target "$NETWORKED")
    "${NETWORK[@]}" ip link set lo up
    OPTIONS+=(--bridge=)
}

in_other_network() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

# start_registry: at $AT, an address of this machine alone.
start_registry() {
    local dir=$WORK/registry
    unpack trixie amd64 "$dir" docker-registry
    cat >"$dir/config.yml" <<-YML
	version: 0.1
	storage: {filesystem: {rootdirectory: $dir/data}}
	http: {addr: "127.0.0.1:0"}
	YML
    "${NETWORK[@]}" "$dir/usr/bin/docker-registry" serve "$dir/config.yml" >"$dir/log" 2>&1 &
    REGISTRY=$!
    wait_for "$REGISTRY" grep -q 'listening on 127' "$dir/log" ||
        die "the registry" "$(tail "$dir/log")"
    # shellcheck disable=SC2034 # for the suites
    AT=$(sed -n 's/.*listening on \(127[0-9.:]*\).*/\1/p' "$dir/log")
}

stop_registry() {
    local pid
    for pid in $REGISTRY $NETWORKED; do
        kill "$pid"
    done
    REGISTRY="" NETWORKED=""
}

platforms() {
    "$DOCKER" buildx inspect --bootstrap | sed -n 's/^Platforms: *//p' | tr -d ' *' | tr , '\n'
}

# in_container PLATFORM COMMAND...
in_container() {
    local platform=$1
    shift
    "$DOCKER" run --rm --platform "$platform" "box:${platform//\//-}" "$@"
}

### Material

# make_rootfs ARCH NAME: a root file system of busybox, whose applets are links.
make_rootfs() {
    local arch=$1 root=$WORK/rootfs/$1 suite file applet
    # It is static: any suite will do, should a mirror not have the first.
    for suite in trixie sid; do
        file=$(fetch "$suite" "$arch" busybox-static) && break
    done
    [ -n "$file" ] || die "fetch busybox-static of $arch"
    mkdir -p "$root"/{deb,bin,proc,sys,dev,etc,tmp}
    dpkg-deb -x "$file" "$root/deb"
    mv "$root/deb/usr/bin/busybox" "$root/bin/busybox"
    rm -r "$root/deb"
    for applet in sh uname cat true; do
        ln -s busybox "$root/bin/$applet"
    done
    tar -C "$root" -cf "$WORK/context/$2.tar" .
}

make_context() {
    local row platform arch
    mkdir -p "$WORK/context"
    for row in "linux/amd64 x86_64 amd64" "${PLATFORMS[@]}"; do
        read -r platform _ arch <<<"$row"
        make_rootfs "$arch" "$(cut -d / -f 2 <<<"$platform")"
    done
    cat >"$WORK/context/Dockerfile" <<-'DOCKERFILE'
	FROM scratch AS box
	ARG TARGETARCH
	ADD ${TARGETARCH}.tar /

	FROM box AS build
	RUN uname -m >/machine && sh -c 'echo $0' >/argv0

	FROM scratch AS result
	COPY --from=build /machine /argv0 /
	DOCKERFILE
    mkdir -p "$WORK/docker/cli-plugins"
    unpack trixie amd64 "$WORK/buildx" docker-buildx
    cp "$WORK/buildx/usr/libexec/docker/cli-plugins/docker-buildx" "$WORK/docker/cli-plugins/"
    export DOCKER_CONFIG=$WORK/docker
}

# Needs no foreign program: nothing runs in these builds.
make_images() {
    local row platform
    for row in "linux/amd64" "${PLATFORMS[@]}"; do
        read -r platform _ <<<"$row"
        build "$platform" --target box --tag "box:${platform//\//-}" >"$LOG" 2>&1 ||
            die "image for $platform" "$(tail "$LOG")"
    done
}

# build PLATFORMS OPTIONS...
build() {
    local platforms=$1
    shift
    "$DOCKER" buildx build --progress plain --no-cache --network none \
        --platform "$platforms" "$@" "$WORK/context"
}

### What Docker runs and builds

before() {
    check "before: the engine knows amd64" grep -qx linux/amd64 <(platforms)
    check "before: the engine doesn't know arm64, or any other" \
        not grep -vE '^linux/(amd64|386)' <(platforms)
    expect "before: native containers run" x86_64 in_container linux/amd64 uname -m
    in_container linux/arm64 uname -m >"$WORK/out" 2>&1 || true
    check "before: an arm64 container ends with exec format error" \
        grep -i "exec format error" "$WORK/out"
}

after() {
    local row platform machine
    platforms >"$WORK/platforms"
    for row in "${PLATFORMS[@]}"; do
        read -r platform machine _ <<<"$row"
        check "after: buildx lists $platform, without a restart" \
            grep -qx "$platform" "$WORK/platforms"
        expect "after: a $platform container runs" "$machine" in_container "$platform" uname -m
        # shellcheck disable=SC2016 # for the container's shell
        # Without flag P these would say /bin/sh, and busybox wouldn't know its applet.
        expect "after: argv[0] is kept on $platform" sh \
            in_container "$platform" sh -c 'echo $0'
        expect "after: an argv[0] of the caller's making is kept on $platform" "$machine" \
            in_container "$platform" sh -c 'exec -a uname /bin/busybox -m'
    done
    expect "after: native containers still run" x86_64 in_container linux/amd64 uname -m
}

# builds PATTERN: the platforms that it matches, each by itself.
builds() {
    local row platform machine out
    for row in "linux/amd64 x86_64" "${PLATFORMS[@]}"; do
        read -r platform machine _ <<<"$row"
        # shellcheck disable=SC2053 # a pattern
        [[ $platform == $1 ]] || continue
        out=$WORK/out.${platform//\//-}
        check "a Dockerfile with RUN builds for $platform" \
            build "$platform" --target result --output "type=local,dest=$out"
        expect "its RUN ran on $platform" "$machine sh" \
            paste -d ' ' "$out/machine" "$out/argv0"
    done
}

# run_to FILE COMMAND...: stdout goes to the file.
run_to() {
    local file=$1
    shift
    "$@" >"$file"
}

### Who calls the image

# call WORD...: docker, as docker/setup-qemu-action calls it: a step has failed
# when the exit status isn't 0 and stderr isn't empty; its message is then the
# last line of stderr.
call() {
    local status=0
    "$DOCKER" "$@" >"$WORK/out" 2>"$WORK/step.err" </dev/null || status=$?
    if [ "$status" -ne 0 ] && [ -s "$WORK/step.err" ]; then
        grep . "$WORK/step.err" | tail -n 1 >"$WORK/err"
        return 1
    fi
}

# action IMAGE PLATFORMS [reset]: its calls, in its order; the output `platforms`
# is in $WORK/platforms.
action() {
    local image=$1
    STATUS=1
    call version && call info && call pull "$image" && call image inspect "$image" &&
        call run --rm --privileged "$image" --version &&
        { [ -z "${3:-}" ] || call run --rm --privileged "$image" --uninstall 'qemu-*'; } &&
        call run --rm --privileged "$image" --install "$2" &&
        call run --rm --privileged "$image" || return 0
    # JSON.parse takes one document and nothing beside it.
    # shellcheck disable=SC2034 # for the suites
    jq -ers 'if length == 1 then .[0].supported | join(",") else error("more") end' \
        "$WORK/out" >"$WORK/platforms" 2>"$WORK/err" && STATUS=0
}
