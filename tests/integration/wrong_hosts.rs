//! Hosts that lack something, and people who mistype: each refusal has its
//! status, names its object in the last line, and leaves everything as it was.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use crate::world::cache::release;
use crate::world::{AS_USER, Output, World, changes, skip, text};

/// The program as a shell in the world calls it.
const INSTALL: &str = "\"$BINFMTCTL\" install riscv64";

/// A script that has to fail in this way and to leave everything as it was.
#[track_caller]
fn refuses(world: &World, script: &str, status: i32, words: &[&str]) {
    let before = world.settled();
    world.sh(script).assert_exit(status).assert_says(words);
    let after = world.settled();
    assert_eq!(changes(&before, &after), Vec::<PathBuf>::new(), "{script}");
}

/// Makes a place in the world read-only, whatever is there already.
pub fn freeze(world: &World, place: &str) {
    world
        .sh(&format!(
            "mkdir -p {place}; mount --bind {place} {place}; mount -o remount,bind,ro {place}"
        ))
        .assert_exit(0);
}

pub fn lock(file: File) -> Flock<File> {
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    lock.map_err(|(_, errno)| errno).expect("a free lock")
}

fn has_colours(output: &Output) -> bool {
    output.stdout.contains('\x1b')
}

#[test]
fn wrong_words_are_named_and_the_right_ones_suggested() {
    let Some(world) = World::new() else { return };
    let cases: [(&str, &[&str]); 13] = [
        ("install risc64", &["risc64", "riscv64"]),
        ("install linux/arm46", &["linux/arm46", "arm64"]),
        ("uninstall risc64", &["risc64", "riscv64"]),
        ("status risc64", &["risc64", "riscv64"]),
        ("install --nonsense", &["--nonsense"]),
        ("install --dry-rum", &["--dry-rum", "--dry-run"]),
        ("instal", &["instal", "install"]),
        (
            "status --color sometimes",
            &["sometimes", "auto, always, never"],
        ),
        ("manifest lock", &["<PACKAGE>"]),
        ("install riscv64 --source nonsense", &["nonsense", "https"]),
        (
            "install riscv64 --source https://a/b.deb",
            &["https://a/b.deb", "--mirror"],
        ),
        (
            "install riscv64 --prefix relative",
            &["relative", "absolute"],
        ),
        ("status --prefix /a/../b", &["/a/../b", "absolute"]),
    ];
    for (line, words) in cases {
        world.refuses(line, 2, words);
    }
    refuses(&world, "\"$BINFMTCTL\" install ''", 2, &["platform"]);
    refuses(&world, "\"$BINFMTCTL\"", 2, &["subcommand", "install"]);
    let bare = "env -i \"$BINFMTCTL\"";
    refuses(&world, bare, 2, &["no command was given"]);
}

#[test]
fn a_version_that_nobody_pinned_is_named() {
    let Some(world) = World::new() else { return };
    world.refuses("install riscv64 --qemu 1.2.3", 2, &["1.2.3", "10.0.13"]);
}

#[test]
fn a_mount_point_that_is_not_there_is_named() {
    let Some(world) = World::new() else { return };
    world.refuses("install riscv64 --mount /nowhere", 5, &["/nowhere"]);
    assert!(!world.prefix().exists());
}

#[test]
fn a_plain_directory_is_no_mount_point() {
    let Some(world) = World::unmounted() else {
        return;
    };
    if fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains("4294967295")) {
        return skip("this is a user namespace, whose rules are never the host's");
    }
    let place = world.path("plain");
    fs::create_dir(&place).unwrap();
    let before = world.settled();
    // Outside the world, but refused before anything is done.
    let mut command = Command::new(env!("CARGO_BIN_EXE_binfmtctl"));
    command
        .args(["install", "riscv64", "--mount"])
        .arg(&place)
        .env("BINFMTCTL_PREFIX", world.prefix())
        .env("BINFMTCTL_CONF", world.conf_path());
    Output::of(&mut command).assert_exit(5).assert_says(&[
        place.to_str().unwrap(),
        "not a mounted binfmt_misc",
        "mount -t binfmt_misc",
    ]);
    assert!(changes(&before, &world.settled()).is_empty());
}

