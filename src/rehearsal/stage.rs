//! The other side of a rehearsal: a process of its own that enters namespaces
//! of its own, and has nothing in common with the host but the kernel.
//!
//! Its root is an empty file system in memory, so that an emulator can lie at
//! the very path that its rule names, whether or not the host has such a
//! directory; /proc and /dev/null are the host's. One emulator at a time is
//! there. Nothing has to be cleared up: all of it goes with this process.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{chroot, getegid, geteuid, getppid};

use super::{Answer, Line, Request, Verdict, by_name};
use crate::binfmt::instance::Lock;
use crate::binfmt::{Guard, Instance, Rule};
use crate::durable;
use crate::error::{Error, IoContext, Result, Status};
use crate::platform::Target;
use crate::probe::{self, Failure, Probe};

/// Where the new root is built: a directory that every host has.
const ROOT: &str = "/dev";

/// Where the instance is mounted in the new root; no store lies there.
const MOUNT: &str = "/.binfmt_misc";

/// What closes user namespaces to ordinary users, and its value then.
const FOR_ROOT_ONLY: [(&str, &str); 2] = [
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
];

/// Plays what the request says; the answer as JSON. This process mustn't have
/// any other thread.
pub fn play(mut request: impl Read) -> Result<String> {
    let wrong = || {
        Error::new(Status::Usage, "this command is for binfmtctl's own use")
            .hint("`binfmtctl install --dry-run` rehearses")
    };
    let mut bytes = Vec::new();
    request
        .read_to_end(&mut bytes)
        .attempt(|| "cannot read stdin".to_owned())?;
    let request: Request =
        serde_json::from_slice(&bytes).map_err(|error| wrong().because(error))?;
    let answer = perform(&request).unwrap_or_else(|error| Answer::Impossible {
        reason: error.reason(),
        hint: error.advice().map(str::to_owned),
    });
    serde_json::to_string(&answer).map_err(|error| wrong().because(error))
}

fn perform(request: &Request) -> Result<Answer> {
    die_with(request.parent)?;
    // What lies outside can't be opened any more later on.
    let emulators: Vec<io::Result<File>> = request
        .parts
        .iter()
        .map(|part| durable::open_file(&part.emulator))
        .collect();
    let is_root = geteuid().is_root();
    enter_namespaces().map_err(|error| match why_closed(is_root) {
        Some(why) => error.hint(why),
        None => error.hint("a chroot, a sandbox, or a container without --privileged forbids it"),
    })?;
    // A change of credentials may take it back.
    die_with(request.parent)?;
    enter_root()?;
    let instance = Instance::mount_at(Path::new(MOUNT))?;
    let lock = instance.lock()?;
    let native = native(&request.targets, request.jobs)?;
    let verdicts = request
        .parts
        .iter()
        .zip(emulators)
        .map(|(part, emulator)| try_part(&instance, &lock, part, emulator))
        .collect();
    Ok(Answer::Played { native, verdicts })
}

/// Has the kernel kill this process when its parent goes.
fn die_with(parent: u32) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)
        .attempt(|| "cannot tie this process to its parent".to_owned())?;
    match getppid().as_raw() == parent as i32 {
        true => Ok(()),
        false => Err(Error::new(Status::Failed, "nobody waits for an answer")),
    }
}

/// Makes this process root in a user namespace, with mounts of its own.
fn enter_namespaces() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .attempt(|| "cannot make a user namespace".to_owned())?;
    for (file, text) in [
        ("uid_map", format!("0 {uid} 1")),
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).attempt(|| format!("cannot write {path}"))?;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .attempt(|| "cannot make mounts private".to_owned())
}

/// What on this host closes user namespaces, where that is known.
fn why_closed(is_root: bool) -> Option<String> {
    let is = |name: &str, value: &str| {
        fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|found| found.trim() == value)
    };
    if is("user/max_user_namespaces", "0") {
        return Some("user.max_user_namespaces is 0".to_owned());
    }
    FOR_ROOT_ONLY
        .iter()
        .find(|(name, value)| !is_root && is(name, value))
        .map(|(name, value)| format!("{} is {value}: run it as root", name.replace('/', ".")))
}

