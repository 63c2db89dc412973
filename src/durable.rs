//! Files that are whole or not there: temp file in the same directory, fsync,
//! rename, fsync of the directory. A reader, or a power cut, sees the old
//! bytes or the new ones, never a part. And whether a place could hold a file
//! at all, found out without making one.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, UnlinkatFlags, eaccess, geteuid, unlinkat};
use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;

use crate::crash::{self, Point};
use crate::custody::{self, Role};
use crate::ending::Passing;
use crate::error::{IoContext, Result};

const PREFIX: &str = ".binfmtctl-";
const SUFFIX: &str = ".tmp";

/// A file in the making: it gets its name only through [`Staged::publish`],
/// and is removed if it never does.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    passing: Passing,
    to: PathBuf,
    /// The directory that it lies in, where that was opened before.
    held: Option<File>,
    date: Option<SystemTime>,
}

impl Staged {
    /// Starts a file that will be called `to`; missing directories are made (0755).
    pub fn create(to: &Path) -> Result<Self> {
        make_dir(parent(to))?;
        Self::create_in(parent(to), to, None)
    }

    /// Starts a file in this directory, whatever its name means by now.
    fn create_held(held: File, to: &Path) -> Result<Self> {
        Self::create_in(&custody::handle(&held), to, Some(held))
    }

    fn create_in(dir: &Path, to: &Path, held: Option<File>) -> Result<Self> {
        let make = || {
            tempfile::Builder::new()
                .prefix(PREFIX)
                .suffix(SUFFIX)
                .tempfile_in(dir)
        };
        let (file, passing) = Passing::make(make, NamedTempFile::path)
            .attempt(|| format!("cannot create a file in {}", parent(to).display()))?;
        crash::at(Point::Staged);
        Ok(Self {
            file,
            passing,
            to: to.to_owned(),
            held,
            date: None,
        })
    }

    /// Lets it say that it was written then.
    pub fn dated(self, date: SystemTime) -> Self {
        Self {
            date: Some(date),
            ..self
        }
    }

    /// The open file, for reading and writing.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// The file's path while it has no name of its own.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What it will be called.
    pub fn target(&self) -> &Path {
        &self.to
    }

    /// Sets the mode, makes the bytes last, and gives the file its name.
    pub fn publish(self, mode: u32) -> Result<()> {
        let attempt = || format!("cannot write {}", self.to.display());
        let file = self.file.as_file();
        crash::at(Point::Written);
        file.set_permissions(Permissions::from_mode(mode))
            .and_then(|()| self.date.map_or(Ok(()), |date| file.set_modified(date)))
            .and_then(|()| file.sync_all())
            .attempt(attempt)?;
        crash::at(Point::Synced);
        let attempt = format!("cannot write {}", self.to.display());
        let held = self.held.as_ref();
        let dir = match held {
            Some(held) => custody::handle(held),
            None => parent(&self.to).to_owned(),
        };
        let name = self.to.file_name().unwrap_or_default();
        let Self { file, passing, .. } = self;
        passing
            .settle(|| file.persist(dir.join(name)))
            .map_err(|error| error.error)
            .attempt(|| attempt)?;
        crash::at(Point::Named);
        sync_dir(&dir)
    }
}

/// A file that never gets a name, in the directory of this one, with room for
/// `size` bytes: better none before a download than after.
pub fn unnamed_beside(path: &Path, size: u64) -> Result<File> {
    let dir = parent(path);
    let file = tempfile::tempfile_in(dir)
        .attempt(|| format!("cannot create a file in {}", dir.display()))?;
    nix::fcntl::posix_fallocate(&file, 0, size as i64)
        .or_else(|errno| match errno {
            Errno::EOPNOTSUPP | Errno::EINVAL => Ok(()),
            errno => Err(errno),
        })
        .attempt(|| format!("cannot make room for {} ({size} bytes)", path.display()))?;
    Ok(file)
}

/// Writes a whole file.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    fill(Staged::create(path)?, path, bytes, mode)
}

/// The same in a directory that root alone can change, which is made if need be.
pub fn write_held(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let dir = custody::make_dir(parent(path), Role::Passage)?;
    fill(Staged::create_held(dir, path)?, path, bytes, mode)
}

fn fill(staged: Staged, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    staged
        .file()
        .write_all(bytes)
        .attempt(|| format!("cannot write {}", path.display()))?;
    staged.publish(mode)
}

/// Makes the symbolic link `path`, which leads to `to`, unless there is one.
pub fn link(path: &Path, to: &Path) -> Result<()> {
    let dir = parent(path);
    make_dir(dir)?;
    match std::os::unix::fs::symlink(to, path) {
        // A killed run may have left it unsynced.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => sync_dir(dir),
        made => made
            .attempt(|| format!("cannot create the link {}", path.display()))
            .and_then(|()| {
                crash::at(Point::Linked);
                sync_dir(dir)
            }),
    }
}

/// Removes a file for good. Returns whether it was there.
pub fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {
            crash::at(Point::Removed);
            let dir = parent(path);
            match sync_dir(dir) {
                // Another run has removed what it lay in, and so synced that.
                Err(_) if !dir.exists() => Ok(true),
                synced => synced.map(|()| true),
            }
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        error => error
            .attempt(|| format!("cannot remove {}", path.display()))
            .map(|()| true),
    }
}

