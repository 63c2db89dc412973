//! `doctor` on hosts whose safeguards, limits or engines stand in the way:
//! each fault is made, found with its evidence, and mended by the very command
//! that is named, after which it isn't found any more.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Mutex;

use serde_json::Value;

use crate::world::{Output, World, text};

/// A shell script in a world, `doctor` among its commands, with these
/// variables set before it.
fn doctor(world: &World, before: &str) -> Output {
    world.sh(&format!("{before}\n\"$BINFMTCTL\" doctor --json"))
}

fn findings(output: &Output, id: &str) -> Vec<Value> {
    let all = output.json()["findings"].as_array().cloned();
    let all = all.unwrap_or_else(|| panic!("no findings: {output}"));
    all.into_iter()
        .filter(|finding| finding["id"] == id)
        .collect()
}

/// The only finding with this id, which has to have this level.
#[track_caller]
fn finding(output: &Output, id: &str, level: &str) -> Value {
    let findings = findings(output, id);
    assert_eq!(findings.len(), 1, "{id}: {output}");
    assert_eq!(findings[0]["level"], level, "{id}: {output}");
    if level != "ok" {
        assert!(findings[0]["evidence"].is_string(), "{id}: {output}");
    }
    findings[0].clone()
}

/// The fault is there; after the command that is named against it it isn't.
#[track_caller]
fn found_and_mended(world: &World, before: &str, id: &str, level: &str) -> String {
    let found = finding(&doctor(world, before), id, level);
    let remedy = text(&found["remedy"]);
    world.sh(&remedy).assert_exit(0);
    finding(&doctor(world, before), id, "ok");
    remedy
}

#[test]
fn a_tmp_without_execution_is_mended_and_keeps_its_other_options() {
    let Some(world) = World::new() else { return };
    finding(&doctor(&world, ""), "noexec-tmp", "ok");
    let mount = "mount -t tmpfs -o noexec,nosuid,nodev tmpfs";
    // The program itself may lie below /tmp.
    world
        .sh(&format!(
            "mount -t tmpfs tmpfs /srv; cp \"$BINFMTCTL\" /srv/binfmtctl; {mount} /tmp"
        ))
        .assert_exit(0);
    let before = "BINFMTCTL=/srv/binfmtctl";
    let remedy = found_and_mended(&world, before, "noexec-tmp", "warning");
    assert_eq!(remedy, "mount -o remount,bind,exec /tmp");
    let options = world.sh("grep ' /tmp ' /proc/self/mountinfo").stdout;
    assert!(options.contains("rw,nosuid,nodev,"), "{options}");
}

#[test]
fn a_tmpdir_of_ones_own_without_execution_is_mended() {
    let Some(world) = World::new() else { return };
    let own = world.path("own tmp");
    let own = own.display();
    world
        .sh(&format!(
            "mkdir '{own}'; mount -t tmpfs -o noexec tmpfs '{own}'"
        ))
        .assert_exit(0);
    let before = format!("export TMPDIR='{own}'");
    found_and_mended(&world, &before, "noexec-tmp", "warning");
}

#[test]
fn a_store_that_nothing_runs_from_is_a_problem_and_is_mended() {
    let Some(world) = World::new() else { return };
    let place = world.prefix().display().to_string();
    world
        .sh(&format!(
            "mkdir {place}; mount -t tmpfs -o mode=755,noexec tmpfs {place}"
        ))
        .assert_exit(0);
    doctor(&world, "").assert_exit(1);
    found_and_mended(&world, "", "store", "problem");
    world.install("riscv64");
}

#[test]
fn a_read_only_store_is_mended_wherever_it_comes_from() {
    let Some(world) = World::new() else { return };
    let place = world.prefix().display().to_string();
    world
        .sh(&format!(
            "mkdir {place}; mount --bind {place} {place}; mount -o remount,bind,ro {place}"
        ))
        .assert_exit(0);
    found_and_mended(&world, "", "store", "warning");
    world
        .sh(&format!("mount -t tmpfs -o ro,mode=755 tmpfs {place}"))
        .assert_exit(0);
    found_and_mended(&world, "", "store", "warning");
    world.install("riscv64");
}

#[test]
fn closed_user_namespaces_are_told_and_stay_closed() {
    let Some(world) = World::new() else { return };
    let closed = "echo 0 >/proc/sys/user/max_user_namespaces";
    finding(&doctor(&world, ""), "user-namespaces", "ok");
    world.sh(closed).assert_exit(0);
    assert_ne!(world.sh("unshare --user true").status, 0);
    let closed = finding(&doctor(&world, ""), "user-namespaces", "ok");
    let what = text(&closed["what"]);
    assert!(what.contains("user.max_user_namespaces = 0"), "{what}");
    assert!(closed["remedy"].is_null());
}

