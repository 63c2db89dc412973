//! The plan: for each platform that is asked for, what has to be done, worked
//! out from what was seen. Nothing is changed here. Where the emulators lie,
//! and which rules may go for them, is said by its [`Terms`].

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::binfmt::entry::Kind;
use crate::binfmt::switch::Wanted;
use crate::binfmt::{Entry, Flags, Rule};
use crate::cli::Install;
use crate::commands::Context;
use crate::commands::install::checks::PIN;
use crate::commands::install::persists;
use crate::emulator::manifest::Release;
use crate::host::Kernel;
use crate::platform::{Platform, Request, TARGETS, Target};
use crate::probe::{Outcome, Probe, Runner};
use crate::report::Action;
use crate::report::survey::Survey;

/// What a plan rests on besides what was seen.
pub(in crate::commands) trait Terms: Sync {
    /// A platform's emulator and the flags of its rules, where it has one.
    fn emulator(&self, platform: &'static Platform) -> Option<(PathBuf, Flags)>;

    /// What the usual names of rules have before `qemu-`.
    fn prefix(&self) -> &str {
        ""
    }

    /// The name that the rule for a target has been given already.
    fn given(&self, _target: &Target) -> Option<String> {
        None
    }

    /// Whether a rule that works is left in charge of its platform.
    fn keeps(&self, survey: &Survey<'_>, entry: &Entry) -> bool;

    /// Whether a rule for this platform goes once another one is proved.
    fn displaces(&self, survey: &Survey<'_>, entry: &Entry, platform: &Platform) -> bool;

    /// Whether what ran by a rule with this interpreter has the bytes that a
    /// new rule would get.
    fn is_current(&self, survey: &Survey<'_>, runner: &Runner, interpreter: &str) -> bool;

    /// What helps where an emulator can't work in an empty root.
    fn remedy(&self) -> &'static str;
}

/// The terms of an install: emulators of a release, in the store.
pub(super) struct Stored<'a> {
    pub context: &'a Context,
    pub args: &'a Install,
    pub release: &'a Release,
}

impl Terms for Stored<'_> {
    fn emulator(&self, platform: &'static Platform) -> Option<(PathBuf, Flags)> {
        let (kernel, qemu) = (&self.context.host.kernel, &self.release.qemu);
        let emulator = self.release.emulator(platform.emulator)?;
        let path = self
            .context
            .store
            .path(&emulator.sha256, &platform.binary());
        Some((path, flags(kernel, qemu, self.args.credentials)))
    }

    fn keeps(&self, survey: &Survey<'_>, entry: &Entry) -> bool {
        !self.args.replace && !survey.is_ours(entry)
    }

    fn displaces(&self, survey: &Survey<'_>, entry: &Entry, platform: &Platform) -> bool {
        survey.is_ours(entry)
            || (self.args.replace
                && entry.has_exact_name()
                && !entry.is_wsls()
                && !matches_others(entry, platform))
    }

    fn is_current(&self, survey: &Survey<'_>, runner: &Runner, _interpreter: &str) -> bool {
        // The file at the path is the one that runs, and has the pinned bytes.
        survey.runs_promised_bytes(runner)
            || (self.is_out_of_sight(&runner.interpreter) && may_be_promised(runner))
    }

    fn remedy(&self) -> &'static str {
        PIN
    }
}

impl Stored<'_> {
    /// Whether the file can't be seen, and needn't be: a container that keeps
    /// nothing has other files than the one that registered the rule.
    fn is_out_of_sight(&self, path: &Path) -> bool {
        let keeps = self.context.host.sees_boot() || persists(self.context, self.args);
        is_out_of_sight(path) || !keeps
    }
}

/// What a run is going to do.
pub(in crate::commands) struct Plan {
    /// One per platform, in the order of the table.
    pub steps: Vec<Step>,
}

/// What is going to be done for one platform.
pub(in crate::commands) struct Step {
    /// The platform.
    pub platform: &'static Platform,
    /// What will have been done; `None` where there is no emulator, and
    /// nobody asked for it by name.
    pub action: Option<Action>,
    /// Rules to register.
    pub wanted: Vec<Wanted>,
    /// The same with their names.
    pub planned: Vec<Rule>,
    /// Our rules that are right as they are.
    pub in_place: Vec<Rule>,
    /// Its emulator in the store, where the release has one.
    pub emulator: Option<PathBuf>,
    /// Somebody else's rule that runs it, and stays.
    pub foreign: Option<String>,
}

