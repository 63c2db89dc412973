//! What the tool is for: programs of every platform run.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use binfmtctl::binfmt::Entry;
use binfmtctl::platform::{PROBE_BASE, Platform, TARGETS, Target};
use binfmtctl::probe::Probe;

use crate::world::cache::{NEW, OLD, PROGRAMS, busybox, releases};
use crate::world::{World, skip, text};

#[test]
fn all_targets_run_with_the_default_qemu() {
    everything_runs(OLD);
}

#[test]
fn all_targets_run_with_the_newer_qemu() {
    if !releases().iter().any(|release| release.qemu == NEW) {
        return skip(&format!("QEMU {NEW} isn't pinned for this host"));
    }
    everything_runs(NEW);
}

/// Installs everything of one QEMU, holds each row of the table against the
/// rules that the kernel then has, and executes it.
fn everything_runs(qemu: &str) {
    let Some(world) = World::new() else { return };
    world.install(&format!("all-targets --qemu {qemu}"));
    let status = world.ctl("status all-targets --json").assert_exit(0).json();
    let reports = status["platforms"].as_array().unwrap();
    let (native, emulated): (Vec<_>, Vec<_>) = reports
        .iter()
        .partition(|report| report["runs"] == "native");
    for report in emulated {
        assert_eq!(report["runs"], "emulated", "{report}");
        assert_eq!(report["qemu"], qemu, "{report}");
        assert_eq!(report["pinned"], "match", "{report}");
        assert_eq!(report["owner"], "binfmtctl", "{report}");
    }
    let is_native = |platform: &Platform| native.iter().any(|n| n["platform"] == platform.name);
    let foreign = || {
        TARGETS
            .iter()
            .filter(|target| !is_native(target.platform()))
    };
    let entries = world.entries();
    let entries = entries
        .iter()
        .map(|(name, text)| Entry::parse(name, text).unwrap());
    let entries: Vec<Entry> = entries.collect();
    for target in foreign() {
        let header = Probe::of(target).image();
        let matching = entries.iter().filter(|entry| entry.matches(&header));
        let names: Vec<&str> = matching.map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, [format!("qemu-{}", target.name)]);
    }
    assert_eq!(entries.len(), foreign().count());
    for target in &TARGETS {
        counts_its_arguments(&world, target);
    }
}

/// The status of a row's program follows what it is started with.
fn counts_its_arguments(world: &World, target: &'static Target) {
    let program = world.file(target.name, Probe::of(target).image());
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    for argc in 1..=3 {
        let arguments = &["x", "x"][..argc - 1];
        world
            .exec(&program, arguments)
            .assert_exit(PROBE_BASE + argc as i32);
    }
}

#[test]
fn real_programs_run_with_their_arguments_and_their_status() {
    let Some(world) = World::new() else { return };
    world.install("all");
    for (architecture, _) in PROGRAMS {
        let program = busybox(architecture);
        let output = world
            .exec(&program, &["echo", "from", "a b", architecture])
            .assert_exit(0);
        assert_eq!(output.stdout, format!("from a b {architecture}\n"));
        world.exec(&program, &["sh", "-c", "exit 7"]).assert_exit(7);
    }
}

#[test]
fn a_program_runs_as_the_only_file_of_a_root() {
    let Some(world) = World::new() else { return };
    world.install("all");
    let root = world.path("root");
    std::fs::create_dir(&root).unwrap();
    for (architecture, emulator) in PROGRAMS {
        std::fs::copy(busybox(architecture), root.join("busybox")).unwrap();
        let output = world.sh(&format!("chroot '{}' /busybox uname -m", root.display()));
        let machine = output.assert_exit(0).stdout;
        let family = emulator
            .replace("el", "")
            .replace("arm", "armv")
            .replace("i386", "i");
        assert!(
            machine.starts_with(&family) || is_native(&world, emulator),
            "{machine}"
        );
    }
}

/// `uname -m` says the kernel's own machine where no emulator is between.
fn is_native(world: &World, emulator: &str) -> bool {
    let platform = Platform::by_emulator(emulator).unwrap();
    world.runs(platform.name) == "native"
}

#[test]
fn a_program_gets_the_name_that_it_was_called_by() {
    let Some(world) = World::new() else { return };
    world.install("riscv64 s390x");
    for architecture in ["riscv64", "s390x"] {
        let program = busybox(architecture);
        let script = format!("exec -a echo '{}' it is kept", program.display());
        let output = crate::world::Output::of(world.command("bash").args(["-c", &script]));
        assert_eq!(output.assert_exit(0).stdout, "it is kept\n");
    }
}

#[test]
fn a_program_runs_on_when_its_emulator_is_gone_from_the_disk() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    std::fs::remove_dir_all(world.prefix()).unwrap();
    world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
    assert_eq!(text(&world.status("riscv64")["pinned"]), "stale");
    world.install("riscv64");
    assert_eq!(text(&world.status("riscv64")["pinned"]), "match");
}

#[test]
fn an_instance_that_isnt_mounted_yet_is_mounted() {
    let Some(world) = World::unmounted() else {
        return;
    };
    world.install("riscv64");
    world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
    world.install("s390x");
    assert_eq!(world.names(), ["qemu-riscv64", "qemu-s390x"]);
}
