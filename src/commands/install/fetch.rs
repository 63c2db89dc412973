//! Getting the planned emulators into a store, from the first source that has
//! them; the same for the host's store and for a rehearsal's.

use std::path::PathBuf;

use super::Run;
use super::plan::Plan;
use crate::durable::{self, Scratch};
use crate::emulator::lock::lock as pin;
use crate::emulator::manifest::{Emulator, Release};
use crate::emulator::obtain;
use crate::emulator::source::{Apt, AptHost, Choice, Sources, candidates};
use crate::emulator::store::Store;
use crate::error::{Error, Result, Status};
use crate::platform::Platform;
use crate::report::survey::Survey;

impl Run<'_> {
    /// Brings the planned emulators into the store, and says of which release
    /// they are: the pinned one, unless it can't be had. Any other store than
    /// the host's own gets only what that one lacks.
    pub(super) fn fetch(
        &self,
        store: &Store,
        survey: &Survey<'_>,
        plan: &Plan,
        pinned: &Release,
        source: &Choice,
    ) -> Result<Release> {
        let failed = match source {
            Choice::Distro => None,
            source => {
                let sources = candidates(
                    source,
                    pinned,
                    self.args.fetch.mirror.as_deref(),
                    &self.apt(store),
                    self.context.emulators.as_ref(),
                )?;
                match self.obtain(store, plan, pinned, &sources) {
                    Ok(()) => return Ok(pinned.clone()),
                    Err(error) if *source == Choice::Auto && is_the_sources(&error) => Some(error),
                    Err(error) => return Err(error),
                }
            }
        };
        self.fetch_from_distribution(store, survey)
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
    fn fetch_from_distribution(&self, store: &Store, survey: &Survey<'_>) -> Result<Release> {
        let apt = self.apt(store);
        let scratch = self.scratch(store);
        let dir = Scratch::below(&scratch, "binfmtctl-distribution.", 0o700)?;
        let architecture = self.context.host.architecture()?;
        let mut last = None;
        for package in apt.distro_candidates(architecture, dir.path()) {
            let taken = package.and_then(|package| {
                let release = pin(&package.path, Vec::new(), None)?;
                let file = Choice::Path(package.path.clone());
                let plan = self.plan(survey, &release);
                let sources = candidates(&file, &release, None, &apt, None)?;
                self.obtain(store, &plan, &release, &sources)?;
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

    /// The host's apt, which changes nothing of the host's in a dry run.
    fn apt(&self, store: &Store) -> Apt {
        let mut host = AptHost::default();
        host.may_update &= !self.args.dry_run;
        host.scratch = self.scratch(store);
        Apt::of(host)
    }

    /// Where packages lie for a while: in a dry run with its emulators, to go
    /// with them.
    fn scratch(&self, store: &Store) -> PathBuf {
        match self.args.dry_run {
            true => store.prefix().to_owned(),
            false => durable::scratch(),
        }
    }

    fn obtain(
        &self,
        store: &Store,
        plan: &Plan,
        release: &Release,
        sources: &Sources,
    ) -> Result<()> {
        let is_own = store.prefix() == self.context.store.prefix();
        let mut emulators = Vec::new();
        for step in plan.work() {
            if let Some(emulator) = release.emulator(step.platform.emulator) {
                if is_own || !self.is_stored(step.platform, emulator)? {
                    emulators.push(emulator);
                }
            }
        }
        let observe = |event: obtain::Event<'_>| self.context.console.progress(event);
        let jobs = self.context.jobs;
        obtain::obtain(store, release, &emulators, sources, jobs, &observe)
    }

    /// Whether the host's own store has it. One that this user can't read has
    /// to be fetched.
    pub(super) fn is_stored(&self, platform: &Platform, emulator: &Emulator) -> Result<bool> {
        let store = &self.context.store;
        match store.is_sound(&store.path(&emulator.sha256, &platform.binary())) {
            Err(error) if error.status() == Status::Permission => Ok(false),
            sound => sound,
        }
    }
}

/// Whether another source may do better.
fn is_the_sources(error: &Error) -> bool {
    matches!(error.status(), Status::Unreachable | Status::Integrity)
}
