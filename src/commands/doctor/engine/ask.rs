//! Asking other programs: fixed words, no shell, no input, an end to how long
//! they may think and how much they may say.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// As much as a program may say.
const ENOUGH: u64 = 1 << 20;

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it ended with status 0.
    pub success: bool,
    /// To stdout.
    pub stdout: String,
    /// To stderr.
    pub stderr: String,
}

/// Why nothing was heard of a program.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// There is no such program.
    #[error("it isn't installed")]
    Missing,
    /// It couldn't be started, or watched.
    #[error("it can't be run: {0}")]
    NotRun(#[source] io::Error),
    /// It was killed at the time limit.
    #[error("it didn't answer within {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// Runs a program to its end, at most for `limit`; then it is killed with all
/// that it has started. What it says beyond a megabyte isn't taken.
pub fn ask(command: &mut Command, limit: Duration) -> Result<Said, Silence> {
    let deadline = Instant::now() + limit;
    let not_run = Silence::NotRun;
    let [stdout, stderr] = [memory(), memory()];
    let (stdout, stderr) = (stdout.map_err(not_run)?, stderr.map_err(not_run)?);
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().map_err(not_run)?)
        .stderr(stderr.try_clone().map_err(not_run)?)
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Silence::Missing,
            _ => Silence::NotRun(error),
        })?;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(pause),
            ended => {
                // It leads a group of its own, and isn't waited for yet.
                let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
                let _ = child.wait();
                return Err(match ended {
                    Err(error) => Silence::NotRun(error),
                    Ok(_) => Silence::TimedOut(limit),
                });
            }
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    Ok(Said {
        success: status.success(),
        stdout: text(&stdout).map_err(not_run)?,
        stderr: text(&stderr).map_err(not_run)?,
    })
}

/// A file in memory that can't grow: nobody can fill a disk with it, nor make
/// us wait for the end of a pipe.
fn memory() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create(c"said", flags)?);
    file.set_len(ENOUGH)?;
    fcntl(
        &file,
        FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK),
    )?;
    Ok(file)
}

/// What was written; the rest of the file is zeros.
fn text(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; ENOUGH as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let end = bytes.iter().rposition(|byte| *byte != 0);
    bytes.truncate(end.map_or(0, |last| last + 1));
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn sh(script: &str, limit: Duration) -> Result<Said, Silence> {
        ask(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn words_and_status_are_heard() {
        let said = sh("echo $LC_ALL; echo no >&2; cat; exit 3", LIMIT).unwrap();
        let expected = Said {
            success: false,
            stdout: "C\n".to_owned(),
            stderr: "no\n".to_owned(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn what_isnt_there_is_missing() {
        let silence = ask(&mut Command::new("/nowhere/docker"), LIMIT);
        assert!(matches!(silence, Err(Silence::Missing)));
        let silence = ask(&mut Command::new("/etc/passwd"), LIMIT);
        assert!(matches!(silence, Err(Silence::NotRun(_))));
    }

    #[test]
    fn who_thinks_too_long_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{}; wait", file.display());
        let started = Instant::now();
        let silence = sh(&script, Duration::from_millis(500));
        assert!(matches!(silence, Err(Silence::TimedOut(_))));
        assert!(started.elapsed() < LIMIT);
        let pid = std::fs::read_to_string(file).unwrap();
        // The dead have no command line, even while nobody has waited for them.
        let is_dead = || {
            let cmdline = std::fs::read(format!("/proc/{}/cmdline", pid.trim()));
            cmdline.unwrap_or_default().is_empty()
        };
        while !is_dead() {
            assert!(started.elapsed() < LIMIT);
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn who_says_too_much_is_cut_short() {
        let said = sh("yes 2>/dev/null", LIMIT).unwrap();
        assert_eq!(said.stdout.len() as u64, ENOUGH);
    }

    #[test]
    fn who_leaves_a_child_behind_isnt_waited_for() {
        let started = Instant::now();
        sh("sleep 5 & echo done", LIMIT).unwrap();
        assert!(started.elapsed() < Duration::from_secs(4));
    }
}
