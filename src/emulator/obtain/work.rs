//! An emulator on its way to the disk: a file without a name, which gets it
//! when the bytes that were written into it are the pinned ones.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::digest::Digest;
use crate::durable::Staged;
use crate::emulator::manifest::Emulator;
use crate::error::{Error, IoContext, Result, Status};

/// One emulator.
pub(super) struct Work<'a> {
    /// Which one.
    pub emulator: &'a Emulator,
    path: PathBuf,
    /// Nothing once the file has its name.
    staged: Mutex<Option<Staged>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(emulator: &'a Emulator, staged: Staged) -> Self {
        Self {
            emulator,
            path: staged.target().to_owned(),
            staged: Mutex::new(Some(staged)),
        }
    }

    /// What it will be called, or is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has got its name.
    pub(super) fn is_named(&self) -> bool {
        self.staged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Copies the emulator out of a file, into which somebody else may still
    /// write, and gives the copy its name if its bytes are the pinned ones.
    pub(super) fn finish(&self, from: &File) -> Result<()> {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(copy) = &*staged else {
            return Ok(());
        };
        let copying = Copying {
            from,
            to: copy.file(),
            position: 0,
        };
        let copied = Digest::of_reader(copying.take(self.emulator.size));
        let (found, _) = copied.attempt(|| format!("cannot write {}", self.path.display()))?;
        if found != self.emulator.sha256 {
            return Err(not_pinned(self.emulator, &found));
        }
        match staged.take() {
            Some(copy) => copy.publish(0o755),
            None => Ok(()),
        }
    }
}

/// A reader that writes down what it reads, at the same place.
struct Copying<'a> {
    from: &'a File,
    to: &'a File,
    position: u64,
}

impl Read for Copying<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read_at(into, self.position)?;
        self.to.write_all_at(&into[..length], self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

fn not_pinned(emulator: &Emulator, found: &Digest) -> Error {
    Error::new(
        Status::Integrity,
        format!(
            "the emulator for {} isn't the pinned one: its sha256 is {found}, not {}",
            emulator.target, emulator.sha256
        ),
    )
    .hint("the manifest contradicts itself; make it anew with `binfmtctl manifest lock`")
}
