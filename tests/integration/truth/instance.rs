//! binfmt_misc itself: mounted or not, on or off, here or elsewhere.

use super::scene::Scene;
use super::{Row, emulated, native, no, row};
use crate::world::rule::rule;

const MOUNT: &str = "/proc/sys/fs/binfmt_misc";

/// A second place where the instance is mounted.
fn elsewhere(scene: &Scene) -> String {
    let place = scene.world.path("elsewhere").display().to_string();
    scene.sh(&format!("mkdir {place}; mount --bind {MOUNT} {place}"));
    place
}

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "nothing is registered",
            "riscv64",
            |_| {},
            no("not-registered").finding("not-registered", "warning"),
        ),
        row(
            "the last mount is gone, and with it the rule",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.sh(&format!("umount {MOUNT}"));
            },
            no("unmounted").finding("mount", "problem"),
        ),
        row(
            "neither this user namespace nor the one around it has one mounted",
            "riscv64",
            |s| {
                s.sh(&format!("umount {MOUNT}"));
                s.enter();
            },
            no("unmounted").finding("mount", "problem"),
        ),
        row(
            "the rules of the outer user namespace reach into this one",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.enter();
            },
            emulated().by("theirs"),
        ),
        row(
            "this user namespace has an empty binfmt_misc of its own",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.enter();
                s.sh(&format!("mount -t binfmt_misc binfmt_misc {MOUNT}"));
            },
            no("not-registered"),
        ),
        row(
            "this user namespace had one of its own, and shows the outer one's rules now",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.enter();
                s.sh(&format!(
                    "mount -t binfmt_misc binfmt_misc {MOUNT}; umount {MOUNT}"
                ));
            },
            no("unmounted").finding("unmounted", "problem"),
        ),
        row(
            "everything is switched off",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.world.write("status", "0");
            },
            no("disabled").by("theirs").finding("switch", "problem"),
        ),
        row(
            "everything is switched off and nothing is registered",
            "riscv64",
            |s| s.world.write("status", "0"),
            no("not-registered"),
        ),
        row(
            "everything is switched off, and native programs don't care",
            "linux/amd64",
            |s| s.world.write("status", "0"),
            native(),
        )
        .on("linux/amd64"),
        row(
            "the rule is switched off",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.world.write("theirs", "0");
            },
            no("disabled").by("theirs").finding("disabled", "problem"),
        ),
        row(
            "the rule was switched off and on again",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.world.write("theirs", "0");
                s.world.write("theirs", "1");
            },
            emulated().by("theirs"),
        ),
        row(
            "the newest rule is switched off, the one behind it isn't",
            "riscv64",
            |s| {
                s.add(rule("older", "riscv64"));
                s.add(rule("newer", "riscv64"));
                s.world.write("newer", "0");
            },
            emulated().by("older"),
        ),
        row(
            "the newest rule is switched off, the one behind it is broken",
            "riscv64",
            |s| {
                s.add(rule("older", "riscv64").at("/nowhere").flags(""));
                s.add(rule("newer", "riscv64"));
                s.world.write("newer", "0");
            },
            no("no-fix-binary").by("older"),
        ),
        row(
            "the instance is mounted in two places, and the second one is named",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.options = vec!["--mount".to_owned(), elsewhere(s)];
            },
            emulated().by("theirs"),
        ),
        row(
            "the instance is mounted in another place only, and that one is named",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.options = vec!["--mount".to_owned(), elsewhere(s)];
                s.sh(&format!("umount {MOUNT}"));
            },
            emulated().by("theirs"),
        ),
        row(
            "the instance is mounted in another place only, which isn't named",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                elsewhere(s);
                s.sh(&format!("umount {MOUNT}"));
            },
            emulated(),
        ),
        row(
            "the instance is mounted in another place only, with a narrow rule",
            "riscv64",
            |s| {
                s.add(rule("narrow", "riscv64").mask(16, 0xff));
                elsewhere(s);
                s.sh(&format!("umount {MOUNT}"));
            },
            no("unmounted"),
        ),
        row(
            "the rules that can be seen are the outer user namespace's, ours is narrow",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64").at(s.emulator("riscv64")));
                s.enter();
                s.sh(&format!("mount -t binfmt_misc binfmt_misc {MOUNT}"));
                s.add(rule("narrow", "riscv64").mask(16, 0xff));
                elsewhere(s);
                s.sh(&format!("umount {MOUNT}"));
            },
            no("unmounted"),
        ),
        row(
            "the place that is named is a plain directory",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.options = vec!["--mount".to_owned(), "/tmp".to_owned()];
            },
            emulated(),
        ),
        row(
            "the place that is named is a plain directory, and the only rule is off",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.world.write("theirs", "0");
                s.options = vec!["--mount".to_owned(), "/tmp".to_owned()];
            },
            no("unmounted"),
        ),
        row(
            "something else is mounted over the mount point",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.sh(&format!("mount -t tmpfs tmpfs {MOUNT}"));
            },
            emulated().finding("mount", "problem"),
        ),
        row(
            "the mount is read-only",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.sh(&format!("mount -o remount,ro {MOUNT}"));
            },
            emulated().by("theirs"),
        ),
    ]
}
