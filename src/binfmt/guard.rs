//! The guard: binfmt_misc is asked before the kernel's own ELF loader, so a
//! rule that matches native programs stops every exec on the host, `reboot`
//! included. No such rule gets past here, whoever asks.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use elf::ElfStream;
use elf::abi::PT_INTERP;
use elf::endian::AnyEndian;

use super::rule::{HEADER_LEN, Rule};

/// Headers that no rule may match, each with what it is the header of.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    native: Vec<(String, Vec<u8>)>,
}

/// A rule that would stop the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule {rule} would match {what}, and nothing would run any more")]
pub struct Refusal {
    /// The rule's name.
    pub rule: String,
    /// What it would match.
    pub what: String,
}

impl Guard {
    /// What must stay native on this host: this program, PID 1, the shell,
    /// and their loaders. What isn't there needs no guard.
    pub fn of_host() -> Self {
        let mut guard = Self::default();
        let programs = ["/proc/self/exe", "/proc/1/exe", "/bin/sh"].map(PathBuf::from);
        for program in programs {
            if let Some(loader) = loader_of(&program) {
                guard.protect_file(&loader);
            }
            guard.protect_file(&program);
        }
        guard
    }

    /// Adds a header that must not be matched.
    pub fn protect(&mut self, what: impl Into<String>, mut header: Vec<u8>) {
        header.truncate(HEADER_LEN);
        self.native.push((what.into(), header));
    }

    fn protect_file(&mut self, path: &Path) {
        if let Some(header) = header_of(path) {
            self.protect(path.display().to_string(), header);
        }
    }

    /// Refuses a rule that matches anything protected, or its own interpreter.
    pub fn check(&self, rule: &Rule) -> Result<(), Refusal> {
        let interpreter = header_of(Path::new(&rule.interpreter));
        let own =
            interpreter.map(|header| (format!("its own interpreter {}", rule.interpreter), header));
        let matched = self
            .native
            .iter()
            .chain(&own)
            .find(|(_, header)| rule.pattern.matches(header));
        match matched {
            Some((what, _)) => Err(Refusal {
                rule: rule.name.clone(),
                what: what.clone(),
            }),
            None => Ok(()),
        }
    }
}

fn header_of(path: &Path) -> Option<Vec<u8>> {
    let mut header = Vec::new();
    let file = File::open(path).ok()?;
    file.take(HEADER_LEN as u64).read_to_end(&mut header).ok()?;
    Some(header)
}

/// The loader (PT_INTERP) that a program names.
fn loader_of(program: &Path) -> Option<PathBuf> {
    let file = File::open(program).ok()?;
    let mut elf = ElfStream::<AnyEndian, _>::open_stream(file).ok()?;
    let segment = *elf
        .segments()
        .iter()
        .find(|segment| segment.p_type == PT_INTERP)?;
    let bytes = elf.segment_data(&segment).ok()?;
    let path = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binfmt::rule::{Flags, Pattern};
    use crate::host::Host;
    use crate::platform::TARGETS;

    fn rule(magic: &[u8], mask: Option<&[u8]>, offset: usize) -> Rule {
        Rule {
            name: "test".to_owned(),
            pattern: Pattern {
                offset,
                magic: magic.to_vec(),
                mask: mask.map(<[u8]>::to_vec),
            },
            interpreter: "/nowhere".to_owned(),
            flags: Flags::default(),
        }
    }

    fn guard() -> Guard {
        let mut guard = Guard::of_host();
        guard.protect(
            "native programs",
            Host::read().unwrap().platform.target().magic.to_vec(),
        );
        guard
    }

    #[test]
    fn rules_that_match_native_programs_are_refused() {
        let host = Host::read().unwrap().platform.target();
        let table = [
            rule(host.magic, Some(host.mask), 0),
            rule(b"\x7fELF", None, 0),
            rule(b"ELF", None, 1),
            rule(b"\0\0\0\0", Some(b"\0\0\0\0"), 0),
        ];
        for rule in table {
            assert!(guard().check(&rule).is_err(), "{rule:?}");
        }
    }

    #[test]
    fn no_foreign_row_of_the_table_is_refused() {
        let host = Host::read().unwrap().platform;
        for target in TARGETS.iter().filter(|t| t.platform() != host) {
            let rule = rule(target.magic, Some(target.mask), 0);
            assert_eq!(guard().check(&rule), Ok(()), "{}", target.name);
        }
    }

    #[test]
    fn a_rule_that_matches_its_own_interpreter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let interpreter = dir.path().join("script");
        std::fs::write(&interpreter, "#!/bin/sh\n").unwrap();
        let mut rule = rule(b"#!", None, 0);
        assert_eq!(Guard::default().check(&rule), Ok(()));
        rule.interpreter = interpreter.display().to_string();
        assert!(Guard::default().check(&rule).is_err());
    }
}
