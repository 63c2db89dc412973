//! The one error type: what was attempted on which object, why it failed,
//! what to do, and the exit status that follows.
//!
//! The three texts are kept apart and put together in one place, `line`,
//! so that the last line of a failed run stands alone. There
//! is no conversion from `io::Error`: every call site names its object.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use nix::libc;
use serde::{Deserialize, Serialize};

/// What a run's exit status says. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Status {
    /// The asked state doesn't hold.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `check`: the platform doesn't run.
    NotRunnable = 3,
    /// A permission or capability is missing, or a place is read-only.
    Permission = 4,
    /// This kernel or host can't do it.
    Unsupported = 5,
    /// A manifest or conf file is invalid.
    Invalid = 6,
    /// Bytes aren't what their digest says.
    Integrity = 7,
    /// No source could be reached.
    Unreachable = 8,
    /// Another run holds the lock.
    Locked = 75,
}

impl Status {
    /// The status that an I/O failure means: lacking rights and read-only
    /// places are [`Status::Permission`], everything else [`Status::Failed`].
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission,
            _ => Self::Failed,
        }
    }
}

/// A failure, told to a person who has never seen the code.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct Error {
    attempt: String,
    #[source]
    cause: Option<Box<dyn StdError + Send + Sync>>,
    hint: Option<String>,
    status: Status,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure with its exit status. `attempt` says what was done to which
    /// object, in words that need no context: "cannot write /etc/x".
    pub fn new(status: Status, attempt: impl Into<String>) -> Self {
        Self {
            attempt: attempt.into(),
            cause: None,
            hint: None,
            status,
        }
    }

    /// An I/O failure; the status follows from its kind.
    pub fn io(attempt: impl Into<String>, cause: io::Error) -> Self {
        let error = Self::new(Status::of_io(&cause), attempt);
        let hint = match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space there and run it again")
            }
            io::ErrorKind::PermissionDenied => Some("run it as root"),
            io::ErrorKind::ReadOnlyFilesystem => Some("make that place writable, or name another"),
            io::ErrorKind::FileTooLarge => Some("let files grow larger (ulimit -f)"),
            io::ErrorKind::OutOfMemory => Some("let it have more memory (ulimit -v)"),
            _ => match errno(&cause) {
                Some(libc::EMFILE) => Some("let it open more files (ulimit -n)"),
                Some(libc::ENFILE) => Some("let this system open more files (fs.file-max)"),
                Some(libc::EIO) => Some("see `dmesg`: the device under it may be failing"),
                _ => None,
            },
        };
        let error = error.because(cause);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Adds why it failed.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds (or replaces) what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Of two sources' errors the one to tell: wrong bytes are graver than no
    /// bytes, and otherwise the last word counts.
    pub fn or_graver(self, later: Self) -> Self {
        let is_wrong = |error: &Self| error.status == Status::Integrity;
        match is_wrong(&self) && !is_wrong(&later) {
            true => self,
            false => later,
        }
    }

    /// The exit status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What to do about it, where that is known.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What failed and why, without the advice.
    pub fn reason(&self) -> String {
        let mut text = self.attempt.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    /// The whole error as one line: attempt, causes, advice.
    pub fn line(&self) -> impl fmt::Display {
        match &self.hint {
            Some(hint) => format!("{} ({hint})", self.reason()),
            None => self.reason(),
        }
    }
}

/// The number behind an error, also where a library has wrapped it.
fn errno(error: &io::Error) -> Option<i32> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        let number = error.downcast_ref().and_then(io::Error::raw_os_error);
        if number.is_some() {
            return number;
        }
        // An io::Error's own source is that of what it wraps.
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Names the object of an I/O call that failed.
pub trait IoContext<T> {
    /// Turns the failure into an [`Error`] that says what was attempted.
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::io(what(), cause))
    }
}

impl<T> IoContext<T> for nix::Result<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::io(what(), errno.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_why_and_what_to_do() {
        let error = Error::io(
            "cannot write /opt/x",
            io::Error::from_raw_os_error(nix::libc::ENOSPC),
        );
        assert_eq!(
            error.line().to_string(),
            "cannot write /opt/x: No space left on device (os error 28) (free some space there and run it again)"
        );
        assert_eq!(error.status(), Status::Failed);
    }

    #[test]
    fn a_hint_is_found_behind_what_a_library_has_wrapped() {
        #[derive(Debug, thiserror::Error)]
        #[error("at a path")]
        struct Wrapper(#[source] io::Error);
        let full = || io::Error::from_raw_os_error(libc::EMFILE);
        for cause in [full(), io::Error::other(Wrapper(full()))] {
            let error = Error::io("cannot open x", cause);
            assert_eq!(error.advice(), Some("let it open more files (ulimit -n)"));
        }
        let error = Error::io("cannot open x", io::Error::other("other"));
        assert_eq!(error.advice(), None);
    }

    #[test]
    fn missing_rights_and_read_only_places_are_permission() {
        for errno in [nix::libc::EACCES, nix::libc::EPERM, nix::libc::EROFS] {
            let status = Status::of_io(&io::Error::from_raw_os_error(errno));
            assert_eq!(status, Status::Permission);
        }
    }
}
