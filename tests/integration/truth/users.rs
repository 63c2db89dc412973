//! The same truth for whoever asks: ordinary users, and root without rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::scene::Scene;
use super::{Row, emulated, native, no, row, unknowable};
use crate::world::rule::rule;
use crate::world::{AS_USER, World};

/// Makes it a world with users, and an ordinary one ask.
fn user(s: &mut Scene) {
    s.world = World::with_users().expect("a world with users").alone();
    s.as_whom(AS_USER);
}

/// The same where nobody can make a user namespace; programs are run by root.
fn closed(s: &mut Scene) {
    user(s);
    s.contained_by_root = true;
    s.sh("echo 0 >/proc/sys/user/max_user_namespaces");
}

/// Keeps everybody but root from reading a program that all may execute.
fn hide(program: &Path) {
    fs::set_permissions(program, fs::Permissions::from_mode(0o711)).unwrap();
}

pub fn rows() -> Vec<Row> {
    let mut rows = users();
    rows.extend(closed_to_users());
    rows
}

fn users() -> Vec<Row> {
    vec![
        row(
            "a user: nothing is registered",
            "riscv64",
            user,
            no("not-registered"),
        ),
        row(
            "a user: a rule that works",
            "riscv64",
            |s| {
                user(s);
                s.add(rule("theirs", "riscv64"));
            },
            emulated().by("theirs").owner("other").pinned("match"),
        ),
        row(
            "a user: ours",
            "riscv64",
            |s| {
                user(s);
                s.world.install("riscv64");
            },
            emulated().owner("binfmtctl").pinned("match"),
        ),
        row(
            "a user: ours, by a root who makes his files for himself",
            "riscv64",
            |s| {
                user(s);
                s.sh("umask 077; \"$BINFMTCTL\" install riscv64");
            },
            emulated().owner("binfmtctl"),
        ),
        row(
            "a user: a rule without F",
            "riscv64",
            |s| {
                user(s);
                s.add(rule("theirs", "riscv64").flags("PO"));
            },
            no("no-fix-binary").by("theirs"),
        ),
        row(
            "a user: the rule is switched off",
            "riscv64",
            |s| {
                user(s);
                s.add(rule("theirs", "riscv64"));
                s.world.write("theirs", "0");
            },
            no("disabled").by("theirs"),
        ),
        row(
            "a user: binfmt_misc isn't mounted any more",
            "riscv64",
            |s| {
                user(s);
                s.sh("umount /proc/sys/fs/binfmt_misc");
            },
            no("unmounted"),
        ),
        row(
            "a user: an emulator that may not be read",
            "riscv64",
            |s| {
                user(s);
                hide(&s.own_emulator());
                s.add(rule("theirs", "riscv64"));
            },
            emulated().by("theirs"),
        ),
        row(
            "a user: an emulator for another guest",
            "riscv64",
            |s| {
                user(s);
                s.add(rule("theirs", "riscv64").at(s.emulator("s390x")));
            },
            no("emulator-failed").by("theirs"),
        ),
        row("a user: a native 32-bit platform", "386", user, native()).on("linux/amd64"),
        row(
            "a user: a setuid emulator",
            "riscv64",
            |s| {
                user(s);
                fs::set_permissions(s.own_emulator(), fs::Permissions::from_mode(0o4755)).unwrap();
                s.add(rule("theirs", "riscv64"));
            },
            emulated().by("theirs"),
        ),
        row(
            "a user: our store and our file are for root alone",
            "riscv64",
            |s| {
                user(s);
                s.world.install("riscv64");
                for path in [s.world.prefix(), s.world.conf_path()] {
                    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
                }
            },
            emulated().owner("binfmtctl"),
        ),
        row(
            "a user in a container of his own",
            "riscv64",
            |s| {
                user(s);
                s.as_whom(&format!("{AS_USER} unshare --user --map-root-user --mount"));
                s.add(rule("theirs", "riscv64"));
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "a user in a chroot, where nobody makes a user namespace",
            "riscv64",
            |s| {
                user(s);
                s.contained_by_root = true;
                let jail = s.world.path("jail").display().to_string();
                s.sh(&format!("mkdir {jail}; mount --rbind / {jail}"));
                s.as_whom(&format!("chroot {jail} {AS_USER}"));
                s.add(rule("theirs", "riscv64"));
            },
            emulated().by("theirs"),
        ),
        row(
            "a user who may start no further process",
            "riscv64",
            |s| {
                user(s);
                s.contained_by_root = true;
                s.add(rule("theirs", "riscv64"));
                s.as_whom(&format!("{AS_USER} prlimit --nproc=1"));
            },
            unknowable(),
        ),
        row(
            "root in name only",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.as_whom("setpriv --bounding-set=-all --inh-caps=-all");
                s.contained_by_root = true;
            },
            emulated().by("theirs").pinned("match"),
        ),
    ]
}

fn closed_to_users() -> Vec<Row> {
    vec![
        row(
            "a user, user namespaces closed: a native 32-bit platform",
            "386",
            closed,
            native(),
        )
        .on("linux/amd64"),
        row(
            "a user, user namespaces closed: nothing is registered",
            "riscv64",
            closed,
            no("not-registered"),
        ),
        row(
            "a user, user namespaces closed: a rule that works",
            "riscv64",
            |s| {
                closed(s);
                s.add(rule("theirs", "riscv64"));
            },
            emulated().by("theirs"),
        ),
        row(
            "a user, user namespaces closed: the rule is switched off",
            "riscv64",
            |s| {
                closed(s);
                s.add(rule("theirs", "riscv64"));
                s.world.write("theirs", "0");
            },
            no("disabled").by("theirs"),
        ),
        row(
            "a user, user namespaces closed: a rule without F, whose interpreter the host has",
            "riscv64",
            |s| {
                closed(s);
                s.add(rule("theirs", "riscv64").flags("PO"));
            },
            no("no-fix-binary").by("theirs"),
        ),
        row(
            "a user, user namespaces closed: a rule without F, whose interpreter nobody has",
            "riscv64",
            |s| {
                closed(s);
                s.add(rule("theirs", "riscv64").at("/nowhere").flags("PO"));
            },
            no("no-fix-binary").by("theirs"),
        ),
        row(
            "a user, user namespaces closed: a dynamic program with F",
            "riscv64",
            |s| {
                closed(s);
                let copy = s.world.program("instead", fs::read("/bin/true").unwrap());
                s.add(rule("theirs", "riscv64").at(copy));
            },
            no("emulator-failed").by("theirs"),
        ),
        row(
            "a user, user namespaces closed: an emulator that may not be read",
            "riscv64",
            |s| {
                closed(s);
                hide(&s.own_emulator());
                s.add(rule("theirs", "riscv64"));
            },
            unknowable(),
        ),
        row(
            "a user, user namespaces closed: without F, and the emulator may not be read",
            "riscv64",
            |s| {
                closed(s);
                hide(&s.own_emulator());
                s.add(rule("theirs", "riscv64").flags("PO"));
            },
            no("no-fix-binary").by("theirs"),
        ),
        row(
            "a user, user namespaces closed: an emulator for another guest",
            "riscv64",
            |s| {
                closed(s);
                s.add(rule("theirs", "riscv64").at(s.emulator("s390x")));
            },
            no("emulator-failed").by("theirs"),
        ),
    ]
}
