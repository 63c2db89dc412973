//! The service that calls this program at boot: a unit of systemd or a script
//! of OpenRC, as a package ships it, made for where this program lies.
//!
//! A file of that name which isn't of this making is a package's or an
//! administrator's, and stays. So does what somebody has switched off: the links
//! that start a service are made before its file, hence never once it is there.
//! No service manager is called; the next boot reads the files.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::unit::{self, Unit};
use crate::durable;
use crate::error::{IoContext, Result};
use crate::host::Init;

/// What systemd calls it.
pub const UNIT: &str = "binfmtctl.service";
/// What OpenRC calls it.
pub const SCRIPT: &str = "binfmtctl";

const MARK: &str = "# Made by `binfmtctl install`; `binfmtctl uninstall` removes it.\n";
/// Where packages put the program, and so what the files name.
const PACKAGED: &str = "/usr/bin/binfmtctl";

/// What one init system takes.
struct Kind {
    /// The file as packages ship it.
    text: &'static str,
    /// Where an administrator's own is.
    file: &'static str,
    mode: u32,
    /// The directories whose links start it, with what starts them.
    starts: &'static [&'static str],
}

const SYSTEMD: Kind = Kind {
    text: include_str!("../../../packaging/systemd/binfmtctl.service"),
    file: "etc/systemd/system/binfmtctl.service",
    mode: 0o644,
    starts: &[
        "etc/systemd/system/multi-user.target.wants",
        "etc/systemd/system/systemd-binfmt.service.wants",
        "etc/systemd/system/binfmt-support.service.wants",
    ],
};

const OPENRC: Kind = Kind {
    text: include_str!("../../../packaging/openrc/binfmtctl"),
    file: "etc/init.d/binfmtctl",
    mode: 0o755,
    starts: &["etc/runlevels/default"],
};

/// A service of this making, there or not.
pub struct Service {
    kind: &'static Kind,
    root: PathBuf,
}

impl Service {
    /// The one for `init`, below `root`; none where the init system has no
    /// use for one, or has one that isn't of this making.
    pub fn find(root: &Path, init: &Init) -> Option<Self> {
        let kind = match init {
            Init::Systemd => &SYSTEMD,
            Init::OpenRc => &OPENRC,
            Init::Other(_) => return None,
        };
        let service = Self {
            kind,
            root: root.to_owned(),
        };
        let is_free = match init {
            Init::Systemd => match look(root) {
                Unit::Absent => true,
                unit => unit.file() == Some(&service.file()),
            },
            _ => true,
        };
        let file = service.file();
        let is_ours = !is_there(&file) || (!file.is_symlink() && is_marked(&file));
        (is_free && is_ours).then_some(service)
    }

    /// Its file.
    pub fn file(&self) -> PathBuf {
        self.root.join(self.kind.file)
    }

    /// Whether its file is there.
    pub fn exists(&self) -> bool {
        is_there(&self.file())
    }

    /// Whether its file is there and calls `program`.
    pub fn calls(&self, program: &str) -> bool {
        fs::read_to_string(self.file()).is_ok_and(|text| text == self.text(program))
    }

    /// Makes the next boot call `program`. Returns whether anything changed.
    pub fn set_up(&self, program: &str) -> Result<bool> {
        if self.calls(program) {
            return Ok(false);
        }
        if !self.exists() {
            for link in self.links() {
                durable::link(&link, &Path::new("/").join(self.kind.file))?;
            }
        }
        let text = self.text(program);
        durable::write(&self.file(), text.as_bytes(), self.kind.mode).map(|()| true)
    }

    /// Takes it away. Returns whether anything was there.
    pub fn remove(&self) -> Result<bool> {
        let mut removed = false;
        for link in self.links().filter(|link| link.is_symlink()) {
            removed |= durable::remove(&link)?;
            // Made for this, unless others use it too.
            if let Some(dir) = link.parent().filter(|dir| dir.extension().is_some()) {
                drop_empty(dir)?;
            }
        }
        Ok(durable::remove(&self.file())? || removed)
    }

    /// Whether there is anything to take away.
    pub fn is_left(&self) -> bool {
        self.exists() || self.links().any(|link| link.is_symlink())
    }

    fn links(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let name = self.kind.file.rsplit('/').next().unwrap_or_default();
        let dirs = self.kind.starts.iter();
        dirs.map(move |dir| self.root.join(dir).join(name))
    }

    fn text(&self, program: &str) -> String {
        let text = self.kind.text.replace(PACKAGED, program);
        // The first line of a script says what reads it.
        let head = match text.strip_prefix("#!") {
            Some(rest) => rest.find('\n').map_or(0, |end| end + 3),
            None => 0,
        };
        let (head, rest) = text.split_at(head);
        format!("{head}{MARK}{rest}")
    }
}

