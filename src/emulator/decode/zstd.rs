//! A zstd stream: any number of frames, one after the other.

use std::io::{self, Read};

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{MEMORY, damaged};

/// What the frames decode to.
pub(super) struct ZstdFrames<'a> {
    rest: &'a [u8],
    frame: Option<FrameDecoder>,
}

impl<'a> ZstdFrames<'a> {
    /// A reader of all frames.
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest, frame: None }
    }

    /// Begins the next frame; false where there is none.
    fn next(&mut self) -> io::Result<bool> {
        while !self.rest.is_empty() {
            match next_frame(self.rest)? {
                Frame::Skip(length) => {
                    let rest = self.rest.get(length..);
                    self.rest = rest.ok_or_else(|| damaged("its zstd data is cut short"))?;
                }
                Frame::Data { window } if window > MEMORY => {
                    return Err(damaged(format!(
                        "its zstd window of {window} bytes is more than {MEMORY}"
                    )));
                }
                Frame::Data { .. } => {
                    let mut frame = FrameDecoder::new();
                    frame.init(&mut self.rest).map_err(in_frame)?;
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
                frame.decode_blocks(&mut self.rest, one).map_err(in_frame)?;
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

fn in_frame(error: FrameDecoderError) -> io::Error {
    damaged(format!("its zstd data is damaged: {error}"))
}

enum Frame {
    /// A frame that isn't data, of this length.
    Skip(usize),
    /// A frame that needs so many bytes of history in memory.
    Data { window: u64 },
}

/// What the next frame asks for. The decoder itself doesn't bound the window
/// of a first frame.
fn next_frame(bytes: &[u8]) -> io::Result<Frame> {
    let cut = || damaged("its zstd data is cut short");
    let field = |at: usize, length: usize| -> io::Result<u64> {
        let bytes = bytes.get(at..at + length).ok_or_else(cut)?;
        let little_endian = bytes.iter().rev();
        Ok(little_endian.fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    match field(0, 4)? {
        0x184d_2a50..=0x184d_2a5f => {
            let length = usize::try_from(field(4, 4)?).map_err(|_| cut())?;
            Ok(Frame::Skip(length.saturating_add(8)))
        }
        0xfd2f_b528 => {
            let descriptor = field(4, 1)?;
            let single_segment = descriptor & 0x20 != 0;
            if !single_segment {
                let window = field(5, 1)?;
                let base = 1_u64 << (10 + (window >> 3));
                let window = base + base / 8 * (window & 7);
                return Ok(Frame::Data { window });
            }
            // The content is its own window: its size stands behind the
            // dictionary's id.
            let at = 5 + [0, 1, 2, 4][(descriptor & 3) as usize];
            let length = [1, 2, 4, 8][(descriptor >> 6) as usize];
            let window = field(at, length)?;
            Ok(Frame::Data { window })
        }
        _ => Err(damaged("it isn't zstd data")),
    }
}
