//! What status leaves behind: nothing. It is looked at from the first process
//! of a PID namespace, to which every orphan comes, however status ends.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::world::artifact::native_program;
use crate::world::rule::rule;
use crate::world::{AS_USER, Output, World, host, skip};

/// The first process of a PID namespace. `others` finds all processes but
/// itself and waits, as an init does, for those that have ended; what it says
/// is their lines of /proc/PID/stat.
const INIT: &str = r#"
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    mkfifo "$1"
    pause() { read -r -t 0.05 <>"$1" || true; }
    others() {
        found=
        for process in /proc/[0-9]*; do
            [ "$process" != /proc/$$ ] || continue
            { read -r line <"$process/stat"; } 2>/dev/null || continue
            found="$found$line
"
        done
    }
    mounts=$(cat /proc/self/mountinfo)
    eval "$2"
    for _ in {1..40}; do
        # The end of its own child makes bash ask for all that have ended, also
        # for one whose signal it missed.
        (:)
        others
        [ -n "$found" ] || break
        pause "$1"
    done
    printf %s "$found"
    diff <(echo "$mounts") /proc/self/mountinfo || true
"#;

/// What there is after a script in a PID namespace of its own: processes of
/// its, and mounts that weren't there before.
#[track_caller]
fn left_by(world: &World, script: &str) -> String {
    let pipe = world.path("pipe");
    let _ = std::fs::remove_file(&pipe);
    let mut init = world.command("unshare");
    init.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["bash", "-euc", INIT, "init"])
        .args([pipe.as_path(), Path::new(script)]);
    Output::of(&mut init).assert_exit(0).stdout
}

/// Everything that QEMU runs, asked for by this user.
fn status(whom: &str) -> String {
    format!("{whom} \"$BINFMTCTL\" status all-targets --json")
}

/// A world where everything is installed, also for an ordinary user.
fn with_everything() -> Option<World> {
    let world = World::with_users()?;
    world.install("all-targets");
    Some(world)
}

/// The same with two emulators that don't end: one sleeps, one stops itself.
fn with_endless_ones() -> Option<World> {
    if host().name != "linux/amd64" {
        skip("the endless programs are amd64 code");
        return None;
    }
    let world = with_everything()?;
    // pause() for ever; kill(getpid(), SIGSTOP) for ever.
    let sleeps = b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7";
    let stops = b"\xb8\x27\x00\x00\x00\x0f\x05\x89\xc7\xbe\x13\x00\x00\x00\
        \xb8\x3e\x00\x00\x00\x0f\x05\xeb\xe9";
    for (name, of, code) in [
        ("sleeps", "riscv64", &sleeps[..]),
        ("stops", "s390x", stops),
    ] {
        let path = world.program(&format!("endless-{of}"), native_program(code));
        let line = rule(name, of).at(path).text();
        world.register(line.to_str().unwrap());
    }
    Some(world)
}

#[test]
fn everything_that_qemu_has_runs() {
    let Some(world) = with_everything() else {
        return;
    };
    for whom in ["", AS_USER] {
        let status = world.sh(&status(whom)).assert_exit(0).json();
        let platforms = status["platforms"].as_array().unwrap();
        assert!(platforms.len() >= 33, "{}", platforms.len());
        for platform in platforms {
            assert_ne!(platform["runs"], "no", "{platform:#}");
            assert_eq!(platform["cause"], Value::Null, "{platform:#}");
        }
    }
}

#[test]
fn a_status_that_ends_leaves_nothing() {
    let Some(world) = with_everything() else {
        return;
    };
    for whom in ["", AS_USER] {
        let script = format!("{} >/dev/null", status(whom));
        assert_eq!(left_by(&world, &script), "", "{whom}");
    }
}

#[test]
fn a_status_that_is_killed_leaves_nothing() {
    let Some(world) = with_everything() else {
        return;
    };
    for whom in ["", AS_USER] {
        let started = Instant::now();
        world.sh(&status(whom)).assert_exit(0);
        let whole = started.elapsed();
        for instant in 1..=20 {
            // More of them early on, when the probes run.
            let after = (whole * instant * instant / 400).as_secs_f32();
            let script = format!(
                "{{ timeout -s KILL {after} {} >/dev/null || true; }} 2>/dev/null",
                status(whom)
            );
            assert_eq!(left_by(&world, &script), "", "{whom} after {after} s");
        }
    }
}

#[test]
fn a_status_that_waits_for_emulators_has_no_other_processes_and_leaves_none() {
    let Some(world) = with_endless_ones() else {
        return;
    };
    for whom in ["", AS_USER] {
        let seen = world.path("seen");
        let script = format!(
            "{} >/dev/null & for _ in {{1..80}}; do pause \"$1\"; done\n\
                others; printf %s \"$found\" >{}; {{ kill -KILL $!; wait; }} 2>/dev/null || true",
            // Both at a time.
            status(whom) + " --jobs 2",
            seen.display(),
        );
        assert_eq!(left_by(&world, &script), "", "{whom}");
        let seen = std::fs::read_to_string(seen).unwrap();
        let mut states: Vec<&str> = seen.lines().map(name_and_state).collect();
        // status itself looks at them from time to time.
        states.retain(|state| !state.starts_with("(binfmtctl) "));
        states.sort_unstable();
        assert_eq!(states, ["(probe) S", "(probe) T"], "{seen}");
    }
}

/// A process's name and state, out of its line of /proc/PID/stat.
fn name_and_state(stat: &str) -> &str {
    let (from, to) = (stat.find('(').unwrap(), stat.rfind(')').unwrap());
    &stat[from..to + 3]
}
