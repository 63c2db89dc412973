#![no_main]
//! A block of an xz stream.

use std::sync::LazyLock;

use binfmtctl::digest::Digest;
use binfmtctl::emulator::decode::decode;
use binfmtctl::emulator::manifest::{Block, Encoding};
use binfmtctl::error::Status;
use binfmtctl_fuzz::{choice, memory, xz};
use libfuzzer_sys::fuzz_target;

static ANY: LazyLock<Digest> = LazyLock::new(|| Digest::of(b""));

fuzz_target!(|bytes: &[u8]| {
    let (kind, rest) = choice(bytes);
    let (size, rest) = choice(rest);
    let mut compressed = rest.to_vec();
    if kind & 1 == 0 {
        xz::mend_block(&mut compressed);
    }
    let decoded = u64::from(size) * 64;
    let block = Block {
        offset: 0,
        length: compressed.len() as u64,
        decoded,
        sha256: *ANY,
    };
    let needed = match kind & 2 {
        0 => decoded,
        _ => decoded / 2,
    };
    let check = [0, 1, 4, 10][usize::from(kind >> 2 & 3)];
    let mut got = 0;
    let sink = &mut |piece: &[u8]| {
        got += piece.len() as u64;
        Ok(())
    };
    let encoding = Encoding::Xz { check };
    // What liblzma asks for isn't counted here; it has a limit of its own.
    let done = memory::within(256 * 1024, || {
        decode(encoding, &block, &compressed, needed, sink)
    });
    match done {
        Ok(()) => assert_eq!(got, needed),
        Err(error) => {
            assert_eq!(error.status(), Status::Integrity);
            assert!(got <= decoded);
        }
    }
});
