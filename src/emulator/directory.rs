//! Emulators that lie in a directory and are registered where they are, such
//! as those of a container image.
//!
//! Nothing is copied and nothing compared: who says that they are to be used
//! answers for their bytes. What they are is read from those bytes, never from
//! their names.

use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use super::elf;
use crate::digest::Digest;
use crate::durable;
use crate::error::{Error, IoContext, Result, Status};
use crate::platform::Platform;

/// The largest file that is taken for an emulator.
const LIMIT: u64 = 1 << 30;

/// Where emulators lie, and what they are called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    dir: PathBuf,
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
                prefix: prefix.to_owned(),
                suffixes: suffixes.iter().map(|suffix| (*suffix).to_owned()).collect(),
            }),
            _ => Err(refuse("it isn't plain text")),
        }
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
            match read(&path) {
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

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = durable::open_file(path)?;
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
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
}
