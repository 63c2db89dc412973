//! All unsafe code of this crate: one process that executes one probe as the
//! only file of an empty root; commands that die with whoever starts them; one
//! call to the C library; and the environment's change. Where no empty root can
//! be made the probe is executed from memory, in the caller's root.
//!
//! Between fork and exec the child
//! calls only what is async-signal-safe, on memory prepared before the fork;
//! what it changes (mounts, root, namespaces) is its own and dies with it.
//! The kernel kills it when its parent dies, so that nothing is left behind.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::{Duration, Instant};

use nix::libc::{self, c_int};
use nix::unistd::Pid;

use super::child::{Child, End, Loaded};
use crate::error::{Error, Status};

/// Why a probe didn't get what it needs.
#[derive(Debug)]
pub struct Unprepared {
    /// The step that failed.
    pub step: &'static str,
    /// Why.
    pub error: io::Error,
}

/// What came of one process.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub end: End,
    /// What was loaded; `None` where ptrace is forbidden or nothing was executed.
    pub loaded: Option<Loaded>,
    /// Why it ran in the caller's root and not in an empty one, if it did.
    pub no_empty_root: Option<Unprepared>,
}

/// The steps between fork and exec, in their order. The child reports the one
/// that failed by its index.
const STEPS: [&str; 8] = [
    "unshare the mount namespace",
    "map this user into a namespace",
    "make /proc private",
    "mount an empty root",
    "write the probe",
    "change the root",
    "keep the probe in memory",
    "execute the probe",
];
const MOUNT: u8 = 3;
const IN_MEMORY: u8 = 6;
const EXECUTE: u8 = 7;

/// How long the child's messages are: a step, and errno.
const MESSAGE: usize = 5;

const PROBE: &CStr = c"/probe";
/// The one argument after its name.
const ARGUMENT: &CStr = c"x";

/// With how many arguments a probe can be started, its own name among them.
const MAX_ARGUMENTS: usize = 3;
const EMPTY_ROOT: &CStr = c"/proc";
const EMPTY_ROOT_PROBE: &CStr = c"/proc/probe";

/// Executes `image` as the only file of an empty root, with so many arguments
/// (its name among them, 3 at most) and without environment, and waits for its
/// end, at most `limit`.
pub fn run(image: &[u8], arguments: usize, limit: Duration) -> io::Result<Ran> {
    let deadline = Instant::now() + limit;
    let (mut report, report_in) = pipe()?;
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .ok();
    let prepared = Prepared {
        image,
        arguments,
        uid_map: identity_map(nix::unistd::geteuid().as_raw()),
        gid_map: identity_map(nix::unistd::getegid().as_raw()),
        report: report_in.as_raw_fd(),
        null: null.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        parent: std::process::id() as libc::pid_t,
    };

    // SAFETY: the child only runs `Prepared::become_probe`, which is
    // async-signal-safe and never returns.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => prepared.become_probe(),
        pid => Pid::from_raw(pid),
    };
    drop(report_in);
    let (end, loaded) = Child::new(pid).watch(deadline)?;

    let mut bytes = Vec::new();
    report.read_to_end(&mut bytes)?;
    let mut ran = Ran {
        end,
        loaded,
        no_empty_root: None,
    };
    for message in bytes.chunks_exact(MESSAGE) {
        let &[step, a, b, c, d] = message else {
            continue;
        };
        let error = io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]));
        match (step, STEPS.get(usize::from(step))) {
            (EXECUTE, _) => ran.end = End::NotExecuted(error),
            (IN_MEMORY, Some(step)) => ran.end = End::NotPrepared(Unprepared { step, error }),
            (_, Some(step)) => ran.no_empty_root = Some(Unprepared { step, error }),
            (_, None) => {}
        }
    }
    Ok(ran)
}

/// Everything that the child needs, made before the fork.
struct Prepared<'a> {
    image: &'a [u8],
    arguments: usize,
    uid_map: String,
    gid_map: String,
    report: c_int,
    null: c_int,
    parent: libc::pid_t,
}