#[test]
fn a_user_namespace_changes_the_hosts_rules_only_by_mistake_so_it_never_does() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    for line in ["install riscv64", "uninstall"] {
        let script = format!("BINFMTCTL_USERNS=0 \"$BINFMTCTL\" {line}");
        refuses(&world, &script, 4, &["user namespace", "--userns"]);
    }
}

#[test]
fn somebody_who_is_not_root_is_told_so() {
    let Some(world) = World::new() else { return };
    let script = format!("unshare --user --map-user=1000 {INSTALL}");
    refuses(
        &world,
        &script,
        4,
        &["binfmt_misc", "CAP_SYS_ADMIN", "as root"],
    );
}

#[test]
fn root_without_capabilities_is_told_which_one_it_takes() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let script = format!("setpriv --bounding-set=-all --inh-caps=-all {INSTALL}");
    refuses(
        &world,
        &script,
        4,
        &["binfmt_misc", "CAP_SYS_ADMIN", "privileged"],
    );
    assert!(!world.prefix().exists());
}

#[test]
fn a_read_only_proc_sys_is_told_as_in_containers() {
    let Some(world) = World::new() else { return };
    world
        .sh("mount -o remount,ro /proc/sys/fs/binfmt_misc")
        .assert_exit(0);
    refuses(
        &world,
        INSTALL,
        4,
        &[
            "/proc/sys/fs/binfmt_misc/register",
            "read-only",
            "--privileged",
        ],
    );
    assert!(!world.prefix().exists());
}

#[test]
fn an_uninstall_that_may_not_change_the_kernel_keeps_the_file_too() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    world
        .sh("mount -o remount,ro /proc/sys/fs/binfmt_misc")
        .assert_exit(0);
    world.refuses("uninstall", 4, &["/proc/sys/fs/binfmt_misc", "read-only"]);
    assert_eq!(world.runs("riscv64"), "emulated");
}

#[test]
fn a_full_disk_is_found_out_before_anything_is_registered() {
    let Some(world) = World::new() else { return };
    let place = world.prefix().display().to_string();
    world
        .sh(&format!(
            "mkdir {place}; mount -t tmpfs -o mode=755,size=1m tmpfs {place}"
        ))
        .assert_exit(0);
    refuses(
        &world,
        INSTALL,
        1,
        &[&place, "No space left", "free some space"],
    );
    assert_eq!(world.sh(&format!("find {place} -mindepth 1")).stdout, "");
}

#[test]
fn the_room_that_it_takes_is_claimed_before_a_download() {
    let release = release();
    let targets = ["riscv64", "aarch64", "s390x"];
    let sizes = targets.map(|target| release.emulator(target).unwrap().size);
    // One by one they are copied.
    let needed = sizes.iter().sum::<u64>() + sizes.iter().max().unwrap();
    for (room, status) in [(needed - (64 << 10), 1), (needed + (256 << 10), 0)] {
        let Some(world) = World::new() else { return };
        let place = world.prefix().display().to_string();
        let kib = room.div_ceil(1024);
        let mount = format!("mkdir {place}; mount -t tmpfs -o mode=755,size={kib}k tmpfs {place}");
        world.sh(&mount).assert_exit(0);
        let installed = world.ctl("install riscv64 arm64 s390x").assert_exit(status);
        let words = ["cannot make room for", "No space left"];
        let installed = match status {
            0 => installed,
            _ => installed.assert_says(&words),
        };
        let asked = installed.stderr.contains("fetching");
        assert_eq!(asked, status == 0, "{}", installed.stderr);
    }
}

#[test]
fn a_store_may_be_a_mount_point() {
    let Some(world) = World::new() else { return };
    let place = world.prefix().display().to_string();
    world
        .sh(&format!(
            "mkdir {place}; mount -t tmpfs -o mode=755 tmpfs {place}"
        ))
        .assert_exit(0);
    world.install("riscv64");
    world.ctl("uninstall").assert_exit(0);
    assert!(world.names().is_empty());
    assert_eq!(world.sh(&format!("find {place} -mindepth 1")).stdout, "");
}

