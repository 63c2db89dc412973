//! Manifests, packages and conf files that aren't as they should be: refused
//! with the object's name, and what worked before still works.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use binfmtctl::emulator::manifest::{Encoding, Manifest};
use binfmtctl::probe::Probe;

use crate::world::artifact::{manifest_of, writable};
use crate::world::cache::{self, busybox};
use crate::world::deb::{Member, deb};
use crate::world::{Output, World, host};

const EMULATOR: &str = "./usr/bin/qemu-riscv64";

/// What is done to a line.
type Change = fn(&str) -> String;

/// A manifest's text whose first line that begins like this is changed, and
/// the number of that line.
fn spoiled(start: &str, change: Change) -> (String, usize) {
    let text = manifest_of(cache::release());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let index = lines.iter().position(|line| line.trim().starts_with(start));
    let index = index.expect("a line that begins so");
    lines[index] = change(&lines[index]);
    (lines.join("\n"), index + 1)
}

/// A line whose first offset is this one.
fn at_offset(line: &str, offset: &str) -> String {
    let (before, after) = line.split_once("offset = ").unwrap();
    let (_, after) = after.split_once(',').unwrap();
    format!("{before}offset = {offset},{after}")
}

#[test]
fn a_manifest_that_isnt_one_is_refused_with_file_and_line() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    let without_digest = |line: &str| format!("{} }},", line.split_once(", sha256").unwrap().0);
    let (block, riscv64) = ("{ offset =", "{ target = \"riscv64\"");
    let cases: [(&str, Change, &str); 7] = [
        ("package =", |line| format!("{line}\ncolour = 1"), "colour"),
        (block, without_digest, "sha256"),
        (block, |line| at_offset(line, "9999999999"), "the artifact"),
        (
            riscv64,
            |line| at_offset(line, "9999999999"),
            "the decoded stream",
        ),
        (riscv64, |line| at_offset(line, "0"), "the one above"),
        ("schema =", |_| "schema: 1".to_owned(), "line 5"),
        ("schema =", |_| "schema = 2".to_owned(), "schema 2"),
    ];
    for (start, change, word) in cases {
        let (text, number) = spoiled(start, change);
        let number = number + usize::from(word == "colour");
        let path = world.file("spoiled.toml", text);
        let line = format!("line {number}: ");
        let words = [path.to_str().unwrap(), &line, word];
        for command in ["install riscv64", "manifest show", "status"] {
            world.refuses_with(command, &[("BINFMTCTL_MANIFEST", &path)], 6, &words);
        }
    }
    assert_eq!(world.runs("s390x"), "emulated");
}

#[test]
fn a_manifest_that_is_empty_binary_or_not_there_is_refused_by_its_name() {
    let Some(world) = World::new() else { return };
    let cases = [
        (world.file("empty.toml", ""), 6, "line 1: "),
        (world.file("binary.toml", b"\x7fELF\xff\xfe"), 6, "UTF-8"),
        (world.path("missing.toml"), 1, "No such file"),
    ];
    for (path, status, word) in &cases {
        let words = [path.to_str().unwrap(), word];
        world.refuses_with(
            "install riscv64",
            &[("BINFMTCTL_MANIFEST", path)],
            *status,
            &words,
        );
    }
}

/// Installs from this file, then from a directory with it, which is refused.
#[track_caller]
fn refuses_package(world: &World, package: &Path, status: i32, word: &str) {
    let line = "install riscv64 s390x";
    let words = [package.to_str().unwrap(), word];
    world.refuses_with(line, &[("BINFMTCTL_SOURCE", package)], status, &words);
    let dir = world.path("packages");
    fs::create_dir_all(&dir).unwrap();
    let in_dir = dir.join(cache::release().file);
    fs::rename(package, &in_dir).unwrap();
    let words = [in_dir.to_str().unwrap(), word];
    world.refuses_with(line, &[("BINFMTCTL_SOURCE", &dir)], status, &words);
    assert_eq!(world.runs("s390x"), "emulated");
}

