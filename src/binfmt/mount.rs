//! The mount of binfmt_misc, and whether the rules in it outlive this process.
//!
//! From Linux 6.7 (stable kernels: from September 2024) rules live as long as
//! the last mount of their instance. A mount of a container's own goes with the
//! container, and the rules with it, however well they ran before. So it is
//! made in PID 1's mount namespace where that can be entered. Elsewhere an own
//! mount is used only after it was found that somebody else has the same
//! instance mounted, or that this kernel keeps rules without a mount.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use caps::Capability;
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};

use super::instance::{DEFAULT_MOUNT, Instance};
use super::lifetime::{Lifetime, OwnMount};
use crate::error::{Error, IoContext, Result, Status};
use crate::host::confinement::{denied, require};
use crate::host::init_mounts::InitMounts;
use crate::host::{self, Host};

/// What it takes to mount anything.
const NEEDS: [Capability; 1] = [Capability::CAP_SYS_ADMIN];

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
        let enter = || {
            unshare(CloneFlags::CLONE_FS).attempt(attempt)?;
            namespace.enter()?;
            work()
        };
        thread::Builder::new()
            .spawn_scoped(scope, enter)
            .attempt(attempt)?
            .join()
            .unwrap_or_else(|_| Err(Error::new(Status::Failed, attempt())))
    })
}

/// Mounts it at `dir` so that it lasts, and says what is known of how long.
/// Where it wouldn't last, nothing is left of the attempt, and the error says
/// what would help.
pub(super) fn mount_to_last(dir: &Path, host: &Host) -> Result<Lifetime> {
    if stays(host) {
        mount(dir)?;
        return Ok(Lifetime::Elsewhere);
    }
    let beside = is_beside(host).then(beside_init);
    // From there it may have spread to here.
    if Instance::find(dir).is_some() {
        return Ok(Lifetime::Elsewhere);
    }
    let (own, lifetime) = lasting(dir, host, beside)?;
    own.keep();
    Ok(lifetime)
}

/// Whether [`mount_to_last`] would do it. Nothing is left of the attempt.
pub(super) fn could_last(dir: &Path, host: &Host) -> Result<()> {
    require_capability(dir)?;
    if stays(host) {
        return Ok(());
    }
    let beside = is_beside(host).then(|| in_namespace_of_init(|| Ok(())));
    match beside {
        Some(Ok(())) => Ok(()),
        beside => lasting(dir, host, beside).map(drop),
    }
}

/// Lets this process alone see the instance that others have mounted, from
/// where it isn't: a container. Returns whether there is one.
pub(super) fn show(dir: &Path, host: &Host) -> Result<bool> {
    if !host.initial_user_ns || stays(host) {
        return Ok(false);
    }
    go_apart(dir)?;
    let own = match OwnMount::of_others(dir) {
        // Where there is no binfmt_misc there are no rules.
        Err(error) if error.status() == Status::Unsupported => return Ok(false),
        own => own?,
    };
    // One that nobody else has is no sight.
    Ok(own.map(OwnMount::keep).is_some())
}

/// Gives the calling thread, and what it starts, a mount namespace in which a
/// mount at `dir` is seen by nobody else, and ends with them.
pub(super) fn go_apart(dir: &Path) -> Result<()> {
    let attempt = || "cannot make a mount namespace to look at the rules from".to_owned();
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| {
        denied(
            attempt(),
            errno,
            &NEEDS,
            "run it as root on the host, or in a privileged container",
        )
    })?;
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    // One of these is what the mount would spread from; the others may be no
    // mounts, or not even seen from a chroot.
    for place in dir.ancestors() {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        let _ = nix::mount::mount(None::<&str>, place, None::<&str>, private, None::<&str>);
    }
    Ok(())
}

/// Whether this mount namespace is that of the host's PID 1. A PID 1 that
/// isn't the first one's system may itself be a container, whose mounts go.
fn stays(host: &Host) -> bool {
    host.initial_pid_ns && host::has_mounts_of_init() == Some(true)
}

/// Whether there is a PID 1 of a system with other mounts than these.
fn is_beside(host: &Host) -> bool {
    host.sees_init() && host::has_mounts_of_init() != Some(true)
}

/// A mount whose rules outlive it; `beside` is what came of the attempt to
/// have PID 1 hold it.
fn lasting(dir: &Path, host: &Host, beside: Option<Result<()>>) -> Result<(OwnMount, Lifetime)> {
    let (own, lifetime) = OwnMount::tried(dir)?;
    // What holds it instead of PID 1 may be another container. (So it may be
    // rules, before Linux 6.7: nothing tells the two apart.)
    let is_enough = match lifetime {
        Lifetime::Elsewhere => {
            Instance::find(dir).and_then(|found| found.held(host)) != Some(false)
        }
        Lifetime::Kernel => true,
        Lifetime::Mount => false,
    };
    if is_enough {
        return Ok((own, lifetime));
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
    match beside {
        None => refuse(
            "container",
            "nothing outside it has binfmt_misc mounted".to_owned(),
            "start it with `docker run --privileged --pid=host` (Kubernetes: privileged, hostPID)",
        ),
        Some(Ok(())) => refuse("mount", not_beside.to_owned(), "unmount it"),
        Some(Err(error)) => refuse(
            "mount",
            format!("{not_beside}, and {}", error.reason()),
            error.advice().unwrap_or("run it there"),
        ),
    }
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
}
