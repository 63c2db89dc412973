//! A survey: what runs on this host right now, by which rule, whose it is.
//!
//! Every word of it rests on a probe that ran, or on what the kernel says of
//! its entries; names of entries are never evidence. Rules are judged by
//! evaluating a probe's header against them, in the kernel's order.

mod explain;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{BootReport, Document, HostReport, Owner, PlatformReport, Runs};
use crate::binfmt::boot::Boot;
use crate::binfmt::entry::Kind;
use crate::binfmt::{Entry, Instance, Pattern, Rule, conf};
use crate::emulator::elf;
use crate::emulator::manifest::Manifest;
use crate::emulator::store::Store;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::platform::{PLATFORMS, Platform, Target, Variant};
use crate::probe::{self, Failure, Outcome, Probe, Runner, Shape};
use running::Running;

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
    /// Known releases, for whoever wants to know which one runs.
    pub manifest: Option<&'a Manifest>,
    /// Whether all platforms and variants are looked at. Otherwise only what was
    /// asked for, and what may run natively.
    pub everything: bool,
    /// Whether emulators to which nobody has written since they were stored are
    /// read, 10 to 20 MB each, and tried twice, like all others.
    pub rereads: bool,
    /// How many programs to try at once, where it was said.
    pub jobs: Option<usize>,
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
    /// Of targets whose usual programs run: programs that don't.
    missed: BTreeMap<&'static str, (Shape, Outcome)>,
    platforms: Vec<&'static Platform>,
}