#[test]
fn what_a_container_cant_see_is_said() {
    let Some(world) = World::new() else { return };
    finding(&doctor(&world, ""), "container", "ok");
    let outside = finding(
        &doctor(&world, "export BINFMTCTL_USERNS=0"),
        "container",
        "warning",
    );
    assert!(text(&outside["what"]).contains("--userns"));
    let contained = world.sh("unshare --pid --fork \"$BINFMTCTL\" doctor --json");
    let contained = finding(&contained, "container", "warning");
    assert!(text(&contained["what"]).contains("--pid=host"));
    let frozen = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys";
    let frozen = finding(&doctor(&world, frozen), "container", "warning");
    assert!(text(&frozen["what"]).contains("read-only"));
    assert!(text(&frozen["what"]).contains("rules don't show"));
}

/// doctor looks at every engine's limits, that of the other test too.
static LIMITS: Mutex<()> = Mutex::new(());

#[test]
fn a_small_address_space_is_a_problem_once_a_program_fails_for_it() {
    let Some(world) = World::new() else { return };
    let _alone = LIMITS.lock();
    world.install("arm riscv64");
    // What a shell limits without need is no limit for a container.
    let soft = "ulimit -S -v 3000000";
    let found = finding(&doctor(&world, soft).assert_exit(0), "limits", "warning");
    let lifted = format!("{soft}; {}", text(&found["remedy"]));
    finding(&doctor(&world, &lifted).assert_exit(0), "limits", "ok");

    let hard = "ulimit -v 3000000";
    let failed = finding(&doctor(&world, hard).assert_exit(1), "limits", "problem");
    assert!(text(&failed["what"]).contains("linux/arm failed"));
}

#[test]
fn an_engine_with_a_small_address_space_is_named_and_given_more() {
    let Some(world) = World::new() else { return };
    let _alone = LIMITS.lock();
    // Any program of that name: an engine dies of such a limit sooner or later.
    let engine = world.path("dockerd");
    fs::copy("/bin/sleep", &engine).unwrap();
    let engine = engine.display();
    let script = format!(
        "(ulimit -S -v 2000000; exec {engine} 100) & trap \"kill $!\" EXIT; sleep 0.5
        \"$BINFMTCTL\" doctor --json >{engine}.before; prlimit --pid $! --as=unlimited
        \"$BINFMTCTL\" doctor --json; echo $! >{engine}.pid"
    );
    let after = world.sh(&script).assert_exit(0);
    let read = |ending: &str| fs::read_to_string(format!("{engine}.{ending}")).unwrap();
    let pid = read("pid");
    let evidence = format!("/proc/{}/limits", pid.trim());
    let named = |document: &Value| -> Option<Value> {
        let findings = document["findings"].as_array().unwrap();
        let evidence_of = |f: &&Value| f["evidence"].as_str().unwrap_or("").starts_with(&evidence);
        findings.iter().find(evidence_of).cloned()
    };
    let before: Value = serde_json::from_str(&read("before")).unwrap();
    let found = named(&before).unwrap_or_else(|| panic!("not found: {before}"));
    assert_eq!(found["id"], "limits");
    assert_eq!(found["level"], "warning");
    let remedy = format!("prlimit --pid {} --as=unlimited", pid.trim());
    assert_eq!(found["remedy"], remedy);
    assert_eq!(named(&after.json()), None, "{after}");
}

#[test]
fn refusals_in_the_kernels_log_are_shown() {
    let Some(world) = World::new() else { return };
    let log = world.path("kmsg");
    let line = "5,9,8,-;audit: type=1400 audit(1.2:3): apparmor=\"DENIED\" operation=\"exec\" profile=\"box\" name=\"/usr/bin/qemu-arm-static\" pid=7 comm=\"sh\"\n";
    let show = |text: &str| {
        fs::write(&log, text).unwrap();
        doctor(&world, &format!("mount --bind {} /dev/kmsg", log.display()))
    };
    let found = finding(&show(line), "denials", "warning");
    assert!(text(&found["evidence"]).contains("profile=\"box\""));
    let other = line.replace("qemu-arm-static", "man");
    finding(&show(&other), "denials", "ok");
    let hidden = world.sh("umount -l /dev/kmsg; umount -l /dev/kmsg");
    hidden.assert_exit(0);
    let refused = "unshare --user --map-user=1000 \"$BINFMTCTL\" doctor --json";
    finding(&world.sh(refused), "denials", "ok");
}

#[test]
fn wsls_own_rule_is_looked_at_and_switched_on_by_whoever_wants_to() {
    let Some(world) = World::new() else { return };
    assert!(findings(&doctor(&world, ""), "wsl").is_empty());
    world.register(":WSLInterop:M::MZ::/init:P");
    finding(&doctor(&world, ""), "wsl", "ok");
    world.write("WSLInterop", "0");
    found_and_mended(&world, "", "wsl", "warning");
    assert!(world.entry("WSLInterop").starts_with("enabled"));
}

