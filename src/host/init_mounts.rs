//! PID 1's mount namespace, and the way into it: how a container gets at the
//! host's files. It takes `--pid=host` and rights over PID 1; what is missing
//! is named.
//!
//! After [`enter_host`] every path is the host's, also /proc; what stays is
//! what was opened before, and /proc/self/exe.

use std::fs::File;
use std::os::fd::OwnedFd;

use caps::Capability;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::confinement::{denied, require};
use super::{
    INITIAL_PID_NS, INITIAL_USER_NS, has_mounts_of_init, is_initial, is_of_system, read_comm,
    shares_with_init,
};
use crate::error::{Error, Result, Status};

/// What it takes to look into PID 1 and to enter its namespace.
const NEEDS: [Capability; 3] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SYS_PTRACE,
];

const CANNOT_ENTER: &str = "cannot enter the mount namespace of PID 1";

const HOW: &str = "start the container with `docker run --privileged --pid=host` (Kubernetes: privileged, hostPID), or run it on the host";

/// PID 1's mount namespace, held open.
#[derive(Debug)]
pub struct InitMounts(OwnedFd);

impl InitMounts {
    /// Opens it.
    pub fn open() -> Result<Self> {
        match File::open("/proc/1/ns/mnt") {
            Ok(file) => Ok(Self(file.into())),
            Err(error) => {
                let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                Err(cannot_enter(errno))
            }
        }
    }

    /// Puts the calling thread, which mustn't share its root and working
    /// directory with another, into it.
    pub fn enter(&self) -> Result<()> {
        setns(&self.0, CloneFlags::CLONE_NEWNS).map_err(cannot_enter)
    }
}

fn cannot_enter(errno: Errno) -> Error {
    denied(CANNOT_ENTER, errno, &NEEDS, HOW)
}

/// Puts this process, which mustn't have another thread, into the host's mount
/// namespace: PID 1's. `userns` says that the current user namespace is what
/// is meant by host. Returns whether it wasn't there already.
pub fn enter_host(userns: bool) -> Result<bool> {
    let unreachable = |why: &str| {
        Error::new(Status::Permission, "cannot reach the host from here").because(why.to_owned())
    };
    let initial_user_ns = is_initial("/proc/self/ns/user", INITIAL_USER_NS);
    if !initial_user_ns && !userns {
        return Err(
            unreachable("this is a user namespace, which has no rights over the host")
                .hint("start the container with --userns=host, or run it on the host"),
        );
    }
    if !initial_user_ns {
        require(CANNOT_ENTER, &NEEDS)?;
        // Of two PIDs 1, the one in this user namespace is its own.
        if shares_with_init("user") != Some(true) {
            return Err(unreachable("PID 1 here isn't this user namespace's").hint(HOW));
        }
    } else if !sees_init() {
        return Err(unreachable("PID 1 here is this container's, not the host's").hint(HOW));
    }
    match has_mounts_of_init() {
        Some(true) => Ok(false),
        _ => InitMounts::open()?.enter().map(|()| true),
    }
}

/// Whether PID 1 here is that of a system.
fn sees_init() -> bool {
    is_initial("/proc/self/ns/pid", INITIAL_PID_NS) || is_of_system(&read_comm())
}
