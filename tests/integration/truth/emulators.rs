//! What lies, or once lay, at an interpreter's path.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::scene::Scene;
use super::{Row, emulated, no, row};
use crate::world::artifact::native_program;
use crate::world::cache::busybox;
use crate::world::rule::rule;
use crate::world::{host, packages};

pub fn rows() -> Vec<Row> {
    let mut rows = changed();
    rows.extend(no_emulators());
    rows.extend(other_hosts());
    rows
}

/// Registers a working rule; where its emulator is.
fn registered(s: &Scene) -> PathBuf {
    s.add(rule("theirs", "riscv64"));
    s.emulator("riscv64")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A file system of its own with the emulator, which is registered.
fn on_a_file_system(s: &Scene) -> String {
    let place = s.world.path("fs").display().to_string();
    let emulator = s.emulator("riscv64").display().to_string();
    s.sh(&format!(
        "mkdir {place}; mount -t tmpfs tmpfs {place}; cp {emulator} {place}/emulator"
    ));
    s.add(rule("theirs", "riscv64").at(format!("{place}/emulator")));
    place
}

fn changed() -> Vec<Row> {
    vec![
        row(
            "the emulator was deleted after it was registered",
            "riscv64",
            |s| fs::remove_file(registered(s)).unwrap(),
            emulated()
                .by("theirs")
                .pinned("stale")
                .finding("stale", "warning"),
        ),
        row(
            "the emulator was replaced by another file",
            "riscv64",
            |s| {
                let garbage = s.world.program("garbage", b"garbage\n");
                fs::rename(garbage, registered(s)).unwrap();
            },
            emulated().by("theirs").pinned("stale"),
        ),
        row(
            "the emulator was replaced by a copy of itself",
            "riscv64",
            |s| {
                let path = registered(s);
                let copy = s.world.path("copy");
                fs::copy(&path, &copy).unwrap();
                fs::rename(copy, path).unwrap();
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "somebody tried to overwrite the emulator in place",
            "riscv64",
            |s| {
                let opened = File::options().write(true).open(registered(s));
                assert_eq!(opened.unwrap_err().kind(), ErrorKind::ExecutableFileBusy);
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "the emulator's right to be executed was taken away",
            "riscv64",
            |s| {
                let path = s.own_emulator();
                s.add(rule("theirs", "riscv64"));
                set_mode(&path, 0o644);
            },
            emulated().by("theirs").pinned("match"),
        ),
        row(
            "the emulator can be executed and not read",
            "riscv64",
            |s| {
                set_mode(&s.own_emulator(), 0o111);
                s.add(rule("theirs", "riscv64"));
            },
            emulated().by("theirs"),
        ),
        row(
            "the emulator's file system was remounted noexec",
            "riscv64",
            |s| {
                let place = on_a_file_system(s);
                s.sh(&format!("mount -o remount,noexec {place}"));
            },
            no("emulator-failed")
                .by("theirs")
                .finding("emulator-failed", "problem"),
        ),
        row(
            "the emulator's file system was unmounted lazily",
            "riscv64",
            |s| {
                let place = on_a_file_system(s);
                s.sh(&format!("umount --lazy {place}"));
            },
            emulated().by("theirs").pinned("stale"),
        ),
        row(
            "the interpreter is a link that leads elsewhere now",
            "riscv64",
            |s| {
                let link = s.world.path("link");
                symlink(s.emulator("riscv64"), &link).unwrap();
                s.add(rule("theirs", "riscv64").at(&link));
                fs::remove_file(&link).unwrap();
                symlink("/nowhere", &link).unwrap();
            },
            emulated().by("theirs").pinned("stale"),
        ),
        row(
            "the emulator's path leads to a pipe now",
            "riscv64",
            |s| {
                let path = registered(s).display().to_string();
                s.sh(&format!("rm {path}; mkfifo {path}"));
            },
            emulated()
                .by("theirs")
                .pinned("stale")
                .finding("stale", "warning"),
        ),
        row(
            "the emulator's path leads to an endless device now",
            "riscv64",
            |s| {
                let path = registered(s);
                fs::remove_file(&path).unwrap();
                symlink("/dev/zero", path).unwrap();
            },
            emulated().by("theirs").pinned("stale"),
        ),
        row(
            "the emulator's path leads to a directory now",
            "riscv64",
            |s| {
                let path = registered(s);
                fs::remove_file(&path).unwrap();
                fs::create_dir(path).unwrap();
            },
            emulated().by("theirs").pinned("stale"),
        ),
        row(
            "the emulator was named by a descriptor of whoever registered it",
            "riscv64",
            |s| {
                let emulator = s.emulator("riscv64").display().to_string();
                let line = rule("theirs", "riscv64").at("/proc/self/fd/9");
                s.add_after(&format!("exec 9<{emulator}"), line);
            },
            emulated().by("theirs").pinned("unknown"),
        ),
        row(
            "our emulator was replaced by another file",
            "riscv64",
            |s| {
                s.world.install("riscv64");
                let garbage = s.world.program("garbage", b"garbage\n");
                fs::rename(garbage, s.world.stored().remove(0)).unwrap();
            },
            emulated().owner("binfmtctl").pinned("stale"),
        ),
        row(
            "our store was deleted",
            "riscv64",
            |s| {
                s.world.install("riscv64");
                fs::remove_dir_all(s.world.prefix()).unwrap();
            },
            emulated()
                .owner("binfmtctl")
                .pinned("stale")
                .finding("stale", "warning"),
        ),
    ]
}

/// A rule whose "emulator" has these bytes.
fn instead(s: &Scene, bytes: &[u8]) {
    let path = s.world.program("instead", bytes);
    s.add(rule("theirs", "riscv64").at(path));
}

fn no_emulators() -> Vec<Row> {
    vec![
        row(
            "the interpreter is a dynamic program",
            "riscv64",
            |s| instead(s, &fs::read("/bin/true").unwrap()),
            no("interpreter-missing").by("theirs"),
        ),
        row(
            "the emulator is a dynamic program",
            "riscv64",
            |s| {
                let member = "./usr/bin/qemu-riscv64";
                let arch = host().debian.unwrap();
                let tree = packages::files("bookworm", "qemu-user", arch, &["*riscv64*"]);
                s.add(rule("theirs", "riscv64").at(tree.join(member)));
            },
            no("interpreter-missing")
                .by("theirs")
                .finding("interpreter-missing", "problem"),
        ),
        row(
            "the interpreter is a script around the emulator",
            "riscv64",
            |s| {
                let emulator = s.emulator("riscv64").display().to_string();
                instead(s, format!("#!/bin/sh\nexec {emulator} \"$@\"\n").as_bytes());
            },
            no("interpreter-missing").by("theirs"),
        ),
        row(
            "the interpreter is garbage",
            "riscv64",
            |s| instead(s, b"garbage\n"),
            no("emulator-failed")
                .by("theirs")
                .finding("emulator-failed", "problem"),
        ),
        row(
            "the interpreter is garbage, and its path leads to a pipe now",
            "riscv64",
            |s| {
                instead(s, b"garbage\n");
                let path = s.world.path("instead").display().to_string();
                s.sh(&format!("rm {path}; mkfifo {path}"));
            },
            no("emulator-failed").by("theirs"),
        ),
        row(
            "the interpreter is an empty file",
            "riscv64",
            |s| instead(s, b""),
            no("emulator-failed").by("theirs"),
        ),
        row(
            "the emulator is cut in its header",
            "riscv64",
            |s| instead(s, &fs::read(s.emulator("riscv64")).unwrap()[..80]),
            no("emulator-failed").by("theirs"),
        ),
        row(
            "the emulator is cut in the middle",
            "riscv64",
            |s| {
                let bytes = fs::read(s.emulator("riscv64")).unwrap();
                instead(s, &bytes[..bytes.len() / 2]);
            },
            no("emulator-failed").by("theirs"),
        ),
        row(
            "the emulator is for another guest",
            "riscv64",
            |s| s.add(rule("theirs", "riscv64").at(s.emulator("s390x"))),
            no("emulator-failed")
                .by("theirs")
                .finding("emulator-failed", "problem"),
        ),
        row(
            "the interpreter is itself a program that only the rule runs",
            "riscv64",
            |s| instead(s, &fs::read(busybox("riscv64")).unwrap()),
            no("emulator-failed").by("theirs"),
        ),
        row(
            "the emulator crashes",
            "riscv64",
            |s| instead(s, &native_program(b"\x0f\x0b")),
            no("emulator-failed").by("theirs"),
        )
        .on("linux/amd64"),
        row(
            "the emulator exits with status 0",
            "riscv64",
            |s| instead(s, &native_program(b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05")),
            no("emulator-failed").by("theirs"),
        )
        .on("linux/amd64"),
        row(
            "the emulator exits with the status that the probe would have",
            "riscv64",
            |s| {
                instead(
                    s,
                    &native_program(b"\xbf\x2a\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05"),
                )
            },
            no("emulator-failed").by("theirs"),
        )
        .on("linux/amd64"),
        row(
            "the emulator hangs",
            "riscv64",
            |s| instead(s, &native_program(b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7")),
            no("timeout").by("theirs"),
        )
        .on("linux/amd64"),
        row(
            "the emulator takes the next argument for the program's name, and isn't given one",
            "riscv64",
            |s| {
                let path = s.world.path("riscv64-binfmt-P");
                fs::rename(s.emulator("riscv64"), &path).unwrap();
                s.add(rule("theirs", "riscv64").at(path).flags("OF"));
            },
            no("emulator-failed")
                .by("theirs")
                .finding("argv0", "problem"),
        ),
        row(
            "the emulator takes the next argument for the program's name, and is given one",
            "riscv64",
            |s| {
                let path = s.world.path("riscv64-binfmt-P");
                fs::rename(s.emulator("riscv64"), &path).unwrap();
                s.add(rule("theirs", "riscv64").at(path));
            },
            emulated().by("theirs"),
        ),
    ]
}

/// The emulator for riscv64 that is itself for arm64 hosts.
fn arm64s() -> PathBuf {
    let member = "./usr/bin/qemu-riscv64";
    packages::files("trixie", "qemu-user", "arm64", &[member]).join(member)
}

fn other_hosts() -> Vec<Row> {
    vec![
        row(
            "the emulator is for another host",
            "riscv64",
            |s| s.add(rule("theirs", "riscv64").at(arm64s())),
            no("emulator-failed").by("theirs"),
        )
        .on("linux/amd64"),
        row(
            "the emulator is for another host, whose programs run here",
            "riscv64",
            |s| {
                s.add(rule("qemu-aarch64", "aarch64").flags("F"));
                s.add(rule("theirs", "riscv64").at(arm64s()).flags("F"));
            },
            // The one emulator looks for the other by its path.
            no("emulator-failed").by("theirs"),
        )
        .on("linux/amd64"),
        row(
            "the emulator is for another host, whose programs are handed over open",
            "riscv64",
            |s| {
                s.add(rule("qemu-aarch64", "aarch64"));
                s.add(rule("theirs", "riscv64").at(arm64s()).flags("F"));
            },
            // It starts, and asks for /dev/urandom.
            no("emulator-failed").by("theirs"),
        )
        .on("linux/amd64"),
        row(
            "the emulator is for another host, whose programs run here, both with O",
            "riscv64",
            |s| {
                s.add(rule("qemu-aarch64", "aarch64"));
                s.add(rule("theirs", "riscv64").at(arm64s()));
            },
            no("emulator-failed").by("theirs"),
        )
        .on("linux/amd64"),
    ]
}
