//! `install --dry-run`: the whole way, as far as it goes without a change.
//! What the real run would refuse is refused here with the same words; the
//! emulators are fetched to a place that goes away, and the rules are written
//! and proved in a user namespace that is thrown away.

use std::path::{Path, PathBuf};

use super::checks::{PIN, check_emulator, check_rule, guard, require_null};
use super::plan::{Plan, Step};
use super::shelf::Shelf;
use super::{Changes, Run};
use crate::binfmt::instance::LINE_HINT;
use crate::binfmt::{Guard, Rule, conf};
use crate::commands::Reply;
use crate::durable;
use crate::emulator::manifest::Release;
use crate::emulator::source::Choice;
use crate::error::{Error, Result, Status};
use crate::platform::{Platform, Target};
use crate::probe;
use crate::rehearsal::{self, Part, Verdict};
use crate::report::survey::Survey;
use crate::report::{Document, RehearsedRule};
use crate::rights::{REHEARSING, keep_only};

/// What a dry run saw.
#[derive(Default)]
pub(super) struct Rehearsal {
    /// The planned rules, in the plan's order.
    pub rules: Vec<(&'static Platform, RehearsedRule)>,
    /// Why they weren't rehearsed.
    pub impossible: Option<String>,
}

impl Rehearsal {
    /// Adds what was seen to the document.
    pub(super) fn report(&self, document: &mut Document) {
        if !self.rules.is_empty() {
            let tried = self.rules.iter().any(|(_, rule)| rule.ran.is_some());
            document.rehearsed = Some(tried && self.impossible.is_none());
            document.not_rehearsed = self.impossible.clone();
        }
        for report in document.platforms.iter_mut().flatten() {
            let of_platform = |(platform, _): &&(&Platform, _)| platform.name == report.platform;
            let rules: Vec<RehearsedRule> = self
                .rules
                .iter()
                .filter(of_platform)
                .map(|(_, rule)| rule.clone())
                .collect();
            report.rehearsal = (!rules.is_empty()).then_some(rules);
        }
    }
}

impl Run<'_> {
    /// Says what would be done, and whether it would work.
    pub(super) fn dry_run(
        &self,
        survey: &Survey<'_>,
        pinned: &Release,
        source: &Choice,
    ) -> Result<Reply> {
        let plan = self.plan(survey, pinned);
        if self.is_done(survey, &plan)? {
            self.tell(&plan, pinned, &Changes::default());
            return Ok(self.reply(survey, &plan, Changes::default()));
        }
        match self.context.could_change() {
            // What only this process lacks doesn't make the plan a wrong one.
            Err(error) if error.status() == Status::Permission => {
                let why = error.reason();
                let note = format!("this process may only rehearse it: {why}");
                self.context.console.note(&note);
            }
            refused => refused?,
        }
        require_null()?;
        self.context.store.require_place()?;
        self.require_room(&plan, pinned)?;
        let shelf = Shelf::new()?;
        let release = match plan.work().next() {
            Some(_) => self.fetch(&shelf.store, survey, &plan, pinned, source)?,
            None => pinned.clone(),
        };
        keep_only(&REHEARSING)?;
        let plan = self.plan(survey, &release);
        let mut changes = self.rehearse(survey, &plan, &shelf);
        changes.any |= self.would_sweep(survey, &plan)?;
        self.tell(&plan, &release, &changes);
        match self.would_persist(survey, &plan, &changes) {
            Ok(changed) => changes.any |= changed,
            Err(error) => changes.not_kept = Some(super::not_kept(error)),
        }
        Ok(self.reply(survey, &plan, changes))
    }

    /// Whether the emulators could get their places in the host's own store.
    fn require_room(&self, plan: &Plan, release: &Release) -> Result<()> {
        let mut missing = Vec::new();
        for step in plan.work() {
            let emulator = release.emulator(step.platform.emulator);
            if let (Some(emulator), Some(path)) = (emulator, &step.emulator) {
                if !self.is_stored(step.platform, emulator)? {
                    missing.push((path.clone(), emulator.size));
                }
            }
        }
        self.context.store.require_room(&missing)
    }

