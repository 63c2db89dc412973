//! Whose hands a path is in: what the kernel is going to run as a rule's
//! interpreter, or what says which rules there are, may be changed by root alone.
//!
//! A path is walked from `/`, a component at a time, by descriptors, so that
//! what was looked at is what is opened. Each directory, link and file on the
//! way has to belong to root and to let nobody else write. A directory in which
//! everybody may make files but not touch others' (sticky, as /tmp) may lie on
//! the way; it can't be the end. Links are followed where they are root's.
//!
//! In a user namespace root is its own root, and whoever has no number in it:
//! the host's root, as far as can be told.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};
use nix::unistd::geteuid;
use procfs::process::MountInfo;

use crate::crash::{self, Point};
use crate::error::{Error, IoContext, Result, Status};

/// As many links as the kernel follows in a path.
const MAX_LINKS: usize = 40;

/// Something that others than root could change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, directory or link.
    pub path: PathBuf,
    /// Who else could change it.
    pub why: String,
    /// The command that takes it into root's hands.
    pub remedy: Option<String>,
}

/// Why a path can't be relied on.
#[derive(Debug)]
pub enum Trouble {
    /// It is in others' hands.
    Fault(Fault),
    /// It can't be looked at.
    Unseen(Error),
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unseen(error) => error,
            Trouble::Fault(fault) => {
                let what = format!("{} isn't in root's hands alone", fault.path.display());
                let error = Self::new(Status::Permission, what).because(fault.why);
                match fault.remedy {
                    Some(remedy) => {
                        error.hint(format!("look at what is there, then take it back with `{remedy}`, or name another place"))
                    }
                    None => error.hint("name another place"),
                }
            }
        }
    }
}

/// What a component is to its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A directory that something else is looked for in.
    Passage,
    /// What was asked for.
    End,
}

/// Opens what lies at an absolute path (O_PATH), through links, after a look at
/// everything on the way; `None` where nothing lies there. Then what there is
/// of the way was looked at.
pub fn find(path: &Path) -> Result<Option<File>, Trouble> {
    Walk::new(path)?.through_links(Role::End, false)
}

/// The same for a directory in which only one name matters.
pub fn find_way(path: &Path) -> Result<Option<File>, Trouble> {
    Walk::new(path)?.through_links(Role::Passage, false)
}

/// The same for a directory, which is made where it isn't there, with those
/// above it (0755): in nobody else's, and through nobody else's links.
pub fn make_dir(path: &Path, role: Role) -> Result<File, Trouble> {
    let attempt = || format!("cannot create the directory {}", path.display());
    let made = Walk::new(path)?.through_links(role, true)?;
    let made = made
        .ok_or(Errno::ENOENT)
        .attempt(attempt)
        .map_err(Trouble::Unseen)?;
    match made.metadata() {
        Ok(found) if found.is_dir() => Ok(made),
        found => {
            let error = found.err().unwrap_or_else(|| Errno::ENOTDIR.into());
            Err(Trouble::Unseen(Error::io(attempt(), error)))
        }
    }
}