/// Makes an empty root, with /proc and /dev/null in it, this process's root.
fn enter_root() -> Result<()> {
    // By its descriptor it can be had when it is out of sight.
    let null = File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open("/dev/null")
        .attempt(|| "cannot open /dev/null".to_owned())?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), ROOT, Some("tmpfs"), flags, Some("mode=0755"))
        .attempt(|| format!("cannot mount an empty root at {ROOT}"))?;
    let null = format!("/proc/self/fd/{}", null.as_raw_fd());
    let null_there = format!("{ROOT}/dev/null");
    for dir in ["proc", "dev", MOUNT] {
        make_dir(&Path::new(ROOT).join(dir.trim_start_matches('/')))?;
    }
    File::create(&null_there).attempt(|| format!("cannot create {null_there}"))?;
    // What more privileged namespaces have mounted below /proc can't be left out.
    for (from, to) in [("/proc", format!("{ROOT}/proc")), (&*null, null_there)] {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), &*to, None::<&str>, flags, None::<&str>)
            .attempt(|| format!("cannot bring {from} into an empty root"))?;
    }
    chroot(ROOT)
        .and_then(|()| nix::unistd::chdir("/"))
        .attempt(|| "cannot change the root".to_owned())
}

/// The targets that run without any rule.
fn native(names: &[String], jobs: Option<usize>) -> Result<Vec<String>> {
    let targets: Vec<&'static Target> = names.iter().filter_map(|name| by_name(name)).collect();
    let probes: Vec<Probe> = targets.iter().map(|target| Probe::of(target)).collect();
    let outcomes = probe::run_all(&probes, jobs, &|_| false);
    let unfit = outcomes.iter().find_map(|outcome| match &outcome.verdict {
        Err(Failure::NotPermitted(why)) => Some(why),
        _ => outcome.no_empty_root.as_ref(),
    });
    if let Some(why) = unfit {
        return Err(Error::new(Status::Failed, "no program can be tried there").because(&**why));
    }
    Ok(targets
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| outcome.runs())
        .map(|(target, _)| target.name.to_owned())
        .collect())
}

/// Puts the emulator where the rule wants it, and tries the rule.
fn try_part(instance: &Instance, lock: &Lock, part: &Line, emulator: io::Result<File>) -> Verdict {
    let (Some(target), Ok(rule)) = (by_name(&part.target), part.line.parse::<Rule>()) else {
        return Verdict::Untried(format!("cannot understand {}", part.line));
    };
    let path = Path::new(&rule.interpreter);
    let placed = emulator
        .attempt(|| format!("cannot read {}", part.emulator.display()))
        .and_then(|emulator| place(emulator, path));
    if let Err(error) = placed {
        return Verdict::Untried(error.reason());
    }
    let tried = try_rule(instance, lock, &rule, target);
    // Only to make room for the next; both go with this process anyway.
    let removed = instance.remove(lock, &rule.name);
    let _ = fs::remove_file(path);
    match tried.and(removed) {
        Ok(_) => Verdict::Ran,
        Err(error) => Verdict::Failed {
            reason: error.reason(),
            hint: error.advice().map(str::to_owned),
        },
    }
}

fn try_rule(instance: &Instance, lock: &Lock, rule: &Rule, target: &'static Target) -> Result<()> {
    let path = Path::new(&rule.interpreter);
    Guard::default().check(rule).map_err(|refusal| {
        Error::new(
            Status::Unsupported,
            format!("refused to register {}", rule.name),
        )
        .because(refusal)
    })?;
    probe::prove_emulator(path, target)?;
    instance.register(lock, rule)?;
    probe::prove_rule(path, target).map(drop)
}

/// Copies an emulator to its place in this root.
fn place(mut emulator: File, path: &Path) -> Result<()> {
    let attempt = || format!("cannot put {} into an empty root", path.display());
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    let mut copy = File::options()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(path)
        .attempt(attempt)?;
    io::copy(&mut emulator, &mut copy)
        .map(drop)
        .attempt(attempt)
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .attempt(|| format!("cannot create {} in an empty root", dir.display()))
}