impl<'a> Survey<'a> {
    /// Looks at these platforms, and at every other one that container
    /// engines know or that some rule is for. Whoever changes something acts upon
    /// the conf file, which has to be root's for that.
    pub fn take(scope: Scope<'a>, asked: &[&'static Platform]) -> Result<Self> {
        Self::take_with(scope, asked, conf::read_own(scope.conf)?)
    }

    /// The same where the conf file can't be used: then it counts as empty,
    /// and the error says why.
    pub fn take_anyway(
        scope: Scope<'a>,
        asked: &[&'static Platform],
    ) -> Result<(Self, Option<Error>)> {
        let (desired, error) = match conf::read(scope.conf) {
            Ok(desired) => (desired, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Ok((Self::take_with(scope, asked, desired)?, error))
    }

    fn take_with(
        scope: Scope<'a>,
        asked: &[&'static Platform],
        desired: Vec<Rule>,
    ) -> Result<Self> {
        let mut survey = Self::unproved(scope, desired)?;
        let has_rule = |platform: &Platform| {
            platform
                .targets()
                .any(|target| survey.matching(target).next().is_some())
        };
        let is_looked_at = |platform: &&'static Platform| {
            let may_matter = match scope.everything {
                true => platform.engine || has_rule(platform),
                false => scope.host.may_run_natively(platform),
            };
            may_matter || asked.contains(platform)
        };
        survey.platforms = PLATFORMS.iter().filter(is_looked_at).collect();
        survey.probe();
        Ok(survey)
    }

    /// Looks at these platforms alone. What runs now, the conf file doesn't
    /// say, so it isn't even read.
    pub fn of(scope: Scope<'a>, platforms: &[&'static Platform]) -> Result<Self> {
        let mut survey = Self::unproved(scope, Vec::new())?;
        survey.platforms = platforms.to_vec();
        survey.probe();
        Ok(survey)
    }

    fn unproved(scope: Scope<'a>, desired: Vec<Rule>) -> Result<Self> {
        let instance = Instance::find(scope.mount);
        let entries = match &instance {
            Some(instance) => instance.entries()?,
            None => Vec::new(),
        };
        Ok(Self {
            scope,
            instance,
            entries,
            desired,
            outcomes: BTreeMap::new(),
            missed: BTreeMap::new(),
            platforms: Vec::new(),
        })
    }

    fn probe(&mut self) {
        let targets = || self.platforms.iter().flat_map(|p| p.targets());
        let own = targets().map(|target| (target.name, Probe::of(target)));
        // What a higher version runs includes what lower ones do.
        let tried = self.platforms.iter().filter(|_| self.scope.everything);
        let (highest, lower): (Vec<_>, Vec<_>) = tried
            .flat_map(|platform| platform.variants.iter().map(move |v| (platform, v)))
            .partition(|(platform, variant)| platform.highest_variant() == Some(*variant));
        let probe_of = |(platform, variant): (&&Platform, &'static Variant)| {
            (variant.name, Probe::of_variant(platform, variant))
        };
        let mut outcomes = self.run_all(own.chain(highest.into_iter().map(probe_of)));
        let is_open = |(platform, _): &(&&Platform, &Variant)| {
            let runs = |name| outcomes.get(name).is_some_and(Outcome::runs);
            let highest = platform.highest_variant();
            runs(platform.target().name) && !highest.is_some_and(|highest| runs(highest.name))
        };
        let open: Vec<_> = lower.into_iter().filter(is_open).map(probe_of).collect();
        outcomes.extend(self.run_all(open.into_iter()));
        // Narrow rules run the usual program and miss others.
        let (targets, probes): (Vec<_>, Vec<_>) = targets()
            .filter(|target| outcomes.get(target.name).is_some_and(Outcome::runs))
            .flat_map(|target| Shape::OTHERS.map(|shape| (target, shape)))
            .map(|(target, shape)| {
                (
                    target,
                    Probe {
                        shape,
                        ..Probe::of(target)
                    },
                )
            })
            .filter(|(target, probe)| {
                let runner = outcomes.get(target.name).and_then(|o| o.runner.as_ref());
                let is_runner = |entry: &&Entry| {
                    runner.is_some_and(|runner| is_interpreter(entry, &runner.interpreter))
                };
                let first = |probe| self.first_enabled(probe).filter(is_runner);
                // A rule that can't be seen may be narrow too.
                first(&Probe::of(target))
                    .is_none_or(|usual| first(probe).is_none_or(|other| other.name != usual.name))
            })
            .unzip();
        let proved = |runner: &Runner| self.stored(runner).is_some();
        self.missed = targets
            .into_iter()
            .zip(&probes)
            .zip(probe::run_all(&probes, self.scope.jobs, &proved))
            .filter(|(_, outcome)| !outcome.runs())
            .map(|((target, probe), outcome)| (target.name, (probe.shape, outcome)))
            .collect();
        self.outcomes = outcomes;
    }

    /// Runs named probes, and says what is certain of them.
    fn run_all(
        &self,
        probes: impl Iterator<Item = (&'static str, Probe)>,
    ) -> BTreeMap<&'static str, Outcome> {
        let (names, probes): (Vec<_>, Vec<_>) = probes.unzip();
        let proved = |runner: &Runner| self.stored(runner).is_some();
        let ran = probes
            .iter()
            .zip(probe::run_all(&probes, self.scope.jobs, &proved));
        let ran = ran.map(|(probe, outcome)| self.doubted(probe.target, outcome));
        names.into_iter().zip(ran).collect()
    }

    /// What ran in this process's own root, because no empty one could be
    /// made, counts where the same is certain in a container: the emulator is
    /// static, and the kernel doesn't look for it by its path.
    fn doubted(&self, target: &'static Target, mut outcome: Outcome) -> Outcome {
        let (Some(why), Ok(())) = (&outcome.no_empty_root, &outcome.verdict) else {
            return outcome;
        };
        let runner = outcome.runner.as_ref();
        let first = self.first_enabled(&Probe::of(target));
        let is_first =
            |entry: &&Entry| runner.is_none_or(|runner| is_interpreter(entry, &runner.interpreter));
        let is_native = runner.map_or(first.is_none(), |runner| runner.native);
        let first = first.filter(is_first);
        let is_fixed = match first {
            Some(entry) => entry.known_flags().fix_binary,
            None => runner.is_some_and(|runner| !runner.is_file(&runner.interpreter)),
        };
        let head = |runner: &Runner| runner.bytes(elf::HEAD as u64).unwrap_or_default();
        let is_static = runner
            .is_some_and(|runner| elf::check(&head(runner), self.scope.host.platform).is_ok());
        let doubt = match first {
            _ if is_native || (is_fixed && is_static) => return outcome,
            Some(_) if !is_fixed => Failure::InterpreterNotFound,
            _ => Failure::NotPermitted(format!(
                "it runs here, but not surely in a container: {why}"
            )),
        };
        outcome.verdict = Err(doubt);
        outcome
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
                // QEMU has no ptrace for what it runs, so this program, where
                // it runs emulated, can't tell without the list either.
                None if self.instance.is_none() && self.scope.host.emulated.is_some() => {
                    outcome.runs() && self.scope.host.may_run_natively(platform)
                }
                // Without ptrace there is still the kernel's own list: no
                // entry that is asked, no emulator.
                None => {
                    outcome.runs()
                        && !(self.is_on() && self.matching(target).any(|entry| entry.enabled))
                }
            })
    }

    /// Whether the kernel asks the entries at all.
    fn is_on(&self) -> bool {
        self.instance.as_ref().is_some_and(Instance::enabled)
    }

    /// The host that was looked at.
    pub fn host(&self) -> &'a Host {
        self.scope.host
    }

    /// The platforms that run without an emulator.
    pub fn native_platforms(&self) -> impl Iterator<Item = &'static Platform> {
        let native = self.scope.host.platform;
        let others = self.platforms.iter().copied();
        let others = others.filter(move |platform| *platform != native && self.is_native(platform));
        std::iter::once(native).chain(others)
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

    fn first_enabled(&self, probe: &Probe) -> Option<&Entry> {
        let header = probe.image();
        self.entries
            .iter()
            .find(|entry| entry.enabled && entry.matches(&header))
    }

    /// The entry that ran the probe, or would have. `None` where what ran it
    /// isn't among the entries, or can't be told from others.
    pub fn winner(&self, target: &'static Target) -> Option<&Entry> {
        let outcome = self.outcome(target)?;
        let mut enabled = self.matching(target).filter(|entry| entry.enabled);
        match &outcome.runner {
            Some(runner) if runner.native => None,
            Some(runner) => {
                let is_runner = |entry: &&Entry| is_interpreter(entry, &runner.interpreter);
                // An emulator that itself runs emulated is named by the other one.
                match self.matching(target).any(|e| is_runner(&e)) {
                    false if self.entries.iter().any(|e| is_runner(&e)) => enabled.next(),
                    _ => enabled.find(is_runner),
                }
            }
            None => {
                let first = enabled.next();
                match outcome.runs() {
                    // Without ptrace only one that is alone is certain.
                    true => first.filter(|_| enabled.next().is_none()),
                    false => first.or_else(|| self.matching(target).next()),
                }
            }
        }
    }

    /// Entries that are asked before the winner and match no probe of the
    /// target, but programs with other headers.
    fn in_front(&self, target: &'static Target, winner: Option<&Entry>) -> Vec<String> {
        let usual = Probe::of(target).image();
        let whole = Pattern {
            offset: 0,
            magic: target.magic.to_vec(),
            mask: Some(target.mask.to_vec()),
        };
        self.entries
            .iter()
            .take_while(|entry| winner.is_none_or(|winner| winner.name != entry.name))
            .filter(|entry| entry.enabled && !entry.matches(&usual))
            .filter(|entry| match &entry.kind {
                // One that doesn't look for ELF may match by chance only.
                Kind::Magic(pattern) => pattern.offset < 4 && pattern.overlaps(&whole),
                _ => false,
            })
            .map(|entry| entry.name.clone())
            .collect()
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
        let boot = Boot::read(Path::new("/"), &self.scope.host.init, self.scope.conf);
        let reports = self
            .platforms
            .iter()
            .filter(|platform| listed.is_none_or(|listed| listed.contains(platform)))
            .map(|platform| self.report(platform, &boot))
            .collect();
        Document {
            supported: self.scope.everything.then(|| self.supported()),
            emulators: Some(emulators),
            host: Some(self.host_report()),
            platforms: Some(reports),
            ..Document::new()
        }
    }

    /// The part of the document about the host.
    pub fn host_report(&self) -> HostReport {
        let host = self.scope.host;
        HostReport {
            platform: host.platform.name,
            kernel: host.kernel.to_string(),
            init: host.init.to_string(),
            instance: match self.is_hosts() {
                true => "host",
                false => "userns",
            },
            mounted: self.instance.is_some(),
            enabled: self.is_on(),
            held: self.held(),
        }
    }

    fn held(&self) -> Option<bool> {
        match &self.instance {
            Some(instance) => instance.held(self.scope.host),
            None => Instance::none_held(self.scope.host),
        }
    }

    /// Whether the entries are the host's. A user namespace sees those where
    /// it has mounted none itself.
    fn is_hosts(&self) -> bool {
        self.scope.host.initial_user_ns || self.held() == Some(true)
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
        let target = platform.target();
        self.outcome(target).is_some_and(Outcome::runs) && !self.missed.contains_key(target.name)
    }

    /// Whether a finer platform runs: it did, or a higher version did.
    pub fn runs_variant(&self, platform: &Platform, variant: &Variant) -> bool {
        let mut enough = platform.variants.iter().filter(|v| v.name >= variant.name);
        enough.any(|variant| self.outcomes.get(variant.name).is_some_and(Outcome::runs))
    }

    fn running_variants(&self, platform: &Platform) -> Vec<&'static str> {
        platform
            .variants
            .iter()
            .filter(|variant| self.runs_variant(platform, variant))
            .map(|variant| variant.name)
            .collect()
    }

    fn report(&self, platform: &'static Platform, boot: &Boot) -> PlatformReport {
        let target = platform.target();
        let winner = self.winner(target);
        let explained = self.explain(target);
        let native = self.is_native(platform);
        let runner = self
            .outcome(target)
            .and_then(|outcome| outcome.runner.as_ref())
            .filter(|runner| !runner.native);
        // A namespace's own rules come back for nobody.
        let source = winner
            .filter(|_| !native && self.is_hosts())
            .and_then(|entry| boot.covers(entry));
        let running = runner.map_or_else(Running::unknown, |runner| self.running(runner));
        let path_of = |runner: &Runner| runner.interpreter.to_string_lossy().into_owned();
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
            interpreter: winner
                .map(|entry| entry.interpreter.clone())
                .or_else(|| runner.map(path_of)),
            flags: winner.map(|entry| entry.flags.clone()),
            owner: winner.map(|entry| owner(entry, self.scope.store, self.scope.host)),
            qemu: running.qemu,
            sha256: running.sha256.map(|sha256| sha256.to_string()),
            pinned: (winner.is_some() || runner.is_some()).then_some(running.pinned),
            bytes: running.bytes,
            in_front: self.in_front(target, winner),
            shadowed: self
                .matching(target)
                .filter(|entry| winner.is_some_and(|winner| winner.name != entry.name))
                .map(|entry| entry.name.clone())
                .collect(),
            persistent: (native || self.scope.host.sees_boot()).then(|| native || source.is_some()),
            boot: source.map(|source| BootReport {
                file: source.file.display().to_string(),
                unit: source.unit,
            }),
            action: None,
            rehearsal: None,
        }
    }
}

