//! One instance of the kernel's binfmt_misc: found or mounted, read, changed.
//!
//! An instance lives as long as its last mount (Linux 6.7 and later, and
//! stable kernels since September 2024), so that a rule in a mount that only
//! this process sees is no rule. `-1` is never written to `status`: it would
//! remove everybody's rules.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{FsType, statfs};

use super::entry::Entry;
use super::lifetime::{Lifetime, OwnMount};
use super::mount;
use super::rule::Rule;
use crate::durable::Locked;
use crate::error::{Error, IoContext, Result, Status};
use crate::host::confinement::denied;
use crate::host::{self, Host};

/// Where the kernel wants it mounted.
pub const DEFAULT_MOUNT: &str = "/proc/sys/fs/binfmt_misc";

/// What to do about a rule that can't be said in a line of the kernel's.
pub const LINE_HINT: &str = "let --prefix be a shorter path in plain text";

/// `BINFMTFS_MAGIC` in include/uapi/linux/magic.h.
const BINFMTFS: FsType = FsType(0x4249_4e4d);

/// A mounted instance.
#[derive(Debug, Clone)]
pub struct Instance {
    dir: PathBuf,
    device: u64,
}

/// The right to change an instance, for one process at a time. It is a lock
/// on the kernel's own `register` file: it needs no file of ours, reaches
/// across mount namespaces, dies with the process, and only root can take it.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held, not used")] Locked);

impl Instance {
    /// The instance that is mounted at `dir`; `None` where there is none.
    /// Opening `status` triggers an automount that nobody has triggered.
    pub fn find(dir: &Path) -> Option<Self> {
        // Only the open matters; what is there is asked right after it.
        drop(File::open(dir.join("status")));
        let is_instance = statfs(dir).is_ok_and(|found| found.filesystem_type() == BINFMTFS);
        let device = fs::metadata(dir).ok()?.dev();
        is_instance.then(|| Self {
            dir: dir.to_owned(),
            device,
        })
    }

    /// The instance at `dir`, mounted if need be: in PID 1's mount namespace,
    /// or where the rules outlive the mount; nowhere else. What was found out
    /// about that comes along; of a mount that was there already nothing can
    /// be, short of unmounting it with all its rules.
    pub fn find_or_mount(dir: &Path, host: &Host) -> Result<(Self, Option<Lifetime>)> {
        if let Some(instance) = Self::find(dir) {
            if instance.held(host) == Some(false) {
                // Whoever mounted it here may go. Where that can't be mended
                // `held` tells it.
                let _ = mount::beside_init();
            }
            return Ok((instance, None));
        }
        if dir != Path::new(DEFAULT_MOUNT) {
            return Err(not_an_instance(dir));
        }
        let lifetime = mount::mount_to_last(dir, host)?;
        let instance = Self::find(dir).ok_or_else(|| not_an_instance(dir))?;
        Ok((instance, Some(lifetime)))
    }

    /// Lets [`Instance::find`] find what the host has, in a container that
    /// hasn't mounted it: for this process, and for no longer than it lives.
    /// Where the host has none either, nothing is there to be found. Returns
    /// whether it took that, and something else keeps the instance.
    pub fn show(dir: &Path, host: &Host) -> Result<bool> {
        match Self::find(dir) {
            None if dir == Path::new(DEFAULT_MOUNT) => mount::show(dir, host),
            _ => Ok(false),
        }
    }

    /// Refuses a place where [`Instance::find_or_mount`] would fail, or would
    /// mount what doesn't last. Nothing is left of the attempt.
    pub fn require_mountable(dir: &Path, host: &Host) -> Result<()> {
        match Self::find(dir) {
            Some(_) => Ok(()),
            None if dir != Path::new(DEFAULT_MOUNT) => Err(not_an_instance(dir)),
            None => mount::could_last(dir, host),
        }
    }

