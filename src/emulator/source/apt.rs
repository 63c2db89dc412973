//! The host's own apt as a source: its mirror, proxy and credentials.
//!
//! The pinned package comes through an apt root in a scratch directory, so
//! the host's lists, pins and hooks neither matter nor change; its blocks are
//! verified like any other. The distribution's own package comes with the
//! host's lists and keys, and is compared with the digest in the index that
//! apt verified. What is refused: hosts that aren't Debian (for the pinned
//! package), and repositories that Debian's keys didn't sign.

mod command;
mod sources;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::command::{cannot_run, configuration, index_record, quiet, run};
use self::sources::{archive, deb822, one_line, os_release};
use super::{Deliver, Failure, FileSource, Source};
use crate::digest::Digest;
use crate::durable;
use crate::durable::Scratch;
use crate::emulator::manifest::Release;
use crate::error::{Error, IoContext, Result, Status};

/// Which packages of a distribution hold static emulators, in the order to
/// try: before QEMU 10 `qemu-user` was linked dynamically, and since then
/// `qemu-user-static` holds only links into it.
const DISTRO_PACKAGES: [&str; 2] = ["qemu-user-static", "qemu-user"];

/// What apt needs of a host.
#[derive(Debug, Clone)]
pub struct AptHost {
    /// The `apt-get` program.
    pub apt_get: PathBuf,
    /// The `apt-cache` program.
    pub apt_cache: PathBuf,
    /// apt's configuration, `/etc/apt`.
    pub etc: PathBuf,
    /// The file that says which distribution this is.
    pub os_release: PathBuf,
    /// Where distributions put their keyrings.
    pub keyrings: PathBuf,
    /// The user database, where apt's own user is looked up.
    pub passwd: PathBuf,
    /// Which users there are in this user namespace.
    pub uid_map: PathBuf,
    /// Where the scratch directory is made.
    pub scratch: PathBuf,
    /// Whether the host's own package lists may be updated, if they are empty.
    pub may_update: bool,
}

impl Default for AptHost {
    fn default() -> Self {
        Self {
            apt_get: "apt-get".into(),
            apt_cache: "apt-cache".into(),
            etc: "/etc/apt".into(),
            os_release: "/etc/os-release".into(),
            keyrings: "/usr/share/keyrings".into(),
            passwd: "/etc/passwd".into(),
            uid_map: "/proc/self/uid_map".into(),
            scratch: durable::scratch(),
            may_update: nix::unistd::geteuid().is_root(),
        }
    }
}

/// The host's apt.
#[derive(Debug, Clone, Default)]
pub struct Apt {
    host: AptHost,
}

/// A package of the distribution, equal to the digest in apt's signed index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistroPackage {
    /// The package file, in the directory that the caller named.
    pub path: PathBuf,
    /// The package's name.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The digest, computed from the file and equal to the index's.
    pub sha256: Digest,
}

impl Apt {
    /// This host's apt, for pinned packages.
    pub fn pinned() -> Self {
        Self::default()
    }

    /// The apt of a described host.
    pub fn of(host: AptHost) -> Self {
        Self { host }
    }

