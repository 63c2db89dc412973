//! Getting the right bytes onto the disk.

pub mod manifest;
pub mod source;
