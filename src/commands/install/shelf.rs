//! A store that goes away, for emulators that a dry run has to look at and
//! the host's own store lacks.

use crate::durable;
use crate::emulator::store::Store;
use crate::error::Result;
use crate::scratch::Scratch;

/// A store in a temporary directory.
pub(super) struct Shelf {
    /// The store.
    pub store: Store,
    _scratch: Scratch,
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new(&durable::scratch(), "binfmtctl-rehearsal.")?;
        Ok(Self {
            store: Store::new(scratch.path())?,
            _scratch: scratch,
        })
    }
}
