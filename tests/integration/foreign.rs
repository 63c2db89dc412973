//! Other people's rules: kept, shadowed where they don't work, never changed.

use std::path::PathBuf;

use crate::world::cache::busybox;
use crate::world::{World, target, text};

/// The register line of a rule for riscv64 programs.
pub fn line(name: &str, interpreter: &str, flags: &str) -> String {
    let escape = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("\\x{b:02x}")).collect() };
    let riscv64 = target("riscv64");
    let (magic, mask) = (escape(riscv64.magic), escape(riscv64.mask));
    format!(":{name}:M::{magic}:{mask}:{interpreter}:{flags}")
}

/// A world in which somebody else has an emulator for riscv64.
pub fn with_emulator() -> Option<(World, PathBuf)> {
    let world = World::new()?;
    world.install("riscv64");
    let emulator = world.path("elsewhere");
    std::fs::copy(world.stored().remove(0), &emulator).unwrap();
    world.ctl("uninstall").assert_exit(0);
    Some((world, emulator))
}

#[test]
fn a_broken_rule_is_shadowed_and_comes_back_to_light() {
    let Some(world) = World::new() else { return };
    world.register(&line("qemu-riscv64", "/nowhere/qemu-riscv64", ""));
    let theirs = world.entry("qemu-riscv64");
    assert_eq!(text(&world.status("riscv64")["cause"]), "no-fix-binary");

    world.install("riscv64");
    let status = world.status("riscv64");
    assert_eq!(status["handler"], "binfmtctl-riscv64");
    assert_eq!(status["shadowed"][0], "qemu-riscv64");
    world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
    assert_eq!(world.entry("qemu-riscv64"), theirs);

    world.ctl("uninstall").assert_exit(0);
    assert_eq!(world.names(), ["qemu-riscv64"]);
    assert_eq!(world.entry("qemu-riscv64"), theirs);
    assert_eq!(text(&world.status("riscv64")["cause"]), "no-fix-binary");
}

#[test]
fn a_rule_that_works_is_kept_and_named_until_it_is_replaced() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    world.register(&line("theirs", &emulator.display().to_string(), "F"));
    let before = world.settled();
    let kept = world.ctl("install riscv64 --json").assert_exit(0).json();
    assert_eq!(kept["platforms"][0]["action"], "kept");
    assert_eq!(kept["platforms"][0]["handler"], "theirs");
    assert_eq!(kept["platforms"][0]["owner"], "other");
    assert_eq!(kept["changed"], false);
    assert!(crate::world::changes(&before, &world.settled()).is_empty());

    world.install("riscv64 --replace");
    assert_eq!(world.names(), ["qemu-riscv64"]);
    assert_eq!(world.status("riscv64")["owner"], "binfmtctl");
    assert_eq!(world.conf_names(), ["qemu-riscv64"]);
}

#[test]
fn a_rule_of_the_usual_name_is_replaced_under_its_name() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    world.register(&line(
        "qemu-riscv64",
        &emulator.display().to_string(),
        "POF",
    ));
    world.install("riscv64 --replace");
    assert_eq!(world.names(), ["qemu-riscv64"]);
    assert_eq!(world.status("riscv64")["owner"], "binfmtctl");
    world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
}

#[test]
fn a_rule_without_f_works_on_the_host_only_and_is_shadowed() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    world.register(&line("theirs", &emulator.display().to_string(), ""));
    world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
    assert_eq!(world.status("riscv64")["cause"], "no-fix-binary");
    world.install("riscv64");
    assert_eq!(world.status("riscv64")["handler"], "qemu-riscv64");
    assert_eq!(world.names(), ["qemu-riscv64", "theirs"]);
}

#[test]
fn a_disabled_rule_stays_disabled() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    world.register(&line(
        "qemu-riscv64",
        &emulator.display().to_string(),
        "POF",
    ));
    world.write("qemu-riscv64", "0");
    assert_eq!(world.status("riscv64")["cause"], "disabled");
    world.install("riscv64");
    assert_eq!(world.status("riscv64")["handler"], "binfmtctl-riscv64");
    assert!(world.entry("qemu-riscv64").starts_with("disabled\n"));
}