impl Plan {
    pub fn new(terms: &dyn Terms, request: &Request, survey: &Survey<'_>) -> Self {
        let steps = request
            .platforms()
            .into_iter()
            .map(|platform| {
                let mut step = Step {
                    platform,
                    action: None,
                    wanted: Vec::new(),
                    planned: Vec::new(),
                    in_place: Vec::new(),
                    foreign: None,
                    emulator: None,
                };
                step.decide(survey, terms, request.names(platform));
                step
            })
            .collect();
        Self { steps }
    }

    /// The steps that need something done.
    pub fn work(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_work())
    }

    /// Whether it left a platform to somebody else's rule, which has gone since.
    pub fn is_overtaken(&self, after: &Survey<'_>) -> bool {
        let is_left = |step: &&Step| step.foreign.is_some();
        let mut left = self.steps.iter().filter(is_left);
        left.any(|step| !after.runs(step.platform))
    }

    /// Our rules that are right as they are.
    pub fn rules_in_place(&self) -> Vec<Rule> {
        self.steps
            .iter()
            .flat_map(|step| step.in_place.clone())
            .collect()
    }

    /// Whether the asked state holds already, in the kernel and in the file.
    pub fn is_done(&self, survey: &Survey<'_>, no_persist: bool) -> bool {
        let is_desired = |rule: &Rule| survey.desired.contains(rule);
        self.work().next().is_none() && (no_persist || self.rules_in_place().iter().all(is_desired))
    }
}

impl Step {
    /// Says what would be done.
    pub fn describe(&self, release: &Release) -> String {
        let names: Vec<&str> = self.planned.iter().map(|rule| &*rule.name).collect();
        let (qemu, names) = (&release.qemu, names.join(", "));
        let what = match (self.action, &self.foreign, &self.emulator) {
            (Some(Action::Native), ..) => "runs natively; nothing to do".to_owned(),
            (Some(Action::Kept), Some(rule), _) => format!(
                "runs by the rule {rule}, which isn't ours; would keep it (--replace takes over)"
            ),
            (Some(Action::Kept), _, Some(emulator)) if is_out_of_sight(emulator) => format!(
                "in place, as far as this user can see ({} can't be seen); nothing to do",
                emulator.display()
            ),
            (Some(Action::Kept), ..) => "in place; nothing to do".to_owned(),
            (_, _, None) => format!("QEMU {qemu} has no emulator for it"),
            (Some(Action::Replaced), ..) => {
                format!("would replace its rule with QEMU {qemu} as {names}")
            }
            _ => format!("would register QEMU {qemu} as {names}"),
        };
        format!("{}: {what}", self.platform.name)
    }

    /// Whether something has to be done, or to be failed at.
    pub fn is_work(&self) -> bool {
        matches!(self.action, Some(Action::Installed | Action::Replaced))
    }

    fn decide(&mut self, survey: &Survey<'_>, terms: &dyn Terms, by_name: bool) {
        let usual = self.platform.target();
        if survey.is_native(self.platform) {
            self.action = Some(Action::Native);
            return;
        }
        let emulator = terms.emulator(self.platform);
        self.emulator = emulator.as_ref().map(|(path, _)| path.clone());
        let foreign = runner(survey, usual)
            .filter(|entry| survey.runs(self.platform) && terms.keeps(survey, entry));
        if let Some(entry) = foreign {
            self.action = Some(Action::Kept);
            self.foreign = Some(entry.name.clone());
            return;
        }
        let Some((emulator, flags)) = emulator else {
            self.action = by_name.then_some(Action::Installed);
            return;
        };
        for target in self.platform.targets() {
            let wanted = Wanted {
                target,
                interpreter: emulator.display().to_string(),
                flags,
                prefix: terms.prefix().to_owned(),
                given: terms.given(target),
            };
            let rule = rule_for(survey, &wanted, terms);
            match is_in_place(survey, &wanted, &rule, terms) {
                true => self.in_place.push(rule),
                false => {
                    self.wanted.push(wanted);
                    self.planned.push(rule);
                }
            }
        }
        let replaces = self
            .wanted
            .iter()
            .any(|wanted| !displaced(survey, wanted, terms).is_empty());
        self.action = Some(match (self.wanted.is_empty(), replaces) {
            (true, _) => Action::Kept,
            (false, true) => Action::Replaced,
            (false, false) => Action::Installed,
        });
    }
}

