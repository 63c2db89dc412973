//! The mount of binfmt_misc, and whether the rules in it outlive this process.
//!
//! From Linux 6.7 (stable kernels: from September 2024) rules live as long as
//! the last mount of their instance. A mount of a container's own goes with the
//! container, and the rules with it, however well they ran before. So it is
//! made in PID 1's mount namespace where that can be entered. Elsewhere an own
//! mount is used only after it was found that somebody else has the same
//! instance mounted, or that this kernel keeps rules without a mount.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use caps::Capability;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::{CloneFlags, unshare};

use super::instance::{DEFAULT_MOUNT, Instance};
use crate::error::{Error, IoContext, Result, Status};
use crate::host::confinement::{denied, require};
use crate::host::init_mounts::InitMounts;
use crate::host::{self, Host};

/// What the kernel stamps files with may be so much older than the time of day:
/// the longest tick is 10 ms.
const TICK: Duration = Duration::from_millis(20);

/// What it takes to mount anything.
const NEEDS: [Capability; 1] = [Capability::CAP_SYS_ADMIN];

/// A rule that no program can match, by which it is tried whether this kernel
/// keeps rules without a mount.
const MARK: &str = "binfmtctl-lifetime";

/// Refuses where binfmt_misc can't be mounted for lack of rights.
pub fn require_capability(dir: &Path) -> Result<()> {
    require(attempt(dir), &NEEDS)
}

fn attempt(dir: &Path) -> String {
    format!("cannot mount binfmt_misc at {}", dir.display())
}

/// Mounts binfmt_misc in this mount namespace.
pub(super) fn mount(dir: &Path) -> Result<()> {
    try_mount(dir).map_err(|errno| mount_failed(dir, errno))
}

/// Mounts it, loading the module if need be.
pub(super) fn try_mount(dir: &Path) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let name = Some("binfmt_misc");
    let once = || nix::mount::mount(name, dir, name, flags, None::<&str>);
    match once() {
        // Before Linux 5.18 the directory comes with the module; where the
        // kernel can't load modules by itself, modprobe sometimes can.
        Err(Errno::ENODEV | Errno::ENOENT) => {
            load_module();
            once()
        }
        mounted => mounted,
    }
}

pub(super) fn mount_failed(dir: &Path, errno: Errno) -> Error {
    let attempt = attempt(dir);
    match errno {
        Errno::ENODEV | Errno::ENOENT => Error::new(Status::Unsupported, attempt)
            .because(io::Error::from(errno))
            .hint("this kernel has no binfmt_misc, or can't load it; try `modprobe binfmt_misc`, or a kernel with CONFIG_BINFMT_MISC"),
        Errno::EPERM | Errno::EACCES => denied(
            attempt,
            errno,
            &NEEDS,
            "it takes root with CAP_SYS_ADMIN: run it as root on the host, or in a privileged container",
        ),
        _ => Error::io(attempt, errno.into()),
    }
}

/// Best effort: the mount that follows tells whether it helped.
fn load_module() {
    for program in ["/sbin/modprobe", "/usr/sbin/modprobe", "modprobe"] {
        let ran = Command::new(program)
            .args(["--quiet", "binfmt_misc"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if ran.is_ok() {
            return;
        }
    }
}

/// Mounts it in PID 1's mount namespace, from where it spreads, or at least stays.
pub(super) fn beside_init() -> Result<()> {
    in_namespace_of_init(|| match Instance::find(Path::new(DEFAULT_MOUNT)) {
        Some(_) => Ok(()),
        None => mount(Path::new(DEFAULT_MOUNT)),
    })
}

fn in_namespace_of_init(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let attempt = || "cannot enter the mount namespace of PID 1".to_owned();
    let namespace = InitMounts::open()?;
    // A thread may change its mount namespace once it no longer shares its
    // root and working directory with the others.
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS).attempt(attempt)?;
            namespace.enter()?;
            work()
        });
        beside
            .join()
            .unwrap_or_else(|_| Err(Error::new(Status::Failed, attempt())))
    })
}

/// Mounts it at `dir` so that it lasts. Where it wouldn't, nothing is left of
/// the attempt, and the error says what would help.
pub(super) fn mount_to_last(dir: &Path, host: &Host) -> Result<()> {
    if stays(host) {
        return mount(dir);
    }
    let beside = match host.sees_init() {
        true => beside_init(),
        false => Ok(()),
    };
    // From there it may have spread to here.
    if Instance::find(dir).is_some() {
        return Ok(());
    }
    OwnMount::lasting(dir, host, beside).map(OwnMount::keep)
}

/// Whether [`mount_to_last`] would do it. Nothing is left of the attempt.
pub(super) fn could_last(dir: &Path, host: &Host) -> Result<()> {
    require_capability(dir)?;
    if stays(host) {
        return Ok(());
    }
    let beside = match host.sees_init() {
        true => in_namespace_of_init(|| Ok(())),
        false => Ok(()),
    };
    match (host.sees_init(), &beside) {
        (true, Ok(())) => Ok(()),
        _ => OwnMount::lasting(dir, host, beside).map(drop),
    }
}

/// Lets this process alone see the instance that others have mounted, from
/// where it isn't: a container. Returns whether there is one.
pub(super) fn show(dir: &Path, host: &Host) -> Result<bool> {
    if !host.initial_user_ns || stays(host) {
        return Ok(false);
    }
    let attempt = || "cannot make a mount namespace to look at the host's rules from".to_owned();
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| {
        denied(
            attempt(),
            errno,
            &NEEDS,
            "run it as root on the host, or in a privileged container",
        )
    })?;
    // Where the mount will be, one of these is what it would spread from; the
    // others may be no mounts, or not even seen from a chroot.
    for place in ["/", "/proc", "/proc/sys"] {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        let _ = nix::mount::mount(None::<&str>, place, None::<&str>, private, None::<&str>);
    }
    let own = match OwnMount::new(dir) {
        // Where there is no binfmt_misc there are no rules.
        Err(error) if error.status() == Status::Unsupported => return Ok(false),
        own => own?,
    };
    // One that nobody else has is no sight.
    let held = own.is_held(host)?;
    if held {
        own.keep();
    }
    Ok(held)
}

