//! A dry run tries everything where it does no harm: what it says is what the
//! real run then does, and nothing of it stays.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use binfmtctl::binfmt::Rule;
use binfmtctl::probe::Probe;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::world::cache::{NEW, OLD, busybox, releases};
use crate::world::{AS_USER, World, changes, host, skip, target, text};
use crate::wrong_hosts::freeze;

/// A dry run that has to succeed and to change nothing.
#[track_caller]
fn dry_run(world: &World, line: &str, variables: &[(&str, &Path)]) -> Value {
    let before = world.settled();
    let done = world.ctl_with(&format!("install {line} -n --json"), variables);
    let done = done.assert_exit(0);
    let after = world.settled();
    assert_eq!(changes(&before, &after), Vec::<PathBuf>::new(), "{line}");
    done.json()
}

/// The rules of the first platforms of a plan.
fn rules(plan: &Value) -> Vec<&Value> {
    let platforms = plan["platforms"].as_array().unwrap().iter();
    platforms
        .filter_map(|platform| platform["rehearsal"].as_array())
        .flatten()
        .collect()
}

/// The lines of a plan, all of which have to have been tried and to have worked.
#[track_caller]
fn lines(plan: &Value) -> Vec<String> {
    assert_eq!(plan["rehearsed"], true, "{plan}");
    assert!(plan.get("not_rehearsed").is_none(), "{plan}");
    let rules = rules(plan).into_iter().inspect(|rule| {
        assert_eq!(
            (&rule["ran"], &rule["detail"]),
            (&true.into(), &Value::Null)
        );
    });
    sorted(rules.map(|rule| text(&rule["line"])).collect())
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn conf_lines(world: &World) -> Vec<String> {
    let rules = world.conf_rules().into_iter();
    sorted(rules.map(|rule: Rule| rule.line().unwrap()).collect())
}

#[test]
fn what_is_rehearsed_is_what_is_registered() {
    let Some(world) = World::new() else { return };
    let empty_store = lines(&dry_run(&world, "all-targets", &[]));
    world.install("all-targets");
    assert!(empty_store.len() > 30, "{empty_store:?}");
    assert_eq!(empty_store, conf_lines(&world));
    for name in world.names() {
        world.write(&name, "-1");
    }
    let manifest = world.manifest_without_urls();
    let unreachable = [
        ("BINFMTCTL_MANIFEST", &*manifest),
        ("BINFMTCTL_SOURCE", Path::new("https")),
        ("BINFMTCTL_MIRROR", Path::new("http://127.0.0.1:9")),
    ];
    let full_store = lines(&dry_run(&world, "all-targets", &unreachable));
    assert_eq!(full_store, conf_lines(&world));
    assert!(world.names().is_empty());
    world.ctl("uninstall").assert_exit(0);
    let words = ["127.0.0.1:9", "Connection refused"];
    world.refuses_with("install riscv64 -n", &unreachable, 8, &words);
}

#[test]
fn where_nothing_would_be_done_nothing_is_rehearsed() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let nowhere = [("BINFMTCTL_SOURCE", Path::new("/nowhere"))];
    let line = format!("riscv64 {}", host().name);
    let plan = dry_run(&world, &line, &nowhere);
    assert_eq!(plan["changed"], false);
    assert!(plan.get("rehearsed").is_none(), "{plan}");
    assert_eq!(rules(&plan), Vec::<&Value>::new());
    fs::remove_file(world.conf_path()).unwrap();
    let plan = dry_run(&world, &line, &nowhere);
    assert_eq!(plan["changed"], true, "the file would be written");
    assert!(plan.get("rehearsed").is_none(), "{plan}");
}

