//! `manifest extract`: the pinned bytes and no others, for any host, and
//! nothing registered.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use binfmtctl::digest::Digest;
use binfmtctl::durable;

use crate::world::artifact::Pinned;
use crate::world::{Output, World, cache, changes, host};

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).expect("a directory").flatten();
    let mut names: Vec<String> = files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Extracts from a package of the test's own.
fn extract(world: &World, pinned: &Pinned, line: &str) -> Output {
    let to = world.path("to").display().to_string();
    let line = format!("manifest extract --to {to} {line}");
    world.ctl_with(&line, &pinned.options())
}

#[test]
fn everything_but_the_hosts_own_emulator_is_written_and_is_the_pinned_one() {
    let Some(world) = World::new() else { return };
    let to = world.path("to");
    let line = format!("manifest extract --to {} --json", to.display());
    let document = world.ctl(&line).assert_exit(0).json();
    let release = cache::release();
    let written = document["emulators"].as_array().expect("emulators");
    for emulator in written {
        let path = Path::new(emulator["path"].as_str().expect("a path"));
        let pinned = release
            .emulator(emulator["target"].as_str().expect("a target"))
            .expect("a pinned one");
        let bytes = fs::read(path).expect("an emulator");
        assert_eq!(Digest::of(&bytes), pinned.sha256, "{}", path.display());
        assert_eq!(emulator["sha256"], pinned.sha256.to_string());
        let mode = fs::metadata(path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
    assert_eq!(names(&to).len(), written.len());
    assert!(names(&to).contains(&"qemu-i386".to_owned()));
    assert!(!names(&to).contains(&host().binary()));
    assert!(world.names().is_empty() && world.stored().is_empty());
}

#[test]
fn twice_is_the_same_as_once_and_damage_is_mended() {
    let Some(world) = World::new() else { return };
    let pinned = world.pin("riscv64", b"an emulator");
    let file = world.path("to/qemu-riscv64");
    let line = format!("{}  {}\n", Digest::of(b"an emulator"), file.display());
    assert_eq!(
        extract(&world, &pinned, "riscv64").assert_exit(0).stdout,
        line
    );
    let before = world.snapshot();
    let again = extract(&world, &pinned, "riscv64").assert_exit(0);
    assert_eq!(again.stdout, line);
    assert_eq!(changes(&before, &world.snapshot()), [] as [&Path; 0]);
    fs::write(&file, "damaged").unwrap();
    extract(&world, &pinned, "riscv64").assert_exit(0);
    assert_eq!(fs::read(&file).unwrap(), b"an emulator");
    assert_eq!(names(&world.path("to")), ["qemu-riscv64"]);
}

#[test]
fn another_hosts_emulators_come_from_that_hosts_package() {
    let Some(world) = World::new() else { return };
    let pinned = world.pin("x86_64", b"x86_64 on s390x");
    let own = format!("host = \"{}\"", host().debian.expect("a packaged host"));
    let text = fs::read_to_string(&pinned.manifest).unwrap();
    fs::write(&pinned.manifest, text.replace(&own, "host = \"s390x\"")).unwrap();
    extract(&world, &pinned, "--for linux/s390x").assert_exit(0);
    let file = world.path("to/qemu-x86_64");
    assert_eq!(fs::read(file).unwrap(), b"x86_64 on s390x");
    extract(&world, &pinned, "")
        .assert_exit(5)
        .assert_says(&["no QEMU 9.9.9 for"]);
    extract(&world, &pinned, "--for s390x arm64")
        .assert_exit(5)
        .assert_says(&["no emulator of linux/arm64 for linux/s390x hosts"]);
}

#[test]
fn other_bytes_get_no_name() {
    let Some(world) = World::new() else { return };
    let pinned = world.pin("riscv64", b"an emulator");
    let mut bytes = fs::read(&pinned.package).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&pinned.package, bytes).unwrap();
    extract(&world, &pinned, "riscv64")
        .assert_exit(7)
        .assert_says(&["isn't the pinned one"]);
    assert_eq!(names(&world.path("to")), [] as [&str; 0]);
}

#[test]
fn what_a_killed_run_left_goes_and_a_living_run_is_left_in_peace() {
    let Some(world) = World::new() else { return };
    let pinned = world.pin("riscv64", b"an emulator");
    let to = world.path("to");
    fs::create_dir(&to).unwrap();
    fs::write(to.join(".binfmtctl-killed.tmp"), "").unwrap();
    let held = durable::hold(&to).unwrap().unwrap();
    extract(&world, &pinned, "riscv64")
        .assert_exit(75)
        .assert_says(&["another run is writing to", "to"]);
    assert_eq!(names(&to), [".binfmtctl-killed.tmp"]);
    drop(held);
    extract(&world, &pinned, "riscv64").assert_exit(0);
    assert_eq!(names(&to), ["qemu-riscv64"]);
}

#[test]
fn what_isnt_pinned_or_isnt_a_host_is_refused() {
    let Some(world) = World::new() else { return };
    let pinned = world.pin("riscv64", b"an emulator");
    for (line, status, words) in [
        ("--source distro", 2, "only pinned emulators"),
        ("--for all", 2, "--for all"),
        ("--for vax", 2, "unknown platform 'vax'"),
        (
            "--for alpha",
            5,
            "no QEMU is packaged for linux/alpha hosts",
        ),
    ] {
        let to = world.path("to").display().to_string();
        let line = format!("manifest extract --to {to} {line}");
        world
            .ctl_with(&line, &pinned.options()[..1])
            .assert_exit(status)
            .assert_says(&[words]);
        assert!(!Path::new(&to).exists(), "{line}");
    }
}

#[test]
fn emulators_that_somebody_carried_in_are_a_source_by_themselves() {
    let Some(world) = World::new() else { return };
    let carried = world.path("carried").display().to_string();
    world
        .ctl(&format!("manifest extract --to {carried} riscv64 s390x"))
        .assert_exit(0);
    let again = world.path("again").display().to_string();
    world
        .ctl(&format!(
            "manifest extract --source {carried} --to {again} riscv64"
        ))
        .assert_exit(0);
    assert_eq!(names(Path::new(&again)), ["qemu-riscv64"]);
    world.install(&format!("riscv64 --source {carried}"));
    assert_eq!(world.runs("riscv64"), "emulated");
    world
        .ctl(&format!("install alpha --source {carried}"))
        .assert_exit(8)
        .assert_says(&[&carried, "no qemu-alpha"]);
    fs::write(format!("{carried}/qemu-s390x"), "other bytes").unwrap();
    world
        .ctl(&format!("install s390x --source {carried}"))
        .assert_exit(7)
        .assert_says(&["qemu-s390x isn't the pinned emulator"]);
}
