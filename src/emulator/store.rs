//! The store: emulators on disk, each under the digest of its bytes.
//!
//! `<prefix>/bin/<sha256>/qemu-<target>`: the content decides the name, so a
//! file that is there is the right one or damaged, never another version.
//! `bin` because SELinux labels such paths for execution. A file is compared
//! with its digest before it is named, and again before it is registered.
//! Nothing in it, nor on the way to it, may be in anybody's hands but root's:
//! the kernel opens the emulator by its path.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::crash::{self, Point};
use crate::custody::{self, Fault, Role, Trouble};
use crate::digest::Digest;
use crate::durable::{self, Locked, Staged};
use crate::error::{Error, IoContext, Result, Status};

/// Where emulators are kept when nothing else is said: writable, and labelled
/// for execution, on every distribution.
pub const DEFAULT_PREFIX: &str = "/opt/binfmtctl";

/// How often to try what another run may have been in the way of.
const ATTEMPTS: usize = 20;
const LOCK: &str = "lock";

/// The emulators below one prefix.
#[derive(Debug, Clone)]
pub struct Store {
    prefix: PathBuf,
}

/// The right to change a store, for one process at a time.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: Locked,
}

impl Store {
    /// The store below `prefix`, which need not exist. The prefix has to be
    /// an absolute path in UTF-8: the kernel gets it as part of a line of text.
    pub fn new(prefix: &Path) -> Result<Self> {
        let normal = prefix
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir));
        match prefix.to_str() {
            Some(text) if prefix.is_absolute() && normal && !text.contains('\n') => Ok(Self {
                prefix: prefix.components().collect(),
            }),
            _ => Err(Error::new(
                Status::Usage,
                format!(
                    "the prefix {} is not an absolute path in plain text",
                    prefix.display()
                ),
            )),
        }
    }

    /// The prefix.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    fn lock_path(&self) -> PathBuf {
        self.prefix.join(LOCK)
    }

    fn bin(&self) -> PathBuf {
        self.prefix.join("bin")
    }

    /// Where the emulator `binary` with these bytes lies, or would lie.
    pub fn path(&self, sha256: &Digest, binary: &str) -> PathBuf {
        self.bin().join(sha256.to_string()).join(binary)
    }

    /// Whether a rule with this interpreter is ours.
    pub fn owns(&self, interpreter: impl AsRef<Path>) -> bool {
        let interpreter = interpreter.as_ref();
        interpreter.starts_with(self.bin()) && self.digest_of_path(interpreter).is_some()
    }

    /// The digest that a path in the store stands for.
    pub fn digest_of_path(&self, path: &Path) -> Option<Digest> {
        let mut parts = path.strip_prefix(self.bin()).ok()?.components();
        let digest = parts.next()?.as_os_str().to_str()?.parse().ok()?;
        match (parts.next(), parts.next()) {
            (Some(_), None) => Some(digest),
            _ => None,
        }
    }

    /// Whether the file at this path in the store has the bytes that its name
    /// promises, and is root's. A damaged one counts as absent.
    pub fn is_sound(&self, path: &Path) -> Result<bool> {
        let Some((file, digest)) = program(path)? else {
            return Ok(false);
        };
        Ok(Some(digest) == self.digest_of_path(path) && custody::is_roots(&file))
    }

    /// Refuses a store whose directories somebody else than root could change,
    /// or anything on the way to them. One that isn't there yet is judged by
    /// where it would be.
    pub fn require_custody(&self) -> Result<()> {
        match self.custody(Path::new("bin")) {
            Err(Trouble::Fault(fault)) => Err(Trouble::Fault(fault).into()),
            // What an ordinary user may not look at, root's own run does.
            Err(Trouble::Unseen(error)) if geteuid().is_root() => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens what lies at this path below the prefix, with a look at all that
    /// leads there.
    fn custody(&self, below: &Path) -> Result<Option<File>, Trouble> {
        match custody::find(&self.prefix)? {
            Some(prefix) => custody::find_below(&prefix, &self.prefix, below),
            None => Ok(None),
        }
    }

    /// What of the store others than root could change: its directories, what
    /// leads to them, its emulators.
    pub fn faults(&self) -> Result<Vec<Fault>> {
        let mut faults: Vec<Fault> = Vec::new();
        let mut paths = vec![self.bin()];
        paths.extend(self.list()?);
        for path in &paths {
            let below = path.strip_prefix(&self.prefix).unwrap_or(path);
            match self.custody(below) {
                Err(Trouble::Fault(fault)) if !faults.contains(&fault) => faults.push(fault),
                Err(Trouble::Unseen(error)) => return Err(error),
                _ => {}
            }
        }
        Ok(faults)
    }

    /// Opens an emulator, in or out of the store, that is going to be
    /// registered: root alone decides what lies at its path, and in the store
    /// it has the bytes that the path stands for.
    pub fn seal(&self, path: &Path) -> Result<Seal> {
        let promised = self.digest_of_path(path);
        let found = match path.strip_prefix(&self.prefix) {
            Ok(below) if promised.is_some() => self.custody(below)?,
            _ => custody::find(path)?,
        };
        let attempt = || format!("cannot read {}", path.display());
        let found = found.ok_or(Errno::ENOENT).attempt(attempt)?;
        // The very file that was looked at.
        let file = durable::open_file(&custody::handle(&found)).attempt(attempt)?;
        let stamp = Stamp::of(&file).attempt(attempt)?;
        if let Some(promised) = promised {
            let (sha256, _) = Digest::of_reader(&file).attempt(attempt)?;
            if sha256 != promised {
                return Err(Error::new(
                    Status::Integrity,
                    format!("{} is damaged", path.display()),
                )
                .because(format!("its sha256 is {sha256}"))
                .hint("`binfmtctl install` gets it again"));
            }
        }
        Ok(Seal {
            path: path.to_owned(),
            stamp,
            promised,
        })
    }

    /// Refuses a place in which the store couldn't be kept, or from which
    /// nothing could be executed.
    pub fn require_place(&self) -> Result<()> {
        let bin = self.bin();
        self.require_custody()?;
        durable::require_writable(&bin)?;
        self.require_lockable()?;
        let place = durable::nearest(&bin);
        match durable::is_noexec(place)? {
            true => Err(Error::new(
                Status::Failed,
                format!("no emulator in {} could be executed", bin.display()),
            )
            .because(format!("{} is mounted noexec", place.display()))
            .hint("choose another place with --prefix")),
            false => Ok(()),
        }
    }

    /// What lies where the lock belongs has to be a lock. What only an ordinary
    /// user may not open, root may.
    fn require_lockable(&self) -> Result<()> {
        match open_lock(&self.lock_path(), false) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied && !geteuid().is_root() => {
                Ok(())
            }
            opened => opened
                .map(drop)
                .attempt(|| format!("cannot lock {}", self.lock_path().display())),
        }
    }

    /// Refuses to begin what there is no room for: these emulators have to get
    /// their places, as far as they aren't there.
    pub fn require_room(&self, missing: &[(PathBuf, u64)]) -> Result<()> {
        for (path, _) in missing {
            if let Some(dir) = path.parent() {
                durable::require_writable(dir)?;
            }
            if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
                return Err(Errno::EISDIR).attempt(|| format!("cannot write {}", path.display()));
            }
        }
        let needed: u64 = missing.iter().map(|(_, size)| size).sum();
        let bin = self.bin();
        match durable::free_space(durable::nearest(&bin))? {
            Some(free) if free < needed => Err(Errno::ENOSPC).attempt(|| {
                format!(
                    "cannot make room in {} ({needed} bytes, {free} are free)",
                    bin.display()
                )
            }),
            _ => Ok(()),
        }
    }

    /// Starts an emulator file.
    pub fn stage(&self, sha256: &Digest, binary: &str) -> Result<Staged> {
        let path = self.path(sha256, binary);
        // Nothing is registered of what an ordinary user stores.
        if let Some(dir) = path.parent().filter(|_| geteuid().is_root()) {
            durable::make_dir(dir)?;
            let below = dir.strip_prefix(&self.prefix).unwrap_or(dir);
            self.custody(below)?;
        }
        let staged = Staged::create(&path)?;
        Ok(staged.dated(stamp(sha256)))
    }

    /// Takes the lock, making the store's directory if need be.
    pub fn lock(&self) -> Result<Lock> {
        // The run before us takes directory and lock along when it has emptied
        // the store, at any instant of this; whatever fails for that reason
        // doesn't fail again.
        let mut locked = self.try_lock();
        for _ in 1..ATTEMPTS {
            match locked {
                Err(error) if error.status() == Status::Locked => return Err(error),
                Ok(Some(lock)) => return Ok(lock),
                _ => locked = self.try_lock(),
            }
        }
        locked?.ok_or_else(|| self.is_locked())
    }

    /// The lock; `None` where it is one on nothing, since the file is gone.
    fn try_lock(&self) -> Result<Option<Lock>> {
        let path = self.lock_path();
        let attempt = || format!("cannot lock {}", path.display());
        let prefix = custody::make_dir(&self.prefix, Role::End)?;
        let file = open_lock(&custody::handle(&prefix).join(LOCK), true).attempt(attempt)?;
        // Whoever else may open it could hold it for ever.
        custody::find_below(&prefix, &self.prefix, Path::new(LOCK))?;
        let Ok(lock) = Locked::try_new(file).attempt(attempt)? else {
            return Err(self.is_locked());
        };
        let locked = lock.file().metadata().attempt(attempt)?;
        let named = fs::symlink_metadata(&path);
        let is_named = named.is_ok_and(|named| durable::is_same(&named, &locked));
        if is_named {
            crash::at(Point::StoreLocked);
        }
        Ok(is_named.then_some(Lock { path, _file: lock }))
    }

    fn is_locked(&self) -> Error {
        Error::new(
            Status::Locked,
            format!("another run is changing {}", self.prefix.display()),
        )
        .hint("wait for it to end, then run this again")
    }

    /// All emulators in the store.
    pub fn list(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for dir in self.dirs()? {
            files.extend(list_dir(&dir)?);
        }
        files.retain(|file| self.owns(file) && !durable::is_temporary(file));
        files.sort();
        Ok(files)
    }

    /// Emulators that aren't in `used`, and what killed runs left behind:
    /// files in the making, directories with nothing in them, the lock of a
    /// store that is empty.
    pub fn litter(&self, used: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut litter = Vec::new();
        for dir in self.dirs()? {
            let files = list_dir(&dir)?;
            if files.is_empty() && is_ours_to_remove(&dir) {
                litter.push(dir);
                continue;
            }
            litter.extend(files.into_iter().filter(|file| {
                (self.owns(file) && !used.contains(file)) || durable::is_temporary(file)
            }));
        }
        litter.extend(self.husk()?);
        Ok(litter)
    }

    /// What is left of a store that is empty but for its directories and lock.
    fn husk(&self) -> Result<Option<PathBuf>> {
        let bin = self.bin();
        if bin.is_dir() {
            let is_empty = list_dir(&bin)?.is_empty();
            return Ok((is_empty && is_ours_to_remove(&bin)).then_some(bin));
        }
        let left = list_dir(&self.prefix)?;
        Ok(match left.as_slice() {
            [] if self.prefix.is_dir() && is_ours_to_remove(&self.prefix) => {
                Some(self.prefix.clone())
            }
            [lock] if *lock == self.lock_path() => Some(lock.clone()),
            _ => None,
        })
    }

    /// Removes the litter, and directories that became empty. Returns whether
    /// there was any litter.
    pub fn sweep(&self, _lock: &Lock, used: &[PathBuf]) -> Result<bool> {
        let mut litter = self.litter(used)?;
        // Directories go as they become empty, the lock with `unlock`.
        let husk = self.husk()?;
        for file in litter
            .iter()
            .filter(|file| !file.is_dir() && husk.as_ref() != Some(file))
        {
            durable::remove_unlinked(file)?;
        }
        litter.retain(|file| *file != self.lock_path());
        crash::at(Point::EmulatorsSwept);
        for dir in self.dirs()? {
            remove_if_empty(&dir)?;
        }
        remove_if_empty(&self.bin())?;
        crash::at(Point::DirectoriesSwept);
        Ok(!litter.is_empty())
    }

    /// The directories that emulators lie in.
    fn dirs(&self) -> Result<Vec<PathBuf>> {
        let mut dirs = list_dir(&self.bin())?;
        // What a link leads to isn't ours.
        dirs.retain(|dir| dir.symlink_metadata().is_ok_and(|found| found.is_dir()));
        Ok(dirs)
    }

    /// Gives the lock back; an empty store leaves nothing behind.
    pub fn unlock(&self, lock: Lock) -> Result<()> {
        if !self.bin().exists() {
            durable::remove(&lock.path)?;
            crash::at(Point::LockRemoved);
            remove_if_empty(&self.prefix)?;
        }
        Ok(())
    }
}

