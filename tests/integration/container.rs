//! From a container into the host: other mounts and other files, and a PID 1
//! that is the host's. What it leaves lies on the host's disk.

use std::path::PathBuf;

use crate::world::cache::{busybox, emulators, package};
use crate::world::output::Output;
use crate::world::{World, text};

/// A world with a PID 1 of its own, and a container on it that has PID 1's
/// processes in sight.
struct Scene {
    world: World,
}

impl Scene {
    fn new() -> Option<Self> {
        let world = World::new()?;
        for dir in ["host", "image", "container"] {
            std::fs::create_dir(world.path(dir)).unwrap();
        }
        Some(Self { world })
    }

    /// Runs a script on the host.
    fn on_host(&self, script: &str) -> Output {
        let own = "unshare --pid --fork --mount-proc --mount --propagation=private";
        self.sh(&format!(
            "exec {own} sh -euc '
                mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
                {script}'"
        ))
    }

    /// Runs binfmtctl in a container on it, offline, with the image's emulators;
    /// `before` is what happens in the container first, `run` how it is started.
    fn in_container_with(&self, before: &str, run: &str, line: &str) -> Output {
        let path = |name: &str| self.world.path(name).display().to_string();
        self.on_host(&format!(
            r#"unshare --mount --net --propagation=private sh -euc "
                umount /proc/sys/fs/binfmt_misc
                mount --bind {} {}
                mount --bind {} {}
                {before}
                exec {run} $BINFMTCTL {line}""#,
            emulators().display(),
            path("image"),
            path("container"),
            path("host"),
        ))
    }

    fn in_container(&self, line: &str) -> Output {
        self.in_container_with("", "", line)
    }

    fn sh(&self, script: &str) -> Output {
        let mut command = self.world.command("sh");
        command
            .args(["-euc", script])
            .env("BINFMTCTL_PREFIX", self.store())
            .env("BINFMTCTL_CONF", self.conf())
            .env("BINFMTCTL_EMULATORS", self.world.path("image"))
            .env_remove("BINFMTCTL_SOURCE");
        Output::of(&mut command)
    }

    /// By this path the container has another directory.
    fn store(&self) -> PathBuf {
        self.world.path("host/store")
    }

    fn conf(&self) -> PathBuf {
        self.world.path("host/binfmt.d/zz-binfmtctl.conf")
    }

    #[track_caller]
    fn assert_runs(&self, architecture: &str) {
        let program = busybox(architecture);
        self.world.exec(&program, &["true"]).assert_exit(0);
    }

    /// What the container itself was left with.
    fn left_in_container(&self) -> String {
        let container = self.world.path("container");
        let find = format!("find {} -mindepth 1", container.display());
        self.world.sh(&find).assert_exit(0).stdout
    }
}

#[test]
fn what_a_container_installs_on_the_host_is_the_hosts() {
    let Some(scene) = Scene::new() else { return };
    let done = scene.in_container("install riscv64 --host").assert_exit(0);
    let from = format!("from {}", scene.world.path("image").display());
    assert!(done.stderr.contains(&from), "{done}");
    for elsewhere in ["https", "apt"] {
        assert!(!done.stderr.contains(elsewhere), "{done}");
    }
    let rule = scene.world.entry("qemu-riscv64");
    let interpreter = rule
        .lines()
        .find_map(|line| line.strip_prefix("interpreter "))
        .unwrap();
    assert!(
        interpreter.starts_with(scene.store().to_str().unwrap()),
        "{rule}"
    );
    assert!(std::path::Path::new(interpreter).is_file(), "{rule}");
    let conf = std::fs::read_to_string(scene.conf()).unwrap();
    assert!(conf.contains(interpreter), "{conf}");
    assert_eq!(scene.left_in_container(), "");
    scene.assert_runs("riscv64");

    let again = scene.in_container("install riscv64 --host").assert_exit(0);
    assert!(again.stderr.contains("nothing was changed"), "{again}");
}

