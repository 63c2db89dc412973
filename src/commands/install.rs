//! `install`: request -> plan -> fetch -> verify -> decode -> verify -> store
//! -> mount -> guard -> register -> prove -> persist -> report.
//!
//! A platform that worked before works at every instant of this. What needs
//! no change isn't touched; where nothing does, nothing is written anywhere.

pub(super) mod checks;
mod dry_run;
mod fetch;
pub mod in_place;
pub(super) mod plan;
pub(super) mod register;
pub(super) mod service;
mod shelf;
pub(super) mod warnings;

use std::path::{Path, PathBuf};

use checks::{check_lines, require_null};
use dry_run::Rehearsal;
use plan::{Plan, Stored};
use register::Registrar;

use super::{Context, Reply, load_manifest, parse_platforms};
use crate::binfmt::{Rule, conf};
use crate::cli::Install;
use crate::concurrent;
use crate::crash::{self, Point};
use crate::durable;
use crate::emulator::label;
use crate::emulator::manifest::{Manifest, Release};
use crate::emulator::source::Choice;
use crate::error::{Error, Result, Status};
use crate::platform::{Platform, Request, TARGETS};
use crate::probe::Probe;
use crate::report::Action;
use crate::report::survey::Survey;
use crate::rights::{REGISTERING, keep_only};

/// How often to plan anew where somebody else's rules go meanwhile.
pub(super) const LOOKS: usize = 4;

/// Makes the platforms run, or says which don't and why.
pub fn run(context: &Context, args: &Install) -> Result<Reply> {
    let manifest = load_manifest(args.fetch.manifest.manifest.as_deref())?;
    let request = parse_platforms(&args.platforms)?;
    let source = args.fetch.source.parse()?;
    let pinned = manifest.release(context.host.architecture()?, args.fetch.qemu.as_deref())?;
    let run = Run {
        context,
        args,
        manifest: &manifest,
        request: &request,
    };

    // What can't be shown isn't there yet.
    let _ = context.show();
    context.store.require_custody()?;
    let survey = run.survey()?;
    check_lines(context, &survey.desired)?;
    if args.dry_run {
        return run.dry_run(&survey, pinned, &source);
    }
    let plan = run.plan(&survey, pinned);
    if run.is_done(&survey, &plan)? {
        context
            .console
            .note("everything is in place; nothing was changed");
        return Ok(run.reply(&survey, &plan, Changes::default()));
    }

    context.require_rights()?;
    require_null()?;
    crash::at(Point::Planned);
    let lock = context.store.lock()?;
    // Another run may have come between the look and the lock.
    let mut before = run.survey()?;
    let (mut any, mut looks) = (false, LOOKS);
    let (done, after) = loop {
        let plan = run.plan(&before, pinned);
        let done = run.carry_out(&before, &plan, pinned, &source);
        let after = run.survey()?;
        match done {
            Ok((plan, changes)) if looks > 1 && plan.is_overtaken(&after) => {
                looks -= 1;
                any |= changes.any;
                before = after;
            }
            done => break (done, after),
        }
    };
    // Whatever came of it: what nothing names any more goes.
    let swept = context.store.sweep(&lock, &after.used_emulators());
    let swept = swept.and_then(|swept| context.store.unlock(lock).map(|()| swept));
    // What went wrong first is what has to be mended.
    let (plan, mut changes) = done?;
    changes.any |= any | swept?;
    crash::at(Point::Done);
    Ok(run.reply(&after, &plan, changes))
}

/// One run of `install`.
struct Run<'a> {
    context: &'a Context,
    args: &'a Install,
    manifest: &'a Manifest,
    request: &'a Request,
}

