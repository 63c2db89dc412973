//! One block of an artifact, decoded by itself.
//!
//! The caller has compared the block with its digest ([`verify`]), so the bytes
//! are the pinned ones; still nothing is left to them: output stops at the
//! pinned length, and the memory for it is bounded ([`MEMORY`]).
//!
//! A block of an xz stream becomes a stream that liblzma reads by putting a
//! stream header before it; the decoder is left where the index would follow.

use std::io::{self, Read};

use liblzma::stream::{Action, Status as Progress, Stream};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::manifest::{Block, Encoding};
use crate::digest::Digest;
use crate::error::{Error, Result, Status};

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

/// Decodes one verified block into `sink`, piece by piece and in order.
///
/// The pieces are exactly `block.decoded` bytes, or it is an error
/// ([`Status::Integrity`]); never more than that. An error of the sink is
/// returned as it is.
pub fn decode(
    encoding: Encoding,
    block: &Block,
    compressed: &[u8],
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let bad = |cause: String| {
        let attempt = format!("cannot decode the block at byte {}", block.offset);
        Error::new(Status::Integrity, attempt).because(cause)
    };
    let too_long = || bad(format!("it holds more than {} bytes", block.decoded));
    let mut reader = reader(encoding, compressed).map_err(|error| bad(error.to_string()))?;
    let mut buffer = vec![0; CHUNK];
    let mut left = block.decoded;
    loop {
        match reader.read(&mut buffer) {
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
            Err(error) => return Err(bad(error.to_string())),
        }
    }
}

/// A reader of what a block decodes to, however much that is.
pub(super) fn reader(encoding: Encoding, compressed: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    Ok(match encoding {
        Encoding::Xz { check } => Box::new(XzBlock::new(check, compressed)?),
        Encoding::Zstd => Box::new(ZstdFrames {
            rest: compressed,
            frame: None,
        }),
    })
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// The magic bytes that an xz stream begins with.
pub(super) const XZ_MAGIC: [u8; 6] = *b"\xfd7zXZ\0";

/// The 12 bytes before the first block of an xz stream.
pub(super) fn xz_header(check: u8) -> [u8; 12] {
    let flags = [0, check];
    let mut header = [0; 12];
    header[..6].copy_from_slice(&XZ_MAGIC);
    header[6..8].copy_from_slice(&flags);
    header[8..].copy_from_slice(&crc32(&flags).to_le_bytes());
    header
}

/// The CRC-32 that xz guards its headers with. For small inputs: bit by bit.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

struct XzBlock<'a> {
    stream: Stream,
    rest: &'a [u8],
}

impl<'a> XzBlock<'a> {
    fn new(check: u8, rest: &'a [u8]) -> io::Result<Self> {
        let mut stream = Stream::new_stream_decoder(MEMORY, 0)?;
        stream.process(&xz_header(check), &mut [], Action::Run)?;
        Ok(Self { stream, rest })
    }
}

impl Read for XzBlock<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            // liblzma holds back decoded bytes when the buffer is full, so it is
            // asked again after its input has run dry, until nothing moves.
            let progress = self.stream.process(self.rest, buffer, Action::Run);
            let read = (self.stream.total_in() - read) as usize;
            let written = (self.stream.total_out() - written) as usize;
            self.rest = self.rest.get(read..).unwrap_or_default();
            match progress {
                Ok(Progress::StreamEnd) => return Err(damaged("an xz stream ends in it")),
                Ok(_) if written > 0 || buffer.is_empty() => return Ok(written),
                Ok(_) if read == 0 => return Ok(0),
                Ok(_) => {}
                Err(liblzma::stream::Error::MemLimit) => {
                    return Err(damaged(format!(
                        "it needs more than {MEMORY} bytes to decode"
                    )));
                }
                Err(_) => return Err(damaged("its xz data is damaged")),
            }
        }
    }
}

/// Any number of zstd frames, one after the other.
struct ZstdFrames<'a> {
    rest: &'a [u8],
    frame: Option<FrameDecoder>,
}

