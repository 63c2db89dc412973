//! Which bytes run: those that the kernel has open, held against the file at
//! the rule's path, our store and the manifest.

use std::fs::{File, Metadata};
use std::path::Path;

use super::Survey;
use crate::custody;
use crate::digest::Digest;
use crate::emulator::elf;
use crate::emulator::manifest::Release;
use crate::emulator::store::is_untouched;
use crate::probe::Runner;
use crate::report::{BytesReport, Compared, Pinned};

/// What is known of the bytes that run.
pub(super) struct Running {
    pub qemu: Option<String>,
    pub sha256: Option<Digest>,
    pub pinned: Pinned,
    pub bytes: Option<BytesReport>,
}

impl Running {
    pub fn unknown() -> Self {
        Self {
            qemu: None,
            sha256: None,
            pinned: Pinned::Unknown,
            bytes: None,
        }
    }
}

impl Survey<'_> {
    /// The digest under which the file that ran lies in our store, right now and
    /// as it was stored: bytes that were compared, an emulator that was proved.
    pub(super) fn stored(&self, runner: &Runner) -> Option<Digest> {
        let promised = self.scope.store.digest_of_path(&runner.interpreter)?;
        let file = runner.exe.metadata().ok()?;
        let is_intact = runner.is_file(&runner.interpreter) && is_untouched(&file, &promised);
        (is_intact && !self.scope.rereads).then_some(promised)
    }

    /// Whether what ran has the bytes that its path in our store stands for, and
    /// is a file that root alone could write to.
    pub fn runs_promised_bytes(&self, runner: &Runner) -> bool {
        let promised = self.scope.store.digest_of_path(&runner.interpreter);
        let is_there = promised.is_some()
            && runner.is_file(&runner.interpreter)
            && custody::is_roots(&runner.exe);
        is_there && self.digest(runner) == promised
    }

    fn digest(&self, runner: &Runner) -> Option<Digest> {
        self.stored(runner).or_else(|| runner.sha256().ok())
    }

    pub(super) fn running(&self, runner: &Runner) -> Running {
        let Some(sha256) = self.digest(runner) else {
            return Running::unknown();
        };
        let path = &runner.interpreter;
        let promised = self.scope.store.digest_of_path(path);
        let known = self.scope.manifest.and_then(|m| m.known(&sha256));
        let bytes = BytesReport {
            file: match compare(runner, path, sha256) {
                // A container has other files than the host.
                Compared::Other | Compared::Missing if !self.scope.host.sees_boot() => {
                    Compared::Unknown
                }
                compared => compared,
            },
            store: promised.map(|promised| match promised == sha256 {
                true => Compared::Same,
                false => Compared::Other,
            }),
            manifest: known.map(|release| release.qemu.clone()),
        };
        Running {
            qemu: self.version(runner, known),
            sha256: Some(sha256),
            pinned: match (bytes.file, bytes.store) {
                (_, Some(Compared::Other)) => Pinned::Stale,
                (Compared::Same, _) => Pinned::Match,
                (Compared::Other | Compared::Missing, _) => Pinned::Stale,
                (Compared::Unknown, _) => Pinned::Unknown,
            },
            bytes: Some(bytes),
        }
    }

    /// What QEMU it is, by the manifest, or else by what it says of itself.
    fn version(&self, runner: &Runner, known: Option<&Release>) -> Option<String> {
        let said = || elf::version(&runner.bytes(u64::MAX).ok()?);
        let listed = || known.map(|release| release.qemu.clone());
        match (self.scope.rereads, self.scope.everything) {
            (true, _) => said().or_else(listed),
            (false, true) => listed().or_else(said),
            (false, false) => listed(),
        }
    }
}

/// The running bytes, which have this digest, against the file at `path`.
fn compare(runner: &Runner, path: &Path, sha256: Digest) -> Compared {
    if !path.is_absolute() || path.starts_with("/proc") {
        // It is another file for everybody who looks at it.
        return Compared::Unknown;
    }
    if runner.is_file(path) {
        return Compared::Same;
    }
    let is_alike = |file: &Metadata| {
        let size = runner.exe.metadata().map(|ran| ran.len());
        file.is_file() && size.is_ok_and(|size| size == file.len())
    };
    if path.metadata().is_ok_and(|file| !is_alike(&file)) {
        // A pipe or a device would be read for ever, and a large file for long.
        return Compared::Other;
    }
    match File::open(path).and_then(Digest::of_reader) {
        Ok((found, _)) if found == sha256 => Compared::Same,
        Ok(_) => Compared::Other,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Compared::Missing,
        Err(_) => Compared::Unknown,
    }
}
