//! `apply`: the kernel gets what the file says, offline, without a gap.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::world::cache::busybox;
use crate::world::{World, changes};
use crate::wrong_hosts::lock;

/// A world whose file names these platforms, as after an install.
fn written(platforms: &str) -> Option<World> {
    let world = World::new()?;
    world.install(platforms);
    Some(world)
}

/// Runs it without any network.
fn apply(world: &World) -> crate::world::Output {
    world.sh("exec unshare --net $BINFMTCTL apply --json")
}

#[test]
fn what_a_boot_lost_comes_back_offline() {
    let Some(world) = written("riscv64 386 s390x") else {
        return;
    };
    let names = world.names();
    for name in &names {
        world.write(name, "-1");
    }
    assert!(world.names().is_empty());
    let document = apply(&world).assert_exit(0).json();
    assert_eq!(document["changed"], true);
    let mut after = world.names();
    after.sort();
    let mut before = names;
    before.sort();
    assert_eq!(after, before);
    world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
}

#[test]
fn where_all_is_right_nothing_is_written() {
    let Some(world) = written("riscv64 s390x") else {
        return;
    };
    let before = world.snapshot();
    let document = apply(&world).assert_exit(0).json();
    assert_eq!(document["changed"], false);
    assert!(changes(&before, &world.snapshot()).is_empty());
}

#[test]
fn a_rule_that_isnt_as_the_file_says_is_mended() {
    let Some(world) = written("riscv64") else {
        return;
    };
    let interpreter = world.conf_rules()[0].interpreter.clone();
    for break_it in ["0", "-1"] {
        world.write("qemu-riscv64", break_it);
        apply(&world).assert_exit(0);
        assert_eq!(world.runs("riscv64"), "emulated");
    }
    // As systemd would never register it: without F.
    world.write("qemu-riscv64", "-1");
    let line = world.conf_rules()[0].line().unwrap().replace(":POF", ":PO");
    world.register(&line);
    assert_eq!(apply(&world).assert_exit(0).json()["changed"], true);
    let rule = world.entry("qemu-riscv64");
    assert!(
        rule.contains("flags: POF") && rule.contains(&interpreter),
        "{rule}"
    );
}

#[test]
fn the_name_that_a_rule_has_in_the_file_stays() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let conf = world
        .conf()
        .replace(":qemu-riscv64:", ":binfmtctl-riscv64:");
    fs::write(world.conf_path(), conf).unwrap();
    world.write("qemu-riscv64", "-1");
    apply(&world).assert_exit(0);
    assert_eq!(world.names(), ["binfmtctl-riscv64"]);
    assert_eq!(apply(&world).assert_exit(0).json()["changed"], false);
}

#[test]
fn others_rules_that_work_are_kept_and_broken_ones_shadowed() {
    let Some(world) = written("riscv64") else {
        return;
    };
    let ours = world.conf_rules()[0].line().unwrap();
    let theirs = |flags: &str| {
        let line = ours.replace(":qemu-riscv64:", ":theirs:");
        let elsewhere = world.path("qemu-elsewhere").display().to_string();
        let interpreter = &world.conf_rules()[0].interpreter;
        fs::copy(interpreter, &elsewhere).unwrap();
        line.replace(interpreter.as_str(), &elsewhere)
            .replace(":POF", &format!(":{flags}"))
    };
    world.write("qemu-riscv64", "-1");
    world.register(&theirs("POF"));
    apply(&world).assert_exit(0);
    assert_eq!(world.names(), ["theirs"]);
    world.write("theirs", "-1");
    world.register(&theirs("PO"));
    apply(&world).assert_exit(0);
    assert_eq!(world.names(), ["qemu-riscv64", "theirs"]);
}

#[test]
fn what_another_run_took_away_meanwhile_isnt_brought_back() {
    let Some(world) = written("riscv64 s390x") else {
        return;
    };
    world.write("qemu-s390x", "-1");
    let held = lock(world.open("register"));
    let mut waiting = world
        .command("sh")
        .args(["-euc", "exec $BINFMTCTL apply"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let line = told.next().unwrap().unwrap();
    assert!(line.contains("waiting"), "{line}");
    // What an uninstall does.
    fs::remove_file(world.conf_path()).unwrap();
    world.write("qemu-riscv64", "-1");
    drop(held);
    told.for_each(drop);
    assert!(waiting.wait().unwrap().success());
    assert!(world.names().is_empty());
}

#[test]
fn of_two_lines_for_one_platform_the_last_counts() {
    let Some(world) = written("riscv64") else {
        return;
    };
    let file = world.conf();
    let old = world.conf_rules()[0].interpreter.clone();
    world.install("riscv64 --qemu 11.1.3");
    let new = world.conf_rules()[0].interpreter.clone();
    assert_ne!(old, new);
    let line = file.lines().last().unwrap();
    let earlier = line.replace(":qemu-riscv64:", ":earlier:");
    fs::write(world.conf_path(), format!("{earlier}\n{}", world.conf())).unwrap();
    let document = apply(&world).assert_exit(0).json();
    assert_eq!(document["changed"], false);
    world.write("qemu-riscv64", "-1");
    apply(&world).assert_exit(0);
    assert_eq!(world.status("riscv64")["interpreter"], new);
}

#[test]
fn one_lost_emulator_doesnt_keep_the_others_from_running() {
    let Some(world) = written("riscv64 s390x") else {
        return;
    };
    for name in ["qemu-riscv64", "qemu-s390x"] {
        world.write(name, "-1");
    }
    let interpreter = |name: &str| {
        let rules = world.conf_rules();
        let rule = rules.into_iter().find(|rule| rule.name == name);
        rule.unwrap().interpreter
    };
    fs::write(interpreter("qemu-s390x"), "damaged").unwrap();
    apply(&world).assert_exit(7).assert_says(&[
        "linux/s390x",
        "damaged",
        "binfmtctl install s390x",
    ]);
    assert_eq!(world.runs("riscv64"), "emulated");
    fs::remove_file(interpreter("qemu-s390x")).unwrap();
    apply(&world)
        .assert_exit(1)
        .assert_says(&["linux/s390x", "missing"]);
}

#[test]
fn what_cant_be_of_this_programs_making_isnt_applied() {
    let Some(world) = written("riscv64") else {
        return;
    };
    let good = world.conf();
    let interpreter = world.conf_rules()[0].interpreter.clone();
    for (text, words) in [
        (
            good.replace(&interpreter, "/bin/busybox"),
            "isn't in the store",
        ),
        (
            format!("{good}:x:M::XY::{interpreter}:F\n"),
            "the programs of no platform",
        ),
        (format!("{good}nonsense\n"), "line"),
    ] {
        fs::write(world.conf_path(), text).unwrap();
        apply(&world).assert_exit(6).assert_says(&[words]);
    }
    fs::remove_file(world.conf_path()).unwrap();
    let document = apply(&world).assert_exit(0).json();
    assert_eq!(document["changed"], false);
    assert_eq!(world.names(), ["qemu-riscv64"]);
}
