//! A URL as a source: one request for a run of adjacent blocks, several at
//! once.
//!
//! Plain http is fine here, since the digests are pinned; what TLS adds is
//! that nobody sees which emulators a host fetches.

use super::client::{self, Client};
use super::ranges::Ranges;
use super::{Deliver, Failure, Source};
use crate::emulator::manifest::Release;

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
        ranges: usize,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), Failure> {
        let place = (&self.client, &*self.url);
        Ranges::new(place, self.name(), release, wanted, ranges, deliver).fetch()
    }
}