#[test]
fn a_read_only_store_is_named() {
    let Some(world) = World::new() else { return };
    let place = world.prefix().display().to_string();
    freeze(&world, &place);
    refuses(&world, INSTALL, 4, &[&place, "Read-only"]);
}

#[test]
fn a_store_without_execution_is_told_with_the_way_out() {
    let Some(world) = World::new() else { return };
    let place = world.prefix().display().to_string();
    world
        .sh(&format!(
            "mkdir {place}; mount -t tmpfs -o mode=755,noexec tmpfs {place}"
        ))
        .assert_exit(0);
    refuses(&world, INSTALL, 1, &[&place, "noexec", "--prefix"]);
    assert!(world.names().is_empty());
}

#[test]
fn what_cannot_be_made_to_last_runs_and_is_told() {
    let Some(world) = World::new() else { return };
    let place = world.path("etc/binfmt.d").display().to_string();
    freeze(&world, &place);
    world
        .ctl("install riscv64")
        .assert_exit(4)
        .assert_says(&[&place, "Read-only"]);
    assert_eq!(world.runs("riscv64"), "emulated");
    assert_eq!(world.status("riscv64")["persistent"], false);
    world.install("riscv64 --no-persist");
}

#[test]
fn two_runs_never_change_one_store() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    let held = lock(
        File::options()
            .write(true)
            .open(world.prefix().join("lock"))
            .unwrap(),
    );
    for line in ["install riscv64", "uninstall s390x", "uninstall"] {
        world.refuses(line, 75, &["another run", world.prefix().to_str().unwrap()]);
    }
    world.ctl("status").assert_exit(0);
    world.install("s390x");
    drop(held);
    world.install("riscv64");
}

#[test]
fn two_runs_never_change_one_kernel() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    let held = lock(world.open("register"));
    for line in ["install riscv64", "uninstall s390x", "uninstall"] {
        world.refuses(line, 75, &["another run", "/proc/sys/fs/binfmt_misc"]);
    }
    drop(held);
    world.install("riscv64");
}

#[test]
fn json_is_one_document_on_success() {
    let Some(world) = World::new() else { return };
    for line in [
        "install riscv64 -n",
        "install riscv64",
        "install riscv64",
        "status",
        "status all-targets",
        "manifest show",
        "manifest verify",
        "uninstall -n",
        "uninstall",
    ] {
        let document = world.ctl(&format!("{line} --json")).assert_exit(0).json();
        assert_eq!(document["schema"], 1, "{line}");
        assert!(document.get("error").is_none(), "{line}");
    }
}

#[test]
fn json_is_one_document_on_failure_and_has_the_exit_status() {
    let Some(world) = World::new() else { return };
    for line in [
        "--json",
        "--json install risc64",
        "install --nonsense --json",
        "--json nonsense",
        "--json --color sometimes status",
        "--json install riscv64 --source /nowhere",
        "--json install riscv64 --source nonsense",
        "--json install riscv64 --mount /nowhere",
        "--json install riscv64 --prefix relative",
        "--json install riscv64 --manifest /nowhere",
        "--json status --manifest /dev/null",
        "--json manifest verify /nowhere",
        "--json manifest lock /nowhere",
        "--json uninstall --foreign nobody",
    ] {
        let before = world.settled();
        let output = world.ctl(line);
        let error = &output.json()["error"];
        assert_ne!(output.status, 0, "{line}");
        assert_eq!(error["status"], output.status, "{output}");
        assert!(
            output.last_line().contains(&text(&error["message"])),
            "{output}"
        );
        assert!(changes(&before, &world.settled()).is_empty(), "{line}");
    }
    let script = "BINFMTCTL_JSON=1 \"$BINFMTCTL\" --nonsense";
    assert_eq!(world.sh(script).assert_exit(2).json()["error"]["status"], 2);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let Some(world) = World::new() else { return };
    for line in [
        "status all-targets",
        "status --json",
        "manifest show",
        "--help",
    ] {
        let closed = world
            .sh(&format!("\"$BINFMTCTL\" {line} >&-"))
            .assert_exit(0);
        assert_eq!(closed.stderr, "", "{line}");
        let early = format!("{{ \"$BINFMTCTL\" {line} || echo \"it ended with $?\" >&2; }} | true");
        assert_eq!(world.sh(&early).assert_exit(0).stderr, "", "{line}");
        let first = format!("\"$BINFMTCTL\" {line} | head -n 1");
        assert_eq!(world.sh(&first).assert_exit(0).stdout.lines().count(), 1);
    }
    world.sh(&format!("{INSTALL} >&- 2>&-")).assert_exit(0);
    assert_eq!(world.runs("riscv64"), "emulated");
}

