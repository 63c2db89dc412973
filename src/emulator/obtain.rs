//! fetch -> verify -> decode -> verify -> store, as one flow.
//!
//! Emulators that lie somewhere as they are come first, and are only copied.
//! Sources hand over verified blocks; workers decode each block once,
//! whichever emulators lie in it, straight into files that have no name yet;
//! a finished file is read back, compared with its own digest, and only then
//! named. The queue between is short: a slow disk slows the download, not
//! memory. The threads that touch outside bytes hold no capability.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use caps::CapSet;

use super::decode::decode;
use super::directory::Directory;
use super::manifest::{Emulator, Release};
use super::source::{Failure, Source, Sources};
use super::store::{Store, program_digest};
use crate::digest::Digest;
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

/// An emulator on its way to the disk.
struct Work<'a> {
    emulator: &'a Emulator,
    staged: Staged,
}

/// The path of each emulator in the store, where it will be after [`obtain`].
pub fn paths(store: &Store, emulators: &[&Emulator]) -> Vec<PathBuf> {
    emulators
        .iter()
        .map(|emulator| store.path(&emulator.sha256, &emulator.binary()))
        .collect()
}

/// Brings the emulators into the store, from the first source that delivers.
/// Ones that are there already, with the right bytes, cost nothing.
pub fn obtain(
    store: &Store,
    release: &Release,
    emulators: &[&Emulator],
    sources: &Sources,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let mut work = Vec::new();
    for (emulator, path) in emulators.iter().zip(paths(store, emulators)) {
        if !store.is_sound(&path)? {
            let staged = store.stage(&emulator.sha256, &emulator.binary(), emulator.size)?;
            work.push(Work { emulator, staged });
        }
    }
    deliver(release, work, sources, observe)
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
            work.push(Work { emulator, staged });
        }
        paths.push(path);
    }
    deliver(release, work, sources, observe)?;
    Ok(paths)
}

/// Fetches, verifies and names what is missing.
fn deliver<'a>(
    release: &Release,
    mut work: Vec<Work<'a>>,
    sources: &Sources,
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
    fetch_and_decode(release, &work, &sources.packages, failed, observe)?;
    work.into_iter().try_for_each(|work| work.finish(observe))
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
                work.finish(observe)?;
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

