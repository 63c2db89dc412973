#![no_main]
//! The conf file, and others' lines beside it.

use binfmtctl::binfmt::boot::{binfmt_d, support::Format, unit};
use binfmtctl::binfmt::{Rule, conf};
use binfmtctl_fuzz::{choice, memory, text};
use libfuzzer_sys::fuzz_target;

/// What holds of every rule that was read.
fn sound(rule: &Rule) {
    let pattern = &rule.pattern;
    assert!(!pattern.magic.is_empty());
    assert!(pattern.offset <= 256 && pattern.offset + pattern.magic.len() <= 256);
    assert!(
        pattern
            .mask
            .as_ref()
            .is_none_or(|mask| mask.len() == pattern.magic.len())
    );
    assert!(rule.interpreter.starts_with('/'));
    let header = [vec![0; pattern.offset], pattern.magic.clone()].concat();
    assert!(pattern.matches(&header) && pattern.overlaps(pattern));
    // The kernel would cut it at the first, systemd at the others.
    assert!(!rule.interpreter.contains(['\0', '\n', '\r']));
    if let Ok(line) = rule.line() {
        assert!(line.len() <= 1920 && !line.contains(['\0', '\n', '\r']));
        assert_eq!(line.parse().as_ref(), Ok(rule));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (kind, rest) = choice(bytes);
    let text = text(rest);
    memory::within(16 * 1024 + 128 * bytes.len(), || match kind % 8 {
        0 => drop(unit::parse(&text)),
        1 => {
            if let Some(format) = Format::parse("x", &text) {
                format.rule(std::iter::once(&format)).iter().for_each(sound);
            }
        }
        2 | 3 => {
            for line in binfmt_d::parse(&text) {
                if let binfmt_d::Line::Rule(rule) = line {
                    sound(&rule);
                }
            }
        }
        _ => match conf::parse(&text) {
            Ok(rules) => {
                rules.iter().for_each(sound);
                if let Ok(text) = conf::render(&rules) {
                    assert_eq!(conf::parse(&text), Ok(rules));
                }
            }
            Err(error) => assert!((1..=text.lines().count()).contains(&error.line)),
        },
    });
});
