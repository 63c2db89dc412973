//! Twice is the same as once, and a new version comes without a gap.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use crate::world::cache::{NEW, OLD, busybox, releases};
use crate::world::{World, changes, skip, text};

#[test]
fn a_second_install_writes_nothing() {
    let Some(world) = World::new() else { return };
    for line in [
        "install riscv64 arm",
        "install",
        "install all-targets",
        "install -n",
        "install",
    ] {
        let first = world.ctl(&format!("{line} --json")).assert_exit(0);
        let before = world.snapshot();
        let second = world.ctl(&format!("{line} --json")).assert_exit(0).json();
        assert!(changes(&before, &world.snapshot()).is_empty(), "{line}");
        assert_eq!(second["changed"], false, "{line}");
        assert_eq!(
            first.json()["platforms"].as_array().map(Vec::len),
            second["platforms"].as_array().map(Vec::len)
        );
    }
}

#[test]
fn a_second_uninstall_writes_nothing() {
    let Some(world) = World::new() else { return };
    world.install("riscv64 s390x");
    for line in ["uninstall riscv64", "uninstall"] {
        let first = world.ctl(&format!("{line} --json")).assert_exit(0).json();
        let before = world.snapshot();
        let second = world.ctl(&format!("{line} --json")).assert_exit(0).json();
        assert_eq!(
            changes(&before, &world.snapshot()),
            Vec::<std::path::PathBuf>::new()
        );
        assert_eq!(
            (&first["changed"], &second["changed"]),
            (&true.into(), &false.into())
        );
    }
}

#[test]
fn an_uninstall_leaves_nothing_behind() {
    let Some(world) = World::new() else { return };
    world.install("all");
    world.ctl("uninstall").assert_exit(0);
    assert!(world.entries().is_empty());
    assert!(!world.prefix().exists());
    assert!(!world.conf_path().exists());
}

#[test]
fn a_damaged_emulator_is_replaced() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let emulator = world.stored().remove(0);
    let mut bytes = std::fs::read(&emulator).unwrap();
    bytes[5000] ^= 1;
    // The kernel holds the old file against writing; a new one takes its name.
    let damaged = world.path("damaged");
    std::fs::write(&damaged, bytes).unwrap();
    std::fs::rename(&damaged, &emulator).unwrap();
    assert_eq!(text(&world.status("riscv64")["pinned"]), "stale");
    world
        .ctl("manifest verify")
        .assert_exit(7)
        .assert_says(&["not the pinned bytes", "qemu-riscv64"]);
    world.install("riscv64");
    assert_eq!(text(&world.status("riscv64")["pinned"]), "match");
    world.ctl("manifest verify").assert_exit(0);
}

#[test]
fn an_emulator_that_was_written_to_is_read_again_and_by_doctor_always() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let emulator = world.stored().remove(0);
    let stored = std::fs::metadata(&emulator).unwrap().modified().unwrap();
    let pinned = world.status("riscv64");
    // As a boot does that comes after somebody has written to the file.
    world.write("qemu-riscv64", "-1");
    let file = File::options().write(true).open(&emulator).unwrap();
    // Where nothing looks: it still runs.
    file.write_all_at(b"x", 12).unwrap();
    drop(file);
    world.register(
        world
            .conf()
            .lines()
            .find(|line| line.starts_with(":qemu-riscv64:"))
            .unwrap(),
    );
    let status = world.status("riscv64");
    assert_eq!(text(&status["pinned"]), "stale");
    assert_ne!(status["sha256"], pinned["sha256"]);
    // Who hides it is found out where all is read.
    File::open(&emulator).unwrap().set_modified(stored).unwrap();
    assert_eq!(world.status("riscv64")["sha256"], pinned["sha256"]);
    let findings = world.ctl("doctor --json").assert_exit(1).stdout;
    assert!(findings.contains("\"stale\""), "{findings}");
    world.ctl("manifest verify").assert_exit(7);
}

/// Runs a riscv64 program without pause while `change` works; how often.
fn while_running(world: &World, change: impl FnOnce()) -> usize {
    let stop = world.path("stop");
    let script = format!(
        "n=0; until [ -e '{}' ]; do '{}' true; n=$((n + 1)); done; echo $n",
        stop.display(),
        busybox("riscv64").display(),
    );
    thread::scope(|scope| {
        let running = scope.spawn(|| world.sh(&script));
        let end = End(&stop);
        change();
        drop(end);
        running
            .join()
            .unwrap()
            .assert_exit(0)
            .stdout
            .trim()
            .parse()
            .unwrap()
    })
}

/// Ends the loop, also when what it runs beside fails.
struct End<'a>(&'a std::path::Path);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0, "");
    }
}

#[test]
fn an_upgrade_and_a_downgrade_have_no_gap_and_leave_nothing_of_the_other() {
    if releases().len() < 2 {
        return skip("only one QEMU is pinned for this host");
    }
    let Some(world) = World::new() else { return };
    world.install("riscv64 s390x");
    let ran = while_running(&world, || {
        for qemu in [NEW, OLD, NEW, OLD, NEW] {
            world.install(&format!("riscv64 s390x --qemu {qemu}"));
            for platform in ["riscv64", "s390x"] {
                let status = world.status(platform);
                assert_eq!(text(&status["qemu"]), qemu);
                assert_eq!(text(&status["handler"]), format!("qemu-{platform}"));
                assert_eq!(text(&status["pinned"]), "match");
            }
            assert_eq!(world.names(), ["qemu-riscv64", "qemu-s390x"]);
            assert_eq!(world.stored().len(), 2);
        }
    });
    assert!(ran >= 100, "only {ran} programs ran meanwhile");
}

#[test]
fn a_run_that_is_killed_at_any_instant_breaks_nothing_and_is_mended_by_the_next() {
    if releases().len() < 2 {
        return skip("only one QEMU is pinned for this host");
    }
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let ran = while_running(&world, || {
        for (i, qemu) in [NEW, OLD].into_iter().cycle().take(24).enumerate() {
            let after = format!(
                "{}",
                Duration::from_millis(20 * (i as u64 + 1)).as_secs_f32()
            );
            let script = format!(
                "timeout -s KILL {after} \"$BINFMTCTL\" install riscv64 --qemu {qemu} || true"
            );
            world.sh(&script).assert_exit(0);
            assert_eq!(world.runs("riscv64"), "emulated");
        }
        world.install(&format!("riscv64 --qemu {OLD}"));
    });
    assert!(ran >= 100, "only {ran} programs ran meanwhile");
    assert_eq!(world.names(), ["qemu-riscv64"]);
    assert_eq!(world.stored().len(), 1, "{:?}", world.stored());
    assert_eq!(world.conf_names(), ["qemu-riscv64"]);
}
