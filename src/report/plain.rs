//! Words of others in lines of ours: names of rules, paths and what programs
//! say may hold anything. What would end a line, move the cursor or turn the
//! text around is shown as an escape; nothing else is changed.

use std::fmt::Write;

/// The text without a character that a terminal would obey.
pub fn visible(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a String can't fail.
        let _ = match c {
            '\n' => plain.write_str("\\n"),
            '\r' => plain.write_str("\\r"),
            '\t' => plain.write_str("\\t"),
            c if c.is_ascii_control() => write!(plain, "\\x{:02x}", u32::from(c)),
            c if c.is_control() || is_invisible(c) => write!(plain, "{}", c.escape_unicode()),
            c => plain.write_char(c),
        };
    }
    plain
}

/// Line ends beyond ASCII, and what changes the direction or the width of
/// other characters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(
            visible("a\n\x1b[2J\u{9b}\u{202e}b\\"),
            r"a\n\x1b[2J\u{9b}\u{202e}b\"
        );
        assert_eq!(visible("/opt/ä 中/qemu"), "/opt/ä 中/qemu");
    }

    proptest! {
        #[test]
        fn every_text_becomes_one_line(text: String) {
            let line = visible(&text);
            prop_assert!(!line.contains(|c: char| c.is_control() || is_invisible(c)));
        }
    }
}
