//! Where the rules are seen from: a container mounts its own binfmt_misc, and
//! what only it holds is gone when it ends.

use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::scene::{Scene, strings};
use crate::world::World;
use crate::world::cache::busybox;

/// A directory to mount binfmt_misc on, as a container has one.
fn mount_point(scene: &Scene) -> String {
    let dir = scene.world.path("mount");
    std::fs::create_dir(&dir).unwrap();
    dir.display().to_string()
}

#[test]
fn rules_that_somebody_else_holds_outlive_the_run() {
    let Some(scene) = Scene::new() else { return };
    let dir = mount_point(&scene);
    let done = scene.run("", &format!("binfmt --mount {dir} --install riscv64"));
    let state = done.assert_exit(0).json();
    assert_eq!(strings(&state["emulators"]), ["qemu-riscv64"]);
    assert_eq!(scene.rules(), ["qemu-riscv64@here POCF"]);
    scene
        .world
        .exec(&busybox("riscv64"), &["true"])
        .assert_exit(0);
    // What it mounted is gone.
    let left = scene.world.sh(&format!("ls {dir}")).assert_exit(0);
    assert_eq!(left.stdout, "");
    let state = scene
        .run("", &format!("binfmt --mount={dir}"))
        .assert_exit(0);
    assert!(state.stdout.contains("\"mounted\": false"), "{state}");
}

#[test]
fn rules_that_go_with_the_run_are_no_success() {
    let Some(scene) = Scene::new() else { return };
    let dir = mount_point(&scene);
    scene
        .world
        .sh("umount /proc/sys/fs/binfmt_misc")
        .assert_exit(0);
    let done = scene.run("", &format!("binfmt --mount {dir} --install riscv64"));
    let state = done.json();
    let done = done.assert_exit(1).assert_says(&[
        "linux/riscv64 ran, and its rules are gone already",
        "only this run had binfmt_misc mounted",
        "--pid=host",
    ]);
    assert!(!done.stderr.contains("installing: riscv64 OK"), "{done}");
    assert!(state["emulators"].is_null());
    let told = scene.run(
        "BINFMTCTL_LENIENT=1",
        &format!("binfmt --mount {dir} --install all"),
    );
    told.assert_exit(0);
}

#[test]
fn a_state_is_told_also_where_nothing_can_be_seen_or_changed() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let scene = Scene::of(world);
    for env in ["", "BINFMTCTL_USERNS=0"] {
        let state = scene.run(env, "binfmt").assert_exit(0).json();
        assert!(!strings(&state["supported"]).is_empty());
    }
    // The host's rules aren't this namespace's to change.
    let refused = scene.run("BINFMTCTL_USERNS=0", "binfmt --install alpha");
    let state = refused.json();
    assert_eq!(state["changed"], false);
    assert_eq!(state["error"]["status"], 1);
    refused
        .assert_exit(1)
        .assert_says(&["user namespace", "--userns"]);
}

#[test]
fn these_flags_dont_lead_into_the_host() {
    let Some(scene) = Scene::new() else { return };
    scene
        .run("BINFMTCTL_HOST=1", "binfmt --install riscv64")
        .assert_exit(2)
        .assert_says(&["BINFMTCTL_HOST", "install --host"]);
    assert!(scene.rules().is_empty());
}

#[test]
fn a_namespace_gets_rules_of_its_own_that_stay() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let scene = Scene::of(world);
    let done = scene.run("", "binfmt --install riscv64").assert_exit(0);
    assert!(done.stderr.contains("this user namespace's own"), "{done}");
    let program = busybox("riscv64");
    scene.world.exec(&program, &["true"]).assert_exit(0);
    scene.run("", "binfmt --uninstall riscv64").assert_exit(0);
    assert_ne!(scene.world.exec(&program, &["true"]).status, 0);
}

