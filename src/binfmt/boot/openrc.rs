//! OpenRC, as far as files tell: whether something of this program's starts
//! in a runlevel.
//!
//! OpenRC's own `binfmt` service reads binfmt.d too, old ones with backslashes
//! taken away, so that what comes of a rule by magic isn't certain; it isn't
//! counted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::service::SCRIPT as SERVICE;

/// The script that OpenRC's `local` service runs for us.
pub const SCRIPT: &str = "/etc/local.d/binfmtctl.start";

/// The service that calls this program at boot, and its file.
pub fn read(root: &Path) -> Option<(&'static str, PathBuf)> {
    let script = root.join(SCRIPT.trim_start_matches('/'));
    let is_executable = fs::metadata(&script)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
    let by_script = is_executable && in_runlevel(root, "local").is_some();
    match in_runlevel(root, SERVICE) {
        Some(link) => Some((SERVICE, link)),
        None => by_script.then_some(("local", script)),
    }
}

/// Whether the service is there, and in no runlevel.
pub fn is_idle(root: &Path) -> bool {
    root.join("etc/init.d").join(SERVICE).exists() && in_runlevel(root, SERVICE).is_none()
}

fn in_runlevel(root: &Path, service: &str) -> Option<PathBuf> {
    let levels = fs::read_dir(root.join("etc/runlevels"));
    let links = levels.into_iter().flatten().flatten();
    let mut links = links.map(|level| level.path().join(service));
    links.find(|link| link.is_symlink())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_service_starts_by_its_link_and_a_script_by_that_of_local() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let level = root.join("etc/runlevels/default");
        fs::create_dir_all(&level).unwrap();
        fs::create_dir_all(root.join("etc/local.d")).unwrap();
        let script = root.join("etc/local.d/binfmtctl.start");
        fs::write(&script, "").unwrap();
        symlink("/etc/init.d/local", level.join("local")).unwrap();
        assert_eq!(read(root), None, "a script has to be executable");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(read(root), Some(("local", script)));
        fs::remove_file(level.join("local")).unwrap();
        assert_eq!(read(root), None);
        let link = level.join("binfmtctl");
        symlink("/etc/init.d/binfmtctl", &link).unwrap();
        assert_eq!(read(root), Some(("binfmtctl", link.clone())));
        let file = root.join("etc/init.d/binfmtctl");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
        assert!(!is_idle(root));
        fs::remove_file(link).unwrap();
        assert!(is_idle(root));
    }
}