/// What becomes of our unit at boot, whoever made it.
pub fn look(root: &Path) -> Unit {
    let wanted = SYSTEMD.starts.iter().filter_map(|dir| {
        let target = dir.rsplit('/').next()?.strip_suffix(".wants")?;
        Some(unit::look(root, UNIT, target))
    });
    let units: Vec<Unit> = wanted.collect();
    let starts = units.iter().find(|unit| unit.starts());
    starts.or(units.first()).cloned().unwrap_or(Unit::Absent)
}

/// The program that a unit's file calls.
pub fn program_of(file: &Path) -> Option<PathBuf> {
    program(&fs::read_to_string(file).ok()?).map(PathBuf::from)
}

fn program(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let command = line.strip_prefix("ExecStart=")?;
        command.split_whitespace().next()
    })
}

/// Whether `path` can stand in such a file as it is.
pub fn can_name(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte);
    path.starts_with('/') && path.bytes().all(plain)
}

fn is_marked(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains(MARK))
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn drop_empty(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed.attempt(|| format!("cannot remove {}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const PROGRAM: &str = "/usr/local/bin/binfmtctl";

    fn service(root: &Path, init: &Init) -> Service {
        Service::find(root, init).unwrap()
    }

    /// Every file and link below `root`.
    fn tree(root: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for file in fs::read_dir(dir).unwrap().flatten() {
                match file.file_type().unwrap().is_dir() {
                    true => dirs.push(file.path()),
                    false => {
                        let path = file.path();
                        let path = path.strip_prefix(root).unwrap();
                        found.insert(path.display().to_string());
                    }
                }
            }
        }
        found
    }

    #[test]
    fn a_service_is_set_up_once_and_taken_away_whole() {
        for (init, file, links) in [
            (Init::Systemd, SYSTEMD.file, 3),
            (Init::OpenRc, OPENRC.file, 1),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path();
            assert!(service(root, &init).set_up(PROGRAM).unwrap());
            assert!(!service(root, &init).set_up(PROGRAM).unwrap());
            let files = tree(root);
            assert_eq!(files.len(), 1 + links);
            assert!(files.contains(file));
            let text = fs::read_to_string(root.join(file)).unwrap();
            assert!(text.contains(PROGRAM) && !text.contains(PACKAGED), "{text}");
            assert!(service(root, &init).remove().unwrap());
            assert!(!service(root, &init).remove().unwrap());
            assert_eq!(tree(root), BTreeSet::new());
        }
    }

    #[test]
    fn systemd_would_start_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path()), Unit::Absent);
        service(dir.path(), &Init::Systemd).set_up(PROGRAM).unwrap();
        assert_eq!(
            look(dir.path()),
            Unit::Starts(dir.path().join(SYSTEMD.file))
        );
    }

    #[test]
    fn each_directory_of_links_is_one_that_the_unit_names() {
        let line = SYSTEMD
            .text
            .lines()
            .find_map(|l| l.strip_prefix("WantedBy="));
        let named = line.unwrap().split_whitespace();
        let named: Vec<_> = named
            .map(|n| format!("etc/systemd/system/{n}.wants"))
            .collect();
        assert_eq!(named, SYSTEMD.starts);
        assert_eq!(program(SYSTEMD.text), Some(PACKAGED));
    }

    #[test]
    fn a_script_still_says_first_what_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        service(dir.path(), &Init::OpenRc).set_up(PROGRAM).unwrap();
        let file = dir.path().join(OPENRC.file);
        let text = fs::read_to_string(&file).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#!/sbin/openrc-run"));
        assert_eq!(lines.next(), Some(MARK.trim_end()));
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn what_others_made_or_switched_off_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let own = service(root, &Init::Systemd);
        own.set_up(PROGRAM).unwrap();
        // As `systemctl disable` does.
        let wanted: Vec<PathBuf> = own.links().collect();
        for link in &wanted {
            fs::remove_file(link).unwrap();
        }
        assert!(own.set_up("/opt/bin/binfmtctl").unwrap(), "it moved");
        assert!(wanted.iter().all(|link| !link.is_symlink()));
        let file = own.file();
        for other in ["", "[Service]\nExecStart=/my/own apply\n"] {
            fs::write(&file, other).unwrap();
            assert!(Service::find(root, &Init::Systemd).is_none());
        }
        fs::remove_file(&file).unwrap();
        symlink("/dev/null", &file).unwrap();
        assert!(Service::find(root, &Init::Systemd).is_none());
        fs::remove_file(&file).unwrap();
        let packaged = root.join("usr/lib/systemd/system/binfmtctl.service");
        fs::create_dir_all(packaged.parent().unwrap()).unwrap();
        fs::write(&packaged, SYSTEMD.text).unwrap();
        assert!(Service::find(root, &Init::Systemd).is_none());
        assert!(Service::find(root, &Init::Other("init".to_owned())).is_none());
    }

    #[test]
    fn only_a_plain_path_can_stand_in_a_service_file() {
        assert!(can_name(PROGRAM));
        for path in ["binfmtctl", "/a b/c", "/a%i", "/a\"", "/a$b", "/a\nb", ""] {
            assert!(!can_name(path), "{path}");
        }
    }
}
