//! The rules: platforms that don't run although something is registered for
//! them, and rules that run but not as, or not for as long as, people think.

mod broken;
mod crowded;
mod emulators;
mod narrow;
mod qemu;

use std::path::{Path, PathBuf};

use super::ctl::Ctl;
use super::interpreter;
use crate::binfmt::Entry;
use crate::commands::Context;
use crate::host::{Host, has_mounts_of_init};
use crate::platform::{Platform, Target};
use crate::probe::{Failure, Probe};
use crate::report::survey::{Survey, owner};
use crate::report::{Finding, Owner, PlatformReport, Runs};

/// What is judged.
pub struct Facts {
    /// The host's own platform.
    pub host: &'static Platform,
    /// Where the instance is mounted.
    pub mount: PathBuf,
    /// Whether an instance is there.
    pub mounted: bool,
    /// Whether it is switched on as a whole.
    pub enabled: bool,
    /// One per platform.
    pub platforms: Vec<PlatformFacts>,
    /// All entries, each with its owner, in the kernel's order.
    pub entries: Vec<(Entry, Owner)>,
    /// Platforms that run without any rule; why that couldn't be tried.
    pub native: Result<Vec<&'static Platform>, String>,
    /// Whether the kernel tells emulators about flag P.
    pub announces_argv0: bool,
    /// Whether paths mean here what they mean to whoever registers rules.
    pub sees_files: bool,
    /// Our commands.
    pub ctl: Ctl,
}

/// What is known of one platform.
pub struct PlatformFacts {
    /// The platform.
    pub platform: &'static Platform,
    /// What status says of it.
    pub report: PlatformReport,
    /// Whether our conf file has a rule for it.
    pub desired: bool,
    /// What is wrong with the file at the rule's path.
    pub fault: Option<String>,
    /// Whether its programs get too many or too few arguments.
    pub is_shifted: bool,
    /// Whether the running emulator is position-independent.
    pub is_pie: bool,
}

impl PlatformFacts {
    fn runs(&self) -> bool {
        self.report.runs != Runs::No
    }

    fn is_emulated(&self) -> bool {
        self.report.runs == Runs::Emulated
    }

    fn handler(&self) -> &str {
        self.report.handler.as_deref().unwrap_or("unknown")
    }

    /// Whether `install --replace` would put the same in its place, only newer.
    fn is_qemu(&self) -> bool {
        match self.report.owner {
            Some(Owner::Binfmtctl | Owner::Distribution | Owner::Tonistiigi) => true,
            Some(Owner::Rosetta) => false,
            Some(Owner::Other) | None => self.report.qemu.is_some(),
        }
    }

    /// The name that commands take.
    fn short(&self) -> &'static str {
        let name = self.platform.name;
        name.strip_prefix("linux/").unwrap_or(name)
    }
}

/// Judges the rules.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![facts.running()];
    findings.extend(facts.not_running());
    findings.extend(facts.unregistered());
    findings.extend(facts.stale());
    findings.extend(facts.owners());
    findings.extend(facts.narrow());
    findings.extend(facts.needless());
    findings.extend(facts.companions());
    findings.extend(facts.arguments());
    findings.extend(facts.credentials());
    findings.extend(facts.defects());
    findings
}

fn names<'a>(platforms: impl IntoIterator<Item = &'a PlatformFacts>) -> String {
    let names: Vec<&str> = platforms.into_iter().map(|p| p.platform.name).collect();
    names.join(", ")
}

fn words<'a>(platforms: impl IntoIterator<Item = &'a PlatformFacts>) -> String {
    let names: Vec<&str> = platforms.into_iter().map(PlatformFacts::short).collect();
    names.join(" ")
}

/// Whether `uninstall --foreign` takes it.
fn is_removable(entry: &Entry, owner: Owner) -> bool {
    owner != Owner::Binfmtctl && !entry.is_wsls()
}

