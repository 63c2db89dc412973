//! A survey: what runs on this host right now, by which rule, whose it is.
//!
//! Every word of it rests on a probe that ran, or on what the kernel says of
//! its entries; names of entries are never evidence. Rules are judged by
//! evaluating a probe's header against them, in the kernel's order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Cause, Document, HostReport, Owner, Pinned, PlatformReport, Runs};
use crate::binfmt::{Entry, Instance, Rule, conf};
use crate::digest::Digest;
use crate::emulator::elf;
use crate::emulator::manifest::Manifest;
use crate::emulator::store::Store;
use crate::error::Result;
use crate::host::{Host, Init};
use crate::platform::{PLATFORMS, Platform, Target};
use crate::probe::{self, Failure, Outcome, Probe, Runner};

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The host.
    pub host: &'a Host,
    /// The mount point of the instance.
    pub mount: &'a Path,
    /// Our emulators.
    pub store: &'a Store,
    /// Our conf file.
    pub conf: &'a Path,
    /// Known releases.
    pub manifest: &'a Manifest,
}

/// What was seen.
#[derive(Debug)]
pub struct Survey<'a> {
    scope: Scope<'a>,
    /// The instance, where one is mounted.
    pub instance: Option<Instance>,
    /// Its entries in the kernel's order.
    pub entries: Vec<Entry>,
    /// The rules of our conf file.
    pub desired: Vec<Rule>,
    outcomes: BTreeMap<&'static str, Outcome>,
    platforms: Vec<&'static Platform>,
}

