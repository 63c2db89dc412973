# A web server for what a machine fetches, and what is in it. Sourced by the
# scenarios that set a machine up at its first boot.
# shellcheck shell=bash disable=SC2034,SC2154

WEB=""      # the directory that is served
WEB_URL=""  # as the machine sees it
WEB_PID=""

# serve: a directory with the program, and a mirror of the emulators' package.
serve() {
    local package tries=0
    WEB=$WORK/web
    package=$(fetch trixie amd64 qemu-user)
    mkdir -p "$WEB/debian/pool/main/q/qemu"
    # As a mirror names it: without the epoch.
    cp -l "$package" "$WEB/debian/pool/main/q/qemu/qemu-user_${package##*%3a}" 2>/dev/null ||
        cp "$package" "$WEB/debian/pool/main/q/qemu/qemu-user_${package##*%3a}"
    cp "$BINARY" "$WEB/binfmtctl"
    rm -f "$WORK/port"
    need python3
    "$HERE/serve" "$WEB" "$WORK/port" "$WORK/requests" </dev/null >"$LOG" 2>&1 3>&- &
    WEB_PID=$!
    until [ -e "$WORK/port" ]; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || die "start a web server" "$(cat "$LOG")"
        sleep 0.1
    done
    WEB_URL=http://10.0.2.2:$(cat "$WORK/port")
}

serve_no_more() {
    kill "$WEB_PID"
    wait "$WEB_PID" || true
}

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

# filled FILE URL SHA256: with its placeholders filled in, and the mirror.
filled() {
    sed -e "s|\bURL-OF-BINFMTCTL\b|$2|" -e "s|SHA256-OF-BINFMTCTL|$3|" \
        -e "s|#\([a-zA-Z]*[ =]BINFMTCTL_MIRROR=\)http://mirror.example/debian|\1$WEB_URL/debian|" "$1"
}
