//! A rehearsal: the exact lines are written to the kernel, and proved, before
//! the host is touched. It happens in a user namespace that is thrown away,
//! with an empty binfmt_misc of its own (Linux 6.7 and later).
//!
//! A process with threads can't enter a user namespace, so this program starts
//! itself again: the request goes in as JSON, the answer comes out as JSON.
//! That process has a time limit and dies with this one; its mounts, its rules
//! and its files are its own and go with it. That a host allows none of this is
//! an error that says why, and nothing about the rules.

mod stage;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::binfmt::Rule;
use crate::error::{Error, IoContext, Result, Status};
use crate::host::Kernel;
use crate::platform::{TARGETS, Target};
use crate::probe::LIMIT;

pub use stage::play;

/// The hidden subcommand that plays what [`rehearse`] asks for.
pub const SUBCOMMAND: &str = "rehearse";

/// One rule to try.
#[derive(Debug, Clone)]
pub struct Part {
    /// What the rule is for.
    pub target: &'static Target,
    /// The rule as it would be registered.
    pub rule: Rule,
    /// Where the bytes of its emulator are now.
    pub emulator: PathBuf,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    /// Which of the targets run where there is no rule at all.
    pub native: Vec<&'static Target>,
    /// One for each part.
    pub verdicts: Vec<Verdict>,
}

/// What came of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The kernel took the line, and the program ran on the rule's emulator.
    Ran,
    /// It wouldn't run.
    Failed {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// It couldn't be tried; why.
    Untried(String),
}

/// Tries each rule as the only one there is, and before that the programs of
/// `targets` without any rule. An error means that this host allows no
/// rehearsal.
pub fn rehearse(targets: &[&'static Target], parts: &[Part], jobs: Option<usize>) -> Result<Seen> {
    let kernel = Kernel::running();
    if !kernel.has_instances() {
        return Err(impossible().because(format!(
            "Linux {kernel} has no binfmt_misc for user namespaces; it takes 6.7"
        )));
    }
    let request = Request {
        parent: std::process::id(),
        targets: targets.iter().map(|target| target.name.into()).collect(),
        parts: parts.iter().map(Line::of).collect::<Result<_>>()?,
        jobs,
    };
    // Every probe and every emulator has its own limit.
    let limit = LIMIT * (2 + targets.len() + 2 * parts.len()) as u32;
    match ask(&request, limit)? {
        Answer::Played { native, verdicts } if verdicts.len() == parts.len() => Ok(Seen {
            native: native.iter().filter_map(|name| by_name(name)).collect(),
            verdicts,
        }),
        Answer::Played { .. } => Err(impossible().because("it stopped halfway")),
        Answer::Impossible { reason, hint } => {
            let error = impossible().because(reason);
            Err(match hint {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
    }
}

/// Which targets the kernel and the CPU run by themselves, whatever rules the
/// host has.
pub fn native(targets: &[&'static Target], jobs: Option<usize>) -> Result<Vec<&'static Target>> {
    rehearse(targets, &[], jobs).map(|seen| seen.native)
}

/// What is asked of the other process.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// Without this process there is nobody to answer to.
    parent: u32,
    /// Targets by name.
    targets: Vec<String>,
    parts: Vec<Line>,
    /// How many of the targets to try at once, where it was said.
    jobs: Option<usize>,
}

/// A [`Part`] as text.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    target: String,
    line: String,
    emulator: PathBuf,
}

impl Line {
    fn of(part: &Part) -> Result<Self> {
        let line = part.rule.line().map_err(|error| {
            let name = &part.rule.name;
            Error::new(Status::Invalid, format!("cannot register {name}")).because(error)
        })?;
        Ok(Self {
            target: part.target.name.to_owned(),
            line,
            emulator: part.emulator.clone(),
        })
    }
}

/// What the other process says.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Played {
        native: Vec<String>,
        verdicts: Vec<Verdict>,
    },
    Impossible {
        reason: String,
        hint: Option<String>,
    },
}

fn by_name(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

fn impossible() -> Error {
    Error::new(
        Status::Unsupported,
        "cannot rehearse in a user namespace of its own",
    )
}

/// Another process of this program, killed and waited for, whatever happens.
struct Player(Child);

impl Drop for Player {
    fn drop(&mut self) {
        // One that has ended is only waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(request: &Request, limit: Duration) -> Result<Answer> {
    let attempt = || "cannot start this program again".to_owned();
    let request = serde_json::to_vec(request).map_err(|error| impossible().because(error))?;
    let mut player = Player(
        Command::new("/proc/self/exe")
            .arg(SUBCOMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .attempt(attempt)?,
    );
    if let Some(mut input) = player.0.stdin.take() {
        // One that has ended already is told by its silence.
        let _ = input.write_all(&request);
    }
    let answer = match player.0.stdout.take() {
        Some(output) => read_until(output, Instant::now() + limit)
            .attempt(|| "cannot read the answer of a rehearsal".to_owned())?,
        None => None,
    };
    let Some(answer) = answer else {
        return Err(impossible().because(format!("it took more than {} s", limit.as_secs())));
    };
    serde_json::from_slice(&answer).map_err(|_| {
        let ended = player.0.wait();
        impossible().because(match ended {
            Ok(status) => format!("it gave no answer and ended with {status}"),
            Err(error) => format!("it gave no answer: {error}"),
        })
    })
}

/// Everything that comes before the end; `None` where that doesn't come in time.
fn read_until(mut output: ChildStdout, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], left);
        match ready {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match output.read(&mut part)? {
            0 => return Ok(Some(answer)),
            length => answer.extend_from_slice(&part[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for_as_long_as_it_may_take() {
        let output = |script| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script]).stdout(Stdio::piped());
            let mut child = shell.spawn().unwrap();
            (child.stdout.take().unwrap(), Player(child))
        };
        let (quick, _player) = output("printf a; sleep 0.1; printf b");
        let soon = Instant::now() + Duration::from_secs(20);
        assert_eq!(read_until(quick, soon).unwrap().unwrap(), b"ab");
        let (slow, _player) = output("printf a; exec sleep 60");
        let soon = Instant::now() + Duration::from_millis(200);
        assert_eq!(read_until(slow, soon).unwrap(), None);
    }

    #[test]
    fn a_line_is_the_one_that_the_file_has() {
        let target = &TARGETS[0];
        let line = r":qemu-i386:M::\x7f\x45:\xff\xff:/opt/a:POF";
        let part = Part {
            target,
            rule: line.parse().unwrap(),
            emulator: "/tmp/b".into(),
        };
        assert_eq!(Line::of(&part).unwrap().line, line);
    }
}