/// Whether a path that the kernel was told is this entry's interpreter.
fn is_interpreter(entry: &Entry, path: &Path) -> bool {
    // Entries are read as text, whatever bytes they hold.
    path.to_string_lossy() == entry.interpreter
}

/// Whose an entry is, by where its interpreter lies, and whether it is there;
/// in a container, whose files are others, by the former alone.
pub fn owner(entry: &Entry, store: &Store, host: &Host) -> Owner {
    let interpreter = Path::new(&entry.interpreter);
    let is_there = host.sees_boot().then(|| interpreter.exists());
    let flags = entry.known_flags();
    let below = |dirs: &[&str]| dirs.iter().any(|dir| interpreter.starts_with(dir));
    let name = interpreter
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    // Debian 12 calls its emulators <target>-binfmt-P.
    let is_emulator = name.starts_with("qemu-") || name.ends_with("-binfmt-P");
    if store.owns(interpreter) {
        Owner::Binfmtctl
    } else if entry.name.to_lowercase().contains("rosetta") {
        Owner::Rosetta
    } else if below(&["/usr/bin"])
        && flags.credentials
        && flags.fix_binary
        && is_there != Some(true)
    {
        // Its emulators lie in its image, at a path that the host doesn't have.
        Owner::Tonistiigi
    } else if below(&["/run/binfmt", "/nix/store"])
        || (is_emulator && below(&["/usr/bin", "/usr/libexec"]) && is_there != Some(false))
    {
        Owner::Distribution
    } else {
        Owner::Other
    }
}
