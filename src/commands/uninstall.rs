//! `uninstall`: takes back what `install` did. The file goes first, so that a
//! boot in the middle doesn't bring anything back; then the rules; then the
//! emulators that nothing names any more.

use super::install::service::service;
use super::{Context, Reply, load_manifest, parse_platforms};
use crate::binfmt::boot::service::Service;
use crate::binfmt::entry::is_wsls;
use crate::binfmt::{Entry, Instance, Rule, conf};
use crate::cli::Uninstall;
use crate::error::{Error, Result, Status};
use crate::platform::Platform;
use crate::probe::Probe;
use crate::report::survey::Survey;
use crate::report::{Action, Document};

/// Removes our rules for the named platforms, or all of them; others' rules
/// only by their exact names.
pub fn run(context: &Context, args: &Uninstall) -> Result<Reply> {
    let manifest = load_manifest(None)?;
    let asked = parse_platforms(&args.platforms)?.platforms();
    // Rules that can't be seen would be left.
    context.show()?;
    let survey = Survey::take(context.scope(&manifest), &asked)?;
    let plan = Plan::new(context, &survey, args, &asked)?;
    let is_empty = plan.is_empty(context, args, &survey)?;
    if args.dry_run || is_empty {
        if let Some(service) = &plan.service {
            let file = service.file();
            context
                .console
                .note(&format!("would remove {}", file.display()));
        }
        return Ok(Reply::document(plan.describe(&survey, args, !is_empty)));
    }

    context.require_rights()?;
    let lock = match context.store.prefix().exists() {
        true => Some(context.store.lock()?),
        false => None,
    };
    // An instance that isn't mounted has no rules to remove, and isn't mounted
    // for that. (Before Linux 6.7 it may have some, which a boot takes away:
    // the file that would bring them back goes.) The right to change it comes
    // before the first change.
    let instance = match Instance::find(&context.mount) {
        Some(instance) => Some((instance.lock()?, instance)),
        None => None,
    };
    if plan.changes_conf {
        conf::write(&context.conf, &plan.remaining)?;
    }
    if let Some((right, instance)) = instance {
        for entry in plan.entries.iter().rev() {
            instance.remove(&right, &entry.name)?;
        }
    }
    let after = Survey::take(context.scope(&manifest), &asked)?;
    if let Some(lock) = lock {
        context.store.sweep(&lock, &after.used_emulators())?;
        context.store.unlock(lock)?;
    }
    // What is left to apply nothing does no harm: it comes last.
    let removed = plan.service.as_ref().map_or(Ok(false), Service::remove);
    if let (Some(service), Ok(true)) = (&plan.service, &removed) {
        let file = service.file();
        context.console.note(&format!("removed {}", file.display()));
    }
    Ok(Reply {
        failure: removed.err(),
        ..Reply::document(plan.describe(&after, args, true))
    })
}

struct Plan {
    /// Rules to remove, in the kernel's order.
    entries: Vec<Entry>,
    /// What the file says afterwards.
    remaining: Vec<Rule>,
    changes_conf: bool,
    /// What calls this program at boot, where it has nothing left to apply.
    service: Option<Service>,
    /// The platforms that lose a rule.
    platforms: Vec<&'static Platform>,
}

impl Plan {
    fn new(
        context: &Context,
        survey: &Survey<'_>,
        args: &Uninstall,
        asked: &[&'static Platform],
    ) -> Result<Self> {
        // `--foreign NAME` alone means that rule and nothing of ours.
        let ours = !args.platforms.is_empty() || args.foreign.is_empty();
        let everything = args.platforms.is_empty();
        let headers: Vec<(&'static Platform, Vec<u8>)> = match everything {
            true => crate::platform::PLATFORMS.iter().collect::<Vec<_>>(),
            false => asked.to_vec(),
        }
        .into_iter()
        .flat_map(|platform| {
            platform
                .targets()
                .map(move |target| (platform, Probe::of(target).image()))
        })
        .collect();
        let is_asked = |matches: &dyn Fn(&[u8]) -> bool| {
            everything || headers.iter().any(|(_, header)| matches(header))
        };
        let mut entries: Vec<Entry> = survey
            .entries
            .iter()
            .filter(|entry| ours && survey.is_ours(entry))
            .filter(|entry| is_asked(&|header| entry.matches(header)))
            .cloned()
            .collect();
        entries.extend(foreign(survey, &args.foreign)?);
        let remaining: Vec<Rule> = survey
            .desired
            .iter()
            .filter(|rule| !ours || !is_asked(&|header| rule.pattern.matches(header)))
            .cloned()
            .collect();
        let mut platforms: Vec<&'static Platform> = headers
            .iter()
            .filter(|(_, header)| entries.iter().any(|entry| entry.matches(header)))
            .map(|(platform, _)| *platform)
            .collect();
        platforms.dedup();
        Ok(Self {
            changes_conf: remaining.len() != survey.desired.len(),
            service: (ours && remaining.is_empty())
                .then(|| service(context).filter(Service::is_left))
                .flatten(),
            entries,
            remaining,
            platforms,
        })
    }

    /// Whether there is nothing to take back: no rule, no line, no file.
    fn is_empty(&self, context: &Context, args: &Uninstall, survey: &Survey<'_>) -> Result<bool> {
        let litter = match context.store.litter(&survey.used_emulators()) {
            // Who may only look may not see the whole store.
            Err(error) if args.dry_run && error.status() == Status::Permission => Vec::new(),
            litter => litter?,
        };
        let is_kept = !self.changes_conf && self.service.is_none();
        Ok(self.entries.is_empty() && is_kept && litter.is_empty())
    }

    fn describe(&self, survey: &Survey<'_>, args: &Uninstall, changed: bool) -> Document {
        let mut document = survey.document(None);
        for report in document.platforms.iter_mut().flatten() {
            let loses = self
                .platforms
                .iter()
                .any(|platform| platform.name == report.platform);
            report.action = loses.then_some(Action::Removed);
        }
        document.dry_run = args.dry_run;
        document.changed = Some(changed);
        document
    }
}

/// Somebody else's rules, each by its exact name.
fn foreign(survey: &Survey<'_>, names: &[String]) -> Result<Vec<Entry>> {
    names
        .iter()
        .map(|name| {
            let refuse = |why: &str, hint: &str| {
                Error::new(
                    Status::Usage,
                    format!("cannot remove the rule {name}: {why}"),
                )
                .hint(hint)
            };
            if is_wsls(name) {
                return Err(refuse(
                    "it belongs to WSL, which needs it",
                    "there is no flag for it",
                ));
            }
            let entry = survey.entries.iter().find(|entry| entry.name == *name);
            match entry {
                None => Err(refuse(
                    "there is no rule of that name",
                    "`binfmtctl status` names the rules",
                )),
                Some(entry) if !entry.has_exact_name() => Err(refuse(
                    "its name isn't plain text",
                    "write -1 to its file in binfmt_misc's directory yourself",
                )),
                Some(entry) if survey.is_ours(entry) => Err(refuse(
                    "it is binfmtctl's own",
                    "name its platform instead: binfmtctl uninstall PLATFORM",
                )),
                Some(entry) => Ok(entry.clone()),
            }
        })
        .collect()
}
