//! What this process may do, and giving it up for good.
//!
//! A step gets the capabilities that it takes and no others ([`keep_only`]);
//! a process that handles outside bytes gets none, another user where it may
//! choose one, and no file but those that were handed to it or are listed for
//! it ([`Cell::enter`]). What was given up can't be had back: neither by this
//! thread, nor by the threads and programs that it starts. So it is given up
//! before there are other threads.

use std::fs;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use crate::custody;
use crate::ending;
use crate::error::{Error, IoContext, Result, Status};

/// What registering, proving and looking take: to mount and to unshare, to
/// change the root of a probe, and to see what PID 1 executes.
pub const REGISTERING: [Capability; 3] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SYS_PTRACE,
];

/// What a rehearsal takes besides, to make a user namespace in which root is
/// root (since Linux 5.12).
pub const REHEARSING: [Capability; 4] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_SETFCAP,
];

/// What a diagnosis takes besides: logs and engines' sockets that aren't root's, and
/// the kernel's log.
pub const DIAGNOSING: [Capability; 6] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_SETFCAP,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_SYSLOG,
];

/// The user that handles outside bytes, where the host has made one for it.
pub const OWN_USER: &str = "_binfmtctl";

/// nobody, on every Linux.
const NOBODY: u32 = 65534;

/// The newest Landlock that is made use of; older kernels do what they can.
const LANDLOCK: ABI = ABI::V6;

/// Gives up every capability but these, of this thread and of all that it
/// starts. What this process hasn't got it doesn't get. In a user namespace with
/// users of its own CAP_FOWNER stays, to tell whose files are whose.
pub fn keep_only(kept: &[Capability]) -> Result<()> {
    let fowner = custody::takes_fowner().then_some(Capability::CAP_FOWNER);
    let kept: Vec<_> = kept.iter().copied().chain(fowner).collect();
    ending::relieve(|| {
        bound(&kept)?;
        hold(&kept)
    })
}

/// Limits what anything that is executed from now on can get, also where a file
/// would grant it. Who may not say so hasn't much to give.
fn bound(kept: &[Capability]) -> Result<()> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(not_given_up)? {
        return Ok(());
    }
    let bounding = caps::read(None, CapSet::Bounding).map_err(not_given_up)?;
    let mut surplus = bounding.into_iter().filter(|c| !kept.contains(c));
    surplus
        .try_for_each(|surplus| caps::drop(None, CapSet::Bounding, surplus).map_err(not_given_up))
}

fn hold(kept: &[Capability]) -> Result<()> {
    let has = caps::read(None, CapSet::Permitted).map_err(not_given_up)?;
    let left: CapsHashSet = kept.iter().copied().filter(|c| has.contains(c)).collect();
    // Kernels before 4.3 have no ambient set.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(not_given_up)?;
    caps::set(None, CapSet::Effective, &left).map_err(not_given_up)?;
    caps::set(None, CapSet::Permitted, &left).map_err(not_given_up)
}

fn not_given_up(error: caps::errors::CapsError) -> Error {
    Error::new(Status::Failed, "cannot give up capabilities").because(error.to_string())
}

/// Another user than root, for a process that needs nothing of root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user to become: the first of these names that there is, or else
    /// nobody. `None` for who isn't root, and where this user namespace has no
    /// such user.
    pub fn other(names: &[&str]) -> Option<Self> {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let maps = [text("/proc/self/uid_map"), text("/proc/self/gid_map")];
        let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        let free = geteuid().is_root()
            && may(Capability::CAP_SETUID)
            && may(Capability::CAP_SETGID)
            && may(Capability::CAP_CHOWN);
        free.then(|| Self::choose(names, &text("/etc/passwd"), &maps))
            .flatten()
    }

    /// The same from the texts of `/etc/passwd` and of uid_map and gid_map.
    fn choose(names: &[&str], passwd: &str, maps: &[String; 2]) -> Option<Self> {
        let parse = |line: &str, wanted: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (name == wanted).then_some(Self { uid, gid })
        };
        let called = |name: &&str| passwd.lines().find_map(|line| parse(line, name));
        let own = names.iter().filter_map(called);
        let nobody = Self {
            uid: NOBODY,
            gid: NOBODY,
        };
        own.chain([nobody]).find(|user| {
            // An own user that is root would be none.
            let other = user.uid != 0 && user.gid != 0;
            other && is_mapped(&maps[0], user.uid) && is_mapped(&maps[1], user.gid)
        })
    }

    /// Gives a file or directory to this user.
    pub fn give(&self, path: &Path) -> Result<()> {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
            .attempt(|| format!("cannot hand over {}", path.display()))
    }

    fn become_it(&self) -> Result<()> {
        let attempt = || format!("cannot become the user {}", self.uid);
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        match setgroups(&[]) {
            // A user namespace may forbid this to everybody; its groups give nothing.
            Err(Errno::EPERM) => {}
            set => set.attempt(attempt)?,
        }
        setresgid(gid, gid, gid).attempt(attempt)?;
        setresuid(uid, uid, uid).attempt(attempt)
    }
}

