//! What can be wrong with a manifest, and in which line.

use super::SCHEMA;
use crate::error::{Error, Status};

/// A manifest's text that can't be used, and the line that says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ManifestError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not TOML, or not the keys and types of a manifest.
    #[error("{0}")]
    Syntax(String),
    /// A schema of another version.
    #[error("schema {0} isn't known; this version reads schema {SCHEMA}")]
    Schema(u64),
    /// A default that no release has.
    #[error("no release has the default version {0:?}")]
    Default(String),
    /// Two releases of one version for one host.
    #[error("a second release of QEMU {qemu} for {host}")]
    DuplicateRelease {
        /// QEMU's version.
        qemu: String,
        /// The host by Debian's name.
        host: String,
    },
    /// A name or address of the wrong shape.
    #[error("{key} can't be {value:?}")]
    Value {
        /// What has it.
        key: &'static str,
        /// The value as it stands there.
        value: String,
    },
    /// xz without its check.
    #[error("an xz release needs its check: none, crc32, crc64 or sha256")]
    NoCheck,
    /// A check without xz.
    #[error("only xz has a check")]
    CheckWithoutXz,
    /// A release without blocks or emulators.
    #[error("a release without {0}")]
    Empty(&'static str),
    /// Blocks that overlap or are out of order.
    #[error("the block starts before the end of the one above")]
    BlockOrder,
    /// A block beyond the artifact's end.
    #[error("the block leaves the artifact, which has {size} bytes")]
    BlockBeyond {
        /// The artifact's size.
        size: u64,
    },
    /// A length that nothing has.
    #[error("{key} is {value}, which isn't between 1 byte and 1 GiB")]
    Length {
        /// What has it.
        key: &'static str,
        /// The length as it stands there.
        value: u64,
    },
    /// A target that isn't in the platform table.
    #[error("{0:?} isn't a target of QEMU's that this version knows")]
    Target(String),
    /// Two emulators for one target.
    #[error("a second emulator for {0}")]
    DuplicateTarget(String),
    /// Emulators that overlap or are out of order.
    #[error("the emulator starts before the end of the one above")]
    EmulatorOrder,
    /// An emulator beyond the decoded stream's end.
    #[error("the emulator leaves the decoded stream, which has {size} bytes")]
    EmulatorBeyond {
        /// The decoded stream's size.
        size: u64,
    },
    /// Other blocks than those that the emulator lies in.
    #[error("the emulator lies in blocks {expected:?}, not {found:?}")]
    Blocks {
        /// The right ones.
        expected: Vec<usize>,
        /// Those that stand there.
        found: Vec<usize>,
    },
}

impl ManifestError {
    /// The error with the name of the manifest that it is in.
    pub(super) fn within(self, name: &str) -> Error {
        Error::new(Status::Invalid, format!("cannot use {name}")).because(self)
    }
}