impl Prepared<'_> {
    /// The child's whole life.
    fn become_probe(&self) -> ! {
        // SAFETY: only async-signal-safe calls on memory that was prepared
        // before the fork; every pointer is to a NUL-terminated constant or to
        // a buffer passed with its length.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // The parent may have died before that call.
            if libc::getppid() != self.parent {
                libc::_exit(127);
            }
            let no_core = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &no_core);
            libc::umask(0o022);
            default_signals();
            raise_limits();
            for fd in 0..=2 {
                match self.null {
                    -1 => libc::close(fd),
                    null => libc::dup2(null, fd),
                };
            }
            // A limit on the size of files is an error to report, not a death.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let mut argv = [ARGUMENT.as_ptr(); MAX_ARGUMENTS + 1];
            argv[0] = PROBE.as_ptr();
            argv[self.arguments.min(MAX_ARGUMENTS)] = ptr::null();
            let environment = [ptr::null()];
            match self.prepare() {
                Ok(()) => {
                    libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
                    trace_me();
                    libc::execve(PROBE.as_ptr(), argv.as_ptr(), environment.as_ptr());
                }
                Err(step) => {
                    self.report(step);
                    if step > MOUNT {
                        // What is kept in memory is reached through /proc.
                        libc::umount2(EMPTY_ROOT.as_ptr(), libc::MNT_DETACH);
                    }
                    let Some(fd) = in_memory(self.image) else {
                        self.report(IN_MEMORY);
                        libc::_exit(127);
                    };
                    libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
                    trace_me();
                    libc::execveat(
                        fd,
                        c"".as_ptr(),
                        argv.as_ptr().cast(),
                        environment.as_ptr().cast(),
                        libc::AT_EMPTY_PATH,
                    );
                }
            }
            self.report(EXECUTE);
            libc::_exit(127)
        }
    }

    /// Makes the empty root, with the probe in it, this process's root.
    /// On failure errno is set and the step's index is returned.
    unsafe fn prepare(&self) -> Result<(), u8> {
        // SAFETY: see `become_probe`.
        unsafe {
            if libc::unshare(libc::CLONE_NEWNS) != 0 {
                if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) != 0 {
                    return Err(0);
                }
                // An unmapped user can't create files in its own tmpfs.
                put(c"/proc/self/uid_map", self.uid_map.as_bytes()).ok_or(1)?;
                put(c"/proc/self/setgroups", b"deny").ok_or(1)?;
                put(c"/proc/self/gid_map", self.gid_map.as_bytes()).ok_or(1)?;
            }
            // /proc is a mount by itself, so nothing spreads from what is
            // mounted on it once it is private.
            let none = ptr::null();
            check(libc::mount(
                none,
                EMPTY_ROOT.as_ptr(),
                none,
                libc::MS_PRIVATE,
                none.cast(),
            ))
            .ok_or(2)?;
            check(libc::mount(
                c"tmpfs".as_ptr(),
                EMPTY_ROOT.as_ptr(),
                c"tmpfs".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                c"size=64k,mode=0755".as_ptr().cast(),
            ))
            .ok_or(3)?;
            put(EMPTY_ROOT_PROBE, self.image).ok_or(4)?;
            check(libc::chroot(EMPTY_ROOT.as_ptr())).ok_or(5)?;
            check(libc::chdir(c"/".as_ptr())).ok_or(5)
        }
    }

    /// Sends the step and errno to the parent.
    unsafe fn report(&self, step: u8) {
        // SAFETY: see `become_probe`; the buffer is passed with its length.
        unsafe {
            let [a, b, c, d] = (*libc::__errno_location()).to_ne_bytes();
            let message: [u8; MESSAGE] = [step, a, b, c, d];
            libc::write(self.report, message.as_ptr().cast(), message.len());
        }
    }
}