#[test]
fn a_full_device_as_stdout_is_a_failure() {
    let Some(world) = World::new() else { return };
    for line in ["status", "status --json", "manifest show"] {
        let script = format!("\"$BINFMTCTL\" {line} >/dev/full");
        refuses(&world, &script, 1, &["stdout", "No space left"]);
    }
}

#[test]
fn colours_come_where_they_are_wanted_and_nowhere_else() {
    let Some(world) = World::new() else { return };
    let cases = [
        ("", "", false),
        ("", "--color always", true),
        ("", "--color never", false),
        ("BINFMTCTL_COLOR=always", "", true),
        ("BINFMTCTL_COLOR=always", "--color never", false),
        ("NO_COLOR=1 CLICOLOR_FORCE=1", "", false),
        ("NO_COLOR=1 CLICOLOR_FORCE=1", "--color auto", false),
        ("NO_COLOR=1", "--color always", true),
        ("", "--color always --json", false),
    ];
    for (variables, option, coloured) in cases {
        let shown = world.sh(&format!("{variables} \"$BINFMTCTL\" status {option}"));
        let shown = shown.assert_exit(0);
        assert_eq!(has_colours(&shown), coloured, "{variables} {option}");
    }
}

#[test]
fn quiet_success_is_silent() {
    let Some(world) = World::new() else { return };
    for line in [
        "install riscv64 -n",
        "install riscv64",
        "install riscv64",
        "status",
        "uninstall",
        "uninstall",
    ] {
        let silent = world.ctl(&format!("{line} -q")).assert_exit(0);
        assert_eq!(
            (silent.stdout.as_str(), silent.stderr.as_str()),
            ("", ""),
            "{line}"
        );
    }
    let failed = world.ctl("install risc64 -q").assert_exit(2);
    assert_eq!(failed.stderr.lines().count(), 1, "{failed}");
}

#[test]
fn a_rules_name_cant_write_lines_of_ours() {
    let Some(world) = World::new() else { return };
    let name = "a\nproblem  fake -> rm -rf\x1b[2J";
    world.register(&crate::foreign::line(name, "/nowhere", "O"));
    assert_eq!(world.names(), [name]);
    let shown = r"a\nproblem  fake -> rm -rf\x1b[2J";
    for line in ["status riscv64", "status", "doctor", "install riscv64 -n"] {
        let said = world.ctl(line);
        for text in [&said.stdout, &said.stderr] {
            assert!(!text.contains('\x1b'), "{line}: {said}");
            assert!(!text.contains("\nproblem  fake"), "{line}: {said}");
        }
    }
    let status = world.ctl("status riscv64").assert_exit(0).stdout;
    assert!(status.contains(shown), "{status}");
    assert_eq!(world.status("riscv64")["handler"], name, "JSON is as it is");
    let said = world.ctl("check riscv64").assert_exit(3).stderr;
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_root_without_dev_null_is_told_so() {
    let Some(world) = World::new() else { return };
    let hide = "mount -t tmpfs tmpfs /dev";
    world.sh(hide).assert_exit(0);
    for line in ["install riscv64 -n", "install riscv64"] {
        world.refuses(line, 1, &["/dev/null", "No such file", "mount --rbind"]);
    }
}

#[test]
fn a_user_without_further_processes_gets_an_answer() {
    let Some(world) = World::with_users() else {
        return;
    };
    for limit in 1..4 {
        for line in ["doctor --json", "install riscv64 -n --json"] {
            let limited = format!("{AS_USER} prlimit --nproc={limit} \"$BINFMTCTL\" {line}");
            let said = world.sh(&limited);
            assert!(said.json().is_object(), "{line}: {said}");
            assert!(!said.stderr.contains("panicked"), "{line}: {said}");
        }
    }
}
