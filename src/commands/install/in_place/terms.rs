//! What the plan of an [`Order`] rests on: the emulators that were found in its
//! directory, and which rules are of its making.
//!
//! There is no store that tells ours from others'. A rule counts as one of
//! these tools' when name, interpreter and F are what they register for what it
//! matches, and no file brings it back at boot: such a rule is a
//! distribution's. Where such files can't be seen, only one with C counts,
//! which most distributions don't set.

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};

use super::{Order, Otherwise};
use crate::binfmt::boot::Boot;
use crate::binfmt::switch::Wanted;
use crate::binfmt::{Entry, Flags};
use crate::commands::Context;
use crate::commands::install::plan::{Terms, flags, is_for, matches_others};
use crate::digest::Digest;
use crate::emulator::directory::Found;
use crate::error::{Error, Result, Status};
use crate::host::{Init, Kernel};
use crate::platform::{Platform, TARGETS};
use crate::probe::Runner;
use crate::report::survey::Survey;

/// Emulators in a directory.
pub(super) struct InDirectory<'a> {
    order: &'a Order,
    kernel: &'a Kernel,
    found: BTreeMap<&'static str, Result<Found>>,
    /// What a boot reads; `None` where that isn't in sight.
    boot: Option<Boot>,
}

impl<'a> InDirectory<'a> {
    /// Looks for the emulators that the order needs. The host's own platform
    /// needs none.
    pub fn new(context: &'a Context, order: &'a Order) -> Self {
        let every = order.every.iter().flat_map(|every| every.of.platforms());
        let needed = order.named.iter().copied().chain(every);
        let mut found = BTreeMap::new();
        for platform in needed.filter(|platform| *platform != context.host.platform) {
            if let Some(result) = order.directory.find(platform).transpose() {
                found.insert(platform.emulator, result);
            }
        }
        let host = &context.host;
        // OpenRC's services are scripts, which may register anything.
        let in_sight = host.sees_boot() && host.init != Init::OpenRc;
        Self {
            order,
            kernel: &host.kernel,
            found,
            boot: in_sight.then(|| Boot::read(Path::new("/"), &host.init, &context.conf)),
        }
    }

    /// Whether there is a file that may be this platform's emulator.
    pub fn has(&self, platform: &Platform) -> bool {
        self.found.contains_key(platform.emulator)
    }

    /// A platform's emulator.
    pub fn found(&self, platform: &Platform) -> Option<&Found> {
        self.found.get(platform.emulator)?.as_ref().ok()
    }

    /// Why a platform has no emulator.
    pub fn missing(&self, platform: &Platform) -> Error {
        let attempt = format!("cannot install {}", platform.name);
        if let Some(Err(error)) = self.found.get(platform.emulator) {
            return Error::new(error.status(), attempt).because(error.reason());
        }
        let paths = self.order.directory.candidates(platform);
        let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        Error::new(Status::Failed, attempt)
            .because(format!("there is no {}", paths.join(", nor ")))
            .hint(format!(
                "say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install {}` get one",
                platform.name.trim_start_matches("linux/")
            ))
    }

    /// There is no emulator of a set.
    pub fn empty(&self) -> Error {
        let directory = &self.order.directory;
        Error::new(
            Status::Failed,
            format!(
                "there is no emulator {}qemu-* for another platform in {}",
                directory.prefix(),
                directory.path().display()
            ),
        )
        .hint("say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them")
    }

    /// Whether a rule is of these tools' making.
    pub fn is_own(&self, entry: &Entry) -> bool {
        let flags = entry.known_flags();
        let is_unclaimed = match &self.boot {
            Some(boot) => !boot.has(entry),
            None => flags.credentials,
        };
        flags.fix_binary
            && is_unclaimed
            && TARGETS.iter().any(|target| {
                let wanted = Wanted {
                    target,
                    interpreter: String::new(),
                    flags,
                    prefix: self.order.directory.prefix().to_owned(),
                    given: None,
                };
                let mut paths = self.order.directory.candidates(target.platform());
                wanted.may_be_called(&entry.name)
                    && paths.any(|path| path.to_str() == Some(&entry.interpreter))
                    && is_for(entry, iter::once(target))
            })
    }

