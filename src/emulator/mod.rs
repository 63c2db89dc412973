//! Getting the right bytes onto the disk.

pub mod decode;
pub mod elf;
pub mod lock;

pub mod manifest;
