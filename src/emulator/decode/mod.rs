//! One block of an artifact, decoded by itself.
//!
//! The caller has compared the block with its digest ([`verify`]), so the bytes
//! are the pinned ones; still nothing is left to them: output stops at the
//! pinned length, and the memory for it is bounded (`MEMORY`).

mod xz;
mod zstd;

use std::io::{self, Read};

use self::xz::{Checksum, XzBlock};
use self::zstd::ZstdFrames;
use super::manifest::{Block, Encoding};
use crate::digest::Digest;
use crate::error::{Error, Result, Status};

pub(super) use self::xz::{XZ_MAGIC, crc32, xz_header};

/// What a decoder may use. Debian's packages need 9 MiB, `xz -9` 65 MiB.
const MEMORY: u64 = 128 * 1024 * 1024;

const CHUNK: usize = 64 * 1024;

/// Compares a block's compressed bytes with its length and digest.
pub fn verify(block: &Block, compressed: &[u8]) -> Result<()> {
    let differs = |cause: String| {
        let attempt = format!("the block at byte {} isn't the pinned one", block.offset);
        Err(Error::new(Status::Integrity, attempt).because(cause))
    };
    if compressed.len() as u64 != block.length {
        let (expected, found) = (block.length, compressed.len());
        return differs(format!("expected {expected} bytes, found {found}"));
    }
    match Digest::of(compressed) {
        found if found == block.sha256 => Ok(()),
        found => differs(format!("expected sha256 {}, found {found}", block.sha256)),
    }
}

/// Decodes the first `needed` bytes of a verified block into `sink`, piece by
/// piece and in order, and nothing behind them.
///
/// Where that is all of the block, it has to be exactly `block.decoded` bytes.
/// Fewer than needed or more than all are an error ([`Status::Integrity`]), and
/// the sink never gets more. An error of the sink is returned as it is.
pub fn decode(
    encoding: Encoding,
    block: &Block,
    compressed: &[u8],
    needed: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let bad = |cause: String| {
        let attempt = format!("cannot decode the block at byte {}", block.offset);
        Error::new(Status::Integrity, attempt).because(cause)
    };
    let too_long = || bad(format!("it holds more than {} bytes", block.decoded));
    // Its own checksum would take a tenth of the time to repeat what the block's
    // digest has said and those of its emulators are going to say.
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::OutOfMemory => Error::io(
            format!("cannot decode the block at byte {}", block.offset),
            error,
        ),
        _ => bad(error.to_string()),
    };
    let mut reader = open(encoding, compressed, Checksum::Ignored).map_err(unread)?;
    let mut buffer = vec![0; CHUNK];
    let mut left = block.decoded;
    let unneeded = block.decoded.saturating_sub(needed);
    loop {
        let most = match left.saturating_sub(unneeded) {
            0 if unneeded > 0 => return Ok(()),
            // The end of all of it is looked for behind its last byte.
            _ if unneeded == 0 => CHUNK,
            wanted => wanted.min(CHUNK as u64) as usize,
        };
        match reader.read(&mut buffer[..most]) {
            Ok(0) if left == 0 => return Ok(()),
            Ok(0) => {
                let found = block.decoded - left;
                let expected = block.decoded;
                return Err(bad(format!("it holds {found} of {expected} bytes")));
            }
            Ok(n) => {
                left = left.checked_sub(n as u64).ok_or_else(too_long)?;
                sink(&buffer[..n])?;
            }
            Err(error) => return Err(unread(error)),
        }
    }
}

/// A reader of what a block decodes to, however much that is.
pub(super) fn reader(encoding: Encoding, compressed: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    open(encoding, compressed, Checksum::Compared)
}

fn open(
    encoding: Encoding,
    compressed: &[u8],
    checksum: Checksum,
) -> io::Result<Box<dyn Read + '_>> {
    Ok(match encoding {
        Encoding::Xz { check } => Box::new(XzBlock::new(check, compressed, checksum)?),
        Encoding::Zstd => Box::new(ZstdFrames::new(compressed)?),
    })
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

#[cfg(test)]
pub(super) mod tests {
    use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
    use proptest::prelude::*;

    use super::*;

    const XZ: Encoding = Encoding::Xz { check: 4 };

