//! The files of binfmt.d(5), as systemd-binfmt finds and reads them: the same
//! name in a higher directory replaces the whole file, names decide the order.
//!
//! They are anybody's, so nothing in them is an error. A line that isn't a
//! rule by magic keeps its name: the service first removes the rule that has it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::binfmt::rule::{Rule, is_entry_name};

/// Highest first. The last is another one only where /usr isn't merged.
const DIRS: [&str; 5] = [
    "etc/binfmt.d",
    RUN,
    "usr/local/lib/binfmt.d",
    "usr/lib/binfmt.d",
    "lib/binfmt.d",
];

/// What lies here was made since the last boot, and goes with the next.
const RUN: &str = "run/binfmt.d";

/// A line that is no comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A rule by magic.
    Rule(Rule),
    /// Something else, with the name that systemd-binfmt reads from it.
    Other(Option<String>),
}

/// A file that systemd-binfmt applies.
#[derive(Debug, Clone)]
pub struct ConfFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says; nothing where it is masked.
    pub lines: Vec<Line>,
    /// Whether it goes with the next boot.
    pub passes: bool,
}

/// Where a file stands among those that are read at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It is read.
    Read,
    /// It says nothing: it is a link to /dev/null, or empty.
    Masked,
    /// It isn't: this file of the same name is read in its place.
    Overridden(PathBuf),
    /// It isn't: nothing is read there at boot, or nothing of that name.
    Elsewhere,
}

impl ConfFile {
    /// Reads the file at `path`; one that can't be read says nothing.
    pub fn read(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lines: parse(&text(path)),
            passes: false,
        }
    }

    /// Its rules by magic.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.lines.iter().filter_map(|line| match line {
            Line::Rule(rule) => Some(rule),
            Line::Other(_) => None,
        })
    }

    /// How many of its lines are something else.
    pub fn others(&self) -> usize {
        self.lines.len() - self.rules().count()
    }
}

/// Reads the text of a file.
pub fn parse(text: &str) -> Vec<Line> {
    text.split(['\n', '\r', '\0'])
        .map(|line| line.trim_matches([' ', '\t']))
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        .map(|line| match line.parse() {
            Ok(rule) => Line::Rule(rule),
            Err(_) => Line::Other(name(line)),
        })
        .collect()
}

/// The name in a line, whatever else is in it.
fn name(line: &str) -> Option<String> {
    let delimiter = line.chars().next()?;
    let name = line[delimiter.len_utf8()..].split(delimiter).next()?;
    is_entry_name(name).then(|| name.to_owned())
}

/// The files below `root` that are read, in the order in which they apply.
pub fn read(root: &Path) -> Vec<ConfFile> {
    let mut files: BTreeMap<OsString, ConfFile> = BTreeMap::new();
    for dir in DIRS {
        for file in fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
            let name = file.file_name();
            if is_read(&name.to_string_lossy()) {
                files.entry(name).or_insert_with(|| ConfFile {
                    passes: dir == RUN,
                    ..ConfFile::read(&file.path())
                });
            }
        }
    }
    files.into_values().collect()
}

/// Where `conf` stands below `root`, whether it is there already or not.
pub fn place(root: &Path, conf: &Path) -> Place {
    let (Some(dir), Some(name)) = (conf.parent(), conf.file_name()) else {
        return Place::Elsewhere;
    };
    let same = |one: &Path, other: &Path| {
        one == other
            || fs::canonicalize(one)
                .and_then(|one| Ok(one == fs::canonicalize(other)?))
                .unwrap_or(false)
    };
    let Some(own) = DIRS.iter().position(|known| same(&root.join(known), dir)) else {
        return Place::Elsewhere;
    };
    if DIRS[own] == RUN || !is_read(&name.to_string_lossy()) {
        return Place::Elsewhere;
    }
    let higher = DIRS[..own].iter().map(|dir| root.join(dir).join(name));
    let overriding = higher
        .into_iter()
        .find(|path| path.is_symlink() || path.exists());
    match overriding {
        Some(path) => Place::Overridden(path),
        None if super::unit::is_null(conf) => Place::Masked,
        None => Place::Read,
    }
}

/// Whether another file of its name would be read, were this one not there.
pub fn covers(root: &Path, path: &Path) -> bool {
    let Some(name) = path.file_name() else {
        return false;
    };
    let same = |dir: &&str| root.join(dir).join(name) == path;
    let lower = DIRS.iter().skip_while(|dir| !same(dir)).skip(1);
    lower
        .map(|dir| root.join(dir).join(name))
        .any(|path| path.exists())
}

