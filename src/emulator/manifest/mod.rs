//! The manifest: which bytes are the right ones, and where they lie.
//!
//! An index of pinned packages down to the single emulator, so that an install
//! reads only the compressed blocks it needs and can check each one. The text
//! is trusted for its digests, not for its shape: every size and offset is held
//! against the others before anybody may use it (`parse`), so whoever has a
//! [`Manifest`] out of a text can index into it without further checks.

mod error;
mod parse;
mod render;
pub(super) mod words;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::digest::Digest;
use crate::error::{Error, IoContext, Result, Status};
use crate::platform::Platform;

pub use self::error::{ManifestError, Problem};

/// The only schema that this version reads and writes.
const SCHEMA: u64 = 1;

/// The most that a block or an emulator may measure: a gibibyte.
pub(super) const MAX_LENGTH: u64 = 1 << 30;

/// No manifest comes near this; a file beyond it is something else. A text of
/// tables in tables takes five hundred times its size in memory.
const MAX_TEXT: u64 = 512 * 1024;

static BUILTIN: &str = include_str!("../../../qemu-manifest.toml");

/// A parsed, checked manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Emulator {
    /// The name of its file, `qemu-aarch64`.
    pub fn binary(&self) -> String {
        format!("qemu-{}", self.target)
    }
}

impl Manifest {
    /// The manifest that is compiled in.
    pub fn builtin() -> Result<Self> {
        Self::parse(BUILTIN).map_err(|error| error.within("the built-in manifest"))
    }

    /// Reads and checks a manifest file. [`Status::Invalid`] names file and line.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let attempt = || format!("cannot read the manifest {name}");
        let file = File::open(path).attempt(attempt)?;
        let mut bytes = Vec::new();
        file.take(MAX_TEXT + 1)
            .read_to_end(&mut bytes)
            .attempt(attempt)?;
        let invalid = |why: &str| Error::new(Status::Invalid, attempt()).because(why);
        if bytes.len() as u64 > MAX_TEXT {
            return Err(invalid("it is far too large for a manifest"));
        }
        let text = String::from_utf8(bytes).map_err(|_| invalid("it isn't UTF-8 text"))?;
        Self::parse(&text).map_err(|error| error.within(&name))
    }

    /// The release for a host architecture (Debian's name), of the default
    /// version where none is named.
    ///
    /// [`Status::Usage`] for a version that no release has, [`Status::Unsupported`]
    /// where only this host has none.
    pub fn release(&self, host: &str, qemu: Option<&str>) -> Result<&Release> {
        let version = qemu.unwrap_or(&self.default);
        if !self.releases.iter().any(|release| release.qemu == version) {
            let every = versions(self.releases.iter());
            return Err(Error::new(
                Status::Usage,
                format!("QEMU {version} isn't in the manifest"),
            )
            .hint(format!("it has {every}")));
        }
        let of_host = |release: &&Release| release.host == host;
        self.releases
            .iter()
            .filter(of_host)
            .find(|release| release.qemu == version)
            .ok_or_else(|| {
                let attempt = format!("the manifest has no QEMU {version} for {host} hosts");
                let error = Error::new(Status::Unsupported, attempt);
                match versions(self.releases.iter().filter(of_host)) {
                    none if none.is_empty() => error,
                    some => error.hint(format!("for them it has {some}")),
                }
            })
    }

    /// The release that has an emulator of this digest.
    pub fn known(&self, sha256: &Digest) -> Option<&Release> {
        self.releases.iter().find(|release| {
            let mut emulators = release.emulators.iter();
            emulators.any(|emulator| emulator.sha256 == *sha256)
        })
    }
}

/// Every version once, in the order of the manifest.
fn versions<'a>(releases: impl Iterator<Item = &'a Release>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for release in releases {
        if !seen.contains(&release.qemu.as_str()) {
            seen.push(&release.qemu);
        }
    }
    seen.join(", ")
}

impl Release {
    /// The emulator for QEMU's name of a target, `aarch64`.
    pub fn emulator(&self, target: &str) -> Option<&Emulator> {
        self.emulators
            .iter()
            .find(|emulator| emulator.target == target)
    }

    /// Where a block starts in the decoded stream; the stream's end for an
    /// index beyond the last block.
    pub fn block_start(&self, index: usize) -> u64 {
        self.blocks
            .iter()
            .take(index)
            .fold(0, |start, block| start.saturating_add(block.decoded))
    }

    /// The blocks that an emulator lies in.
    pub fn blocks_of(&self, emulator: &Emulator) -> Range<usize> {
        let end = emulator.offset.saturating_add(emulator.size);
        let mut start = 0_u64;
        let mut range = 0..0;
        for (index, block) in self.blocks.iter().enumerate() {
            let next = start.saturating_add(block.decoded);
            if next <= emulator.offset {
                range = index + 1..index + 1;
            } else if start < end {
                range.end = index + 1;
            }
            start = next;
        }
        range
    }
}