    /// What stands between the stream header and the index of a stream of one block.
    pub(in crate::emulator) fn xz_block(content: &[u8], preset: u32) -> Vec<u8> {
        let options = LzmaOptions::new_preset(preset).unwrap();
        let stream =
            Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc64).unwrap();
        let mut encoder = liblzma::read::XzEncoder::new_stream(content, stream);
        let mut bytes = Vec::new();
        encoder.read_to_end(&mut bytes).unwrap();
        let footer = bytes.len() - 12;
        let backward = u32::from_le_bytes(bytes[footer + 4..footer + 8].try_into().unwrap());
        bytes.truncate(footer - (backward as usize + 1) * 4);
        bytes.split_off(12)
    }

    fn zstd_frame_of(content: &[u8]) -> Vec<u8> {
        ::zstd::encode_all(content, 1).unwrap()
    }

    fn block(compressed: &[u8], decoded: usize) -> Block {
        Block {
            offset: 132,
            length: compressed.len() as u64,
            decoded: decoded as u64,
            sha256: Digest::of(compressed),
        }
    }

    fn decoded(encoding: Encoding, compressed: &[u8], size: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        decode(
            encoding,
            &block(compressed, size),
            compressed,
            size as u64,
            &mut |piece| {
                all.extend_from_slice(piece);
                Ok(())
            },
        )?;
        Ok(all)
    }

    fn content() -> Vec<u8> {
        (0..400_000_u32)
            .flat_map(|n| (n / 3).to_le_bytes())
            .collect()
    }

    #[test]
    fn a_block_decodes_to_exactly_its_content() {
        let content = content();
        let block = xz_block(&content, 6);
        assert!(decoded(XZ, &block, content.len()).unwrap() == content);
        let frame = zstd_frame_of(&content);
        assert!(decoded(Encoding::Zstd, &frame, content.len()).unwrap() == content);
    }

    #[test]
    fn several_zstd_frames_and_skippable_ones_are_one_content() {
        let mut frames = zstd_frame_of(b"one ");
        frames.extend(b"\x50\x2a\x4d\x18\x03\0\0\0abc");
        frames.extend(zstd_frame_of(b""));
        frames.extend(zstd_frame_of(b"two"));
        assert_eq!(decoded(Encoding::Zstd, &frames, 7).unwrap(), b"one two");
    }

    #[test]
    fn more_or_less_than_the_pinned_length_is_an_integrity_error() {
        let content = content();
        for (encoding, bytes) in [
            (XZ, xz_block(&content, 6)),
            (Encoding::Zstd, zstd_frame_of(&content)),
        ] {
            for size in [0, content.len() - 1, content.len() + 1] {
                let error = decoded(encoding, &bytes, size).unwrap_err();
                assert_eq!(error.status(), Status::Integrity);
                assert!(error.reason().contains("it holds"), "{}", error.reason());
            }
        }
    }

    #[test]
    fn the_sink_never_gets_more_than_the_pinned_length() {
        let bomb = xz_block(&vec![0; 64 << 20], 6);
        assert!(bomb.len() < 64 * 1024);
        let mut got = 0;
        let limit = block(&bomb, 1 << 20);
        let error = decode(XZ, &limit, &bomb, 1 << 20, &mut |piece| {
            got += piece.len();
            Ok(())
        });
        assert_eq!(error.unwrap_err().status(), Status::Integrity);
        assert!(got <= 1 << 20);
    }

    #[test]
    fn a_decoder_that_asks_for_too_much_memory_is_refused() {
        // The dictionary's size is one byte of the block header, which has a crc.
        let mut block = xz_block(b"x", 0);
        let length = (usize::from(block[0]) + 1) * 4;
        let at = block[..length]
            .windows(2)
            .position(|w| w == [0x21, 1])
            .unwrap()
            + 2;
        block[at] = 34;
        let crc = crc32(&block[..length - 4]);
        block[length - 4..length].copy_from_slice(&crc.to_le_bytes());
        let error = decoded(XZ, &block, 1).unwrap_err();
        assert!(
            error.reason().contains("bytes to decode"),
            "{}",
            error.reason()
        );

        let frame = b"\x28\xb5\x2f\xfd\x00\x98\x01\0\0";
        let error = decoded(Encoding::Zstd, frame, 1).unwrap_err();
        assert!(
            error.reason().contains("too much memory"),
            "{}",
            error.reason()
        );
    }

    #[test]
    fn what_nobody_needs_of_a_block_is_not_decoded() {
        let content = content();
        let half = content.len() / 2;
        for (encoding, whole) in [
            (XZ, xz_block(&content, 6)),
            (Encoding::Zstd, zstd_frame_of(&content)),
        ] {
            let mut bytes = whole.clone();
            let last = bytes.len() - 1;
            bytes[last - last / 4..].fill(0xff);
            let pinned = block(&bytes, content.len());
            let decoded = |needed: usize| {
                let mut got = Vec::new();
                let sink = &mut |piece: &[u8]| {
                    got.extend_from_slice(piece);
                    Ok(())
                };
                decode(encoding, &pinned, &bytes, needed as u64, sink).map(|()| got)
            };
            for needed in [0, 1, CHUNK, half] {
                assert!(decoded(needed).unwrap() == content[..needed], "{needed}");
            }
            let error = decoded(content.len()).unwrap_err();
            assert_eq!(error.status(), Status::Integrity);
        }
    }

    #[test]
    fn an_error_of_the_sink_comes_back_as_it_is() {
        let bytes = xz_block(b"content", 0);
        let error = decode(XZ, &block(&bytes, 7), &bytes, 7, &mut |_| {
            Err(Error::new(Status::Permission, "cannot write"))
        });
        assert_eq!(error.unwrap_err().line().to_string(), "cannot write");
    }

    #[test]
    fn a_block_is_compared_with_its_length_and_digest() {
        let pinned = block(b"bytes", 5);
        verify(&pinned, b"bytes").unwrap();
        let error = verify(&pinned, b"byteS").unwrap_err();
        assert_eq!(error.status(), Status::Integrity);
        for part in [
            "byte 132".to_owned(),
            pinned.sha256.to_string(),
            Digest::of(b"byteS").to_string(),
        ] {
            assert!(error.reason().contains(&part), "{}", error.reason());
        }
        assert!(verify(&pinned, b"byte").unwrap_err().reason().contains("4"));
    }

    proptest! {
        #[test]
        fn damaged_blocks_never_yield_more_than_asked(
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
            cut in any::<prop::sample::Index>(),
            zstd: bool,
        ) {
            let content = b"some content, some content, some more content".repeat(20);
            let (encoding, mut bytes) = match zstd {
                true => (Encoding::Zstd, zstd_frame_of(&content)),
                false => (XZ, xz_block(&content, 0)),
            };
            *at.get_mut(&mut bytes) ^= 1 << bit;
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(all) = decoded(encoding, &bytes, content.len()) {
                prop_assert_eq!(all.len(), content.len());
            }
        }
    }
}
