//! The index of an xz stream: where its blocks lie.
//!
//! Read from the footer backwards, as the format is made for. Exactly one
//! stream (zero padding behind it is allowed); every checksum is compared and
//! the blocks have to fill the stream, so a flipped bit doesn't move one.

use std::cmp::Ordering;

use super::super::decode::{XZ_MAGIC, crc32, xz_header};

/// Why bytes aren't an xz stream whose blocks can be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XzError {
    /// Another beginning.
    #[error("it isn't xz data")]
    NotXz,
    /// No footer at the end.
    #[error("the xz stream is cut short")]
    CutShort,
    /// A checksum that differs, or fields that contradict each other.
    #[error("the xz stream's {0} is damaged")]
    Damaged(&'static str),
    /// An index that is whole and doesn't cover what stands before it.
    #[error("it is more than one xz stream")]
    SeveralStreams,
    /// An index of a size that only somebody with bad intentions would make.
    #[error("the xz stream has more blocks than any package")]
    TooManyBlocks,
    /// A check that only a later format may define.
    #[error("the xz stream has an unknown check, number {0}")]
    UnknownCheck(u8),
}

/// A block of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexedBlock {
    /// Where it starts, from the stream's first byte.
    pub offset: usize,
    /// Its length with the padding.
    pub length: usize,
    /// What it decodes to.
    pub decoded: u64,
}

/// An xz stream's check and blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub check: u8,
    pub blocks: Vec<IndexedBlock>,
}

pub(super) const HEADER: usize = 12;
const FOOTER: usize = 12;

/// The largest index that is read, in bytes: thousands of blocks. Debian's
/// packages have 20. In memory, an index takes more than ten times its size.
const MAX_INDEX: usize = 64 * 1024;

/// Reads the index of the one stream that these bytes are.
pub(super) fn index(stream: &[u8]) -> Result<Index, XzError> {
    const INDEX: XzError = XzError::Damaged("index");
    if !stream.starts_with(&XZ_MAGIC) {
        return Err(XzError::NotXz);
    }
    let header = stream.first_chunk::<HEADER>().ok_or(XzError::CutShort)?;
    let check = header[7];
    if *header != xz_header(check) {
        return Err(XzError::Damaged("header"));
    }
    if ![0, 1, 4, 10].contains(&check) {
        return Err(XzError::UnknownCheck(check));
    }
    let stream = without_padding(stream)?;
    let (body, footer) = stream
        .split_last_chunk::<FOOTER>()
        .ok_or(XzError::CutShort)?;
    if !footer.ends_with(b"YZ") {
        return Err(XzError::CutShort);
    }
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| footer[at + i]));
    if word(0) != crc32(&footer[4..10]) || footer[8..10] != header[6..8] {
        return Err(XzError::Damaged("footer"));
    }
    let size = (u64::from(word(4)) + 1) * 4;
    let size = usize::try_from(size).map_err(|_| INDEX)?;
    if size > MAX_INDEX {
        return Err(XzError::TooManyBlocks);
    }
    let end = body.len().checked_sub(size).ok_or(INDEX)?;
    let (records, crc) = body[end..].split_last_chunk::<4>().ok_or(INDEX)?;
    if end < HEADER || u32::from_le_bytes(*crc) != crc32(records) {
        return Err(INDEX);
    }
    let blocks = blocks(records).ok_or(INDEX)?;
    let filled = blocks
        .last()
        .map_or(HEADER, |last| last.offset + last.length);
    match filled.cmp(&end) {
        Ordering::Equal => Ok(Index { check, blocks }),
        Ordering::Less => Err(XzError::SeveralStreams),
        Ordering::Greater => Err(INDEX),
    }
}

/// Without the zero words that may follow a stream.
fn without_padding(stream: &[u8]) -> Result<&[u8], XzError> {
    let mut stream = stream;
    while let Some(before) = stream.strip_suffix(&[0; 4]) {
        stream = before;
    }
    match stream.len() % 4 {
        0 => Ok(stream),
        _ => Err(XzError::CutShort),
    }
}

