//! What doctor finds in the instance and its rules, and that the one command
//! that it names mends it.

use std::fs;

use serde_json::Value;

use crate::foreign::{line, with_emulator};
use crate::world::{World, text};

const DOCUMENTED: &str = include_str!("../../docs/doctor.md");
const MOUNT: &str = "/proc/sys/fs/binfmt_misc";

/// What doctor says under this id, if it isn't "ok".
fn finding(world: &World, id: &str) -> Option<Value> {
    let output = world.ctl("doctor --json");
    let findings = output.json()["findings"].as_array().cloned();
    let findings = findings.unwrap_or_else(|| panic!("no findings: {output}"));
    let has_problem = findings.iter().any(|finding| finding["level"] == "problem");
    assert_eq!(output.status, i32::from(has_problem), "{output}");
    for finding in &findings {
        let id = text(&finding["id"]);
        assert!(
            DOCUMENTED.contains(&format!("`{id}`")),
            "{id} isn't documented"
        );
    }
    findings
        .into_iter()
        .find(|finding| finding["id"] == id && finding["level"] != "ok")
}

/// Doctor finds it at this level, and its remedy makes it go away.
#[track_caller]
fn finds_and_mends(world: &World, id: &str, level: &str) {
    let found = finding(world, id).unwrap_or_else(|| panic!("{id} isn't found"));
    assert_eq!(found["level"], level, "{found}");
    let remedy = text(&found["remedy"]);
    let bin = world.path("bin");
    fs::create_dir_all(&bin).unwrap();
    // It may be there from the finding before.
    let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_binfmtctl"), bin.join("binfmtctl"));
    world
        .sh(&format!("PATH={}:$PATH\n{remedy}", bin.display()))
        .assert_exit(0);
    if let Some(left) = finding(world, id) {
        panic!("{remedy} didn't mend it: {left}");
    }
}

#[test]
fn a_host_as_install_leaves_it_has_no_problem() {
    let Some(world) = World::new() else { return };
    world.install("all");
    let doctor = world.ctl("doctor --color always").assert_exit(0);
    assert!(doctor.stdout.contains("linux/arm64"), "{doctor}");
    assert!(!doctor.stdout.contains("problem"), "{doctor}");
    assert_eq!(doctor.stderr, "");
}

#[test]
fn nothing_mounted() {
    let Some(world) = World::unmounted() else {
        return;
    };
    world
        .sh(&format!("mount -t tmpfs none {MOUNT}"))
        .assert_exit(0);
    finds_and_mends(&world, "mount", "problem");
}

#[test]
fn what_was_asked_for_and_nothing_more_comes_back_with_the_mount() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    world.sh(&format!("umount {MOUNT}")).assert_exit(0);
    finds_and_mends(&world, "mount", "problem");
    assert_eq!(world.names(), ["qemu-riscv64"]);
}

#[test]
fn everything_switched_off() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    world.write("status", "0");
    finds_and_mends(&world, "switch", "problem");
    assert_eq!(world.runs("riscv64"), "emulated");
}

#[test]
fn nothing_registered() {
    let Some(world) = World::new() else { return };
    finds_and_mends(&world, "not-registered", "warning");
}

#[test]
fn our_rule_is_gone_but_our_file_names_it() {
    let Some(world) = World::new() else { return };
    world.install("riscv64 s390x");
    world.write("qemu-riscv64", "-1");
    finds_and_mends(&world, "not-registered", "problem");
    assert_eq!(world.runs("riscv64"), "emulated");
}

#[test]
fn a_rule_switched_off() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    world.write("qemu-riscv64", "0");
    finds_and_mends(&world, "disabled", "problem");
}

#[test]
fn a_rule_without_f() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    world.register(&line("theirs", &emulator.display().to_string(), ""));
    finds_and_mends(&world, "no-fix-binary", "problem");
    assert_eq!(world.runs("riscv64"), "emulated");
}