#[test]
fn every_verb_works_on_the_host_from_a_container() {
    let Some(scene) = Scene::new() else { return };
    scene
        .in_container("install riscv64 s390x --host")
        .assert_exit(0);
    let status = scene
        .in_container("status riscv64 --host --json")
        .assert_exit(0)
        .json();
    let platform = &status["platforms"][0];
    assert_eq!(text(&platform["owner"]), "binfmtctl");
    assert_eq!(text(&platform["pinned"]), "match");
    scene
        .in_container("check riscv64 --host --wait 1")
        .assert_exit(0);
    let doctor = scene.in_container("doctor --host --json").json();
    let findings = doctor["findings"].as_array().unwrap();
    let wrong = |id: &str| {
        let mut of_id = findings.iter().filter(|finding| finding["id"] == id);
        of_id.any(|finding| finding["level"] != "ok")
    };
    assert!(!wrong("mount") && !wrong("stale"), "{doctor}");
    scene.in_container("uninstall s390x --host").assert_exit(0);
    assert_eq!(scene.world.names(), ["qemu-riscv64"]);
    scene.in_container("uninstall --host").assert_exit(0);
    assert!(scene.world.names().is_empty() && !scene.conf().exists());
    assert!(!scene.store().exists());
}

#[test]
fn an_emulator_of_the_image_that_isnt_the_pinned_one_gets_nowhere() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.world.path("image").display().to_string();
    let other = format!(
        "mount -t tmpfs tmpfs {image}
        echo other >{image}/qemu-riscv64"
    );
    let done = scene
        .in_container_with(&other, "", "install riscv64 --host --source auto")
        .assert_exit(8);
    assert!(
        done.stderr
            .contains("qemu-riscv64 isn't the pinned emulator"),
        "{done}"
    );
    scene
        .in_container_with(&other, "", &format!("install riscv64 --source {image}"))
        .assert_exit(7);
    assert!(scene.world.names().is_empty() && !scene.conf().exists());
}

#[test]
fn the_images_emulators_of_another_qemu_say_nothing_against_it() {
    let Some(scene) = Scene::new() else { return };
    let done = scene
        .in_container("install s390x --host --source auto --qemu 11.1.3")
        .assert_exit(8);
    assert!(
        done.stderr
            .contains("qemu-s390x isn't the pinned emulator of QEMU 11.1.3"),
        "{done}"
    );
    let last = done.stderr.lines().last().unwrap();
    assert!(!last.contains("isn't the pinned"), "{done}");
}

#[test]
fn the_images_emulators_count_only_where_nothing_else_is_said() {
    let Some(scene) = Scene::new() else { return };
    let package = package().display().to_string();
    for (platform, variable, source, status) in [
        ("arm", "/nowhere", package.as_str(), 0),
        ("s390x", "", &package, 0),
        ("riscv64", "", "auto", 8),
        ("riscv64", "/nowhere", "auto", 8),
    ] {
        let run = format!("env BINFMTCTL_EMULATORS={variable}");
        let line = format!("install {platform} --host --source {source}");
        scene.in_container_with("", &run, &line).assert_exit(status);
    }
}

#[test]
fn a_host_that_cant_be_written_to_is_named() {
    let Some(scene) = Scene::new() else { return };
    let host = scene.world.path("host").display().to_string();
    let read_only = format!("mount --bind {host} {host}; mount -o remount,bind,ro {host}");
    let refused = scene.on_host(&format!(
        r#"{read_only}
        unshare --mount --propagation=private $BINFMTCTL install riscv64 --host --source {}"#,
        emulators().display()
    ));
    refused
        .assert_exit(4)
        .assert_says(&[&host, "Read-only file system"]);
    assert!(scene.world.names().is_empty());
}

#[test]
fn what_the_containers_variables_name_isnt_looked_for_on_the_host() {
    let Some(scene) = Scene::new() else { return };
    let variables =
        "env TMPDIR=/nowhere SSL_CERT_FILE=/nowhere SSL_CERT_DIR=/nowhere PATH=/nowhere";
    let run = |line: &str| scene.in_container_with("", variables, line);
    run("install riscv64 --host --dry-run").assert_exit(0);
    let said = run("install s390x --host --source https").assert_exit(8);
    assert!(!said.stderr.contains("nowhere"), "{said}");
    run("install riscv64 --host").assert_exit(0);
}

#[test]
fn a_path_from_the_containers_directory_isnt_taken_for_one_of_the_hosts() {
    let Some(scene) = Scene::new() else { return };
    scene
        .in_container("install riscv64 --host --conf here.conf")
        .assert_exit(2)
        .assert_says(&["--conf here.conf is a relative path", "the host's"]);
    assert!(scene.world.names().is_empty());
    assert!(!std::path::Path::new("/here.conf").exists());
}