/// The time at which a stored file says that it was written. Who writes to it
/// later, or puts another in its place, gives it another time.
fn stamp(sha256: &Digest) -> SystemTime {
    let [a, b, c, d, ..] = sha256.bytes();
    let fraction = u32::from_be_bytes([*a, *b, *c, *d]) % 1_000_000_000;
    UNIX_EPOCH + Duration::new(1, fraction)
}

/// Whether nobody has written to a file since it was stored under this digest,
/// as far as its time tells. (Its bytes were read and compared before that.)
pub fn is_untouched(file: &Metadata, sha256: &Digest) -> bool {
    file.modified().is_ok_and(|time| time == stamp(sha256))
}

/// An emulator as it was when it was proved, to be held against what the kernel
/// has open once it is registered.
#[derive(Debug)]
pub struct Seal {
    path: PathBuf,
    stamp: Stamp,
    promised: Option<Digest>,
}

/// What changes when somebody writes to a file, or puts another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> std::io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl Seal {
    /// Refuses any other file than the one that was proved.
    pub fn require(&self, running: &File) -> Result<()> {
        let attempt = || format!("cannot read the running {}", self.path.display());
        let stamp = Stamp::of(running).attempt(attempt)?;
        if stamp == self.stamp {
            return Ok(());
        }
        // A new label or another name changes no byte.
        let is_only_renamed = Stamp {
            changed: self.stamp.changed,
            ..stamp
        } == self.stamp;
        let reread = || {
            File::open(custody::handle(running))
                .and_then(Digest::of_reader)
                .attempt(attempt)
        };
        match self.promised {
            Some(promised) if reread()?.0 == promised => Ok(()),
            // Root's alone it is, and nothing else is known of it.
            None if is_only_renamed => Ok(()),
            _ => Err(Error::new(
                Status::Integrity,
                format!(
                    "{} was changed while it was registered",
                    self.path.display()
                ),
            )
            .because("the kernel has opened another file than the one that was proved")
            .hint("find out who writes there, and run this again")),
        }
    }
}

