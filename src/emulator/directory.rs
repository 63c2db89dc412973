//! Emulators as they lie in a directory, `qemu-<target>`: those of a container
//! image, or what somebody carried in without the package.
//!
//! Whoever registers them where they are answers for their bytes; what they are
//! is read from those bytes, never from their names. As a source for the store
//! they are trusted with nothing: a file of another size or with another digest
//! than the manifest's isn't the pinned one, wherever it lies.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::sys::stat::Mode;

use super::elf;
use super::manifest::{Emulator, Release};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result, Status};
use crate::platform::Platform;

/// The largest file that is taken for an emulator, in bytes; real ones have up
/// to 20 MB, with debugging information several times as much.
const LIMIT: u64 = 256 << 20;

/// Where emulators lie, and what they are called there.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    /// The directory itself, which stays the same one when this process goes to
    /// another mount namespace.
    held: Option<OwnedFd>,
    prefix: String,
    suffixes: Vec<String>,
}

/// An emulator as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub sha256: Digest,
    /// The version of QEMU that it says it is.
    pub qemu: Option<String>,
}

impl Directory {
    /// The emulators `<dir>/<prefix>qemu-<target><suffix>`, by the first suffix
    /// that there is a file of. A relative directory is one below the current.
    pub fn new(dir: &Path, prefix: &str, suffixes: &[&str]) -> Result<Self> {
        let refuse = |why: &str| {
            Error::new(
                Status::Usage,
                format!(
                    "cannot use emulators {}/{prefix}qemu-*: {why}",
                    dir.display()
                ),
            )
        };
        let parts = suffixes.iter().copied().chain([prefix]);
        if parts.clone().any(|part| part.contains('/')) {
            return Err(
                refuse("what comes before or after a name can't have a slash")
                    .hint("the directory is said by QEMU_BINARY_PATH or --qemu-path"),
            );
        }
        let absolute =
            std::path::absolute(dir).attempt(|| format!("cannot find {}", dir.display()))?;
        // The kernel gets the path as part of a line of text.
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        match absolute.to_str() {
            Some(text) if is_plain(text) && parts.clone().all(is_plain) => Ok(Self {
                dir: clean(&absolute),
                held: None,
                prefix: prefix.to_owned(),
                suffixes: suffixes.iter().map(|suffix| (*suffix).to_owned()).collect(),
            }),
            _ => Err(refuse("it isn't plain text")),
        }
    }