#[test]
fn an_upgrade_is_rehearsed_under_the_name_that_it_gets() {
    if releases().len() < 2 {
        return skip("only one QEMU is pinned for this host");
    }
    let Some(world) = World::new() else { return };
    world.install(&format!("riscv64 --qemu {OLD}"));
    let plan = dry_run(&world, &format!("riscv64 --qemu {NEW}"), &[]);
    assert_eq!(plan["platforms"][0]["action"], "replaced");
    assert!(lines(&plan)[0].starts_with(":qemu-riscv64:"), "{plan}");
    world.install(&format!("riscv64 --qemu {NEW}"));
    assert_eq!(lines(&plan), conf_lines(&world));
}

#[test]
fn people_are_told_what_ran_and_the_curious_the_lines() {
    let Some(world) = World::new() else { return };
    let told = world.ctl("install riscv64 -n").assert_exit(0).stderr;
    let says =
        "linux/riscv64: would register QEMU 10.0.13 as qemu-riscv64; rehearsed: its program ran\n";
    assert!(told.contains(says), "{told}");
    assert!(!told.contains(":M:"), "{told}");
    let line = &lines(&dry_run(&world, "riscv64", &[]))[0];
    let told = world.ctl("install riscv64 -n -v").assert_exit(0).stderr;
    assert!(told.contains(line), "{told}");
}

#[test]
fn a_pinned_emulator_that_doesnt_work_is_refused_as_by_the_real_run() {
    let Some(world) = World::new() else { return };
    let read = |path: &Path| fs::read(path).unwrap();
    let own = read(&busybox(host().debian.unwrap()));
    for (bytes, status, words) in [
        (
            b"#!/bin/sh\n".to_vec(),
            5,
            ["linux/riscv64", "isn't an ELF file"],
        ),
        (
            read(Path::new("/bin/true")),
            5,
            ["linux/riscv64", "isn't static"],
        ),
        (own, 1, ["linux/riscv64 wouldn't run", "exit status: 127"]),
    ] {
        let pinned = world.pin("riscv64", &bytes);
        let emulator = format!("{}/bin/", world.prefix().display());
        let words = [words[0], words[1], &emulator];
        world.refuses_with("install riscv64 -n", &pinned.options(), status, &words);
        world.refuses_with("install riscv64", &pinned.options(), status, &words[1..]);
        let failed = world.ctl_with("install riscv64 -n --json", &pinned.options());
        let failed = failed.assert_exit(status).json();
        assert_eq!(failed["platforms"][0]["action"], "failed");
        assert_eq!(failed["changed"], false);
        assert_ne!(rules(&failed)[0]["ran"], true);
        let why = text(&rules(&failed)[0]["detail"]);
        assert!(why.contains(words[1]), "{failed}");
    }
}

#[test]
fn closed_user_namespaces_are_told_and_no_failure() {
    let Some(world) = World::new() else { return };
    world
        .sh("echo 0 >/proc/sys/user/max_user_namespaces")
        .assert_exit(0);
    let plan = dry_run(&world, "riscv64", &[]);
    assert_eq!(plan["rehearsed"], false);
    let why = text(&plan["not_rehearsed"]);
    assert!(why.contains("user.max_user_namespaces is 0"), "{why}");
    assert_eq!(rules(&plan)[0]["ran"], Value::Null);
    let told = world.ctl("install riscv64 -n").assert_exit(0);
    assert!(
        told.stderr.contains(&format!("not rehearsed: {why}\n")),
        "{told}"
    );
    let own = fs::read(busybox(host().debian.unwrap())).unwrap();
    let pinned = world.pin("riscv64", &own);
    let words = ["linux/riscv64 wouldn't run", "exit status: 127"];
    world.refuses_with("install riscv64 -n", &pinned.options(), 1, &words);
    world.install("riscv64");
    assert_eq!(text(&rules(&plan)[0]["line"]), conf_lines(&world)[0]);
}

