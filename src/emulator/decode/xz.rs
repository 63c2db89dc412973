//! A block of an xz stream.
//!
//! liblzma reads streams, so the block gets a stream header before it, and the
//! decoder is left where the index would follow.

use std::io::{self, Read};

use liblzma::stream::{Action, Error as XzError, IGNORE_CHECK, Status as Progress, Stream};

use super::{MEMORY, damaged};

/// The magic bytes that an xz stream begins with.
pub(in crate::emulator) const XZ_MAGIC: [u8; 6] = *b"\xfd7zXZ\0";

/// The 12 bytes before the first block of an xz stream.
pub(in crate::emulator) fn xz_header(check: u8) -> [u8; 12] {
    let flags = [0, check];
    let mut header = [0; 12];
    header[..6].copy_from_slice(&XZ_MAGIC);
    header[6..8].copy_from_slice(&flags);
    header[8..].copy_from_slice(&crc32(&flags).to_le_bytes());
    header
}

/// The CRC-32 that xz guards its headers with. For small inputs: bit by bit.
pub(in crate::emulator) fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// What becomes of the checksum that a block ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Another one is an error.
    Compared,
    /// It isn't even computed.
    Ignored,
}

/// What one block decodes to.
pub(super) struct XzBlock<'a> {
    stream: Stream,
    rest: &'a [u8],
}

impl<'a> XzBlock<'a> {
    /// A reader of the block; `check` is the stream's.
    pub(super) fn new(check: u8, rest: &'a [u8], checksum: Checksum) -> io::Result<Self> {
        let flags = match checksum {
            Checksum::Compared => 0,
            Checksum::Ignored => IGNORE_CHECK,
        };
        let mut stream = Stream::new_stream_decoder(MEMORY, flags)?;
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
                Err(XzError::MemLimit) => {
                    return Err(damaged(format!(
                        "it needs more than {MEMORY} bytes to decode"
                    )));
                }
                // That says nothing against the data.
                Err(XzError::Mem) => return Err(io::ErrorKind::OutOfMemory.into()),
                Err(_) => return Err(damaged("its xz data is damaged")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
