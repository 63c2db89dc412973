//! Mounts that keep programs from running, or emulators from being kept.
//!
//! A path's mount is found by the mount id of an open descriptor, so that
//! stacked and bind mounts are told apart; texts are parsed purely.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use procfs::process::MountInfo;

use crate::commands::doctor::ctl::Ctl;
use crate::commands::doctor::words::{unescaped, word};
use crate::report::Finding;

const TMP: &str = "noexec-tmp";
const STORE: &str = "store";

/// File systems that nothing can be written to, however they are mounted.
const IMAGES: [&str; 4] = ["squashfs", "erofs", "iso9660", "cramfs"];

/// A mount, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The file system.
    pub fs_type: String,
    /// Whether no program can be executed from it.
    pub noexec: bool,
    /// Whether it is read-only here.
    pub read_only: bool,
    /// Whether the file system is read-only wherever it is mounted.
    pub all_read_only: bool,
}

/// The mount that a path lies on; `None` where that can't be seen.
pub fn mount_of(path: &Path) -> Option<Mount> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .ok()?;
    let fdinfo = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mountinfo = fs::read("/proc/self/mountinfo").ok()?;
    find(&String::from_utf8_lossy(&mountinfo), mount_id(&fdinfo)?)
}

pub(in super::super) fn mount_id(fdinfo: &str) -> Option<i32> {
    let value = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))?;
    value.trim().parse().ok()
}

pub(in super::super) fn find(mountinfo: &str, id: i32) -> Option<Mount> {
    let mount = mountinfo
        .lines()
        .filter_map(|line| MountInfo::from_line(line).ok())
        .find(|mount| mount.mnt_id == id)?;
    let all_read_only = mount.super_options.contains_key("ro");
    Some(Mount {
        point: unescaped(&mount.mount_point),
        fs_type: mount.fs_type,
        noexec: mount.mount_options.contains_key("noexec"),
        read_only: all_read_only || mount.mount_options.contains_key("ro"),
        all_read_only,
    })
}

/// Whether programs can run from the directories for temporary files.
pub fn temporary() -> Vec<Finding> {
    let own = std::env::var_os("TMPDIR").map(PathBuf::from);
    let dirs: Vec<(PathBuf, Mount)> = own
        .into_iter()
        .filter(|dir| dir.is_absolute())
        .chain([PathBuf::from("/tmp")])
        .filter_map(|dir| mount_of(&dir).map(|mount| (dir, mount)))
        .collect();
    judge_temporary(&dirs)
}

fn judge_temporary(dirs: &[(PathBuf, Mount)]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut told: Vec<&Path> = Vec::new();
    for (dir, mount) in dirs.iter().filter(|(_, mount)| mount.noexec) {
        if told.contains(&mount.point.as_path()) {
            continue;
        }
        told.push(&mount.point);
        findings.push(
            Finding::warning(
                TMP,
                format!(
                    "no program runs from {} (noexec): BuildKit tries platforms in such a place, and takes those that run for missing",
                    dir.display()
                ),
            )
            .seen_in(seen(mount, "noexec"))
            .mend(remount(mount, "bind,exec")),
        );
    }
    if let ([], Some((dir, _))) = (findings.as_slice(), dirs.last()) {
        findings.push(Finding::ok(
            TMP,
            format!("programs run from {}", dir.display()),
        ));
    }
    findings
}

/// Whether emulators can be kept in the store, and run from it.
pub fn store(prefix: &Path, ctl: &Ctl) -> Vec<Finding> {
    let existing = prefix.ancestors().find(|dir| dir.exists());
    match existing.and_then(mount_of) {
        Some(mount) => vec![judge_store(prefix, &mount, ctl)],
        None => Vec::new(),
    }
}

