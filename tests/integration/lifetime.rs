//! Which mounts keep rules, as a container sees it: its own mount goes with it.
//!
//! What is asked depends on the namespaces of the process that asks, so this
//! program is started again in those; a world says what else is mounted.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anstream::ColorChoice;
use binfmtctl::binfmt::Instance;
use binfmtctl::binfmt::instance::DEFAULT_MOUNT;
use binfmtctl::commands::Context;
use binfmtctl::emulator::store::Store;
use binfmtctl::host::Host;
use binfmtctl::report::console::Console;

use crate::world::World;
use crate::world::output::Output;

/// A container whose PID 1 is no system's.
const CONTAINER: &str = "$PLAY";

/// Other mounts than those of PID 1.
const BESIDE: &str = "unshare --mount --propagation=private";

/// What the player does, by this variable.
const ACT: &str = "ACT";

#[test]
#[ignore = "the other tests start it, in a world"]
fn player() {
    let Ok(act) = env::var(ACT) else { return };
    let dir = Path::new(DEFAULT_MOUNT);
    // A host's user namespace can't be played in, but be claimed.
    let host = Host {
        initial_user_ns: true,
        initial_pid_ns: act.ends_with("host"),
        ..Host::read().unwrap()
    };
    let said = match act.split_whitespace().next() {
        Some("show") => Instance::show(dir, &host).map(|shown| format!("shown {shown}")),
        Some("remove") => context(host)
            .instance_with_rules()
            .map(|_| "found".to_owned()),
        _ => Instance::find_or_mount(dir, &host).map(|(_, lifetime)| format!("{lifetime:?}")),
    };
    let said = said.unwrap_or_else(|error| error.line().to_string());
    let is_there = Instance::find(dir).is_some();
    eprintln!("{said}; mounted: {is_there}");
}

fn context(host: Host) -> Context {
    let nowhere = PathBuf::from("/nowhere");
    Context {
        host,
        mount: DEFAULT_MOUNT.into(),
        userns: false,
        from_container: false,
        store: Store::new(&nowhere).unwrap(),
        emulators: None,
        conf: nowhere,
        lifetime: OnceLock::new(),
        jobs: None,
        console: Console::new(false, false, false, ColorChoice::Never),
    }
}

/// Plays in PID and mount namespaces of the world; what was said.
#[track_caller]
fn play(world: &World, act: &str, script: &str) -> String {
    let player = env::current_exe().unwrap();
    let play = format!(
        "{} lifetime::player --exact --ignored --nocapture",
        player.display()
    );
    // What the world has mounted would still be there, below the new /proc.
    let leave = format!("while umount {DEFAULT_MOUNT} 2>/dev/null; do :; done");
    let own = "unshare --pid --fork --mount-proc --mount --propagation=private";
    let mut command = world.command("sh");
    command
        .args(["-euc", &format!("exec {BESIDE} sh -euc \"$SCRIPT\"")])
        .env(
            "SCRIPT",
            format!("{leave}; exec {own} sh -euc '{script}; exit 0'"),
        )
        .env("PLAY", play)
        .env(ACT, act);
    Output::of(&mut command).assert_exit(0).stderr
}

#[test]
fn rules_that_somebody_else_holds_may_be_registered() {
    let Some(world) = World::new() else { return };
    assert_eq!(
        play(&world, "mount", CONTAINER),
        "Some(Elsewhere); mounted: true\n"
    );
    assert_eq!(
        play(&world, "show", CONTAINER),
        "shown true; mounted: true\n"
    );
}

#[test]
fn somebody_else_may_have_mounted_it_this_instant() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let dir = world.path("elsewhere");
    std::fs::create_dir(&dir).unwrap();
    let first = format!("mount -t binfmt_misc binfmt_misc {}; $PLAY", dir.display());
    assert_eq!(
        play(&world, "mount", &first),
        "Some(Elsewhere); mounted: true\n"
    );
}

#[test]
fn rules_that_would_go_with_the_container_arent_registered() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let said = play(&world, "mount", CONTAINER);
    for words in [
        "would go with this container",
        "nothing outside it has binfmt_misc mounted",
        "mounted: false",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let said = play(&world, "show", CONTAINER);
    assert_eq!(said, "shown false; mounted: false\n");
}

#[test]
fn two_at_once_arent_each_others_hold() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let one = format!("{BESIDE} $PLAY &");
    let said = play(&world, "mount", &format!("{} wait", one.repeat(6)));
    assert_eq!(said.matches("would go with this").count(), 6, "{said}");
    let said = play(&world, "show", &format!("{} wait", one.repeat(6)));
    assert_eq!(said.matches("shown false").count(), 6, "{said}");
}

#[test]
fn a_system_that_is_a_container_itself_is_tried_too() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let said = play(&world, "mount", "printf systemd >/proc/1/comm; $PLAY");
    assert!(said.contains("would go with this"), "{said}");
    assert!(said.contains("mounted: false"), "{said}");
}

#[test]
fn what_another_container_holds_isnt_enough_where_pid_1_holds_none() {
    let Some(world) = World::new() else { return };
    let script = format!("{BESIDE} setpriv --bounding-set=-sys_chroot $PLAY");
    let said = play(&world, "mount on a host", &script);
    for words in [
        "would go with this mount",
        "PID 1 hasn't binfmt_misc mounted",
        "CAP_SYS_CHROOT",
        "mounted: false",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn pid_1_holds_it_wherever_that_can_be_had() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let look = "grep -c binfmt_misc /proc/1/mountinfo >&2";
    let script = format!("{BESIDE} $PLAY; {look}");
    let said = play(&world, "mount on a host", &script);
    assert!(said.contains("Some(Elsewhere)"), "{said}");
    assert!(said.ends_with("\n1\n"), "{said}");
    // In its own mount namespace nothing has to be tried.
    let said = play(&world, "mount on a host", &format!("$PLAY; {look}"));
    assert_eq!(said, "Some(Elsewhere); mounted: true\n1\n");
}

#[test]
fn who_removes_rules_has_nothing_mounted_beside_pid_1() {
    let Some(world) = World::new() else { return };
    let script = format!(
        "{BESIDE} sh -euc \"mount -t binfmt_misc binfmt_misc {DEFAULT_MOUNT}; $PLAY\"
        grep -c binfmt_misc /proc/1/mountinfo >&2 || true"
    );
    let said = play(&world, "remove from a host", &script);
    assert_eq!(said, "found; mounted: true\n0\n");
    let said = play(&world, "mount on a host", &script);
    assert_eq!(said, "None; mounted: true\n1\n");
}

#[test]
fn what_is_shown_is_shown_to_nobody_else() {
    let Some(world) = World::new() else { return };
    let look = "grep -c binfmt_misc /proc/self/mountinfo >&2 || true";
    let said = play(&world, "show", &format!("{look}; $PLAY; {look}"));
    assert_eq!(said, "0\nshown true; mounted: true\n0\n");
}

#[test]
fn a_trial_that_was_killed_leaves_nothing_for_good() {
    let Some(world) = World::new() else { return };
    world.register(":binfmtctl-lifetime:E::binfmtctl-lifetime::/binfmtctl-lifetime:");
    let said = play(&world, "mount", CONTAINER);
    assert_eq!(said, "Some(Elsewhere); mounted: true\n");
    assert!(world.names().is_empty());
}