#[test]
fn what_lies_at_an_emulators_place_is_neither_opened_nor_believed() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let emulator = world.stored().remove(0);
    world.ctl("uninstall").assert_exit(0);
    fs::create_dir_all(emulator.parent().unwrap()).unwrap();
    let fifo = format!("mkfifo {}", emulator.display());
    world.sh(&fifo).assert_exit(0);
    lines(&dry_run(&world, "riscv64", &[]));
    world.sh(&format!("rm {0}; mkdir {0}", emulator.display()));
    let words = [emulator.to_str().unwrap(), "Is a directory"];
    world.refuses("install riscv64 -n", 1, &words);
    fs::remove_dir(&emulator).unwrap();
    lines(&dry_run(&world, "riscv64", &[]));
}

#[test]
fn a_store_without_room_or_lock_is_found_out() {
    let Some(world) = World::new() else { return };
    let store = world.prefix().display().to_string();
    let small = format!("mkdir {store}; mount -t tmpfs -o mode=755,size=1m tmpfs {store}");
    world.sh(&small).assert_exit(0);
    let words = [&*store, "No space left"];
    world.refuses("install riscv64 -n", 1, &words);
    world.refuses("install riscv64", 1, &words);
    world.sh(&format!("umount {store}")).assert_exit(0);
    let lock = format!("{store}/lock");
    for (make, status, why) in [
        ("mkdir", 1, "Is a directory"),
        ("mkfifo", 1, "No such device"),
        ("ln -s /dev/null", 1, "symbolic link"),
    ] {
        world
            .sh(&format!("rm -rf {lock}; {make} {lock}"))
            .assert_exit(0);
        world.refuses("install riscv64 -n", status, &[&lock, why]);
        world.refuses("install riscv64", status, &[&lock, why]);
    }
}

#[test]
fn what_would_be_cleared_up_is_a_change() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    let emulator = world.stored().remove(0);
    let litter = emulator.with_file_name(".binfmtctl-killed.tmp");
    fs::write(&litter, "").unwrap();
    let plan = dry_run(&world, "riscv64", &[]);
    assert_eq!(plan["changed"], true);
    let told = world.ctl("install riscv64 -n").assert_exit(0).stderr;
    let says = format!("would remove {}", litter.display());
    assert!(told.contains(&says), "{told}");
    let done = world.ctl("install riscv64 --json").assert_exit(0).json();
    assert_eq!(done["changed"], true);
    assert!(!litter.exists());
    assert_eq!(dry_run(&world, "riscv64", &[])["changed"], false);
}

