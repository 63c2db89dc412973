//! What whoever asks brings along: limits, signals, namespaces. A container
//! has its own.

use super::{Row, emulated, native, no, row, unknowable};
use crate::world::rule::rule;

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "address space is scarce: a 32-bit platform",
            "linux/arm/v7",
            |s| {
                s.add(rule("theirs", "arm"));
                s.before = "ulimit -v 2000000".to_owned();
            },
            // QEMU looks for a place for its guest, without /proc/self/maps, for ever.
            no("timeout").by("theirs"),
        )
        .on("linux/amd64"),
        row(
            "address space is scarce: a 64-bit platform",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.before = "ulimit -v 2000000".to_owned();
            },
            emulated().by("theirs"),
        ),
        row(
            "whoever asks has nonsense in QEMU_CPU, which no container has",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.before_asking = "export QEMU_CPU=nonsense".to_owned();
            },
            emulated().by("theirs"),
        ),
        row(
            "whoever asks has no file descriptors to spare",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.before_asking = "ulimit -n 24".to_owned();
            },
            emulated().by("theirs"),
        ),
        row(
            "whoever asks has little memory for threads",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.before_asking = "ulimit -s unlimited; ulimit -v 600000".to_owned();
            },
            emulated().by("theirs"),
        ),
        row(
            "whoever asks may write no file",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.before_asking = "ulimit -f 0".to_owned();
            },
            unknowable(),
        ),
        row(
            "whoever asks makes files that nobody may use",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.before_asking = "umask 777".to_owned();
            },
            emulated().by("theirs"),
        ),
        row(
            "whoever asks ignores the end of children",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.contained_by_root = true;
                s.as_whom("env --ignore-signal=CHLD");
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "whoever asks has a /proc of its own, where nothing is mounted",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.contained_by_root = true;
                s.as_whom("unshare --pid --fork --mount-proc");
            },
            emulated().pinned("match"),
        ),
        row(
            "whoever asks blocks every signal",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.contained_by_root = true;
                s.as_whom("env --block-signal");
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "whoever asks ignores every signal",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.contained_by_root = true;
                s.as_whom("env --ignore-signal");
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "whoever asks has another /proc than its processes",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.contained_by_root = true;
                s.as_whom("unshare --pid --fork");
            },
            emulated().by("theirs"),
        ),
        row(
            "whoever asks has another /proc than its processes, and the platform is native",
            "386",
            |s| {
                s.contained_by_root = true;
                s.as_whom("unshare --pid --fork");
            },
            native(),
        )
        .on("linux/amd64"),
        row(
            "whoever asks pretends that this is a 32-bit host",
            "linux/amd64",
            |s| s.before_asking = "set -- setarch linux32 \"$@\"".to_owned(),
            native(),
        )
        .on("linux/amd64"),
    ]
}
