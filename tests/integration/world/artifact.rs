//! Releases of the tests' own: the real one with changes, and packages that
//! hold any bytes as "emulators".

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use binfmtctl::digest::Digest;
use binfmtctl::emulator::manifest::{Block, Emulator, Encoding, Manifest, Release};
use binfmtctl::probe::{Probe, Shape};

use super::{World, cache, host};

/// A manifest file and a package file that it pins.
pub struct Pinned {
    /// The manifest.
    pub manifest: PathBuf,
    /// The package.
    pub package: PathBuf,
}

impl Pinned {
    /// The options that make an install use them.
    pub fn options(&self) -> [(&str, &Path); 2] {
        [
            ("BINFMTCTL_MANIFEST", &self.manifest),
            ("BINFMTCTL_SOURCE", &self.package),
        ]
    }
}

/// The text of a manifest that pins one release.
pub fn manifest_of(release: Release) -> String {
    let default = release.qemu.clone();
    let releases = vec![release];
    Manifest { default, releases }.to_toml()
}

impl World {
    /// Writes a file into the world's directory.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file in the world");
        path
    }

    /// A file that may be executed, with these bytes.
    pub fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        path
    }

    /// The real package as far as a target needs it, and holes elsewhere.
    pub fn package_for(&self, target: &str) -> PathBuf {
        let release = cache::release();
        let path = self.file("carried.deb", "");
        let (real, copy) = (File::open(cache::package()).unwrap(), writable(&path));
        copy.set_len(release.size).unwrap();
        for index in release.blocks_of(release.emulator(target).unwrap()) {
            let block = &release.blocks[index];
            let mut bytes = vec![0; block.length as usize];
            real.read_exact_at(&mut bytes, block.offset).unwrap();
            copy.write_all_at(&bytes, block.offset).unwrap();
        }
        path
    }

    /// A manifest file with the real release and no addresses but a mirror's.
    pub fn manifest_without_urls(&self) -> PathBuf {
        let mut release = cache::release();
        release.urls.clear();
        self.file("mirrored.toml", manifest_of(release))
    }

    /// Pins these bytes as the emulator of a target.
    pub fn pin(&self, target: &str, bytes: &[u8]) -> Pinned {
        let block = zstd::encode_all(bytes, 1).unwrap();
        let mut release = cache::release();
        release.qemu = "9.9.9".to_owned();
        release.size = block.len() as u64;
        release.sha256 = Digest::of(&block);
        release.encoding = Encoding::Zstd;
        release.blocks = vec![Block {
            offset: 0,
            length: block.len() as u64,
            decoded: bytes.len() as u64,
            sha256: Digest::of(&block),
        }];
        release.emulators = vec![Emulator {
            target: target.to_owned(),
            offset: 0,
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
        }];
        Pinned {
            manifest: self.file("pinned.toml", manifest_of(release)),
            package: self.file("pinned.deb", block),
        }
    }
}

/// A static program of this host's, of this machine code.
pub fn native_program(code: &'static [u8]) -> Vec<u8> {
    let (target, shape) = (host().target(), Shape::Usual);
    Probe {
        target,
        code,
        shape,
    }
    .image()
}

/// A file, open for writing.
pub fn writable(path: &Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("a file of the world")
}