#[test]
fn a_package_with_one_flipped_bit_is_refused() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    let release = cache::release();
    let needed = release.blocks_of(release.emulator("riscv64").unwrap());
    for block in [needed.start, needed.end - 1] {
        let package = world.package_for("riscv64");
        let at = release.blocks[block].offset + release.blocks[block].length / 2;
        let (file, mut byte) = (writable(&package), [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        refuses_package(&world, &package, 7, &format!("block {block}"));
    }
}

#[test]
fn a_package_that_is_cut_short_empty_or_another_is_refused() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    let size = cache::release().size;
    for length in [0, 1, size / 2, size - 1, size + 1] {
        let package = world.package_for("riscv64");
        writable(&package).set_len(length).unwrap();
        refuses_package(&world, &package, 7, &format!("{length} bytes"));
    }
}

#[test]
fn a_directory_with_another_architectures_package_only_is_refused() {
    let Some(world) = World::new() else { return };
    let manifest = Manifest::builtin().unwrap();
    let own = cache::release();
    let other = manifest
        .releases
        .iter()
        .find(|other| other.host != own.host);
    let dir = world.path("packages");
    fs::create_dir(&dir).unwrap();
    let package = world.file("packages/other.deb", "");
    fs::rename(package, dir.join(&other.unwrap().file)).unwrap();
    let words = [dir.to_str().unwrap(), &own.file];
    world.refuses_with("install riscv64", &[("BINFMTCTL_SOURCE", &dir)], 8, &words);
}

/// Pins a package, which is refused by its name; no manifest is written.
#[track_caller]
fn lock_refuses(world: &World, package: impl AsRef<[u8]>, status: i32, word: &str) {
    let path = world.file("theirs.deb", package);
    let line = format!("manifest lock {}", path.display());
    let output = world.ctl(&line).assert_exit(status);
    assert_eq!(output.stdout, "");
    output.assert_says(&["theirs.deb", word]);
    world.refuses(&line, status, &[]);
}

#[test]
fn what_is_no_package_isnt_pinned() {
    let Some(world) = World::new() else { return };
    let own = fs::read(busybox(host().debian.unwrap())).unwrap();
    let whole = deb(&[(EMULATOR, Member::File(&own))]);
    lock_refuses(&world, "", 6, "it isn't a Debian package");
    lock_refuses(&world, &own, 6, "it isn't a Debian package");
    lock_refuses(&world, "!<arch>\n", 6, "it isn't a Debian package");
    for length in [20, 100, whole.len() / 2, whole.len() - 2] {
        lock_refuses(&world, &whole[..length], 7, "it is cut short");
    }
}

#[test]
fn a_package_whose_emulators_are_none_isnt_pinned() {
    let Some(world) = World::new() else { return };
    let own = fs::read(busybox(host().debian.unwrap())).unwrap();
    let file = || Member::File(&own);
    for member in [
        (EMULATOR, Member::Link("qemu-arm")),
        (EMULATOR, Member::Directory),
        ("./usr/bin/../bin/qemu-riscv64", file()),
        ("../usr/bin/qemu-riscv64", file()),
        ("./usr/bin/sub/qemu-riscv64", file()),
        ("./usr/bin/qemu-nonsense", file()),
    ] {
        lock_refuses(&world, deb(&[member]), 6, "it holds no emulator");
    }
    lock_refuses(
        &world,
        deb(&[(EMULATOR, file()), (EMULATOR, file())]),
        6,
        "riscv64",
    );
}

#[test]
fn a_package_whose_emulator_couldnt_run_everywhere_isnt_pinned() {
    let Some(world) = World::new() else { return };
    for (bytes, word) in unfit() {
        let package = deb(&[(EMULATOR, Member::File(&bytes))]);
        lock_refuses(
            &world,
            &package,
            6,
            &format!("qemu-riscv64 can't be used: {word}"),
        );
    }
}

/// Programs that are no static programs of this host's, and why.
fn unfit() -> [(Vec<u8>, &'static str); 3] {
    let read = |path: &Path| fs::read(path).unwrap();
    [
        (read(Path::new("/bin/true")), "it isn't static"),
        (read(&busybox("s390x")), "it is for linux/s390x, not for"),
        (b"#!/bin/sh\n".to_vec(), "it isn't an ELF file"),
    ]
}

#[test]
fn a_pinned_emulator_that_couldnt_run_everywhere_is_refused() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    for (bytes, word) in unfit() {
        let pinned = world.pin("riscv64", &bytes);
        let words = ["/qemu-riscv64 for linux/riscv64", word];
        world.refuses_with("install riscv64", &pinned.options(), 5, &words);
        assert_eq!(world.runs("riscv64"), "emulated");
    }
}

