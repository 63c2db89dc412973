//! Runs that end at a named point (`binfmtctl::crash`), and what the next run, of
//! whichever verb, makes of what they left. All points of all verbs, and power
//! cuts, are tests/suites/endurance.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use binfmtctl::crash::Point;

use crate::boot::{Machine, as_host, bare_host, service_files};
use crate::world::cache::{NEW, OLD, emulators, releases};
use crate::world::rule::rule;
use crate::world::{Output, World, changes, skip};

const MOUNT: &str = "/proc/sys/fs/binfmt_misc";

/// Runs binfmtctl, which is killed at the n-th time that it reaches a point.
#[track_caller]
fn killed(world: &World, line: &str, at: &str) {
    let script =
        format!("umask 077; BINFMTCTL_CRASH_AT={at}:kill \"$BINFMTCTL\" {line} || exit $?");
    let output = world.sh(&script);
    assert_eq!(output.status, 128 + 9, "{line} at {at}: {output}");
}

/// Starts the first line in the background until it stops itself at a point, then
/// runs a script; `on` lets it go on, until it stops itself again or ends. What the
/// script said, and how it ended.
fn stopped_at(world: &World, line: &str, at: &str, meanwhile: &str) -> Output {
    let ends: Vec<String> = at.split(' ').map(|at| format!("{at}:stop")).collect();
    let script = format!(
        r#"BINFMTCTL_CRASH_AT={} "$BINFMTCTL" --jobs 1 {line} & held=$!
        until_stopped() {{
            for _ in $(seq 2000); do
                read -r _ _ state _ </proc/$held/stat
                [ "$state" != T ] || return 0
                sleep 0.02
            done
            return 99
        }}
        on() {{ kill -CONT $held; }}
        until_stopped
        {meanwhile}"#,
        ends.join(",")
    );
    world.sh(&script)
}

/// Everything in the making that lies about.
fn temporary(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = file.path();
        if binfmtctl::durable::is_temporary(&path) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(temporary(&path));
        }
    }
    found
}

#[test]
fn what_a_killed_run_left_goes_with_the_next_one_whichever_that_is() {
    let Some(world) = World::new() else { return };
    // What was there, what was killed, where, and what came next.
    for (before, line, at, next) in [
        ("", "install riscv64", "DirectoryMade:1", "uninstall"),
        ("", "install riscv64", "StoreLocked:1", "uninstall"),
        ("", "install riscv64", "DirectoryMade:2", "uninstall"),
        ("", "install riscv64", "DirectoryMade:3", "uninstall"),
        ("", "install riscv64", "Staged:1", "uninstall"),
        ("", "install riscv64", "Staged:2", "uninstall"),
        ("riscv64", "uninstall", "EmulatorsSwept:1", "uninstall"),
        ("riscv64", "uninstall", "DirectoriesSwept:1", "uninstall"),
        ("riscv64", "uninstall", "LockRemoved:1", "uninstall"),
        // Now the file says again what it said before.
        (
            "riscv64 s390x",
            "uninstall s390x",
            "Staged:1",
            "install s390x",
        ),
        ("riscv64 s390x", "uninstall s390x", "Staged:1", "uninstall"),
        (
            "riscv64 s390x",
            "uninstall s390x",
            "EmulatorsSwept:1",
            "install riscv64",
        ),
    ] {
        world.ctl("uninstall").assert_exit(0);
        if !before.is_empty() {
            world.install(before);
        }
        let what = format!("{line} at {at}, then {next}");
        killed(&world, line, at);
        world.ctl(next).assert_exit(0);
        assert_eq!(temporary(&world.path("")), Vec::<PathBuf>::new(), "{what}");
        let dirs = fs::read_dir(world.prefix().join("bin"));
        let mut dirs = dirs.into_iter().flatten().flatten();
        let is_empty = |dir: &Path| fs::read_dir(dir).unwrap().next().is_none();
        assert!(!dirs.any(|dir| is_empty(&dir.path())), "{what}");
        if next == "uninstall" {
            assert!(!world.prefix().exists(), "{what}");
        }
        let settled = world.snapshot();
        world.ctl(next).assert_exit(0);
        assert!(changes(&settled, &world.snapshot()).is_empty(), "{what}");
    }
}

