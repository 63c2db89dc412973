//! Running apt's programs: their configuration, their output, their excuses.
//!
//! apt bears a mirror that is silent for half a minute, but one that sends a
//! byte now and then for ever; and it repeats what such a one says. So its
//! programs are ended after a time, and no more of their words kept than it
//! takes to say why.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::digest::Digest;
use crate::error::{Error, Result, Status};

/// How long a program of apt's may take: a package of 70 MB comes at 5 KB a
/// second.
const LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

/// How long it may then take to clear up.
const GRACE: Duration = Duration::from_secs(5);

/// So much of its words is kept, in bytes.
const WORDS: usize = 64 * 1024;

/// apt's configuration for lists of its own, from the host's repositories. It
/// is read after the host's, so that it can take away its hooks.
pub(super) fn own_lists(root: &Path, credentials: &Path) -> String {
    let credentials = match credentials.exists() {
        true => format!("Dir::Etc::netrc \"{}\";\n", credentials.display()),
        false => String::new(),
    };
    let root = root.display();
    format!(
        r#"Dir::State::Lists "{root}/lists";
Dir::Cache "{root}/cache";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::GzipIndexes "true";
Acquire::Languages "none";
Acquire::Retries "3";
{credentials}"#
    )
}

/// The same for a root of its own, which also takes away what else would reach
/// outside of the root: pins, a default release, and indices that nobody asked
/// for.
pub(super) fn configuration(root: &Path, arch: &str, credentials: &Path) -> String {
    let lists = own_lists(root, credentials);
    let root = root.display();
    format!(
        r#"{lists}Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::status "/dev/null";
#clear APT::Architectures;
#clear APT::Default-Release;
#clear Acquire::IndexTargets::deb::Translations;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::Contents-deb;
APT::Architecture "{arch}";
APT::Architectures "{arch}";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
"#
    )
}

/// The version and digest in the first record that apt-cache shows, if it is
/// one from an index: what is merely installed has no digest.
pub(super) fn index_record(text: &str) -> Option<(String, Digest)> {
    let record = text.split("\n\n").next()?;
    let field = |name: &str| {
        record
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    Some((field("Version")?.to_owned(), field("SHA256")?.parse().ok()?))
}

pub(super) fn quiet(command: &mut Command) -> &mut Command {
    command
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
}

/// Runs an apt command to its end.
pub(super) fn run(command: &mut Command) -> Result<()> {
    run_within(command, LIMIT)
}

fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = quiet(command)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| cannot_run(Path::new(command.get_program()), cause))?;
    let words = child.stderr.take().map(Words::of);
    let words_of = command
        .get_args()
        .filter(|word| !word.as_encoded_bytes().starts_with(b"/"))
        .map(OsStr::to_string_lossy)
        .filter(|word| word != "-c")
        .take_while(|word| word != "-o");
    let failed = format!("apt-get {} failed", words_of.collect::<Vec<_>>().join(" "));
    let failed = |cause: String| Err(Error::new(Status::Unreachable, failed).because(cause));
    let ended = wait_within(&mut child, limit).and_then(|ended| match ended {
        Some(status) => Ok(Some(status)),
        None => end(&mut child).map(|()| None),
    });
    match ended {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => {
            let said = words.map(Words::heard).unwrap_or_default();
            failed(last_words(&said).map_or_else(|| status.to_string(), str::to_owned))
        }
        Ok(None) => failed(format!("it didn't end within {} s", limit.as_secs())),
        Err(error) => failed(error.to_string()),
    }
}