#[test]
fn a_pinned_program_that_is_no_emulator_is_refused() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let busybox = fs::read(busybox(host().debian.unwrap())).unwrap();
    let mut cases = vec![(busybox, "exit status: 127")];
    if host().emulator == "x86_64" {
        // Started by hand it gets four arguments: its name, the probe, and the probe's two.
        let passes_on_all = Probe::of(host().target()).image();
        let mut exits = passes_on_all.clone();
        let base = exits.iter().rposition(|byte| *byte == 40).unwrap();
        exits[base] = 4u8.wrapping_neg();
        cases.push((exits, "exit status: 0"));
        cases.push((passes_on_all, "its program got 4 arguments instead of 3"));
    }
    for (bytes, word) in cases {
        let pinned = world.pin("riscv64", &bytes);
        let words = ["/qemu-riscv64 doesn't run a riscv64 program", word];
        world.refuses_with("install riscv64", &pinned.options(), 1, &words);
        assert_eq!(world.runs("riscv64"), "emulated");
    }
}

/// A package with this emulator, built by Debian's own tool.
fn built(world: &World, emulator: &Path, options: &[&str]) -> PathBuf {
    let root = world.path("root");
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::copy(emulator, root.join(EMULATOR)).unwrap();
    fs::set_permissions(root.join("DEBIAN"), fs::Permissions::from_mode(0o755)).unwrap();
    let control = format!(
        "Package: qemu-user\nVersion: 1:9.9.9-1\nArchitecture: {}\nMaintainer: a\nDescription: b\n",
        host().debian.unwrap()
    );
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    let package = world.path("built.deb");
    let mut command = Command::new("dpkg-deb");
    let command = command.arg("--root-owner-group").args(options);
    Output::of(command.arg("--build").arg(&root).arg(&package)).assert_exit(0);
    package
}

#[test]
fn a_package_of_ones_own_is_pinned_and_installed() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let emulator = world.path("emulator");
    fs::copy(world.stored().remove(0), &emulator).unwrap();
    // xz begins a new block after 24 MiB at level 6, after 3 MiB at level 1.
    for (options, one_block, xz) in [
        (["-Zxz", "-z6"], true, true),
        (["-Zxz", "-z1"], false, true),
        (["-Zzstd", "-z3"], true, false),
    ] {
        world.ctl("uninstall").assert_exit(0);
        let package = built(&world, &emulator, &options);
        let text = world.ctl(&format!("manifest lock {}", package.display()));
        let manifest = world.file("built.toml", text.assert_exit(0).stdout);
        let release = Manifest::read(&manifest).unwrap().releases.remove(0);
        assert_eq!(release.blocks.len() == 1, one_block, "{options:?}");
        assert_eq!(release.encoding != Encoding::Zstd, xz, "{options:?}");
        let options = [
            ("BINFMTCTL_MANIFEST", &*manifest),
            ("BINFMTCTL_SOURCE", &*package),
        ];
        world.ctl_with("install riscv64", &options).assert_exit(0);
        world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
        assert_eq!(
            fs::read(world.stored().remove(0)).unwrap(),
            fs::read(&emulator).unwrap()
        );
    }
}

#[test]
fn a_bad_conf_file_is_named_with_its_line_and_left_as_it_is() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let good = world.conf();
    for (bad, word) in [
        ("nonsense", "seven fields"),
        (":a:E::exe::/bin/sh:", "magic"),
        (":a:M::\\x7f::bin/sh:", "absolute path"),
    ] {
        let line = format!("line {}: ", good.lines().count() + 1);
        world.file("etc/binfmt.d/zz-binfmtctl.conf", format!("{good}{bad}\n"));
        let words = [world.conf_path().display().to_string(), line];
        for command in ["install s390x", "uninstall riscv64", "status"] {
            world.refuses(command, 6, &[&words[0], &words[1], word]);
        }
    }
    world.file("etc/binfmt.d/zz-binfmtctl.conf", good);
    assert_eq!(world.runs("riscv64"), "emulated");
}
