# What is in the program besides its own code, and the licences. Sourced by what
# packages it, which has a $WORK.
# shellcheck shell=bash

# crates COMMAND...: what cargo says of them; where $BINFMTCTL_CRATES is set, of
# those that are kept there, without a network.
crates() {
    local command=$1 kept=()
    shift
    [ -z "${BINFMTCTL_CRATES:-}" ] || kept=(--offline --config 'source.crates-io.replace-with="vendored"'
        --config "source.vendored.directory='$BINFMTCTL_CRATES'")
    (cd "$REPOSITORY" && cargo "$command" --locked "${kept[@]}" "$@")
}

# triple BINARY: what Rust calls the machine that it is for.
triple() {
    local machine
    machine=$(readelf -h "$1" | sed -n 's/^ *Machine: *//p')
    case $machine in
    *X86-64) say x86_64-unknown-linux-gnu ;;
    AArch64) say aarch64-unknown-linux-gnu ;;
    RISC-V) say riscv64gc-unknown-linux-gnu ;;
    *S/390) say s390x-unknown-linux-gnu ;;
    PowerPC64) say powerpc64le-unknown-linux-gnu ;;
    *80386) say i686-unknown-linux-gnu ;;
    ARM) say armv7-unknown-linux-gnueabihf ;;
    *) die "package $1" "it is for $machine" ;;
    esac
}

# glibc BINARY: the version of the C library that is in it, which says so there.
glibc() {
    local version
    version=$(grep -ao 'GNU C Library ([^)]*) [a-z]* release version [0-9.]*[0-9]' "$1" | head -n 1 |
        sed 's/.*GLIBC \([^)]*\)).*/\1/; s/.* //')
    [ -n "$version" ] && say "$version"
}

# compiler NAME BINARY: the version of what compiled it: rustc or GCC.
compiler() {
    local version
    version=$(readelf -p .comment "$2" |
        sed -n "s/.*rustc version \([^ ]*\).*/rustc \1/p; s/.*GCC: (.*) \([0-9.]*\).*/GCC \1/p" |
        sed -n "s/^$1 //p" | head -n 1)
    [ -n "$version" ] && say "$version"
}

# shipped TRIPLE: the crates that are in the program: name, version each. (What
# only runs while it is compiled isn't.)
shipped() {
    crates tree --edges normal,no-proc-macro --prefix none --format '{p}' --target "$1" |
        sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1 \2/p' | sort -u
}

# third_party LGPL GLIBC OFFER TRIPLE...: what is in the programs for these
# machines, each part with its licence, then the licences' texts. LGPL is where
# that one's text lies, GLIBC the C library's version; OFFER may be empty.
third_party() {
    local lgpl=$1 glibc=$2 offer=$3 name version triple
    shift 3
    sed -e "s|@LGPL@|$lgpl|; s|@GLIBC@|$glibc|" -e "/@OFFER@/{s|@OFFER@|$offer|; /^ *\$/d}" \
        "$REPOSITORY/packaging/third-party.in"
    crates metadata --format-version 1 >"$WORK/crates" || return
    for triple; do
        shipped "$triple"
    done | sort -u | while read -r name version; do
        jq -r --arg name "$name" --arg version "$version" '.packages[]
            | select(.name == $name and .version == $version and .source != null)
            | "\(.manifest_path)\t\(.name) \(.version): \(.license)"' "$WORK/crates"
    done >"$WORK/crates.paths"
    [ -s "$WORK/crates.paths" ] || return
    cut -f 2 "$WORK/crates.paths"
    texts <"$WORK/crates.paths"
}

# Each text once, after the crates that have it. What a crate has taken over from
# others lies below it, as ring's does, the xz of liblzma-sys and the zstd of zstd-sys.
texts() {
    local path crate dir file sum
    while IFS=$'\t' read -r path crate; do
        dir=$(dirname "$path")
        for file in "$dir"/{LICEN[CS]E,COPYING,NOTICE,UNLICENSE}* "$dir"/{third_party,src/polyfill}/*/LICENSE* \
            "$dir"/xz/COPYING.0BSD "$dir"/zstd/LICENSE; do
            [ -f "$file" ] || continue
            sum=$(sha256sum <"$file" | cut -c 1-64)
            say "${crate%%:*} (${file#"$dir"/})" >>"$WORK/text-$sum.crates"
            cp "$file" "$WORK/text-$sum"
        done
    done
    for file in "$WORK"/text-*.crates; do
        printf '\n\n==== %s\n\n' "$(paste -sd , "$file" | sed 's/,/, /g')"
        cat "${file%.crates}"
    done
}
