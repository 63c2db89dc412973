//! fetch -> verify -> decode -> verify -> store, as one flow.
//!
//! Emulators that lie somewhere as they are come first, and are only copied.
//! Sources hand over verified blocks; decoders write what is in them straight
//! into files that have no name yet; a finished file is read back, compared
//! with its own digest, and only then named (`pipeline`). The queue between is
//! short: a slow disk slows the download, not memory. The threads that touch
//! outside bytes hold no capability.

mod pipeline;
#[cfg(test)]
mod tests;
mod work;

use std::path::{Path, PathBuf};
use std::thread;

use caps::CapSet;

use self::work::Work;
use super::directory::Directory;
use super::manifest::{Emulator, Release};
use super::source::Sources;
use super::store::{Store, program_digest};
use crate::durable::{self, Staged};
use crate::error::{Error, IoContext, Result, Status};

/// What happens meanwhile, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A source is asked for this many bytes.
    Asking {
        /// Its name.
        source: &'a str,
        /// Compressed bytes still needed.
        bytes: u64,
    },
    /// A block of this many bytes arrived and is the right one.
    Verified {
        /// Compressed bytes.
        bytes: u64,
    },
    /// A source failed; the next one is tried.
    SourceFailed {
        /// Its name.
        source: &'a str,
        /// Why.
        error: &'a Error,
    },
    /// An emulator got its name.
    Stored {
        /// Its path.
        path: &'a Path,
    },
}

/// The path of each emulator in the store, where it will be after [`obtain`].
pub fn paths(store: &Store, emulators: &[&Emulator]) -> Vec<PathBuf> {
    emulators
        .iter()
        .map(|emulator| store.path(&emulator.sha256, &emulator.binary()))
        .collect()
}

/// Brings the emulators into the store, from the first source that delivers;
/// `jobs` ranges and blocks at a time, or as many as there is room for. Ones
/// that are there already, with the right bytes, cost nothing.
pub fn obtain(
    store: &Store,
    release: &Release,
    emulators: &[&Emulator],
    sources: &Sources,
    jobs: Option<usize>,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let mut work = Vec::new();
    for (emulator, path) in emulators.iter().zip(paths(store, emulators)) {
        if !store.is_sound(&path)? {
            let staged = store.stage(&emulator.sha256, &emulator.binary(), emulator.size)?;
            work.push(Work::new(release, emulator, staged));
        }
    }
    deliver(release, work, sources, jobs, observe)
}

/// Writes the emulators into a directory, each under the name that it usually
/// has, for hosts of whatever architecture. Ones that are there already, with
/// the right bytes, cost nothing; any other file of that name is replaced, and
/// what a killed run left behind goes.
pub fn extract(
    dir: &Path,
    release: &Release,
    emulators: &[&Emulator],
    sources: &Sources,
    jobs: Option<usize>,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Vec<PathBuf>> {
    durable::make_dir(dir)?;
    let held = dir.canonicalize().and_then(|dir| durable::hold(&dir));
    let Some(_held) = held.attempt(|| format!("cannot open {}", dir.display()))? else {
        let what = format!("another run is writing to {}", dir.display());
        return Err(Error::new(Status::Locked, what).hint("try again when it has ended"));
    };
    durable::clear(dir)?;
    let mut work = Vec::new();
    let mut paths = Vec::new();
    for emulator in emulators {
        let path = dir.join(emulator.binary());
        if program_digest(&path)? != Some(emulator.sha256) {
            let staged = Staged::create(&path)?;
            staged.reserve(emulator.size)?;
            work.push(Work::new(release, emulator, staged));
        }
        paths.push(path);
    }
    deliver(release, work, sources, jobs, observe)?;
    Ok(paths)
}

/// Fetches, verifies and names what is missing.
fn deliver<'a>(
    release: &Release,
    mut work: Vec<Work<'a>>,
    sources: &Sources,
    jobs: Option<usize>,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let mut failed = None;
    if let Some(dir) = &sources.emulators {
        (work, failed) = copy(dir, release, work, observe)?;
        // Those of another QEMU say nothing against the packages.
        failed = failed.filter(|_| sources.packages.is_empty());
    }
    if work.is_empty() {
        return Ok(());
    }
    let done = pipeline::run(release, &work, &sources.packages, jobs, failed, observe);
    let named = work.iter().filter(|work| work.is_named());
    named.for_each(|work| observe(Event::Stored { path: work.path() }));
    done
}

/// Copies what the directory has. Returns what it hasn't, and why not.
fn copy<'a>(
    dir: &Directory,
    release: &Release,
    work: Vec<Work<'a>>,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(Vec<Work<'a>>, Option<Error>)> {
    let name = dir.path().display().to_string();
    let here = work.iter().filter(|work| dir.has(work.emulator));
    let bytes = here.map(|work| work.emulator.size).sum();
    if bytes > 0 {
        let source = &name;
        observe(Event::Asking { source, bytes });
    }
    let (mut left, mut failed) = (Vec::new(), None);
    for work in work {
        // As with any source: these are outside bytes.
        let verified = without_capabilities(|| dir.verified(&release.qemu, work.emulator));
        match verified {
            Ok(file) => {
                work.fill(file)?;
                observe(Event::Verified {
                    bytes: work.emulator.size,
                });
                work.finish()?;
                observe(Event::Stored { path: work.path() });
            }
            Err(error) => {
                failed = Some(graver(failed, error));
                left.push(work);
            }
        }
    }
    if let Some(error) = &failed {
        let source = &name;
        observe(Event::SourceFailed { source, error });
    }
    Ok((left, failed))
}

/// Of two sources' errors the one to tell: wrong bytes are graver than no
/// bytes, and otherwise the last word counts.
fn graver(before: Option<Error>, error: Error) -> Error {
    match before {
        Some(before)
            if before.status() == Status::Integrity && error.status() != Status::Integrity =>
        {
            before
        }
        _ => error,
    }
}

/// Runs it in a thread of its own, since what a thread has given up is gone.
fn without_capabilities<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let read = || {
            drop_capabilities();
            work()
        };
        match thread::Builder::new().spawn_scoped(scope, read) {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(panicked("reading"))),
            Err(error) => Err(no_thread().because(error)),
        }
    })
}

/// Gives up every capability of this thread. A process without any, as most
/// are, has nothing to give up.
fn drop_capabilities() {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        // Taking away can't be refused; and if it were, the bytes are
        // verified all the same.
        let _ = caps::clear(None, set);
    }
}

fn no_thread() -> Error {
    Error::new(Status::Failed, "cannot start a thread to fetch emulators")
        .hint("let this user have more processes (ulimit -u)")
}

fn panicked(what: &str) -> Error {
    Error::new(
        Status::Failed,
        format!("{what} stopped because of a bug in binfmtctl"),
    )
}
