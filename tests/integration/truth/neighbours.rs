//! Other people's rules as they really are: the packages of distributions,
//! images, and other emulators.

use std::path::Path;

use super::scene::Scene;
use super::{Row, emulated, no, row};
use crate::world::rule::rule;
use crate::world::{host, packages};

/// Puts a copy of the emulator where somebody has it.
fn emulator_at(s: &Scene, path: &str) {
    let dir = Path::new(path).parent().unwrap().display();
    let top: String = path.split('/').take(2).collect::<Vec<_>>().join("/");
    let emulator = s.emulator("riscv64").display().to_string();
    s.sh(&format!(
        "mount -t tmpfs tmpfs {top}; mkdir -p {dir}; cp {emulator} {path}"
    ));
}

/// Puts the emulator below /usr, as a distribution does, and registers it.
fn distributed(s: &Scene, path: &'static str, flags: &'static str) {
    let tree = s.tree(&[(path, &packages::emulator("riscv64"))]);
    s.put_over_usr(&tree);
    s.add(rule("qemu-riscv64", "riscv64").at(path).flags(flags));
}

/// Registers what a package's own file says.
fn from_file(s: &Scene, file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(':')).unwrap();
    s.sh(&format!(
        "printf %s '{line}' >/proc/sys/fs/binfmt_misc/register"
    ));
}

/// Debian 12's package with the emulators, and the one with the rules, which
/// may be the same.
fn debian_12(s: &Scene, emulators: &str, rules: &str) {
    let arch = host().debian.unwrap();
    let unpacked = |package| packages::files("bookworm", package, arch, &["*riscv64*"]);
    s.put_over_usr(&unpacked(emulators));
    if rules != emulators {
        s.put_over_usr(&unpacked(rules));
    }
    let conf = "usr/lib/binfmt.d/qemu-riscv64.conf";
    from_file(s, &unpacked(rules).join(conf));
}

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "Debian 13: qemu-user-binfmt",
            "riscv64",
            |s| {
                let tree = packages::pinned();
                s.put_over_usr(&tree);
                from_file(s, &tree.join("usr/share/qemu/binfmt.d/qemu-riscv64.conf"));
            },
            emulated()
                .by("qemu-riscv64")
                .owner("distribution")
                .pinned("match"),
        ),
        row(
            "Debian 12: qemu-user-static",
            "riscv64",
            |s| {
                debian_12(s, "qemu-user-static", "qemu-user-static");
            },
            emulated()
                .by("qemu-riscv64")
                .owner("distribution")
                .pinned("match"),
        ),
        row(
            "Debian 12: qemu-user and qemu-user-binfmt, which aren't static",
            "riscv64",
            |s| debian_12(s, "qemu-user", "qemu-user-binfmt"),
            no("no-fix-binary").by("qemu-riscv64").owner("distribution"),
        ),
        row(
            "Debian 12: the package is gone, the rule is still there",
            "riscv64",
            |s| {
                debian_12(s, "qemu-user-static", "qemu-user-static");
                s.sh("umount --lazy /usr");
            },
            emulated().by("qemu-riscv64").pinned("stale"),
        ),
        row(
            "Fedora",
            "riscv64",
            |s| distributed(s, "/usr/bin/qemu-riscv64-static", "F"),
            emulated().by("qemu-riscv64").owner("distribution"),
        ),
        row(
            "Arch Linux",
            "riscv64",
            |s| distributed(s, "/usr/bin/qemu-riscv64-static", "FP"),
            emulated().by("qemu-riscv64").owner("distribution"),
        ),
        row(
            "NixOS as it comes",
            "riscv64",
            |s| {
                emulator_at(s, "/run/binfmt/riscv64-linux");
                let line = rule("riscv64-linux", "riscv64").at("/run/binfmt/riscv64-linux");
                s.add(line.flags("P"));
            },
            no("no-fix-binary")
                .by("riscv64-linux")
                .owner("distribution"),
        ),
        row(
            "NixOS with fixBinary",
            "riscv64",
            |s| {
                emulator_at(s, "/run/binfmt/riscv64-linux");
                let line = rule("riscv64-linux", "riscv64").at("/run/binfmt/riscv64-linux");
                s.add(line.flags("PF"));
            },
            emulated().by("riscv64-linux").owner("distribution"),
        ),
        row(
            "tonistiigi/binfmt: the emulator lies in its image alone",
            "riscv64",
            |s| {
                let path = "/usr/bin/qemu-riscv64";
                let tree = s.tree(&[(path, &packages::emulator("riscv64"))]);
                s.add_from_image(
                    &tree,
                    rule("qemu-riscv64", "riscv64").at(path).flags("POCF"),
                );
            },
            emulated()
                .by("qemu-riscv64")
                .owner("tonistiigi")
                .pinned("stale")
                .finding("credentials", "warning"),
        ),
        row(
            "multiarch/qemu-user-static: the emulator lies in its image alone",
            "riscv64",
            |s| {
                let path = "/usr/bin/qemu-riscv64-static";
                let tree = s.tree(&[(path, &packages::emulator("riscv64"))]);
                s.add_from_image(&tree, rule("qemu-riscv64", "riscv64").at(path).flags("F"));
            },
            emulated().by("qemu-riscv64").owner("other").pinned("stale"),
        ),
        row(
            "Rosetta in a virtual machine of Lima's",
            "riscv64",
            |s| {
                emulator_at(s, "/mnt/lima-rosetta/rosetta");
                let line = rule("rosetta", "riscv64").at("/mnt/lima-rosetta/rosetta");
                s.add(line.flags("OCF"));
            },
            emulated().by("rosetta").owner("rosetta"),
        ),
        row(
            "FEX",
            "riscv64",
            |s| {
                let path = "/usr/bin/FEXInterpreter";
                s.put_over_usr(&s.tree(&[(path, &packages::emulator("riscv64"))]));
                s.add(rule("FEX-x86_64", "riscv64").at(path).flags("POCF"));
            },
            emulated().by("FEX-x86_64").owner("other"),
        ),
        row(
            "box64, which comes without F",
            "riscv64",
            |s| {
                let path = "/usr/bin/box64";
                s.put_over_usr(&s.tree(&[(path, &packages::emulator("riscv64"))]));
                s.add(rule("box64", "riscv64").at(path).flags(""));
            },
            no("no-fix-binary").by("box64").owner("other"),
        ),
    ]
}