impl<'a> Survey<'a> {
    /// Looks at these platforms, and at every other one that container
    /// engines know or that some rule is for.
    pub fn take(scope: Scope<'a>, asked: &[&'static Platform]) -> Result<Self> {
        let instance = Instance::find(scope.mount);
        let entries = match &instance {
            Some(instance) => instance.entries()?,
            None => Vec::new(),
        };
        let desired = conf::read(scope.conf)?;
        let has_rule = |platform: &Platform| {
            platform.targets().any(|target| {
                let header = Probe::of(target).image();
                entries.iter().any(|entry| entry.matches(&header))
            })
        };
        let platforms: Vec<_> = PLATFORMS
            .iter()
            .filter(|p| p.engine || asked.contains(p) || has_rule(p))
            .collect();
        let mut survey = Self {
            scope,
            instance,
            entries,
            desired,
            outcomes: BTreeMap::new(),
            platforms,
        };
        survey.probe();
        Ok(survey)
    }

    fn probe(&mut self) {
        let own = self.platforms.iter().flat_map(|platform| {
            platform
                .targets()
                .map(|target| (target.name, Probe::of(target)))
        });
        let variants = self.platforms.iter().flat_map(|platform| {
            let target = platform.target();
            platform.variants.iter().map(move |variant| {
                let code = variant.exit_argc;
                (variant.name, Probe { target, code })
            })
        });
        let (names, probes): (Vec<_>, Vec<_>) = own.chain(variants).unzip();
        self.outcomes = names.into_iter().zip(probe::run_all(&probes)).collect();
    }

    /// What came of the probe of a target.
    pub fn outcome(&self, target: &Target) -> Option<&Outcome> {
        self.outcomes.get(target.name)
    }

    /// Whether the platform runs without an emulator.
    pub fn is_native(&self, platform: &Platform) -> bool {
        let target = platform.target();
        self.outcome(target)
            .is_some_and(|outcome| match &outcome.runner {
                Some(runner) => outcome.runs() && runner.native,
                // Without ptrace there is still the kernel's own list: no
                // entry, no emulator.
                None => outcome.runs() && !self.matching(target).any(|entry| entry.enabled),
            })
    }

    /// The targets that run without an emulator.
    pub fn native_targets(&self) -> impl Iterator<Item = &'static Target> {
        let native = self.scope.host.platform;
        self.platforms
            .iter()
            .filter(move |platform| **platform == native || self.is_native(platform))
            .map(|platform| platform.target())
    }

    /// The entries that match a target's programs, in the kernel's order,
    /// switched on or not.
    pub fn matching<'s>(
        &'s self,
        target: &'static Target,
    ) -> impl Iterator<Item = &'s Entry> + use<'s, 'a> {
        let header = Probe::of(target).image();
        self.entries
            .iter()
            .filter(move |entry| entry.matches(&header))
    }

    /// The entry that ran the probe, or would have.
    pub fn winner(&self, target: &'static Target) -> Option<&Entry> {
        let outcome = self.outcome(target)?;
        let ran = outcome.runner.as_ref();
        if ran.is_some_and(|runner| runner.native) {
            return None;
        }
        let enabled = || self.matching(target).filter(|entry| entry.enabled);
        let by_interpreter = ran.and_then(|runner| {
            enabled().find(|entry| Path::new(&entry.interpreter) == runner.interpreter)
        });
        by_interpreter
            .or_else(|| enabled().next())
            .or_else(|| self.matching(target).next())
    }

    /// Whether an entry is ours.
    pub fn is_ours(&self, entry: &Entry) -> bool {
        self.scope.store.owns(&entry.interpreter)
    }

    /// Files of our store that some rule, or the conf file, names.
    pub fn used_emulators(&self) -> Vec<PathBuf> {
        let registered = self.entries.iter().map(|entry| &entry.interpreter);
        let desired = self.desired.iter().map(|rule| &rule.interpreter);
        let used: BTreeSet<PathBuf> = registered
            .chain(desired)
            .filter(|interpreter| self.scope.store.owns(interpreter))
            .map(PathBuf::from)
            .collect();
        used.into_iter().collect()
    }

    /// The document, with these platforms in its list; all that were looked
    /// at where none are named.
    pub fn document(&self, listed: Option<&[&'static Platform]>) -> Document {
        let mut emulators: Vec<String> = self
            .entries
            .iter()
            .filter(|entry| entry.enabled)
            .map(|entry| entry.name.clone())
            .collect();
        emulators.sort();
        let persistent = Persistent::read(self.scope.host, self.scope.conf, &self.desired);
        let reports = self
            .platforms
            .iter()
            .filter(|platform| listed.is_none_or(|listed| listed.contains(platform)))
            .map(|platform| self.report(platform, &persistent))
            .collect();
        Document {
            supported: Some(self.supported()),
            emulators: Some(emulators),
            host: Some(self.host_report()),
            platforms: Some(reports),
            ..Document::new()
        }
    }

    fn host_report(&self) -> HostReport {
        let host = self.scope.host;
        HostReport {
            platform: host.platform.name,
            kernel: host.kernel.to_string(),
            init: host.init.to_string(),
            instance: match host.initial_user_ns {
                true => "host",
                false => "userns",
            },
            mounted: self.instance.is_some(),
            enabled: self.instance.as_ref().is_some_and(Instance::enabled),
            held: self
                .instance
                .as_ref()
                .map_or(Some(false), |instance| instance.held(host)),
        }
    }

    /// What runs, native first, then in the order of the table.
    fn supported(&self) -> Vec<String> {
        let native = self.scope.host.platform;
        let mut platforms = self.platforms.clone();
        platforms.sort_by_key(|platform| *platform != native);
        let mut supported = Vec::new();
        for platform in platforms {
            if !self.runs(platform) {
                continue;
            }
            let variants = self.running_variants(platform);
            // Engines know no plain arm: it would mean v7.
            if variants.is_empty() || platform.emulator != "arm" {
                supported.push(platform.name.to_owned());
            }
            supported.extend(variants.into_iter().map(str::to_owned));
        }
        supported
    }

    /// Whether the platform runs, on whatever.
    pub fn runs(&self, platform: &Platform) -> bool {
        self.outcome(platform.target()).is_some_and(Outcome::runs)
    }

    fn running_variants(&self, platform: &Platform) -> Vec<&'static str> {
        platform
            .variants
            .iter()
            .filter(|variant| self.outcomes.get(variant.name).is_some_and(Outcome::runs))
            .map(|variant| variant.name)
            .collect()
    }

    fn report(&self, platform: &'static Platform, persistent: &Persistent) -> PlatformReport {
        let target = platform.target();
        let winner = self.winner(target);
        let failure = self
            .outcome(target)
            .and_then(|outcome| outcome.verdict.as_ref().err());
        let explained = failure.map(|failure| self.explain(target, failure, winner));
        let native = self.is_native(platform);
        let bytes = match native {
            true => Running::default(),
            false => self.running_bytes(target),
        };
        PlatformReport {
            platform: platform.name,
            target: platform.emulator,
            runs: match (self.runs(platform), native) {
                (false, _) => Runs::No,
                (true, true) => Runs::Native,
                (true, false) => Runs::Emulated,
            },
            variants: self.running_variants(platform),
            cause: explained.as_ref().map(|(cause, _)| *cause),
            detail: explained.map(|(_, detail)| detail),
            handler: winner.map(|entry| entry.name.clone()),
            interpreter: winner.map(|entry| entry.interpreter.clone()),
            flags: winner.map(|entry| entry.flags.clone()),
            owner: winner.map(|entry| owner(entry, self.scope.store)),
            qemu: bytes.qemu,
            sha256: bytes.sha256.map(|sha256| sha256.to_string()),
            pinned: winner.map(|_| bytes.pinned),
            shadowed: self
                .matching(target)
                .filter(|entry| winner.is_some_and(|winner| winner.name != entry.name))
                .map(|entry| entry.name.clone())
                .collect(),
            persistent: native || winner.is_some_and(|entry| persistent.covers(entry)),
            action: None,
        }
    }

    /// The one cause, in a word and in words.
    fn explain(
        &self,
        target: &'static Target,
        failure: &Failure,
        winner: Option<&Entry>,
    ) -> (Cause, String) {
        let ours_behind = self
            .matching(target)
            .skip_while(|entry| winner.is_some_and(|winner| winner.name != entry.name))
            .skip(1)
            .find(|entry| entry.enabled && self.is_ours(entry));
        let name = winner.map_or("", |entry| entry.name.as_str());
        let interpreter = winner.map_or("", |entry| entry.interpreter.as_str());
        match failure {
            Failure::NotPermitted(why) => (Cause::NotPermitted, why.clone()),
            Failure::TimedOut => (
                Cause::Timeout,
                format!(
                    "{interpreter} of rule {name} didn't end within {} s",
                    probe::LIMIT.as_secs()
                ),
            ),
            Failure::NotRegistered => match (&self.instance, winner) {
                (None, _) => (
                    Cause::Unmounted,
                    format!(
                        "binfmt_misc isn't mounted at {}",
                        self.scope.mount.display()
                    ),
                ),
                (Some(instance), Some(_)) if !instance.enabled() => (
                    Cause::Disabled,
                    format!(
                        "all rules are switched off ({}/status)",
                        instance.dir().display()
                    ),
                ),
                (_, Some(entry)) if !entry.enabled => {
                    (Cause::Disabled, format!("rule {name} is switched off"))
                }
                _ => (Cause::NotRegistered, "no rule is for it".to_owned()),
            },
            _ if ours_behind.is_some_and(|_| winner.is_some_and(|entry| !self.is_ours(entry))) => (
                Cause::Shadowed,
                format!("rule {name}, which doesn't work, is newer than ours"),
            ),
            Failure::InterpreterNotFound => match winner {
                Some(entry) if !entry.known_flags().fix_binary => (
                    Cause::NoFixBinary,
                    format!("rule {name} has no flag F, so containers don't find {interpreter}"),
                ),
                _ => (
                    Cause::InterpreterMissing,
                    format!("rule {name}: {interpreter} needs files that an empty root lacks"),
                ),
            },
            Failure::EmulatorFailed(how) => (
                Cause::EmulatorFailed,
                format!("rule {name}, {interpreter}: {how}"),
            ),
            Failure::ArgumentsShifted(_) => {
                let preserves = winner.is_some_and(|entry| entry.known_flags().preserve_argv0);
                let flag = if preserves { "set" } else { "not set" };
                (
                    Cause::EmulatorFailed,
                    format!(
                        "rule {name}, {interpreter}: {failure}; flag P, which is {flag}, and this emulator don't agree"
                    ),
                )
            }
        }
    }

    /// Whether what ran has the bytes that its path in our store stands for.
    pub fn runs_promised_bytes(&self, runner: &Runner) -> bool {
        let promised = self.scope.store.digest_of_path(&runner.interpreter);
        runner.is_file(&runner.interpreter) && runner.sha256().ok() == promised
    }

    fn running_bytes(&self, target: &Target) -> Running {
        let Some(runner) = self
            .outcome(target)
            .and_then(|outcome| outcome.runner.as_ref())
        else {
            return Running::default();
        };
        let Ok(sha256) = runner.sha256() else {
            return Running::default();
        };
        let qemu = match self.scope.manifest.known(&sha256) {
            Some(release) => Some(release.qemu.clone()),
            None => runner.bytes().ok().and_then(|bytes| elf::version(&bytes)),
        };
        Running {
            pinned: match self.pinned_to_path(runner, sha256) {
                true => Pinned::Match,
                false => Pinned::Stale,
            },
            qemu,
            sha256: Some(sha256),
        }
    }

    /// Whether bytes with this digest are those that the rule's path stands for.
    fn pinned_to_path(&self, runner: &Runner, sha256: Digest) -> bool {
        let path = &runner.interpreter;
        let promised = self.scope.store.digest_of_path(path);
        if promised.is_some_and(|promised| promised != sha256) {
            return false;
        }
        runner.is_file(path)
            || File::open(path)
                .and_then(Digest::of_reader)
                .is_ok_and(|(found, _)| found == sha256)
    }
}

