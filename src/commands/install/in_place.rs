//! request -> plan -> mount -> guard -> remove -> register -> prove -> report,
//! with emulators that lie in a directory and are registered where they are:
//! what the tools do whose command lines `dialect` speaks.
//!
//! There is no store in it and no conf file, so these rules last as long as
//! the instance does. The plan, the checks and the proof are install's own.
//! Rules that are to go stay until those that replace them are proved.

mod conclude;
mod order;
mod removal;
mod sight;
mod terms;

use std::path::{Path, PathBuf};

pub use order::{Done, Every, Installed, Order, Otherwise, Outcome, Wish};
pub use removal::{Fate, Removal, Removed};

use super::checks::require_null;
use super::plan::{Plan, Step, displaced, is_for};
use super::register::Registrar;
use crate::binfmt::instance::Lock;
use crate::binfmt::{Entry, Instance};
use crate::commands::{Context, load_manifest};
use crate::emulator::manifest::Manifest;
use crate::error::{Error, Result};
use crate::platform::{PLATFORMS, Platform, Request};
use crate::report::survey::Survey;
use crate::report::{Action, Document};
use crate::rights::{REGISTERING, keep_only};
use removal::Doom;
use sight::Sight;
use terms::InDirectory;

/// Does what the order says; what of it failed is in the answer. Known bytes
/// are those of the manifest, the built-in one where none is named.
pub fn run(context: &Context, order: &Order, manifest: Option<&Path>) -> Result<Done> {
    let manifest = known_bytes(context, manifest);
    let run = Run {
        context,
        order,
        manifest: manifest.as_ref(),
        terms: InDirectory::new(context, order),
    };
    let mut sight = Sight::open(context, order.changes());
    let survey = run.survey()?;
    let mut log = Log::default();
    if order.changes() {
        run.change(&survey, &mut log)?;
    }
    // What only our own mount holds goes with it: that is seen before yes is said.
    if log.changed {
        sight.renew();
    }
    let after = run.survey()?;
    Ok(run.conclude(&after, log))
}

/// The state of the host, of which nothing is to be changed.
pub fn state(context: &Context, manifest: Option<&Path>) -> Result<Document> {
    let manifest = known_bytes(context, manifest);
    let _sight = Sight::open(context, false);
    let (survey, _) = Survey::take_anyway(context.scope(manifest.as_ref()), &[])?;
    Ok(survey.document(None))
}

/// The manifest, which only says what bytes are here: without it none is known.
fn known_bytes(context: &Context, manifest: Option<&Path>) -> Option<Manifest> {
    let tell = |error: Error| context.console.note(&error.line().to_string());
    load_manifest(manifest).map_err(tell).ok()
}

struct Run<'a> {
    context: &'a Context,
    order: &'a Order,
    manifest: Option<&'a Manifest>,
    terms: InDirectory<'a>,
}

/// What happened so far.
#[derive(Default)]
struct Log {
    removed: Vec<Removed>,
    installed: Vec<Installed>,
    failures: Failures,
    /// Platforms that lost a rule.
    lost: Vec<&'static Platform>,
    /// Whether the kernel was written to.
    changed: bool,
}

/// What failed, and how much that counts.
#[derive(Default)]
struct Failures {
    /// Nothing could be changed at all.
    everything: Option<Error>,
    removals: Vec<Error>,
    /// Each with its platform's name.
    platforms: Vec<(String, Error)>,
    /// Of platforms that needn't run.
    forgiven: Vec<(String, Error)>,
}

impl Failures {
    fn add(&mut self, platform: &Platform, error: Error, must_run: bool) {
        let failures = match must_run {
            true => &mut self.platforms,
            false => &mut self.forgiven,
        };
        failures.push((platform.name.to_owned(), error));
    }
}

