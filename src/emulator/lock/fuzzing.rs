//! The ways in for `fuzz/`, to which these parsers are no interface otherwise.

use std::ops::Range;

use super::contents::{self, Stream};
use super::{DebError, LockError, XzError, deb, pin, xz};
use crate::emulator::decode;
use crate::emulator::manifest::{Emulator, Release};
use crate::platform::Platform;

/// Where the control and the data member lie in a package.
pub fn members(package: &[u8]) -> Result<[(usize, &[u8]); 2], DebError> {
    let found = deb::members(package)?;
    Ok([found.control, found.data].map(|member| (member.offset, member.bytes)))
}

/// Package, version, architecture and source of a control file.
pub fn control(text: &str) -> Result<[String; 4], DebError> {
    let control = deb::control(text)?;
    Ok([
        control.package,
        control.version,
        control.architecture,
        control.source,
    ])
}

/// What guards the headers of xz.
pub fn crc32(bytes: &[u8]) -> u32 {
    decode::crc32(bytes)
}

/// What an xz stream begins with.
pub fn xz_header(check: u8) -> [u8; 12] {
    decode::xz_header(check)
}

/// The blocks of an xz stream, and what each decodes to.
pub fn blocks(stream: &[u8]) -> Result<Vec<(Range<usize>, u64)>, XzError> {
    let blocks = xz::index(stream)?.blocks.into_iter();
    let place = |block: xz::IndexedBlock| {
        let range = block.offset..block.offset + block.length;
        (range, block.decoded)
    };
    Ok(blocks.map(place).collect())
}

/// The emulators in a tar file.
pub fn emulators(tar: &[u8], host: &'static Platform) -> Result<Vec<Emulator>, LockError> {
    contents::emulators(Stream::plain(tar), host).map(|(emulators, _)| emulators)
}

/// The control file in a tar file.
pub fn control_file(tar: &[u8]) -> Result<String, LockError> {
    contents::control_file(Stream::plain(tar))
}

/// A whole package.
pub fn package(package: &[u8]) -> Result<Release, LockError> {
    pin(package)
}
