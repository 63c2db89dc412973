//! Arguments: a program gets those that it is given, or it doesn't count as
//! running. The kernel's flag P adds one, and the emulator has to expect it:
//! Debian's QEMU 10 always does where its own name ends in `-binfmt-P`.

use std::fs;
use std::path::{Path, PathBuf};

use binfmtctl::binfmt::Flags;
use binfmtctl::binfmt::switch::Wanted;

use crate::world::cache::busybox;
use crate::world::{Output, World, target, text};

/// A world in which somebody else has a rule for riscv64, with these flags,
/// and an emulator of this name.
fn with_rule(emulator: &str, flags: &str) -> Option<(World, PathBuf)> {
    let world = World::new()?;
    world.install("riscv64");
    let elsewhere = world.path(emulator);
    fs::copy(world.stored().remove(0), &elsewhere).unwrap();
    world.ctl("uninstall").assert_exit(0);
    let rule = Wanted {
        target: target("riscv64"),
        interpreter: elsewhere.display().to_string(),
        flags: Flags::from_letters(flags),
        prefix: String::new(),
        given: None,
    };
    world.register(&rule.named("theirs").line().unwrap());
    Some((world, elsewhere))
}

/// Starts a real shell as everybody does: `sh -c 'echo $0' name`.
fn shell(world: &World) -> Output {
    let sh = world.path("sh");
    fs::copy(busybox("riscv64"), &sh).unwrap();
    world.exec(&sh, &["-c", "echo $0", "name"])
}

fn expects_p(emulator: &Path) -> bool {
    let bytes = fs::read(emulator).unwrap();
    bytes.windows(9).any(|window| window == b"-binfmt-P")
}

#[test]
fn a_rule_without_the_p_that_its_emulator_expects_doesnt_run() {
    let Some((world, emulator)) = with_rule("riscv64-binfmt-P", "OF") else {
        return;
    };
    assert!(expects_p(&emulator), "this QEMU doesn't go by its name");
    assert_ne!(shell(&world).status, 0);

    let status = world.status("riscv64");
    assert_eq!(status["runs"], "no");
    assert_eq!(status["cause"], "emulator-failed");
    assert_eq!(
        text(&status["detail"]),
        format!(
            "rule theirs, {}: its program got 1 argument instead of 2; \
             flag P, which is not set, and this emulator don't agree",
            emulator.display()
        )
    );

    world.install("riscv64");
    assert_eq!(world.status("riscv64")["handler"], "qemu-riscv64");
    assert_eq!(shell(&world).assert_exit(0).stdout, "name\n");
}

#[test]
fn a_rule_with_the_p_that_its_emulator_expects_runs() {
    let Some((world, _)) = with_rule("riscv64-binfmt-P", "POF") else {
        return;
    };
    assert_eq!(shell(&world).assert_exit(0).stdout, "name\n");
    assert_eq!(world.runs("riscv64"), "emulated");
}

#[test]
fn a_rule_of_the_old_style_without_p_runs() {
    let Some((world, _)) = with_rule("qemu-riscv64-static", "F") else {
        return;
    };
    assert_eq!(shell(&world).assert_exit(0).stdout, "name\n");
    assert_eq!(world.runs("riscv64"), "emulated");
}