    /// The instance of the current user namespace, mounted at `dir` on top of
    /// whatever is there, unless it is there already. From then on the host's
    /// rules don't reach into this namespace.
    pub fn of_user_namespace(dir: &Path, host: &Host) -> Result<Self> {
        if !host.kernel.has_instances() {
            return Err(Error::new(
                Status::Unsupported,
                format!(
                    "kernel {} has no binfmt_misc of its own for user namespaces",
                    host.kernel
                ),
            )
            .hint("it takes Linux 6.7 or later; leave --userns out to change the host's rules"));
        }
        if dir != Path::new(DEFAULT_MOUNT) && Self::find(dir).is_none() {
            // It would hide what is there.
            return Err(not_an_instance(dir));
        }
        match mount::try_mount(dir) {
            // The kernel doesn't put a file system twice on one place: the
            // topmost mount is this namespace's own instance already.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => return Err(mount::mount_failed(dir, errno)),
        }
        Self::find(dir).ok_or_else(|| not_an_instance(dir))
    }

    /// The instance of the current user namespace, mounted at `dir`, wherever
    /// that is, in this mount namespace alone.
    pub fn mount_at(dir: &Path) -> Result<Self> {
        mount::mount(dir)?;
        Self::find(dir).ok_or_else(|| not_an_instance(dir))
    }

    /// Mounts it at an empty directory, for this process alone, whatever ends
    /// it. A directory with anything in it is refused: it would be hidden.
    pub fn look_at(dir: &Path) -> Result<OwnMount> {
        let attempt = || format!("cannot list {}", dir.display());
        if fs::read_dir(dir).attempt(attempt)?.next().is_some() {
            return Err(not_an_instance(dir).because("it is a directory with other things in it"));
        }
        mount::go_apart(dir)?;
        OwnMount::new(dir)
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether PID 1 has it mounted too, so that it stays when we go; `None`
    /// where PID 1 is not the host's or its mounts can't be seen.
    pub fn held(&self, host: &Host) -> Option<bool> {
        // A container's PID 1 goes with the container.
        match host.initial_pid_ns {
            true => host::init_mounts(Some(self.device)),
            false => None,
        }
    }

    /// The same where none can be seen here.
    pub fn none_held(host: &Host) -> Option<bool> {
        match (host.initial_user_ns, host.initial_pid_ns) {
            (true, true) => host::init_mounts(None),
            (true, false) => None,
            // The host's isn't this user namespace's.
            (false, _) => Some(false),
        }
    }

    /// Whether the whole instance is switched on.
    pub fn enabled(&self) -> bool {
        fs::read_to_string(self.dir.join("status")).is_ok_and(|text| text.trim() == "enabled")
    }

    /// Takes the lock, or says at once that somebody else has it.
    pub fn lock(&self) -> Result<Lock> {
        let attempt = || format!("cannot lock register in {}", self.dir.display());
        match Locked::try_new(self.open_register()?).attempt(attempt)? {
            Ok(lock) => Ok(Lock(lock)),
            Err(_) => Err(Error::new(
                Status::Locked,
                format!("another run is changing {}", self.dir.display()),
            )
            .hint("wait for it to end, then run this again")),
        }
    }

    /// Opens what rules are written to, which only root may.
    pub fn open_register(&self) -> Result<File> {
        let path = self.dir.join("register");
        OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(|error| refused(&path, error))
    }

    /// All entries, in the order of the directory, which is the kernel's
    /// order of matching. One that vanishes meanwhile is left out.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let attempt = || format!("cannot list {}", self.dir.display());
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.dir).attempt(attempt)? {
            let file = file.attempt(attempt)?;
            // The kernel takes a name of any bytes.
            let name = file.file_name();
            if name == "register" || name == "status" {
                continue;
            }
            entries.extend(read_entry(&file.path(), &name.to_string_lossy())?);
        }
        Ok(entries)
    }

    /// One entry by its name.
    pub fn entry(&self, name: &str) -> Result<Option<Entry>> {
        read_entry(&self.dir.join(name), name)
    }

    /// Registers a rule. It is the newest, so it wins from now on.
    pub fn register(&self, _lock: &Lock, rule: &Rule) -> Result<()> {
        let attempt = format!("cannot register {} in {}", rule.name, self.dir.display());
        let line = rule.line().map_err(|error| {
            Error::new(Status::Invalid, &attempt)
                .because(error)
                .hint(LINE_HINT)
        })?;
        let path = self.dir.join("register");
        // One rule a write: a split one would be two broken rules.
        write_once(&path, line.as_bytes()).map_err(|error| match error.raw_os_error() {
            Some(nix::libc::EEXIST) => Error::new(Status::Failed, attempt)
                .because("an entry of that name appeared meanwhile")
                .hint("run this again"),
            Some(nix::libc::EINVAL) => Error::new(Status::Unsupported, attempt)
                .because(format!("the kernel doesn't accept the line {line}"))
                .hint("the flag F takes Linux 4.8 or later"),
            Some(nix::libc::ENOENT) if !path.exists() => {
                not_an_instance(&self.dir).because("it was unmounted meanwhile")
            }
            Some(nix::libc::ENOENT) => Error::new(Status::Failed, attempt)
                .hint("run this again, or `binfmtctl install` to get it anew")
                .because(format!("{} is not there", rule.interpreter)),
            Some(nix::libc::EACCES | nix::libc::EPERM) if self.open_register().is_ok() => {
                Error::new(Status::Permission, attempt)
                    .because(format!(
                        "the kernel may not execute {}",
                        rule.interpreter
                    ))
                    .hint("its file system is mounted noexec, or a security module forbids it; choose another place with --prefix")
            }
            _ => refused(&path, error),
        })
    }

    /// Removes the entry of this name. Returns whether it was there.
    pub fn remove(&self, _lock: &Lock, name: &str) -> Result<bool> {
        let path = self.dir.join(name);
        match write_once(&path, b"-1") {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(refused(&path, error)),
        }
    }
}

