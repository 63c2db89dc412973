//! The guard: binfmt_misc is asked before the kernel's own ELF loader, so a
//! rule that matches native programs stops every exec on the host, `reboot`
//! included. No such rule gets past here, whoever asks.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use elf::ElfStream;
use elf::abi::PT_INTERP;
use elf::endian::AnyEndian;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::rule::{HEADER_LEN, Rule};
use crate::host::platform_of_header;
use crate::platform::Platform;

/// Headers that no rule may match, each with what it is the header of.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    native: Vec<(String, Vec<u8>)>,
    emulated: Option<&'static Platform>,
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
    /// their loaders, and scripts. In a container that sees the host's PID 1,
    /// the host's shell and loader are among them. What isn't there needs no
    /// guard; nor do programs of the platform as which this one runs emulated,
    /// where it does.
    pub fn of_host(emulated: Option<&'static Platform>) -> Self {
        let mut guard = Self {
            emulated,
            ..Self::default()
        };
        guard.protect("scripts", b"#!/bin/sh\n".to_vec());
        let own = Path::new("/");
        let init = Path::new("/proc/1/root");
        for (root, program) in [
            (own, "/proc/self/exe"),
            (own, "/proc/1/exe"),
            (own, "/bin/sh"),
            (init, "/bin/sh"),
        ] {
            guard.protect_program(root, Path::new(program));
        }
        // Its link leads out of every root.
        if let Some(loader) = open(own, Path::new("/proc/1/exe")).and_then(loader_of) {
            guard.protect_file(init, &loader);
        }
        guard
    }

    /// Adds a header that must not be matched.
    pub fn protect(&mut self, what: impl Into<String>, mut header: Vec<u8>) {
        header.truncate(HEADER_LEN);
        if self.native.iter().all(|(_, known)| *known != header) {
            self.native.push((what.into(), header));
        }
    }

    /// Adds a program's header, and that of its loader.
    fn protect_program(&mut self, root: &Path, program: &Path) {
        if let Some(loader) = open(root, program).and_then(loader_of) {
            self.protect_file(root, &loader);
        }
        self.protect_file(root, program);
    }

    fn protect_file(&mut self, root: &Path, path: &Path) {
        let is_native = |header: &Vec<u8>| {
            let emulated = self.emulated;
            emulated.is_none_or(|emulated| platform_of_header(header) != Some(emulated))
        };
        let header = open(root, path).and_then(header_of);
        if let Some(header) = header.filter(is_native) {
            self.protect(within(root, path).display().to_string(), header);
        }
    }

    /// Refuses a rule that matches anything protected, or its own interpreter.
    pub fn check(&self, rule: &Rule) -> Result<(), Refusal> {
        let interpreter = File::open(&rule.interpreter).ok().and_then(header_of);
        self.check_with(rule, interpreter.as_deref())
    }

    /// The same where the interpreter begins with these bytes.
    pub fn check_with(&self, rule: &Rule, interpreter: Option<&[u8]>) -> Result<(), Refusal> {
        let mut native = self.native.iter();
        let native = native.find(|(_, header)| rule.pattern.matches(header));
        let what = match (native, interpreter) {
            (Some((what, _)), _) => what.clone(),
            (None, Some(header)) if rule.pattern.matches(header) => {
                format!("its own interpreter {}", rule.interpreter)
            }
            _ => return Ok(()),
        };
        Err(Refusal {
            rule: rule.name.clone(),
            what,
        })
    }
}

/// Opens a file of a root. Links don't lead out of it where the kernel knows
/// how (5.6).
fn open(root: &Path, path: &Path) -> Option<File> {
    if root.parent().is_none() {
        return File::open(path).ok();
    }
    let dir = File::open(root).ok()?;
    let (flags, mode) = (OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    match openat2(&dir, path, flags, mode, ResolveFlags::IN_ROOT) {
        Ok(file) => Some(file.into()),
        Err(_) => File::open(within(root, path)).ok(),
    }
}

/// A path of a root, as it is seen from here.
fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn header_of(file: File) -> Option<Vec<u8>> {
    let mut header = Vec::new();
    file.take(HEADER_LEN as u64).read_to_end(&mut header).ok()?;
    Some(header)
}

/// The loader (PT_INTERP) that a program names.
fn loader_of(program: File) -> Option<PathBuf> {
    let mut elf = ElfStream::<AnyEndian, _>::open_stream(program).ok()?;
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
    use crate::platform::{TARGETS, Target};

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
        let mut guard = Guard::of_host(None);
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
    fn programs_of_another_root_are_its_own() {
        let root = tempfile::tempdir().unwrap();
        let place = |path: &str, bytes: &[u8]| {
            let path = within(root.path(), Path::new(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let shell = File::open("/bin/sh").and_then(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map(|_| bytes)
        });
        place("/real/shell", &shell.unwrap());
        if let Some(loader) = open(Path::new("/"), Path::new("/bin/sh")).and_then(loader_of) {
            place(loader.to_str().unwrap(), b"its own loader");
        }
        std::fs::create_dir(root.path().join("bin")).unwrap();
        std::os::unix::fs::symlink("/real/shell", root.path().join("bin/sh")).unwrap();
        let mut guard = Guard::default();
        guard.protect_program(root.path(), Path::new("/bin/sh"));
        assert!(guard.check(&rule(b"\x7fELF", None, 0)).is_err());
        let mut names = guard.native.iter().map(|(name, _)| name);
        assert!(names.all(|name| name.starts_with(root.path().to_str().unwrap())));
        if guard.native.len() > 1 {
            assert!(guard.check(&rule(b"own", None, 4)).is_err());
        }
    }

    #[test]
    fn where_this_program_runs_emulated_its_own_kind_isnt_native() {
        let own = Host::read().unwrap().platform;
        let row = rule(own.target().magic, Some(own.target().mask), 0);
        assert!(Guard::of_host(None).check(&row).is_err());
        assert_eq!(Guard::of_host(Some(own)).check(&row), Ok(()));
        let other = TARGETS.iter().map(Target::platform).find(|p| *p != own);
        assert!(Guard::of_host(other).check(&row).is_err());
    }

    #[test]
    fn scripts_stay_native() {
        for magic in [&b"#!"[..], b"#!/bin/sh"] {
            assert!(guard().check(&rule(magic, None, 0)).is_err());
        }
        assert_eq!(guard().check(&rule(b"#!/opt/", None, 0)), Ok(()));
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