#[test]
fn a_dynamic_interpreter() {
    let Some(world) = World::new() else { return };
    world.register(&line("theirs", "/bin/true", "F"));
    let found = finding(&world, "interpreter-missing").unwrap();
    assert!(text(&found["evidence"]).contains("static"), "{found}");
    finds_and_mends(&world, "interpreter-missing", "problem");
}

#[test]
fn an_interpreter_for_another_host() {
    let Some(world) = World::new() else { return };
    let foreign = crate::world::cache::busybox("s390x");
    world.register(&line("theirs", &foreign.display().to_string(), "F"));
    let found = finding(&world, "emulator-failed").unwrap();
    assert!(text(&found["evidence"]).contains("linux/s390x"), "{found}");
    finds_and_mends(&world, "emulator-failed", "problem");
}

#[test]
fn a_broken_rule_in_front_of_ours() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    world.register(&line("theirs", "/nowhere", ""));
    finds_and_mends(&world, "shadowed", "problem");
}

#[test]
fn a_working_rule_in_front_of_ours() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    world.install("riscv64");
    world.register(&line("theirs", &emulator.display().to_string(), "POF"));
    finds_and_mends(&world, "shadowed", "warning");
    assert_eq!(world.status("riscv64")["owner"], "binfmtctl");
}

#[test]
fn a_working_rule_behind_ours() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    world.register(&line(
        "it's $(theirs)",
        &emulator.display().to_string(),
        "POF",
    ));
    // While it is off, install puts ours in front.
    world.write("it's $(theirs)", "0");
    world.install("riscv64");
    world.write("it's $(theirs)", "1");
    finds_and_mends(&world, "two-owners", "warning");
    assert_eq!(world.names(), ["qemu-riscv64"]);
}

#[test]
fn the_file_was_replaced_or_removed() {
    for arrange in ["mv", "rm"] {
        let Some((world, emulator)) = with_emulator() else {
            return;
        };
        world.register(&line("theirs", &emulator.display().to_string(), "POF"));
        let other = world.file("other", "other bytes");
        match arrange {
            "mv" => fs::rename(other, &emulator).unwrap(),
            _ => fs::remove_file(&emulator).unwrap(),
        }
        finds_and_mends(&world, "stale", "warning");
        assert_eq!(world.status("riscv64")["pinned"], "match");
    }
}

#[test]
fn ours_runs_other_bytes_than_its_path_says() {
    let Some(world) = World::new() else { return };
    world.install("riscv64 s390x");
    let of = |name: &str| {
        let stored = world.stored();
        let found = stored.iter().find(|path| path.ends_with(name));
        found.unwrap().clone()
    };
    // Somebody changes the store and registers from it again.
    let riscv64 = of("qemu-riscv64");
    let mut bytes = fs::read(&riscv64).unwrap();
    bytes.push(0);
    fs::remove_file(&riscv64).unwrap();
    let changed = world.file("changed", bytes);
    world.sh(&format!(
        "chmod 755 {0}; mv {0} {1}",
        changed.display(),
        riscv64.display()
    ));
    world.write("qemu-riscv64", "-1");
    world.register(&line("qemu-riscv64", &riscv64.display().to_string(), "POF"));
    finds_and_mends(&world, "stale", "problem");
    assert_eq!(world.status("riscv64")["pinned"], "match");
}

#[test]
fn a_rule_that_would_stop_every_program() {
    let Some(world) = World::new() else { return };
    let host = crate::world::host().target();
    let escape = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("\\x{b:02x}")).collect() };
    let (magic, mask) = (escape(host.magic), escape(host.mask));
    world.register(&format!(":deadly:M::{magic}:{mask}:/bin/true:"));
    // From here to the next line nothing can be started in this world.
    world.write("deadly", "0");
    finds_and_mends(&world, "native-rule", "warning");
}

