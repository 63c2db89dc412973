//! The host's own apt as a source: its mirror, proxy and credentials.
//!
//! The pinned package comes through an apt root in a scratch directory, so
//! the host's lists, pins and hooks neither matter nor change; its blocks are
//! verified like any other. The distribution's own package comes with the
//! host's lists and keys (lists of its own where the host has none), and is
//! compared with the digest in the index that apt verified. apt runs with the
//! rights that this process has: none. What is refused: hosts that aren't
//! Debian (for the pinned package), and repositories that Debian's keys didn't
//! sign.

mod command;
mod sources;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use self::command::{cannot_run, configuration, index_record, own_lists, quiet, run};
use self::sources::{archive, deb822, one_line, os_release};
use super::{Deliver, Failure, FileSource, Source};
use crate::digest::Digest;
use crate::durable;
use crate::emulator::manifest::Release;
use crate::error::{Error, IoContext, Result, Status};

/// Which packages of a distribution hold static emulators, in the order to
/// try: before QEMU 10 `qemu-user` was linked dynamically, and since then
/// `qemu-user-static` holds only links into it.
pub const DISTRO_PACKAGES: [&str; 2] = ["qemu-user-static", "qemu-user"];

/// What apt needs of a host.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Where everything that apt writes goes. Credentials for the host's
    /// mirrors that lie there, in [`CREDENTIALS`], are used.
    pub scratch: PathBuf,
}

impl Default for AptHost {
    fn default() -> Self {
        Self {
            apt_get: "apt-get".into(),
            apt_cache: "apt-cache".into(),
            etc: "/etc/apt".into(),
            os_release: "/etc/os-release".into(),
            keyrings: "/usr/share/keyrings".into(),
            scratch: durable::scratch(),
        }
    }
}

/// The file of credentials in the scratch directory.
pub const CREDENTIALS: &str = "auth.conf";

/// The host's apt.
#[derive(Debug, Clone)]
pub struct Apt {
    host: AptHost,
}

impl Apt {
    /// The apt of a described host.
    pub fn of(host: AptHost) -> Self {
        Self { host }
    }

    /// Downloads one of the [`DISTRO_PACKAGES`] for hosts of this architecture:
    /// a file in the scratch directory that is equal to apt's signed index.
    pub fn distro_candidate(&self, package: &str, arch: &str) -> Result<PathBuf> {
        let spec = format!("{package}:{arch}");
        let scratch = self.scratch()?.keep();
        let conf = write(
            &scratch.join("apt.conf"),
            own_lists(&scratch, &self.host.credentials()),
        )?;
        let (conf, (version, expected)) = match self.candidate(&spec, None)? {
            Some(candidate) => (None, candidate),
            None => {
                make_lists(&scratch)?;
                run(&mut self.apt_get(Some(&conf), &["update"]))?;
                let candidate = self.candidate(&spec, Some(&conf))?;
                (Some(&*conf), candidate.ok_or_else(|| no_candidate(&spec))?)
            }
        };
        let spec = format!("{spec}={version}");
        let path = self.download(&scratch, &spec, conf)?;
        let (found, _) = fs::File::open(&path)
            .and_then(Digest::of_reader)
            .attempt(|| format!("cannot read {}", path.display()))?;
        if found != expected {
            let what = format!(
                "{spec} isn't what apt's index says: expected sha256 {expected}, found {found}"
            );
            return Err(Error::new(Status::Integrity, what));
        }
        Ok(path)
    }

    /// The version and digest that the host's apt would install.
    fn candidate(&self, spec: &str, conf: Option<&Path>) -> Result<Option<(String, Digest)>> {
        let show = ["show", "--no-all-versions", spec];
        let output = quiet(&mut self.program(&self.host.apt_cache, conf, &show))
            .output()
            .map_err(|cause| cannot_run(&self.host.apt_cache, cause))?;
        Ok(index_record(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Downloads the pinned package through an apt root of its own.
    fn download_pinned(
        &self,
        scratch: &Path,
        suite: &str,
        arch: &str,
        spec: &str,
    ) -> Result<PathBuf> {
        let base = self.archive()?;
        let keyring = self.keyring()?;
        make_lists(scratch)?;
        let keyring = keyring.display();
        write(
            &scratch.join("sources.list"),
            format!("deb [signed-by={keyring}] {base} {suite} main\n"),
        )?;
        let text = configuration(scratch, arch, &self.host.credentials());
        let conf = write(&scratch.join("apt.conf"), text)?;
        run(&mut self.apt_get(Some(&conf), &["update"]))?;
        self.download(scratch, spec, Some(&conf))
    }

    /// Downloads one package; where it is.
    fn download(&self, scratch: &Path, spec: &str, conf: Option<&Path>) -> Result<PathBuf> {
        let dir = scratch.join("download");
        fs::create_dir(&dir).attempt(|| format!("cannot create {}", dir.display()))?;
        run(self.apt_get(conf, &["download", spec]).current_dir(&dir))?;
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

    fn scratch(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix("apt.")
            .tempdir_in(&self.host.scratch)
            .attempt(|| {
                let dir = self.host.scratch.display();
                format!("cannot make a scratch directory in {dir}")
            })
    }

    fn apt_get(&self, conf: Option<&Path>, words: &[&str]) -> Command {
        self.program(&self.host.apt_get, conf, words)
    }

    /// One of apt's programs, with a configuration besides the host's.
    fn program(&self, program: &Path, conf: Option<&Path>, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("TMPDIR", &self.host.scratch);
        if let Some(conf) = conf {
            command.arg("-c").arg(conf);
        }
        command.args(words);
        // As root apt would drop to a user of its own, for which this process
        // hasn't the rights.
        if nix::unistd::geteuid().is_root() {
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
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

    fn fetch(
        &self,
        release: &Release,
        wanted: &[usize],
        ranges: usize,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), Failure> {
        let package = || -> Result<(TempDir, FileSource)> {
            let suite = release.suite.as_deref().ok_or_else(|| {
                let what = format!("the manifest names no suite that has {}", release.file);
                Error::new(Status::Unreachable, what)
            })?;
            let spec = format!("{}:{}={}", release.package, release.host, release.version);
            let scratch = self.scratch()?;
            let path = self.download_pinned(scratch.path(), suite, &release.host, &spec)?;
            Ok((scratch, FileSource::open(&path)?))
        };
        let (_scratch, file) = package().map_err(Failure::Source)?;
        file.fetch(release, wanted, ranges, deliver)
    }
}

impl AptHost {
    fn credentials(&self) -> PathBuf {
        self.scratch.join(CREDENTIALS)
    }
}

/// The directories that apt wants for lists and packages of its own.
fn make_lists(root: &Path) -> Result<()> {
    for dir in ["lists/partial", "cache/archives/partial"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).attempt(|| format!("cannot create {}", dir.display()))?;
    }
    Ok(())
}

fn write(path: &Path, text: String) -> Result<PathBuf> {
    fs::write(path, text).attempt(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
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
