//! The proof: a platform runs because its probe ran, just now, and got its
//! arguments as a program should.
//!
//! Verdicts come from errno, exit status and /proc, never from the text of a
//! message. What ran is told by the kernel: the process is stopped at its
//! exec, when /proc/PID/exe is the emulator that the kernel has pinned.

mod child;
pub mod elf;
mod sys;

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use child::{End, Loaded};
pub use elf::Shape;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::Pid;
use sys::{Ran, Unprepared};
pub use sys::{
    forget_variables, give_back_memory, inherit_nothing, pin_name_services, wait_for_children,
};

use crate::concurrent;
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result, Status};
use crate::platform::{PROBE_ARGUMENTS, PROBE_BASE, PROBE_STATUS, Platform, Target, Variant};

/// How long one probe may take. The slowest emulators need a few milliseconds.
pub const LIMIT: Duration = Duration::from_secs(10);

/// One thing to try: code for an ELF identity.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// The identity.
    pub target: &'static Target,
    /// Machine code that exits with [`PROBE_STATUS`] where it runs and gets its
    /// arguments right.
    pub code: &'static [u8],
    /// What its header says besides.
    pub shape: Shape,
}

impl Probe {
    /// The probe of the identity itself.
    pub fn of(target: &'static Target) -> Self {
        Self {
            target,
            code: target.exit_argc,
            shape: Shape::Usual,
        }
    }

    /// The probe of a finer platform.
    pub fn of_variant(platform: &Platform, variant: &Variant) -> Self {
        Self {
            code: variant.exit_argc,
            ..Self::of(platform.target())
        }
    }

    /// The program's bytes.
    pub fn image(&self) -> Vec<u8> {
        elf::image(self.target, self.code, self.shape)
    }
}

/// Why a probe didn't run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// ENOEXEC: no rule, and no native loader; or the rule's interpreter itself
    /// is no program.
    #[error("nothing takes it")]
    NotTaken,
    /// ENOENT: the rule's interpreter can't be found from an empty root.
    #[error("the rule's interpreter can't be found there")]
    InterpreterNotFound,
    /// The emulator started and didn't end the probe as it should; how it ended.
    #[error("{0}")]
    EmulatorFailed(String),
    /// The probe ran, with another number of arguments than it was given: real
    /// programs take one argument for another.
    #[error("its program got {} instead of {given}", arguments(*.got))]
    ArgumentsShifted {
        /// How many it got.
        got: i32,
        /// How many it was given.
        given: i32,
    },
    /// It was still running at the time limit.
    #[error("it was still running at the time limit")]
    TimedOut,
    /// The probe couldn't be tried; why.
    #[error("{0}")]
    NotPermitted(String),
}

/// What ran the probe.
#[derive(Debug)]
pub struct Runner {
    /// `argv[0]`: an emulator's path as registered.
    pub interpreter: PathBuf,
    /// The program as the kernel has it open, also when its path is gone.
    pub exe: File,
    /// Whether the probe itself was the program: no emulator.
    pub native: bool,
    sha256: OnceLock<Digest>,
}

impl Runner {
    /// Whether the file at `path` is, right now, the very file that ran.
    pub fn is_file(&self, path: &Path) -> bool {
        let same =
            |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        match (self.exe.metadata(), std::fs::metadata(path)) {
            (Ok(ran), Ok(file)) => same(&ran, &file),
            _ => false,
        }
    }

    /// The digest of the bytes that ran, computed at the first call.
    pub fn sha256(&self) -> Result<Digest> {
        if let Some(sha256) = self.sha256.get() {
            return Ok(*sha256);
        }
        let mut offset = 0;
        let reader = FromStart {
            file: &self.exe,
            offset: &mut offset,
        };
        Digest::of_reader(reader)
            .map(|(digest, _)| *self.sha256.get_or_init(|| digest))
            .attempt(|| format!("cannot read the running {}", self.interpreter.display()))
    }

    /// The bytes that ran, at most so many of them.
    pub fn bytes(&self, limit: u64) -> io::Result<Vec<u8>> {
        let length = self.exe.metadata()?.len().min(limit) as usize;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length)?;
        bytes.resize(length, 0);
        self.exe.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// Reads a shared file without moving its cursor.
struct FromStart<'a> {
    file: &'a File,
    offset: &'a mut u64,
}

impl io::Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, *self.offset)?;
        *self.offset += read as u64;
        Ok(read)
    }
}

/// What came of a probe.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it ran.
    pub verdict: Result<(), Failure>,
    /// What ran it, or tried to; `None` where nothing was executed or ptrace
    /// is forbidden.
    pub runner: Option<Runner>,
    /// Why it was tried in this process's own root, if no empty one could be
    /// made: what runs there needn't run in a container.
    pub no_empty_root: Option<String>,
}

impl Outcome {
    /// Whether the probe ran, on whatever.
    pub fn runs(&self) -> bool {
        self.verdict.is_ok()
    }
}

/// Whether a runner is an emulator that was proved when it was set up.
pub type Proved<'a> = &'a (dyn Fn(&Runner) -> bool + Sync);