    /// The emulators `<dir>/qemu-<target>`, for as long as this process lives
    /// and wherever it goes.
    pub fn hold(dir: &Path) -> Result<Self> {
        let attempt = || format!("cannot open the directory {}", dir.display());
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let held = match open(dir, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                let cause = io::Error::from(Errno::ENOENT);
                return Err(Error::new(Status::Unreachable, attempt()).because(cause));
            }
            held => held.attempt(attempt)?,
        };
        Ok(Self {
            held: Some(held),
            ..Self::new(dir, "", &[""])?
        })
    }

    /// Where they lie.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What their names have before `qemu-`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where a platform's emulator may lie, the usual place first.
    pub fn candidates(&self, platform: &Platform) -> impl Iterator<Item = PathBuf> {
        let name = format!("{}{}", self.prefix, platform.binary());
        self.suffixes
            .iter()
            .map(move |suffix| self.dir.join(format!("{name}{suffix}")))
    }

    /// A platform's emulator, where there is one.
    pub fn find(&self, platform: &Platform) -> Result<Option<Found>> {
        for path in self.candidates(platform) {
            match self.read(&path) {
                Ok(bytes) => {
                    return Ok(Some(Found {
                        sha256: Digest::of(&bytes),
                        qemu: elf::version(&bytes),
                        path,
                    }));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).attempt(|| format!("cannot read {}", path.display()));
                }
            }
        }
        Ok(None)
    }

    /// Whether a file is there that is called as this emulator.
    pub fn has(&self, emulator: &Emulator) -> bool {
        self.open(&self.path_of(emulator)).is_ok()
    }

    /// Whether any emulator of the release may be there.
    pub fn has_any(&self, release: &Release) -> bool {
        release.emulators.iter().any(|emulator| self.has(emulator))
    }

    /// Opens the emulator's file, whose bytes were just compared with its digest.
    pub fn verified(&self, qemu: &str, emulator: &Emulator) -> Result<File> {
        let path = self.path_of(emulator);
        let attempt = || format!("cannot read {}", path.display());
        let other = |why: String| {
            let what = format!(
                "{} isn't the pinned emulator of QEMU {qemu}",
                path.display(),
            );
            Error::new(Status::Integrity, what).because(why)
        };
        let file = match self.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let what = format!("{} holds no {}", self.dir.display(), emulator.binary());
                return Err(Error::new(Status::Unreachable, what));
            }
            file => file.attempt(attempt)?,
        };
        let size = file.metadata().attempt(attempt)?.len();
        if size != emulator.size {
            return Err(other(format!("it has {size} bytes, not {}", emulator.size)));
        }
        let (found, _) = Digest::of_reader(&file).attempt(attempt)?;
        if found != emulator.sha256 {
            return Err(other(format!(
                "its sha256 is {found}, not {}",
                emulator.sha256
            )));
        }
        (&file).rewind().attempt(attempt)?;
        Ok(file)
    }

    fn path_of(&self, emulator: &Emulator) -> PathBuf {
        self.dir.join(emulator.binary())
    }

    /// Opens a regular file in it.
    fn open(&self, path: &Path) -> io::Result<File> {
        let (dir, name) = match (&self.held, path.file_name()) {
            (Some(held), Some(name)) => (held.as_fd(), Path::new(name)),
            _ => (AT_FDCWD, path),
        };
        // Opening a pipe would wait for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat(dir, name, flags, Mode::empty())?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it isn't a file")),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        if file.metadata()?.len() > LIMIT {
            return Err(io::Error::other("it is too large to be an emulator"));
        }
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Without `.` and `..`, as the path is written.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn riscv64() -> &'static Platform {
        Platform::by_emulator("riscv64").unwrap()
    }

    #[test]
    fn an_emulator_is_found_by_its_exact_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = b"qemu-riscv64 version 10.0.13 (x)\nCopyright (c) 2003-2025 Fabrice";
        fs::write(dir.path().join("my-qemu-riscv64"), text).unwrap();
        let find = |prefix| {
            let directory = Directory::new(dir.path(), prefix, &[""]).unwrap();
            directory.find(riscv64()).unwrap()
        };
        assert_eq!(find(""), None);
        let found = find("my-").unwrap();
        assert_eq!(found.path, dir.path().join("my-qemu-riscv64"));
        assert_eq!(found.sha256, Digest::of(text));
        assert_eq!(found.qemu.as_deref(), Some("10.0.13"));
    }

    #[test]
    fn the_first_suffix_that_is_there_counts() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path(), "", &["-static", ""]).unwrap();
        for name in ["qemu-riscv64", "qemu-riscv64-static"] {
            fs::write(dir.path().join(name), name).unwrap();
            let found = directory.find(riscv64()).unwrap().unwrap();
            assert_eq!(found.path, dir.path().join(name));
        }
    }

    #[test]
    fn what_is_no_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("qemu-riscv64")).unwrap();
        let directory = Directory::new(dir.path(), "", &[""]).unwrap();
        let error = directory.find(riscv64()).unwrap_err();
        assert!(
            error.reason().contains("qemu-riscv64"),
            "{}",
            error.reason()
        );
    }

    #[test]
    fn paths_are_absolute_clean_and_plain() {
        let of = |dir: &str| Directory::new(Path::new(dir), "", &[""]);
        assert_eq!(
            of("/usr/./lib/../bin/").unwrap().path(),
            Path::new("/usr/bin")
        );
        assert!(of("bin").unwrap().path().is_absolute());
        assert!(of("/a\nb").is_err() && of("").is_err());
        for prefix in ["a/b", "/", "a\n"] {
            assert!(
                Directory::new(Path::new("/"), prefix, &[""]).is_err(),
                "{prefix}"
            );
        }
    }

    fn pinned(bytes: &[u8]) -> Emulator {
        Emulator {
            target: "arm".to_owned(),
            offset: 0,
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
        }
    }

    /// A directory with an emulator that isn't one.
    fn held() -> (tempfile::TempDir, Directory) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("qemu-arm"), b"arm").unwrap();
        let directory = Directory::hold(dir.path()).unwrap();
        (dir, directory)
    }

    #[test]
    fn the_pinned_bytes_are_handed_over_whole_wherever_the_directory_went() {
        let (dir, directory) = held();
        let moved = dir.path().with_extension("moved");
        fs::rename(dir.path(), &moved).unwrap();
        let mut bytes = Vec::new();
        let mut file = directory.verified("10.0.13", &pinned(b"arm")).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"arm");
        fs::rename(&moved, dir.path()).unwrap();
    }

    #[test]
    fn other_bytes_are_refused_by_name_and_digest() {
        let (_dir, directory) = held();
        for (bytes, why) in [
            (b"mra" as &[u8], Digest::of(b"arm").to_string()),
            (b"arms", "3 bytes".to_owned()),
        ] {
            let error = directory.verified("10.0.13", &pinned(bytes)).unwrap_err();
            assert_eq!(error.status(), Status::Integrity);
            assert!(error.reason().contains("/qemu-arm"), "{error}");
            assert!(error.reason().contains(&why), "{}", error.reason());
        }
    }

    #[test]
    fn what_is_no_file_is_no_emulator() {
        let (dir, directory) = held();
        let path = dir.path().join("qemu-arm");
        fs::remove_file(&path).unwrap();
        assert!(!directory.has(&pinned(b"arm")));
        let error = directory.verified("10.0.13", &pinned(b"arm")).unwrap_err();
        assert_eq!(error.status(), Status::Unreachable);
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let error = directory.verified("10.0.13", &pinned(b"arm")).unwrap_err();
        assert!(error.reason().contains("isn't a file"), "{error}");
    }

    #[test]
    fn a_directory_that_isnt_there_is_not_reachable() {
        let error = Directory::hold(Path::new("/nowhere")).unwrap_err();
        assert_eq!(error.status(), Status::Unreachable);
        assert!(Directory::hold(Path::new("/dev/null")).is_err());
    }
}
