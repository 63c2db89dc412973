//! Which rules go, and what became of them.
//!
//! A platform's name means the rules that these tools make for it. An entry's
//! own name, or a pattern of names, means whoever's rule it is, but only an
//! emulator's: Python's, Java's, Wine's and WSL's rules have the same right to
//! be there as before.

use std::path::Path;

use glob::Pattern;

use super::terms::InDirectory;
use crate::binfmt::entry::Kind;
use crate::binfmt::instance::Lock;
use crate::binfmt::{Entry, Instance};
use crate::commands::install::plan::is_for;
use crate::error::{Error, Status};
use crate::platform::{self, PLATFORMS, TARGETS};
use crate::report::survey::Survey;

/// What is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// All rules of these tools' making.
    All,
    /// Emulators' rules with such names.
    Matching(Pattern),
    /// A platform, or an entry by its name.
    Named(String),
}

impl Removal {
    fn name(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Matching(pattern) => pattern.as_str(),
            Self::Named(name) => name,
        }
    }
}

/// What became of something that was to be removed.
#[derive(Debug)]
pub struct Removed {
    /// The entry, or what was asked for.
    pub name: String,
    /// What became of it.
    pub fate: Fate,
}

impl Removed {
    /// Whether it is the rule of this name, and gone.
    pub(super) fn went(&self, name: &str) -> bool {
        self.name == name && matches!(self.fate, Fate::Removed)
    }
}

/// What became of a rule that was to be removed.
#[derive(Debug)]
pub enum Fate {
    /// It is gone.
    Removed,
    /// There was none.
    Absent,
    /// It stays; why.
    Kept(String),
    /// It couldn't be removed; why.
    Failed(String),
}

/// The rules that are to go.
#[derive(Debug, Default)]
pub(super) struct Doom {
    /// In the kernel's order.
    doomed: Vec<String>,
    removed: Vec<Removed>,
    failures: Vec<Error>,
}

impl Doom {
    /// Says which of the entries are to go.
    pub fn decide(removals: &[Removal], survey: &Survey<'_>, terms: &InDirectory<'_>) -> Self {
        let mut doom = Self::default();
        for removal in removals {
            let before = (doom.doomed.len(), doom.removed.len());
            match removal {
                Removal::All => doom.add_own(survey.entries.iter(), survey, terms),
                Removal::Matching(pattern) => doom.add_matching(pattern, survey),
                Removal::Named(name) => doom.add_named(name, survey, terms),
            }
            if (doom.doomed.len(), doom.removed.len()) == before {
                doom.log(removal.name(), Fate::Absent);
            }
        }
        let entries = survey.entries.iter().map(|entry| &entry.name);
        let doomed = std::mem::take(&mut doom.doomed);
        let stays =
            |one: &Removed| !(matches!(one.fate, Fate::Kept(_)) && doomed.contains(&one.name));
        doom.removed.retain(stays);
        doom.doomed = entries
            .filter(|name| doomed.contains(name))
            .cloned()
            .collect();
        doom
    }

    fn add_matching(&mut self, pattern: &Pattern, survey: &Survey<'_>) {
        let matching = survey
            .entries
            .iter()
            .filter(|entry| pattern.matches(&entry.name));
        for entry in matching {
            match is_emulators(entry) {
                true => self.doom(entry),
                false => self.log(&entry.name, Fate::Kept(NO_EMULATOR.to_owned())),
            }
        }
    }

    fn add_named(&mut self, name: &str, survey: &Survey<'_>, terms: &InDirectory<'_>) {
        let entry = survey.entries.iter().find(|entry| entry.name == name);
        if let Some(entry) = entry {
            match is_emulators(entry) {
                true => self.doom(entry),
                false => {
                    let attempt = format!("cannot remove the rule {name}");
                    self.fail(
                        name,
                        Error::new(Status::Failed, attempt).because(NO_EMULATOR),
                    );
                }
            }
        }
        // qemu-arm is the name of one rule, and not of a platform's.
        let platforms = match name.to_lowercase().contains("qemu-") {
            true => Vec::new(),
            false => platform::parse(&[name]).map_or(Vec::new(), |request| request.platforms()),
        };
        let matches_one = |entry: &&Entry| {
            is_for(
                entry,
                platforms.iter().flat_map(|platform| platform.targets()),
            )
        };
        let entries = survey.entries.iter();
        self.add_own(
            entries.filter(|other| other.name != name && matches_one(other)),
            survey,
            terms,
        );
    }

