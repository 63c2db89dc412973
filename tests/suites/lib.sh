# What the suites share: counting checks, and getting packages through the
# host's own apt, by name. Sourced by tests/suites/*/run; they run as root.
# shellcheck shell=bash

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${BINFMTCTL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binfmtctl-tests}
LOG=$(mktemp)
PASSED=0 FAILED=0 SKIPPED=0

export LC_ALL=C DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1

say() { printf '%s\n' "$*"; }

pass() {
    PASSED=$((PASSED + 1))
    say "ok    $1"
}

# fail NAME [WHY...]
fail() {
    FAILED=$((FAILED + 1))
    say "FAIL  $1"
    shift
    [ $# -eq 0 ] || printf '%s\n' "$@" | sed 's/^/      /'
}

# skip NAME REASON
skip() {
    SKIPPED=$((SKIPPED + 1))
    say "skip  $1 ($2)"
}

# What can't go on at all.
die() {
    fail "$@"
    exit 1
}

# check NAME COMMAND...: passes when the command does; else shows its output.
check() {
    local name=$1
    shift
    if "$@" >"$LOG" 2>&1; then
        pass "$name"
    else
        fail "$name" "exit $? of: $*" "$(tail -n 20 "$LOG")"
    fi
}

not() { ! "$@"; }

# expect NAME WANTED COMMAND...: passes when stdout is exactly WANTED.
expect() {
    local name=$1 wanted=$2 got status=0
    shift 2
    got=$("$@" 2>"$LOG") || status=$?
    if [ "$got" = "$wanted" ] && [ "$status" -eq 0 ]; then
        pass "$name"
    else
        fail "$name" "wanted '$wanted', got '$got' and exit $status of: $*
$(tail -n 20 "$LOG")"
    fi
}

# close STATUS: ends a run that came to its end with that status; the last line
# and the exit status say how it went.
close() {
    [ "$1" -eq 0 ] || [ "$FAILED" -gt 0 ] || fail "the run itself ended with status $1"
    rm -f "$LOG"
    say "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    exit $((FAILED > 0))
}

require_root() {
    [ "$(id -u)" -eq 0 ] || {
        skip "$1" "needs root"
        close 0
    }
}

# The binary to test: the argument, or a release build.
binary() {
    if [ -n "${1:-}" ]; then
        realpath "$1"
        return
    fi
    (cd "$REPOSITORY" && cargo build --release --locked) >&2 || return
    local triple
    triple=$(rustc -vV | sed -n 's/^host: //p')
    say "$REPOSITORY/target/$triple/release/binfmtctl"
}

# need PACKAGE...: installs those that aren't there.
need() {
    local missing=() package
    for package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
        >"$LOG" 2>&1 </dev/null; then
        die "install ${missing[*]}" "$(tail -n 20 "$LOG")"
    fi
}

# Where this host's apt gets Debian from; apt itself reads its configuration.
debian_archive() {
    # shellcheck disable=SC2016 # apt expands it
    local targets=(apt-get indextargets --format '$(REPO_URI)'
        'Created-By: Packages' 'Component: main' 'Label: Debian')
    [ -n "$("${targets[@]}")" ] || apt-get update -qq
    "${targets[@]}" | head -n 1
}

# apt_root SUITE ARCH...: makes an apt root of its own for these architectures,
# the first of which is the native one; prints its configuration file. It is
# read after the host's, hence takes away what would reach outside.
apt_root() {
    local suite=$1 archive root
    shift
    root=$CACHE/apt/$suite-$(paste -sd - < <(printf '%s\n' "$@"))
    mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$root/parts"
    archive=$(debian_archive)
    [ -n "$archive" ] || return 1
    say "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" \
        >"$root/sources.list"
    cat >"$root/apt.conf" <<-CONF
	Dir::Etc::SourceList "$root/sources.list";
	Dir::Etc::SourceParts "$root/parts";
	Dir::Etc::Preferences "/dev/null";
	Dir::Etc::PreferencesParts "$root/parts";
	Dir::State::Lists "$root/lists";
	Dir::State::status "/dev/null";
	Dir::Cache "$root/cache";
	#clear APT::Update::Post-Invoke;
	#clear APT::Update::Post-Invoke-Success;
	#clear APT::Architectures;
	APT::Architecture "$1";
	APT::Architectures { $(printf '"%s";' "$@") };
	APT::Sandbox::User "root";
	APT::Update::Error-Mode "any";
	Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
	Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
	Acquire::Languages "none";
	Acquire::Retries "3";
	CONF
    say "$root/apt.conf"
}

# fetch SUITE ARCH PACKAGE: prints the path of the package's file, which comes
# from the cache where it is there already.
fetch() {
    local suite=$1 arch=$2 package=$3 dir=$CACHE/debs/$1-$2 conf
    newest() { compgen -G "$dir/${package}_*.deb" | sort -V | tail -n 1 | grep .; }
    newest && return
    mkdir -p "$dir"
    conf=$(apt_root "$suite" "$arch") || return
    # Indices older than a few hours may name what is gone.
    if [ -z "$(find "$conf.updated" -mmin -180 2>/dev/null)" ]; then
        APT_CONFIG=$conf apt-get -qq update >&2 || return
        touch "$conf.updated"
    fi
    (cd "$dir" && APT_CONFIG=$conf apt-get -qq download "$package" >&2) || return
    newest
}

# unpack SUITE ARCH DIR PACKAGE...
unpack() {
    local suite=$1 arch=$2 dir=$3 package file
    shift 3
    mkdir -p "$dir"
    for package; do
        file=$(fetch "$suite" "$arch" "$package") || die "fetch $package of $suite $arch"
        dpkg-deb -x "$file" "$dir"
    done
}
