//! Words of others in lines of ours: what programs, the kernel and paths say,
//! made fit for one line of a terminal or of a shell.

use std::path::Path;

use super::rules::quoted;

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

/// A path as one word of a shell command.
pub fn word(path: &Path) -> String {
    quoted(&path.to_string_lossy())
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

    proptest! {
        #[test]
        fn every_text_becomes_one_line(text: String) {
            let line = plain(&text);
            prop_assert!(!line.contains(char::is_control));
            prop_assert!(line.chars().count() <= ENOUGH + 3);
        }
    }
}