/// The entry that runs the target. Where the kernel doesn't show which one ran,
/// it is the first that the kernel asks.
fn runner<'s>(survey: &'s Survey<'_>, target: &'static Target) -> Option<&'s Entry> {
    let is_unseen = |outcome: &Outcome| outcome.runs() && outcome.runner.is_none();
    match survey.outcome(target).is_some_and(is_unseen) {
        true => survey.matching(target).find(|entry| entry.enabled),
        false => survey.winner(target),
    }
}

/// The rule that `wanted` asks for, under the name that it gets.
fn rule_for(survey: &Survey<'_>, wanted: &Wanted, terms: &dyn Terms) -> Rule {
    let displaced = displaced(survey, wanted, terms);
    let is_foreign = |name: &str| {
        survey.entries.iter().any(|entry| entry.name == name)
            && !displaced.iter().any(|displaced| displaced == name)
    };
    wanted.named(wanted.name(is_foreign))
}

/// Whether the rule is what runs the target already, from the right bytes, and
/// nothing that has to go is in the way.
fn is_in_place(survey: &Survey<'_>, wanted: &Wanted, rule: &Rule, terms: &dyn Terms) -> bool {
    let outcome = survey.outcome(wanted.target);
    let (Some(outcome), Some(entry)) = (
        outcome.filter(|outcome| outcome.runs()),
        runner(survey, wanted.target),
    ) else {
        return false;
    };
    let displaced = displaced(survey, wanted, terms);
    let alone = displaced.iter().all(|displaced| *displaced == entry.name);
    let same = entry.name == rule.name
        && entry.interpreter == rule.interpreter
        && entry.known_flags() == rule.flags
        && matches!(&entry.kind, Kind::Magic(pattern) if *pattern == rule.pattern);
    // What the kernel has open is the emulator that a new rule would get.
    let bytes = outcome
        .runner
        .as_ref()
        .is_none_or(|runner| terms.is_current(survey, runner, &rule.interpreter));
    alone && same && bytes
}

/// Whether what ran may have the bytes that its directory in our store is named
/// after.
fn may_be_promised(runner: &Runner) -> bool {
    let dir = runner.interpreter.parent();
    let found = runner.sha256().map(|sha256| sha256.to_string());
    found.is_ok_and(|found| dir.is_some_and(|dir| dir.ends_with(found)))
}

/// Whether this user can't see the file, which says nothing against it.
fn is_out_of_sight(path: &Path) -> bool {
    let seen = fs::metadata(path);
    seen.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// The entries that go once `wanted` is in place.
pub(super) fn displaced(survey: &Survey<'_>, wanted: &Wanted, terms: &dyn Terms) -> Vec<String> {
    let target = wanted.target;
    survey
        .matching(target)
        .filter(|entry| terms.displaces(survey, entry, target.platform()))
        .map(|entry| entry.name.clone())
        .collect()
}

/// Whether an entry runs something besides this platform.
pub(super) fn matches_others(entry: &Entry, platform: &Platform) -> bool {
    let others = TARGETS.iter();
    is_for(entry, others.filter(|target| target.platform() != platform))
}

/// Whether an entry takes the programs of one of these targets.
pub(super) fn is_for(entry: &Entry, mut targets: impl Iterator<Item = &'static Target>) -> bool {
    targets.any(|target| entry.matches(&Probe::of(target).image()))
}

/// POF, as far as kernel and QEMU understand them: P shifts the arguments
/// where either doesn't know it (Linux 5.12, QEMU 6.0).
pub(super) fn flags(kernel: &Kernel, qemu: &str, credentials: bool) -> Flags {
    let major: u32 = qemu
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    Flags {
        preserve_argv0: kernel.announces_argv0() && major >= 6,
        open_binary: true,
        credentials,
        fix_binary: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argv0_is_kept_where_kernel_and_qemu_know_how() {
        let letters = |kernel, qemu| flags(&Kernel::parse(kernel), qemu, false).to_string();
        assert_eq!(letters("6.12.0", "10.0.13"), "POF");
        assert_eq!(letters("5.11.0", "10.0.13"), "OF");
        assert_eq!(letters("6.12.0", "5.2.0"), "OF");
    }

    #[test]
    fn credentials_are_never_the_default() {
        let kernel = Kernel::parse("6.12.0");
        assert_eq!(flags(&kernel, "10.0.13", true).to_string(), "POCF");
    }
}
