#![no_main]
//! zstd frames.

use std::sync::LazyLock;

use binfmtctl::digest::Digest;
use binfmtctl::emulator::decode::decode;
use binfmtctl::emulator::manifest::{Block, Encoding};
use binfmtctl::error::Status;
use binfmtctl_fuzz::{choice, memory};
use libfuzzer_sys::fuzz_target;

static ANY: LazyLock<Digest> = LazyLock::new(|| Digest::of(b""));

fuzz_target!(|bytes: &[u8]| {
    let (size, frames) = choice(bytes);
    let decoded = u64::from(size & 0x7f) * 256;
    let block = Block {
        offset: 0,
        length: frames.len() as u64,
        decoded,
        sha256: *ANY,
    };
    let needed = match size & 0x80 {
        0 => decoded,
        _ => decoded / 2,
    };
    let mut got = 0;
    let sink = &mut |piece: &[u8]| {
        got += piece.len() as u64;
        Ok(())
    };
    let done = memory::within(1 << 20, || {
        decode(Encoding::Zstd, &block, frames, needed, sink)
    });
    match done {
        Ok(()) => assert_eq!(got, needed),
        Err(error) => {
            assert_eq!(error.status(), Status::Integrity);
            assert!(got <= decoded);
        }
    }
});
