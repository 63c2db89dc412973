//! What each stage of an install may do, read from the kernel while it is at
//! it: who talks to the network and decodes may do nothing, who registers only
//! what that takes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use binfmtctl::probe::Probe;
use binfmtctl::rights::REGISTERING;
use nix::unistd::geteuid;

use crate::world::server::{Answer, Server};
use crate::world::{World, host, skip};

/// The sets of capabilities in /proc/PID/status.
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

const NOBODY: &str = "65534";

/// The fields of a /proc/PID/status.
fn status(process: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(process.join("status")).unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// A process of this test's run that was started with this word, once there is
/// one for which `ready` holds.
fn process(of: &Path, word: &str, ready: impl Fn(&Path) -> bool) -> PathBuf {
    let has = |file: PathBuf, bytes: &[u8]| {
        let text = fs::read(file).unwrap_or_default();
        text.windows(bytes.len()).any(|window| window == bytes)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let path = entry.path();
            let words = fs::read(path.join("cmdline")).unwrap_or_default();
            let mut words = words.split(|byte| *byte == 0);
            let is_program = words.next().is_some_and(|program| {
                !program.ends_with(b"timeout") && !program.ends_with(b"nsenter")
            });
            let parent = status(&path).remove("PPid").unwrap_or_default();
            let parent = Path::new("/proc").join(parent);
            let is_of_this_run = [&path, &parent]
                .iter()
                .any(|process| has(process.join("environ"), of.as_os_str().as_bytes()));
            if is_program
                && words.any(|found| found == word.as_bytes())
                && is_of_this_run
                && ready(&path)
            {
                return path;
            }
        }
        sleep(Duration::from_millis(10));
    }
    panic!("no process was started with {word}");
}

/// A run that is ended, whatever becomes of the test.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a run ask a server that doesn't answer, and looks at who waits for it.
fn while_it_fetches(world: &World, line: &str, look: impl FnOnce(&Path)) {
    let (asked, is_asked) = channel();
    let (release, released) = channel::<()>();
    let released = std::sync::Mutex::new(released);
    let server = Server::start(move |_| {
        let _ = asked.send(());
        let _ = released.lock().unwrap().recv();
        Answer::status("503 Service Unavailable")
    });
    let mut command = world.command(env!("CARGO_BIN_EXE_binfmtctl"));
    let run = command
        .args(line.split(' '))
        .args(["--source", "https", "--mirror", &server.url()])
        .arg("--manifest")
        .arg(world.manifest_without_urls())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let run = Run(run.unwrap());
    is_asked
        .recv_timeout(Duration::from_secs(60))
        .expect("a request");
    look(&process(&world.prefix(), "errand", |_| true));
    drop((run, release));
}

/// Nothing at all, in every thread.
fn assert_no_rights(process: &Path) {
    for thread in fs::read_dir(process.join("task")).unwrap().flatten() {
        let status = status(&thread.path());
        for set in SETS {
            assert_eq!(status[set], "0000000000000000", "{set}");
        }
        assert_eq!(status["NoNewPrivs"], "1");
    }
}

#[test]
fn who_talks_to_the_network_and_decodes_has_no_rights() {
    let Some(world) = World::new() else { return };
    while_it_fetches(&world, "install riscv64", assert_no_rights);
}

#[test]
fn with_other_users_it_is_none_that_owns_anything() {
    let Some(world) = World::with_users() else {
        return;
    };
    while_it_fetches(&world, "install riscv64", |process| {
        assert_no_rights(process);
        let seen = world.sh(&format!(
            "grep -E '^(Uid|Gid|Groups)' {}/status",
            process.display()
        ));
        let words: Vec<_> = seen.stdout.split_whitespace().collect();
        let nobody = [NOBODY; 4];
        assert_eq!(words[1..5], nobody, "{seen}");
        assert_eq!(words[6..10], nobody, "{seen}");
        assert_eq!(words[10..], ["Groups:"], "{seen}");
    });
}

#[test]
fn all_that_it_has_open_is_what_was_handed_over_and_its_connection() {
    let Some(world) = World::new() else { return };
    if !geteuid().is_root() {
        skip("only root sees what it has open");
        return;
    }
    while_it_fetches(&world, "install riscv64", |process| {
        for entry in fs::read_dir(process.join("fd")).unwrap().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let target = target.display().to_string();
            let nameless = target.starts_with(&*world.prefix().to_string_lossy())
                && target.ends_with(" (deleted)");
            let harmless = ["socket:", "anon_inode:", "pipe:", "/dev/null"];
            assert!(
                nameless || harmless.iter().any(|kind| target.starts_with(kind)),
                "{target}"
            );
        }
    });
}

#[test]
fn it_ends_with_who_sent_it() {
    let Some(world) = World::new() else { return };
    let mut left = PathBuf::new();
    while_it_fetches(&world, "install riscv64", |process| {
        left = process.to_owned();
        let parent = status(process)["PPid"].parse().unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(parent),
            nix::sys::signal::SIGKILL,
        )
        .unwrap();
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read(left.join("cmdline")).is_ok_and(|words| !words.is_empty()) {
        assert!(Instant::now() < deadline, "it goes on");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_registers_has_what_that_takes_and_nothing_else() {
    let Some(world) = World::new() else { return };
    let hangs = Probe {
        code: b"\xeb\xfe",
        ..Probe::of(host().target())
    };
    if host().emulator != "x86_64" {
        skip("the emulator that hangs is amd64 code");
        return;
    }
    let pinned = world.pin("riscv64", &hangs.image());
    let mut command = world.command(env!("CARGO_BIN_EXE_binfmtctl"));
    let run = command
        .args(["install", "riscv64"])
        .envs(pinned.options())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _run = Run(run.unwrap());
    // The emulator is being tried.
    process(&world.prefix(), "x", |process| {
        status(process)["Name"].starts_with("qemu-")
    });
    let program = process(&world.prefix(), "install", |_| true);
    let registering = REGISTERING
        .iter()
        .fold(0_u64, |set, capability| set | capability.bitmask());
    for thread in fs::read_dir(program.join("task")).unwrap().flatten() {
        let status = status(&thread.path());
        let of = |set: &str| u64::from_str_radix(&status[set], 16).unwrap();
        assert_eq!(SETS.map(of), [0, registering, registering, registering, 0]);
    }
}

#[test]
fn extract_has_another_user_fetch_as_well() {
    let Some(world) = World::with_users() else {
        return;
    };
    let to = world.path("emulators");
    let line = format!("manifest extract riscv64 --to {}", to.display());
    while_it_fetches(&world, &line, |process| {
        assert_no_rights(process);
        assert_eq!(
            status(process)["Uid"].split_whitespace().next(),
            Some(NOBODY)
        );
    });
}