    fn rehearse(&self, survey: &Survey<'_>, plan: &Plan, shelf: &Shelf) -> Changes {
        let mut changes = Changes::default();
        let mut rehearsal = Rehearsal::default();
        let guard = guard(survey);
        let mut parts = Vec::new();
        for step in plan.work() {
            match self.parts(step, &guard, shelf) {
                Ok(of_step) => {
                    parts.extend(of_step.into_iter().map(|part| (step.platform, part)));
                }
                Err(error) => {
                    let untried = |rule| describe(rule, &Verdict::Untried(error.reason()));
                    let untried = step.planned.iter().map(untried);
                    rehearsal
                        .rules
                        .extend(untried.map(|rule| (step.platform, rule)));
                    changes.failures.push((step.platform, error));
                }
            }
        }
        for (platform, part, verdict) in self.play(survey, parts, &mut rehearsal) {
            rehearsal
                .rules
                .push((platform, describe(&part.rule, &verdict)));
            if let Verdict::Failed { reason, hint } = verdict {
                let what = format!("{} wouldn't run", platform.name);
                let error = Error::new(Status::Failed, what).because(reason);
                let error = match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                };
                if !changes.failed(platform) {
                    changes.failures.push((platform, error));
                }
            }
        }
        changes.any = plan.work().any(|step| !changes.failed(step.platform));
        changes.rehearsal = Some(rehearsal);
        changes
    }

    /// What of a step can be rehearsed, after what can be checked without.
    fn parts(&self, step: &Step, guard: &Guard, shelf: &Shelf) -> Result<Vec<Part>> {
        let path = step.emulator(self.context.host.platform)?;
        let emulator = self.bytes_of(path, step, shelf);
        let head = check_emulator(step, path, &emulator, self.context.host.platform, PIN)?;
        let mut guard = guard.clone();
        guard.protect(format!("its own interpreter {}", path.display()), head);
        step.wanted
            .iter()
            .zip(&step.planned)
            .map(|(wanted, rule)| {
                // What lies at its path now isn't what it will run.
                let anywhere = Rule {
                    interpreter: String::new(),
                    ..rule.clone()
                };
                check_rule(&guard, &anywhere, step.platform)?;
                rule.line().map_err(|error| {
                    Error::new(Status::Invalid, format!("cannot register {}", rule.name))
                        .because(error)
                        .hint(LINE_HINT)
                })?;
                Ok(Part {
                    target: wanted.target,
                    rule: rule.clone(),
                    emulator: emulator.clone(),
                })
            })
            .collect()
    }

    /// Where the bytes are that will lie at this path of the store.
    fn bytes_of(&self, path: &Path, step: &Step, shelf: &Shelf) -> PathBuf {
        self.context
            .store
            .digest_of_path(path)
            .map(|sha256| shelf.store.path(&sha256, &step.platform.binary()))
            .filter(|fetched| fetched.exists())
            .unwrap_or_else(|| path.to_owned())
    }

    /// Rehearses the parts; where this host doesn't allow that, starts the
    /// emulators by hand.
    fn play(
        &self,
        survey: &Survey<'_>,
        parts: Vec<(&'static Platform, Part)>,
        rehearsal: &mut Rehearsal,
    ) -> Vec<(&'static Platform, Part, Verdict)> {
        if parts.is_empty() {
            return Vec::new();
        }
        let targets: Vec<&'static Target> = parts.iter().map(|(_, part)| part.target).collect();
        let lines: Vec<Part> = parts.iter().map(|(_, part)| part.clone()).collect();
        let verdicts = match rehearsal::rehearse(&targets, &lines, self.context.jobs) {
            Ok(seen) => {
                self.tell_natives(survey, &seen.native);
                seen.verdicts
            }
            Err(error) => {
                let why = error.line().to_string();
                let verdicts = lines.iter().map(|part| prove_by_hand(part, &why)).collect();
                rehearsal.impossible = Some(why);
                verdicts
            }
        };
        let with_verdict = |((platform, part), verdict)| (platform, part, verdict);
        parts.into_iter().zip(verdicts).map(with_verdict).collect()
    }

    /// Whether the conf file would change, which it has to be able to.
    fn would_persist(&self, survey: &Survey<'_>, plan: &Plan, changes: &Changes) -> Result<bool> {
        let mut rules = plan.rules_in_place();
        let works = |step: &&Step| !changes.failed(step.platform);
        let planned = plan.work().filter(works).flat_map(|step| &step.planned);
        rules.extend(planned.cloned());
        if !self.persists() {
            return Ok(false);
        }
        let (conf, rules) = (&self.context.conf, super::lasting(survey, &rules));
        let differs = conf::differs(conf, &rules)?;
        if differs {
            durable::require_writable(conf.parent().unwrap_or(Path::new("/")))?;
        }
        let Some(service) = self.pending_service().filter(|_| !rules.is_empty()) else {
            return Ok(differs);
        };
        let done = service.require_writable();
        if done.is_ok() {
            self.context.console.note(&service.describe());
        }
        Ok(service.judge(self.context, done)? || differs)
    }

    /// Whether files would go that nothing names.
    fn would_sweep(&self, survey: &Survey<'_>, plan: &Plan) -> Result<bool> {
        let mut used = survey.used_emulators();
        used.extend(plan.work().filter_map(|step| step.emulator.clone()));
        let litter = self.litter(&used)?;
        for file in &litter {
            let note = format!("would remove {}, which nothing uses", file.display());
            self.context.console.note(&note);
        }
        Ok(!litter.is_empty())
    }

    /// What runs by itself once nothing stands before it needs no emulator.
    fn tell_natives(&self, survey: &Survey<'_>, native: &[&'static Target]) {
        let usual = |target: &&&Target| target.platform().target().name == target.name;
        for target in native.iter().filter(usual) {
            let rule = survey.matching(target).find(|entry| entry.enabled);
            if let Some(rule) = rule {
                self.context.console.note(&format!(
                    "{}: this kernel runs it natively, but the rule {} stands before that",
                    target.platform().name,
                    rule.name
                ));
            }
        }
    }

    fn tell(&self, plan: &Plan, release: &Release, changes: &Changes) {
        let console = &self.context.console;
        let rehearsal = changes.rehearsal.as_ref();
        let rules: &[_] = rehearsal.map_or(&[], |seen| &seen.rules);
        let impossible = rehearsal.and_then(|seen| seen.impossible.as_ref());
        for step in &plan.steps {
            let of_step = || {
                rules
                    .iter()
                    .filter(|(platform, _)| *platform == step.platform)
                    .map(|(_, rule)| rule)
            };
            let untried = of_step().find(|rule| rule.ran.is_none());
            let seen = match (of_step().count(), untried) {
                _ if changes.failed(step.platform) => "; but it would fail".to_owned(),
                (0, _) => String::new(),
                // Told once for all.
                (_, Some(_)) if impossible.is_some() => String::new(),
                (_, Some(RehearsedRule { detail, .. })) => {
                    format!(
                        "; not rehearsed: {}",
                        detail.as_deref().unwrap_or("unknown")
                    )
                }
                (1, None) => "; rehearsed: its program ran".to_owned(),
                (_, None) => "; rehearsed: its programs ran".to_owned(),
            };
            console.note(&format!("{}{seen}", step.describe(release)));
            for rule in of_step() {
                console.detail(&format!("  {}", rule.line));
            }
        }
        if let Some(why) = impossible {
            console.note(&format!("not rehearsed: {why}"));
        }
    }
}

fn describe(rule: &Rule, verdict: &Verdict) -> RehearsedRule {
    let (ran, detail) = match verdict {
        Verdict::Ran => (Some(true), None),
        Verdict::Failed { reason, .. } => (Some(false), Some(reason.clone())),
        Verdict::Untried(why) => (None, Some(why.clone())),
    };
    RehearsedRule {
        // One without a line has failed already, by that.
        line: rule.line().unwrap_or_default(),
        ran,
        detail,
    }
}

/// Starts the emulator with its program; `why` that is all.
fn prove_by_hand(part: &Part, why: &str) -> Verdict {
    // A temporary place where nothing may be executed tells nothing.
    if durable::is_noexec(&part.emulator).unwrap_or(true) {
        return Verdict::Untried(why.to_owned());
    }
    match probe::prove_emulator(&part.emulator, part.target) {
        Ok(()) => Verdict::Untried(why.to_owned()),
        // Its place for now means nothing to anybody.
        Err(error) => Verdict::Failed {
            reason: error
                .reason()
                .replace(&*part.emulator.to_string_lossy(), &part.rule.interpreter),
            hint: error.advice().map(str::to_owned),
        },
    }
}
