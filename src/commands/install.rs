//! `install`: request -> plan -> fetch -> verify -> decode -> verify -> store
//! -> mount -> guard -> register -> prove -> persist -> report.
//!
//! A platform that worked before works at every instant of this. What needs
//! no change isn't touched; where nothing does, nothing is written anywhere.

mod plan;

use std::fs::File;
use std::io::Read;

use plan::{Plan, Step};

use super::{Context, Reply, load_manifest, parse_platforms};
use crate::binfmt::instance::Lock;
use crate::binfmt::switch::{Wanted, switch};
use crate::binfmt::{Guard, Instance, Rule, conf};
use crate::cli::Install;
use crate::emulator::lock::lock as pin;
use crate::emulator::manifest::{Emulator, Manifest, Release};
use crate::emulator::source::{Apt, Choice, Source, candidates};
use crate::emulator::{elf, obtain};
use crate::error::{Error, IoContext, Result, Status};
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
    let plan = run.plan(&survey, pinned);
    if args.dry_run {
        plan.describe(context, pinned);
        return Ok(run.reply(&survey, &plan, Changes::planned(&plan)));
    }
    let litter = context.store.litter(&survey.used_emulators())?;
    if plan.is_done(&survey, args.no_persist) && litter.is_empty() {
        context
            .console
            .note("everything is in place; nothing was changed");
        return Ok(run.reply(&survey, &plan, Changes::default()));
    }

    context.require_rights()?;
    let lock = context.store.lock()?;
    // Another run may have come between the look and the lock.
    let survey = run.survey()?;
    let plan = run.plan(&survey, pinned);
    let done = run.carry_out(&survey, &plan, pinned, &source);
    // Whatever came of it: what nothing names any more goes.
    let after = run.survey()?;
    let swept = context.store.sweep(&lock, &after.used_emulators());
    let swept = swept.and_then(|_| context.store.unlock(lock));
    // What went wrong first is what has to be mended.
    let (plan, changes) = done?;
    swept?;
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
}

impl Changes {
    fn planned(plan: &Plan) -> Self {
        Self {
            any: plan.work().next().is_some(),
            ..Self::default()
        }
    }

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

