# The container image, for the suites that use it. Sourced after lib.sh.
# shellcheck shell=bash

# The container image of this repository, for several platforms, from
# packaging/image/build: the file's name. What was built of the same program
# and the same scripts is used again.
image_file() {
    local file=$REPOSITORY/target/image/binfmtctl.oci.tar packaging=$REPOSITORY/packaging/image
    if [ ! "$file" -nt "$BINARY" ] || find "$packaging" -type f -newer "$file" | grep -q .; then
        say "      building the image" >&2
        "$packaging/build" --binary "$BINARY" --no-prove >"$LOG" 2>&1 ||
            die "build the image" "$(tail -n 20 "$LOG")" >&2
    fi
    say "$file"
}
