//! The errands that there are: what each is handed, and what it is left with.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Ended, Hear, Pinned, Site, Task, alone, run};
use crate::emulator::manifest::{Emulator, Release};
use crate::emulator::source::{AptHost, CREDENTIALS, FileSource, Place};
use crate::error::{Error, IoContext, Result, Status};
use crate::rights::{Cell, OWN_USER, User};
use crate::scratch::Scratch;

/// What looking up names takes; each may be a link to somewhere else.
const NAMES: [&str; 5] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
];

/// Where the kernel lives: nothing that only reads and decodes needs it.
const KERNEL: [&str; 2] = ["/proc", "/sys"];

const PREFIX: &str = "binfmtctl-apt.";

/// As whom apt itself talks to the network, where it can: nobody else is that
/// user, and a host's keys for its mirrors may be for that user alone.
const APT_USER: &str = "_apt";

/// A file of credentials beyond this isn't one.
const MAX_CREDENTIALS: u64 = 1 << 20;

/// Has emulators fetched and decoded, each into its file, from the first of
/// the places that delivers: files and addresses, or apt alone. The store,
/// below `closed`, stays out of reach.
pub fn fetch(
    release: &Release,
    emulators: &[(&Emulator, &Path, &File)],
    places: &[Place],
    closed: &Path,
    jobs: Option<usize>,
    hear: &mut Hear<'_>,
) -> Result<(), Ended> {
    let mut files: Vec<_> = emulators.iter().map(|(_, _, file)| file.as_fd()).collect();
    let mut sites = Vec::new();
    let mut cell = Cell {
        user: User::other(&[OWN_USER]),
        closed: vec![closed.to_owned()],
        ..Cell::default()
    };
    let mut workshop = None;
    for place in places {
        sites.push(match place {
            Place::Url(url) => {
                cell.readable = network();
                Site::Url(url.clone())
            }
            Place::File(file) => {
                files.push(file.file().as_fd());
                Site::File(file.path().to_owned())
            }
            Place::Apt(host) => {
                let opened = workshop.insert(Workshop::open(host, closed)?);
                cell = opened.cell.clone();
                Site::Apt(opened.apt.clone())
            }
        });
    }
    let task = Task::Fetch {
        release: alone(release),
        emulators: emulators
            .iter()
            .map(|(emulator, path, _)| (emulator.target.clone(), (*path).to_owned()))
            .collect(),
        places: sites,
        jobs,
    };
    run(task, cell, &files, hear).map(drop)
}

/// A package of the distribution's own.
pub struct Own {
    /// What is in it.
    pub release: Release,
    /// The package.
    pub package: FileSource,
}

/// Has the host's apt get one of the distribution's packages, and pins it.
pub fn distro(package: &str, architecture: &str, apt: &AptHost, closed: &Path) -> Result<Own> {
    let workshop = Workshop::open(apt, closed)?;
    let task = Task::Distro {
        package: package.to_owned(),
        architecture: architecture.to_owned(),
        apt: workshop.apt.clone(),
    };
    let pinned = run(task, workshop.cell.clone(), &[], &mut |_| Ok(()));
    let Pinned {
        release,
        path,
        package,
    } = expect(pinned)?;
    // Opened by who has no rights: whatever it is, root opens nothing for it.
    let package = package.ok_or_else(nothing_pinned)?;
    Ok(Own {
        release,
        package: FileSource::of(path, package),
    })
}

/// Pins a package file.
pub fn pin(path: &Path, suite: Option<&str>) -> Result<Release> {
    let file = File::open(path).attempt(|| format!("cannot pin {}", path.display()))?;
    let task = Task::Pin {
        path: path.to_owned(),
        suite: suite.map(str::to_owned),
    };
    let cell = Cell {
        user: User::other(&[OWN_USER]),
        ..Cell::default()
    };
    let pinned = run(task, cell, &[file.as_fd()], &mut |_| Ok(()));
    expect(pinned).map(|pinned| pinned.release)
}

fn expect(pinned: Result<Option<Pinned>, Ended>) -> Result<Pinned> {
    let pinned = pinned.map_err(|ended| ended.error)?;
    pinned.ok_or_else(nothing_pinned)
}

