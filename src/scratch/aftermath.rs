//! What clears up after a run that can't do it itself: one that a signal
//! ended, Ctrl-C or `kill -9`.
//!
//! It is this program once more, in a process group that no terminal signals.
//! It waits until its standard input ends, which it does with whoever started
//! it, and then removes what nobody holds any more.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::sweep;

/// The hidden subcommand that is started.
pub const SUBCOMMAND: &str = "clear-up";

/// Processes that end with the run may hold a file of its for a moment.
const ATTEMPTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A process that outlives this one, to clear up after it. Dropped, it is
/// waited for.
#[derive(Debug)]
pub(super) struct Aftermath(Child);

impl Aftermath {
    /// Of such a directory. Where none can be had, the next run clears up.
    pub fn of(dir: &Path) -> Option<Self> {
        Command::new("/proc/self/exe")
            .arg(SUBCOMMAND)
            .arg(dir)
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .ok()
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Waits for the end of `input`, then removes the directory, and others of its
/// kind, that no run holds.
pub fn clear_up(dir: &Path, mut input: impl Read) {
    let _ = io::copy(&mut input, &mut io::sink());
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let (Some(place), Some((kind, _))) = (dir.parent(), name.split_once('.')) else {
        return;
    };
    for _ in 0..ATTEMPTS {
        sweep(place, &format!("{kind}."));
        if !dir.exists() {
            break;
        }
        sleep(PAUSE);
    }
}