/// Runs all probes, `jobs` at a time or as many as suits this machine; outcomes
/// in the order of the probes. An emulator that isn't `proved` has to run its
/// probe twice, with another number of arguments, since it may be none.
pub fn run_all(probes: &[Probe], jobs: Option<usize>, proved: Proved<'_>) -> Vec<Outcome> {
    // ptrace ties a process to the thread that started it.
    concurrent::map(probes, jobs, |probe| run(*probe, proved))
}

/// Runs one probe as the only file of an empty root.
fn run(probe: Probe, proved: Proved<'_>) -> Outcome {
    let image = probe.image();
    let outcome = run_once(&image);
    let is_known = |runner: &Runner| runner.native || proved(runner);
    match outcome.runs() && !outcome.runner.as_ref().is_some_and(is_known) {
        true => Outcome {
            verdict: run_again(&image),
            ..outcome
        },
        false => outcome,
    }
}

/// Runs the probe with one argument more, for something may end with
/// [`PROBE_STATUS`] whatever it is to run.
fn run_again(image: &[u8]) -> Result<(), Failure> {
    match sys::run(image, PROBE_ARGUMENTS as usize + 1, LIMIT) {
        Ok(Ran {
            end: End::Exited(status),
            ..
        }) => match status - PROBE_STATUS {
            1 => Ok(()),
            _ => Err(Failure::EmulatorFailed(format!(
                "it exits with status {status} whatever it is to run"
            ))),
        },
        Ok(ran) => verdict(ran.end),
        Err(error) => Err(not_started(&error)),
    }
}

fn run_once(image: &[u8]) -> Outcome {
    match sys::run(image, PROBE_ARGUMENTS as usize, LIMIT) {
        Ok(Ran {
            end,
            loaded,
            no_empty_root,
        }) => Outcome {
            verdict: verdict(end),
            runner: loaded.map(|loaded| runner(loaded, image)),
            no_empty_root: no_empty_root.map(not_prepared),
        },
        Err(error) => Outcome {
            verdict: Err(not_started(&error)),
            runner: None,
            no_empty_root: None,
        },
    }
}

fn not_started(error: &io::Error) -> Failure {
    Failure::NotPermitted(format!("cannot start a process: {error}"))
}

fn not_prepared(Unprepared { step, error }: Unprepared) -> String {
    format!("cannot {step}: {error}")
}

fn runner(loaded: Loaded, image: &[u8]) -> Runner {
    let mut head = vec![0; image.len()];
    let is_probe = loaded.exe.read_exact_at(&mut head, 0).is_ok() && head == image;
    Runner {
        interpreter: loaded.argv0,
        exe: loaded.exe,
        native: is_probe,
        sha256: OnceLock::new(),
    }
}

fn verdict(end: End) -> Result<(), Failure> {
    match end {
        End::Exited(status) => exited(status, PROBE_ARGUMENTS),
        End::Signalled(signal) => Err(Failure::EmulatorFailed(format!("it died of {signal}"))),
        End::TimedOut => Err(Failure::TimedOut),
        End::NotExecuted(error) => Err(match error.raw_os_error() {
            Some(libc::ENOEXEC) => Failure::NotTaken,
            Some(libc::ENOENT) => Failure::InterpreterNotFound,
            _ => Failure::EmulatorFailed(format!("the kernel can't execute it: {error}")),
        }),
        End::NotPrepared(why) => Err(Failure::NotPermitted(not_prepared(why))),
    }
}

/// What an exit status says of a probe that was given so many arguments: it is
/// the probe's own, or else the emulator's.
fn exited(status: i32, given: i32) -> Result<(), Failure> {
    match status - PROBE_BASE {
        got if got == given => Ok(()),
        got @ 1..=9 => Err(Failure::ArgumentsShifted { got, given }),
        _ => Err(Failure::EmulatorFailed(format!(
            "it exited with status {status} instead of running the program"
        ))),
    }
}

fn arguments(count: i32) -> String {
    match count {
        1 => "1 argument".to_owned(),
        _ => format!("{count} arguments"),
    }
}

/// How much address space a process of ours can have at most, in bytes, where
/// that is limited: containers don't inherit it, but programs started here do.
pub fn address_space() -> Option<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).ok()?;
    (hard != RLIM_INFINITY).then_some(hard)
}

