//! Pins a package: reads a `.deb` once, and writes down where its emulators lie.
//!
//! The only place where ar, tar and the xz index are read. The package is what
//! the caller wants to trust from now on, so nothing is known about its bytes:
//! everything is bounded, and a package that is damaged, unusual or of no use
//! is refused with the reason. What comes out is checked as a manifest is.

mod contents;
mod deb;
#[cfg(fuzzing)]
pub mod fuzzing;
mod xz;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use self::contents::{MAX_STREAM, Piece, Stream};
use self::deb::{Compression, Control, Member};
use super::elf::Unfit;
use super::manifest::words::{is_file_name, is_package, is_qemu_version, is_suite, is_version};
use super::manifest::{Block, Encoding, MAX_LENGTH, Release};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result, Status};
use crate::platform::{PLATFORMS, Platform};

pub use self::deb::DebError;
pub use self::xz::XzError;

/// Why a package can't be pinned.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The package's outer form.
    #[error("{0}")]
    Deb(DebError),
    /// The index of its compressed blocks.
    #[error("{0}")]
    Xz(XzError),
    /// What the blocks decode to.
    #[error("cannot read what it holds: {0}")]
    Content(io::Error),
    /// A block or all of them that decode to too much.
    #[error("it decodes to more than an emulator package can hold")]
    TooLarge,
    /// An architecture that isn't a host of QEMU's in Debian.
    #[error("its architecture {0:?} isn't one that emulators are packaged for")]
    Architecture(String),
    /// A name or version that isn't one.
    #[error("its {0} {1:?} isn't proper")]
    Name(&'static str, String),
    /// No emulator at all, or only links to some.
    #[error("it holds no emulator in usr/bin, or only links to emulators of another package")]
    NoEmulator,
    /// One target with two emulators.
    #[error("it holds two emulators for {0}")]
    Twice(String),
    /// An emulator that the host can't run everywhere.
    #[error("its {name} can't be used: {reason}")]
    Unfit {
        /// The emulator's file name.
        name: String,
        /// What is wrong with it.
        reason: Unfit,
    },
}

impl LockError {
    /// Damaged bytes are [`Status::Integrity`]; whole ones that don't suit are
    /// [`Status::Invalid`].
    fn status(&self) -> Status {
        match self {
            Self::Deb(DebError::CutShort | DebError::BadMember(_))
            | Self::Xz(XzError::CutShort | XzError::Damaged(_))
            | Self::Content(_) => Status::Integrity,
            _ => Status::Invalid,
        }
    }
}

/// Pins the package in an open file, which is called `deb`, with the suite
/// that has it.
pub fn lock(deb: &Path, file: File, suite: Option<String>) -> Result<Release> {
    if let Some(suite) = suite.iter().find(|suite| !is_suite(suite)) {
        let what = format!("{suite:?} isn't a suite's name");
        return Err(Error::new(Status::Usage, what));
    }
    let attempt = || format!("cannot pin {}", deb.display());
    let refused = |error: LockError| Error::new(error.status(), attempt()).because(error);
    let mut package = Vec::new();
    let read = file.take(MAX_LENGTH + 1).read_to_end(&mut package);
    read.attempt(attempt)?;
    if package.len() as u64 > MAX_LENGTH {
        return Err(refused(LockError::TooLarge));
    }
    let mut release = pin(&package).map_err(refused)?;
    release.suite = suite;
    Ok(release)
}

/// Pins a package's bytes.
fn pin(package: &[u8]) -> Result<Release, LockError> {
    let deb = deb::members(package).map_err(LockError::Deb)?;
    let (encoding, pieces) = pieces(&deb.control)?;
    let control = contents::control_file(Stream::new(encoding, &pieces))?;
    let control = deb::control(&control).map_err(LockError::Deb)?;
    let host = host(&control)?;
    let mut release = describe(control)?;

    let (encoding, pieces) = self::pieces(&deb.data)?;
    let (emulators, decoded) = contents::emulators(Stream::new(encoding, &pieces), host)?;
    let mut offset = deb.data.offset as u64;
    if encoding != Encoding::Zstd {
        // The first block begins behind the stream's header.
        offset += pieces.first().map_or(0, |_| xz::HEADER as u64);
    }
    for (piece, decoded) in pieces.iter().zip(decoded) {
        let length = piece.bytes.len() as u64;
        release.blocks.push(Block {
            offset,
            length,
            decoded,
            sha256: Digest::of(piece.bytes),
        });
        offset += length;
    }
    release.encoding = encoding;
    release.emulators = emulators;
    release.size = package.len() as u64;
    release.sha256 = Digest::of(package);
    Ok(release)
}

/// The blocks of a member and how they are compressed.
fn pieces<'a>(member: &Member<'a>) -> Result<(Encoding, Vec<Piece<'a>>), LockError> {
    let bytes = member.bytes;
    let index = match member.compression {
        Compression::Zstd => {
            let decoded = None;
            return Ok((Encoding::Zstd, vec![Piece { bytes, decoded }]));
        }
        Compression::Xz => xz::index(bytes).map_err(LockError::Xz)?,
    };
    let total = index.blocks.iter().try_fold(0_u64, |total, block| {
        let fits = (1..=MAX_LENGTH).contains(&block.decoded);
        fits.then(|| total.saturating_add(block.decoded))
    });
    if total.is_none_or(|total| total > MAX_STREAM) {
        return Err(LockError::TooLarge);
    }
    let pieces = index.blocks.iter().map(|block| Piece {
        bytes: &bytes[block.offset..block.offset + block.length],
        decoded: Some(block.decoded),
    });
    let encoding = Encoding::Xz { check: index.check };
    Ok((encoding, pieces.collect()))
}

/// The platform that the package's emulators run on.
fn host(control: &Control) -> Result<&'static Platform, LockError> {
    let architecture = &control.architecture;
    PLATFORMS
        .iter()
        .find(|platform| platform.debian == Some(architecture))
        .ok_or_else(|| LockError::Architecture(architecture.clone()))
}

/// A release as far as the control file tells it.
fn describe(control: Control) -> Result<Release, LockError> {
    let Control {
        package,
        version,
        architecture: host,
        source,
    } = control;
    let proper = |what, text: &str, fits: fn(&str) -> bool| match fits(text) {
        true => Ok(()),
        false => Err(LockError::Name(what, text.to_owned())),
    };
    proper("name", &package, is_package)?;
    proper("version", &version, is_version)?;
    let (_, upstream) = version.split_once(':').unwrap_or(("", &version));
    let file = format!("{package}_{upstream}_{host}.deb");
    proper("file name", &file, is_file_name)?;
    let qemu = qemu_version(upstream).to_owned();
    proper("QEMU version", &qemu, is_qemu_version)?;
    // Ubuntu's packages are in other pools than Debian's.
    let in_debian = source == "qemu" && !version.contains("ubuntu");
    Ok(Release {
        qemu,
        host,
        package,
        suite: None,
        path: in_debian.then(|| format!("pool/main/q/qemu/{file}")),
        file,
        version,
        size: 0,
        sha256: Digest::of(&[]),
        urls: Vec::new(),
        encoding: Encoding::Zstd,
        blocks: Vec::new(),
        emulators: Vec::new(),
    })
}

/// QEMU's version in a Debian version without its epoch: `10.0.13` of
/// `10.0.13+ds-0+deb13u1`.
fn qemu_version(upstream: &str) -> &str {
    let (upstream, _) = upstream.rsplit_once('-').unwrap_or((upstream, ""));
    let (qemu, _) = upstream.split_once('+').unwrap_or((upstream, ""));
    qemu
}

#[cfg(test)]
mod tests;