impl Emulator {
    /// The platform that it runs; `None` for a target that isn't in the table,
    /// which no parsed manifest has.
    pub fn platform(&self) -> Option<&'static Platform> {
        Platform::by_emulator(&self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks of 100 and 50 decoded bytes with three emulators in them.
    pub(super) fn release(qemu: &str, host: &str) -> Release {
        let block = |offset, length, decoded| Block {
            offset,
            length,
            decoded,
            sha256: Digest::of(&[1]),
        };
        let emulator = |target: &str, offset, size| Emulator {
            target: target.to_owned(),
            offset,
            size,
            sha256: Digest::of(format!("{target} {qemu} {host}").as_bytes()),
        };
        let file = format!("qemu-user_{qemu}+ds-0+deb13u1_{host}.deb");
        Release {
            qemu: qemu.to_owned(),
            host: host.to_owned(),
            package: "qemu-user".to_owned(),
            version: format!("1:{qemu}+ds-0+deb13u1"),
            suite: Some("trixie".to_owned()),
            path: Some(format!("pool/main/q/qemu/{file}")),
            urls: vec![format!("https://mirror.example/debian/{file}")],
            file,
            size: 1000,
            sha256: Digest::of(&[]),
            encoding: Encoding::Xz { check: 4 },
            blocks: vec![block(132, 40, 100), block(172, 20, 50)],
            emulators: vec![
                emulator("aarch64", 10, 90),
                emulator("arm", 100, 10),
                emulator("s390x", 112, 38),
            ],
        }
    }

    pub(super) fn manifest() -> Manifest {
        let mut straddling = release("11.1.3", "arm64");
        straddling.suite = None;
        straddling.path = None;
        straddling.encoding = Encoding::Zstd;
        straddling.emulators[0].size = 91;
        straddling.emulators.remove(1);
        Manifest {
            default: "10.0.13".to_owned(),
            releases: vec![
                release("10.0.13", "amd64"),
                release("10.0.13", "armhf"),
                straddling,
            ],
        }
    }

    #[test]
    fn a_manifest_reads_back_as_itself() {
        let manifest = manifest();
        assert_eq!(Manifest::parse(&manifest.to_toml()), Ok(manifest));
    }

    #[test]
    fn the_built_in_manifest_is_its_own_rendering() {
        let manifest = Manifest::builtin().unwrap();
        assert_eq!(manifest.to_toml(), BUILTIN);
    }

    #[test]
    fn every_host_that_qemu_is_packaged_for_has_the_built_in_default() {
        let manifest = Manifest::builtin().unwrap();
        let hosts = crate::platform::PLATFORMS.iter().filter_map(|p| p.debian);
        for host in hosts {
            let release = manifest.release(host, None).unwrap();
            assert!(release.emulators.len() >= 17, "{host}");
            for emulator in &release.emulators {
                assert!(emulator.platform().is_some());
                assert_eq!(manifest.known(&emulator.sha256), Some(release));
            }
        }
    }

    #[test]
    fn an_emulator_lies_in_the_blocks_that_its_bytes_are_in() {
        let release = release("10.0.13", "amd64");
        let blocks = |offset, size| {
            let mut emulator = release.emulators[0].clone();
            (emulator.offset, emulator.size) = (offset, size);
            release.blocks_of(&emulator)
        };
        assert_eq!(blocks(0, 100), 0..1);
        assert_eq!(blocks(99, 1), 0..1);
        assert_eq!(blocks(99, 2), 0..2);
        assert_eq!(blocks(100, 50), 1..2);
        assert_eq!(blocks(0, 150), 0..2);
        assert_eq!([0, 1, 2].map(|i| release.block_start(i)), [0, 100, 150]);
    }

    #[test]
    fn a_text_that_is_no_manifest_isnt_parsed_whatever_it_is_called() {
        assert!(BUILTIN.len() as u64 * 5 < MAX_TEXT);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.toml");
        let reason = |length: u64| {
            std::fs::write(&path, ".".repeat(length as usize)).unwrap();
            Manifest::read(&path).unwrap_err().reason()
        };
        let large = "it is far too large for a manifest";
        assert!(!reason(MAX_TEXT).contains(large));
        assert!(reason(MAX_TEXT + 1).contains(large));
        let endless = Manifest::read(Path::new("/dev/zero")).unwrap_err();
        assert!(endless.reason().contains(large));
    }

    #[test]
    fn a_release_is_found_by_host_and_version() {
        let manifest = manifest();
        let found = |host, qemu| manifest.release(host, qemu).map(|r| (&*r.qemu, &*r.host));
        assert_eq!(found("armhf", None).unwrap(), ("10.0.13", "armhf"));
        assert_eq!(found("arm64", Some("11.1.3")).unwrap(), ("11.1.3", "arm64"));

        let error = found("amd64", Some("9.9")).unwrap_err();
        assert_eq!(error.status(), Status::Usage);
        assert_eq!(error.advice(), Some("it has 10.0.13, 11.1.3"));

        let error = found("arm64", None).unwrap_err();
        assert_eq!(error.status(), Status::Unsupported);
        assert_eq!(error.advice(), Some("for them it has 11.1.3"));

        let error = found("mips64el", None).unwrap_err();
        assert_eq!(error.status(), Status::Unsupported);
        assert_eq!(error.advice(), None);
    }

    #[test]
    fn a_digest_names_the_release_that_has_it() {
        let manifest = manifest();
        let arm = Digest::of(b"arm 10.0.13 armhf");
        assert_eq!(manifest.known(&arm), Some(&manifest.releases[1]));
        assert_eq!(manifest.known(&Digest::of(b"other")), None);
    }

    #[test]
    fn a_bad_manifest_file_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("site.toml");
        let name = path.display();

        let error = Manifest::read(&path).unwrap_err();
        assert_eq!(error.status(), Status::Failed);
        assert!(error.reason().contains(&name.to_string()));

        std::fs::write(&path, "schema = 1\n\ndefault = 5\n").unwrap();
        let error = Manifest::read(&path).unwrap_err();
        assert_eq!(error.status(), Status::Invalid);
        let start = format!("cannot use {name}: line 3: ");
        assert!(error.reason().starts_with(&start), "{}", error.reason());

        std::fs::write(&path, b"\xff").unwrap();
        let error = Manifest::read(&path).unwrap_err();
        assert_eq!(error.status(), Status::Invalid);
    }
}