/// The digest of an executable file's bytes; `None` where there is no such file.
pub fn program_digest(path: &Path) -> Result<Option<Digest>> {
    Ok(program(path)?.map(|(_, digest)| digest))
}

/// An executable file, and the digest of its bytes.
fn program(path: &Path) -> Result<Option<(File, Digest)>> {
    let attempt = || format!("cannot read {}", path.display());
    let file = match open_plain(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        error => error.attempt(attempt)?,
    };
    let metadata = file.metadata().attempt(attempt)?;
    if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
        return Ok(None);
    }
    let (found, _) = Digest::of_reader(&file).attempt(attempt)?;
    Ok(Some((file, found)))
}

/// Opens without following a link in the last place and without blocking on a pipe.
fn open_plain(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
}

/// Opens the lock, blocking on nothing that lies there instead.
fn open_lock(path: &Path, create: bool) -> std::io::Result<File> {
    // Mode 0600: nobody but root may hold us up.
    OpenOptions::new()
        .create(create)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
}

fn list_dir(dir: &Path) -> Result<Vec<PathBuf>> {
    let attempt = || format!("cannot list {}", dir.display());
    let files = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.attempt(attempt)?,
    };
    files
        .map(|file| file.map(|file| file.path()).attempt(attempt))
        .collect()
}