    /// The distribution's own packages that may hold static emulators for
    /// hosts of this architecture, best first. Each is downloaded into
    /// `workdir` when the iterator gets there; which one holds what is asked
    /// for shows in it.
    pub fn distro_candidates<'a>(
        &'a self,
        host_arch: &'a str,
        workdir: &'a Path,
    ) -> impl Iterator<Item = Result<DistroPackage>> + 'a {
        DISTRO_PACKAGES
            .iter()
            .map(move |package| self.distro_candidate(package, host_arch, workdir))
    }

    fn distro_candidate(&self, package: &str, arch: &str, workdir: &Path) -> Result<DistroPackage> {
        let spec = format!("{package}:{arch}");
        let (version, expected) = match self.candidate(&spec)? {
            Some(candidate) => candidate,
            None if self.host.may_update => {
                run(self.apt_get().arg("update"))?;
                self.candidate(&spec)?.ok_or_else(|| no_candidate(&spec))?
            }
            None => return Err(no_candidate(&spec).hint("run apt-get update as root")),
        };
        let scratch = self.scratch()?;
        let spec = format!("{spec}={version}");
        let downloaded = self.download(&scratch, &spec, None)?;
        // Copied first and hashed then: apt's user could still write to the original.
        let path = workdir.join(
            downloaded
                .file_name()
                .unwrap_or_else(|| OsStr::new(package)),
        );
        let attempt = || format!("cannot copy {} to {}", downloaded.display(), path.display());
        fs::copy(&downloaded, &path).attempt(attempt)?;
        let (found, _) = fs::File::open(&path)
            .and_then(Digest::of_reader)
            .attempt(|| format!("cannot read {}", path.display()))?;
        if found != expected {
            let what = format!(
                "{spec} isn't what apt's index says: expected sha256 {expected}, found {found}"
            );
            return Err(Error::new(Status::Integrity, what));
        }
        Ok(DistroPackage {
            path,
            package: package.to_owned(),
            version,
            sha256: found,
        })
    }

    /// The version and digest that the host's apt would install.
    fn candidate(&self, spec: &str) -> Result<Option<(String, Digest)>> {
        let mut command = Command::new(&self.host.apt_cache);
        let output = quiet(command.args(["show", "--no-all-versions", spec]))
            .output()
            .map_err(|cause| cannot_run(&self.host.apt_cache, cause))?;
        Ok(index_record(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Downloads the pinned package through an apt root of its own.
    fn download_pinned(
        &self,
        scratch: &Scratch,
        suite: &str,
        arch: &str,
        spec: &str,
    ) -> Result<PathBuf> {
        let base = self.archive()?;
        let keyring = self.keyring()?;
        let root = scratch.path();
        for dir in ["lists/partial", "cache/archives/partial"] {
            let dir = root.join(dir);
            fs::create_dir_all(&dir).attempt(|| format!("cannot create {}", dir.display()))?;
        }
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = root.join(name);
            fs::write(&path, text).attempt(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        };
        let keyring = keyring.display();
        write(
            "sources.list",
            format!("deb [signed-by={keyring}] {base} {suite} main\n"),
        )?;
        let conf = write("apt.conf", configuration(root, arch))?;
        run(self.apt_get().arg("-c").arg(&conf).arg("update"))?;
        self.download(scratch, spec, Some(&conf))
    }

    /// Downloads one package; where it is.
    fn download(&self, scratch: &Scratch, spec: &str, conf: Option<&Path>) -> Result<PathBuf> {
        let dir = scratch.path().join("download");
        fs::create_dir(&dir).attempt(|| format!("cannot create {}", dir.display()))?;
        // As root, apt downloads as a user of its own if that user may write
        // here. Giving it the directory keeps the code that parses the network
        // away from root, which APT::Sandbox::User=root would not.
        if let Some(uid) = self.apt_user() {
            chown(&dir, Some(uid), None)
                .attempt(|| format!("cannot hand {} to apt's user", dir.display()))?;
        }
        let mut command = self.apt_get();
        if let Some(conf) = conf {
            command.arg("-c").arg(conf);
        }
        run(command.args(["download", spec]).current_dir(&dir))?;
        let listing = || format!("cannot list {}", dir.display());
        for entry in fs::read_dir(&dir).attempt(listing)? {
            let path = entry.attempt(listing)?.path();
            if path.extension() == Some(OsStr::new("deb")) {
                return Ok(path);
            }
        }
        let what = format!("apt-get download {spec} left no package behind");
        Err(Error::new(Status::Unreachable, what))
    }

    fn scratch(&self) -> Result<Scratch> {
        // apt's user has to get in; nothing here is secret.
        Scratch::below(&self.host.scratch, "binfmtctl-apt.", 0o755)
    }

    /// `apt-get`, which as root drops to a user of its own where it can.
    fn apt_get(&self) -> Command {
        let mut command = Command::new(&self.host.apt_get);
        if nix::unistd::geteuid().is_root() && self.apt_user().is_none() {
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }

    /// The user that apt drops to, if this process is root and may do that: a
    /// user namespace often has no such user.
    fn apt_user(&self) -> Option<u32> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let text = fs::read_to_string(&self.host.passwd).ok()?;
        let line = text.lines().find(|line| line.starts_with("_apt:"))?;
        let uid = line.split(':').nth(2)?.parse().ok()?;
        let map = fs::read_to_string(&self.host.uid_map).ok()?;
        is_mapped(&map, uid).then_some(uid)
    }

    /// The base URI of Debian's archive, as this host's apt knows it.
    fn archive(&self) -> Result<String> {
        let text = fs::read_to_string(&self.host.os_release).unwrap_or_default();
        if os_release(&text, "ID") != Some("debian") {
            let name = os_release(&text, "NAME").unwrap_or("an unknown distribution");
            let what = format!("this host is {name}: only Debian's apt knows Debian's archive");
            return Err(Error::new(Status::Unreachable, what));
        }
        let mut entries = one_line(&read(&self.host.etc.join("sources.list"))?);
        let parts = self.host.etc.join("sources.list.d");
        for path in files(&parts)? {
            match path.extension().and_then(OsStr::to_str) {
                Some("list") => entries.extend(one_line(&read(&path)?)),
                Some("sources") => entries.extend(deb822(&read(&path)?)),
                _ => {}
            }
        }
        archive(&entries).map(str::to_owned).ok_or_else(|| {
            let etc = self.host.etc.display();
            let what = format!("Debian's archive isn't among the apt sources in {etc}");
            Error::new(Status::Unreachable, what)
        })
    }

    fn keyring(&self) -> Result<PathBuf> {
        ["debian-archive-keyring.gpg", "debian-archive-keyring.pgp"]
            .iter()
            .map(|name| self.host.keyrings.join(name))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                let dir = self.host.keyrings.display();
                let what = format!("Debian's archive keyring isn't in {dir}");
                Error::new(Status::Unreachable, what)
                    .hint("install the package debian-archive-keyring")
            })
    }
}

