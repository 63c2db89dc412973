//! `install`: request -> plan -> fetch -> verify -> decode -> verify -> store
//! -> mount -> guard -> register -> prove -> persist -> report.
//!
//! A platform that worked before works at every instant of this. What needs
//! no change isn't touched; where nothing does, nothing is written anywhere.

pub mod aftermath;
mod checks;
mod dry_run;
mod fetch;
mod plan;
mod shelf;

use std::path::{Path, PathBuf};

use checks::{check_emulator, check_rule, guard, require_null};
use dry_run::Rehearsal;
use plan::{Plan, Step};

use super::{Context, Reply, load_manifest, parse_platforms};
use crate::binfmt::instance::Lock;
use crate::binfmt::switch::{Wanted, switch};
use crate::binfmt::{Guard, Instance, Rule, conf};
use crate::cli::Install;
use crate::emulator::manifest::{Manifest, Release};
use crate::emulator::source::Choice;
use crate::error::{Error, Result, Status};
use crate::host::Init;
use crate::platform::{Platform, Request, TARGETS};
use crate::probe::{self, Probe};
use crate::report::Action;
use crate::report::survey::Survey;

/// Makes the platforms run, or says which don't and why.
pub fn run(context: &Context, args: &Install) -> Result<Reply> {
    let manifest = load_manifest(args.manifest.manifest.as_deref())?;
    let request = parse_platforms(&args.platforms)?;
    let source = args.source.parse()?;
    let pinned = manifest.release(context.host.architecture()?, args.qemu.as_deref())?;
    let run = Run {
        context,
        args,
        manifest: &manifest,
        request: &request,
    };

    let survey = run.survey()?;
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
    let lock = context.store.lock()?;
    // Another run may have come between the look and the lock.
    let survey = run.survey()?;
    let plan = run.plan(&survey, pinned);
    let done = run.carry_out(&survey, &plan, pinned, &source);
    // Whatever came of it: what nothing names any more goes.
    let after = run.survey()?;
    let swept = context.store.sweep(&lock, &after.used_emulators());
    let swept = swept.and_then(|swept| context.store.unlock(lock).map(|()| swept));
    // What went wrong first is what has to be mended.
    let (plan, mut changes) = done?;
    changes.any |= swept?;
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
        Plan::new(self.context, self.args, self.request, release, survey)
    }

    /// Whether there is nothing to do, nor to clear up.
    fn is_done(&self, survey: &Survey<'_>, plan: &Plan) -> Result<bool> {
        let litter = self.litter(&survey.used_emulators())?;
        Ok(plan.is_done(survey, self.args.no_persist) && litter.is_empty())
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
        // From here on an existing instance is visible, and so are its rules.
        let instance = self.context.instance()?;
        let lock = instance.lock()?;
        let survey = self.survey()?;
        let plan = self.plan(&survey, &release);
        let mut changes = Changes::default();
        let guard = guard(&survey);
        let mut registered = plan.rules_in_place();
        for step in plan.work() {
            let rules = self
                .try_out(step)
                .and_then(|()| self.register(&instance, &lock, &guard, &survey, step));
            match rules {
                Ok(rules) => {
                    changes.any = true;
                    registered.extend(rules);
                }
                Err(error) => changes.failures.push((step.platform, error)),
            }
        }
        drop(lock);
        if !self.args.no_persist {
            match conf::write(&self.context.conf, &lasting(&survey, &registered)) {
                Ok(changed) => changes.any |= changed,
                Err(error) => changes.not_kept = Some(not_kept(error)),
            }
        }
        Ok((plan, changes))
    }

    /// Refuses an emulator that couldn't work in an empty root, before any
    /// program depends on it: it has to be static, for this host, and to run
    /// each probe when it is started by hand.
    fn try_out(&self, step: &Step) -> Result<()> {
        let path = self.emulator(step)?;
        check_emulator(step, path, path, self.context.host.platform)?;
        step.wanted
            .iter()
            .try_for_each(|wanted| probe::prove_emulator(path, wanted.target))
    }

    /// Where the step's emulator lies, once it is there.
    fn emulator<'s>(&self, step: &'s Step) -> Result<&'s Path> {
        step.emulator.as_deref().ok_or_else(|| {
            Error::new(
                Status::Unsupported,
                format!(
                    "cannot install {}: this QEMU has no emulator of it for {} hosts",
                    step.platform.name, self.context.host.platform.name
                ),
            )
            .hint("`binfmtctl manifest show --json` lists what there is")
        })
    }

    fn register(
        &self,
        instance: &Instance,
        lock: &Lock,
        guard: &Guard,
        survey: &Survey<'_>,
        step: &Step,
    ) -> Result<Vec<Rule>> {
        let register = |wanted: &Wanted| {
            check_rule(guard, &wanted.named(wanted.target.name), step.platform)?;
            let displaced = plan::displaced(survey, wanted, self.args.replace);
            let prove = || probe::prove_rule(wanted.interpreter.as_ref(), wanted.target);
            let rule = switch(instance, lock, wanted, &displaced, &prove)?;
            self.context.console.detail(&format!(
                "registered {} for {}",
                rule.name, rule.interpreter
            ));
            Ok(rule)
        };
        step.wanted.iter().map(register).collect()
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
        let mut failures = changes.failures;
        let first = (!failures.is_empty()).then(|| failures.swap_remove(0));
        match (first, failures.len()) {
            (Some((_, error)), 0) => Some(error),
            (Some((platform, error)), more) => Some(
                Error::new(
                    error.status(),
                    format!("{} and {more} more platforms can't run", platform.name),
                )
                .because(error.reason()),
            ),
            (None, _) if changes.not_kept.is_some() => changes.not_kept,
            (None, _) if self.args.dry_run => None,
            (None, _) => plan
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

    /// Says plainly what doesn't last, and what engines will misunderstand.
    fn warn(&self, survey: &Survey<'_>, document: &crate::report::Document) {
        let note = |text: &str| self.context.console.note(text);
        let (Some(host), Some(platforms)) = (&document.host, &document.platforms) else {
            return;
        };
        let ours = || {
            platforms
                .iter()
                .filter(|p| p.owner == Some(crate::report::Owner::Binfmtctl))
        };
        if host.instance == "userns" && ours().next().is_some() {
            note("these rules are this user namespace's own, and go when it goes");
        } else if host.held == Some(false) && ours().next().is_some() {
            note(
                "warning: PID 1 doesn't have binfmt_misc mounted, so these rules go when this mount goes",
            );
        } else if host.held.is_none() && ours().next().is_some() {
            note(
                "warning: can't see whether the host's PID 1 has binfmt_misc mounted; if it hasn't, these rules go when this mount goes",
            );
        }
        if host.instance == "host" && !self.args.no_persist && ours().any(|p| !p.persistent) {
            note(&match self.context.host.init {
                Init::Systemd => {
                    "warning: not all of these rules come back at boot; `binfmtctl doctor` says why"
                        .to_owned()
                }
                _ => format!(
                    "warning: nothing on this host applies {} at boot (init system: {}); after a reboot run `binfmtctl install` again",
                    self.context.conf.display(),
                    host.init
                ),
            });
        }
        let runs = |emulator| {
            Platform::by_emulator(emulator).is_some_and(|platform| survey.runs(platform))
        };
        if runs("aarch64") && !runs("arm") {
            note(
                "warning: linux/arm64 runs and linux/arm doesn't, but container engines take one for the other; `binfmtctl install arm` mends it",
            );
        }
    }
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
