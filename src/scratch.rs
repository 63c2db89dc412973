//! A temporary directory that isn't left by a run that is killed: another
//! process clears up after it (`aftermath`). Where even that was killed the next
//! run does: a directory of this user's that nobody holds the lock of is what is
//! left of one.

pub mod aftermath;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::geteuid;
use tempfile::TempDir;

use self::aftermath::Aftermath;
use crate::durable::{self, Locked};
use crate::error::{IoContext, Result};

/// How often to make another directory when one was taken for a killed run's.
const ATTEMPTS: usize = 3;

/// A temporary directory, into which every user may go.
#[derive(Debug)]
pub struct Scratch {
    _lock: Option<Locked>,
    dir: TempDir,
    _aftermath: Option<Aftermath>,
}

impl Scratch {
    /// An empty one in `place`, called `prefix`, which ends in a dot, and
    /// something. What killed runs of that prefix left there goes.
    pub fn new(place: &Path, prefix: &str) -> Result<Self> {
        sweep(place, prefix);
        let create = || {
            tempfile::Builder::new()
                .prefix(prefix)
                // Who has no rights works further below.
                .permissions(Permissions::from_mode(0o711))
                .tempdir_in(place)
                .attempt(|| format!("cannot make a temporary directory in {}", place.display()))
                .map_err(|error| error.hint(durable::SCRATCH_HINT))
        };
        let mut dir = create()?;
        let hold = |dir: &TempDir| durable::hold(dir.path()).ok().flatten();
        let mut held = hold(&dir);
        for _ in 1..ATTEMPTS {
            if held.is_some() {
                break;
            }
            dir = create()?;
            held = hold(&dir);
        }
        Ok(Self {
            _lock: held,
            _aftermath: Aftermath::of(dir.path()),
            dir,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes what killed runs of this user left. What can't be removed is in
/// nobody's way.
pub fn sweep(place: &Path, prefix: &str) {
    let own = geteuid().as_raw();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_scratch = entry.file_name().to_string_lossy().starts_with(prefix);
        let is_own = entry.metadata().is_ok_and(|found| found.uid() == own);
        if is_scratch && is_own {
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
        let place = tempfile::tempdir().unwrap();
        let dead = place.path().join("some.dead/bin");
        fs::create_dir_all(&dead).unwrap();
        let living = Scratch::new(place.path(), "some.").unwrap();
        let other = Scratch::new(place.path(), "some.").unwrap();
        assert!(!dead.exists());
        assert!(living.path().exists() && other.path().exists());
        drop((living, other));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
