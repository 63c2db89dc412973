//! What can run: ELF identities, the emulator for each, and what people and
//! container engines call them.
//!
//! A [`Target`] is one ELF identity (magic, mask, probe code); a [`Platform`]
//! is one emulator with its engine name. One emulator may run several
//! identities. Nothing here looks at the machine.

mod names;
mod table;

pub use names::{Exact, Request, UnknownName, parse, parse_exact};
pub use table::{PLATFORMS, TARGETS};

/// What a probe adds to the number of its arguments to get its exit status.
/// Not 0, so that an emulator that merely exits isn't taken for one that ran
/// the probe.
pub const PROBE_BASE: i32 = 40;
/// How many arguments a probe is started with, its own name among them: more
/// than one, so that it is seen when they are shifted.
pub const PROBE_ARGUMENTS: i32 = 2;
/// The exit status of a probe that ran and got its arguments right.
pub const PROBE_STATUS: i32 = PROBE_BASE + PROBE_ARGUMENTS;

/// `EI_CLASS`: the word size of an ELF file.
pub const CLASS_64: u8 = 2;
/// `EI_DATA`: big-endian.
pub const DATA_BE: u8 = 2;

/// One ELF identity: a row of QEMU's binfmt script.
#[derive(Debug)]
pub struct Target {
    /// QEMU's name for the row; the rule is `qemu-<name>`.
    pub name: &'static str,
    /// The emulator that runs it, without `qemu-`.
    pub emulator: &'static str,
    /// What the file's first bytes are, as far as `mask` looks.
    pub magic: &'static [u8],
    /// Which bits of `magic` count; as long as `magic`.
    pub mask: &'static [u8],
    /// `e_flags` that the probe's header needs.
    pub e_flags: u32,
    /// Machine code of `exit(PROBE_BASE + argc)`, in the file's byte order.
    pub exit_argc: &'static [u8],
}

impl Target {
    /// `EI_CLASS`.
    pub fn class(&self) -> u8 {
        self.magic[4]
    }

    /// `EI_DATA`.
    pub fn data(&self) -> u8 {
        self.magic[5]
    }

    /// `e_machine`.
    pub fn machine(&self) -> u16 {
        let bytes = [self.magic[18], self.magic[19]];
        match self.data() {
            DATA_BE => u16::from_be_bytes(bytes),
            _ => u16::from_le_bytes(bytes),
        }
    }

    /// The platform that this identity belongs to.
    pub fn platform(&self) -> &'static Platform {
        // The tables are held against each other by a test.
        PLATFORMS
            .iter()
            .find(|platform| platform.emulator == self.emulator)
            .unwrap_or(&PLATFORMS[0])
    }
}

/// One emulator, under the name that container engines have for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Platform {
    /// The engine's name, `linux/arm64`; QEMU's name where engines have none.
    pub name: &'static str,
    /// QEMU's name, `aarch64`.
    pub emulator: &'static str,
    /// Debian's name for a host of this platform, where QEMU is packaged for it.
    pub debian: Option<&'static str>,
    /// Whether container engines probe for it.
    pub engine: bool,
    /// Further names that people type.
    pub aliases: &'static [&'static str],
    /// Finer platforms that have to be measured. A version with a higher number
    /// includes those with lower ones.
    pub variants: &'static [Variant],
}

impl Platform {
    /// The identities that this platform's emulator runs, the usual one first.
    pub fn targets(&self) -> impl Iterator<Item = &'static Target> + use<> {
        let emulator = self.emulator;
        TARGETS
            .iter()
            .filter(move |target| target.emulator == emulator)
    }

    /// The usual identity: the one that bears the emulator's name.
    pub fn target(&self) -> &'static Target {
        // Every platform has such a row; a test holds the tables together.
        self.targets().next().unwrap_or(&TARGETS[0])
    }

    /// The finer platform that includes the others.
    pub fn highest_variant(&self) -> Option<&'static Variant> {
        self.variants.iter().max_by_key(|variant| variant.name)
    }

    /// The file name of its emulator, `qemu-aarch64`.
    pub fn binary(&self) -> String {
        format!("qemu-{}", self.emulator)
    }

    /// The platform by QEMU's name.
    pub fn by_emulator(emulator: &str) -> Option<&'static Platform> {
        PLATFORMS.iter().find(|p| p.emulator == emulator)
    }
}

/// A finer platform, `linux/amd64/v3`, with a probe of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    /// The engine's name.
    pub name: &'static str,
    /// The same only where the variant runs; elsewhere it ends otherwise.
    pub exit_argc: &'static [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_the_one_with_the_highest_number() {
        for (emulator, highest) in [("arm", "linux/arm/v7"), ("x86_64", "linux/amd64/v4")] {
            let platform = Platform::by_emulator(emulator).unwrap();
            assert_eq!(platform.highest_variant().unwrap().name, highest);
        }
    }

    #[test]
    fn every_target_has_a_platform_and_every_platform_a_target_of_its_name() {
        for target in &TARGETS {
            assert_eq!(target.platform().emulator, target.emulator);
        }
        for platform in &PLATFORMS {
            assert_eq!(platform.target().name, platform.emulator);
        }
    }

    #[test]
    fn names_and_lengths_are_sound() {
        for (i, target) in TARGETS.iter().enumerate() {
            assert_eq!(target.magic.len(), target.mask.len(), "{}", target.name);
            assert!(target.magic.starts_with(b"\x7fELF"), "{}", target.name);
            assert!(TARGETS[..i].iter().all(|other| other.name != target.name));
        }
    }

    #[test]
    fn the_assembler_still_gives_the_level_probes() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/platform/amd64_level.s");
        let dir = tempfile::tempdir().unwrap();
        let amd64 = Platform::by_emulator("x86_64").unwrap();
        for (level, variant) in (2..).zip(amd64.variants) {
            let object = dir.path().join("level.o");
            let assembled = std::process::Command::new("as")
                .args(["--64", "--defsym", &format!("LEVEL={level}"), source, "-o"])
                .arg(&object)
                .status();
            match assembled {
                Ok(status) if status.success() => {}
                other => {
                    println!("skipped: no assembler for amd64 here ({other:?})");
                    return;
                }
            }
            let bytes = std::fs::read(&object).unwrap();
            let found = bytes
                .windows(variant.exit_argc.len())
                .any(|window| window == variant.exit_argc);
            assert!(found, "{} differs from amd64_level.s", variant.name);
        }
    }
}
