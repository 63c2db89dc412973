//! The frame of xz around bytes that are mutated.

use binfmtctl::emulator::lock::fuzzing::{crc32, xz_header};

/// A stream of `blocks` with an index of these `records`, its checksums right.
pub fn stream(blocks: &[u8], records: &[u8]) -> Vec<u8> {
    let header = xz_header(4);
    let mut stream = [&header[..], blocks].concat();
    let start = stream.len();
    stream.push(0);
    stream.extend(records);
    let index = (stream.len() - start).next_multiple_of(4);
    stream.resize(start + index, 0);
    let crc = crc32(&stream[start..]);
    stream.extend(crc.to_le_bytes());
    // In units of four bytes, less one, with the checksum.
    let backward = (index / 4) as u32;
    let tail = [&backward.to_le_bytes()[..], &header[6..8]].concat();
    stream.extend(crc32(&tail).to_le_bytes());
    stream.extend(tail);
    stream.extend(b"YZ");
    stream
}

/// Sets the checksum of the header that a block begins with, as far as there is one.
pub fn mend_block(block: &mut [u8]) {
    let length = block.first().map_or(0, |size| (usize::from(*size) + 1) * 4);
    if length < 8 || length > block.len() {
        return;
    }
    let crc = crc32(&block[..length - 4]);
    block[length - 4..length].copy_from_slice(&crc.to_le_bytes());
}
