//! Words of others in lines of ours: what programs, the kernel and paths say,
//! made fit for one line of a terminal or of a shell.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// As much of somebody's words as anybody reads.
const ENOUGH: usize = 300;

/// Somebody's text as one line, without control characters, and not too long.
pub fn plain(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// A text as one word of a shell command: somebody will paste it.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-/".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// An option of this program's with its value, and a space before it. A value
/// that begins with a dash would be taken for another option.
pub fn option(name: &str, value: &str) -> String {
    let link = if value.starts_with('-') { "=" } else { " " };
    format!(" {name}{link}{}", quoted(value))
}

/// A path as one word of a shell command.
pub fn word(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A path out of a text of the kernel's, which writes space, tab, newline and
/// backslash as three octal digits.
pub fn unescaped(path: &Path) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = path.as_os_str().as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(word(Path::new("/opt/binfmtctl")), "/opt/binfmtctl");
        assert_eq!(word(Path::new("/a b;c")), "'/a b;c'");
    }

    #[test]
    fn what_the_kernel_escapes_is_read_back() {
        let escaped = Path::new(r"/a\040b\134\09\1");
        assert_eq!(unescaped(escaped), Path::new(r"/a b\\09\1"));
    }

    #[test]
    fn no_value_is_taken_for_an_option() {
        assert_eq!(option("--foreign", "-x"), " --foreign=-x");
        assert_eq!(option("--foreign", "a b"), " --foreign 'a b'");
        assert_eq!(option("--conf", ""), " --conf ''");
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(text: String) {
            unescaped(Path::new(&text));
        }

        #[test]
        fn every_text_becomes_one_line(text: String) {
            let line = plain(&text);
            prop_assert!(!line.contains(char::is_control));
            prop_assert!(line.chars().count() <= ENOUGH + 3);
        }
    }
}