#[test]
fn a_store_may_be_looked_into_whatever_the_umask_and_wherever_its_maker_was_killed() {
    let Some(world) = World::new() else { return };
    for at in [
        "DirectoryMade:1",
        "DirectoryMade:2",
        "DirectoryMade:3",
        "Fetched:1",
    ] {
        world.ctl("uninstall").assert_exit(0);
        killed(&world, "install riscv64", at);
        world.install("riscv64");
        let stored = world.stored().remove(0);
        for dir in stored
            .ancestors()
            .take_while(|dir| dir.starts_with(world.prefix()))
        {
            let mode = fs::metadata(dir).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o755, "{at}: {}", dir.display());
        }
    }
}

#[test]
fn an_uninstall_takes_back_nothing_that_another_run_wrote_after_it_looked() {
    if releases().len() < 2 {
        return skip("only one QEMU is pinned for this host");
    }
    let Some(world) = World::new() else { return };
    world.install(&format!("riscv64 s390x --qemu {OLD}"));
    let meanwhile =
        format!("\"$BINFMTCTL\" install s390x 386 --qemu {NEW}\nkill -CONT $held\nwait $held");
    stopped_at(&world, "uninstall riscv64", "Planned:1", &meanwhile).assert_exit(0);
    let names: BTreeSet<String> = world.conf_names().into_iter().collect();
    assert_eq!(names, world.names().into_iter().collect());
    assert!(
        names.contains("qemu-s390x") && !names.contains("qemu-riscv64"),
        "{names:?}"
    );
    for rule in world.conf_rules() {
        assert!(
            Path::new(&rule.interpreter).exists(),
            "{}",
            rule.interpreter
        );
    }
}

#[test]
fn what_is_taken_away_after_an_apply_is_no_failure_of_the_apply() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    world.write("qemu-riscv64", "-1");
    let meanwhile = "\"$BINFMTCTL\" uninstall\non\nwait $held";
    stopped_at(&world, "apply", "RulesUnlocked:1", meanwhile).assert_exit(0);
    assert!(world.names().is_empty());
}

#[test]
fn the_locks_of_a_run_hold_others_up_while_it_lives_and_no_longer() {
    let Some(world) = World::new() else { return };
    for (line, at) in [
        ("install riscv64", "StoreLocked:1"),
        ("install riscv64", "Registered:1"),
        ("uninstall", "RuleRemoved:1"),
    ] {
        world.ctl("uninstall").assert_exit(0);
        if line == "uninstall" {
            world.install("riscv64");
        }
        let meanwhile = "\"$BINFMTCTL\" install s390x riscv64 2>/dev/null || echo $?
            kill -KILL $held; wait $held || true
            \"$BINFMTCTL\" install s390x riscv64";
        let said = stopped_at(&world, line, at, meanwhile).assert_exit(0);
        assert_eq!(said.stdout.lines().next(), Some("75"), "{line} at {at}");
        assert_eq!(world.runs("riscv64"), "emulated");
    }
}

/// A rule that runs riscv64 programs and isn't ours.
fn theirs(world: &World) -> String {
    let carried = world.path("qemu-elsewhere");
    fs::copy(emulators().join("qemu-riscv64"), &carried).unwrap();
    let line = rule("theirs", "riscv64").at(&carried).text();
    line.into_string().unwrap()
}

#[test]
fn a_rule_of_somebody_elses_that_comes_before_the_proof_and_goes_again_does_no_harm() {
    let Some(world) = World::new() else { return };
    fs::write(world.path("line"), theirs(&world)).unwrap();
    let meanwhile = format!(
        "cat '{}' >{MOUNT}/register; on; until_stopped
        echo -1 >{MOUNT}/theirs; on; wait $held",
        world.path("line").display()
    );
    stopped_at(
        &world,
        "install riscv64",
        "Registered:1 Registered:2",
        &meanwhile,
    )
    .assert_exit(0);
    assert_eq!(world.names(), ["qemu-riscv64"]);
    assert_eq!(world.conf_names(), ["qemu-riscv64"]);
}