fn judge_store(prefix: &Path, mount: &Mount, ctl: &Ctl) -> Finding {
    let shown = prefix.display();
    if mount.noexec {
        Finding::problem(
            STORE,
            format!("{shown} lies on a file system without execution (noexec), so the kernel takes no emulator from there"),
        )
        .seen_in(seen(mount, "noexec"))
        .mend(remount(mount, "bind,exec"))
    } else if mount.read_only {
        let remedy = if IMAGES.contains(&mount.fs_type.as_str()) {
            ctl.change_with_prefix("install", "/var/lib/binfmtctl")
        } else if mount.all_read_only {
            Some(remount(mount, "rw"))
        } else {
            Some(remount(mount, "bind,rw"))
        };
        Finding::warning(
            STORE,
            format!(
                "{shown} is read-only: what runs goes on running, but nothing can be installed"
            ),
        )
        .seen_in(seen(mount, "ro"))
        .mend_if(remedy)
    } else {
        Finding::ok(STORE, format!("emulators can be kept in {shown}"))
    }
}

fn seen(mount: &Mount, option: &str) -> String {
    format!(
        "/proc/self/mountinfo: {} at {} has {option}",
        mount.fs_type,
        mount.point.display()
    )
}

/// Without `bind` the file system's own options would be set too, which only
/// its owner may.
fn remount(mount: &Mount, options: &str) -> String {
    format!("mount -o remount,{options} {}", word(&mount.point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;
    use proptest::prelude::*;

    const TEXT: &str = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        30 27 0:27 / /tmp rw,nosuid,noexec - tmpfs tmpfs rw,size=5m\n\
        31 27 0:28 / /a\\040b ro - ext4 /dev/vdb rw\n\
        32 27 0:29 / /usr ro - squashfs /dev/vdc ro\n";

    fn mount(id: i32) -> Mount {
        find(TEXT, id).unwrap()
    }

    #[test]
    fn a_mount_is_found_by_its_id() {
        assert!(mount(30).noexec && !mount(30).read_only);
        assert_eq!(mount(31).point, Path::new("/a b"));
        assert!(mount(31).read_only && !mount(31).all_read_only);
        assert!(mount(32).all_read_only);
        assert_eq!(find(TEXT, 33), None);
        assert_eq!(mount_id("pos:\t0\nmnt_id:\t27\n"), Some(27));
    }

    #[test]
    fn the_mount_of_proc_is_proc() {
        let mount = mount_of(Path::new("/proc/self/status")).unwrap();
        assert_eq!(mount.fs_type, "proc");
        assert_eq!(mount.point, Path::new("/proc"));
    }

    #[test]
    fn a_place_without_execution_is_told_once() {
        let dirs = [
            (PathBuf::from("/tmp/own"), mount(30)),
            (PathBuf::from("/tmp"), mount(30)),
        ];
        let findings = judge_temporary(&dirs);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].level, Level::Warning);
        assert_eq!(
            findings[0].remedy.as_deref(),
            Some("mount -o remount,bind,exec /tmp")
        );
        let fine = judge_temporary(&[(PathBuf::from("/tmp"), mount(27))]);
        assert_eq!(fine[0].level, Level::Ok);
    }

    #[test]
    fn each_kind_of_store_has_its_remedy() {
        let table = [
            (27, Level::Ok, None),
            (30, Level::Problem, Some("mount -o remount,bind,exec /tmp")),
            (31, Level::Warning, Some("mount -o remount,bind,rw '/a b'")),
            (
                32,
                Level::Warning,
                Some("binfmtctl install --prefix /var/lib/binfmtctl"),
            ),
        ];
        for (id, level, remedy) in table {
            let finding = judge_store(Path::new("/opt/binfmtctl"), &mount(id), &Ctl::plain());
            assert_eq!(
                (finding.level, finding.remedy.as_deref()),
                (level, remedy),
                "{id}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in "([0-9:/ a-z,\\\\-]*\n){0,4}",
            fdinfo in "mnt_id:.{0,8}|.{0,8}",
            id: i32,
        ) {
            find(&text, id);
            mount_id(&fdinfo);
        }
    }
}