/// Hidden files are passed over.
fn is_read(name: &str) -> bool {
    name.ends_with(".conf") && !name.starts_with('.')
}

fn text(path: &Path) -> String {
    // Neither a device nor a pipe is waited for.
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn paths(root: &Path) -> Vec<String> {
        read(root)
            .iter()
            .map(|file| file.path.strip_prefix(root).unwrap())
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn lines_of_other_kinds_keep_their_names() {
        let text = "# a\n ; b\n\n:one:M::x::/i:F \n:two:E::exe::/i:\n|three|M||x||i|\nnonsense\n:a/b:M::x::/i:\n";
        let lines = parse(text);
        let Line::Rule(rule) = &lines[0] else {
            panic!("{lines:?}")
        };
        assert_eq!(rule.name, "one");
        let other = |name: &str| Line::Other(Some(name.to_owned()));
        assert_eq!(
            lines[1..],
            [other("two"), other("three"), other("o"), Line::Other(None)]
        );
    }

    #[test]
    fn a_name_in_a_higher_directory_replaces_the_file_and_names_are_the_order() {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            "usr/lib/binfmt.d/b.conf",
            "usr/lib/binfmt.d/d.conf",
            "usr/local/lib/binfmt.d/b.conf",
            "usr/local/lib/binfmt.d/c.conf",
            "run/binfmt.d/c.conf",
            "etc/binfmt.d/a.conf",
            "etc/binfmt.d/B.conf",
            "etc/binfmt.d/.hidden.conf",
            "etc/binfmt.d/a.conf.disabled",
        ] {
            write(dir.path(), path, ":x:M::x::/i:\n");
        }
        symlink("/dev/null", dir.path().join("etc/binfmt.d/d.conf")).unwrap();
        assert_eq!(
            paths(dir.path()),
            [
                "etc/binfmt.d/B.conf",
                "etc/binfmt.d/a.conf",
                "usr/local/lib/binfmt.d/b.conf",
                "run/binfmt.d/c.conf",
                "etc/binfmt.d/d.conf"
            ]
        );
        let files = read(dir.path());
        assert_eq!(files[4].lines, []);
        let passing: Vec<bool> = files.iter().map(|file| file.passes).collect();
        assert_eq!(passing, [false, false, false, true, false]);
    }

    #[test]
    fn a_file_is_read_masked_overridden_or_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for path in ["usr/lib/binfmt.d/a", "usr/lib/binfmt.d/b", "etc/binfmt.d/b"] {
            write(root, &format!("{path}.conf"), "# a comment\n");
        }
        write(root, "etc/binfmt.d/empty.conf", "");
        symlink("/dev/null", root.join("etc/binfmt.d/c.conf")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        let table = [
            ("usr/lib/binfmt.d/a.conf", Place::Read),
            ("lib/binfmt.d/a.conf", Place::Read),
            ("etc/binfmt.d/a.conf", Place::Read),
            (
                "usr/lib/binfmt.d/b.conf",
                Place::Overridden(root.join("etc/binfmt.d/b.conf")),
            ),
            (
                "usr/lib/binfmt.d/c.conf",
                Place::Overridden(root.join("etc/binfmt.d/c.conf")),
            ),
            ("etc/binfmt.d/c.conf", Place::Masked),
            ("etc/binfmt.d/empty.conf", Place::Masked),
            ("etc/binfmt.d/c", Place::Elsewhere),
            ("run/binfmt.d/c.conf", Place::Elsewhere),
            ("opt/a.conf", Place::Elsewhere),
        ];
        for (path, expected) in table {
            assert_eq!(place(root, &root.join(path)), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn every_line_is_counted_and_no_text_makes_it_panic(text in "([:|#a-z\\\\x/. ]{0,20}\n){0,6}", any: String) {
            let lines = text
                .lines()
                .map(|line| line.trim_matches([' ', '\t']))
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            prop_assert_eq!(parse(&text).len(), lines.count());
            parse(&any);
        }

        #[test]
        fn a_rule_survives_whatever_stands_around_it(before in "[^\n\r\0]{0,30}", after in "[^\n\r\0]{0,30}") {
            let text = format!("{before}\n \t:n:M::x:y:/i:OF\t\n{after}\n");
            let found = parse(&text).into_iter().any(|line| match line {
                Line::Rule(rule) => rule.name == "n" && rule.interpreter == "/i",
                Line::Other(_) => false,
            });
            prop_assert!(found);
        }
    }
}