/// Takes the uppermost mount at `dir` away again, as far as that can be done.
pub fn unmount(dir: &Path) {
    // Whoever can't unmount didn't mount.
    let _ = nix::mount::umount(dir);
}

/// Whether this mount namespace is that of the init system.
fn stays(host: &Host) -> bool {
    host.sees_init() && host::has_mounts_of_init() == Some(true)
}

/// A mount in this mount namespace, taken away again unless it is kept.
struct OwnMount {
    dir: PathBuf,
    started: SystemTime,
    kept: bool,
}

impl OwnMount {
    fn new(dir: &Path) -> Result<Self> {
        let started = SystemTime::now();
        mount(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            started,
            kept: false,
        })
    }

    /// A mount whose rules outlive it; `beside` is what came of the attempt to
    /// have PID 1 hold it.
    fn lasting(dir: &Path, host: &Host, beside: Result<()>) -> Result<Self> {
        let own = Self::new(dir)?;
        if own.is_held(host)? || own.is_outlived()? {
            return Ok(own);
        }
        const MOUNT: &str =
            "run `mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc` on the host first";
        let refuse = |what: &str, why: String, hint: &str| {
            Err(Error::new(
                Status::Unsupported,
                format!("rules that are registered here would go with this {what}"),
            )
            .because(why)
            .hint(format!("{hint}, or {MOUNT}")))
        };
        let not_beside = "PID 1 hasn't binfmt_misc mounted";
        match (host.sees_init(), beside) {
            (false, _) => refuse(
                "container",
                "nothing outside it has binfmt_misc mounted".to_owned(),
                "start it with `docker run --privileged --pid=host` (Kubernetes: privileged, hostPID)",
            ),
            (true, Ok(())) => refuse("mount", not_beside.to_owned(), "unmount it"),
            (true, Err(error)) => refuse(
                "mount",
                format!("{not_beside}, and {}", error.reason()),
                error.advice().unwrap_or("run it there"),
            ),
        }
    }

    fn keep(mut self) {
        self.kept = true;
    }

    /// Whether somebody else has this instance mounted too.
    fn is_held(&self, host: &Host) -> Result<bool> {
        let attempt = || format!("cannot look at {}", self.dir.display());
        let files = fs::metadata(self.dir.join("status")).attempt(attempt)?;
        let seen = match host.sees_init() {
            true => host::init_mounts(Some(files.dev())),
            false => None,
        };
        Ok(seen.unwrap_or_else(|| !is_between(&files, self.started, SystemTime::now())))
    }

    /// Whether a rule is still there when the only mount has gone: tried, since
    /// no version number tells it.
    fn is_outlived(&self) -> Result<bool> {
        let attempt = || format!("cannot try how long rules last in {}", self.dir.display());
        let write = |file: &str, text: String| {
            let file = OpenOptions::new().write(true).open(self.dir.join(file));
            file.and_then(|mut file| file.write_all(text.as_bytes()))
        };
        match write("register", format!(":{MARK}:E::{MARK}::/{MARK}:\n")) {
            // A run that was killed left it.
            Err(error) if error.raw_os_error() == Some(nix::libc::EEXIST) => {}
            registered => registered.attempt(attempt)?,
        }
        nix::mount::umount(&self.dir).attempt(attempt)?;
        mount(&self.dir)?;
        match write(MARK, "-1".to_owned()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.attempt(attempt).map(|()| true),
        }
    }
}

impl Drop for OwnMount {
    fn drop(&mut self) {
        if !self.kept {
            // It goes with this mount namespace at the latest.
            let _ = nix::mount::umount2(&self.dir, MntFlags::MNT_DETACH);
        }
    }
}

/// Whether the kernel made this file in this time: an instance gets its files
/// with its first mount.
fn is_between(file: &fs::Metadata, start: SystemTime, end: SystemTime) -> bool {
    let since = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| since.as_nanos() as i128)
    };
    let made = i128::from(file.ctime()) * 1_000_000_000 + i128::from(file.ctime_nsec());
    (since(start) - TICK.as_nanos() as i128..=since(end)).contains(&made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_binfmt_misc_is_told_from_a_missing_right() {
        let table = [
            (Errno::ENODEV, Status::Unsupported, "CONFIG_BINFMT_MISC"),
            (Errno::EPERM, Status::Permission, "root on the host"),
        ];
        for (errno, status, advice) in table {
            let error = mount_failed(Path::new(DEFAULT_MOUNT), errno);
            assert_eq!(error.status(), status);
            assert!(
                error.line().to_string().contains(advice),
                "{}",
                error.line()
            );
            assert!(error.line().to_string().contains(DEFAULT_MOUNT));
        }
    }

    #[test]
    fn what_was_made_before_or_after_isnt_ours() {
        let start = SystemTime::now();
        let file = tempfile::tempfile().unwrap();
        let end = SystemTime::now();
        let metadata = file.metadata().unwrap();
        let later = Duration::from_secs(1);
        assert!(is_between(&metadata, start, end));
        assert!(!is_between(&metadata, start + later, end + later));
        assert!(!is_between(&metadata, start - later, end - later));
    }
}