/// What a run did.
#[derive(Default)]
struct Changes {
    /// Platforms that couldn't be made to run, and why.
    failures: Vec<(&'static Platform, Error)>,
    /// Why the rules won't come back at boot.
    not_kept: Option<Error>,
    /// Whether anything was written, or would be.
    any: bool,
    /// What a dry run saw instead.
    rehearsal: Option<Rehearsal>,
}

impl Changes {
    fn failed(&self, platform: &Platform) -> bool {
        self.failures.iter().any(|(failed, _)| *failed == platform)
    }
}

impl Run<'_> {
    fn survey(&self) -> Result<Survey<'_>> {
        Survey::take(self.context.scope(self.manifest), &self.request.platforms())
    }

    fn plan(&self, survey: &Survey<'_>, release: &Release) -> Plan {
        Plan::new(&self.terms(release), self.request, survey)
    }

    fn terms<'a>(&'a self, release: &'a Release) -> Stored<'a> {
        Stored {
            context: self.context,
            args: self.args,
            release,
        }
    }

    fn persists(&self) -> bool {
        persists(self.context, self.args)
    }

    /// Whether there is nothing to do, nor to clear up.
    fn is_done(&self, survey: &Survey<'_>, plan: &Plan) -> Result<bool> {
        let litter = self.litter(&survey.used_emulators())?;
        let has_rules = !lasting(survey, &plan.rules_in_place()).is_empty();
        let is_kept = !has_rules || self.pending_service().is_none();
        let is_tidy = litter.is_empty() && !(self.persists() && self.has_conf_litter());
        Ok(plan.is_done(survey, !self.persists()) && is_tidy && is_kept)
    }

    /// Whether a killed run has left something beside the conf file.
    fn has_conf_litter(&self) -> bool {
        conf::has_litter(&self.context.conf)
    }

    /// Files of the store that aren't in `used`; none where this user, who may
    /// only rehearse, can't see any.
    fn litter(&self, used: &[PathBuf]) -> Result<Vec<PathBuf>> {
        match self.context.store.litter(used) {
            Err(error) if self.args.dry_run && error.status() == Status::Permission => {
                Ok(Vec::new())
            }
            litter => litter,
        }
    }

    /// The part that changes something, under the store's lock.
    fn carry_out(
        &self,
        survey: &Survey<'_>,
        plan: &Plan,
        pinned: &Release,
        source: &Choice,
    ) -> Result<(Plan, Changes)> {
        let release = self.fetch(&self.context.store, survey, plan, pinned, source)?;
        // What a killed run has named was there already, maybe not to stay.
        let emulators = plan.work().filter_map(|step| step.emulator.as_deref());
        emulators
            .filter(|emulator| emulator.exists())
            .try_for_each(durable::settle)?;
        crash::at(Point::Fetched);
        if plan.work().next().is_some() {
            self.label();
            crash::at(Point::Labelled);
        }
        // From here on an existing instance is visible, and so are its rules.
        let instance = self.context.instance()?;
        crash::at(Point::Mounted);
        keep_only(&REGISTERING)?;
        let lock = instance.lock()?;
        crash::at(Point::RulesLocked);
        let survey = self.survey()?;
        let plan = self.plan(&survey, &release);
        let mut emulators = plan.work().filter_map(|step| step.emulator.as_deref());
        let is_missing = emulators.any(|emulator| !emulator.exists());
        drop(emulators);
        if is_missing {
            // What ran a platform when it was planned has gone since.
            drop(lock);
            return self.carry_out(&survey, &plan, pinned, source);
        }
        let mut changes = Changes::default();
        let terms = self.terms(&release);
        let registrar = Registrar::new(self.context, &instance, &lock, &survey, &terms);
        let mut registered = plan.rules_in_place();
        let steps: Vec<_> = plan.work().collect();
        let done = concurrent::map(&steps, self.context.jobs, |step| registrar.carry_out(step));
        for (step, done) in steps.iter().zip(done) {
            match done {
                Ok(rules) => {
                    changes.any = true;
                    registered.extend(rules);
                }
                Err(error) => changes.failures.push((step.platform, error)),
            }
        }
        // While the lock is held: the kernel and the file are never out of step
        // for whoever gets it next.
        if self.persists() {
            match self.persist(&lasting(&survey, &registered)) {
                Ok(changed) => changes.any |= changed,
                Err(error) => changes.not_kept = Some(not_kept(error)),
            }
        }
        drop(lock);
        crash::at(Point::RulesUnlocked);
        Ok((plan, changes))
    }

    /// Lets containers execute what was stored. Without that the host's own
    /// programs still run.
    fn label(&self) {
        if let Err(error) = label::restore(&self.context.store) {
            let (why, console) = (error.reason(), &self.context.console);
            console.note(&format!(
                "warning: {why}; containers may not be allowed to use the emulators, which `binfmtctl doctor` tells"
            ));
        }
    }

    /// Makes it last: the file, and what applies it.
    fn persist(&self, rules: &[Rule]) -> Result<bool> {
        let conf = &self.context.conf;
        let changed = conf::write(conf, rules)?;
        let Some(service) = self.pending_service().filter(|_| !rules.is_empty()) else {
            return Ok(changed);
        };
        let done = service.set_up();
        if done.is_ok() {
            self.context.console.note(&service.told(conf));
        }
        Ok(service.judge(self.context, done)? || changed)
    }

    fn reply(&self, survey: &Survey<'_>, plan: &Plan, changes: Changes) -> Reply {
        let asked = self.request.platforms();
        let mut document = survey.document(Some(&asked));
        document.dry_run = self.args.dry_run;
        document.changed = Some(changes.any);
        for report in document.platforms.iter_mut().flatten() {
            let step = plan
                .steps
                .iter()
                .find(|step| step.platform.name == report.platform);
            report.action = step.and_then(|step| match changes.failed(step.platform) {
                true => Some(Action::Failed),
                false => step.action,
            });
        }
        match &changes.rehearsal {
            Some(rehearsal) => rehearsal.report(&mut document),
            None if self.args.dry_run => {}
            None => self.warn(survey, &document),
        }
        Reply {
            failure: self.failure(survey, plan, changes),
            document: Some(document),
            text: None,
        }
    }

    /// The asked state doesn't hold: why.
    fn failure(&self, survey: &Survey<'_>, plan: &Plan, changes: Changes) -> Option<Error> {
        for (platform, error) in &changes.failures {
            self.context
                .console
                .note(&format!("{}: {}", platform.name, error.reason()));
        }
        let failures = changes.failures.into_iter();
        let failures =
            failures.map(|(platform, error)| (platform.name.to_owned(), with_advice(error)));
        match sum_up(failures.collect()) {
            Some(error) => Some(error),
            None if changes.not_kept.is_some() => changes.not_kept,
            None if self.args.dry_run => None,
            None => plan
                .steps
                .iter()
                .filter(|step| step.action.is_some())
                .find(|step| !survey.runs(step.platform))
                .map(|step| {
                    Error::new(
                        Status::Failed,
                        format!("{} was set up, but doesn't run", step.platform.name),
                    )
                    .hint(format!(
                        "`binfmtctl status {}` says why",
                        step.platform.name
                    ))
                }),
        }
    }
}