/// Whether a user namespace with this uid_map or gid_map has the id.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        matches!(numbers[..], [first, _, count]
            if (first..first.saturating_add(count)).contains(&u64::from(id)))
    })
}

/// What a process that handles outside bytes is left with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cell {
    /// Who it is from then on, where that is somebody else.
    pub user: Option<User>,
    /// Files and directories that may be read.
    pub readable: Vec<PathBuf>,
    /// Files and directories that may be read and executed.
    pub executable: Vec<PathBuf>,
    /// Files and directories that may be written, wherever they lie.
    pub writable: Vec<PathBuf>,
    /// What the others don't open: neither itself nor what is in it.
    pub closed: Vec<PathBuf>,
}

/// Things on the way into a [`Cell`] that a host may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// Whether the kernel keeps the process from other files.
    pub landlock: bool,
}

impl Cell {
    /// Gives up everything else, for good: another user, no capabilities, no
    /// new privileges, and Landlock where the kernel has it. `before` is done
    /// first: what the host's own files say may be for root's eyes only.
    pub fn enter(&self, before: impl FnOnce()) -> Result<Confined> {
        before();
        let attempt = || "cannot give up privileges".to_owned();
        // Nor has it a foot in a directory that it couldn't go to.
        std::env::set_current_dir("/").attempt(attempt)?;
        bound(&[])?;
        if let Some(user) = self.user {
            hold(&[Capability::CAP_SETGID, Capability::CAP_SETUID])?;
            user.become_it()?;
        }
        hold(&[])?;
        prctl::set_no_new_privs().attempt(attempt)?;
        prctl::set_dumpable(false).attempt(attempt)?;
        // Who changes the user forgets about it.
        prctl::set_pdeathsig(Signal::SIGKILL).attempt(attempt)?;
        let landlock = self.restrict().map_err(|error| {
            Error::new(Status::Failed, "cannot confine a process").because(error.to_string())
        })?;
        Ok(Confined { landlock })
    }

    fn restrict(&self) -> Result<bool, RulesetError> {
        let read = AccessFs::from_read(LANDLOCK) & !BitFlags::from(AccessFs::Execute);
        let execute = AccessFs::from_read(LANDLOCK);
        let write = AccessFs::from_all(LANDLOCK) & !BitFlags::from(AccessFs::Execute);
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(LANDLOCK))?
            // It asks others, nobody asks it.
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?;
        let open = |list: &[PathBuf], access| {
            let paths = list.iter().flat_map(|path| without(path, &self.closed));
            paths.map(|path| (path, access)).collect::<Vec<_>>()
        };
        let readable = open(&self.readable, read);
        let executable = open(&self.executable, execute);
        let writable = self.writable.iter().map(|path| (path.clone(), write));
        for (path, access) in readable.into_iter().chain(executable).chain(writable) {
            // What isn't there needn't be opened.
            if let Ok(opened) = PathFd::new(&path) {
                rules = rules.add_rule(PathBeneath::new(opened, access))?;
            }
        }
        let status = rules.restrict_self()?;
        Ok(status.ruleset != landlock::RulesetStatus::NotEnforced)
    }
}