/// By what path an open directory or file can be had, whatever became of its
/// name: as long as it is open, in this process.
pub fn handle(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// The same below a directory that was found, where nothing is a link and
/// every directory is as good as the end.
pub fn find_below(dir: &File, at: &Path, path: &Path) -> Result<Option<File>, Trouble> {
    let mut seen = at.to_owned();
    let mut here = dir.try_clone().map_err(|error| unseen(at, error))?;
    for part in path.components() {
        seen.push(part);
        match step(&here, part.as_os_str(), &seen, Role::End)? {
            Some((_, found)) if found.is_symlink() => {
                return Err(Trouble::Fault(Fault {
                    why: "it is a link, and leads elsewhere".to_owned(),
                    remedy: Some(format!("rm {}", quoted(&seen))),
                    path: seen,
                }));
            }
            Some((next, _)) => here = next,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}

/// Whether nobody but root could have changed an open file, as far as the file
/// itself tells.
pub fn is_roots(file: &File) -> bool {
    file.metadata()
        .is_ok_and(|found| judge(file, &found, Path::new(""), Role::End).is_ok())
}

/// Where a walk is.
struct Walk {
    here: File,
    seen: PathBuf,
    /// What is still to be walked, in reverse order.
    left: Vec<Part>,
    links: usize,
}

enum Part {
    Up,
    Name(Box<OsStr>),
}

impl Walk {
    fn new(path: &Path) -> Result<Self, Trouble> {
        let mut walk = Self {
            here: root()?,
            seen: PathBuf::from("/"),
            left: Vec::new(),
            links: 0,
        };
        walk.push(path);
        Ok(walk)
    }

    fn push(&mut self, path: &Path) {
        self.left
            .extend(path.components().rev().filter_map(|part| match part {
                Component::ParentDir => Some(Part::Up),
                Component::Normal(name) => Some(Part::Name(name.into())),
                _ => None,
            }));
    }

    fn through_links(mut self, end: Role, make: bool) -> Result<Option<File>, Trouble> {
        while let Some(part) = self.left.pop() {
            let name = match part {
                // What lies above was looked at on the way down.
                Part::Up => {
                    self.seen.pop();
                    let up = openat(
                        &self.here,
                        "..",
                        OFlag::O_PATH | OFlag::O_CLOEXEC,
                        Mode::empty(),
                    );
                    self.here = up
                        .map(File::from)
                        .map_err(|errno| unseen(&self.seen, errno))?;
                    continue;
                }
                Part::Name(name) => name,
            };
            let role = match self.left.is_empty() {
                true => end,
                false => Role::Passage,
            };
            let path = self.seen.join(&*name);
            let mut found = step(&self.here, &name, &path, role)?;
            if found.is_none() && make {
                create(&self.here, &name, &path).map_err(Trouble::Unseen)?;
                // Somebody else may have been faster.
                found = step(&self.here, &name, &path, role)?;
            }
            match found {
                None => return Ok(None),
                Some((link, found)) if found.is_symlink() => self.follow(&link, &path)?,
                Some((next, _)) => {
                    self.here = next;
                    self.seen = path;
                }
            }
        }
        Ok(Some(self.here))
    }

    fn follow(&mut self, link: &File, path: &Path) -> Result<(), Trouble> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(unseen(path, Errno::ELOOP));
        }
        let to = readlinkat(link, "").map_err(|errno| unseen(path, errno))?;
        let to = Path::new(&to);
        if to.is_absolute() {
            self.here = root()?;
            self.seen = PathBuf::from("/");
        }
        self.push(to);
        Ok(())
    }
}

fn root() -> Result<File, Trouble> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = Path::new("/");
    let root = open(path, flags, Mode::empty()).map(File::from);
    let root = root.map_err(|errno| unseen(path, errno))?;
    let found = root.metadata().map_err(|error| unseen(path, error))?;
    judge(&root, &found, path, Role::Passage).map_err(Trouble::Fault)?;
    Ok(root)
}

/// Opens and judges what has this name in a directory.
fn step(
    dir: &File,
    name: &OsStr,
    path: &Path,
    role: Role,
) -> Result<Option<(File, Metadata)>, Trouble> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        file => File::from(file.map_err(|errno| unseen(path, errno))?),
    };
    let found = file.metadata().map_err(|error| unseen(path, error))?;
    judge(&file, &found, path, role).map_err(Trouble::Fault)?;
    Ok(Some((file, found)))
}

/// Makes a directory in another one, to last.
fn create(dir: &File, name: &OsStr, path: &Path) -> Result<()> {
    let made = match mkdirat(dir, name, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => return Ok(()),
        made => made.map_err(io::Error::from),
    };
    crash::at(Point::DirectoryMade);
    // Whatever the umask: others read what lies there. A link isn't followed.
    let open_up = || {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = File::from(openat(dir, name, flags, Mode::empty())?);
        made.set_permissions(Permissions::from_mode(0o755))
    };
    made.and_then(|()| open_up())
        .and_then(|()| File::open(handle(dir))?.sync_all())
        .attempt(|| format!("cannot create the directory {}", path.display()))
}

fn unseen(path: &Path, errno: impl Into<io::Error>) -> Trouble {
    let error =
        Err::<(), io::Error>(errno.into()).attempt(|| format!("cannot look at {}", path.display()));
    match error {
        Err(error) => Trouble::Unseen(error),
        Ok(()) => Trouble::Unseen(Error::new(Status::Failed, "cannot look at a path")),
    }
}

fn judge(file: &File, found: &Metadata, path: &Path, role: Role) -> Result<(), Fault> {
    // What masks a file is everybody's, and says nothing.
    if found.file_type().is_char_device() && found.rdev() == libc::makedev(1, 3) {
        return Ok(());
    }
    let mode = format!("mode {:04o}", found.mode() & 0o7777);
    let fault = |why: String, remedy: Option<String>| {
        Err(Fault {
            path: path.to_owned(),
            why,
            remedy,
        })
    };
    let shown = quoted(path);
    if !is_owned_by_root(file, found.uid()) {
        let remedy = match found.is_symlink() {
            true => format!("chown -h root: {shown}"),
            false => format!("chown root: {shown}"),
        };
        return fault(
            format!("it belongs to user {} ({mode})", found.uid()),
            Some(remedy),
        );
    }
    if let Some(user) = fuse_user(file, found) {
        return fault(
            format!("it lies on a FUSE file system of user {user}, who says what is in it"),
            None,
        );
    }
    // A link has no mode of its own.
    let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0 && role == Role::Passage;
    if found.is_symlink() || is_sticky || found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let remedy = |what: &str| Some(format!("{what} {shown}"));
    if found.mode() & 0o002 != 0 {
        fault(
            format!("everybody may write to it ({mode})"),
            remedy("chmod go-w"),
        )
    } else if found.gid() != 0 {
        let why = format!("group {} may write to it ({mode})", found.gid());
        fault(why, remedy("chmod g-w"))
    } else if has_access_list(file) {
        let why = format!("an access control list lets others write to it ({mode})");
        fault(why, remedy("setfacl -b"))
    } else {
        Ok(())
    }
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,=".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Whether a file of this user is root's: of this user namespace, or of one
/// outside of it, whose users all look the same from here.
fn is_owned_by_root(file: &File, uid: u32) -> bool {
    // Who isn't root registers nothing, and may look at what is his own.
    if uid == 0 || uid == geteuid().as_raw() {
        return true;
    }
    let overflow = overflow();
    match Users::here().seen_as(uid) {
        _ if overflow != Some(uid) => false,
        Seen::Inside => false,
        Seen::Outside => true,
        // Only those who could be its owner may open it in this way.
        Seen::Either => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOATIME | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            open(&handle(file), flags, Mode::empty()).is_err()
        }
    }
}

