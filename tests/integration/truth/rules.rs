//! Rules: their flags, and their order.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::scene::Scene;
use super::{Row, emulated, no, row};
use crate::world::rule::{Line, rule};

pub fn rows() -> Vec<Row> {
    let mut rows = flags();
    rows.extend(order());
    rows
}

fn flags() -> Vec<Row> {
    vec![
        row(
            "a rule without F, whose interpreter the host has",
            "riscv64",
            |s| s.add(rule("theirs", "riscv64").flags("PO")),
            no("no-fix-binary")
                .by("theirs")
                .owner("other")
                .finding("no-fix-binary", "problem"),
        ),
        row(
            "a rule without F, whose interpreter nobody has",
            "riscv64",
            |s| {
                s.add(
                    rule("theirs", "riscv64")
                        .at("/nowhere/qemu-riscv64")
                        .flags(""),
                )
            },
            no("no-fix-binary").by("theirs"),
        ),
        row(
            "a rule without F and with a relative path",
            "riscv64",
            |s| s.add(rule("theirs", "riscv64").at("qemu-riscv64").flags("PO")),
            no("no-fix-binary").by("theirs"),
        ),
        row(
            "a rule without F and with options behind the path",
            "riscv64",
            |s| {
                let path = format!("{} -cpu max", s.emulator("riscv64").display());
                s.add(rule("theirs", "riscv64").at(path).flags(""));
            },
            no("no-fix-binary").by("theirs"),
        ),
        row(
            "a rule with F and a relative path",
            "riscv64",
            |s| {
                let dir = s
                    .emulator("riscv64")
                    .parent()
                    .unwrap()
                    .display()
                    .to_string();
                let line = rule("theirs", "riscv64").at("qemu-riscv64");
                s.add_after(&format!("cd {dir}"), line);
            },
            emulated().by("theirs").pinned("unknown"),
        ),
        row(
            "an interpreter whose path has spaces",
            "riscv64",
            |s| {
                let path = s.world.path("a b  c");
                std::fs::rename(s.emulator("riscv64"), &path).unwrap();
                s.add(rule("theirs", "riscv64").at(path));
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "an interpreter whose path isn't UTF-8",
            "riscv64",
            |s| {
                let path = s.world.path("").join(OsStr::from_bytes(b"qemu\xff\xfe"));
                std::fs::rename(s.emulator("riscv64"), &path).unwrap();
                s.add(rule("theirs", "riscv64").at(path));
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "a rule whose name isn't UTF-8",
            "riscv64",
            |s| s.add(rule(b"qemu\xff", "riscv64")),
            emulated().by("qemu\u{fffd}"),
        ),
        row(
            "a rule without F whose name isn't UTF-8",
            "riscv64",
            |s| s.add(rule(b"qemu\xff", "riscv64").flags("PO")),
            no("no-fix-binary").by("qemu\u{fffd}"),
        ),
        row(
            "a rule with F alone",
            "riscv64",
            |s| s.add(rule("theirs", "riscv64").flags("F")),
            emulated().by("theirs").finding("argv0", "warning"),
        ),
        row(
            "a rule with F and P, without O",
            "riscv64",
            |s| s.add(rule("theirs", "riscv64").flags("PF")),
            emulated().by("theirs"),
        ),
        row(
            "a rule that gives credentials",
            "riscv64",
            |s| s.add(rule("theirs", "riscv64").flags("POCF")),
            emulated()
                .by("theirs")
                .with("flags", "POCF")
                .finding("credentials", "warning"),
        ),
    ]
}

/// Ours and a foreign one in front of it.
fn ours_and(s: &Scene, newer: Line) {
    s.world.install("riscv64");
    s.add(newer);
}

/// A foreign one and ours in front of it, whoever was there first.
fn ours_in_front_of(s: &Scene, older: Line) {
    s.world.install("riscv64");
    let ours = s.world.conf();
    let ours = ours.lines().find(|line| !line.starts_with('#')).unwrap();
    s.add(older);
    s.world.write("qemu-riscv64", "-1");
    s.world.register(ours);
}

fn order() -> Vec<Row> {
    vec![
        row(
            "ours alone",
            "riscv64",
            |s| drop(s.world.install("riscv64")),
            emulated()
                .by("qemu-riscv64")
                .owner("binfmtctl")
                .pinned("match"),
        ),
        row(
            "a foreign rule that works is newer than ours",
            "riscv64",
            |s| ours_and(s, rule("theirs", "riscv64")),
            emulated()
                .by("theirs")
                .owner("other")
                .finding("shadowed", "warning"),
        ),
        row(
            "a foreign rule without F is newer than ours",
            "riscv64",
            |s| ours_and(s, rule("theirs", "riscv64").flags("PO")),
            no("shadowed").by("theirs").finding("shadowed", "problem"),
        ),
        row(
            "a foreign rule whose interpreter is garbage is newer than ours",
            "riscv64",
            |s| {
                let garbage = s.world.program("garbage", b"garbage\n");
                ours_and(s, rule("theirs", "riscv64").at(garbage));
            },
            no("shadowed").by("theirs"),
        ),
        row(
            "a foreign rule for another guest is newer than ours",
            "riscv64",
            |s| {
                let wrong = s.emulator("s390x");
                ours_and(s, rule("theirs", "riscv64").at(wrong));
            },
            no("shadowed").by("theirs"),
        ),
        row(
            "a foreign rule that is switched off is newer than ours",
            "riscv64",
            |s| {
                ours_and(s, rule("theirs", "riscv64").flags("PO"));
                s.world.write("theirs", "0");
            },
            emulated().by("qemu-riscv64").owner("binfmtctl"),
        ),
        row(
            "ours is switched off behind a broken foreign rule",
            "riscv64",
            |s| {
                ours_and(s, rule("theirs", "riscv64").flags("PO"));
                s.world.write("qemu-riscv64", "0");
            },
            no("no-fix-binary").by("theirs"),
        ),
        row(
            "ours is newer than a broken foreign rule",
            "riscv64",
            |s| ours_in_front_of(s, rule("theirs", "riscv64").flags("PO")),
            emulated().by("qemu-riscv64").owner("binfmtctl"),
        ),
        row(
            "ours is newer than a foreign rule that works",
            "riscv64",
            |s| ours_in_front_of(s, rule("theirs", "riscv64")),
            emulated()
                .by("qemu-riscv64")
                .owner("binfmtctl")
                .finding("two-owners", "warning"),
        ),
        row(
            "two rules with the same interpreter under two names",
            "riscv64",
            |s| {
                s.add(rule("older", "riscv64"));
                s.add(rule("newer", "riscv64"));
            },
            emulated().by("newer"),
        ),
        row(
            "a broken foreign rule is newer than another foreign one that works",
            "riscv64",
            |s| {
                s.add(rule("older", "riscv64"));
                s.add(rule("newer", "riscv64").flags("PO"));
            },
            no("no-fix-binary").by("newer"),
        ),
    ]
}
