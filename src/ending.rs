//! How a run ends that somebody stops: INT, TERM and HUP let what is half done be
//! finished or taken back, the files that have no name yet go, the last line says
//! what happened, and then the signal ends the process as it would have.
//!
//! One thread waits for these signals, all others have them blocked; programs
//! that are started get them as usual. What may not be torn holds [`whole`], which
//! takes seconds at most; a second signal, or a quarter of a minute, ends the
//! process at once. That is no worse than kill -9, after which the next run
//! clears up.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::thread::JoinHandleExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::unistd::alarm;

/// How long it may take to finish what is half done, in seconds: a proof that
/// hangs, and a little.
const PATIENCE: u32 = 15;

const STOPPING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// What relieves the thread that waits for the others.
const RELIEVING: Signal = Signal::SIGUSR2;

/// The thread that waits, and for what.
static WATCHER: Mutex<Option<(SigSet, JoinHandle<()>)>> = Mutex::new(None);

/// Whether it is being relieved.
static RELIEVED: AtomicBool = AtomicBool::new(false);

/// Held for writing by whoever ends the process.
static WHOLE: RwLock<()> = RwLock::new(());

/// Files and directories that go with the process.
static PASSING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// While this is held no signal ends the process.
pub fn whole() -> RwLockReadGuard<'static, ()> {
    WHOLE.read().unwrap_or_else(PoisonError::into_inner)
}

/// What goes when a signal ends the process; taken back when this is dropped.
#[derive(Debug)]
pub struct Passing(PathBuf);

impl Passing {
    /// Makes something that is to go, which mustn't be missed by an end in between.
    pub fn make<T, E>(
        make: impl FnOnce() -> Result<T, E>,
        path: impl Fn(&T) -> &Path,
    ) -> Result<(T, Self), E> {
        let mut all = passing();
        let made = make()?;
        let path = path(&made).to_owned();
        all.push(path.clone());
        Ok((made, Self(path)))
    }

    /// Does what makes it stay, or takes it away, before or after an end.
    pub fn settle<T>(self, settle: impl FnOnce() -> T) -> T {
        let mut all = passing();
        let settled = settle();
        all.retain(|path| *path != self.0);
        settled
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        passing().retain(|path| *path != self.0);
    }
}

fn passing() -> MutexGuard<'static, Vec<PathBuf>> {
    PASSING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on the signals that stop a run let it end well. To be called before
/// any other thread is started. Signals that are ignored stay so.
pub fn watch() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let waited: SigSet = STOPPING
        .into_iter()
        .filter(|signal| !is_ignored(&status, *signal))
        .collect();
    let mut blocked = waited;
    blocked.add(RELIEVING);
    // A file that may not grow is an error of the write.
    blocked.add(Signal::SIGXFSZ);
    if blocked.thread_block().is_ok() {
        *watcher() = start(waited);
    }
}

/// Does something that counts for this thread and those that it starts from
/// then on. The thread that waits for signals, which has begun before, is
/// replaced; what is sent meanwhile comes afterwards.
pub fn relieve<T>(work: impl FnOnce() -> T) -> T {
    let mut watcher = watcher();
    let Some((waited, thread)) = watcher.take() else {
        return work();
    };
    RELIEVED.store(true, Ordering::SeqCst);
    // One that ends the process instead is waited for until it has.
    if pthread_kill(thread.as_pthread_t(), RELIEVING).is_ok() {
        let _ = thread.join();
    }
    RELIEVED.store(false, Ordering::SeqCst);
    let done = work();
    *watcher = start(waited);
    done
}

fn watcher() -> MutexGuard<'static, Option<(SigSet, JoinHandle<()>)>> {
    WATCHER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(waited: SigSet) -> Option<(SigSet, JoinHandle<()>)> {
    let mut all = waited;
    all.add(RELIEVING);
    let watch = move || match all.wait() {
        Ok(RELIEVING) if RELIEVED.load(Ordering::SeqCst) => {}
        Ok(signal) => end(signal, waited),
        Err(_) => {}
    };
    let started = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch);
    match started {
        Ok(thread) => Some((waited, thread)),
        Err(_) => {
            // Without it they end the process as they always have.
            let _ = all.thread_unblock();
            None
        }
    }
}

/// Whether the process was started with this signal ignored, as nohup does.
fn is_ignored(status: &str, signal: Signal) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    ignored.is_some_and(|set| set >> (signal as i32 - 1) & 1 == 1)
}

fn end(signal: Signal, waited: SigSet) {
    let clear_up = move || {
        let _nothing_begins = WHOLE.write().unwrap_or_else(PoisonError::into_inner);
        let all = passing();
        for path in all.iter() {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
        let mut stderr = io::stderr();
        let start = match stderr.is_terminal() {
            // A progress bar may stand there.
            true => "\r\x1b[K",
            false => "",
        };
        // Whoever doesn't read it isn't waited for.
        let _ = writeln!(
            stderr,
            "{start}binfmtctl: stopped by {signal}: what is done stays, and nothing is left half done (run it again for the rest)"
        );
        die(signal);
    };
    let started = thread::Builder::new().spawn(clear_up);
    let mut waited = waited;
    waited.add(Signal::SIGALRM);
    let _ = waited.thread_block();
    alarm::set(PATIENCE);
    if started.is_ok() {
        let _ = waited.wait();
    }
    die(signal);
}

/// Ends this process by the signal, as whoever waits for it expects. The first
/// process of a PID namespace can't die of it.
fn die(signal: Signal) {
    let mut only = SigSet::empty();
    only.add(signal);
    let _ = raise(signal).and_then(|()| only.thread_unblock());
    std::process::exit(128 + signal as i32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_stays_ignored() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n";
        assert!(is_ignored(status, Signal::SIGHUP));
        assert!(!is_ignored(status, Signal::SIGINT));
        assert!(!is_ignored("", Signal::SIGHUP));
    }
}
