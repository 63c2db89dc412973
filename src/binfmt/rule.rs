//! A rule as it is written to the kernel: `:name:M:offset:magic:mask:interpreter:flags`.
//!
//! Parsing and rendering are pure. Every byte of magic and mask is escaped
//! (a raw NUL would cut the magic short without a word), and a line that the
//! kernel would refuse or misread is an error here.

use std::fmt;
use std::str::FromStr;

/// The kernel's longest register line.
const MAX_LINE: usize = 1920;
/// How many bytes of a file the kernel looks at (`BINPRM_BUF_SIZE`).
pub const HEADER_LEN: usize = 256;

/// The flags that this program sets and understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// P: `argv[0]` is kept.
    pub preserve_argv0: bool,
    /// O: the emulator gets an open file descriptor of the program.
    pub open_binary: bool,
    /// C: credentials are those of the program (set-user-id works, and QEMU runs as root).
    pub credentials: bool,
    /// F: the emulator is opened at registration and works in every root.
    pub fix_binary: bool,
}

impl fmt::Display for Flags {
    /// In the kernel's own order, `POCF`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (self.preserve_argv0, "P"),
            (self.open_binary, "O"),
            (self.credentials, "C"),
            (self.fix_binary, "F"),
        ];
        letters
            .iter()
            .filter(|(set, _)| *set)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl Flags {
    /// Reads flag letters; ones that this program doesn't know are left out.
    pub fn from_letters(letters: &str) -> Self {
        Self {
            preserve_argv0: letters.contains('P'),
            // The kernel makes C imply O.
            open_binary: letters.contains('O') || letters.contains('C'),
            credentials: letters.contains('C'),
            fix_binary: letters.contains('F'),
        }
    }
}

/// What the kernel looks for in a file's first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Where the magic lies, in bytes.
    pub offset: usize,
    /// The bytes looked for.
    pub magic: Vec<u8>,
    /// The bits that count; `None` means all.
    pub mask: Option<Vec<u8>>,
}

impl Pattern {
    /// Whether a file that starts with `header` matches, as the kernel decides
    /// it: a short file is padded with zeros.
    pub fn matches(&self, header: &[u8]) -> bool {
        if self.end() > HEADER_LEN {
            return false;
        }
        self.magic.iter().enumerate().all(|(i, magic)| {
            let byte = header.get(self.offset + i).copied().unwrap_or(0);
            let mask = match &self.mask {
                Some(mask) => mask.get(i).copied().unwrap_or(0xff),
                None => 0xff,
            };
            (byte ^ magic) & mask == 0
        })
    }

    /// What comes behind the last byte looked for, in a file that has so many.
    fn end(&self) -> usize {
        self.offset.saturating_add(self.magic.len())
    }

    /// Whether some file matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let bits = |pattern: &Self, at: usize| {
            let i = at.checked_sub(pattern.offset)?;
            let magic = *pattern.magic.get(i)?;
            let mask = pattern
                .mask
                .as_ref()
                .map_or(Some(&0xff), |mask| mask.get(i));
            Some((magic, mask.copied().unwrap_or(0xff)))
        };
        (self.offset..self.end()).all(|at| match (bits(self, at), bits(other, at)) {
            (Some((a, mask_a)), Some((b, mask_b))) => (a ^ b) & mask_a & mask_b == 0,
            _ => true,
        })
    }
}

/// A rule of this program: by magic, with an interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The entry's name, `qemu-aarch64`.
    pub name: String,
    /// What it matches.
    pub pattern: Pattern,
    /// The emulator's absolute path.
    pub interpreter: String,
    /// How the kernel starts it.
    pub flags: Flags,
}

/// Why a line isn't a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RuleError {
    #[error("a rule has seven fields, this has {0}")]
    Fields(usize),
    #[error("the rule's name '{0}' is empty, too long, or has a '/'")]
    Name(String),
    #[error("only rules by magic (type M) are supported, not '{0}'")]
    Type(String),
    #[error("'{0}' is not an offset below 256")]
    Offset(String),
    #[error("the magic is empty, or not made of \\xHH and plain characters")]
    Magic,
    #[error("the mask is not made of \\xHH, or not as long as the magic")]
    Mask,
    #[error("the interpreter '{0}' is not an absolute path")]
    Interpreter(String),
    #[error("a line break or a NUL would cut the rule in two")]
    Break,
    #[error("unknown flags '{0}'")]
    Flags(String),
    #[error("the line would be {0} bytes long; the kernel takes {MAX_LINE}")]
    TooLong(usize),
    #[error("every delimiter that the kernel would take occurs in '{0}'")]
    Delimiter(String),
}

