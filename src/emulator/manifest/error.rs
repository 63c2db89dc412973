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
#[allow(missing_docs)]
pub enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error("schema {0} isn't known; this version reads schema {SCHEMA}")]
    Schema(u64),
    #[error("no release has the default version {0:?}")]
    Default(String),
    #[error("a second release of QEMU {qemu} for {host}")]
    DuplicateRelease { qemu: String, host: String },
    #[error("{key} can't be {value:?}")]
    Value { key: &'static str, value: String },
    #[error("an xz release needs its check: none, crc32, crc64 or sha256")]
    NoCheck,
    #[error("only xz has a check")]
    CheckWithoutXz,
    #[error("a release without {0}")]
    Empty(&'static str),
    #[error("the block starts before the end of the one above")]
    BlockOrder,
    #[error("the block leaves the artifact, which has {size} bytes")]
    BlockBeyond { size: u64 },
    #[error("{key} is {value}, which isn't between 1 byte and 1 GiB")]
    Length { key: &'static str, value: u64 },
    #[error("{0:?} isn't a target of QEMU's that this version knows")]
    Target(String),
    #[error("a second emulator for {0}")]
    DuplicateTarget(String),
    #[error("the emulator starts before the end of the one above")]
    EmulatorOrder,
    #[error("the emulator leaves the decoded stream, which has {size} bytes")]
    EmulatorBeyond { size: u64 },
    #[error("the emulator lies in blocks {expected:?}, not {found:?}")]
    Blocks {
        expected: Vec<usize>,
        found: Vec<usize>,
    },
}

impl ManifestError {
    /// The error with the name of the manifest that it is in.
    pub(super) fn within(self, name: &str) -> Error {
        Error::new(Status::Invalid, format!("cannot use {name}")).because(self)
    }
}
