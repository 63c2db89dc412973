//! How long rules live that are registered through a mount of this process's
//! own: tried, since no version number tells it.
//!
//! The mount is taken away for an instant. If the same instance is there
//! afterwards, something else keeps it: another mount, or, before Linux 6.7,
//! other people's rules. If it is a new one, a rule that no program can match
//! shows whether this kernel keeps an instance for its rules alone. No clock is
//! read: the times that are compared are the instance's own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::durable::Locked;
use nix::mount::{MntFlags, umount, umount2};

use super::mount::mount;
use crate::error::{Error, IoContext, Result, Status};

/// Longer than the longest tick (10 ms), by which the kernel stamps files: two
/// instances that are made so far apart have different times.
const TICK: Duration = Duration::from_millis(20);

/// How long to wait for other runs' trials, each of which takes a few ticks.
const PATIENCE: Duration = Duration::from_secs(10);

/// A rule that no program can match: none is called so.
const MARK: &str = "binfmtctl-lifetime";

/// What an instance belongs to, and so what one trial at a time is made in. A
/// lock on a file of the instance itself would keep it mounted.
const NAMESPACE: &str = "/proc/self/ns/user";

/// How long rules live that are registered through an own mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as something else does that keeps the same instance.
    Elsewhere,
    /// Until they are removed: this kernel keeps rules without any mount.
    Kernel,
    /// As long as this mount.
    Mount,
}

/// A mount in this mount namespace, taken away again unless it is kept.
#[derive(Debug)]
pub struct OwnMount {
    dir: PathBuf,
    /// Whether it is there, and is to be taken away.
    passing: bool,
}

impl OwnMount {
    /// Mounts binfmt_misc.
    pub fn new(dir: &Path) -> Result<Self> {
        mount(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            passing: true,
        })
    }

    /// Mounts it and tries how long its rules live. While nobody else has it
    /// mounted, there is none but the trial's own.
    pub(super) fn tried(dir: &Path) -> Result<(Self, Lifetime)> {
        let _turn = take_turn(dir)?;
        let mut own = Self::new(dir)?;
        let lifetime = own.lifetime()?;
        Ok((own, lifetime))
    }

    /// Mounts it if something else keeps the same instance.
    pub(super) fn of_others(dir: &Path) -> Result<Option<Self>> {
        let _turn = take_turn(dir)?;
        let mut own = Self::new(dir)?;
        Ok(own.outlives_itself()?.then_some(own))
    }

    /// Leaves it mounted.
    pub fn keep(mut self) {
        self.passing = false;
    }

    /// Takes the mount away for an instant. Returns whether it is the same
    /// instance as before.
    pub fn outlives_itself(&mut self) -> Result<bool> {
        let before = self.made()?;
        self.renew()?;
        Ok(self.made()? == before)
    }

    fn lifetime(&mut self) -> Result<Lifetime> {
        // A run that was killed may have left it.
        self.unmark()?;
        if self.outlives_itself()? {
            return Ok(Lifetime::Elsewhere);
        }
        self.mark()?;
        self.renew()?;
        if !self.unmark()? {
            return Ok(Lifetime::Mount);
        }
        // Unless somebody has mounted it since, it was the rule that kept it.
        Ok(match self.outlives_itself()? {
            true => Lifetime::Elsewhere,
            false => Lifetime::Kernel,
        })
    }

    /// Which instance it is: an instance gets its files with its first mount.
    fn made(&self) -> Result<(u64, i64, i64)> {
        let status = fs::metadata(self.dir.join("status")).attempt(|| self.attempt())?;
        Ok((status.dev(), status.ctime(), status.ctime_nsec()))
    }

    fn renew(&mut self) -> Result<()> {
        umount(&self.dir).attempt(|| self.attempt())?;
        // What lies beneath isn't this run's to take away.
        self.passing = false;
        thread::sleep(TICK);
        mount(&self.dir)?;
        self.passing = true;
        Ok(())
    }

    fn mark(&self) -> Result<()> {
        let rule = format!(":{MARK}:E::{MARK}::/{MARK}:\n");
        self.write("register", &rule).attempt(|| self.attempt())
    }

    /// Returns whether it was there.
    fn unmark(&self) -> Result<bool> {
        match self.write(MARK, "-1") {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            removed => removed.attempt(|| self.attempt()).map(|()| true),
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.dir.join(file))?;
        file.write_all(text.as_bytes())
    }

    fn attempt(&self) -> String {
        attempt(&self.dir)
    }
}

impl Drop for OwnMount {
    fn drop(&mut self) {
        if self.passing {
            // It goes with this mount namespace at the latest.
            let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
        }
    }
}

fn attempt(dir: &Path) -> String {
    format!("cannot try how long rules last in {}", dir.display())
}

/// Waits until nobody else is at a trial: one would keep the other's instance.
/// A kernel without user namespaces has nothing to be locked.
fn take_turn(dir: &Path) -> Result<Option<Locked>> {
    let deadline = Instant::now() + PATIENCE;
    let mut file = match File::open(NAMESPACE) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.attempt(|| attempt(dir))?,
    };
    loop {
        file = match Locked::try_new(file).attempt(|| attempt(dir))? {
            Ok(turn) => return Ok(Some(turn)),
            Err(file) if Instant::now() < deadline => file,
            Err(_) => {
                return Err(Error::new(Status::Locked, attempt(dir))
                    .because(format!("another process holds a lock on {NAMESPACE}"))
                    .hint("wait for it to end, then run this again"));
            }
        };
        thread::sleep(TICK);
    }
}