/// Handles every signal as a program finds it in a container. What the caller
/// ignores or blocks is inherited, and the stop at the exec is a signal too.
unsafe fn default_signals() {
    // SAFETY: the set is initialised before it is used, and the default needs
    // no handler. The C library's own signals are refused, without harm.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Raises every limit as far as this process may: what the caller's shell
/// limits, containers don't.
unsafe fn raise_limits() {
    // SAFETY: the limits are read into a value that is initialised.
    unsafe {
        for resource in [
            libc::RLIMIT_AS,
            libc::RLIMIT_CPU,
            libc::RLIMIT_DATA,
            libc::RLIMIT_FSIZE,
            libc::RLIMIT_NOFILE,
            libc::RLIMIT_NPROC,
            libc::RLIMIT_STACK,
        ] {
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            if libc::getrlimit(resource, &mut limit) == 0 {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(resource, &limit);
            }
        }
    }
}

/// Has the parent stop this process at its exec. Where that is forbidden only
/// the identity of what runs stays unknown.
unsafe fn trace_me() {
    // SAFETY: without side effects on memory.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, ptr::null_mut::<u8>(), 0) };
}

/// A descriptor of a file in memory with these bytes, open for reading only:
/// what is open for writing can't be executed. It stays open over the exec,
/// since an emulator opens the program by its number.
unsafe fn in_memory(bytes: &[u8]) -> Option<c_int> {
    // SAFETY: the path is a NUL-terminated constant or a buffer that ends in
    // zeros, the bytes are passed with their length.
    unsafe {
        let writable = libc::memfd_create(c"probe".as_ptr(), libc::MFD_CLOEXEC);
        if writable < 0 || libc::write(writable, bytes.as_ptr().cast(), bytes.len()) < 0 {
            return None;
        }
        let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
        decimal(writable, &mut path[14..25]);
        let fd = libc::open(path.as_ptr().cast(), libc::O_RDONLY);
        libc::close(writable);
        (fd >= 0).then_some(fd)
    }
}

/// Writes a number that isn't negative in decimal digits, without allocating.
fn decimal(number: c_int, to: &mut [u8]) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    for place in to[..digits].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Writes a whole file, mode 0755 if it is new.
unsafe fn put(path: &CStr, bytes: &[u8]) -> Option<()> {
    // SAFETY: the path ends in NUL, the buffer is passed with its length.
    unsafe {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC;
        let fd = libc::open(path.as_ptr(), flags, 0o755);
        if fd < 0 {
            return None;
        }
        let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        // A descriptor that is open for writing would make the exec ETXTBSY.
        libc::close(fd);
        (written == bytes.len() as isize).then_some(())
    }
}

/// Makes the process of this command go when the thread that starts it goes.
pub fn end_with_thread(command: &mut Command) {
    let parent = std::process::id() as libc::pid_t;
    // SAFETY: only async-signal-safe calls, and no memory is allocated.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // The parent may have died before that call.
            match libc::getppid() == parent {
                true => Ok(()),
                false => libc::_exit(127),
            }
        });
    }
}

/// Closes for the command whatever was left open for it by accident: by who
/// started this process. Kernels before 5.11 don't do it in one call.
pub fn inherit_nothing(command: &mut Command) {
    // SAFETY: only an async-signal-safe call, and no memory is allocated.
    unsafe {
        command.pre_exec(|| {
            libc::syscall(
                libc::SYS_close_range,
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            Ok(())
        });
    }
}

fn check(result: c_int) -> Option<()> {
    (result == 0).then_some(())
}

fn identity_map(id: u32) -> String {
    format!("{id} {id} 1")
}

/// Makes a static binary look up hosts in files and DNS only, whatever
/// nsswitch.conf says. To be called before anything else.
///
/// A static glibc loads the modules that nsswitch.conf names (`myhostname`,
/// `resolve`) from the host, built against another glibc, and dies of SIGFPE.
pub fn pin_name_services() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        use std::ffi::c_char;
        unsafe extern "C" {
            fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
        }
        // SAFETY: both are NUL-terminated constants, and no other thread runs
        // yet. A refusal leaves the host's own configuration.
        unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    }
}

/// Has the kernel keep what became of children until it is asked, also where
/// the caller ignores the end of his. To be called before anything is started.
pub fn wait_for_children() {
    // SAFETY: the default needs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Has large pieces of memory go back to the kernel as soon as they are free.
/// To be called before anything else.
///
/// Left to itself, glibc keeps what threads free for later, up to several
/// blocks of a package for each thread.
pub fn give_back_memory() {
    // SAFETY: no other thread runs yet. A refusal leaves the usual way.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024)
    };
}

/// Takes variables out of this process's environment. Refused where it has
/// more than one thread.
pub fn forget_variables(names: &[&str]) -> crate::error::Result<()> {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return Err(Error::new(
            Status::Failed,
            "cannot change the environment of a process with other threads",
        ));
    }
    for name in names {
        // SAFETY: nobody reads the environment meanwhile: this is the only
        // thread, as was just counted, and only it could start another.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}

fn pipe() -> io::Result<(File, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for the two descriptors, which are owned by
    // nobody else.
    unsafe {
        match libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) {
            0 => Ok((File::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_goes_while_another_thread_may_read_it() {
        let other = std::thread::spawn(std::thread::park);
        assert!(forget_variables(&["PATH"]).is_err());
        assert!(std::env::var_os("PATH").is_some());
        other.thread().unpark();
        other.join().unwrap();
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 99, 100, c_int::MAX] {
            let mut text = [0; 11];
            decimal(number, &mut text);
            let text = String::from_utf8_lossy(&text).into_owned();
            assert_eq!(text.trim_end_matches('\0'), number.to_string());
        }
    }
}