fn read_entry(path: &Path, name: &str) -> Result<Option<Entry>> {
    // An interpreter's path need not be UTF-8.
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.attempt(|| format!("cannot read {}", path.display()))?,
    };
    Entry::parse(name, &String::from_utf8_lossy(&bytes))
        .map(Some)
        .map_err(|error| {
            Error::new(
                Status::Unsupported,
                format!("cannot understand {}", path.display()),
            )
            .because(error)
        })
}

fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(bytes)
}

/// A refused write, told by its errno.
fn refused(path: &Path, error: io::Error) -> Error {
    let attempt = format!("cannot write to {}", path.display());
    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    match errno {
        Errno::EROFS => Error::io(attempt, error).hint(
            "it is read-only here, as /proc/sys is in a container without --privileged; run it on the host, or in a privileged container",
        ),
        Errno::EACCES | Errno::EPERM => denied(
            attempt,
            errno,
            &[],
            "only root of the user namespace that owns the mount may; run it as root on the host",
        ),
        _ => Error::io(attempt, error).hint("see `dmesg`, and try again"),
    }
}

fn not_an_instance(dir: &Path) -> Error {
    Error::new(
        Status::Unsupported,
        format!("{} is not a mounted binfmt_misc", dir.display()),
    )
    .hint(format!(
        "mount it there: mount -t binfmt_misc binfmt_misc {}",
        dir.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_proc_is_told_from_a_missing_right() {
        let told = |errno| refused(Path::new("/proc/x"), io::Error::from_raw_os_error(errno));
        assert!(
            told(nix::libc::EROFS)
                .line()
                .to_string()
                .contains("read-only")
        );
        assert!(told(nix::libc::EACCES).line().to_string().contains("root"));
        assert_eq!(told(nix::libc::EROFS).status(), Status::Permission);
    }

    #[test]
    fn a_directory_proves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("status"), "enabled\n").unwrap();
        assert!(Instance::find(dir.path()).is_none());
    }
}