fn fetch_and_decode(
    release: &Release,
    work: &[Work<'_>],
    sources: &[Box<dyn Source>],
    failed: Option<Error>,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    let (send, receive) = sync_channel::<(usize, Vec<u8>)>(1);
    // The decoders own the receiving end: when the last one stops, the
    // fetcher notices.
    let receive = Arc::new(Mutex::new(receive));
    let mut missing: BTreeSet<usize> = work
        .iter()
        .flat_map(|work| release.blocks_of(work.emulator))
        .collect();
    thread::scope(|scope| {
        // Fewer than wanted do as well.
        let decoders: Vec<_> = (0..workers)
            .map_while(|_| {
                let receive = Arc::clone(&receive);
                let decode = move || decode_all(release, work, &receive);
                thread::Builder::new().spawn_scoped(scope, decode).ok()
            })
            .collect();
        drop(receive);
        if decoders.is_empty() {
            return Err(no_thread());
        }
        // The sender goes with the closure, and with it the decoders end.
        let fetched = fetch(
            release,
            &mut missing,
            sources,
            failed,
            observe,
            &mut move |index, bytes| {
                // Nobody receives any more: a decoder failed, and its error is
                // the one to tell.
                send.send((index, bytes))
                    .map_err(|_| Error::new(Status::Failed, "decoding stopped"))
            },
        );
        for decoder in decoders {
            decoder
                .join()
                .unwrap_or_else(|_| Err(panicked("decoding")))?;
        }
        fetched
    })
}

/// Asks one source after the other for what is still missing.
fn fetch(
    release: &Release,
    missing: &mut BTreeSet<usize>,
    sources: &[Box<dyn Source>],
    mut failed: Option<Error>,
    observe: &(dyn Fn(Event<'_>) + Sync),
    deliver: &mut (dyn FnMut(usize, Vec<u8>) -> Result<()> + Send),
) -> Result<()> {
    for source in sources {
        let wanted: Vec<usize> = missing.iter().copied().collect();
        let name = source.name();
        observe(Event::Asking {
            source: &name,
            bytes: wanted.iter().map(|i| release.blocks[*i].length).sum(),
        });
        let mut take = |index: usize, bytes: Vec<u8>| {
            observe(Event::Verified {
                bytes: bytes.len() as u64,
            });
            missing.remove(&index);
            deliver(index, bytes)
        };
        // A thread of its own, since what a thread has given up is gone.
        let fetched = thread::scope(|scope| {
            let ask = || {
                if !source.hands_over_to_another_user() {
                    drop_capabilities();
                }
                source.fetch(release, &wanted, &mut take)
            };
            match thread::Builder::new().spawn_scoped(scope, ask) {
                Ok(asking) => asking
                    .join()
                    .unwrap_or_else(|_| Err(Failure::Deliver(panicked("fetching")))),
                Err(error) => Err(Failure::Deliver(no_thread().because(error))),
            }
        });
        match fetched {
            Ok(()) => return Ok(()),
            Err(Failure::Deliver(error)) => return Err(error),
            Err(Failure::Source(error)) => {
                observe(Event::SourceFailed {
                    source: &name,
                    error: &error,
                });
                failed = Some(graver(failed, error));
            }
        }
    }
    Err(failed.unwrap_or_else(|| {
        Error::new(
            Status::Unreachable,
            format!("there is no source for {}", release.file),
        )
    }))
}

/// A worker: decodes blocks until there are no more, or one is bad.
fn decode_all(
    release: &Release,
    work: &[Work<'_>],
    receive: &Mutex<Receiver<(usize, Vec<u8>)>>,
) -> Result<()> {
    drop_capabilities();
    loop {
        let received = match receive.lock() {
            Ok(receive) => receive.recv(),
            Err(_) => return Ok(()),
        };
        let Ok((index, bytes)) = received else {
            return Ok(());
        };
        let mut position = release.block_start(index);
        decode(
            release.encoding,
            &release.blocks[index],
            &bytes,
            &mut |decoded| {
                let from = position;
                position += decoded.len() as u64;
                work.iter().try_for_each(|work| work.take(from, decoded))
            },
        )?;
    }
}

impl Work<'_> {
    /// Writes the whole emulator down.
    fn fill(&self, from: File) -> Result<()> {
        let mut to = self.staged.file();
        std::io::copy(&mut from.take(self.emulator.size), &mut to)
            .map(drop)
            .attempt(|| format!("cannot write {}", self.staged.target().display()))
    }

    /// Gives the emulator its name, once its bytes on the disk are the right ones.
    fn finish(self, observe: &(dyn Fn(Event<'_>) + Sync)) -> Result<()> {
        let path = self.staged.target().to_owned();
        verify(self.emulator, &self.staged)?;
        self.staged.publish(0o755)?;
        observe(Event::Stored { path: &path });
        Ok(())
    }

    /// Writes down the part of `decoded`, which starts at `from` in the
    /// stream, that belongs to this emulator.
    fn take(&self, from: u64, decoded: &[u8]) -> Result<()> {
        let (start, end) = (
            self.emulator.offset,
            self.emulator.offset + self.emulator.size,
        );
        let first = start.max(from);
        let last = end.min(from + decoded.len() as u64);
        if first >= last {
            return Ok(());
        }
        let part = &decoded[(first - from) as usize..(last - from) as usize];
        self.staged
            .file()
            .write_all_at(part, first - start)
            .attempt(|| format!("cannot write {}", self.staged.target().display()))
    }
}

/// Compares the bytes that are on the disk with the emulator's digest.
fn verify(emulator: &Emulator, staged: &Staged) -> Result<()> {
    let path = staged.target().display();
    let file = File::open(staged.path()).attempt(|| format!("cannot read {path}"))?;
    let (found, _) = Digest::of_reader(file).attempt(|| format!("cannot read {path}"))?;
    if found == emulator.sha256 {
        return Ok(());
    }
    Err(Error::new(
        Status::Integrity,
        format!(
            "the emulator for {} isn't the pinned one: its sha256 is {found}, not {}",
            emulator.target, emulator.sha256
        ),
    )
    .hint("the manifest contradicts itself; make it anew with `binfmtctl manifest lock`"))
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