fn nothing_pinned() -> Error {
    Error::new(Status::Failed, "nothing was pinned")
}

/// What asking the network takes, apart from the authorities to trust.
fn network() -> Vec<PathBuf> {
    let links = NAMES.iter().filter_map(|name| fs::canonicalize(name).ok());
    // What replaces such a file gets a name beside it.
    let beside = links.filter_map(|file| Some(file.parent()?.to_owned()));
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    let named = named.into_iter().filter_map(std::env::var_os);
    let mut readable: Vec<PathBuf> = beside.filter(|dir| dir != Path::new("/")).collect();
    readable.push("/etc".into());
    readable.extend(named.map(PathBuf::from));
    readable
}

/// Where apt works without rights: a directory that belongs to who has none.
struct Workshop {
    apt: AptHost,
    cell: Cell,
    _scratch: Scratch,
}

impl Workshop {
    fn open(host: &AptHost, closed: &Path) -> Result<Self> {
        let user = User::other(&[APT_USER, OWN_USER]);
        let place = match user {
            Some(_) if !is_passable(&host.scratch) => Path::new("/var/tmp"),
            _ => &host.scratch,
        };
        let scratch = Scratch::new(place, PREFIX)?;
        let dir = scratch.path().join("work");
        let attempt = || format!("cannot create the directory {}", dir.display());
        fs::create_dir(&dir).attempt(attempt)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).attempt(attempt)?;
        let credentials = credentials(&host.etc);
        let path = dir.join(CREDENTIALS);
        if !credentials.is_empty() {
            let attempt = || format!("cannot write {}", path.display());
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| file.write_all(&credentials))
                .attempt(attempt)?;
        }
        if let Some(user) = user {
            let given = [&path, &dir].into_iter().filter(|path| path.exists());
            given.into_iter().try_for_each(|path| user.give(path))?;
        }
        let kernel = KERNEL.map(PathBuf::from);
        Ok(Self {
            cell: Cell {
                user,
                readable: Vec::new(),
                executable: vec!["/".into()],
                writable: vec![dir.clone(), "/dev/null".into()],
                closed: kernel.into_iter().chain([closed.to_owned()]).collect(),
            },
            apt: AptHost {
                scratch: dir,
                ..host.clone()
            },
            _scratch: scratch,
        })
    }
}

/// Whether every user may go there: /tmp/user/0 of pam_tmpdir is root's alone.
fn is_passable(dir: &Path) -> bool {
    let passes = |dir: &Path| fs::metadata(dir).is_ok_and(|found| found.mode() & 0o001 != 0);
    dir.ancestors().all(passes)
}

/// What the host's apt has for mirrors that ask who it is. Such files are
/// root's alone, and apt reads them before it drops its rights; so they go
/// along.
fn credentials(etc: &Path) -> Vec<u8> {
    let entries = fs::read_dir(etc.join("auth.conf.d"));
    let mut files: Vec<PathBuf> = (entries.into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
        .collect();
    files.sort();
    files.insert(0, etc.join("auth.conf"));
    let mut all = Vec::new();
    for file in files {
        // Without them apt says itself what it is refused.
        if let Ok(file) = File::open(file) {
            let _ = file.take(MAX_CREDENTIALS).read_to_end(&mut all);
            all.push(b'\n');
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_all_files_go_along() {
        let etc = tempfile::tempdir().unwrap();
        assert!(credentials(etc.path()).is_empty());
        fs::create_dir(etc.path().join("auth.conf.d")).unwrap();
        for (name, text) in [
            ("auth.conf", "machine a"),
            ("auth.conf.d/b.conf", "machine b"),
            ("auth.conf.d/c.save", "machine c"),
        ] {
            fs::write(etc.path().join(name), text).unwrap();
        }
        assert_eq!(credentials(etc.path()), b"machine a\nmachine b\n");
    }

    #[test]
    fn a_place_that_is_roots_alone_is_no_place_for_others() {
        let dir = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(!is_passable(&dir.path().join("a")));
        assert!(is_passable(Path::new("/var/tmp")));
    }
}