/// Whether an empty directory isn't a place where somebody has mounted something.
fn is_ours_to_remove(dir: &Path) -> bool {
    let device = |dir: &Path| fs::metadata(dir).map(|found| found.dev());
    match (device(dir), dir.parent().map(device)) {
        (Ok(own), Some(Ok(above))) => own == above,
        _ => false,
    }
}

fn remove_if_empty(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        // A busy one is a mount point: somebody else's, and not to be removed.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy
            ) =>
        {
            Ok(())
        }
        removed => removed.attempt(|| format!("cannot remove the directory {}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    fn put(store: &Store, bytes: &[u8]) -> PathBuf {
        let staged = store.stage(&Digest::of(bytes), "qemu-a").unwrap();
        staged.file().write_all(bytes).unwrap();
        let path = staged.target().to_owned();
        staged.publish(0o755).unwrap();
        path
    }

    #[test]
    fn a_file_is_sound_while_its_bytes_are_those_of_its_name() {
        let (_dir, store) = store();
        let path = put(&store, b"one");
        assert!(store.is_sound(&path).unwrap());
        assert!(store.owns(&path));
        fs::write(&path, b"two").unwrap();
        assert!(!store.is_sound(&path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!store.is_sound(&path).unwrap());
        std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
        assert!(store.is_sound(&path).is_err());
    }

    #[test]
    fn a_file_is_untouched_until_somebody_writes_to_it_or_puts_another_there() {
        let (_dir, store) = store();
        let digest = Digest::of(b"one");
        let path = put(&store, b"one");
        let is_untouched = || super::is_untouched(&fs::metadata(&path).unwrap(), &digest);
        assert!(is_untouched());
        fs::write(&path, b"one").unwrap();
        assert!(!is_untouched());
        let other = put(&store, b"two");
        fs::rename(other, &path).unwrap();
        assert!(!is_untouched(), "a stored one, of another digest");
    }

    #[test]
    fn only_paths_of_the_stores_own_shape_are_ours() {
        let (_dir, store) = store();
        let digest = Digest::of(b"");
        for path in [
            "/usr/bin/qemu-aarch64".to_owned(),
            format!("{}/bin/qemu-a", store.prefix().display()),
            format!("{}/bin/{digest}", store.prefix().display()),
            format!("{}/bin/{digest}/a/b", store.prefix().display()),
            format!("{}x/bin/{digest}/a", store.prefix().display()),
        ] {
            assert!(!store.owns(&path), "{path}");
        }
        assert!(store.owns(store.path(&digest, "qemu-a")));
    }

    #[test]
    fn sweeping_keeps_what_is_used_and_an_empty_store_vanishes() {
        let (dir, store) = store();
        let lock = store.lock().unwrap();
        let [kept, unused] = [put(&store, b"one"), put(&store, b"two")];
        let left_behind = kept.with_file_name(".binfmtctl-killed.tmp");
        fs::write(&left_behind, "").unwrap();
        store.sweep(&lock, std::slice::from_ref(&kept)).unwrap();
        assert_eq!(store.list().unwrap(), std::slice::from_ref(&kept));
        assert!(!unused.exists() && !left_behind.exists());
        store.sweep(&lock, &[]).unwrap();
        store.unlock(lock).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_run_at_a_time() {
        let (_dir, store) = store();
        let lock = store.lock().unwrap();
        assert_eq!(store.lock().unwrap_err().status(), Status::Locked);
        drop(lock);
        store.lock().unwrap();
    }

    #[test]
    fn who_comes_while_another_run_takes_an_empty_store_away_is_only_held_up() {
        let (_dir, store) = store();
        let come_and_go = || {
            for _ in 0..2000 {
                match store.lock() {
                    Ok(lock) => store.unlock(lock).unwrap(),
                    Err(error) => assert_eq!(error.status(), Status::Locked, "{}", error.line()),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(come_and_go);
            }
        });
        assert!(!store.prefix().exists());
    }

    #[test]
    fn a_prefix_is_absolute_and_plain() {
        for prefix in ["relative", "/a/../b", "/a\nb"] {
            assert!(Store::new(Path::new(prefix)).is_err(), "{prefix}");
        }
    }
}
