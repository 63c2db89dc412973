#![no_main]
//! An entry as the kernel shows it.

use binfmtctl::binfmt::entry::{Entry, Kind};
use binfmtctl_fuzz::{memory, text};
use libfuzzer_sys::fuzz_target;

/// As fs/binfmt_misc.c prints it.
fn print(entry: &Entry) -> String {
    let state = if entry.enabled { "enabled" } else { "disabled" };
    let Entry {
        interpreter, flags, ..
    } = entry;
    let mut text = format!("{state}\ninterpreter {interpreter}\nflags: {flags}\n");
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    match &entry.kind {
        Kind::Magic(pattern) => {
            text += &format!("offset {}\nmagic {}\n", pattern.offset, hex(&pattern.magic));
            if let Some(mask) = &pattern.mask {
                text += &format!("mask {}\n", hex(mask));
            }
        }
        Kind::Extension(ending) => text += &format!("extension .{ending}\n"),
        Kind::Other => {}
    }
    text
}

fuzz_target!(|bytes: &[u8]| {
    let text = text(bytes);
    let parse = || Entry::parse("qemu-x", &text);
    let Ok(entry) = memory::within(1024 + 8 * bytes.len(), parse) else {
        return;
    };
    entry.known_flags();
    assert!(text.contains(&entry.interpreter) && text.contains(&entry.flags));
    if let Kind::Magic(pattern) = &entry.kind {
        let matched = entry.matches(bytes);
        assert!(!matched || pattern.offset + pattern.magic.len() <= 256);
        assert!(pattern.overlaps(pattern) || pattern.offset + pattern.magic.len() > 256);
    } else {
        assert!(!entry.matches(bytes));
    }
    // What could be the kernel's own text reads back as the same entry.
    if !entry.flags.contains('\n') {
        assert_eq!(Entry::parse("qemu-x", &print(&entry)), Ok(entry));
    }
});
