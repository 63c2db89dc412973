#![no_main]
//! The index of an xz stream: as it is, and with the checksums that it has to have.

use binfmtctl::emulator::lock::fuzzing::blocks;
use binfmtctl_fuzz::{choice, memory, xz};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (kind, rest) = choice(bytes);
    let stream = match kind {
        0 => rest.to_vec(),
        // The blocks aren't looked at.
        kind => xz::stream(&vec![0; usize::from(kind) * 4], rest),
    };
    let Ok(found) = memory::within(4096 + 64 * bytes.len(), || blocks(&stream)) else {
        return;
    };
    let mut end = 12;
    for (range, _) in &found {
        assert!(range.start == end && range.end > range.start);
        end = range.end;
    }
    assert!(end + 8 + 12 <= stream.len());
});
