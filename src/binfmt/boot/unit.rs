//! Units of systemd, as far as files tell: whether one is there, masked, and
//! wanted at boot, and the few settings that decide what it does to rules.
//!
//! Nothing is asked of systemd itself, which may not be the one that runs here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Highest first, after systemd.unit(5). The last is another one only where
/// /usr isn't merged. A `systemd.mask=` on the kernel's command line becomes a
/// link in the first.
const DIRS: [&str; 7] = [
    "run/systemd/generator.early",
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// Settings that give a service mounts of its own, from which an unmounting
/// doesn't reach the host (systemd.exec(5)).
const SANDBOX: [&str; 8] = [
    "PrivateDevices",
    "PrivateMounts",
    "PrivateTmp",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelLogs",
    "ProtectKernelTunables",
    "ProtectSystem",
];

/// What becomes of a unit at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    /// There is none.
    Absent,
    /// It can't start: this file masks it.
    Masked(PathBuf),
    /// Nothing starts it.
    Idle(PathBuf),
    /// It starts.
    Starts(PathBuf),
}

/// What a service's files say, drop-ins included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The units that it waits for.
    pub after: Vec<String>,
    /// Whether it runs anything when it is stopped.
    pub stops: bool,
    /// Whether its mounts are its own.
    pub own_mounts: bool,
}

impl Unit {
    /// Whether it starts at boot.
    pub fn starts(&self) -> bool {
        matches!(self, Self::Starts(_))
    }

    /// Its file, or the one that masks it.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Absent => None,
            Self::Masked(file) | Self::Idle(file) | Self::Starts(file) => Some(file),
        }
    }
}

/// What becomes of the unit `name`, which `target` wants, below `root`.
pub fn look(root: &Path, name: &str, target: &str) -> Unit {
    let candidates = |relative: &str| DIRS.map(|dir| root.join(dir).join(relative));
    let file = candidates(name).into_iter().find(|path| path.exists());
    let Some(file) = file else {
        return Unit::Absent;
    };
    if is_null(&file) {
        return Unit::Masked(file);
    }
    // Such a link counts by its name; only one to /dev/null undoes another.
    let link = candidates(&format!("{target}.wants/{name}"))
        .into_iter()
        .find(|path| path.is_symlink() || path.exists());
    match link {
        Some(link) if !is_null(&link) => Unit::Starts(file),
        _ => Unit::Idle(file),
    }
}

/// The settings of the service `name` below `root`.
pub fn settings(root: &Path, name: &str) -> Settings {
    let main = DIRS.map(|dir| root.join(dir).join(name));
    let main = main.into_iter().find(|path| path.exists());
    let mut drop_ins: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for dir in DIRS.map(|dir| root.join(dir).join(format!("{name}.d"))) {
        for file in fs::read_dir(dir).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().ends_with(".conf") {
                drop_ins.entry(file.file_name()).or_insert(file.path());
            }
        }
    }
    let texts: Vec<String> = main
        .into_iter()
        .chain(drop_ins.into_values())
        .filter(|path| path.is_file())
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    parse(&texts.join("\n"))
}

/// Whether files beside that of the service `name` change it.
pub fn has_drop_ins(root: &Path, name: &str) -> bool {
    let dirs = DIRS.map(|dir| root.join(dir).join(format!("{name}.d")));
    let mut files = dirs
        .into_iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten());
    files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().ends_with(".conf")))
}

/// Reads the text of a service's files, one after the other.
pub fn parse(text: &str) -> Settings {
    let mut settings = Settings::default();
    let mut sandbox: BTreeMap<&str, bool> = BTreeMap::new();
    let joined = text.replace("\\\n", " ");
    for line in joined.lines().map(str::trim) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim_end(), value.trim_start());
        match key {
            "After" if value.is_empty() => settings.after.clear(),
            "After" => {
                let units = value.split_whitespace().map(str::to_owned);
                settings.after.extend(units);
            }
            "ExecStop" => settings.stops = !value.is_empty(),
            _ => {
                if let Some(known) = SANDBOX.iter().find(|known| **known == key) {
                    sandbox.insert(known, !is_no(value));
                }
            }
        }
    }
    settings.own_mounts = sandbox.into_values().any(|set| set);
    settings
}

