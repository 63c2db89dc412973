//! Clearing up when a signal ends the run: Ctrl-C, a closed terminal, `kill`.
//!
//! No handler interrupts anything: the signals are blocked, in every thread
//! that starts from here on, and one thread waits for them, removes the
//! directory and then lets the signal have its way. One that was ignored, as
//! by nohup, stays ignored.

use std::fs;
use std::path::PathBuf;
use std::thread;

use nix::sys::signal::{SigSet, Signal, raise};
use procfs::process::Process;

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// How often to try while other threads still make files.
const ATTEMPTS: usize = 100;

/// Has the directory removed when a signal ends this process. Where that can't
/// be arranged the signal just ends it.
pub(super) fn remove_at_signal(dir: PathBuf) {
    let Some(signals) = deadly() else { return };
    if signals.thread_block().is_err() {
        return;
    }
    let started = thread::Builder::new().spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        for _ in 0..ATTEMPTS {
            if fs::remove_dir_all(&dir).is_ok() || !dir.exists() {
                break;
            }
        }
        let _ = signals.thread_unblock();
        let _ = raise(signal);
    });
    if started.is_err() {
        let _ = signals.thread_unblock();
    }
}

/// The signals that would end this process.
fn deadly() -> Option<SigSet> {
    let ignored = Process::myself().and_then(|own| own.status()).ok()?.sigign;
    let is_ignored = |signal: Signal| ignored & (1 << (signal as i32 - 1)) != 0;
    let deadly = SIGNALS.into_iter().filter(|signal| !is_ignored(*signal));
    Some(deadly.collect())
}