    /// Those of the entries that are of these tools' making; says of others
    /// that they stay.
    fn add_own<'e>(
        &mut self,
        entries: impl Iterator<Item = &'e Entry>,
        survey: &Survey<'_>,
        terms: &InDirectory<'_>,
    ) {
        for entry in entries.filter(|entry| is_emulators(entry)) {
            match terms.is_own(entry) {
                true => self.doom(entry),
                false if survey.is_ours(entry) => {
                    self.log(&entry.name, Fate::Kept(of_store(entry)))
                }
                false => self.log(&entry.name, Fate::Kept(NOT_OWN.to_owned())),
            }
        }
    }

    fn doom(&mut self, entry: &Entry) {
        match entry.has_exact_name() {
            true => self.doomed.push(entry.name.clone()),
            false => self.log(&entry.name, Fate::Kept("its name isn't text".to_owned())),
        }
    }

    fn log(&mut self, name: &str, fate: Fate) {
        self.removed.push(Removed {
            name: name.to_owned(),
            fate,
        });
    }

    fn fail(&mut self, name: &str, error: Error) {
        self.log(name, Fate::Failed(error.reason()));
        self.failures.push(error);
    }

    /// The rules that are to go.
    pub fn names(&self) -> &[String] {
        &self.doomed
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.doomed.is_empty()
    }

    /// Leaves these rules as they are. Returns whether there are any.
    pub fn keep(&mut self, stays: impl Fn(&str) -> bool, why: &str) -> bool {
        let kept = self.take(stays);
        for name in &kept {
            self.log(name, Fate::Kept(why.to_owned()));
        }
        !kept.is_empty()
    }

    /// These have gone when others came in their place.
    pub fn went(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            for name in self.take(|doomed| doomed == name) {
                self.log(&name, Fate::Removed);
            }
        }
    }

    /// Those of the rules, which are no longer to go.
    fn take(&mut self, which: impl Fn(&str) -> bool) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.doomed)
            .into_iter()
            .partition(|name| which(name));
        self.doomed = left;
        taken
    }

    /// Removes those of the rules, the oldest first. One that has gone already
    /// is gone. Returns whether any was there.
    pub fn remove(&mut self, instance: &Instance, lock: &Lock, now: impl Fn(&str) -> bool) -> bool {
        let mut any = false;
        for name in self.take(now).iter().rev() {
            match instance.remove(lock, name) {
                Ok(was_there) => {
                    any |= was_there;
                    self.log(name, Fate::Removed);
                }
                Err(error) => self.fail(name, error),
            }
        }
        any
    }

    /// What became of them all, and what went wrong.
    pub fn finish(self, failures: &mut Vec<Error>) -> Vec<Removed> {
        failures.extend(self.failures);
        self.removed
    }
}

const NO_EMULATOR: &str = "it isn't an emulator's";
const NOT_OWN: &str =
    "it isn't of this tool's making; name the rule itself to remove it all the same";

/// Why a rule of binfmtctl's own commands stays.
fn of_store(entry: &Entry) -> String {
    let mut platforms = PLATFORMS.iter();
    let platform = platforms.find(|platform| is_for(entry, platform.targets()));
    let name = platform.map_or("", |platform| platform.name.trim_start_matches("linux/"));
    format!("it is binfmtctl's own; `binfmtctl uninstall {name}` removes it")
}

/// Whether a rule runs some platform's programs on an emulator.
fn is_emulators(entry: &Entry) -> bool {
    let is_qemu = Path::new(&entry.interpreter)
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("qemu-"));
    let is_magic = matches!(entry.kind, Kind::Magic(_));
    is_magic && !entry.is_wsls() && (is_qemu || is_for(entry, TARGETS.iter()))
}