impl Rule {
    /// The line that registers this rule, without a newline.
    pub fn line(&self) -> Result<String, RuleError> {
        // The delimiter must not occur in a field; a '#' or ';' would make a
        // comment of the line in systemd's files.
        let delimiter = [':', '|', '%', '!', '~', ',']
            .into_iter()
            .find(|d| !self.interpreter.contains(*d) && !self.name.contains(*d))
            .ok_or_else(|| RuleError::Delimiter(self.interpreter.clone()))?;
        let fields = [
            String::new(),
            self.name.clone(),
            "M".to_owned(),
            match self.pattern.offset {
                0 => String::new(),
                offset => offset.to_string(),
            },
            escape(&self.pattern.magic),
            self.pattern.mask.as_deref().map(escape).unwrap_or_default(),
            self.interpreter.clone(),
            self.flags.to_string(),
        ];
        let line = fields.join(&delimiter.to_string());
        if is_broken(&line) {
            return Err(RuleError::Break);
        }
        match line.len() {
            ..=MAX_LINE => Ok(line),
            length => Err(RuleError::TooLong(length)),
        }
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    /// Reads a line in the kernel's format, as systemd's files hold it.
    fn from_str(line: &str) -> Result<Self, RuleError> {
        if is_broken(line) {
            return Err(RuleError::Break);
        }
        let delimiter = line.chars().next().ok_or(RuleError::Fields(0))?;
        let fields: Vec<&str> = line[delimiter.len_utf8()..].split(delimiter).collect();
        let [name, kind, offset, magic, mask, interpreter, flags] = fields[..] else {
            return Err(RuleError::Fields(fields.len()));
        };
        if !is_entry_name(name) {
            return Err(RuleError::Name(name.to_owned()));
        }
        if kind != "M" {
            return Err(RuleError::Type(kind.to_owned()));
        }
        let offset = match offset {
            "" => 0,
            text => text
                .parse()
                .map_err(|_| RuleError::Offset(text.to_owned()))?,
        };
        let magic = unescape(magic)
            .filter(|magic| !magic.is_empty())
            .ok_or(RuleError::Magic)?;
        if magic.len() > HEADER_LEN || offset > HEADER_LEN - magic.len() {
            return Err(RuleError::Offset(offset.to_string()));
        }
        let mask = match mask {
            "" => None,
            text => Some(
                unescape(text)
                    .filter(|mask| mask.len() == magic.len())
                    .ok_or(RuleError::Mask)?,
            ),
        };
        if !interpreter.starts_with('/') {
            return Err(RuleError::Interpreter(interpreter.to_owned()));
        }
        if !flags.chars().all(|flag| "POCF".contains(flag)) {
            return Err(RuleError::Flags(flags.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            pattern: Pattern {
                offset,
                magic,
                mask,
            },
            interpreter: interpreter.to_owned(),
            flags: Flags::from_letters(flags),
        })
    }
}

/// Whether the kernel takes it as the name of an entry.
pub fn is_entry_name(name: &str) -> bool {
    !matches!(name, "" | "." | ".." | "register" | "status")
        && !name.contains(['/', '\0', '\n'])
        && name.len() <= 255
}

/// Whether a line isn't one: to systemd it ends at any of these, and to the
/// kernel a NUL is the end of a field.
fn is_broken(line: &str) -> bool {
    line.contains(['\0', '\n', '\r'])
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// `\xHH` and plain characters to bytes; `None` for a broken escape.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digit = |c: &u8| char::from(*c).to_digit(16);
                bytes.push((digit(high)? << 4 | digit(low)?) as u8);
                rest = after;
            }
            (b'\\', _) => return None,
            (plain, after) => {
                bytes.push(*plain);
                rest = after;
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> Rule {
        Rule {
            name: "qemu-test".to_owned(),
            pattern: Pattern {
                offset: 0,
                magic: b"\x7fELF\0:".to_vec(),
                mask: Some(vec![0xff; 6]),
            },
            interpreter: "/opt/emulator".to_owned(),
            flags: Flags {
                preserve_argv0: true,
                open_binary: true,
                credentials: false,
                fix_binary: true,
            },
        }
    }

    #[test]
    fn every_byte_is_escaped_and_flags_stand_in_the_kernels_order() {
        assert_eq!(
            rule().line().unwrap(),
            r":qemu-test:M::\x7f\x45\x4c\x46\x00\x3a:\xff\xff\xff\xff\xff\xff:/opt/emulator:POF"
        );
    }

    #[test]
    fn a_line_reads_back_as_the_rule_also_with_another_delimiter() {
        let mut odd = rule();
        odd.interpreter = "/opt/a:b".to_owned();
        odd.pattern.offset = 7;
        for rule in [rule(), odd] {
            assert_eq!(rule.line().unwrap().parse(), Ok(rule));
        }
    }

    #[test]
    fn lines_that_the_kernel_would_refuse_or_misread_are_errors() {
        use RuleError::*;
        let table = [
            ("", Fields(0)),
            (":a:M::x:", Fields(5)),
            (":a/b:M::x::/i:F", Name("a/b".into())),
            (":register:M::x::/i:F", Name("register".into())),
            (":a:E::x::/i:F", Type("E".into())),
            (":a:M:-1:x::/i:F", Offset("-1".into())),
            (":a:M:256:x::/i:F", Offset("256".into())),
            (
                ":a:M:18446744073709551615:xx::/i:F",
                Offset("18446744073709551615".into()),
            ),
            (":a:M::::/i:F", Magic),
            (r":a:M::\y00::/i:F", Magic),
            (r":a:M::\x0::/i:F", Magic),
            (r":a:M::xx:\xff:/i:F", Mask),
            (":a:M::x::i:F", Interpreter("i".into())),
            (":a:M::x::/i:Z", Flags("Z".into())),
            // systemd's lines end there, and the kernel's text.
            (":a:M::x::/i\r:F", Break),
            (":a:M::x::/i\0j:F", Break),
            (":a\n:M::x::/i:F", Break),
        ];
        for (line, error) in table {
            assert_eq!(line.parse::<Rule>(), Err(error), "{line}");
        }
        let mut long = rule();
        long.interpreter = format!("/{}", "x".repeat(2000));
        assert!(matches!(long.line(), Err(TooLong(_))));
        for end in ['\r', '\n', '\0'] {
            let mut broken = rule();
            broken.interpreter.push(end);
            assert_eq!(broken.line(), Err(Break));
        }
    }

    #[test]
    fn matching_is_the_kernels() {
        let pattern = Pattern {
            offset: 2,
            magic: vec![0x0f, 0x00],
            mask: Some(vec![0x0f, 0xff]),
        };
        assert!(pattern.matches(&[9, 9, 0xff, 0]));
        assert!(pattern.matches(&[9, 9, 0x1f]), "a short file is padded");
        assert!(!pattern.matches(&[9, 9, 0xf0, 0]));
        assert!(!pattern.matches(&[]));
        let far = Pattern {
            offset: usize::MAX,
            ..pattern.clone()
        };
        assert!(!far.matches(&[0x0f; 256]));
    }

    #[test]
    fn a_pattern_that_no_file_can_match_matches_none() {
        let far = Pattern {
            offset: usize::MAX,
            magic: vec![0, 0],
            mask: None,
        };
        assert!(!far.matches(&[0; HEADER_LEN]));
        assert!(far.overlaps(&far));
    }

    proptest! {
        #[test]
        fn a_rule_that_can_be_written_reads_back_as_itself(
            name in "\\PC{1,12}",
            interpreter in "/\\PC{0,24}",
            offset in 0..300_usize,
            magic in prop::collection::vec(any::<u8>(), 1..130),
            masked: bool,
            flags in "P?O?C?F?",
        ) {
            let mask = masked.then(|| magic.iter().map(|byte| !byte).collect());
            let flags = Flags::from_letters(&flags);
            let pattern = Pattern { offset, magic, mask };
            let rule = Rule { name, pattern, interpreter, flags };
            let fits = is_entry_name(&rule.name) && rule.pattern.end() <= HEADER_LEN;
            if let Ok(line) = rule.line() {
                prop_assert!(line.len() <= MAX_LINE);
                prop_assert_eq!(line.parse().ok(), fits.then_some(rule));
            }
        }

        #[test]
        fn no_line_makes_it_panic(line in ":(a|[^:]{0,3}):M?:[0-9]{0,22}:\\PC{0,9}:\\PC{0,9}:/?[^:]{0,3}:[A-Z]{0,2}") {
            if let Ok(rule) = line.parse::<Rule>() {
                prop_assert!(rule.pattern.end() <= HEADER_LEN);
                prop_assert_eq!(rule.line().and_then(|line| line.parse()), Ok(rule));
            }
        }
    }
}
