//! Platforms that don't run: with a rule, and without.

use super::{Facts, PlatformFacts, names, removal, with_remedy, words};
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
        let failing = self.platforms.iter().filter_map(|platform| {
            let cause = platform.report.cause?;
            (!platform.runs() && !said_elsewhere(cause)).then_some((platform, cause))
        });
        failing
            .map(|(platform, cause)| self.not_running_one(platform, cause))
            .collect()
    }

    fn not_running_one(&self, platform: &PlatformFacts, cause: Cause) -> Finding {
        let detail = platform.report.detail.as_deref().unwrap_or_default();
        let what = format!("{} doesn't run: {detail}", platform.platform.name);
        let id = if platform.is_shifted {
            "argv0"
        } else {
            id(cause)
        };
        if cause == Cause::NotPermitted {
            return Finding::warning(
                id,
                format!("{} can't be tried: {detail}", platform.platform.name),
            )
            .mend("sudo binfmtctl doctor");
        }
        let entry = self.mount.join(platform.handler());
        let seen = match (&platform.fault, &platform.report.interpreter) {
            (Some(fault), Some(interpreter)) => {
                format!("{}; {interpreter} {fault}", entry.display())
            }
            _ => entry.display().to_string(),
        };
        let in_the_way = self
            .matching(platform.platform.target())
            .find(|(entry, _)| entry.name == platform.handler());
        let remedy = match in_the_way {
            Some((entry, owner)) if self.is_native(platform.platform) => {
                removal(entry, *owner, platform.short())
            }
            _ => Some(format!("binfmtctl install {}", platform.short())),
        };
        with_remedy(Finding::problem(id, what).seen_in(seen), remedy)
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
            Finding::new(ID, level, what).mend(format!("binfmtctl install {}", words(platforms())))
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