impl ZstdFrames<'_> {
    /// Begins the next frame; false where there is none.
    fn next(&mut self) -> io::Result<bool> {
        while !self.rest.is_empty() {
            match zstd_frame(self.rest)? {
                ZstdFrame::Skip(length) => {
                    let rest = self.rest.get(length..);
                    self.rest = rest.ok_or_else(|| damaged("its zstd data is cut short"))?;
                }
                ZstdFrame::Data { window } if window > MEMORY => {
                    return Err(damaged(format!(
                        "its zstd window of {window} bytes is more than {MEMORY}"
                    )));
                }
                ZstdFrame::Data { .. } => {
                    let mut frame = FrameDecoder::new();
                    frame.init(&mut self.rest).map_err(zstd_damaged)?;
                    self.frame = Some(frame);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Read for ZstdFrames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(frame) = &mut self.frame else {
                match self.next()? {
                    true => continue,
                    false => return Ok(0),
                }
            };
            if frame.can_collect() > 0 || buffer.is_empty() {
                return frame.read(buffer);
            }
            if !frame.is_finished() {
                // Block by block, for what isn't collected stays in memory.
                let one = BlockDecodingStrategy::UptoBlocks(1);
                frame
                    .decode_blocks(&mut self.rest, one)
                    .map_err(zstd_damaged)?;
                continue;
            }
            let expected = frame.get_checksum_from_data();
            if expected.is_some() && expected != frame.get_calculated_checksum() {
                return Err(damaged("its zstd data doesn't match its own checksum"));
            }
            self.frame = None;
        }
    }
}

fn zstd_damaged(error: ruzstd::decoding::errors::FrameDecoderError) -> io::Error {
    damaged(format!("its zstd data is damaged: {error}"))
}

enum ZstdFrame {
    /// A frame that isn't data, of this length.
    Skip(usize),
    /// A frame that needs so many bytes of history in memory.
    Data { window: u64 },
}

/// What the next frame asks for. The decoder itself doesn't bound the window
/// of a first frame.
fn zstd_frame(bytes: &[u8]) -> io::Result<ZstdFrame> {
    let cut = || damaged("its zstd data is cut short");
    let field = |at: usize, length: usize| -> io::Result<u64> {
        let bytes = bytes.get(at..at + length).ok_or_else(cut)?;
        let little_endian = bytes.iter().rev();
        Ok(little_endian.fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    match field(0, 4)? {
        0x184d_2a50..=0x184d_2a5f => {
            let length = usize::try_from(field(4, 4)?).map_err(|_| cut())?;
            Ok(ZstdFrame::Skip(length.saturating_add(8)))
        }
        0xfd2f_b528 => {
            let descriptor = field(4, 1)?;
            let single_segment = descriptor & 0x20 != 0;
            if !single_segment {
                let window = field(5, 1)?;
                let base = 1_u64 << (10 + (window >> 3));
                let window = base + base / 8 * (window & 7);
                return Ok(ZstdFrame::Data { window });
            }
            // The content is its own window: its size stands behind the
            // dictionary's id.
            let at = 5 + [0, 1, 2, 4][(descriptor & 3) as usize];
            let length = [1, 2, 4, 8][(descriptor >> 6) as usize];
            let window = field(at, length)?;
            Ok(ZstdFrame::Data { window })
        }
        _ => Err(damaged("it isn't zstd data")),
    }
}

#[cfg(test)]
mod tests {
    use liblzma::stream::{Check, Filters, LzmaOptions};
    use proptest::prelude::*;

    use super::*;

    const XZ: Encoding = Encoding::Xz { check: 4 };

    /// What stands between the stream header and the index of a stream of one block.
    fn xz_block(content: &[u8], preset: u32) -> Vec<u8> {
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
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(content, level)
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
        let error = decode(XZ, &limit, &bomb, &mut |piece| {
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
        assert!(error.reason().contains("zstd window"), "{}", error.reason());
    }

    #[test]
    fn an_error_of_the_sink_comes_back_as_it_is() {
        let bytes = xz_block(b"content", 0);
        let error = decode(XZ, &block(&bytes, 7), &bytes, &mut |_| {
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

    #[test]
    fn crc32_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
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