/// Whether it says nothing, as systemd marks what is switched off: a link to
/// /dev/null, or an empty file.
pub fn is_null(path: &Path) -> bool {
    let is_link = fs::read_link(path).is_ok_and(|to| to == Path::new("/dev/null"));
    is_link
        || path
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

fn is_no(value: &str) -> bool {
    let no = ["", "0", "f", "false", "n", "no", "off"];
    no.contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    const NAME: &str = "systemd-binfmt.service";
    const TARGET: &str = "sysinit.target";

    /// A root with these links and, where there is no `->`, files.
    fn root(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let (path, to) = file.split_once(" -> ").unwrap_or((file, ""));
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match to {
                "" => fs::write(path, "[Service]\n").unwrap(),
                to => symlink(to, path).unwrap(),
            }
        }
        dir
    }

    fn seen(files: &[&str]) -> Unit {
        let dir = root(files);
        let strip = |path: PathBuf| path.strip_prefix(dir.path()).unwrap().to_owned();
        match look(dir.path(), NAME, TARGET) {
            Unit::Absent => Unit::Absent,
            Unit::Masked(file) => Unit::Masked(strip(file)),
            Unit::Idle(file) => Unit::Idle(strip(file)),
            Unit::Starts(file) => Unit::Starts(strip(file)),
        }
    }

    #[test]
    fn a_unit_starts_where_a_target_wants_it_and_nothing_masks_it() {
        const FILE: &str = "usr/lib/systemd/system/systemd-binfmt.service";
        const WANTS: &str = "usr/lib/systemd/system/sysinit.target.wants/systemd-binfmt.service -> ../systemd-binfmt.service";
        assert_eq!(seen(&[]), Unit::Absent);
        assert_eq!(seen(&[WANTS]), Unit::Absent);
        assert_eq!(seen(&[FILE]), Unit::Idle(FILE.into()));
        assert_eq!(seen(&[FILE, WANTS]), Unit::Starts(FILE.into()));
        for mask in [
            "etc/systemd/system/systemd-binfmt.service",
            "run/systemd/system/systemd-binfmt.service",
            "run/systemd/generator.early/systemd-binfmt.service",
        ] {
            let link = format!("{mask} -> /dev/null");
            assert_eq!(seen(&[FILE, WANTS, &link]), Unit::Masked(mask.into()));
        }
        let elsewhere =
            "etc/systemd/system/sysinit.target.wants/systemd-binfmt.service -> /lib/nowhere";
        assert_eq!(seen(&[FILE, elsewhere]), Unit::Starts(FILE.into()));
        let undone = "etc/systemd/system/sysinit.target.wants/systemd-binfmt.service -> /dev/null";
        assert_eq!(seen(&[FILE, WANTS, undone]), Unit::Idle(FILE.into()));
    }

    #[test]
    fn drop_ins_have_the_last_word() {
        let dir = root(&[]);
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let name = "binfmt-support.service";
        write(
            "lib/systemd/system/binfmt-support.service",
            "[Unit]\nAfter=local-fs.target \\\n  systemd-binfmt.service\n[Service]\nExecStop=/x --disable\nProtectSystem=full\n#PrivateTmp=yes\n",
        );
        let before = settings(dir.path(), name);
        assert_eq!(before.after, ["local-fs.target", "systemd-binfmt.service"]);
        assert!(before.stops && before.own_mounts);
        write(
            "usr/lib/systemd/system/binfmt-support.service.d/a.conf",
            "[Service]\nExecStop=/y\n",
        );
        write(
            "etc/systemd/system/binfmt-support.service.d/a.conf",
            "[Service]\nExecStop=\nProtectSystem = no\n",
        );
        let after = settings(dir.path(), name);
        assert!(!after.stops && !after.own_mounts);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, lines in "((After|ExecStop|ProtectSystem) ?= ?[a-z.\\\\]{0,9}\n){0,6}") {
            parse(&text);
            parse(&lines);
        }
    }
}