fn blocks(records: &[u8]) -> Option<Vec<IndexedBlock>> {
    let mut rest = records.strip_prefix(&[0])?;
    let count = number(&mut rest)?;
    // A record has two bytes or more, so the count can't ask for much memory.
    if count > rest.len() as u64 / 2 {
        return None;
    }
    let mut offset = HEADER;
    let mut blocks = Vec::new();
    for _ in 0..count {
        let unpadded = number(&mut rest)?;
        let length = usize::try_from(unpadded.checked_next_multiple_of(4)?).ok()?;
        let decoded = number(&mut rest)?;
        if unpadded < 5 {
            return None;
        }
        blocks.push(IndexedBlock {
            offset,
            length,
            decoded,
        });
        offset = offset.checked_add(length)?;
    }
    let padded = rest.len() < 4 && rest.iter().all(|byte| *byte == 0);
    padded.then_some(blocks)
}

/// A number of seven bits a byte, low ones first, in its shortest form.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let length = bytes.iter().take(9).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    if length > 1 && number.last() == Some(&0) {
        return None;
    }
    let low_first = number.iter().rev();
    Some(low_first.fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
}

#[cfg(test)]
pub(in super::super) mod tests {
    use std::io::Write;

    use liblzma::stream::{Action, Check, Stream};
    use liblzma::write::XzEncoder;

    use super::*;

    /// An xz stream with a block for each piece.
    pub fn xz(pieces: &[&[u8]]) -> Vec<u8> {
        let mut stream = Stream::new_easy_encoder(0, Check::Crc64).unwrap();
        let mut bytes = Vec::new();
        for piece in pieces {
            let mut block = Vec::with_capacity(piece.len() + 1024);
            stream.process_vec(piece, &mut block, Action::Run).unwrap();
            let end = stream.process_vec(&[], &mut block, Action::FullFlush);
            assert_eq!(end.unwrap(), liblzma::stream::Status::StreamEnd);
            bytes.extend(block);
        }
        let mut end = Vec::with_capacity(1024 + 32 * pieces.len());
        stream.process_vec(&[], &mut end, Action::Finish).unwrap();
        bytes.extend(end);
        bytes
    }

    #[test]
    fn the_index_tells_every_block() {
        let pieces: [&[u8]; 3] = [b"one", &[7; 100_000], b"three"];
        let stream = xz(&pieces);
        let index = index(&stream).unwrap();
        assert_eq!(index.check, 4);
        let decoded: Vec<u64> = index.blocks.iter().map(|block| block.decoded).collect();
        assert_eq!(decoded, [3, 100_000, 5]);
        let mut end = 12;
        for block in &index.blocks {
            assert_eq!(block.offset, end);
            end += block.length;
        }
    }

    #[test]
    fn a_stream_that_was_written_in_one_go_is_one_block() {
        let mut encoder = XzEncoder::new(Vec::new(), 0);
        encoder.write_all(&[1; 5000]).unwrap();
        let mut stream = encoder.finish().unwrap();
        let one = index(&stream).unwrap();
        assert_eq!(one.blocks.len(), 1);
        stream.extend([0; 8]);
        assert_eq!(index(&stream).unwrap(), one);
        stream.push(0);
        assert_eq!(index(&stream), Err(XzError::CutShort));
    }

    #[test]
    fn every_flipped_bit_outside_the_blocks_is_noticed() {
        let stream = xz(&[b"one", b"two"]);
        let blocks = index(&stream).unwrap().blocks;
        let end = blocks[1].offset + blocks[1].length;
        for at in (0..12).chain(end..stream.len()) {
            for bit in 0..8 {
                let mut flipped = stream.clone();
                flipped[at] ^= 1 << bit;
                assert!(index(&flipped).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_cut_stream_and_two_streams_are_refused() {
        let stream = xz(&[b"one", b"two"]);
        for length in 0..stream.len() {
            assert!(index(&stream[..length]).is_err(), "{length}");
        }
        let two = [stream.clone(), stream].concat();
        assert_eq!(index(&two), Err(XzError::SeveralStreams));
    }

    #[test]
    fn numbers_are_read_in_their_shortest_form_only() {
        assert_eq!(number(&mut &[0x80, 1][..]), Some(128));
        assert_eq!(number(&mut &[0x80, 0][..]), None);
        assert_eq!(number(&mut &[0x80; 9][..]), None);
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(number(&mut &most[..]), Some(u64::MAX >> 1));
    }
}
