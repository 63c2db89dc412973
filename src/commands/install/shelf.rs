//! A store that goes away, for emulators that a dry run has to look at and
//! the host's own store lacks.
//!
//! A run that is killed can't clear up, so its aftermath does, or the next run:
//! a directory of this user's that nobody holds the lock of is what a killed
//! run left.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::aftermath::Aftermath;
use crate::durable::{self, Locked};
use crate::emulator::store::Store;
use crate::error::{IoContext, Result};

const PREFIX: &str = "binfmtctl-rehearsal.";

/// How often to make another directory when one was taken for a killed run's.
const ATTEMPTS: usize = 3;

/// A store in a temporary directory.
pub(super) struct Shelf {
    /// The store.
    pub store: Store,
    _lock: Option<Locked>,
    _dir: TempDir,
    _aftermath: Option<Aftermath>,
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let mut shelf = Self::below(&durable::scratch())?;
        shelf._aftermath = Aftermath::of(shelf.store.prefix());
        Ok(shelf)
    }

    fn below(scratch: &Path) -> Result<Self> {
        sweep(scratch);
        let made = |dir: io::Result<TempDir>| {
            let attempt = || format!("cannot make a temporary directory in {}", scratch.display());
            dir.attempt(attempt)
                .map_err(|error| error.hint(durable::SCRATCH_HINT))
        };
        let create = || {
            tempfile::Builder::new()
                .prefix(PREFIX)
                // apt's own user works further below.
                .permissions(Permissions::from_mode(0o711))
                .tempdir_in(scratch)
        };
        let mut dir = made(create())?;
        let hold = |dir: &TempDir| durable::hold(dir.path()).ok().flatten();
        let mut held = hold(&dir);
        for _ in 1..ATTEMPTS {
            if held.is_some() {
                break;
            }
            dir = made(create())?;
            held = hold(&dir);
        }
        Ok(Self {
            store: Store::new(dir.path())?,
            _lock: held,
            _dir: dir,
            _aftermath: None,
        })
    }
}

/// Removes what killed runs of this user left. What can't be removed is in
/// nobody's way.
pub(super) fn sweep(scratch: &Path) {
    let own = geteuid().as_raw();
    for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
        let is_shelf = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_own = entry.metadata().is_ok_and(|found| found.uid() == own);
        if is_shelf && is_own {
            if let Ok(Some(_held)) = durable::hold(&entry.path()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_run_is_left_in_peace_and_a_dead_ones_place_is_cleared() {
        let scratch = tempfile::tempdir().unwrap();
        let dead = scratch.path().join(format!("{PREFIX}dead/bin"));
        fs::create_dir_all(&dead).unwrap();
        let living = Shelf::below(scratch.path()).unwrap();
        let other = Shelf::below(scratch.path()).unwrap();
        assert!(!dead.exists());
        assert!(living.store.prefix().exists() && other.store.prefix().exists());
        drop((living, other));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
