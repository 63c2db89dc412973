//! check: an exit status and no word on stdout.

use std::thread;
use std::time::{Duration, Instant};

use crate::world::World;

#[test]
fn what_runs_is_0_and_what_does_not_is_3() {
    let Some(world) = World::new() else { return };
    let host = crate::world::host().name;
    let native = world.ctl(&format!("check {host}")).assert_exit(0);
    assert_eq!((native.stdout.as_str(), native.stderr.as_str()), ("", ""));

    let missing = world.ctl("check linux/riscv64").assert_exit(3);
    assert_eq!(missing.stdout, "");
    missing.assert_says(&["linux/riscv64", "no rule is for it", "binfmtctl doctor"]);

    world.install("riscv64");
    world.ctl("check riscv64").assert_exit(0);
    world.ctl(&format!("check {host} riscv64")).assert_exit(0);
    world
        .ctl("check riscv64,s390x")
        .assert_exit(3)
        .assert_says(&["linux/s390x"]);
    world.write("qemu-riscv64", "0");
    world
        .ctl("check riscv64")
        .assert_exit(3)
        .assert_says(&["qemu-riscv64", "off"]);
}

#[test]
fn variants_are_measured() {
    let Some(world) = World::new() else { return };
    world.install("arm");
    for variant in ["v5", "v6", "v7"] {
        world
            .ctl(&format!("check linux/arm/{variant}"))
            .assert_exit(0);
    }
    for unknown in ["linux/arm/v9", "linux/amd64/v5", "riscv64/rva23u64"] {
        world
            .ctl(&format!("check {unknown}"))
            .assert_exit(2)
            .assert_says(&[unknown]);
    }
}

#[test]
fn it_waits_for_what_comes_and_not_longer_than_it_may() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    world.write("qemu-riscv64", "0");
    let started = Instant::now();
    world.ctl("check riscv64 --wait 1").assert_exit(3);
    assert!(started.elapsed() >= Duration::from_secs(1));

    let world = &world;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| world.ctl("check riscv64 --wait 60"));
        thread::sleep(Duration::from_millis(500));
        world.write("qemu-riscv64", "1");
        waiting.join().unwrap().assert_exit(0);
    });
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn wrong_words_are_usage() {
    let Some(world) = World::new() else { return };
    for line in [
        "check",
        "check nonsense",
        "check arm64 --wait soon",
        "check arm64 --wait -1",
    ] {
        let output = world.ctl(line).assert_exit(2);
        assert_eq!(output.stdout, "", "{output}");
    }
    world.run(["check", ""]).assert_exit(2);
}

#[test]
fn with_json_it_says_one_document() {
    let Some(world) = World::new() else { return };
    let document = world.ctl("check riscv64 --json").assert_exit(3).json();
    assert_eq!(document["platforms"][0]["cause"], "not-registered");
    assert_eq!(document["error"]["status"], 3);
    world.install("riscv64");
    let document = world.ctl("check riscv64 --json").assert_exit(0).json();
    assert_eq!(document["platforms"][0]["runs"], "emulated");
}

#[test]
fn a_broken_conf_file_is_no_matter() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    std::fs::write(world.conf_path(), "nonsense\n").unwrap();
    world.ctl("check riscv64").assert_exit(0);
    // Status says what runs, and then what is wrong with the file.
    let status = world.ctl("status riscv64 --json").assert_exit(6);
    assert_eq!(status.json()["platforms"][0]["runs"], "emulated");
    status.assert_says(&["zz-binfmtctl.conf", "line 1"]);

    std::fs::remove_file(world.conf_path()).unwrap();
    let path = world.conf_path().display().to_string();
    world.sh(&format!("mkfifo {path}")).assert_exit(0);
    world.ctl("check riscv64").assert_exit(0);
    world.ctl("status riscv64").assert_exit(6);
}

#[test]
fn the_proc_of_another_pid_namespace_identifies_nobody() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let script = "unshare --pid --fork sh -c '\"$BINFMTCTL\" status riscv64 --json'";
    let status = world.sh(script).json()["platforms"][0].clone();
    assert_eq!(status["runs"], "emulated");
    assert_eq!(status["sha256"], serde_json::Value::Null);
}
