//! fetch -> verify -> decode -> verify -> store, as one flow.
//!
//! Emulators that lie somewhere as they are come first, and are only copied.
//! Everything else is fetched, verified and decoded by a process without
//! rights (`errand`), into files that have no name. A file that it says is
//! finished is copied to where that process can't write; the copy is compared
//! with the emulator's digest, made to last, and only then named.

#[cfg(test)]
mod tests;
mod work;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;

use self::work::Work;
use super::directory::Directory;
use super::errand::{self, Ended, Hear, Told};
use super::manifest::{Emulator, Release};
use super::source::{Place, Sources};
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
            let staged = store.stage(&emulator.sha256, &emulator.binary())?;
            work.push(Work::new(emulator, staged));
        }
    }
    let closed = store.prefix();
    deliver(release, work, sources, closed, jobs, observe)
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
            work.push(Work::new(emulator, Staged::create(&path)?));
        }
        paths.push(path);
    }
    deliver(release, work, sources, dir, jobs, observe)?;
    Ok(paths)
}

/// Fetches, verifies and names what is missing. Who fetches can't open what
/// lies in `closed`.
fn deliver<'a>(
    release: &Release,
    mut work: Vec<Work<'a>>,
    sources: &Sources,
    closed: &Path,
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
    // apt is given more rights than the others, so it has an errand of its own.
    let is_apt = |place: &Place| matches!(place, Place::Apt(_));
    let together = |a: &Place, b: &Place| !is_apt(a) && !is_apt(b);
    for places in sources.packages.chunk_by(together) {
        let left: Vec<&Work<'_>> = work.iter().filter(|work| !work.is_named()).collect();
        match fetch(release, &left, places, closed, jobs, observe) {
            Ok(()) => return Ok(()),
            Err(Ended { error, elsewhere }) if elsewhere => {
                failed = Some(match failed {
                    Some(before) => Error::or_graver(before, error),
                    None => error,
                });
            }
            Err(ended) => return Err(ended.error),
        }
    }
    Err(failed.unwrap_or_else(|| {
        Error::new(
            Status::Unreachable,
            format!("there is no source for {}", release.file),
        )
    }))
}

/// Sends somebody without rights to these places.
fn fetch(
    release: &Release,
    work: &[&Work<'_>],
    places: &[Place],
    closed: &Path,
    jobs: Option<usize>,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(), Ended> {
    let drafts = Drafts::make(work)?;
    let files = work.iter().zip(&drafts.files);
    let files: Vec<_> = files
        .map(|(work, draft)| (work.emulator, work.path(), draft))
        .collect();
    finish_while(work, &drafts, observe, |hear| {
        errand::fetch(release, &files, places, closed, jobs, hear)
    })
}

/// Files to decode into, with all the room that it takes: copies are made one
/// after the other, and each leaves its draft's room to the next.
struct Drafts {
    files: Vec<File>,
    /// As large as the largest; empty from the first copy on.
    spare: Option<File>,
}

impl Drafts {
    fn make(work: &[&Work<'_>]) -> Result<Self> {
        let make = |work: &&Work<'_>| durable::unnamed_beside(work.path(), work.emulator.size);
        let largest = work.iter().max_by_key(|work| work.emulator.size);
        Ok(Self {
            files: work.iter().map(make).collect::<Result<_>>()?,
            spare: largest.map(make).transpose()?,
        })
    }

    /// Finishes one of these emulators.
    fn finish(&self, work: &[&Work<'_>], number: usize) -> Result<()> {
        let (work, draft) = work
            .get(number)
            .zip(self.files.get(number))
            .ok_or_else(|| {
                Error::new(
                    Status::Failed,
                    "an emulator was told of that nobody asked for",
                )
            })?;
        let give_room = |file: &File| {
            file.set_len(0)
                .attempt(|| format!("cannot make room for {}", work.path().display()))
        };
        self.spare.iter().try_for_each(give_room)?;
        work.finish(draft)?;
        give_room(draft)
    }
}

/// Names what is finished in the drafts, as the errand tells it.
fn finish_while(
    work: &[&Work<'_>],
    drafts: &Drafts,
    observe: &(dyn Fn(Event<'_>) + Sync),
    errand: impl FnOnce(&mut Hear<'_>) -> Result<(), Ended>,
) -> Result<(), Ended> {
    let (whole, finish) = channel();
    let done = thread::scope(|scope| {
        let finish = move || {
            finish
                .into_iter()
                .try_for_each(|number| drafts.finish(work, number))
        };
        let finisher = thread::Builder::new()
            .spawn_scoped(scope, finish)
            .map_err(|error| no_thread().because(error))?;
        let mut hear = move |told| {
            match told {
                Told::Whole(number) => {
                    // A finisher that has stopped has the error to tell.
                    return whole
                        .send(number)
                        .map_err(|_| Error::new(Status::Failed, "storing stopped"));
                }
                told => observe_told(told, observe),
            }
            Ok(())
        };
        let fetched = errand(&mut hear);
        // With it goes the sender, and the finisher ends.
        drop(hear);
        finisher.join().unwrap_or_else(|_| Err(bug("storing")))?;
        fetched
    });
    let named = work.iter().filter(|work| work.is_named());
    named.for_each(|work| observe(Event::Stored { path: work.path() }));
    match done {
        Ok(()) if !work.iter().all(|work| work.is_named()) => Err(bug("fetching").into()),
        done => done,
    }
}

fn observe_told(told: Told, observe: &(dyn Fn(Event<'_>) + Sync)) {
    match told {
        Told::Asking { source, bytes } => observe(Event::Asking {
            source: &source,
            bytes,
        }),
        Told::Verified { bytes } => observe(Event::Verified { bytes }),
        Told::SourceFailed { source, why } => observe(Event::SourceFailed {
            source: &source,
            error: &why.into(),
        }),
        Told::Whole(_) | Told::Done(_) | Told::Failed { .. } => {}
    }
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
        match dir.verified(&release.qemu, work.emulator) {
            Ok(file) => {
                work.finish(&file)?;
                observe(Event::Verified {
                    bytes: work.emulator.size,
                });
                observe(Event::Stored { path: work.path() });
            }
            Err(error) => {
                failed = Some(match failed {
                    Some(before) => Error::or_graver(before, error),
                    None => error,
                });
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

fn no_thread() -> Error {
    Error::new(Status::Failed, "cannot start a thread to store emulators")
        .hint("let this user have more processes (ulimit -u)")
}

fn bug(what: &str) -> Error {
    Error::new(
        Status::Failed,
        format!("{what} stopped because of a bug in binfmtctl"),
    )
}
