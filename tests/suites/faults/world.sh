# The inside of the fault suite: root of a user namespace with a binfmt_misc of
# its own. Sourced by tests/suites/faults/run, which says in variables where
# things are; what fails is said in a line that begins with FAIL.
# shellcheck shell=bash
set -euo pipefail

INSTANCE=/proc/sys/fs/binfmt_misc
mount -t binfmt_misc binfmt_misc "$INSTANCE"
export LC_ALL=C BINARY INSTANCE WORK
export BINFMTCTL_USERNS=1 BINFMTCTL_SOURCE=$PACKAGE TMPDIR=$WORK/scratch
export BINFMTCTL_PREFIX=$WORK/store/at BINFMTCTL_CONF=$WORK/etc/binfmt.d/zz.conf
unset HOME

# What changes something, and what only looks. riscv64 works before all of them
# and has to afterwards; s390x is in the file and not in the kernel.
CHANGING=("install --credentials riscv64" "install arm" apply "uninstall s390x")
LOOKING=("install arm -n" status "check riscv64" doctor "manifest verify")

say() { printf '%s\n' "$*"; }

# Everything as it is before each run.
reset() {
    local entry
    for entry in "$INSTANCE"/*; do
        case ${entry##*/} in register | status) ;; *) echo -1 >"$entry" ;; esac
    done
    rm -rf "$WORK/store/at" "$WORK/etc/binfmt.d" "$WORK/scratch"
    mkdir -p "$WORK/scratch" "$WORK/store" "$WORK/etc/binfmt.d"
    if [ ! -d "$WORK/template" ]; then
        "$BINARY" -q install riscv64 s390x
        mkdir "$WORK/template"
        cp -a "$WORK/store/at" "$WORK/etc/binfmt.d" "$WORK/template/"
    else
        cp -a "$WORK/template/at" "$WORK/store/at"
        cp -a "$WORK/template/binfmt.d" "$WORK/etc/"
        "$BINARY" -q apply
    fi
    echo -1 >"$INSTANCE/qemu-s390x"
}

mounted() { sed 's/^[0-9]* [0-9]* //' /proc/self/mountinfo | sort; }

# What a run should have taken away.
leftovers() {
    find "$WORK/store" "$WORK/etc" "$WORK/scratch" \
        \( -name '.binfmtctl-*' -o -name 'binfmtctl-*' \) 2>/dev/null
    compgen -G "$INSTANCE/*.new*" || true
}

# judge NAME STATUS: the status is one of $ALLOWED, and a failure says $WORDS in
# its last line.
judge() {
    local name=$1 status=$2 last=""
    [ ! -s "$WORK/err" ] || last=$(tail -n 1 "$WORK/err")
    say "      $name: exit $status${last:+, $last}"
    case " $ALLOWED " in
    *" $status "*) ;;
    *) say "FAIL $name: exit $status, not one of $ALLOWED: $(tail -n 3 "$WORK/err")" ;;
    esac
    ! grep -q panicked "$WORK/err" || say "FAIL $name: it panicked: $(tail -n 3 "$WORK/err")"
    if [ "$status" -ne 0 ] && [ -n "$WORDS" ] && ! grep -Eq "^binfmtctl: .*($WORDS)" <<<"$last"; then
        say "FAIL $name: the last line doesn't say why: $last"
    fi
}

# attempt NAME VERB: one run of a verb under a fault, which $SETUP makes, $WRAP
# starts the command $1 under, and $UNDO takes away; then the same verb without.
attempt() {
    local name=$1 verb=$2 status=0 before left
    reset
    before=$(mounted)
    eval "$SETUP"
    # In a shell of its own, with which limits and descriptors end.
    timeout -k 1 60 bash -c "$WRAP" wrap "$BINARY $verb" \
        >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    eval "$UNDO"
    judge "$name" "$status"
    "$BINARY" -q check riscv64 || say "FAIL $name: riscv64 doesn't run any more"
    left=$(leftovers)
    [ -z "$left" ] || say "FAIL $name: it left $left"
    [ "$before" = "$(mounted)" ] || say "FAIL $name: it left mounts: $(diff <(say "$before") <(mounted))"
    status=0
    # shellcheck disable=SC2086 # words
    "$BINARY" -q $verb >/dev/null 2>"$WORK/err" || status=$?
    case $verb:$status in
    *:0 | doctor:1) ;;
    *) say "FAIL $name: the next run ends with $status: $(tail -n 1 "$WORK/err")" ;;
    esac
}

# each changing|looking|all NAME: attempts those verbs.
each() {
    local verb
    local -a verbs=()
    [ "$1" = looking ] || verbs+=("${CHANGING[@]}")
    [ "$1" = changing ] || verbs+=("${LOOKING[@]}")
    for verb in "${verbs[@]}"; do
        attempt "$2: $verb" "$verb"
    done
}

ALLOWED="0 1" WORDS="" SETUP=: UNDO=:
# shellcheck disable=SC2016,SC2034 # the shell of the run expands it
WRAP='exec $1'
