//! A probe's process, seen from outside: what it loaded, how it ended. It is
//! killed and waited for, whatever happens here.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use super::sys::Unprepared;

/// Between two looks at a process.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// How a probe's process ended.
#[derive(Debug)]
pub enum End {
    /// It exited by itself, with this status.
    Exited(i32),
    /// A signal ended it.
    Signalled(Signal),
    /// It was still running at the time limit, and was killed.
    TimedOut,
    /// The exec failed, with this error.
    NotExecuted(io::Error),
    /// Nothing was executed; why.
    NotPrepared(Unprepared),
}

/// What the kernel had loaded when the exec was done.
#[derive(Debug)]
pub struct Loaded {
    /// The program that runs: an emulator, or the probe itself.
    pub exe: File,
    /// `argv[0]`, which for an emulator is its path as registered.
    pub argv0: PathBuf,
}

/// A process of ours that is killed and waited for, whatever happens.
pub struct Child {
    pid: Pid,
    reaped: bool,
}

impl Child {
    /// The child of this process with this number, which is still unwaited for.
    pub fn new(pid: Pid) -> Self {
        Self { pid, reaped: false }
    }

    /// Waits for its end, and on the way, where it lets itself be traced, looks
    /// at what its exec has loaded.
    pub fn watch(mut self, deadline: Instant) -> io::Result<(End, Option<Loaded>)> {
        let mut loaded = None;
        let mut is_traced = true;
        loop {
            match self.wait(deadline, is_traced)? {
                None => return Ok((End::TimedOut, loaded)),
                Some(WaitStatus::Exited(_, status)) => return Ok((End::Exited(status), loaded)),
                Some(WaitStatus::Signaled(_, signal, _)) => {
                    return Ok((End::Signalled(signal), loaded));
                }
                // The stop after the exec: the last interpreter is loaded.
                Some(WaitStatus::Stopped(_, Signal::SIGTRAP)) if loaded.is_none() => {
                    loaded = self.loaded();
                    ptrace::detach(self.pid, None)?;
                    is_traced = false;
                }
                Some(WaitStatus::Stopped(_, signal)) => ptrace::detach(self.pid, signal)?,
                Some(_) => {}
            }
        }
    }

    /// The next change of state, `None` at the deadline. Polling, because a
    /// ptrace stop can be waited for with a time limit in no other way that
    /// doesn't change the process's signals; without that only the end comes.
    fn wait(&mut self, deadline: Instant, is_traced: bool) -> io::Result<Option<WaitStatus>> {
        let begin = Instant::now();
        loop {
            let now = Instant::now();
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive if now >= deadline => return Ok(None),
                WaitStatus::StillAlive if is_traced => {
                    let pause = (now - begin) / 8;
                    thread::sleep(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
                }
                WaitStatus::StillAlive => await_end(self.pid, deadline - now),
                status => {
                    self.reaped =
                        matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
                    return Ok(Some(status));
                }
            }
        }
    }

    fn loaded(&self) -> Option<Loaded> {
        // Another PID namespace's /proc has another process of that number.
        let own = fs::read_link("/proc/self").ok()?;
        if own.to_str() != Some(&std::process::id().to_string()) {
            return None;
        }
        let proc = |file: &str| format!("/proc/{}/{file}", self.pid);
        let mut cmdline = fs::read(proc("cmdline")).ok()?;
        cmdline.truncate(cmdline.iter().position(|byte| *byte == 0)?);
        Some(Loaded {
            exe: File::open(proc("exe")).ok()?,
            argv0: PathBuf::from(OsString::from_vec(cmdline)),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // Nothing can be done about a failure, and none is possible: it is
            // our own child, and it hasn't been waited for.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Waits for the end of a child of this process, at most so long, or for a
/// while: the caller has to look.
pub fn await_end(pid: Pid, limit: Duration) {
    let pid = rustix::process::Pid::from_raw(pid.as_raw());
    let Some(end) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        // A kernel before 5.3.
        return thread::sleep(limit.min(LONGEST_PAUSE));
    };
    let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
    // Rounded up, for 0 would come back at once, again and again.
    let limit = PollTimeout::try_from(limit + Duration::from_millis(1));
    let _ = poll(&mut fds, limit.unwrap_or(PollTimeout::MAX));
}
