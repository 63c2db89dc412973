//! An emulator that is being decoded into a file that was handed over.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::emulator::manifest::{Emulator, Release};
use crate::error::{IoContext, Result};

/// One emulator, written to by whoever decodes a part of it.
pub(in crate::emulator) struct Output<'a> {
    /// Which one.
    pub emulator: &'a Emulator,
    file: File,
    /// What it is going to be called.
    path: PathBuf,
    /// How many of its blocks aren't decoded yet.
    left: AtomicUsize,
}

impl<'a> Output<'a> {
    pub(in crate::emulator) fn new(
        release: &Release,
        emulator: &'a Emulator,
        file: File,
        path: PathBuf,
    ) -> Self {
        Self {
            emulator,
            file,
            path,
            left: AtomicUsize::new(release.blocks_of(emulator).len()),
        }
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
        self.file
            .write_all_at(part, first - start)
            .attempt(|| format!("cannot write {}", self.path.display()))
    }

    /// Where the emulator ends in the stream.
    pub(super) fn end(&self) -> u64 {
        self.emulator.offset + self.emulator.size
    }

    /// Counts one of its blocks as decoded; whether that was the last.
    pub(super) fn is_whole_now(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether all of it was decoded.
    pub(super) fn is_whole(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }
}