    /// The part that changes something, under the store's lock.
    fn carry_out(
        &self,
        survey: &Survey<'_>,
        plan: &Plan,
        pinned: &Release,
        source: &Choice,
    ) -> Result<(Plan, Changes)> {
        let release = self.fetch(survey, plan, pinned, source)?;
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
            match self.persist(&survey, registered) {
                Ok(changed) => changes.any |= changed,
                Err(error) => {
                    changes.not_kept = Some(error.hint("the platforms run until the next reboot; make that place writable, name another with --conf, or say --no-persist"));
                }
            }
        }
        Ok((plan, changes))
    }

    /// Brings the planned emulators into the store, and says of which release
    /// they are: the pinned one, unless it can't be had.
    fn fetch(
        &self,
        survey: &Survey<'_>,
        plan: &Plan,
        pinned: &Release,
        source: &Choice,
    ) -> Result<Release> {
        let failed = match source {
            Choice::Distro => None,
            source => {
                let sources = candidates(source, pinned, self.args.mirror.as_deref())?;
                match self.obtain(plan, pinned, &sources) {
                    Ok(()) => return Ok(pinned.clone()),
                    Err(error) if *source == Choice::Auto && is_the_sources(&error) => Some(error),
                    Err(error) => return Err(error),
                }
            }
        };
        self.fetch_from_distribution(survey)
            .map_err(|error| match failed {
                None => error,
                Some(failed) => {
                    let distribution = error.reason();
                    self.context
                        .console
                        .note(&format!("the distribution's own QEMU: {distribution}"));
                    failed.hint(
                        "carry the package in with --source FILE, or name a reachable --mirror",
                    )
                }
            })
    }

    /// The last resort: the distribution's own QEMU, whose digest comes from
    /// the index that apt has verified with the distribution's keys.
    fn fetch_from_distribution(&self, survey: &Survey<'_>) -> Result<Release> {
        let dir = tempfile::tempdir().attempt(|| "cannot make a temporary directory".to_owned())?;
        let architecture = self.context.host.architecture()?;
        let apt = Apt::pinned();
        let mut last = None;
        for package in apt.distro_candidates(architecture, dir.path()) {
            let taken = package.and_then(|package| {
                let release = pin(&package.path, Vec::new(), None)?;
                let file = Choice::Path(package.path.clone());
                let plan = self.plan(survey, &release);
                self.obtain(&plan, &release, &candidates(&file, &release, None)?)?;
                self.context.console.note(&format!(
                    "NOT the pinned QEMU: using the distribution's {} {} (QEMU {}), verified with its own keys",
                    package.package, package.version, release.qemu
                ));
                Ok(release)
            });
            match taken {
                Ok(release) => return Ok(release),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            Error::new(
                Status::Unreachable,
                "the distribution has no package of static QEMU emulators",
            )
        }))
    }

    fn obtain(&self, plan: &Plan, release: &Release, sources: &[Box<dyn Source>]) -> Result<()> {
        let emulators: Vec<&Emulator> = plan
            .work()
            .filter_map(|step| release.emulator(step.platform.emulator))
            .collect();
        let observe = |event: obtain::Event<'_>| self.context.console.progress(event);
        obtain::obtain(&self.context.store, release, &emulators, sources, &observe)
    }

    /// Refuses an emulator that couldn't work in an empty root, before any
    /// program depends on it: it has to be static, for this host, and to run
    /// each probe when it is started by hand.
    fn try_out(&self, step: &Step) -> Result<()> {
        let Some(path) = &step.emulator else {
            return Err(Error::new(
                Status::Unsupported,
                format!(
                    "cannot install {}: this QEMU has no emulator of it for {} hosts",
                    step.platform.name, self.context.host.platform.name
                ),
            )
            .hint("`binfmtctl manifest show --json` lists what there is"));
        };
        let mut head = Vec::new();
        File::open(path)
            .and_then(|file| file.take(elf::HEAD as u64).read_to_end(&mut head))
            .attempt(|| format!("cannot read {}", path.display()))?;
        elf::check(&head, self.context.host.platform).map_err(|unfit| {
            Error::new(
                Status::Unsupported,
                format!("cannot use {} for {}", path.display(), step.platform.name),
            )
            .because(unfit)
            .hint("pin a package of static emulators for this host with `binfmtctl manifest lock`")
        })?;
        step.wanted
            .iter()
            .try_for_each(|wanted| probe::prove_emulator(path, wanted.target))
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
            guard
                .check(&wanted.named(wanted.target.name))
                .map_err(|refusal| {
                    Error::new(
                        Status::Unsupported,
                        format!("refused to register {}", step.platform.name),
                    )
                    .because(refusal)
                })?;
            let displaced = plan::displaced(survey, wanted, self.args.replace);
            let rule = switch(instance, lock, wanted, &displaced, &|| prove(wanted))?;
            self.context.console.detail(&format!(
                "registered {} for {}",
                rule.name, rule.interpreter
            ));
            Ok(rule)
        };
        step.wanted.iter().map(register).collect()
    }

    /// Writes the file that brings the rules back at boot: ours of this run,
    /// and the lines for what this run wasn't about. Returns whether it changed.
    fn persist(&self, survey: &Survey<'_>, registered: Vec<Rule>) -> Result<bool> {
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
        conf::write(&self.context.conf, &rules)
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
        if !self.args.dry_run {
            self.warn(survey, &document);
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

/// Whether another source may do better.
fn is_the_sources(error: &Error) -> bool {
    matches!(error.status(), Status::Unreachable | Status::Integrity)
}

/// What must stay native: the programs of this host, and everything that
/// looks like one.
fn guard(survey: &Survey<'_>) -> Guard {
    let mut guard = Guard::of_host();
    for target in survey.native_targets() {
        guard.protect(
            format!("native {} programs", target.platform().name),
            Probe::of(target).image(),
        );
    }
    guard
}

/// Runs the platform as a container would, and looks whether the wanted
/// emulator did it.
fn prove(wanted: &Wanted) -> Result<()> {
    let failed = |why: String| {
        Error::new(
            Status::Failed,
            format!("the rule for {} was registered, but", wanted.target.name),
        )
        .because(why)
    };
    let outcome = probe::run(Probe::of(wanted.target));
    if let Err(failure) = outcome.verdict {
        return Err(failed(format!(
            "its program doesn't run in an empty root: {failure}"
        )));
    }
    match outcome.runner {
        Some(runner) if !runner.is_file(wanted.interpreter.as_ref()) => Err(failed(format!(
            "{} runs its program",
            runner.interpreter.display()
        ))),
        // Without ptrace the verdict has to do.
        _ => Ok(()),
    }
}
