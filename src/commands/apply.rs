//! `apply`: file -> plan -> guard -> register -> prove -> report, offline: what
//! a boot runs.
//!
//! The conf file says what is wanted, and the store has the emulators. Nothing
//! is fetched, and where the kernel has it all already, nothing is written, and
//! no emulator read to which nobody has written. What is registered anew is
//! compared with its digest first. A file that others than root could have
//! written says nothing.
//! What can't be done for one line doesn't keep the others from being done.

use std::path::PathBuf;

use super::install::LOOKS;
use super::install::checks::{host_guard, require_null};
use super::install::plan::{Plan, Terms};
use super::install::register::Registrar;
use super::install::sum_up;
use super::install::warnings::lifetime;
use super::{Context, Reply};
use crate::binfmt::{Entry, Flags, Rule, conf};
use crate::concurrent;
use crate::crash::{self, Point};
use crate::error::{Error, Result, Status};
use crate::platform::{Platform, Request, TARGETS, Target};
use crate::probe::{Probe, Runner};
use crate::report::survey::{Scope, Survey};
use crate::report::{Action, Document};
use crate::rights::{REGISTERING, keep_only};

/// Brings the kernel to what the file says: adds what is missing or wrong,
/// removes nothing else.
pub fn run(context: &Context) -> Result<Reply> {
    // What can't be shown isn't there yet.
    let _ = context.show();
    let (written, failures) = Written::read(context)?;
    let request = written.request();
    let survey = take(context, &request)?;
    let plan = Plan::new(&written, &request, &survey);
    if plan.work().next().is_none() {
        if written.rules.is_empty() && failures.is_empty() {
            let conf = context.conf.display();
            let text = format!("{conf} names no rules; nothing to apply");
            context.console.note(&text);
        } else if failures.is_empty() {
            let text = "everything is in place; nothing was changed";
            context.console.note(text);
        }
        return Ok(reply(context, &request, &survey, &plan, failures, false));
    }

    context.could_change()?;
    require_null()?;
    crash::at(Point::Planned);
    let instance = context.instance()?;
    crash::at(Point::Mounted);
    keep_only(&REGISTERING)?;
    let lock = context.lock(&instance)?;
    crash::at(Point::RulesLocked);
    // Another run may have come before the lock, with another file in the end,
    // and an instance to light.
    let (written, mut failures) = Written::read(context)?;
    let request = written.request();
    let mut changed = false;
    let mut before = take(context, &request)?;
    let mut looks = LOOKS;
    let (plan, after) = loop {
        let plan = Plan::new(&written, &request, &before);
        let registrar = Registrar::new(context, &instance, &lock, &before, &written);
        let steps: Vec<_> = plan.work().collect();
        let done = concurrent::map(&steps, context.jobs, |step| {
            written.require_there(step.platform)?;
            let done = registrar.carry_out(step);
            done.map_err(|error| with_remedy(step.platform, error))
        });
        let mut failed = Failures::new();
        for (step, done) in steps.iter().zip(done) {
            match done {
                Ok(_) => changed = true,
                Err(error) => failed.push((step.platform.name.to_owned(), error)),
            }
        }
        // While the lock is held: what another run takes away next isn't this one's.
        let after = take(context, &request)?;
        if looks == 1 || !plan.is_overtaken(&after) {
            failures.append(&mut failed);
            break (plan, after);
        }
        looks -= 1;
        before = after;
    };
    drop(lock);
    crash::at(Point::RulesUnlocked);
    Ok(reply(context, &request, &after, &plan, failures, changed))
}

/// Of bytes that aren't the right ones, how to get those.
fn with_remedy(platform: &Platform, error: Error) -> Error {
    if error.status() != Status::Integrity {
        return error;
    }
    let name = platform.name.trim_start_matches("linux/");
    Error::new(error.status(), format!("cannot apply {}", platform.name))
        .because(error.reason())
        .hint(format!("`binfmtctl install {name}` gets it again"))
}

fn take<'a>(context: &'a Context, request: &Request) -> Result<Survey<'a>> {
    let scope = Scope {
        everything: false,
        ..context.scope(None)
    };
    Survey::take(scope, &request.platforms())
}

/// Each with the name of what it is about.
type Failures = Vec<(String, Error)>;

