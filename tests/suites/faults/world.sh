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

# What is mounted where: numbers and options differ with another mount of the same.
mounted() { awk '{ print $4, $5 }' /proc/self/mountinfo | sort; }

# What a run should have taken away.
leftovers() {
    find "$WORK/store" "$WORK/etc" "$WORK/scratch" \
        \( -name '.binfmtctl-*' -o -name 'binfmtctl-*' \) 2>/dev/null
    compgen -G "$INSTANCE/*.new*" || true
}

# judge NAME STATUS VERB: the status is one of $ALLOWED, and a failure says $WORDS
# in its last line, and what to do.
judge() {
    local name=$1 status=$2 verb=$3 last=""
    [ ! -s "$WORK/err" ] || last=$(tail -n 1 "$WORK/err")
    say "      $name: exit $status${last:+, $last}"
    case " $ALLOWED " in
    *" $status "*) ;;
    *) say "FAIL $name: exit $status, not one of $ALLOWED: $(tail -n 3 "$WORK/err")" ;;
    esac
    ! grep -q panicked "$WORK/err" || say "FAIL $name: it panicked: $(tail -n 3 "$WORK/err")"
    # A signal may come before the program has begun.
    [ "$status" -lt 128 ] || [ -n "$last" ] || return 0
    # doctor finds something in any case: the rule that isn't there.
    if [ "$status" -eq 0 ] || [ -z "$WORDS" ] || [ "$verb:$status" = doctor:1 ]; then
        return
    fi
    grep -Eq "^binfmtctl: .*($WORDS)" <<<"$last" || say "FAIL $name: the last line doesn't say why: $last"
    [ -z "$ADVICE" ] || return 0
    if ! [[ $last =~ \(.+\)$ ]] || [[ $last =~ \(os\ error\ [0-9]+\)$ ]]; then
        say "FAIL $name: the last line doesn't say what to do: $last"
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
    judge "$name" "$status" "$verb"
    "$BINARY" -q check riscv64 2>"$WORK/err" ||
        say "FAIL $name: riscv64 doesn't run any more: $(tail -n 1 "$WORK/err")"
    left=$(leftovers)
    # A rule that was proved stays where the one in its place couldn't be.
    case $status in [1-8]) left=$(grep -v '\.new[0-9]*$' <<<"$left" || true) ;; esac
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

# outside WHAT: has something done that only the host's root may.
outside() {
    echo "$1" >"$WORK/ask"
    read -r _ <"$WORK/answer"
}

# Takes a file system away and brings it back: what the kernel holds of it goes.
renew() {
    local entry
    for entry in "$INSTANCE"/*; do
        case ${entry##*/} in register | status) ;; *) echo -1 >"$entry" ;; esac
    done
    outside renew
    "$BINARY" -q apply || say "FAIL what was stored is lost"
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

# Empty where the last line has to say what to do.
ADVICE=""
ALLOWED="0 1" WORDS="." SETUP=: UNDO=:
# shellcheck disable=SC2016,SC2034 # the shell of the run expands it
WRAP='exec $1'
