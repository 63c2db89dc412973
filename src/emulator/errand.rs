//! What handles outside bytes: a process of its own, with no rights.
//!
//! It is this program once more. What it is to do goes in, with the files that
//! it may write or read, opened; what it did comes out, message by message. It
//! gives up everything but those files before it looks at a single outside byte
//! ([`Cell`]), and ends with this process. What it says is believed only as far
//! as somebody would notice a lie: emulators are compared with their digests
//! here, after they were copied to where it can't write.

mod ask;
mod output;
mod pipeline;
mod wire;
mod worker;

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use serde::{Deserialize, Serialize};

use self::wire::{receive, send};
use super::manifest::{Manifest, Release};
use super::source::AptHost;
use crate::error::{Error, IoContext, Result, Status};
use crate::probe;
use crate::rights::Cell;

pub use self::ask::{Own, distro, fetch, pin};
pub use self::worker::work;
#[cfg(test)]
pub(super) use self::{output::Output, pipeline::run as decode};

/// The hidden subcommand that carries an errand out.
pub const SUBCOMMAND: &str = "errand";

/// Variables that the network needs, or apt; nothing else of the environment
/// comes along.
const VARIABLES: [&str; 12] = [
    "ALL_PROXY",
    "APT_CONFIG",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// What is to be done; the files that go with it are in brackets.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// Get emulators [one file to write for each, then one for each package].
    Fetch {
        /// The release, as a manifest.
        release: String,
        /// Which emulators, and what they are to be called.
        emulators: Vec<(String, PathBuf)>,
        /// Where to look, in this order.
        places: Vec<Site>,
        /// How much to do at a time, where it was said.
        jobs: Option<usize>,
    },
    /// Get the distribution's own package, and pin it.
    Distro {
        /// Its name.
        package: String,
        /// Debian's name of the host's architecture.
        architecture: String,
        /// The host's apt.
        apt: AptHost,
    },
    /// Pin a package [the package].
    Pin {
        /// What it is called.
        path: PathBuf,
        /// The suite that has it.
        suite: Option<String>,
    },
}

/// A place that a package may be had from.
#[derive(Debug, Serialize, Deserialize)]
pub enum Site {
    /// An address.
    Url(String),
    /// The host's apt.
    Apt(AptHost),
    /// The next file that was handed over, by its name.
    File(PathBuf),
}

/// What comes back; the files that come with it are in brackets.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// A source is asked for so many bytes.
    Asking {
        /// Its name.
        source: String,
        /// How many.
        bytes: u64,
    },
    /// A block of so many bytes is the right one.
    Verified {
        /// How many.
        bytes: u64,
    },
    /// A source failed.
    SourceFailed {
        /// Its name.
        source: String,
        /// Why.
        why: Trouble,
    },
    /// The file of this emulator, counted from 0, is written to its end.
    Whole(usize),
    /// It is done; with what was pinned, as a manifest, and what the package is
    /// called [a package that wasn't handed over].
    Done(Option<(String, PathBuf)>),
    /// It failed.
    Failed {
        /// Why.
        why: Trouble,
        /// Whether another source may do better.
        elsewhere: bool,
    },
}

/// Who is told.
pub type Hear<'a> = dyn FnMut(Told) -> Result<()> + Send + 'a;

/// An [`Error`] as text.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trouble {
    status: Status,
    reason: String,
    advice: Option<String>,
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Self {
        Self {
            status: error.status(),
            reason: error.reason(),
            advice: error.advice().map(str::to_owned),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let error = Self::new(trouble.status, trouble.reason);
        match trouble.advice {
            Some(advice) => error.hint(advice),
            None => error,
        }
    }
}

/// A task, with what it takes.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    task: Task,
    cell: Cell,
}

/// How an errand ended that didn't succeed.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub error: Error,
    /// Whether another source may do better.
    pub elsewhere: bool,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self {
            error,
            elsewhere: false,
        }
    }
}

/// What was pinned.
struct Pinned {
    release: Release,
    path: PathBuf,
    package: Option<File>,
}

/// Has the task carried out; `hear` gets what is told meanwhile. Returns what
/// was pinned, if that was the task.
fn run(
    task: Task,
    cell: Cell,
    files: &[BorrowedFd<'_>],
    hear: &mut Hear<'_>,
) -> Result<Option<Pinned>, Ended> {
    let (here, there) = UnixStream::pair().attempt(attempt)?;
    let mut worker = Worker::start(there)?;
    match send(&here, &Order { task, cell }, files) {
        // One that has ended already is told by its silence.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        sent => sent.attempt(attempt)?,
    }
    loop {
        match receive::<Told>(&here) {
            Ok((Told::Done(pinned), files)) => {
                let pinned = pinned.map(|(text, path)| {
                    sole(&text).map(|release| Pinned {
                        release,
                        path,
                        package: files.into_iter().next(),
                    })
                });
                return Ok(pinned.transpose()?);
            }
            Ok((Told::Failed { why, elsewhere }, _)) => {
                let error = why.into();
                return Err(Ended { error, elsewhere });
            }
            Ok((told, _)) => hear(told)?,
            Err(silence) => return Err(worker.explain(&silence).into()),
        }
    }
}

/// The one release of a manifest that was made for it.
fn sole(text: &str) -> Result<Release> {
    let broken = || Error::new(Status::Failed, attempt());
    let mut manifest = Manifest::parse(text).map_err(|error| broken().because(error))?;
    let first = manifest.releases.pop();
    first.ok_or_else(|| broken().because("it names no release".to_owned()))
}

/// A release as a manifest of its own.
fn alone(release: &Release) -> String {
    let manifest = Manifest {
        default: release.qemu.clone(),
        releases: vec![release.clone()],
    };
    manifest.to_toml()
}

fn attempt() -> String {
    "cannot have a process fetch and decode".to_owned()
}

/// What it would print: a place where there may be no /dev/null.
fn nobody_reads() -> Result<Stdio> {
    let (_, write) = pipe2(OFlag::O_CLOEXEC).attempt(attempt)?;
    Ok(write.into())
}

/// The other process, killed and waited for, whatever happens.
struct Worker(Child);

impl Worker {
    fn start(channel: UnixStream) -> Result<Self> {
        let known = |name: &OsString| VARIABLES.iter().any(|known| name == known);
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(SUBCOMMAND)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| known(name)))
            .stdin(Stdio::from(OwnedFd::from(channel)))
            .stdout(nobody_reads()?)
            .stderr(nobody_reads()?);
        probe::inherit_nothing(&mut command);
        command.spawn().map(Self).attempt(attempt)
    }

    /// Why there is nothing more to hear.
    fn explain(&mut self, silence: &std::io::Error) -> Error {
        let error = Error::new(Status::Failed, attempt());
        match self.0.wait() {
            Ok(status) if !status.success() => {
                error.because(format!("it ended with {status}, which is a bug in binfmtctl or a limit of memory or processes (ulimit -a)"))
            }
            _ => error.because(silence.to_string()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended is only waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
