#![no_main]
//! What a package's tar files hold, by recipe and as they are; checksums are mended.

use std::sync::LazyLock;

use binfmtctl::digest::Digest;
use binfmtctl::emulator::elf;
use binfmtctl::emulator::lock::fuzzing::{control_file, emulators};
use binfmtctl::platform::Platform;
use binfmtctl::probe::{Shape, elf::image};
use binfmtctl_fuzz::{choice, memory, tar};
use libfuzzer_sys::fuzz_target;

static HOST: LazyLock<&Platform> = LazyLock::new(|| Platform::by_emulator("x86_64").unwrap());
static PROGRAM: LazyLock<Vec<u8>> = LazyLock::new(|| image(HOST.target(), b"code", Shape::Usual));

fuzz_target!(|bytes: &[u8]| {
    let (kind, rest) = choice(bytes);
    let tar = match kind & 1 {
        0 => tar::make(rest, &PROGRAM),
        _ => {
            let mut tar = rest.to_vec();
            tar::mend(&mut tar);
            tar
        }
    };
    memory::within(256 * 1024 + 16 * tar.len(), || {
        if kind & 6 == 6 {
            if let Ok(text) = control_file(&tar) {
                assert!(
                    tar.windows(text.len().max(1))
                        .any(|part| part == text.as_bytes())
                        || text.is_empty()
                );
            }
            return;
        }
        let Ok(found) = emulators(&tar, &HOST) else {
            return;
        };
        assert!(!found.is_empty());
        let mut end = 0;
        for emulator in &found {
            assert!(emulator.offset >= end + 512, "two lie in one another");
            end = emulator.offset + emulator.size;
            let bytes = &tar[emulator.offset as usize..end as usize];
            assert_eq!(Digest::of(bytes), emulator.sha256);
            assert_eq!(elf::check(bytes, &HOST), Ok(()));
            assert!(emulator.platform().is_some());
        }
    });
});
