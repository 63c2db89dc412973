//! Whether the asked state holds afterwards, and what a person should know.

use super::{Done, Failures, Installed, Log, Outcome, Removed, Run};
use crate::binfmt::{Entry, Lifetime};
use crate::commands::install::warnings::lifetime;
use crate::commands::install::{arm_is_missing, sum_up};
use crate::error::{Error, Status};
use crate::platform::{Platform, UnknownName};
use crate::report::Action;
use crate::report::survey::Survey;

impl Run<'_> {
    /// Holds what was done against what is there.
    pub(super) fn conclude(&self, after: &Survey<'_>, mut log: Log) -> Done {
        for installed in &mut log.installed {
            let platform = installed.platform;
            let error = match &mut installed.outcome {
                Outcome::Failed(_) => continue,
                Outcome::Kept { rule, but } if after.runs(platform) => {
                    let rule = after.entries.iter().find(|entry| entry.name == *rule);
                    let Some(entry) = rule else { continue };
                    let (told, failed) = self.terms.otherwise(entry);
                    *but = told;
                    match failed.is_empty() {
                        true => continue,
                        false => kept(platform, entry, &failed),
                    }
                }
                _ if after.runs(platform) => continue,
                Outcome::Registered { rules, .. } if are_gone(after, rules) => {
                    self.not_held(platform)
                }
                _ => doesnt_run(platform),
            };
            installed.outcome = Outcome::Failed(error.reason());
            let must_run = self.must_run(platform);
            log.failures.add(platform, error, must_run);
        }
        let mut document = after.document(None);
        for report in document.platforms.iter_mut().flatten() {
            let of_platform = |one: &&Installed| one.platform.name == report.platform;
            let installed = log.installed.iter().find(of_platform);
            let is_lost = log.lost.iter().any(|lost| lost.name == report.platform);
            report.action = match installed {
                Some(installed) => Some(installed.outcome.action()),
                None => is_lost.then_some(Action::Removed),
            };
        }
        document.changed = self.order.changes().then_some(log.changed);
        let mut warnings = self.without_argv0(&log.installed);
        if log.changed {
            warnings.extend(self.warnings(after, &log.removed));
        }
        let failure = self.failure(after, log.failures);
        Done {
            document,
            warnings,
            removed: log.removed,
            installed: log.installed,
            failure,
        }
    }

    /// The asked state doesn't hold: why.
    fn failure(&self, after: &Survey<'_>, mut failures: Failures) -> Option<Error> {
        let runs =
            |platform: &&'static Platform| after.runs(platform) && !after.is_native(platform);
        let nothing_runs = self
            .order
            .every
            .as_ref()
            .is_some_and(|every| !every.of.platforms().iter().any(runs));
        // Something had to be done, and none of it could be.
        if failures.everything.is_some() {
            return failures.everything;
        }
        if !failures.removals.is_empty() {
            return Some(failures.removals.swap_remove(0));
        }
        let lacks_set = self.lacks_set(after);
        if nothing_runs || lacks_set {
            failures.platforms.append(&mut failures.forgiven);
        }
        match sum_up(failures.platforms) {
            None if lacks_set => Some(self.terms.empty()),
            None => unknown(self.order.unknown.first()?),
            failure => failure,
        }
    }

    /// Says where P was asked for, and the rules of this tool haven't got it.
    fn without_argv0(&self, installed: &[Installed]) -> Vec<String> {
        let is_own =
            |one: &&Installed| matches!(one.outcome, Outcome::Registered { .. } | Outcome::InPlace);
        let own = installed.iter().filter(is_own).map(|one| one.platform);
        self.terms.without_argv0(own).into_iter().collect()
    }

    /// What doesn't last, and what engines will misunderstand.
    fn warnings(&self, after: &Survey<'_>, removed: &[Removed]) -> Vec<String> {
        let host = after.host_report();
        let installs = !self.asked().is_empty();
        let mut warnings = Vec::new();
        if installs {
            let tried = self.context.lifetime.get().copied();
            let text = lifetime(&host, tried).map(str::to_owned);
            // Tried and found good: the usual case of a container.
            match (host.held, tried) == (None, Some(Lifetime::Elsewhere)) {
                true => text
                    .iter()
                    .for_each(|text| self.context.console.detail(text)),
                false => warnings.extend(text),
            }
        }
        if installs && arm_is_missing(after) {
            warnings.push("warning: linux/arm64 runs and linux/arm doesn't, but container engines take one for the other; install arm too".to_owned());
        }
        let returns = |one: &&Removed| {
            one.went(&one.name)
                && after.desired.iter().any(|rule| rule.name == one.name)
                && !after.entries.iter().any(|entry| entry.name == one.name)
        };
        for Removed { name, .. } in removed.iter().filter(returns) {
            warnings.push(format!(
                "warning: the rule {name} stands in {} and comes back at boot; `binfmtctl uninstall` takes it out",
                self.context.conf.display()
            ));
        }
        warnings
    }

    fn not_held(&self, platform: &Platform) -> Error {
        Error::new(
            Status::Failed,
            format!("{} ran, and its rules are gone already", platform.name),
        )
        .because(format!(
            "only this run had binfmt_misc mounted, at {}, and rules go with the last mount",
            self.context.mount.display()
        ))
        .hint("mount it on the host first, `mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc`, or run the container with --pid=host")
    }
}

fn are_gone(after: &Survey<'_>, rules: &[String]) -> bool {
    let is_there = |rule: &String| after.entries.iter().any(|entry| entry.name == *rule);
    !rules.iter().any(is_there)
}

/// What has no platform can't be installed.
fn unknown(name: &UnknownName) -> Option<Error> {
    Some(
        Error::new(Status::Failed, format!("cannot install {}", name.name))
            .because(name.clone())
            .hint("`binfmtctl status all-targets` lists every name"),
    )
}

/// What was asked for isn't so, and isn't changed either.
fn kept(platform: &Platform, entry: &Entry, failed: &[&str]) -> Error {
    let rule = &entry.name;
    Error::new(
        Status::Failed,
        format!(
            "{} runs by the rule {rule}, which is kept and {}",
            platform.name,
            failed.join(", and ")
        ),
    )
    .hint(match rule.starts_with("qemu-") {
        true => "--reset replaces it",
        false => "remove that rule first",
    })
}

fn doesnt_run(platform: &Platform) -> Error {
    Error::new(
        Status::Failed,
        format!("{} was set up, but doesn't run", platform.name),
    )
    .hint("`binfmtctl doctor` says why")
}
