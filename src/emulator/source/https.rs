//! A URL as a source: one request for each run of adjacent blocks.
//!
//! Plain http is fine here, since the digests are pinned; what TLS adds is
//! that nobody sees which emulators a host fetches.

use super::client::{self, Client};
use super::stream::Stream;
use super::{Failure, Source, buffer_size, hand_over};
use crate::emulator::manifest::Release;
use crate::error::Result;

#[cfg(test)]
mod tests;

/// An artifact behind an `https://` or `http://` URL.
#[derive(Debug)]
pub struct Https {
    client: Client,
    url: String,
}

impl Https {
    /// The artifact at this URL, read with (a share of) this client.
    pub fn new(client: &Client, url: String) -> Self {
        Self {
            client: client.clone(),
            url,
        }
    }
}

impl Source for Https {
    fn name(&self) -> String {
        client::shown(&self.url)
    }

    fn fetch(
        &self,
        release: &Release,
        wanted: &[usize],
        deliver: &mut dyn FnMut(usize, Vec<u8>) -> Result<()>,
    ) -> Result<(), Failure> {
        let name = self.name();
        let ends = |index: usize| release.blocks[index].offset + release.blocks[index].length;
        let adjacent = |a: &usize, b: &usize| ends(*a) == release.blocks[*b].offset;
        let mut stream = Stream::new(&self.client, &self.url, release.size);
        for run in wanted.chunk_by(adjacent) {
            stream.seek(release.blocks[run[0]].offset, ends(run[run.len() - 1]));
            for &index in run {
                let mut bytes = vec![0; buffer_size(release, index)?];
                stream.fill(&mut bytes).map_err(Failure::Source)?;
                hand_over(&name, release, index, bytes, deliver)?;
            }
        }
        Ok(())
    }
}
