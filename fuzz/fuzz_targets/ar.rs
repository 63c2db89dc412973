#![no_main]
//! The outer form of a package, and its control file.

use binfmtctl::emulator::lock::fuzzing::{control, members};
use binfmtctl_fuzz::{choice, memory, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (kind, rest) = choice(bytes);
    memory::within(4096 + 8 * bytes.len(), || {
        if kind % 4 == 0 {
            let text = text(rest);
            if let Ok(fields) = control(&text) {
                assert!(fields.iter().all(|field| text.contains(field.as_str())));
            }
            return;
        }
        let Ok([control, data]) = members(rest) else {
            return;
        };
        for (offset, member) in [control, data] {
            assert!(std::ptr::eq(&rest[offset..][..member.len()], member));
        }
        assert!(control.0 >= 8 + 60 + 4 + 60);
        assert!(data.0 >= control.0 + control.1.len() + 60);
        // Nothing of the last member is left to guess.
        let end = data.0 + data.1.len();
        assert!(
            members(&rest[..end - usize::from(!data.1.is_empty())]).is_err() || data.1.is_empty()
        );
    });
});
