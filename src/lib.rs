//! x
pub mod digest;
pub mod emulator;
pub mod error;
pub mod platform;
