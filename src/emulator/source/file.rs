//! A package file that somebody carried in.
//!
//! Trusts nothing about it: a file of another size isn't the pinned one and is
//! refused before a byte is read, and each block is verified like any other.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Deliver, Failure, Source, buffer_size, hand_over};
use crate::emulator::manifest::Release;
use crate::error::{Error, IoContext, Result, Status};

/// An open package file.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    file: File,
}

impl FileSource {
    /// Opens a package file; only a regular file will do.
    pub fn open(path: &Path) -> Result<Self> {
        let attempt = || format!("cannot open {}", path.display());
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let metadata = match fs::metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(Error::new(Status::Unreachable, attempt()).because(cause));
            }
            metadata => metadata.attempt(attempt)?,
        };
        if !metadata.is_file() {
            return Err(Error::new(Status::Usage, attempt()).because("not a regular file"));
        }
        Ok(Self {
            path: path.to_owned(),
            file: File::open(path).attempt(attempt)?,
        })
    }

    /// A package file that somebody has opened.
    pub fn of(path: PathBuf, file: File) -> Self {
        Self { path, file }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Opens the release's package in a directory, under its archive name or
    /// under the one that `apt-get download` gives it; `None` where neither is.
    pub fn in_dir(dir: &Path, release: &Release) -> Result<Option<Self>> {
        Self::names(release)
            .iter()
            .map(|name| dir.join(name))
            .find(|path| path.exists())
            .map(|path| Self::open(&path))
            .transpose()
    }

    /// What the package may be called.
    pub fn names(release: &Release) -> [String; 2] {
        [release.file.clone(), apt_name(release)]
    }

    fn check_size(&self, release: &Release) -> Result<()> {
        let path = self.path.display();
        let found = self
            .file
            .metadata()
            .attempt(|| format!("cannot look at {path}"))?
            .len();
        if found != release.size {
            let what = format!(
                "{path} isn't the pinned {}: it has {found} bytes, not {}",
                release.file, release.size
            );
            return Err(Error::new(Status::Integrity, what));
        }
        Ok(())
    }
}

impl Source for FileSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn fetch(
        &self,
        release: &Release,
        wanted: &[usize],
        _ranges: usize,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), Failure> {
        self.check_size(release).map_err(Failure::Source)?;
        for &index in wanted {
            let mut bytes = vec![0; buffer_size(release, index)?];
            self.file
                .read_exact_at(&mut bytes, release.blocks[index].offset)
                .attempt(|| format!("cannot read block {index} of {}", self.path.display()))
                .map_err(Failure::Source)?;
            hand_over(&self.name(), release, index, bytes, deliver)?;
        }
        Ok(())
    }
}

/// apt's file name: package, version with the epoch's colon escaped, architecture.
fn apt_name(release: &Release) -> String {
    let version = release.version.replace(':', "%3a");
    format!("{}_{version}_{}.deb", release.package, release.host)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fetched, release};
    use super::*;

    const BODY: &[u8] = b"..first..second.";

    fn pinned() -> Release {
        release(BODY, [2..7, 9..15])
    }

    #[test]
    fn a_carried_file_gives_its_blocks_under_either_name() {
        for name in [
            "qemu-user_10.0.13+ds-0+deb13u1_amd64.deb",
            "qemu-user_1%3a10.0.13+ds-0+deb13u1_amd64.deb",
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), BODY).unwrap();
            let source = FileSource::in_dir(dir.path(), &pinned()).unwrap().unwrap();
            assert!(source.name().ends_with(name));
            let got = fetched(&source, &pinned(), &[0, 1]).unwrap();
            assert_eq!(got, [(0, b"first".to_vec()), (1, b"second".to_vec())]);
        }
    }

    #[test]
    fn a_file_that_isnt_there_is_out_of_reach() {
        let dir = tempfile::tempdir().unwrap();
        let error = FileSource::open(&dir.path().join("x.deb")).unwrap_err();
        assert_eq!(error.status(), Status::Unreachable);
        assert!(error.reason().contains("No such file"), "{error}");
    }

    #[test]
    fn a_file_of_another_size_is_refused_with_both_sizes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &BODY[1..]).unwrap();
        let source = FileSource::open(file.path()).unwrap();
        let Err(Failure::Source(error)) = fetched(&source, &pinned(), &[0]) else {
            panic!("accepted")
        };
        assert_eq!(error.status(), Status::Integrity);
        assert!(error.reason().contains("15 bytes, not 16"), "{error}");
    }

    #[test]
    fn a_flipped_bit_is_an_integrity_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut body = BODY.to_vec();
        body[10] ^= 1;
        fs::write(file.path(), body).unwrap();
        let source = FileSource::open(file.path()).unwrap();
        assert!(fetched(&source, &pinned(), &[0]).is_ok());
        let Err(Failure::Source(error)) = fetched(&source, &pinned(), &[0, 1]) else {
            panic!("accepted")
        };
        assert_eq!(error.status(), Status::Integrity);
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = FileSource::open(&pipe).unwrap_err();
        assert!(error.reason().contains("not a regular file"), "{error}");
    }
}
