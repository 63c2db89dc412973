//! An emulator on its way to the disk: a file without a name, which gets it
//! when the bytes that are on the disk are the pinned ones.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::digest::Digest;
use crate::durable::Staged;
use crate::emulator::manifest::{Emulator, Release};
use crate::error::{Error, IoContext, Result, Status};

/// One emulator, written to by whoever decodes a part of it.
pub(super) struct Work<'a> {
    /// Which one.
    pub emulator: &'a Emulator,
    path: PathBuf,
    /// Nothing once the file has its name.
    staged: RwLock<Option<Staged>>,
    /// How many of its blocks aren't decoded yet.
    left: AtomicUsize,
}

impl<'a> Work<'a> {
    pub(super) fn new(release: &Release, emulator: &'a Emulator, staged: Staged) -> Self {
        Self {
            emulator,
            path: staged.target().to_owned(),
            left: AtomicUsize::new(release.blocks_of(emulator).len()),
            staged: RwLock::new(Some(staged)),
        }
    }

    /// What it will be called, or is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has got its name.
    pub(super) fn is_named(&self) -> bool {
        let staged = self.staged.read().unwrap_or_else(PoisonError::into_inner);
        staged.is_none()
    }

    /// Writes the whole emulator down.
    pub(super) fn fill(&self, from: File) -> Result<()> {
        self.write(|mut to| std::io::copy(&mut from.take(self.emulator.size), &mut to).map(drop))
    }

    /// Writes down the part of `decoded`, which starts at `from` in the
    /// stream, that belongs to this emulator.
    pub(super) fn take(&self, from: u64, decoded: &[u8]) -> Result<()> {
        let (start, end) = (self.emulator.offset, self.end());
        let first = start.max(from);
        let last = end.min(from + decoded.len() as u64);
        if first >= last {
            return Ok(());
        }
        let part = &decoded[(first - from) as usize..(last - from) as usize];
        self.write(|to| to.write_all_at(part, first - start))
    }

    /// Where the emulator ends in the stream.
    pub(super) fn end(&self) -> u64 {
        self.emulator.offset + self.emulator.size
    }

    /// Counts one of its blocks as decoded; whether that was the last.
    pub(super) fn is_whole_now(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Gives the emulator its name, once its bytes on the disk are the right ones.
    pub(super) fn finish(&self) -> Result<()> {
        let mut staged = self.staged.write().unwrap_or_else(PoisonError::into_inner);
        match staged.take() {
            Some(staged) => {
                verify(self.emulator, &staged)?;
                staged.publish(0o755)
            }
            None => Ok(()),
        }
    }

    fn write(&self, write: impl FnOnce(&File) -> std::io::Result<()>) -> Result<()> {
        let staged = self.staged.read().unwrap_or_else(PoisonError::into_inner);
        // A block is decoded once, so nothing comes after the whole.
        let Some(staged) = &*staged else {
            return Ok(());
        };
        write(staged.file()).attempt(|| format!("cannot write {}", self.path.display()))
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
