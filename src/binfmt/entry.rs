//! An entry as the kernel shows it. Lines and flags that newer kernels add
//! are passed over; what is missing is an error that names it.

use super::rule::{Flags, Pattern};

/// What the names of WSL's own rules begin with.
pub const WSL_INTEROP: &str = "WSLInterop";

/// How an entry recognises a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// By bytes in its header.
    Magic(Pattern),
    /// By the ending of its name, without the dot.
    Extension(String),
    /// In a way that this program doesn't know.
    Other,
}

/// One registered rule, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its file name in the instance; where that isn't UTF-8, only its
    /// likeness, with U+FFFD in it.
    pub name: String,
    /// Whether it is switched on.
    pub enabled: bool,
    /// The interpreter's path as registered; empty where it has none.
    pub interpreter: String,
    /// The flag letters as the kernel shows them.
    pub flags: String,
    /// What it matches.
    pub kind: Kind,
}

/// Why a text isn't an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EntryError {
    #[error("it says neither enabled nor disabled")]
    State,
    #[error("its line '{0}' can't be read")]
    Line(String),
}

impl Entry {
    /// Reads the text of the entry called `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, EntryError> {
        let (state, text) = text.split_once('\n').unwrap_or((text, ""));
        let enabled = match state {
            "enabled" => true,
            "disabled" => false,
            _ => return Err(EntryError::State),
        };
        let (interpreter, lines) = split_interpreter(text);
        let mut entry = Self {
            name: name.to_owned(),
            enabled,
            interpreter: interpreter.to_owned(),
            flags: String::new(),
            kind: Kind::Other,
        };
        let mut offset = 0;
        let mut magic = None;
        let mut mask = None;
        for line in lines.split('\n') {
            let bad = || EntryError::Line(line.to_owned());
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "flags:" => entry.flags = value.trim().to_owned(),
                "extension" => {
                    let ending = value.strip_prefix('.').unwrap_or(value);
                    entry.kind = Kind::Extension(ending.to_owned());
                }
                "offset" => offset = value.parse().map_err(|_| bad())?,
                "magic" => magic = Some(from_hex(value).ok_or_else(bad)?),
                "mask" => mask = Some(from_hex(value).ok_or_else(bad)?),
                _ => {}
            }
        }
        if let Some(magic) = magic {
            entry.kind = Kind::Magic(Pattern {
                offset,
                magic,
                mask,
            });
        }
        Ok(entry)
    }

    /// Whether it can be removed by its name: a likeness may be another's name.
    pub fn has_exact_name(&self) -> bool {
        !self.name.contains(char::REPLACEMENT_CHARACTER)
    }

    /// Whether it is one of WSL's own.
    pub fn is_wsls(&self) -> bool {
        is_wsls(&self.name)
    }

    /// The flags that this program understands.
    pub fn known_flags(&self) -> Flags {
        Flags::from_letters(&self.flags)
    }

    /// Whether a file that starts with `header` is this entry's, switched on or not.
    pub fn matches(&self, header: &[u8]) -> bool {
        matches!(&self.kind, Kind::Magic(pattern) if pattern.matches(header))
    }
}

/// Whether a rule of this name is one of WSL's own, which start Windows programs
/// in all of its distributions: `WSLInterop`, `WSLInterop-late`.
pub fn is_wsls(name: &str) -> bool {
    name.starts_with(WSL_INTEROP)
}

/// The interpreter's path and the lines behind it. A path may have line breaks
/// and look like those lines; the last flags are the kernel's own.
fn split_interpreter(text: &str) -> (&str, &str) {
    let Some(rest) = text.strip_prefix("interpreter ") else {
        return ("", text);
    };
    rest.rfind("\nflags: ")
        .or_else(|| rest.find('\n'))
        .map_or((rest, ""), |end| (&rest[..end], &rest[end + 1..]))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .chars()
        .map(|c| c.to_digit(16))
        .collect::<Option<Vec<u32>>>()?;
    (digits.len() % 2 == 0).then(|| {
        digits
            .chunks_exact(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: POF\noffset 0\nmagic 7f454c46\nmask ffffff00\n";

    #[test]
    fn the_kernels_text_is_read() {
        let entry = Entry::parse("qemu-aarch64", TEXT).unwrap();
        assert!(entry.enabled);
        assert_eq!(entry.interpreter, "/usr/bin/qemu-aarch64");
        assert_eq!(entry.known_flags().to_string(), "POF");
        assert!(entry.matches(b"\x7fELX"));
        assert!(!entry.matches(b"#!/bin/sh"));
    }

    #[test]
    fn lines_and_flags_of_newer_kernels_are_passed_over() {
        let text = "disabled\nbpf some_program\nflags: TLD\nsomething new\n";
        let entry = Entry::parse("x", text).unwrap();
        assert!(!entry.enabled);
        assert_eq!(entry.kind, Kind::Other);
        assert_eq!(entry.flags, "TLD");
    }

    #[test]
    fn an_extension_entry_matches_no_header() {
        let text = "enabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n";
        let entry = Entry::parse("wine", text).unwrap();
        assert_eq!(entry.kind, Kind::Extension("exe".to_owned()));
        assert!(!entry.matches(b"\x7fELF"));
        let odd = Entry::parse("wine", &text.replace(".exe", ".exe\r")).unwrap();
        assert_eq!(odd.kind, Kind::Extension("exe\r".to_owned()));
    }

    #[test]
    fn a_path_that_looks_like_an_entry_forges_nothing() {
        let path = "/a\nflags: C\nmagic 00\nb";
        let text = TEXT.replace("/usr/bin/qemu-aarch64", path);
        let entry = Entry::parse("x", &text).unwrap();
        assert_eq!(entry.interpreter, path);
        assert_eq!(entry.flags, "POF");
        assert!(entry.matches(b"\x7fELX"));
    }

    #[test]
    fn broken_texts_are_errors() {
        assert_eq!(Entry::parse("x", ""), Err(EntryError::State));
        for line in ["offset many", "magic 7f4", "magic 7g", "mask zz"] {
            let text = format!("enabled\n{line}\n");
            assert_eq!(
                Entry::parse("x", &text),
                Err(EntryError::Line(line.to_owned()))
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(enabled|disabled)\n(.*\n){0,6}", header: Vec<u8>) {
            if let Ok(entry) = Entry::parse("x", &text) {
                entry.matches(&header);
            }
        }

        #[test]
        fn an_entry_reads_back_from_the_kernels_form_of_it(
            interpreter in "/[^\0]{0,20}",
            flags in "P?O?C?F?",
            offset in 0..200_usize,
            magic in prop::collection::vec(any::<u8>(), 1..20),
        ) {
            let hex: String = magic.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = format!(
                "disabled\ninterpreter {interpreter}\nflags: {flags}\noffset {offset}\nmagic {hex}\n"
            );
            let entry = Entry::parse("x", &text).unwrap();
            prop_assert_eq!((&entry.interpreter, &entry.flags), (&interpreter, &flags));
            let mask = None;
            prop_assert_eq!(entry.kind, Kind::Magic(Pattern { offset, magic, mask }));
        }
    }
}