/// A path without what is closed: itself where nothing of that lies in it, and
/// else what lies beside that. Links lead to places that have a way of their own.
fn without(path: &Path, closed: &[PathBuf]) -> Vec<PathBuf> {
    if closed.iter().any(|closed| path.starts_with(closed)) {
        return Vec::new();
    }
    if !closed.iter().any(|closed| closed.starts_with(path)) {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()))
        .flat_map(|entry| without(&entry.path(), closed))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{self, Write};
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use nix::mount::{MsFlags, mount};
    use nix::sys::signal::kill;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n_binfmtctl:x:997:996::/:/bin/false\n";

    fn maps(map: &str) -> [String; 2] {
        [map.to_owned(), map.to_owned()]
    }

    #[test]
    fn a_host_has_a_user_for_outside_bytes_and_every_other_nobody() {
        let choose = |passwd: &str, maps: &_| User::choose(&[OWN_USER], passwd, maps);
        let all = maps("         0          0 4294967295\n");
        let own = User { uid: 997, gid: 996 };
        let nobody = User {
            uid: NOBODY,
            gid: NOBODY,
        };
        assert_eq!(choose(PASSWD, &all), Some(own));
        assert_eq!(choose("root:x:0:0::/:\n", &all), Some(nobody));
        assert_eq!(choose("_binfmtctl:x:0:0::/:\n", &all), Some(nobody));
        assert_eq!(choose("_binfmtctl:x\n\n", &all), Some(nobody));
        let first = User::choose(&["_apt", OWN_USER], PASSWD, &all);
        assert_eq!(first, Some(own), "who isn't there is passed over");
        let root = User::choose(&["root", OWN_USER], PASSWD, &all);
        assert_eq!(root, Some(own));
        assert_eq!(choose(PASSWD, &maps("0 1000 1\n")), None);
        let some = maps("0 1000 1\n1 100000 1000\n");
        assert_eq!(choose(PASSWD, &some), Some(own));
    }

    #[test]
    fn a_user_is_there_only_where_the_namespace_has_its_id() {
        let whole = "         0          0 4294967295\n";
        assert!(is_mapped(whole, 42));
        assert!(!is_mapped("         0          0          1\n", 42));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", 42));
        assert!(!is_mapped("nonsense\n", 42));
    }

    /// What a [`Cell`] has to refuse, as it is tried by who is in it.
    fn attempts(dir: &Path) -> Vec<(&'static str, io::Result<()>)> {
        let open = |path: &str| File::open(path).map(drop);
        let write = |path: &str| File::options().write(true).open(path).map(drop);
        let parent = nix::unistd::getppid();
        let nothing = None::<&str>;
        let mount = mount(nothing, "/", Some("tmpfs"), MsFlags::empty(), nothing);
        vec![
            (
                "read what the kernel lets set",
                open("/proc/sys/kernel/ostype"),
            ),
            ("set it", write("/proc/sys/kernel/hostname")),
            (
                "read the store",
                File::open(dir.join("store/file")).map(drop),
            ),
            (
                "write to the store",
                File::create(dir.join("store/new")).map(drop),
            ),
            ("make a file", File::create(dir.join("new")).map(drop)),
            (
                "read a user's file",
                File::open(dir.join("other")).map(drop),
            ),
            (
                "execute a program",
                Command::new("/bin/true").status().map(drop),
            ),
            ("listen", TcpListener::bind("127.0.0.1:0").map(drop)),
            ("mount", mount.map_err(Into::into)),
            (
                "signal who started it",
                kill(parent, None).map_err(Into::into),
            ),
            (
                "become root again",
                match geteuid().is_root() {
                    true => Err(Errno::EPERM.into()),
                    false => setresuid(0.into(), 0.into(), 0.into()).map_err(Into::into),
                },
            ),
        ]
    }

    /// Enters a cell and tries what it has to refuse. The test below starts it.
    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    fn prisoner() {
        let Some(dir) = std::env::var_os("BINFMTCTL_TEST_CELL").map(PathBuf::from) else {
            return;
        };
        let handed = File::create(dir.join("handed")).unwrap();
        let cell = Cell {
            user: User::other(&[OWN_USER]),
            readable: vec![dir.join("readable"), "/etc".into()],
            executable: vec![dir.join("store")],
            writable: vec![dir.join("writable")],
            closed: vec![dir.join("store")],
        };
        let mut seen = Vec::new();
        let Confined { landlock } = cell
            .enter(|| seen.push(dir.join("other").exists()))
            .unwrap();
        assert_eq!(seen, [true]);
        assert!(
            landlock,
            "this kernel has no Landlock, so it can't be tested"
        );
        for (what, tried) in attempts(&dir) {
            let refused = tried.expect_err(what).raw_os_error();
            assert!(
                matches!(refused, Some(nix::libc::EACCES | nix::libc::EPERM)),
                "{what}: {refused:?}"
            );
        }
        (&handed)
            .write_all(b"x")
            .expect("a file that was handed over");
        fs::read(dir.join("readable/file")).expect("a readable file");
        fs::read("/etc/hosts").expect("what looking up a name takes");
        fs::write(dir.join("writable/file"), "").expect("a writable directory");
        let status = fs::read_to_string("/proc/thread-self/status");
        assert!(status.is_err(), "not even /proc");
    }

    #[test]
    fn who_is_in_a_cell_is_refused_everything_else() {
        let dir = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for name in ["store", "readable", "writable"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::set_permissions(
            dir.path().join("writable"),
            fs::Permissions::from_mode(0o777),
        )
        .unwrap();
        for name in ["store/file", "readable/file", "other"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let output = Command::new("/proc/self/exe")
            .args([
                "--exact",
                "rights::tests::prisoner",
                "--ignored",
                "--nocapture",
            ])
            .env("BINFMTCTL_TEST_CELL", dir.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            told.contains("1 passed"),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn what_is_closed_is_left_out_and_everything_beside_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["a/store/bin", "a/other", "b"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
        let open = |from: &str, closed: &str| {
            let mut open = without(&path(from), &[path(closed)]);
            open.sort();
            open
        };
        assert_eq!(open("", "a/store"), [path("a/other"), path("b")]);
        assert_eq!(open("b", "a/store"), [path("b")]);
        assert!(open("a/store/bin", "a/store").is_empty());
    }
}
