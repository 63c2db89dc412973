# The crates that are in the program, and their licences. Sourced by what
# packages it, which has a $WORK, and a function `crates COMMAND...` that asks
# cargo about them.
# shellcheck shell=bash

# Each crate with its licence, then the licences' texts.
third_party() {
    local name version
    crates metadata --format-version 1 >"$WORK/crates"
    crates tree --edges normal,no-proc-macro --prefix none --format '{p}' --target all |
        sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1 \2/p' | sort -u | while read -r name version; do
        jq -r --arg name "$name" --arg version "$version" '.packages[]
            | select(.name == $name and .version == $version and .source != null)
            | "\(.manifest_path)\t\(.name) \(.version): \(.license)"' "$WORK/crates"
    done >"$WORK/crates.paths"
    cut -f 2 "$WORK/crates.paths"
    texts <"$WORK/crates.paths"
}

# Each text once, after the crates that have it.
texts() {
    local path crate file sum
    while IFS=$'\t' read -r path crate; do
        for file in "$(dirname "$path")"/{LICEN[CS]E,COPYING,NOTICE,UNLICENSE}*; do
            [ -f "$file" ] || continue
            sum=$(sha256sum <"$file" | cut -c 1-64)
            say "${crate%%:*} ($(basename "$file"))" >>"$WORK/text-$sum.crates"
            cp "$file" "$WORK/text-$sum"
        done
    done
    for file in "$WORK"/text-*.crates; do
        printf '\n\n==== %s\n\n' "$(paste -sd , "$file" | sed 's/,/, /g')"
        cat "${file%.crates}"
    done
}