/// Removes a file from a directory that is itself no link, for good.
pub fn remove_unlinked(path: &Path) -> Result<bool> {
    let attempt = || format!("cannot remove {}", path.display());
    let dir = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(parent(path))
        .attempt(attempt)?;
    match unlinkat(
        &dir,
        path.file_name().unwrap_or_default(),
        UnlinkatFlags::NoRemoveDir,
    ) {
        Err(Errno::ENOENT) => Ok(false),
        removed => removed
            .map_err(io::Error::from)
            .and_then(|()| dir.sync_all())
            .attempt(attempt)
            .map(|()| true),
    }
}

/// Whether a killed run may have left this file behind: no file in the making
/// is anybody else's while the caller holds the lock on its directory.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// What killed runs left in a directory. One that can't be listed has nothing
/// to show.
pub fn litter(dir: &Path) -> Vec<PathBuf> {
    let files = dir.read_dir().into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
    files.retain(|file| is_temporary(file));
    files
}

/// Removes what killed runs left in a directory; the caller holds its lock.
/// Returns whether there was anything.
pub fn clear(dir: &Path) -> Result<bool> {
    let mut any = false;
    for file in litter(dir) {
        any |= remove(&file)?;
    }
    Ok(any)
}

/// Makes a file's name last, which a killed run gave it: the bytes lasted before
/// it was named.
pub fn settle(path: &Path) -> Result<()> {
    sync_dir(parent(path))
}

/// Lets what this process makes be read by others, from the first instant,
/// whatever the umask that it was started with.
pub fn set_umask() {
    nix::sys::stat::umask(Mode::S_IWGRP | Mode::S_IWOTH);
}

/// A file that this process alone has locked, until this is dropped.
#[derive(Debug)]
pub struct Locked(File);

impl Locked {
    /// Locks an open file, or gives it back where somebody else has that.
    pub fn try_new(file: File) -> io::Result<Result<Self, File>> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Ok(Self(file))),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(Err(file)),
            Err(error) => Err(error.into()),
        }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // It ends with the file in any case, once no process that was just
        // started has it any more.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// The lock on a directory, unless somebody else has it or has replaced the
/// directory. Links aren't followed.
pub fn hold(dir: &Path) -> io::Result<Option<Locked>> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(dir)?;
    let Ok(lock) = Locked::try_new(file)? else {
        return Ok(None);
    };
    let (named, locked) = (fs::symlink_metadata(dir)?, lock.file().metadata()?);
    Ok(is_same(&named, &locked).then_some(lock))
}

/// Whether it is one and the same file.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Makes a directory and its parents (0755), each entry made to last.
pub fn make_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir);
    make_dir(above)?;
    // Never, not even for an instant, writable by others.
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => {
            crash::at(Point::DirectoryMade);
            // Whatever the umask: others read what lies there.
            made.and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o755)))
                .attempt(|| format!("cannot create the directory {}", dir.display()))?;
            sync_dir(above)
        }
    }
}

/// Opens a file to read it, and nothing but a file: a pipe would be waited for.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it isn't a file")),
    }
}

/// Refuses a directory, there or yet to be made, in which this process
/// couldn't make a file. What an ordinary user may not, root may.
pub fn require_writable(dir: &Path) -> Result<()> {
    let place = nearest(dir);
    let attempt = || format!("cannot create a file in {}", place.display());
    if !place.is_dir() {
        return Err(Errno::ENOTDIR).attempt(attempt);
    }
    let read_only = statvfs(place)
        .attempt(attempt)?
        .flags()
        .contains(FsFlags::ST_RDONLY);
    if read_only {
        return Err(Errno::EROFS).attempt(attempt);
    }
    match eaccess(place, AccessFlags::W_OK | AccessFlags::X_OK) {
        Err(Errno::EACCES) if !geteuid().is_root() => Ok(()),
        allowed => allowed.attempt(attempt),
    }
}

/// Whether nothing in this place can be executed, whatever its mode.
pub fn is_noexec(place: &Path) -> Result<bool> {
    statvfs(place)
        .map(|mount| mount.flags().contains(FsFlags::ST_NOEXEC))
        .attempt(|| format!("cannot look at {}", place.display()))
}

/// How many bytes this process could still write there, where the file system
/// says so.
pub fn free_space(place: &Path) -> Result<Option<u64>> {
    // Its numbers are as wide on every host.
    let found = rustix::fs::statvfs(place)
        .map_err(io::Error::from)
        .attempt(|| format!("cannot look at {}", place.display()))?;
    let blocks = match geteuid().is_root() {
        true => found.f_bfree,
        false => found.f_bavail,
    };
    Ok((found.f_blocks > 0).then(|| blocks.saturating_mul(found.f_frsize)))
}

/// The directory itself, or the one nearest above it that is there.
pub fn nearest(dir: &Path) -> &Path {
    let start = Path::new(if dir.is_absolute() { "/" } else { "." });
    dir.ancestors()
        .find(|above| above.symlink_metadata().is_ok())
        .unwrap_or(start)
}

/// What to do where there is no place for temporary files.
pub const SCRATCH_HINT: &str =
    "let TMPDIR name a directory that can be written to and has some room";

/// Where large temporary files go: /tmp may lie in memory.
pub fn scratch() -> PathBuf {
    match std::env::var_os("TMPDIR") {
        Some(dir) => dir.into(),
        None if Path::new("/var/tmp").is_dir() => "/var/tmp".into(),
        None => std::env::temp_dir(),
    }
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .attempt(|| format!("cannot sync the directory {}", dir.display()))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_publish_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        drop(Staged::create(&path).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 0);
    }

    #[test]
    fn a_written_file_replaces_the_old_one_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, b"old", 0o600).unwrap();
        write(&path, b"new", 0o755).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }
}