#[test]
fn without_the_hosts_pid_1_there_is_no_way_to_the_host() {
    let Some(world) = World::new() else { return };
    for line in [
        "install riscv64 --host",
        "uninstall --host",
        "status --host",
        "check riscv64 --host",
        "doctor --host",
    ] {
        world.refuses(
            line,
            4,
            &["cannot reach the host", "PID 1 here", "--pid=host"],
        );
    }
    let hosts = std::path::Path::new("0");
    world.refuses_with(
        "status --host",
        &[("BINFMTCTL_USERNS", hosts)],
        4,
        &["user namespace", "--userns=host"],
    );
}

#[test]
fn a_directory_of_systemds_makes_no_container_the_host() {
    let Some(scene) = Scene::new() else { return };
    // As with `-v /run:/run`, where PID 1 is the container's own program.
    let run = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system";
    let persistent = |line: &str| {
        let status = scene.on_host(&format!("{run}; {line} $BINFMTCTL status riscv64 --json"));
        let platform = &status.assert_exit(0).json()["platforms"][0];
        platform["persistent"].as_bool()
    };
    assert_eq!(persistent(""), None);
    // It is PID 1's own name that says so.
    assert_eq!(persistent("printf systemd >/proc/1/comm;"), Some(false));
}

#[test]
fn a_missing_capability_is_named_with_the_option_that_adds_it() {
    let Some(scene) = Scene::new() else { return };
    for (lacking, line) in [
        ("sys_admin", "install riscv64"),
        ("sys_admin", "install riscv64 --host"),
        ("sys_ptrace", "install riscv64 --host"),
    ] {
        let without = format!("setpriv --bounding-set=-{lacking}");
        let upper = lacking.to_uppercase();
        scene
            .in_container_with("", &without, line)
            .assert_exit(4)
            .assert_says(&[
                &format!("CAP_{upper}"),
                &format!("--cap-add {upper}"),
                "--privileged",
            ]);
    }
    assert!(scene.world.names().is_empty());
}

#[test]
fn who_may_not_change_the_root_sees_what_runs_all_the_same() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let status = world
        .sh("setpriv --bounding-set=-sys_chroot $BINFMTCTL status riscv64 --json")
        .assert_exit(0)
        .json();
    assert_eq!(text(&status["platforms"][0]["runs"]), "emulated");
}

#[test]
fn the_next_container_finds_everything_in_place() {
    let Some(scene) = Scene::new() else { return };
    let mounted = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc";
    let run = |line| scene.in_container_with(mounted, "", line).assert_exit(0);
    run("install riscv64");
    let rule = scene.world.entry("qemu-riscv64");
    let container = scene.world.path("container");
    assert!(!container.join("binfmt.d").exists());
    // What was in the first one went with it.
    std::fs::remove_dir_all(container.join("store")).unwrap();

    let again = run("install riscv64");
    assert!(again.stderr.contains("nothing was changed"), "{again}");
    assert_eq!(scene.world.entry("qemu-riscv64"), rule);
    assert_eq!(scene.left_in_container(), "");
    let status = run("status riscv64 --json").json();
    let platform = &status["platforms"][0];
    assert_eq!(text(&platform["pinned"]), "unknown");
    assert!(platform["persistent"].is_null());
    scene.assert_runs("riscv64");
}

#[test]
fn a_directory_that_somebody_gave_the_container_is_written_to() {
    let Some(scene) = Scene::new() else { return };
    let directory = scene.world.path("container/binfmt.d");
    std::fs::create_dir(&directory).unwrap();
    for _ in 0..2 {
        scene.in_container("install riscv64").assert_exit(0);
        let file = directory.join("zz-binfmtctl.conf");
        let conf = std::fs::read_to_string(file).unwrap();
        let emulator = scene.store().join("bin");
        assert!(conf.contains(emulator.to_str().unwrap()), "{conf}");
        // Whatever the file names has to be there.
        let stored = scene.world.path("container/store/bin");
        assert_eq!(std::fs::read_dir(&stored).unwrap().count(), 1);
        std::fs::remove_dir_all(stored).unwrap();
    }
}
