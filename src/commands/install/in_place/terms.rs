//! What the plan of an [`Order`] rests on: the emulators that were found in its
//! directory, and which rules are of its making.
//!
//! There is no store that tells ours from others'. A rule counts as one of
//! these tools' when name, interpreter and flags (F, and C, which
//! distributions don't set) are what they register for what it matches.

use std::collections::BTreeMap;
use std::iter;
use std::path::PathBuf;

use super::{Argv0, Order};
use crate::binfmt::switch::Wanted;
use crate::binfmt::{Entry, Flags};
use crate::commands::Context;
use crate::commands::install::plan::{Terms, flags, is_for, matches_others};
use crate::digest::Digest;
use crate::emulator::directory::Found;
use crate::error::{Error, Result, Status};
use crate::host::Kernel;
use crate::platform::{Platform, TARGETS};
use crate::probe::Runner;
use crate::report::survey::Survey;

/// Emulators in a directory.
pub(super) struct InDirectory<'a> {
    order: &'a Order,
    kernel: &'a Kernel,
    found: BTreeMap<&'static str, Result<Found>>,
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
        Self {
            order,
            kernel: &context.host.kernel,
            found,
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

    /// There is no emulator at all.
    pub fn empty(&self) -> Error {
        let directory = &self.order.directory;
        Error::new(
            Status::Failed,
            format!(
                "there is no emulator {}qemu-* in {}, and no foreign platform runs",
                directory.prefix(),
                directory.path().display()
            ),
        )
        .hint("say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them")
    }

    /// Whether a rule is of these tools' making.
    pub fn is_own(&self, entry: &Entry) -> bool {
        let flags = entry.known_flags();
        flags.fix_binary
            && flags.credentials
            && TARGETS.iter().any(|target| {
                let wanted = Wanted {
                    target,
                    interpreter: String::new(),
                    flags,
                    prefix: self.order.directory.prefix().to_owned(),
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
        let mut flags = flags(self.kernel, qemu, self.order.credentials);
        match self.order.argv0 {
            Argv0::WhereUnderstood => {}
            Argv0::Kept => flags.preserve_argv0 = true,
            Argv0::NotKept => flags.preserve_argv0 = false,
        }
        flags
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
}