/// Whether CAP_FOWNER is needed to tell the files of who has no number in this
/// user namespace from those of a user that has.
pub fn takes_fowner() -> bool {
    overflow().is_some_and(|uid| Users::here().seen_as(uid) == Seen::Either)
}

/// By which number those are seen who have none here.
fn overflow() -> Option<u32> {
    let text = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
    text.trim().parse().ok()
}

/// The users that have a number in a user namespace.
struct Users(Vec<(u64, u64)>);

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Inside,
    Outside,
    Either,
}

impl Users {
    fn here() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
    }

    /// Reads /proc/PID/uid_map: first inside, first outside, how many.
    fn parse(map: &str) -> Self {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            let first = numbers.next()??;
            Some((first, numbers.nth(1)??))
        };
        Self(map.lines().filter_map(range).collect())
    }

    /// Where a file's owner is who is shown by the number of those without one.
    fn seen_as(&self, overflow: u32) -> Seen {
        let overflow = u64::from(overflow);
        let is_inside = |(first, count): &(u64, u64)| {
            (*first..first.saturating_add(*count)).contains(&overflow)
        };
        let all: u64 = self.0.iter().map(|(_, count)| count).sum();
        match self.0.iter().any(is_inside) {
            false => Seen::Outside,
            true if all >= u64::from(u32::MAX) => Seen::Inside,
            true => Seen::Either,
        }
    }
}

/// The user who mounted the FUSE file system that a file lies on, if not root:
/// its program says what owners and modes are.
fn fuse_user(file: &File, found: &Metadata) -> Option<u32> {
    let is_fuse = fstatfs(file).is_ok_and(|fs| fs.filesystem_type() == FUSE_SUPER_MAGIC);
    if !is_fuse {
        return None;
    }
    let mountinfo = fs::read("/proc/self/mountinfo").ok()?;
    fuse_user_in(&String::from_utf8_lossy(&mountinfo), found.dev())
}

fn fuse_user_in(mountinfo: &str, dev: u64) -> Option<u32> {
    let number = format!("{}:{}", libc::major(dev), libc::minor(dev));
    mountinfo
        .lines()
        .filter_map(|line| MountInfo::from_line(line).ok())
        .find(|mount| mount.majmin == number)
        .and_then(|mount| mount.super_options.get("user_id").cloned().flatten())
        .and_then(|user| user.parse().ok())
        .filter(|user| *user != 0)
}

/// Whether a list stands behind the group's rights, which may name anybody.
fn has_access_list(file: &File) -> bool {
    let mut list = [0_u8; 64];
    match rustix::fs::getxattr(handle(file), "system.posix_acl_access", &mut list) {
        Ok(length) => length > 0,
        Err(error) => error == rustix::io::Errno::RANGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_number_here_is_told_from_who_has_that_number() {
        let seen = |map: &str| Users::parse(map).seen_as(65534);
        assert_eq!(seen("         0          0 4294967295\n"), Seen::Inside);
        assert_eq!(seen("0 1000 1\n"), Seen::Outside);
        assert_eq!(seen("0 1000 1\n1 100000 65536\n"), Seen::Either);
        assert_eq!(seen(""), Seen::Outside);
    }

    #[test]
    fn a_fuse_file_system_is_its_users() {
        let text = "30 27 0:27 / /tmp rw - tmpfs tmpfs rw\n\
            31 27 0:28 / /a rw - fuse.sshfs x rw,user_id=1000,group_id=1000,allow_other\n\
            32 27 0:29 / /b rw - fuse x rw,user_id=0,group_id=0\n";
        let dev = |minor| libc::makedev(0, minor);
        assert_eq!(fuse_user_in(text, dev(27)), None);
        assert_eq!(fuse_user_in(text, dev(28)), Some(1000));
        assert_eq!(fuse_user_in(text, dev(29)), None);
    }

    #[test]
    fn a_path_with_odd_letters_is_quoted() {
        assert_eq!(quoted(Path::new("/opt/a-b")), "/opt/a-b");
        assert_eq!(quoted(Path::new("/a b/'c")), r"'/a b/'\''c'");
    }
}
