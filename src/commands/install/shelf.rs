//! A store that goes away, for emulators that a dry run has to look at and
//! the host's own store lacks. A run that is killed can't clear up, so its
//! aftermath does, or the next run.

use std::path::Path;

use super::aftermath::Aftermath;
use crate::durable;
use crate::emulator::store::Store;
use crate::error::Result;
use crate::scratch::{self, Scratch};

const PREFIX: &str = "binfmtctl-rehearsal.";

/// A store in a temporary directory.
pub(super) struct Shelf {
    /// The store.
    pub store: Store,
    _scratch: Scratch,
    _aftermath: Option<Aftermath>,
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new(&durable::scratch(), PREFIX)?;
        Ok(Self {
            store: Store::new(scratch.path())?,
            _aftermath: Aftermath::of(scratch.path()),
            _scratch: scratch,
        })
    }
}

/// Removes what killed runs left.
pub(super) fn sweep(place: &Path) {
    scratch::sweep(place, PREFIX);
}