/// Whether a file is to bring the rules back. In a container nobody reads it,
/// unless somebody has put the directory there.
fn persists(context: &Context, args: &Install) -> bool {
    let is_read = || context.conf.parent().is_some_and(Path::is_dir);
    let is_host = context.from_container || context.host.sees_boot();
    !args.no_persist && (is_host || is_read())
}

/// One failure for all: the first one, and how many more there are.
pub(super) fn sum_up(mut failures: Vec<(String, Error)>) -> Option<Error> {
    let (name, error) = (!failures.is_empty()).then(|| failures.swap_remove(0))?;
    let more = match failures.len() {
        0 => return Some(error),
        more => Error::new(
            error.status(),
            format!("{name} and {more} more platforms can't run"),
        )
        .because(error.reason()),
    };
    Some(match error.advice() {
        Some(hint) => more.hint(hint),
        None => more,
    })
}

/// Of an emulator that doesn't do it, and nobody knows why, what may help.
fn with_advice(error: Error) -> Error {
    match (error.status(), error.advice()) {
        (Status::Failed, None) => {
            error.hint("another QEMU may do: `binfmtctl manifest show` lists those for --qemu")
        }
        _ => error,
    }
}

/// Whether only the half runs that container engines take for the whole.
fn arm_is_missing(survey: &Survey<'_>) -> bool {
    let runs =
        |emulator| Platform::by_emulator(emulator).is_some_and(|platform| survey.runs(platform));
    runs("aarch64") && !runs("arm")
}

/// What the file says that brings the rules back at boot: ours of this run,
/// and the lines for what this run wasn't about.
fn lasting(survey: &Survey<'_>, registered: &[Rule]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for target in &TARGETS {
        let header = Probe::of(target).image();
        let of_target = |rule: &&Rule| rule.pattern.matches(&header);
        let rule = registered.iter().find(of_target);
        rules.extend(
            rule.or_else(|| survey.desired.iter().find(of_target))
                .cloned(),
        );
    }
    rules
}

fn not_kept(error: Error) -> Error {
    error.hint("the platforms run until the next reboot; make that place writable, name another with --conf, or say --no-persist")
}
