//! What is asked for is what is done, no more and no less.

use binfmtctl::binfmt::Entry;
use binfmtctl::binfmt::entry::Kind;

use crate::world::cache::busybox;
use crate::world::{World, changes, host, text};

#[test]
fn installs_add_up_and_uninstalls_take_away() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    world.install("linux/riscv64");
    assert_eq!(world.names(), ["qemu-riscv64", "qemu-s390x"]);
    assert_eq!(sorted(world.conf_names()), ["qemu-riscv64", "qemu-s390x"]);
    world.ctl("uninstall s390x").assert_exit(0);
    assert_eq!(world.names(), ["qemu-riscv64"]);
    assert_eq!(world.conf_names(), ["qemu-riscv64"]);
    assert_eq!(world.stored().len(), 1);
    assert_eq!(world.runs("riscv64"), "emulated");
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn names_that_people_type_are_understood() {
    let Some(world) = World::new() else { return };
    world.install("qemu-riscv64-static,LINUX/S390X mips64el-linux-gnuabi64");
    assert_eq!(
        world.names(),
        ["qemu-mips64el", "qemu-riscv64", "qemu-s390x"]
    );
}

#[test]
fn the_native_platform_is_a_success_that_does_nothing() {
    let Some(world) = World::new() else { return };
    let before = world.snapshot();
    let done = world
        .ctl(&format!("install {} --json", host().name))
        .assert_exit(0)
        .json();
    assert_eq!(done["platforms"][0]["action"], "native");
    assert_eq!(done["changed"], false);
    assert!(changes(&before, &world.snapshot()).is_empty());
}

#[test]
fn a_dry_run_changes_nothing() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    let before = world.snapshot();
    for line in [
        "install riscv64 -n",
        "install all-targets --dry-run",
        "uninstall -n",
        "uninstall s390x -n",
    ] {
        let document = world.ctl(&format!("{line} --json")).assert_exit(0).json();
        assert_eq!(
            (&document["dry_run"], &document["changed"]),
            (&true.into(), &true.into()),
            "{line}"
        );
        assert!(changes(&before, &world.snapshot()).is_empty(), "{line}");
    }
}

#[test]
fn what_shouldnt_last_isnt_written_down() {
    let Some(world) = World::new() else { return };
    world.install("riscv64 --no-persist");
    assert!(!world.conf_path().exists());
    assert_eq!(world.runs("riscv64"), "emulated");
    world.install("riscv64");
    assert_eq!(world.conf_names(), ["qemu-riscv64"]);
}

#[test]
fn credentials_are_given_only_when_asked_for() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    assert_eq!(text(&world.status("riscv64")["flags"]), "POF");
    world.install("riscv64 --credentials");
    assert_eq!(text(&world.status("riscv64")["flags"]), "POCF");
    world.install("riscv64");
    assert_eq!(text(&world.status("riscv64")["flags"]), "POF");
    assert_eq!(world.names(), ["qemu-riscv64"]);
}

#[test]
fn the_file_says_what_the_kernel_was_given() {
    let Some(world) = World::new() else { return };
    world.install("all-targets");
    let rules = world.conf_rules();
    assert_eq!(rules.len(), world.entries().len());
    for rule in rules {
        let entry = Entry::parse(&rule.name, &world.entry(&rule.name)).unwrap();
        assert_eq!(entry.kind, Kind::Magic(rule.pattern));
        assert_eq!(entry.interpreter, rule.interpreter);
        assert_eq!(entry.flags, rule.flags.to_string());
    }
}

#[test]
fn the_files_lines_work_as_they_stand() {
    let Some(world) = World::new() else { return };
    world.install("riscv64 s390x");
    let before = world.entries();
    for name in before.keys() {
        world.write(name, "-1");
    }
    for line in world.conf().lines().filter(|line| !line.starts_with('#')) {
        world.register(line);
    }
    assert_eq!(world.entries(), before);
    world.exec(&busybox("s390x"), &["true"]).assert_exit(0);
    let again = world
        .ctl("install riscv64 s390x --json")
        .assert_exit(0)
        .json();
    assert_eq!(again["changed"], false);
}
