//! A zstd stream: any number of frames, one after the other.
//!
//! The decoder holds every frame to the window and every block to the size that
//! the format allows, so that what it keeps in memory is bounded before it is
//! filled.

use std::io::{self, Read};

use ::zstd::stream::read::Decoder;

use super::{MEMORY, damaged};

/// What the frames decode to.
pub(super) struct ZstdFrames<'a>(Decoder<'static, &'a [u8]>);

impl<'a> ZstdFrames<'a> {
    /// A reader of all frames.
    pub(super) fn new(frames: &'a [u8]) -> io::Result<Self> {
        let mut decoder = Decoder::with_buffer(frames)?;
        decoder.window_log_max(MEMORY.ilog2())?;
        Ok(Self(decoder))
    }
}

impl Read for ZstdFrames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer);
        read.map_err(|error| damaged(format!("its zstd data can't be decoded: {error}")))
    }
}