#[test]
fn a_rule_of_somebody_elses_that_was_relied_on_and_goes_is_made_up_for() {
    let Some(world) = World::new() else { return };
    let theirs = theirs(&world);
    let meanwhile = format!("echo -1 >{MOUNT}/theirs; on; wait $held");
    for at in ["Fetched:1", "RulesLocked:1", "RulesUnlocked:1"] {
        world.register(&theirs);
        stopped_at(&world, "install riscv64 s390x", at, &meanwhile).assert_exit(0);
        assert_eq!(world.names(), ["qemu-riscv64", "qemu-s390x"], "{at}");
        assert_eq!(world.conf_rules().len(), 2, "{at}");
        world.ctl("uninstall").assert_exit(0);
    }
    world.install("riscv64 s390x");
    for name in world.names() {
        world.write(&name, "-1");
    }
    world.register(&theirs);
    stopped_at(&world, "apply", "TriedOut:1", &meanwhile).assert_exit(0);
    assert_eq!(world.names(), ["qemu-riscv64", "qemu-s390x"]);
}

/// How it ends where a host is played, which has what `install` sets up there.
fn ends_as_host(machine: &Machine, line: &str, variables: &str) -> i32 {
    let line = format!("{line} --jobs 1");
    as_host(machine, &line, variables).status
}

#[test]
fn a_service_that_was_half_written_is_finished_or_taken_away_whole() {
    let Some(machine) = bare_host() else { return };
    let all = |machine: &Machine| {
        machine
            .sh("find /etc/systemd /opt /etc/binfmt.d -name '.binfmtctl-*' -o -path '/etc/systemd/*binfmtctl*' | sort")
            .stdout
    };
    as_host(&machine, "install riscv64", "").assert_exit(0);
    let whole = service_files(&machine);
    for (line, at) in [
        ("install riscv64", "Linked:1"),
        ("install riscv64", "ServiceLinked:1"),
        // An emulator, the conf file, the service.
        ("install riscv64", "Staged:3"),
        ("install riscv64", "Named:3"),
        ("install riscv64", "ServiceWritten:1"),
        ("uninstall", "ServiceRemoved:1"),
    ] {
        for next in ["install riscv64", "uninstall"] {
            let first = if line == "uninstall" {
                "install riscv64"
            } else {
                "uninstall"
            };
            as_host(&machine, first, "").assert_exit(0);
            let status = ends_as_host(&machine, line, &format!("BINFMTCTL_CRASH_AT={at}:kill"));
            assert_eq!(status, 128 + 9, "{line} at {at}");
            as_host(&machine, next, "").assert_exit(0);
            let wanted = if next == "uninstall" { "" } else { &whole };
            assert_eq!(all(&machine), wanted, "{line} at {at}, then {next}");
        }
    }
}

#[test]
fn every_point_is_reached_by_some_verb() {
    if releases().len() < 2 {
        return skip("only one QEMU is pinned for this host");
    }
    let Some(machine) = bare_host() else { return };
    let log = machine.path("points");
    let variables = format!("BINFMTCTL_CRASH_LOG={}", log.display());
    for line in [
        "install riscv64".to_owned(),
        format!("install riscv64 --qemu {NEW}"),
        "uninstall".to_owned(),
    ] {
        assert_eq!(ends_as_host(&machine, &line, &variables), 0, "{line}");
    }
    let reached = fs::read_to_string(log).unwrap();
    let reached: BTreeSet<&str> = reached
        .lines()
        .filter_map(|l| l.split(':').next())
        .collect();
    let known: Vec<String> = Point::ALL
        .iter()
        .map(|point| format!("{point:?}"))
        .collect();
    assert_eq!(reached, known.iter().map(String::as_str).collect());
}
