//! A directory of emulators as they are, `qemu-<target>`: what a container
//! image brings along, or what somebody carried in without the package.
//!
//! Trusts nothing about them: a file of another size or with another digest
//! than the manifest's isn't the pinned one, wherever it lies.

use std::fs::File;
use std::io::Seek;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use crate::digest::Digest;
use crate::emulator::manifest::{Emulator, Release};
use crate::error::{Error, IoContext, Result, Status};

/// An open directory. It stays the same one when this process goes to another
/// mount namespace.
#[derive(Debug)]
pub struct EmulatorDir {
    path: PathBuf,
    dir: OwnedFd,
}

impl EmulatorDir {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self> {
        let attempt = || format!("cannot open the directory {}", path.display());
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let dir = match open(path, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                let cause = std::io::Error::from(Errno::ENOENT);
                return Err(Error::new(Status::Unreachable, attempt()).because(cause));
            }
            dir => dir.attempt(attempt)?,
        };
        Ok(Self {
            path: path.to_owned(),
            dir,
        })
    }

    /// What a person calls it.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether a file is there that is called as this emulator.
    pub fn has(&self, emulator: &Emulator) -> bool {
        let flags = nix::fcntl::AtFlags::empty();
        nix::sys::stat::fstatat(&self.dir, &*emulator.binary(), flags).is_ok()
    }

    /// Whether any emulator of the release may be there.
    pub fn has_any(&self, release: &Release) -> bool {
        release.emulators.iter().any(|emulator| self.has(emulator))
    }

    /// Opens the emulator's file, whose bytes were just compared with its digest.
    pub fn verified(&self, emulator: &Emulator) -> Result<File> {
        let file = self.open_emulator(emulator)?;
        let attempt = || format!("cannot read {}", self.path_of(emulator).display());
        let (found, _) = Digest::of_reader(&file).attempt(attempt)?;
        if found != emulator.sha256 {
            let why = format!("its sha256 is {found}, not {}", emulator.sha256);
            return Err(self.other_bytes(emulator, why));
        }
        (&file).rewind().attempt(attempt)?;
        Ok(file)
    }

    fn open_emulator(&self, emulator: &Emulator) -> Result<File> {
        let binary = emulator.binary();
        let attempt = || format!("cannot open {}", self.path_of(emulator).display());
        // Opening a pipe would wait for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match openat(&self.dir, &*binary, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                return Err(Error::new(
                    Status::Unreachable,
                    format!("{} holds no {binary}", self.path.display()),
                ));
            }
            file => File::from(file.attempt(attempt)?),
        };
        let metadata = file.metadata().attempt(attempt)?;
        if !metadata.is_file() {
            return Err(Error::new(Status::Usage, attempt()).because("not a regular file"));
        }
        if metadata.len() != emulator.size {
            let why = format!("it has {} bytes, not {}", metadata.len(), emulator.size);
            return Err(self.other_bytes(emulator, why));
        }
        Ok(file)
    }

    fn path_of(&self, emulator: &Emulator) -> PathBuf {
        self.path.join(emulator.binary())
    }

    fn other_bytes(&self, emulator: &Emulator, why: String) -> Error {
        let path = self.path_of(emulator);
        let what = format!("{} isn't the pinned emulator", path.display());
        Error::new(Status::Integrity, what).because(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn emulator(bytes: &[u8]) -> Emulator {
        Emulator {
            target: "arm".to_owned(),
            offset: 0,
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
        }
    }

    fn dir() -> (tempfile::TempDir, EmulatorDir) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("qemu-arm"), b"arm").unwrap();
        let opened = EmulatorDir::open(dir.path()).unwrap();
        (dir, opened)
    }

    #[test]
    fn the_pinned_bytes_are_handed_over_whole() {
        let (_dir, emulators) = dir();
        let mut bytes = Vec::new();
        let mut file = emulators.verified(&emulator(b"arm")).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"arm");
    }

    #[test]
    fn other_bytes_are_refused_by_name_and_digest() {
        let (_dir, emulators) = dir();
        for (pinned, why) in [
            (b"mra" as &[u8], Digest::of(b"arm").to_string()),
            (b"arms", "3 bytes".to_owned()),
        ] {
            let error = emulators.verified(&emulator(pinned)).unwrap_err();
            assert_eq!(error.status(), Status::Integrity);
            assert!(error.reason().contains("/qemu-arm"), "{error}");
            assert!(error.reason().contains(&why), "{}", error.reason());
        }
    }

    #[test]
    fn what_is_no_file_is_no_emulator() {
        let (dir, emulators) = dir();
        let path = dir.path().join("qemu-arm");
        std::fs::remove_file(&path).unwrap();
        let error = emulators.verified(&emulator(b"arm")).unwrap_err();
        assert_eq!(error.status(), Status::Unreachable);
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let error = emulators.verified(&emulator(b"arm")).unwrap_err();
        assert!(error.reason().contains("not a regular file"), "{error}");
    }

    #[test]
    fn a_directory_that_isnt_there_is_not_reachable() {
        let error = EmulatorDir::open(Path::new("/nowhere")).unwrap_err();
        assert_eq!(error.status(), Status::Unreachable);
        assert!(EmulatorDir::open(Path::new("/dev/null")).is_err());
    }
}