    /// The same when these rules are to go.
    pub fn with_doomed<'s>(&'s self, doomed: &'s [String]) -> Doomed<'s> {
        Doomed {
            terms: self,
            doomed,
        }
    }

    fn flags_for(&self, found: &Found) -> Flags {
        let qemu = found.qemu.as_deref().unwrap_or_default();
        let mut flags = flags(self.kernel, qemu, self.order.credentials.on);
        flags.preserve_argv0 &= self.order.argv0.on;
        flags
    }

    /// What is said where P was asked for, and these rules can't have it.
    pub fn without_argv0<'p>(
        &self,
        platforms: impl Iterator<Item = &'p Platform>,
    ) -> Option<String> {
        let wish = self.order.argv0;
        let found = platforms.filter_map(|platform| self.found(platform));
        let without: Vec<_> = found
            .filter(|found| !self.flags_for(found).preserve_argv0)
            .map(|found| found.path.display().to_string())
            .collect();
        if without.is_empty() || !wish.on || wish.otherwise == Otherwise::Fine {
            return None;
        }
        Some(match self.kernel.announces_argv0() {
            false => format!(
                "the flag P isn't set, since arguments would be shifted: it takes Linux 5.12, and this is {}",
                self.kernel
            ),
            true => format!(
                "the flag P isn't set for {}, since arguments would be shifted: it takes QEMU 6.0",
                without.join(", ")
            ),
        })
    }

    /// In what the flags of a rule that is kept aren't as they were to be: what
    /// a person wants to know, and what was asked for.
    pub fn otherwise(&self, entry: &Entry) -> (Vec<&'static str>, Vec<&'static str>) {
        let flags = entry.known_flags();
        // Where no emulator could be told of it, nothing lacks P.
        let excused = self.order.argv0.on && !self.kernel.announces_argv0();
        let all = [
            (
                self.order.argv0,
                flags.preserve_argv0 || excused,
                [
                    "has the flag P",
                    "lacks the flag P, so programs get their path as argv[0]",
                ],
            ),
            (
                self.order.credentials,
                flags.credentials,
                [
                    "has the flag C",
                    "lacks the flag C, so sudo won't work in containers",
                ],
            ),
        ];
        let of = |otherwise| {
            let wrong = all
                .iter()
                .filter(|(wish, is_on, _)| wish.otherwise == otherwise && wish.on != *is_on);
            wrong
                .map(|(wish, _, words)| words[usize::from(wish.on)])
                .collect()
        };
        (of(Otherwise::Told), of(Otherwise::Failed))
    }
}

/// Emulators in a directory, while some rules are to go.
pub(super) struct Doomed<'a> {
    terms: &'a InDirectory<'a>,
    doomed: &'a [String],
}

impl Doomed<'_> {
    fn may_go(&self, entry: &Entry) -> bool {
        self.doomed.contains(&entry.name) || self.terms.is_own(entry)
    }
}

impl Terms for Doomed<'_> {
    fn emulator(&self, platform: &'static Platform) -> Option<(PathBuf, Flags)> {
        let found = self.terms.found(platform)?;
        Some((found.path.clone(), self.terms.flags_for(found)))
    }

    fn prefix(&self) -> &str {
        self.terms.order.directory.prefix()
    }

    fn keeps(&self, _survey: &Survey<'_>, entry: &Entry) -> bool {
        !self.may_go(entry)
    }

    fn displaces(&self, _survey: &Survey<'_>, entry: &Entry, platform: &Platform) -> bool {
        self.may_go(entry) && !matches_others(entry, platform)
    }

    fn is_current(&self, _survey: &Survey<'_>, runner: &Runner, interpreter: &str) -> bool {
        let found = self.terms.found.values().flatten();
        let promised: Option<Digest> = found
            .filter(|found| found.path.to_str() == Some(interpreter))
            .map(|found| found.sha256)
            .next();
        runner.sha256().ok() == promised
    }

    fn remedy(&self) -> &'static str {
        "it takes a static emulator for this host; `binfmtctl install` gets one"
    }
}