impl Facts {
    /// Takes what the survey saw, and looks at the emulators' files.
    pub fn read(
        context: &Context,
        survey: &Survey<'_>,
        native: Result<Vec<&'static Platform>, String>,
        ctl: &Ctl,
    ) -> Self {
        let host = survey.host_report();
        let reports = survey.document(None).platforms.unwrap_or_default();
        let platforms = reports.into_iter().filter_map(|report| {
            let platform = Platform::by_emulator(report.target)?;
            let header = Probe::of(platform.target()).image();
            let outcome = survey.outcome(platform.target());
            let verdict = outcome.map(|outcome| &outcome.verdict);
            let runner = outcome.and_then(|outcome| outcome.runner.as_ref());
            let interpreter = report.interpreter.as_deref().map(Path::new);
            Some(PlatformFacts {
                platform,
                desired: survey
                    .desired
                    .iter()
                    .any(|rule| rule.pattern.matches(&header)),
                fault: interpreter.and_then(|path| interpreter::fault(path, context.host.platform)),
                is_shifted: matches!(verdict, Some(Err(Failure::ArgumentsShifted { .. }))),
                is_pie: runner.is_none_or(|runner| interpreter::is_pie(&runner.exe)),
                report,
            })
        });
        let entries = survey.entries.iter();
        Self {
            host: context.host.platform,
            mount: context.mount.clone(),
            mounted: host.mounted,
            enabled: host.enabled,
            platforms: platforms.collect(),
            entries: entries
                .map(|entry| (entry.clone(), owner(entry, &context.store, &context.host)))
                .collect(),
            native,
            announces_argv0: context.host.kernel.announces_argv0(),
            sees_files: sees_files(&context.host, host.instance),
            ctl: ctl.clone(),
        }
    }

    fn running(&self) -> Finding {
        let of = |runs: Runs| match names(self.platforms.iter().filter(|p| p.report.runs == runs)) {
            none if none.is_empty() => "none".to_owned(),
            names => names,
        };
        Finding::ok(
            "platforms",
            format!(
                "native: {}; emulated: {}",
                of(Runs::Native),
                of(Runs::Emulated)
            ),
        )
    }

    fn matching(&self, target: &'static Target) -> impl Iterator<Item = &(Entry, Owner)> {
        let header = Probe::of(target).image();
        self.entries
            .iter()
            .filter(move |(entry, _)| entry.matches(&header))
    }

    /// The command that removes a rule, unless platforms that run need it.
    fn removal(&self, entry: &Entry, owner: Owner, platform: &PlatformFacts) -> Option<String> {
        let needs = |other: &PlatformFacts| {
            other.platform != platform.platform && self.needs(other, &entry.name)
        };
        match owner {
            Owner::Binfmtctl => self.ctl.change(&format!("uninstall {}", platform.short())),
            _ if !is_removable(entry, owner) || self.platforms.iter().any(needs) => None,
            _ => self.ctl.remove_foreign([entry.name.as_str()].into_iter()),
        }
    }

    /// Whether the platform wouldn't run without this rule.
    fn needs(&self, platform: &PlatformFacts, rule: &str) -> bool {
        platform.is_emulated() && platform.handler() == rule && !self.is_native(platform.platform)
    }

    fn is_native(&self, platform: &Platform) -> bool {
        self.native
            .as_ref()
            .is_ok_and(|native| native.contains(&platform))
    }
}

/// Whether a file that a rule names can be looked for from here: a container
/// has another root than the host, whose rules it sees.
fn sees_files(host: &Host, instance: &str) -> bool {
    sees(
        host.initial_pid_ns,
        instance == "userns",
        has_mounts_of_init(),
    )
}

/// `same_root`: whether PID 1 is in our mount namespace, where that can be
/// told. Rules of a user namespace were made in it.
fn sees(initial_pid_ns: bool, is_own: bool, same_root: Option<bool>) -> bool {
    match (initial_pid_ns, is_own) {
        (true, true) => true,
        (true, false) | (false, true) => same_root.unwrap_or(true),
        (false, false) => false,
    }
}

#[cfg(test)]
mod tests;