#[test]
fn a_rule_that_would_stop_every_program_goes_before_anything_is_switched_on() {
    // The usual programs of today are position-independent.
    for elf_type in [2, 3] {
        let Some(world) = World::new() else { return };
        let host = crate::world::host().target();
        let escape =
            |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("\\x{b:02x}")).collect() };
        let (mut magic, mut mask) = (host.magic.to_vec(), host.mask.to_vec());
        (magic[16], mask[16]) = (elf_type, 0xff);
        world.write("status", "0");
        let (magic, mask) = (escape(&magic), escape(&mask));
        world.register(&format!(":deadly rule:M::{magic}:{mask}:/bin/true:"));
        let output = world.ctl("doctor --json").assert_exit(1).json();
        let problems: Vec<&Value> = (output["findings"].as_array().unwrap().iter())
            .filter(|finding| finding["level"] == "problem")
            .collect();
        assert_eq!(problems[0]["id"], "native-rule");
        assert_eq!(problems[1]["id"], "switch");
        assert!(problems[1]["remedy"].is_null());
        let remedy = text(&problems[0]["remedy"]);
        assert!(remedy.starts_with("echo -1 >"), "{remedy}");
        // Nothing starts any more: the shell that runs it has to be there.
        world
            .sh(&format!("echo 1 >{MOUNT}/status; {remedy}"))
            .assert_exit(0);
        assert!(world.names().is_empty());
    }
}

#[test]
fn a_file_that_isnt_one_is_never_removed() {
    let Some(world) = World::new() else { return };
    let before = finding(&world, "conf");
    assert_eq!(before, None);
    world
        .sh("rm -rf \"$BINFMTCTL_CONF\"; mkdir -p \"$BINFMTCTL_CONF\"")
        .assert_exit(0);
    let found = finding(&world, "conf").unwrap();
    assert_eq!(found["level"], "problem");
    assert!(found["remedy"].is_null(), "{found}");
}

#[test]
fn what_is_fine_has_nothing_to_prove_or_mend() {
    let Some(world) = World::new() else { return };
    let output = world.ctl("doctor --json").json();
    let findings = output["findings"].as_array().unwrap();
    for fine in findings.iter().filter(|finding| finding["level"] == "ok") {
        assert!(fine["evidence"].is_null() && fine["remedy"].is_null());
    }
}

#[test]
fn a_namespace_without_rules_isnt_told_to_hide_the_hosts() {
    let Some(world) = World::unmounted() else {
        return;
    };
    let output = world
        .sh("BINFMTCTL_USERNS=0 \"$BINFMTCTL\" doctor --json")
        .json();
    for finding in output["findings"].as_array().unwrap() {
        let remedy = finding["remedy"].as_str().unwrap_or_default();
        assert!(!remedy.contains("mount"), "{finding}");
        assert!(!remedy.contains("binfmtctl install") || remedy.contains("--userns"));
    }
}

#[test]
fn arm64_without_arm() {
    let Some(world) = World::new() else { return };
    world.install("arm64");
    finds_and_mends(&world, "arm64-without-arm", "warning");
}

#[test]
fn flags_that_change_what_programs_see() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    for (flags, id) in [("OF", "argv0"), ("POCF", "credentials")] {
        world.register(&line("theirs", &emulator.display().to_string(), flags));
        finds_and_mends(&world, id, "warning");
        world.ctl("uninstall").assert_exit(0);
    }
}

#[test]
fn an_emulator_that_takes_flag_p_for_granted() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    let named = world.path("riscv64-binfmt-P");
    fs::rename(emulator, &named).unwrap();
    world.register(&line("theirs", &named.display().to_string(), "F"));
    finds_and_mends(&world, "argv0", "problem");
}

#[test]
fn a_user_namespace_says_whose_rules_it_has() {
    let Some(world) = World::new() else { return };
    let found = finding(&world, "held").unwrap();
    assert_eq!(found["level"], "warning");
    assert!(text(&found["what"]).contains("user namespace"), "{found}");
}
