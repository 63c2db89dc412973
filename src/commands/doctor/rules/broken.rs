//! Platforms that don't run: with a rule, and without.

use super::{Facts, PlatformFacts, names, words};
use crate::report::{Cause, Finding, Level};

impl Facts {
    /// A rule is there and the platform doesn't run.
    pub(super) fn not_running(&self) -> Vec<Finding> {
        let said_elsewhere = |cause: Cause| match cause {
            Cause::NotRegistered => true,
            Cause::Unmounted => !self.mounted,
            Cause::Disabled => !self.enabled,
            _ => false,
        };
        // One rule may fail many platforms, always the same way.
        let mut groups: Vec<Vec<&PlatformFacts>> = Vec::new();
        for platform in &self.platforms {
            let is_failing = |cause: Cause| !platform.runs() && !said_elsewhere(cause);
            if !platform.report.cause.is_some_and(is_failing) {
                continue;
            }
            let is_alike = |group: &&mut Vec<&PlatformFacts>| {
                group.first().is_some_and(|first| is_alike(first, platform))
            };
            match groups.iter_mut().find(is_alike) {
                Some(group) => group.push(platform),
                None => groups.push(vec![platform]),
            }
        }
        groups
            .iter()
            .filter_map(|group| self.not_running_for(group))
            .collect()
    }

    /// What fails platforms in one and the same way.
    fn not_running_for(&self, group: &[&PlatformFacts]) -> Option<Finding> {
        let first = *group.first()?;
        let cause = first.report.cause?;
        let detail = first.report.detail.as_deref().unwrap_or_default();
        let dont = if group.len() == 1 { "doesn't" } else { "don't" };
        let names = names(group.iter().copied());
        let id = if first.is_shifted { "argv0" } else { id(cause) };
        if cause == Cause::NotPermitted {
            let finding = Finding::warning(id, format!("{names} can't be tried: {detail}"));
            return Some(finding.mend_if(self.ctl.as_root()));
        }
        let rule = match &first.report.handler {
            Some(handler) => self.mount.join(handler),
            None => self.mount.clone(),
        };
        let seen = match (&first.fault, &first.report.interpreter) {
            (Some(fault), Some(interpreter)) if self.sees_files => {
                format!("{}; {interpreter} {fault}", rule.display())
            }
            _ => rule.display().to_string(),
        };
        let native = group.iter().find(|p| self.is_native(p.platform));
        let install = format!("install {}", words(group.iter().copied()));
        let remedy = match (native, group) {
            (Some(native), _) => self.revival(native),
            (None, [single]) => self.revival(single),
            _ if cause == Cause::Unmounted => self.ctl.change_own(&install),
            _ => self.ctl.change(&install),
        };
        let finding = Finding::problem(id, format!("{names} {dont} run: {detail}"));
        Some(finding.seen_in(seen).mend_if(remedy))
    }

    /// No rule is there.
    pub(super) fn unregistered(&self) -> Vec<Finding> {
        const ID: &str = "not-registered";
        let (desired, others): (Vec<_>, Vec<_>) = self
            .platforms
            .iter()
            .filter(|p| p.report.cause == Some(Cause::NotRegistered))
            .partition(|platform| platform.desired);
        let finding = |level: Level, platforms: &[&PlatformFacts], why: &str| {
            let platforms = || platforms.iter().copied();
            let what = format!("no rule is for {}{why}", names(platforms()));
            let install = format!("install {}", words(platforms()));
            Finding::new(ID, level, what).mend_if(self.ctl.change(&install))
        };
        let is_bare = !self.platforms.iter().any(PlatformFacts::is_emulated);
        let usual = if is_bare { Level::Warning } else { Level::Ok };
        [
            (Level::Problem, desired, ", which should run on this host"),
            (usual, others, ""),
        ]
        .iter()
        .filter(|(_, platforms, _)| !platforms.is_empty())
        .map(|(level, platforms, why)| finding(*level, platforms, why))
        .collect()
    }
}

/// Whether two platforms fail by one rule, in one way.
fn is_alike(one: &PlatformFacts, other: &PlatformFacts) -> bool {
    let way = |p: &PlatformFacts| (p.report.cause, p.is_shifted);
    let by = |p: &PlatformFacts| (p.report.handler.clone(), p.report.detail.clone());
    way(one) == way(other) && by(one) == by(other)
}

/// A cause's name in the document.
fn id(cause: Cause) -> &'static str {
    match cause {
        Cause::NotRegistered => "not-registered",
        Cause::Disabled => "disabled",
        Cause::NoFixBinary => "no-fix-binary",
        Cause::InterpreterMissing => "interpreter-missing",
        Cause::EmulatorFailed => "emulator-failed",
        Cause::Timeout => "timeout",
        Cause::Shadowed => "shadowed",
        Cause::NotPermitted => "not-permitted",
        Cause::Unmounted => "unmounted",
    }
}