#[test]
fn who_may_not_change_anything_is_told_so_and_gets_the_state() {
    let Some(scene) = Scene::new() else { return };
    scene.register("qemu-riscv64=riscv64@elsewhere POF");
    let no_rights = "BINFMTCTL_USERNS=0";
    let refused = scene.run(no_rights, "binfmt --install s390x");
    assert_eq!(strings(&refused.json()["emulators"]), ["qemu-riscv64"]);
    refused
        .assert_exit(1)
        .assert_says(&["user namespace", "--userns"]);
    scene
        .run(no_rights, "binfmt --uninstall qemu-riscv64")
        .assert_exit(1);
    scene.run(no_rights, "binfmt --reset -p yes").assert_exit(1);
    assert_eq!(scene.rules(), ["qemu-riscv64@elsewhere POF"]);
    for line in ["binfmt --install all", "binfmt --mount /etc --install all"] {
        scene.run(no_rights, line).assert_exit(1);
    }
    // What is there already needs no rights.
    scene
        .run(no_rights, "binfmt --install riscv64")
        .assert_exit(0);
    scene
        .run(no_rights, "binfmt --uninstall nonsense")
        .assert_exit(0);
}

#[test]
fn two_at_once_wait_for_each_other() {
    let Some(scene) = Scene::new() else { return };
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| scene.run("", "binfmt --uninstall qemu-* --install all")))
            .collect();
        for run in runs {
            run.join().unwrap().assert_exit(0);
        }
    });
    assert_eq!(scene.rules().len(), 3);
}

#[test]
fn who_has_to_wait_is_told_so_once() {
    let Some(scene) = Scene::new() else { return };
    let held = scene.world.open("register");
    let held = Flock::lock(held, FlockArg::LockExclusive).unwrap();
    let done = std::thread::scope(|scope| {
        let run = scope.spawn(|| scene.run("", "binfmt --install riscv64"));
        std::thread::sleep(Duration::from_secs(2));
        drop(held);
        run.join().unwrap().assert_exit(0)
    });
    let told = done.stderr.matches("another run is changing").count();
    assert_eq!(told, 1, "{done}");
    assert!(done.stderr.contains("waiting up to 60 s"), "{done}");
}

#[test]
fn a_killed_run_is_mended_by_the_next() {
    let Some(scene) = Scene::new() else { return };
    scene.register("qemu-riscv64=riscv64@elsewhere POF");
    for n in 1..=12 {
        let script = format!(
            "QEMU_BINARY_PATH={} timeout -s KILL 0.{n:02} {} --uninstall qemu-riscv64 --install riscv64 || true",
            scene.world.path("here").display(),
            scene.world.path("binfmt").display(),
        );
        scene.world.sh(&script).assert_exit(0);
        scene
            .world
            .exec(&busybox("riscv64"), &["true"])
            .assert_exit(0);
        // Back to the beginning, in an order that leaves no gap either.
        if n % 3 == 0 {
            scene
                .run("", "binfmt --reset -p yes riscv64")
                .assert_exit(0);
        }
    }
    scene
        .run("", "binfmt --uninstall qemu-* --install riscv64")
        .assert_exit(0);
    assert_eq!(scene.rules(), ["qemu-riscv64@here POCF"]);
}

#[test]
fn a_directory_with_something_in_it_is_never_hidden() {
    let Some(scene) = Scene::new() else { return };
    let dir = mount_point(&scene);
    let file = scene.world.path("mount/important");
    std::fs::write(&file, "x").unwrap();
    let link = scene.world.path("link").display().to_string();
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    for dir in [dir, link] {
        scene
            .run("", &format!("binfmt --mount {dir} --install riscv64"))
            .assert_exit(1)
            .assert_says(&[&dir, "is not a mounted binfmt_misc"]);
    }
    assert!(scene.rules().is_empty());
}

#[test]
fn what_a_run_mounts_is_its_own_so_that_none_can_leave_it() {
    let Some(scene) = Scene::new() else { return };
    let dir = mount_point(&scene);
    let mounts = format!("/proc/{}/mountinfo", scene.world.holder());
    let line = format!("binfmt --mount {dir} --install riscv64,s390x");
    std::thread::scope(|threads| {
        let run = threads.spawn(|| scene.run("", &line));
        while !run.is_finished() {
            let mounts = std::fs::read_to_string(&mounts).unwrap();
            assert!(!mounts.contains(&dir), "{mounts}");
        }
        run.join().unwrap().assert_exit(0);
    });
    assert_eq!(scene.rules().len(), 2);
}
