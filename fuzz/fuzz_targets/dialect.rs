#![no_main]
//! The command lines of the two other programs, up to where they would be carried out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use binfmtctl::dialect::fuzzing::order;
use binfmtctl::dialect::{Dialect, recognise};
use binfmtctl::error::Status;
use binfmtctl_fuzz::{choice, memory};
use libfuzzer_sys::fuzz_target;

const PROGRAMS: [&str; 4] = [
    "binfmtctl",
    "/usr/bin/binfmt",
    "register",
    "qemu-binfmt-conf.sh",
];

fuzz_target!(|bytes: &[u8]| {
    let (kind, rest) = choice(bytes);
    let args: Vec<OsString> = match rest {
        [] => Vec::new(),
        rest => rest
            .split(|byte| *byte == b'\n')
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect(),
    };
    let program = OsString::from(PROGRAMS[usize::from(kind) % 4]);
    let dialect = match kind & 0x1c {
        0 => recognise(&program, &args),
        4 | 12 | 20 => Some(Dialect::Multiarch),
        _ => Some(Dialect::Tonistiigi),
    };
    let Some(dialect) = dialect else {
        return;
    };
    let limit = 256 * 1024 + 2048 * bytes.len();
    match memory::within(limit, || order(dialect, &args)) {
        Ok(None) => {}
        Ok(Some(order)) => {
            let text = String::from_utf8_lossy(rest).to_lowercase();
            assert!(
                order
                    .unknown
                    .iter()
                    .all(|unknown| text.contains(&unknown.name))
            );
        }
        Err(error) => {
            assert_eq!(error.status(), Status::Usage);
            assert!(!error.reason().is_empty());
        }
    }
});