/// Waits until nothing is left in a directory.
#[track_caller]
fn until_empty(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(8);
    while fs::read_dir(dir).unwrap().count() > 0 {
        assert!(Instant::now() < deadline, "{} isn't empty", dir.display());
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_interrupted_rehearsal_leaves_nothing() {
    let Some(world) = World::new() else { return };
    let scratch = world.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let hangs = Probe {
        code: b"\xeb\xfe",
        ..Probe::of(host().target())
    };
    let pinned = world.pin("riscv64", &hangs.image());
    for signal in ["INT", "TERM", "HUP"] {
        let mut run = world
            .command("timeout")
            .args(["-s", signal, "1", env!("CARGO_BIN_EXE_binfmtctl")])
            .args(["install", "riscv64", "-n"])
            .envs(pinned.options())
            .env("TMPDIR", &scratch)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(8);
        while fs::read_dir(&scratch).unwrap().count() == 0 {
            assert!(Instant::now() < deadline, "{signal}: it never began");
            sleep(Duration::from_millis(5));
        }
        assert_eq!(run.wait().unwrap().code(), Some(124), "{signal}");
        until(run.id(), <[_]>::is_empty);
        until_empty(&scratch);
    }
}

#[test]
fn a_store_that_an_ordinary_user_cant_see_is_not_said_to_be_wrong() {
    let Some(world) = World::with_users() else {
        return;
    };
    world.sh("umask 077; \"$BINFMTCTL\" install riscv64");
    let stored = world.stored().remove(0);
    let open = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777 == 0o755;
    let below = stored.ancestors().take_while(|dir| *dir != world.path(""));
    assert!(below.into_iter().all(open), "whatever the umask");
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(world.prefix(), closed).unwrap();
    let line = format!("{AS_USER} \"$BINFMTCTL\" install riscv64 -n");
    let told = world.sh(&line).assert_exit(0);
    assert!(
        told.stderr.contains("as far as this user can see"),
        "{told}"
    );
    assert!(!told.stderr.contains("would replace"), "{told}");
    let line = format!("{AS_USER} \"$BINFMTCTL\" uninstall -n");
    let told = world.sh(&line).assert_exit(0);
    assert!(told.stdout.contains("removed"), "{told}");
}

#[test]
fn it_takes_no_root() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    let before = world.settled();
    let rehearse = "\"$BINFMTCTL\" install riscv64 -n --json";
    let done = world
        .sh(&format!(
            "unshare --user --map-user=1000 --map-group=1000 {rehearse}"
        ))
        .assert_exit(0);
    assert_eq!(lines(&done.json()).len(), 1);
    assert!(
        done.stderr.contains("this process may only rehearse it"),
        "{done}"
    );
    assert!(changes(&before, &world.settled()).is_empty());
}

#[test]
fn root_without_the_rights_may_rehearse_and_is_told_so() {
    let Some(world) = World::new() else { return };
    let before = world.settled();
    for (variation, words) in [
        ("env BINFMTCTL_USERNS=0", ["user namespace", "--userns"]),
        (
            "setpriv --bounding-set=-all --inh-caps=-all",
            ["CAP_SYS_ADMIN", "privileged"],
        ),
    ] {
        let line = format!("{variation} \"$BINFMTCTL\" install riscv64");
        world.sh(&line).assert_exit(4).assert_says(&words);
        let told = world.sh(&format!("{line} -n")).assert_exit(0);
        assert!(told.stderr.contains("may only rehearse it"), "{told}");
        assert!(told.stderr.contains(words[0]), "{told}");
    }
    assert!(changes(&before, &world.settled()).is_empty());
}

#[test]
fn places_where_the_real_run_would_fail_are_found_out() {
    let Some(world) = World::new() else { return };
    let etc = world.path("etc/binfmt.d").display().to_string();
    freeze(&world, &etc);
    world.refuses("install riscv64 -n", 4, &[&etc, "Read-only"]);
    dry_run(&world, "riscv64 --no-persist", &[]);
    let store = world.prefix().display().to_string();
    world
        .sh(&format!(
            "mkdir {store}; mount -t tmpfs -o mode=755,noexec tmpfs {store}"
        ))
        .assert_exit(0);
    world.refuses("install riscv64 -n", 1, &[&store, "noexec", "--prefix"]);
    world.sh(&format!("umount {store}")).assert_exit(0);
    freeze(&world, &store);
    world.refuses("install riscv64 -n", 4, &[&store, "Read-only"]);
}

#[test]
fn a_store_may_lie_anywhere() {
    let Some(world) = World::new() else { return };
    let odd = world.path("o:d d|");
    let shm = PathBuf::from("/dev/shm/not-there/store");
    for prefix in [&odd, &shm] {
        let plan = dry_run(&world, "riscv64", &[("BINFMTCTL_PREFIX", prefix)]);
        assert!(lines(&plan)[0].contains(prefix.to_str().unwrap()), "{plan}");
        assert!(!prefix.exists());
    }
}

#[test]
fn what_a_rule_hides_from_the_cpu_is_told() {
    let Some(world) = World::new() else { return };
    if world.runs("386") != "native" || host().emulator == "i386" {
        return skip("this host doesn't run linux/386 beside its own platform");
    }
    let rule = target("i386");
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|b| format!("\\x{b:02x}"))
            .collect::<String>()
    };
    let line = format!(
        ":theirs:M::{}:{}:/nowhere:",
        hex(rule.magic),
        hex(rule.mask)
    );
    world.register(&line);
    assert_eq!(world.runs("386"), "no");
    let told = world.ctl("install 386 -n").assert_exit(0);
    let says = "linux/386: this kernel runs it natively, but the rule theirs stands before that\n";
    assert!(told.stderr.contains(says), "{told}");
}