struct Running {
    qemu: Option<String>,
    sha256: Option<Digest>,
    pinned: Pinned,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            qemu: None,
            sha256: None,
            pinned: Pinned::Unknown,
        }
    }
}

/// Whose an entry is, by where its interpreter lies.
pub fn owner(entry: &Entry, store: &Store) -> Owner {
    let interpreter = Path::new(&entry.interpreter);
    let flags = entry.known_flags();
    let below = |dir: &str| interpreter.starts_with(dir);
    let is_emulator = interpreter
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("qemu-"));
    if store.owns(interpreter) {
        Owner::Binfmtctl
    } else if entry.name.to_lowercase().contains("rosetta") {
        Owner::Rosetta
    } else if below("/usr/bin") && flags.credentials && flags.fix_binary && !interpreter.exists() {
        // Its emulators lie in its image, at a path that the host doesn't have.
        Owner::Tonistiigi
    } else if is_emulator && (below("/usr/bin") || below("/usr/libexec")) && interpreter.exists() {
        Owner::Distribution
    } else {
        Owner::Other
    }
}

/// Which rules the next boot brings back.
struct Persistent {
    lines: Vec<Rule>,
}

impl Persistent {
    /// Reads what this host's init system applies at boot.
    fn read(host: &Host, conf: &Path, desired: &[Rule]) -> Self {
        if host.init != Init::Systemd {
            return Self { lines: Vec::new() };
        }
        // The directories of binfmt.d(5).
        let dirs = ["/etc", "/run", "/usr/local/lib", "/usr/lib"]
            .map(|dir| Path::new(dir).join("binfmt.d"));
        let in_place = conf
            .parent()
            .is_some_and(|dir| dirs.iter().any(|known| known == dir));
        let mut lines = match in_place {
            true => desired.to_vec(),
            false => Vec::new(),
        };
        let files = dirs
            .iter()
            .flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten())
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "conf"));
        for path in files {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            // Others' files may hold lines that we don't understand.
            lines.extend(text.lines().filter_map(|line| line.parse().ok()));
        }
        Self { lines }
    }

    fn covers(&self, entry: &Entry) -> bool {
        self.lines
            .iter()
            .any(|rule| rule.name == entry.name && rule.interpreter == entry.interpreter)
    }
}