#[cfg(test)]
mod tests {
    use super::super::Wish;
    use super::*;
    use crate::binfmt::entry::Kind;
    use crate::emulator::directory::Directory;

    fn order() -> Order {
        Order {
            directory: Directory::new(Path::new("/usr/bin"), "", &["-static", ""]).unwrap(),
            remove: Vec::new(),
            named: Vec::new(),
            every: None,
            unknown: Vec::new(),
            credentials: Wish::new(true),
            argv0: Wish::required(true),
        }
    }

    fn terms<'a>(order: &'a Order, kernel: &'a Kernel, boot: Option<Boot>) -> InDirectory<'a> {
        let found = Found {
            path: PathBuf::from("/usr/bin/qemu-riscv64"),
            sha256: Digest::of(b""),
            qemu: Some("10.0.13".to_owned()),
        };
        InDirectory {
            order,
            kernel,
            found: BTreeMap::from([("riscv64", Ok(found))]),
            boot,
        }
    }

    fn riscv64() -> &'static Platform {
        Platform::by_emulator("riscv64").unwrap()
    }

    fn entry(name: &str, interpreter: &str, flags: &str) -> Entry {
        let wanted = Wanted {
            target: riscv64().target(),
            interpreter: interpreter.to_owned(),
            flags: Flags::from_letters(flags),
            prefix: String::new(),
            given: None,
        };
        Entry {
            name: name.to_owned(),
            enabled: true,
            interpreter: wanted.interpreter.clone(),
            flags: flags.to_owned(),
            kind: Kind::Magic(wanted.pattern()),
        }
    }

    #[test]
    fn p_that_was_asked_for_is_set_where_the_kernel_announces_it_and_else_told() {
        let order = order();
        for (kernel, flags, told) in [("5.12.0", "POCF", false), ("5.11.22", "OCF", true)] {
            let kernel = Kernel::parse(kernel);
            let terms = terms(&order, &kernel, None);
            let found = terms.found(riscv64()).unwrap();
            assert_eq!(terms.flags_for(found).to_string(), flags);
            let said = terms.without_argv0([riscv64()].into_iter());
            assert_eq!(said.is_some(), told, "{said:?}");
            let (_, failed) = terms.otherwise(&entry("theirs", "/x", "F"));
            assert_eq!(failed.is_empty(), told, "{failed:?}");
        }
    }

    #[test]
    fn a_rule_is_own_by_name_path_and_f_and_where_no_file_is_in_sight_by_c() {
        let (order, kernel) = (order(), Kernel::parse("6.12.0"));
        let root = tempfile::tempdir().unwrap();
        let boot = Boot::read(root.path(), &Init::Systemd, &root.path().join("zz.conf"));
        let on_host = terms(&order, &kernel, Some(boot));
        let in_container = terms(&order, &kernel, None);
        let path = "/usr/bin/qemu-riscv64";
        for (entry, host, container) in [
            (entry("qemu-riscv64", path, "POF"), true, false),
            (entry("qemu-riscv64", path, "POCF"), true, true),
            (entry("qemu-riscv64", path, "POC"), false, false),
            (entry("riscv64", path, "POCF"), false, false),
            (
                entry("qemu-riscv64", "/bin/qemu-riscv64", "POCF"),
                false,
                false,
            ),
        ] {
            assert_eq!(on_host.is_own(&entry), host, "{entry:?}");
            assert_eq!(in_container.is_own(&entry), container, "{entry:?}");
        }
    }
}