impl Source for Apt {
    fn name(&self) -> String {
        "the host's apt".into()
    }

    fn hands_over_to_another_user(&self) -> bool {
        true
    }

    fn fetch(
        &self,
        release: &Release,
        wanted: &[usize],
        ranges: usize,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), Failure> {
        let package = || -> Result<(Scratch, FileSource)> {
            let suite = release.suite.as_deref().ok_or_else(|| {
                let what = format!("the manifest names no suite that has {}", release.file);
                Error::new(Status::Unreachable, what)
            })?;
            let spec = format!("{}:{}={}", release.package, release.host, release.version);
            let scratch = self.scratch()?;
            let path = self.download_pinned(&scratch, suite, &release.host, &spec)?;
            Ok((scratch, FileSource::open(&path)?))
        };
        let (_scratch, file) = package().map_err(Failure::Source)?;
        file.fetch(release, wanted, ranges, deliver)
    }
}

/// Whether a user namespace with this uid_map has the user.
fn is_mapped(uid_map: &str, uid: u32) -> bool {
    uid_map.lines().any(|line| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        matches!(numbers[..], [first, _, count]
            if (first..first.saturating_add(count)).contains(&u64::from(uid)))
    })
}

fn no_candidate(spec: &str) -> Error {
    Error::new(Status::Unreachable, format!("apt knows no package {spec}"))
}

/// A file's text; nothing where there is no such file.
fn read(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
    }
}

/// A directory's files by name; none where there is no such directory.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let attempt = || format!("cannot list {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.attempt(attempt)?,
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.attempt(attempt)?;
    paths.sort();
    Ok(paths)
}
