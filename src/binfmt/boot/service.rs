//! The service that calls this program at boot: a unit of systemd or a script
//! of OpenRC, as a package ships it, made for where this program lies.
//!
//! A file of that name which isn't of this making is a package's or an
//! administrator's, and stays. So does what somebody has switched off: the links
//! that start a service are made before its file, hence never once it is there;
//! they go after it. No service manager is called; the next boot reads the files.

use std::fs;
use std::path::{Path, PathBuf};

use super::unit::{self, Unit};
use crate::crash::{self, Point};
use crate::durable;
use crate::error::Result;
use crate::host::Init;

/// What systemd calls it.
pub const UNIT: &str = "binfmtctl.service";
/// What OpenRC calls it.
pub const SCRIPT: &str = "binfmtctl";

const MARK: &str =
    "# Made by `binfmtctl install`; changes here are lost, `binfmtctl uninstall` removes it.\n";
/// Where packages put the program, and so what the files name.
const PACKAGED: &str = "/usr/bin/binfmtctl";

/// What one init system takes.
struct Kind {
    /// The file as packages ship it.
    text: &'static str,
    /// Where an administrator's own is.
    file: &'static str,
    mode: u32,
    /// The directories whose links start it.
    starts: &'static [&'static str],
    /// Where somebody may have set other places for it.
    settings: &'static str,
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
    settings: "etc/default/binfmtctl",
};

const OPENRC: Kind = Kind {
    text: include_str!("../../../packaging/openrc/binfmtctl"),
    file: "etc/init.d/binfmtctl",
    mode: 0o755,
    starts: &["etc/runlevels/default"],
    settings: "etc/conf.d/binfmtctl",
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
            Init::Systemd => match look(root, true) {
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
            crash::at(Point::ServiceLinked);
        }
        self.clear()?;
        let text = self.text(program);
        durable::write(&self.file(), text.as_bytes(), self.kind.mode)?;
        crash::at(Point::ServiceWritten);
        Ok(true)
    }

    /// Takes it away. Returns whether anything was there.
    pub fn remove(&self) -> Result<bool> {
        let mut removed = self.clear()?;
        removed |= durable::remove(&self.file())?;
        crash::at(Point::ServiceRemoved);
        for link in self.links().filter(|link| self.is_own(link)) {
            removed |= durable::remove(&link)?;
            // Made for this, unless others use it too: then it stays.
            if let Some(dir) = link.parent().filter(|dir| dir.extension().is_some()) {
                let _ = fs::remove_dir(dir);
            }
        }
        Ok(removed)
    }

    /// Whether there is anything to take away.
    pub fn is_left(&self) -> bool {
        self.exists() || self.links().any(|link| self.is_own(&link))
    }

    /// Whether a boot starts it, as far as this making goes.
    pub fn starts(&self) -> bool {
        self.exists() && self.links().any(|link| link.is_symlink())
    }

    /// Removes what killed runs left beside the file.
    fn clear(&self) -> Result<bool> {
        self.file().parent().map_or(Ok(false), durable::clear)
    }

    /// A link to a file elsewhere is a package's.
    fn is_own(&self, link: &Path) -> bool {
        fs::read_link(link).is_ok_and(|to| to == Path::new("/").join(self.kind.file))
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

impl Kind {
    /// The program that a file calls, where the file says what packages and
    /// `install` have it say: then it applies our usual file.
    fn program(&self, root: &Path, file: &Path) -> Option<String> {
        let text = fs::read_to_string(file).ok()?.replace(MARK, "");
        let (before, _) = self.text.split_once(PACKAGED)?;
        let rest = text.strip_prefix(before)?;
        let end = rest.find(|c: char| !can_name(&format!("/{c}")))?;
        let program = &rest[..end];
        let is_usual = text == self.text.replace(PACKAGED, program);
        let settings = fs::read_to_string(root.join(self.settings)).unwrap_or_default();
        let is_set = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        (is_usual && !settings.lines().any(is_set)).then(|| program.to_owned())
    }
}

/// What becomes of our unit at boot, whoever made it, where systemd-binfmt
/// starts too, or doesn't.
pub fn look(root: &Path, with_systemd_binfmt: bool) -> Unit {
    let by_target = unit::look(root, UNIT, "multi-user.target");
    match with_systemd_binfmt && !by_target.starts() {
        true => unit::look(root, UNIT, super::SYSTEMD_BINFMT),
        false => by_target,
    }
}

/// The program that our unit calls to apply our usual file; `None` where the
/// unit may do something else.
pub fn program_of_unit(root: &Path, file: &Path) -> Option<String> {
    let changed = unit::has_drop_ins(root, UNIT);
    (!changed).then(|| SYSTEMD.program(root, file)).flatten()
}

/// The same of our script.
pub fn program_of_script(root: &Path) -> Option<String> {
    OPENRC.program(root, &root.join(OPENRC.file))
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
        let root = dir.path();
        assert_eq!(look(root, false), Unit::Absent);
        let service = service(root, &Init::Systemd);
        service.set_up(PROGRAM).unwrap();
        let file = root.join(SYSTEMD.file);
        assert_eq!(look(root, false), Unit::Starts(file.clone()));
        let links: Vec<PathBuf> = service.links().collect();
        fs::remove_file(&links[0]).unwrap();
        assert_eq!(look(root, false), Unit::Idle(file.clone()));
        assert_eq!(look(root, true), Unit::Starts(file.clone()));
        fs::remove_file(&links[1]).unwrap();
        assert_eq!(look(root, true), Unit::Idle(file), "only binfmt-support");
    }

    #[test]
    fn only_a_file_that_says_what_ours_says_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let known = || program_of_unit(root, &root.join(SYSTEMD.file));
        assert_eq!(known(), None);
        service(root, &Init::Systemd).set_up(PROGRAM).unwrap();
        assert_eq!(known().as_deref(), Some(PROGRAM));
        let file = root.join(SYSTEMD.file);
        let text = fs::read_to_string(&file).unwrap();
        for other in [
            text.replace("apply", "status"),
            text.replace(&format!("ExecStart={PROGRAM}"), "ExecStart=/bin/true"),
            text.replace("ExecStart=", "ExecStart=-"),
            format!("{text}ExecStartPost=/bin/true\n"),
        ] {
            assert_ne!(other, text);
            fs::write(&file, other).unwrap();
            assert_eq!(known(), None);
        }
        fs::write(&file, SYSTEMD.text).unwrap();
        assert_eq!(known().as_deref(), Some(PACKAGED));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(SYSTEMD.settings, "# nothing\n\n");
        assert!(known().is_some());
        write(SYSTEMD.settings, "BINFMTCTL_CONF=/etc/other.conf\n");
        assert_eq!(known(), None);
        write(SYSTEMD.settings, "");
        write(
            "etc/systemd/system/binfmtctl.service.d/a.conf",
            "[Service]\n",
        );
        assert_eq!(known(), None);
        service(root, &Init::OpenRc).set_up(PROGRAM).unwrap();
        assert_eq!(program_of_script(root).as_deref(), Some(PROGRAM));
        write(OPENRC.settings, "conf=/etc/other.conf\n");
        assert_eq!(program_of_script(root), None);
    }

    #[test]
    fn links_of_a_package_stay() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path(), &Init::Systemd);
        service.set_up(PROGRAM).unwrap();
        let link = service.links().next().unwrap();
        fs::remove_file(&link).unwrap();
        symlink("/usr/lib/systemd/system/binfmtctl.service", &link).unwrap();
        assert!(service.remove().unwrap() && !service.is_left());
        assert!(link.is_symlink());
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