/// Runs the probe through an emulator that isn't registered yet, by starting
/// it with the probe and two arguments as its arguments: one more than
/// [`prove_rule`], so that nothing passes both that doesn't run it.
pub fn prove_emulator(emulator: &Path, target: &'static Target) -> Result<()> {
    let failed = || {
        Error::new(
            Status::Failed,
            format!(
                "{} doesn't run a {} program",
                emulator.display(),
                target.name
            ),
        )
    };
    // Not close-on-exec: the emulator opens it by its name in /proc.
    let memory = memfd_create(c"probe", MFdFlags::empty())
        .attempt(|| "cannot make a file in memory".to_owned())?;
    let mut probe = File::from(memory);
    probe
        .write_all(&Probe::of(target).image())
        .attempt(|| "cannot write to memory".to_owned())?;
    let mut command = Command::new(emulator);
    sys::end_with_thread(&mut command);
    let mut child = command
        .args([&format!("/proc/self/fd/{}", probe.as_raw_fd()), "x", "x"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EACCES) => failed()
                .because(error)
                .hint("is its file system mounted noexec? choose another place with --prefix"),
            Some(libc::EAGAIN) => failed()
                .because(error)
                .hint("let this user have more processes (ulimit -u)"),
            _ => Error::io(failed().to_string(), error),
        })?;
    let deadline = Instant::now() + LIMIT;
    let status: ExitStatus = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if !left.is_zero() => {
                child::await_end(Pid::from_raw(child.id() as libc::pid_t), left);
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed().because(format!("it took more than {} s", LIMIT.as_secs())));
            }
        }
    };
    match status
        .code()
        .map(|status| exited(status, PROBE_ARGUMENTS + 1))
    {
        Some(Ok(())) => Ok(()),
        Some(Err(shifted @ Failure::ArgumentsShifted { .. })) => Err(failed().because(shifted)),
        _ => {
            let why = format!("it ended with {status} instead of running the program");
            Err(of_emulator(failed(), why))
        }
    }
}

/// Says why an emulator doesn't do what it should, and what may help.
fn of_emulator(error: Error, why: String) -> Error {
    match address_space() {
        Some(bytes) => error
            .because(format!(
                "{why}, where address space is limited to {bytes} bytes"
            ))
            .hint("let it have more (ulimit -v unlimited)"),
        None => error.because(why),
    }
}

/// Runs the probe as a container would, and looks whether the emulator at the
/// path that its rule names did it, which [`prove_emulator`] has tried. What the
/// kernel had open comes back, unless ptrace is forbidden.
pub fn prove_rule(emulator: &Path, target: &'static Target) -> Result<Option<Runner>> {
    let failed = || {
        let what = format!("the rule for {} was registered, but", target.name);
        Error::new(Status::Failed, what)
    };
    let outcome = run_once(&Probe::of(target).image());
    if let Err(failure) = outcome.verdict {
        let why = format!("its program doesn't run in an empty root: {failure}");
        return Err(of_emulator(failed(), why));
    }
    match outcome.runner {
        Some(runner) if !runner.is_file(emulator) => {
            let why = format!("{} runs its program", runner.interpreter.display());
            Err(failed()
                .because(why)
                .hint("something else registers rules at this moment: run this again"))
        }
        // Without ptrace the verdict has to do.
        runner => Ok(runner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn the_hosts_own_platform_runs_natively() {
        let host = Host::read().unwrap().platform;
        let outcome = run(Probe::of(host.target()), &|_| false);
        assert_eq!(outcome.verdict, Ok(()));
        assert!(outcome.runner.is_some_and(|runner| runner.native));
    }

    #[test]
    fn a_program_that_gets_too_few_or_too_many_arguments_doesnt_run() {
        let shifted = |got| Failure::ArgumentsShifted { got, given: 2 };
        assert_eq!(verdict(End::Exited(42)), Ok(()));
        assert_eq!(verdict(End::Exited(41)), Err(shifted(1)));
        assert_eq!(verdict(End::Exited(43)), Err(shifted(3)));
        for emulators_own in [0, 1, 40, 127, 255] {
            assert!(matches!(
                verdict(End::Exited(emulators_own)),
                Err(Failure::EmulatorFailed(_))
            ));
        }
        assert_eq!(
            shifted(1).to_string(),
            "its program got 1 argument instead of 2"
        );
        assert_eq!(
            shifted(3).to_string(),
            "its program got 3 arguments instead of 2"
        );
    }

    #[test]
    fn outcomes_stand_in_the_order_of_the_probes() {
        let host = Probe::of(Host::read().unwrap().platform.target());
        let fails = Probe {
            code: b"\x0f\x0b",
            ..host
        };
        for jobs in [None, Some(1), Some(3), Some(64)] {
            let outcomes = run_all(&[host, fails, host, fails], jobs, &|_| false);
            let runs: Vec<_> = outcomes.iter().map(Outcome::runs).collect();
            assert_eq!(runs, [true, false, true, false], "{jobs:?}");
        }
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_waited_for() {
        let host = Host::read().unwrap().platform;
        if host.emulator != "x86_64" {
            println!("skipped: the endless loop is amd64 code");
            return;
        }
        // jmp .
        let image = elf::image(host.target(), b"\xeb\xfe", Shape::Usual);
        let started = Instant::now();
        let ran = sys::run(&image, 2, Duration::from_millis(50)).unwrap();
        assert!(matches!(ran.end, End::TimedOut));
        assert!(ran.loaded.is_some());
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_program_that_only_exits_is_no_emulator() {
        let arm64 = Platform::by_emulator("aarch64").unwrap();
        let error = prove_emulator(Path::new("/bin/true"), arm64.target()).unwrap_err();
        assert!(
            error.reason().contains("exit status: 0"),
            "{}",
            error.reason()
        );
    }
}
