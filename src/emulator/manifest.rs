//! The manifest: which bytes are the right ones, and where they lie.

use crate::digest::Digest;

/// A parsed, checked manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The QEMU version that is installed when none is named.
    pub default: String,
    /// One per QEMU version and host architecture.
    pub releases: Vec<Release>,
}

/// One pinned artifact: a package of emulators for one host architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// QEMU's version, `10.0.13`.
    pub qemu: String,
    /// The host that the emulators run on, by Debian's name: `amd64`.
    pub host: String,
    /// The package's name and version, for apt.
    pub package: String,
    /// The package's full version, `1:10.0.13+ds-0+deb13u1`.
    pub version: String,
    /// The suite that apt finds it in, `trixie`.
    pub suite: Option<String>,
    /// The artifact's file name, without directories.
    pub file: String,
    /// Where a Debian mirror has it, below its base: `pool/main/q/qemu/<file>`.
    pub path: Option<String>,
    /// The artifact's size in bytes.
    pub size: u64,
    /// The artifact's digest.
    pub sha256: Digest,
    /// Where to get it, in the order to try.
    pub urls: Vec<String>,
    /// How the blocks are compressed.
    pub encoding: Encoding,
    /// The compressed blocks in file order.
    pub blocks: Vec<Block>,
    /// The emulators in stream order.
    pub emulators: Vec<Emulator>,
}

/// How the blocks of an artifact are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Blocks of an xz stream, with the stream's check id (0 none, 1 crc32, 4 crc64, 10 sha256).
    Xz {
        /// The check id in the stream's flags.
        check: u8,
    },
    /// A whole zstd stream as one block.
    Zstd,
}

/// A run of compressed bytes that decodes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where it starts in the artifact, in bytes.
    pub offset: u64,
    /// Its compressed length in bytes.
    pub length: u64,
    /// Its decoded length in bytes.
    pub decoded: u64,
    /// The digest of the compressed bytes.
    pub sha256: Digest,
}

/// One emulator within the decoded stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulator {
    /// QEMU's name of what it runs, `aarch64`.
    pub target: String,
    /// Where it starts in the decoded stream, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}