#[test]
fn nothing_is_left_in_the_temporary_directory() {
    let Some(world) = World::new() else { return };
    let scratch = world.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let pinned = world.pin("riscv64", b"nonsense");
    let mut options = vec![("TMPDIR", &*scratch)];
    lines(&dry_run(&world, "riscv64", &options));
    options.extend(pinned.options());
    world.refuses_with("install riscv64 -n", &options, 5, &["riscv64"]);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    let missing = world.path("missing");
    let words = [missing.to_str().unwrap(), "No such file"];
    world.refuses_with("install riscv64 -n", &[("TMPDIR", &missing)], 1, &words);
}

/// The living processes of a process group, with their command lines.
fn group(leader: u32) -> Vec<(i32, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| {
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let (state, group) = (fields.next()?, fields.nth(1)?);
            let line = fs::read(process.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let pid = process.file_name().to_str()?.parse().ok()?;
            (group == leader.to_string() && state != "Z").then_some((pid, line))
        })
        .collect()
}

/// Waits until the group is as it should be.
#[track_caller]
fn until(leader: u32, is_so: impl Fn(&[(i32, String)]) -> bool) -> Vec<(i32, String)> {
    let deadline = Instant::now() + Duration::from_secs(8);
    loop {
        let group = group(leader);
        if is_so(&group) {
            return group;
        }
        assert!(Instant::now() < deadline, "{group:?}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_rehearsal_leaves_no_process_and_no_file_behind() {
    if host().emulator != "x86_64" {
        return skip("the emulator that hangs is amd64 code");
    }
    let Some(world) = World::new() else { return };
    let hangs = Probe {
        code: b"\xeb\xfe",
        ..Probe::of(host().target())
    };
    let pinned = world.pin("riscv64", &hangs.image());
    let scratch = world.path("scratch");
    fs::create_dir(&scratch).unwrap();
    // timeout makes itself the leader of a process group.
    let mut run = world
        .command(env!("CARGO_BIN_EXE_binfmtctl"))
        .args(["install", "riscv64", "-n"])
        .envs(pinned.options())
        .env("TMPDIR", &scratch)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_emulator = |line: &str| line.contains("/qemu-riscv64 /proc/self/fd/");
    let running = until(run.id(), |all| {
        all.iter().any(|(_, line)| is_emulator(line))
    });
    let of = |word: &str| running.iter().find(|(_, line)| line.contains(word));
    assert!(of("rehearse").is_some(), "{running:?}");
    let install = running
        .iter()
        .find(|(_, line)| line.contains("install riscv64") && !line.starts_with("timeout"));
    kill(Pid::from_raw(install.unwrap().0), Signal::SIGKILL).unwrap();
    run.wait().unwrap();
    until(run.id(), <[_]>::is_empty);
    until_empty(&scratch);
    let dead = scratch.join("binfmtctl-rehearsal.dead");
    fs::create_dir(&dead).unwrap();
    let others = scratch.join("others");
    fs::create_dir(&others).unwrap();
    let next = world.ctl_with("install riscv64 -n", &[("TMPDIR", &scratch)]);
    next.assert_exit(0);
    let left: Vec<PathBuf> = fs::read_dir(&scratch)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    assert_eq!(left, [others], "the next run clears up");
}

#[test]
fn the_hidden_command_is_not_for_people() {
    let Some(world) = World::new() else { return };
    world.refuses("rehearse", 2, &["own use", "--dry-run"]);
    let help = world.ctl("--help").assert_exit(0).stdout;
    assert!(!help.contains("rehearse "), "{help}");
    assert!(!help.contains("clear-up"), "{help}");
}
