//! Where this program lies, and whether a service may call it there: every
//! boot has to find it, and nobody but root may put another in its place.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Places that a boot empties, that services don't see, or where anybody may
/// have put it.
const PASSING: [&str; 9] = [
    "/dev",
    "/home",
    "/proc",
    "/root",
    "/run",
    "/tmp",
    "/var/home",
    "/var/roothome",
    "/var/tmp",
];

/// The path of this program.
///
/// # Errors
///
/// Why a service can't call it there.
pub fn lasting() -> Result<PathBuf, String> {
    let cannot_see = |error| format!("can't see where this program lies: {error}");
    let path = fs::read_link("/proc/self/exe").map_err(cannot_see)?;
    let running = fs::metadata("/proc/self/exe").map_err(cannot_see)?;
    judge(&path, &running)?;
    Ok(path)
}

fn judge(path: &Path, running: &Metadata) -> Result<(), String> {
    let shown = path.display();
    let found = fs::metadata(path).ok();
    if !found.is_some_and(|found| is_same(&found, running)) {
        return Err(format!("this program isn't {shown} on this host"));
    }
    if let Some(dir) = PASSING.iter().find(|dir| path.starts_with(dir)) {
        return Err(format!("{shown} lies below {dir}"));
    }
    match replaceable(path) {
        Some(place) => Err(format!("others than root may replace {}", place.display())),
        None => Ok(()),
    }
}

/// What of a path somebody else than root may change.
fn replaceable(path: &Path) -> Option<&Path> {
    path.ancestors().find(|place| {
        let metadata = fs::metadata(place);
        !metadata.is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
    })
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(path: &str, running: &str) -> Result<(), String> {
        judge(Path::new(path), &fs::metadata(running).unwrap())
    }

    #[test]
    fn a_systems_program_lasts_and_others_dont() {
        let shell = fs::canonicalize("/bin/sh").unwrap();
        let shell = shell.to_str().unwrap();
        assert_eq!(judged(shell, shell), Ok(()));
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let copy = dir.path().join("sh");
        fs::copy(shell, &copy).unwrap();
        let copy = copy.to_str().unwrap();
        for (path, running, why) in [
            (copy, copy, "lies below /tmp"),
            (shell, copy, "isn't"),
            ("/nowhere/sh", shell, "isn't"),
        ] {
            let told = judged(path, running).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        assert!(replaceable(Path::new(copy)).is_some());
        assert_eq!(replaceable(Path::new(shell)), None);
    }
}