/// Puts a `docker` before all others, a script that answers as told; returns
/// what sets the path.
fn fake_docker(world: &World, info: &str, inspect: &str) -> String {
    let dir = world.path("bin");
    fs::create_dir_all(&dir).unwrap();
    let script = format!(
        "#!/bin/sh\ncase $1 in context) echo \"$DOCKER_HOST\" ;; info) {info} ;; buildx) {inspect} ;; esac\n"
    );
    let docker = dir.join("docker");
    fs::write(&docker, script).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    format!("export PATH={}:$PATH", dir.display())
}

fn engine(kernel: &str) -> String {
    format!(
        "echo '{{\"ServerVersion\":\"1.2\",\"KernelVersion\":\"'{kernel}'\",\"ClientInfo\":{{\"Plugins\":[{{\"Name\":\"buildx\"}}]}}}}'"
    )
}

#[test]
fn a_host_without_docker_is_fine() {
    let Some(world) = World::new() else { return };
    let output = doctor(&world, "PATH=/nowhere");
    finding(&output, "docker", "ok");
    assert!(findings(&output, "builder").is_empty());
}

#[test]
fn a_docker_that_never_answers_is_given_up() {
    let Some(world) = World::new() else { return };
    let path = fake_docker(&world, "sleep 1000 & echo $! >\"$0.pid\"; wait", "exit 1");
    let found = finding(&doctor(&world, &path), "docker", "warning");
    assert!(text(&found["what"]).contains("didn't answer"));
    let pid = fs::read_to_string(world.path("bin/docker.pid")).unwrap();
    // The dead have no command line, even while nobody has waited for them.
    let left = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim()));
    assert_eq!(left.unwrap_or_default(), "");
}

#[test]
fn a_docker_that_babbles_is_survived() {
    let Some(world) = World::new() else { return };
    let cases = [
        ("yes", "docker"),
        ("echo '[{\"ServerVersion\":1}]'", "docker"),
        ("printf '\\033[2Jgone\\n' >&2; exit 1", "docker"),
        (&engine("$(uname -r)"), "builder"),
    ];
    for (info, id) in cases {
        let path = fake_docker(&world, info, "yes \"Platforms: $(printf '\\033')[2J\"");
        let output = doctor(&world, &path);
        let found = finding(&output, id, "warning");
        assert!(!text(&found["what"]).contains('\x1b'), "{info}");
    }
}

#[test]
fn a_socket_that_isnt_ours_to_ask_is_told_as_such() {
    let Some(world) = World::new() else { return };
    let socket = world.path("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let path = fake_docker(&world, "echo '{\"ServerErrors\":[\"no\"]}'", "exit 1");
    let before = format!("{path}; export DOCKER_HOST=unix://{}", socket.display());
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
    let refused = |as_whom: &str| {
        let output = world.sh(&format!("{before}; {as_whom} \"$BINFMTCTL\" doctor --json"));
        let found = finding(&output, "docker", "warning");
        assert!(text(&found["evidence"]).contains("ermission"), "{found}");
        found["remedy"].as_str().unwrap_or_default().to_owned()
    };
    let user = refused("unshare --user --map-user=1000");
    assert!(user.starts_with("sudo binfmtctl doctor"), "{user}");
    let prefix = world.prefix();
    assert!(user.contains(&prefix.display().to_string()), "{user}");
    // Nobody becomes root twice.
    let root = refused("setpriv --bounding-set=-all --inh-caps=-all");
    assert_eq!(root, "");
    drop(listener);
    let found = finding(&doctor(&world, &before), "docker", "warning");
    assert!(text(&found["evidence"]).contains("refused"));
    // Whoever started that engine knows how to start it again.
    assert!(found["remedy"].is_null());
}

#[test]
fn an_engine_with_a_kernel_of_its_own_isnt_held_against_this_host() {
    let Some(world) = World::new() else { return };
    let lists = "printf 'Name: b\\nDriver: docker\\n\\nNodes:\\nName: b\\nStatus: running\\nPlatforms: linux/riscv64\\n'";
    let here = fake_docker(&world, &engine("$(uname -r)"), lists);
    let output = doctor(&world, &here);
    assert!(
        findings(&output, "builder")
            .iter()
            .all(|f| f["level"] == "warning")
    );
    assert!(text(&findings(&output, "builder")[0]["what"]).contains("riscv64"));
    world.install("riscv64");
    assert!(!output_lists(
        &doctor(&world, &here),
        "linux/riscv64, which don't run"
    ));
    let there = fake_docker(&world, &engine("6.1-linuxkit"), lists);
    assert!(findings(&doctor(&world, &there), "builder").is_empty());
}

fn output_lists(output: &Output, words: &str) -> bool {
    let builders = findings(output, "builder");
    builders
        .iter()
        .any(|finding| text(&finding["what"]).contains(words))
}
