//! Getting the planned emulators into a store, from the first source that has
//! them; the same for the host's store and for a rehearsal's.

use super::Run;
use super::plan::Plan;
use crate::emulator::errand;
use crate::emulator::manifest::{Emulator, Release};
use crate::emulator::obtain;
use crate::emulator::source::{AptHost, Choice, DISTRO_PACKAGES, Place, Sources, candidates};
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
        let architecture = self.context.host.architecture()?;
        let mut last = None;
        for package in DISTRO_PACKAGES {
            let found = errand::distro(package, architecture, &apt, self.context.store.prefix());
            let taken = found.and_then(|own| {
                let release = &own.release;
                let plan = self.plan(survey, release);
                let sources = Sources {
                    emulators: None,
                    packages: vec![Place::File(own.package)],
                };
                self.obtain(store, &plan, release, &sources)?;
                self.context.console.note(&format!(
                    "NOT the pinned QEMU: using the distribution's {} {} (QEMU {}), verified with its own keys",
                    release.package, release.version, release.qemu
                ));
                Ok(own.release)
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

    /// The host's apt. In a dry run its packages lie with the emulators, to
    /// go with them.
    fn apt(&self, store: &Store) -> AptHost {
        let mut host = AptHost::default();
        if self.args.dry_run {
            host.scratch = store.prefix().to_owned();
        }
        host
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