impl Run<'_> {
    fn survey(&self) -> Result<Survey<'_>> {
        let scope = self.context.scope(self.manifest);
        // The conf file has no part in this, so it may say what it likes.
        Survey::take_anyway(scope, &self.asked()).map(|(survey, _)| survey)
    }

    /// The platforms that the order is about.
    fn asked(&self) -> Vec<&'static Platform> {
        let every = self
            .order
            .every
            .iter()
            .flat_map(|every| every.of.platforms());
        let found = every.filter(|platform| self.terms.has(platform));
        self.order.named.iter().copied().chain(found).collect()
    }

    fn plan(&self, survey: &Survey<'_>, doom: &Doom) -> Plan {
        let terms = self.terms.with_doomed(doom.names());
        Plan::new(&terms, &Request::Named(self.asked()), survey)
    }

    /// The rules that go: none for the sake of what can't come.
    fn doom(&self, survey: &Survey<'_>) -> Doom {
        let mut doom = Doom::decide(&self.order.remove, survey, &self.terms);
        if self.is_hopeless(survey, &doom) {
            doom.keep(|_| true, "nothing can come in its place");
        }
        doom
    }

    /// Whether the part that installs can't succeed, whatever is tried.
    fn is_hopeless(&self, survey: &Survey<'_>, doom: &Doom) -> bool {
        let lacks_emulator = |step: &Step| {
            self.order.named.contains(&step.platform) && self.terms.found(step.platform).is_none()
        };
        !self.order.unknown.is_empty()
            || self.lacks_set(survey)
            || self.plan(survey, doom).work().any(lacks_emulator)
    }

    /// Whether a set was asked for and there is an emulator of none of it.
    fn lacks_set(&self, survey: &Survey<'_>) -> bool {
        let has = |platform: &&'static Platform| {
            self.terms.found(platform).is_some() && !survey.is_native(platform)
        };
        let every = self.order.every.as_ref();
        every.is_some_and(|every| !every.of.platforms().iter().any(has))
    }

    fn change(&self, survey: &Survey<'_>, log: &mut Log) -> Result<()> {
        let doom = self.doom(survey);
        let plan = self.plan(survey, &doom);
        if doom.is_empty() && plan.work().next().is_none() {
            self.log_what_stays(&plan, log);
            log.removed = doom.finish(&mut log.failures.removals);
            return Ok(());
        }
        let ready = self
            .context
            .could_change()
            .and_then(|()| require_null())
            .and_then(|()| match plan.work().next() {
                Some(_) => self.context.instance(),
                None => self.context.instance_with_rules(),
            })
            .and_then(|instance| Ok((self.context.lock(&instance)?, instance)));
        let ready = ready.and_then(|right| keep_only(&REGISTERING).map(|()| right));
        match ready {
            Ok((lock, instance)) => self.carry_out(&instance, &lock, log),
            Err(error) => {
                self.log_what_stays(&plan, log);
                for step in plan.work() {
                    self.log(step, Outcome::Failed(error.reason()), log);
                }
                let mut doom = doom;
                doom.keep(|_| true, &error.reason());
                log.removed = doom.finish(&mut log.failures.removals);
                log.failures.everything = Some(error);
                Ok(())
            }
        }
    }

    /// The part that changes something, under the instance's lock.
    fn carry_out(&self, instance: &Instance, lock: &Lock, log: &mut Log) -> Result<()> {
        // Another run may have come before the lock, and an instance to light.
        let survey = self.survey()?;
        let mut doom = self.doom(&survey);
        let plan = self.plan(&survey, &doom);
        self.log_what_stays(&plan, log);
        let in_place = plan.rules_in_place();
        doom.keep(
            |name| in_place.iter().any(|rule| rule.name == name),
            "it is what would be registered",
        );

        // What nothing comes in place of goes first.
        let is_steps = |name: &str, step: &Step| {
            let entry = survey.entries.iter().find(|entry| entry.name == name);
            entry.is_some_and(|entry| is_for(entry, step.platform.targets()))
        };
        log.changed |= doom.remove(instance, lock, |name| {
            !plan.work().any(|step| is_steps(name, step))
        });

        let doomed = doom.names().to_vec();
        let terms = self.terms.with_doomed(&doomed);
        let registrar = Registrar::new(self.context, instance, lock, &survey, &terms);
        let mut unknown = Vec::new();
        for step in plan.work() {
            match self.register(&registrar, step) {
                Ok((rules, interpreter)) => {
                    log.changed = true;
                    unknown.extend(self.unknown_bytes(step));
                    let displaced = step
                        .wanted
                        .iter()
                        .flat_map(|wanted| displaced(&survey, wanted, &terms));
                    doom.went(displaced);
                    let behind = survey
                        .matching(step.platform.target())
                        .filter(|entry| !self.terms.is_own(entry) && !doomed.contains(&entry.name));
                    let outcome = Outcome::Registered {
                        replaced: step.action == Some(Action::Replaced),
                        rules,
                        interpreter,
                        behind: behind.map(|entry| entry.name.clone()).collect(),
                    };
                    self.log(step, outcome, log);
                }
                Err(error) => {
                    let why = format!("{} can't be replaced", step.platform.name);
                    let stays = doom.keep(|name| is_steps(name, step), &why);
                    self.log(step, Outcome::Failed(error.reason()), log);
                    // A rule that was to go and didn't is no detail.
                    let must_run = stays || self.must_run(step.platform);
                    log.failures.add(step.platform, error, must_run);
                }
            }
        }
        if !unknown.is_empty() {
            self.context.console.note(&format!(
                "not pinned, as binfmtctl's manifest doesn't know these bytes; used as they are: {}",
                unknown.join(", ")
            ));
        }
        log.changed |= doom.remove(instance, lock, |_| true);
        log.removed = doom.finish(&mut log.failures.removals);
        log.lost = PLATFORMS
            .iter()
            .filter(|platform| {
                let went = |entry: &Entry| log.removed.iter().any(|one| one.went(&entry.name));
                let mut entries = survey.entries.iter();
                entries.any(|entry| is_for(entry, platform.targets()) && went(entry))
            })
            .collect();
        Ok(())
    }

    fn register(&self, registrar: &Registrar<'_>, step: &Step) -> Result<(Vec<String>, PathBuf)> {
        let Some(interpreter) = step.emulator.clone() else {
            return Err(self.terms.missing(step.platform));
        };
        let rules = registrar.carry_out(step)?;
        let names = rules.into_iter().map(|rule| rule.name).collect();
        Ok((names, interpreter))
    }

    fn log(&self, step: &Step, outcome: Outcome, log: &mut Log) {
        log.installed.push(Installed {
            platform: step.platform,
            of_set: !self.order.named.contains(&step.platform),
            outcome,
        });
    }

    fn log_what_stays(&self, plan: &Plan, log: &mut Log) {
        for step in plan.steps.iter().filter(|step| !step.is_work()) {
            let outcome = match (&step.foreign, step.action) {
                (Some(rule), _) => Outcome::Kept {
                    rule: rule.clone(),
                    but: Vec::new(),
                },
                (None, Some(Action::Native)) => Outcome::Native,
                (None, _) => Outcome::InPlace,
            };
            self.log(step, outcome, log);
        }
    }

    fn must_run(&self, platform: &'static Platform) -> bool {
        let every = self.order.every.as_ref();
        self.order.named.contains(&platform) || every.is_some_and(|every| every.must_run)
    }

    /// The emulator that a step has used, where nobody answers for its bytes.
    fn unknown_bytes(&self, step: &Step) -> Option<String> {
        let found = self.terms.found(step.platform)?;
        let path = found.path.display();
        match self
            .manifest
            .and_then(|manifest| manifest.known(&found.sha256))
        {
            Some(release) => {
                self.context.console.detail(&format!(
                    "{path} has the pinned bytes of QEMU {} (sha256 {})",
                    release.qemu, found.sha256
                ));
                None
            }
            None => Some(path.to_string()),
        }
    }
}
