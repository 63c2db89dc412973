//! Debian's binfmt-support: a database with a file for each format, which
//! `update-binfmts --enable` registers at boot, after systemd-binfmt.
//!
//! A file has ten lines, one a field, the last four optional. A name that is
//! registered already is passed over; a format that shares its magic with
//! another goes to a detector program, which can't have F. One broken file
//! stops the whole run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::unit::{self, Settings, Unit};
use crate::binfmt::rule::Rule;

/// Its service.
pub const UNIT: &str = "binfmt-support.service";
/// What a format with a detector is registered with.
const DETECTORS: &str = "/usr/lib/binfmt-support/run-detectors";
const DATABASE: &str = "var/lib/binfmts";

/// A format of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// What its rule is called.
    pub name: String,
    /// Type, offset, magic and mask, as they are written.
    spec: [String; 4],
    interpreter: String,
    detector: bool,
    flags: String,
}

/// binfmt-support, where it is installed.
#[derive(Debug, Clone)]
pub struct Support {
    /// What becomes of its service at boot.
    pub unit: Unit,
    /// What its service does.
    pub settings: Settings,
    /// Its database by name.
    pub formats: BTreeMap<PathBuf, Format>,
    /// A file of it that can't be read: then none is registered.
    pub broken: Option<PathBuf>,
}

impl Format {
    /// Reads the text of the file called `name`; `None` where lines are missing.
    pub fn parse(name: &str, text: &str) -> Option<Self> {
        let mut lines = text.lines().map(|line| line.trim_end().to_owned());
        let mut field = || lines.next();
        let _package = field()?;
        let spec = [field()?, field()?, field()?, field()?];
        let interpreter = field()?;
        let detector = !field().unwrap_or_default().is_empty();
        let mut flag = |letter: &'static str| match field().as_deref() {
            Some("yes") => letter,
            _ => "",
        };
        let flags = ["C", "P", "F"].map(&mut flag).concat();
        Some(Self {
            name: name.to_owned(),
            spec,
            interpreter,
            detector,
            flags,
        })
    }

    /// The rule that it becomes beside the others of its database; `None`
    /// where it is by file name, or isn't registered.
    pub fn rule<'a>(&self, mut all: impl Iterator<Item = &'a Self>) -> Option<Rule> {
        let [kind, offset, magic, mask] = &self.spec;
        let detected =
            self.detector || all.any(|other| other.name != self.name && other.spec == self.spec);
        if kind != "magic" || (detected && self.flags.contains('F')) {
            return None;
        }
        let interpreter = match detected {
            true => DETECTORS,
            false => &self.interpreter,
        };
        let Self { name, flags, .. } = self;
        format!(":{name}:M:{offset}:{magic}:{mask}:{interpreter}:{flags}")
            .parse()
            .ok()
    }
}

/// Reads what is installed below `root`.
pub fn read(root: &Path) -> Option<Support> {
    let installed = ["usr/sbin/update-binfmts", "usr/bin/update-binfmts"];
    if !installed.iter().any(|path| root.join(path).exists()) {
        return None;
    }
    let mut support = Support {
        unit: unit::look(root, UNIT, "multi-user.target"),
        settings: unit::settings(root, UNIT),
        formats: BTreeMap::new(),
        broken: None,
    };
    let files = fs::read_dir(root.join(DATABASE));
    for file in files.into_iter().flatten().flatten() {
        let path = file.path();
        if !path.is_file() {
            continue;
        }
        let name = file.file_name().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap_or_default();
        match Format::parse(&name, &String::from_utf8_lossy(&bytes)) {
            Some(format) => drop(support.formats.insert(path, format)),
            None => support.broken = Some(path),
        }
    }
    Some(support)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What Debian 12 keeps of its qemu-user-static.
    const RISCV64: &str = r"qemu-user-static
magic
0
\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00
\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff
/usr/libexec/qemu-binfmt/riscv64-binfmt-P

no
yes
yes
";

    fn format(name: &str, text: &str) -> Format {
        Format::parse(name, text).unwrap()
    }

    #[test]
    fn a_format_becomes_the_rule_that_update_binfmts_registers() {
        let format = format("qemu-riscv64", RISCV64);
        let rule = format.rule([&format].into_iter()).unwrap();
        assert_eq!(rule.name, "qemu-riscv64");
        assert_eq!(
            rule.interpreter,
            "/usr/libexec/qemu-binfmt/riscv64-binfmt-P"
        );
        assert_eq!(rule.flags.to_string(), "PF");
        let riscv64 = crate::platform::TARGETS
            .iter()
            .find(|t| t.name == "riscv64");
        assert!(rule.pattern.matches(riscv64.unwrap().magic));
    }

    #[test]
    fn old_files_lack_the_last_lines_and_broken_ones_more() {
        let head = "p\nmagic\n0\nABC\n\n/i";
        let old = format("old", head);
        assert_eq!(old.rule([&old].into_iter()).unwrap().flags.to_string(), "");
        for broken in ["", "p\nmagic\n0\nABC\n"] {
            assert_eq!(Format::parse("x", broken), None);
        }
    }

    #[test]
    fn formats_that_share_a_magic_go_to_a_detector_unless_they_have_f() {
        let plain = "p\nmagic\n0\nABC\n\n/i\n\n\n\n\n";
        let (one, two) = (format("one", plain), format("two", plain));
        let rule = one.rule([&one, &two].into_iter()).unwrap();
        assert_eq!(rule.interpreter, DETECTORS);
        let fixed = format("fixed", "p\nmagic\n0\nABC\n\n/i\n\n\n\nyes\n");
        assert_eq!(fixed.rule([&one, &fixed].into_iter()), None);
        assert!(fixed.rule([&fixed].into_iter()).is_some());
        let detector = format("own", &plain.replace("/i\n\n", "/i\n/detector\n"));
        assert_eq!(
            detector.rule([&detector].into_iter()).unwrap().interpreter,
            DETECTORS
        );
        let jar = format("jar", &plain.replace("magic", "extension"));
        assert_eq!(jar.rule([&jar].into_iter()), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, lines in "(magic|yes|[ -~]{0,9}\n){0,12}") {
            for text in [text, lines] {
                if let Some(format) = Format::parse("x", &text) {
                    format.rule([&format].into_iter());
                }
            }
        }

        #[test]
        fn six_lines_are_enough_and_five_are_not(fields in proptest::collection::vec("[ -~]{0,9}", 1..12)) {
            let text = fields.join("\n") + "\n";
            prop_assert_eq!(Format::parse("x", &text).is_some(), fields.len() >= 6);
        }
    }
}
