//! x
pub mod binfmt;
pub mod digest;
pub mod durable;
pub mod emulator;
pub mod error;
pub mod host;
pub mod platform;
pub mod probe;
