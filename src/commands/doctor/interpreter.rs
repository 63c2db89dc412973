//! What is wrong with the file that a rule names.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::emulator::elf;
use crate::platform::Platform;

/// Why the kernel couldn't run this file in a container, as the end of a
/// sentence that begins with its path; `None` for a sound one.
pub fn fault(path: &Path, host: &'static Platform) -> Option<String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Some("is missing".to_owned()),
        Err(error) => return Some(format!("can't be looked at: {error}")),
    };
    if !metadata.is_file() {
        return Some("is no file".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Some("isn't executable (mode x)".to_owned());
    }
    if statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOEXEC)) {
        return Some("lies on a file system that is mounted noexec".to_owned());
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(elf::HEAD as u64).read_to_end(&mut head));
    match read {
        Err(error) => Some(format!("can't be read: {error}")),
        Ok(_) => elf::check(&head, host)
            .err()
            .map(|unfit| format!("can't work: {unfit}")),
    }
}

/// Whether a program is position-independent (`ET_DYN`).
pub fn is_pie(program: &File) -> bool {
    let mut elf_type = [0; 2];
    program.read_exact_at(&mut elf_type, 16).is_ok() && matches!(elf_type, [3, 0] | [0, 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn each_fault_is_named() {
        let host = Host::read().unwrap().platform;
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8], mode| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let table = [
            (dir.path().join("nowhere"), "missing"),
            (dir.path().to_owned(), "no file"),
            (file("plain", b"x", 0o644), "executable"),
            (file("text", b"#!/bin/sh\n", 0o755), "ELF"),
        ];
        for (path, word) in table {
            let fault = fault(&path, host).unwrap();
            assert!(fault.contains(word), "{fault}");
        }
        assert_eq!(fault(Path::new("/proc/self/exe"), host), None);
    }
}