/// The last of what a program says.
struct Words {
    kept: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Words {
    fn of(mut output: impl Read + Send + 'static) -> Self {
        let (send, end) = channel();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        let read = move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut part) {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&part[..length]);
                let surplus = kept.len().saturating_sub(WORDS);
                kept.drain(..surplus);
            }
            // Whoever has stopped waiting has heard enough.
            let _ = send.send(());
        };
        // Without a thread there are no words; how it ended is still told.
        let _ = thread::Builder::new().spawn(read);
        Self { kept, end }
    }

    /// All that came; what it has started may hold the other end for longer.
    fn heard(self) -> String {
        let _ = self.end.recv_timeout(Duration::from_secs(1));
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

fn wait_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait()? {
            None if start.elapsed() < limit => thread::sleep(pause),
            ended => return Ok(ended),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Ends it, with what it has started: that goes by itself, with its input.
fn end(child: &mut Child) -> io::Result<()> {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
    if wait_within(child, GRACE)?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

pub(super) fn cannot_run(program: &Path, cause: io::Error) -> Error {
    let name = program.display();
    match cause.kind() {
        io::ErrorKind::NotFound => {
            Error::new(Status::Unreachable, format!("this host has no {name}"))
        }
        _ => Error::new(Status::Unreachable, format!("cannot run {name}")).because(cause),
    }
}

/// The line of apt's stderr that says most: its last error, or else its last
/// warning. The error that only sums up the others comes last of all.
fn last_words(stderr: &str) -> Option<&str> {
    let last = |prefix: &str| {
        stderr
            .lines()
            .filter_map(|line| line.strip_prefix(prefix))
            .rfind(|line| !line.starts_with("Some index files failed"))
    };
    last("E: ")
        .or_else(|| last("W: "))
        .or_else(|| stderr.lines().rfind(|line| !line.trim().is_empty()))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_sums_up_isnt_the_reason() {
        let stderr = "W: Failed to fetch x  Could not resolve 'host'\n\
                      E: Failed to fetch y  404  Not Found\n\
                      E: Some index files failed to download. They have been ignored.\n";
        assert_eq!(
            last_words(stderr),
            Some("Failed to fetch y  404  Not Found")
        );
        let stderr = "W: GPG error: NO_PUBKEY\nE: Some index files failed to download.\n";
        assert_eq!(last_words(stderr), Some("GPG error: NO_PUBKEY"));
        assert_eq!(last_words("terminated\n\n"), Some("terminated"));
        assert_eq!(last_words(""), None);
    }

    #[test]
    fn a_program_that_never_ends_is_ended() {
        for (script, least) in [
            ("exec sleep 60", 0),
            (
                "trap '' TERM; while :; do echo W: still here >&2; done",
                GRACE.as_secs(),
            ),
        ] {
            let start = Instant::now();
            let mut shell = Command::new("/bin/sh");
            let limit = Duration::from_millis(1500);
            let error = run_within(shell.args(["-c", script]), limit).unwrap_err();
            assert_eq!(error.status(), Status::Unreachable);
            assert!(
                error.reason().ends_with("it didn't end within 1 s"),
                "{error:?}"
            );
            let took = start.elapsed().as_secs();
            assert!((least..50).contains(&took), "{script}: {took} s");
        }
    }

    #[test]
    fn however_much_it_says_its_last_words_are_told() {
        let noise = "i=0; while [ $i -lt 20000 ]; do echo W: noise; i=$((i+1)); done >&2";
        let script = format!("{noise}; echo E: the end >&2; sleep 30 & exit 1");
        let start = Instant::now();
        let mut shell = Command::new("/bin/sh");
        let error = run_within(shell.args(["-c", &script]), LIMIT).unwrap_err();
        assert!(error.reason().ends_with(" failed: the end"), "{error:?}");
        assert!(
            start.elapsed() < Duration::from_secs(25),
            "who lingers is waited for"
        );
    }

    #[test]
    fn the_first_record_counts_and_only_with_a_digest() {
        let digest = Digest::of(b"x");
        let text =
            format!("Package: a\nVersion: 1:2-3\nSHA256: {digest}\n\nPackage: a\nVersion: 1\n");
        assert_eq!(index_record(&text), Some(("1:2-3".into(), digest)));
        assert_eq!(
            index_record("Package: a\nStatus: installed\nVersion: 1\n"),
            None
        );
        assert_eq!(index_record(""), None);
    }
}