#[test]
fn our_rule_that_somebody_disabled_or_shadowed_runs_again() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    world.write("qemu-riscv64", "0");
    assert_eq!(world.status("riscv64")["cause"], "disabled");
    world.install("riscv64");
    assert_eq!(world.runs("riscv64"), "emulated");

    world.register(&line("newer", "/nowhere", ""));
    assert_eq!(world.status("riscv64")["cause"], "shadowed");
    world.install("riscv64");
    assert_eq!(world.runs("riscv64"), "emulated");
    assert_eq!(world.names(), ["newer", "qemu-riscv64"]);
}

#[test]
fn a_foreign_rule_goes_by_its_exact_name_only() {
    let Some(world) = World::new() else { return };
    world.install("s390x");
    world.register(&line("one", "/nowhere", ""));
    world.register(&line("one-more", "/nowhere", ""));
    world.refuses("uninstall --foreign on", 2, &["on", "no rule of that name"]);
    world.refuses("uninstall --foreign one*", 2, &["one*"]);
    world.refuses(
        "uninstall --foreign qemu-s390x",
        2,
        &["qemu-s390x", "binfmtctl uninstall"],
    );
    world.ctl("uninstall --foreign one").assert_exit(0);
    assert_eq!(world.names(), ["one-more", "qemu-s390x"]);
    assert_eq!(world.runs("s390x"), "emulated");
}

#[test]
fn wsls_rule_is_untouchable() {
    let Some(world) = World::new() else { return };
    world.register(
        ":WSLInterop:M::MZ::/init:PF"
            .replace("/init", "/bin/sh")
            .as_str(),
    );
    world.register(&line("WSLInterop-late", "/bin/sh", "PF"));
    let before = world.entries();
    world.install("riscv64 --replace");
    world.refuses("uninstall --foreign WSLInterop", 2, &["WSLInterop", "WSL"]);
    world.refuses(
        "uninstall --foreign WSLInterop-late",
        2,
        &["WSLInterop-late"],
    );
    world.ctl("uninstall").assert_exit(0);
    assert_eq!(world.entries(), before);
}

#[test]
fn rules_of_other_kinds_survive_everything() {
    let Some(world) = World::new() else { return };
    world.register(":wine:E::exe::/usr/bin/wine:");
    world.register(r":python3.11:M::\xa7\x0d\x0d\x0a::/usr/bin/python3.11:");
    world.register(":jar:M:30:mimetype::/usr/bin/jexec:O");
    let before = world.entries();
    for line in [
        "install riscv64",
        "install --replace all",
        "uninstall riscv64",
        "uninstall",
    ] {
        world.ctl(line).assert_exit(0);
        for (name, text) in &before {
            assert_eq!(world.entry(name), *text, "{line}");
        }
    }
    assert_eq!(world.entries(), before);
}

#[test]
fn a_rule_whose_name_is_no_text_is_not_taken_for_another() {
    let Some((world, emulator)) = with_emulator() else {
        return;
    };
    let path = emulator.display().to_string();
    let mut named = line("theirs", &path, "POF").into_bytes();
    named.splice(1..7, *b"bad\xff");
    std::fs::write(world.instance().join("register"), named).unwrap();
    world
        .ctl("uninstall --foreign bad\u{fffd}")
        .assert_exit(2)
        .assert_says(&["isn't plain text"]);
    world.install("riscv64 --replace");
    assert_eq!(world.status("riscv64")["handler"], "qemu-riscv64");
    assert_eq!(world.names().len(), 2);
}

#[test]
fn a_rule_in_front_that_takes_some_programs_is_named() {
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    // Only those with 29 section headers.
    let riscv64 = r"\x7fELF\x02\x01\x01".to_owned() + &r"\x00".repeat(11) + r"\xf3\x00";
    let magic = riscv64 + &r"\x00".repeat(40) + r"\x1d\x00";
    let mask =
        r"\xff".repeat(7) + &r"\x00".repeat(11) + r"\xff\xff" + &r"\x00".repeat(40) + r"\xff\xff";
    world.register(&format!(":narrow:M::{magic}:{mask}:/bin/false:F"));
    assert_eq!(world.runs("riscv64"), "emulated");
    assert_eq!(world.status("riscv64")["in_front"][0], "narrow");
    let doctor = world.ctl("doctor");
    assert!(
        doctor.stdout.contains("rule narrow is in front"),
        "{doctor}"
    );
}