/// The file's rules, as terms of a plan.
struct Written {
    rules: Vec<(&'static Target, Rule)>,
}

impl Written {
    /// The rules that can be applied, and why others can't.
    fn read(context: &Context) -> Result<(Self, Failures)> {
        let mut rules: Vec<(&'static Target, Rule)> = Vec::new();
        let mut failures = Failures::new();
        let guard = host_guard(&context.host);
        for rule in conf::read_own(&context.conf)? {
            let what = format!(
                "cannot apply the rule {} of {}",
                rule.name,
                context.conf.display()
            );
            if let Err(refusal) = guard.check(&rule) {
                let error = Error::new(Status::Invalid, what)
                    .because(refusal)
                    .hint("remove that line before the next boot, which would apply it");
                failures.push((rule.name, error));
                continue;
            }
            let target = TARGETS
                .iter()
                .find(|target| rule.pattern.matches(&Probe::of(target).image()));
            let why = match target {
                None => "it matches the programs of no platform".to_owned(),
                Some(target) if context.store.owns(&rule.interpreter) => {
                    // As systemd-binfmt has it: the last one is the newest.
                    rules.retain(|(known, _)| known.name != target.name);
                    rules.push((target, rule));
                    continue;
                }
                Some(_) => format!(
                    "{} isn't in the store {}",
                    rule.interpreter,
                    context.store.prefix().display()
                ),
            };
            let error = Error::new(Status::Invalid, what)
                .because(why)
                .hint("name the store with --prefix or BINFMTCTL_PREFIX, or remove the line");
            failures.push((rule.name, error));
        }
        Ok((Self { rules }, failures))
    }

    fn request(&self) -> Request {
        let mut platforms: Vec<&'static Platform> = Vec::new();
        for (target, _) in &self.rules {
            if !platforms.contains(&target.platform()) {
                platforms.push(target.platform());
            }
        }
        Request::Named(platforms)
    }

    fn of_platform(&self, platform: &Platform) -> Option<&Rule> {
        let mut rules = self.rules.iter();
        let found = rules.find(|(target, _)| target.platform() == platform);
        found.map(|(_, rule)| rule)
    }

    /// Refuses an emulator that is missing.
    fn require_there(&self, platform: &Platform) -> Result<()> {
        let Some(path) = self
            .of_platform(platform)
            .map(|rule| PathBuf::from(&rule.interpreter))
        else {
            return Ok(());
        };
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        let what = format!(
            "cannot apply {}: {} is missing",
            platform.name,
            path.display()
        );
        let name = platform.name.trim_start_matches("linux/");
        Err(Error::new(Status::Failed, what)
            .hint(format!("`binfmtctl install {name}` gets it again")))
    }
}

impl Terms for Written {
    fn emulator(&self, platform: &'static Platform) -> Option<(PathBuf, Flags)> {
        let rule = self.of_platform(platform)?;
        Some((PathBuf::from(&rule.interpreter), rule.flags))
    }

    fn given(&self, target: &Target) -> Option<String> {
        let mut rules = self.rules.iter();
        let found = rules.find(|(of, _)| of.name == target.name);
        found.map(|(_, rule)| rule.name.clone())
    }

    fn keeps(&self, survey: &Survey<'_>, entry: &Entry) -> bool {
        !survey.is_ours(entry)
    }

    fn displaces(&self, survey: &Survey<'_>, entry: &Entry, _platform: &Platform) -> bool {
        survey.is_ours(entry)
    }

    fn is_current(&self, survey: &Survey<'_>, runner: &Runner, _interpreter: &str) -> bool {
        survey.runs_promised_bytes(runner)
    }

    fn remedy(&self) -> &'static str {
        "`binfmtctl install` gets another and writes the file anew"
    }
}

fn reply(
    context: &Context,
    request: &Request,
    survey: &Survey<'_>,
    plan: &Plan,
    mut failures: Failures,
    changed: bool,
) -> Reply {
    let mut document: Document = survey.document(Some(&request.platforms()));
    document.changed = Some(changed);
    for report in document.platforms.iter_mut().flatten() {
        let step = plan
            .steps
            .iter()
            .find(|step| step.platform.name == report.platform);
        let failed = failures.iter().any(|(name, _)| name == report.platform);
        report.action = match failed {
            true => Some(Action::Failed),
            false => step.and_then(|step| step.action),
        };
    }
    let stopped = request
        .platforms()
        .into_iter()
        .filter(|platform| !survey.runs(platform));
    for platform in stopped {
        if !failures.iter().any(|(name, _)| name == platform.name) {
            let what = format!("{} was set up, but doesn't run", platform.name);
            let hint = format!("`binfmtctl status {}` says why", platform.name);
            failures.push((
                platform.name.to_owned(),
                Error::new(Status::Failed, what).hint(hint),
            ));
        }
    }
    for (name, error) in &failures {
        context.console.note(&format!("{name}: {}", error.reason()));
    }
    if let (true, Some(host)) = (changed, &document.host) {
        if let Some(text) = lifetime(host, context.lifetime.get().copied()) {
            context.console.note(text);
        }
    }
    Reply {
        document: Some(document),
        failure: sum_up(failures),
        text: None,
    }
}
