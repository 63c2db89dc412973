//! Which bytes run: those that the kernel has open, held against the file at
//! the rule's path, our store and the manifest.

use std::fs::{File, Metadata};
use std::path::Path;

use super::Survey;
use crate::digest::Digest;
use crate::emulator::elf;
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
    /// Whether what ran is, right now, the file at its path in our store, where
    /// only an emulator comes that was proved.
    pub(super) fn is_from_store(&self, runner: &Runner) -> bool {
        let promised = self.scope.store.digest_of_path(&runner.interpreter);
        promised.is_some() && runner.is_file(&runner.interpreter)
    }

    /// Whether what ran has the bytes that its path in our store stands for.
    pub fn runs_promised_bytes(&self, runner: &Runner) -> bool {
        let promised = || self.scope.store.digest_of_path(&runner.interpreter);
        let has_bytes = || !self.scope.thorough || runner.sha256().ok() == promised();
        self.is_from_store(runner) && has_bytes()
    }

    pub(super) fn running(&self, runner: &Runner) -> Running {
        if !self.scope.thorough {
            return self.running_file(runner);
        }
        let Ok(sha256) = runner.sha256() else {
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
            // What it says of itself; a manifest may call it anything.
            qemu: (runner.bytes(u64::MAX).ok())
                .and_then(|bytes| elf::version(&bytes))
                .or_else(|| bytes.manifest.clone()),
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

    /// The same by the file alone.
    fn running_file(&self, runner: &Runner) -> Running {
        let pinned = match runner.is_file(&runner.interpreter) {
            true => Pinned::Match,
            false if self.scope.host.sees_boot() => Pinned::Stale,
            false => Pinned::Unknown,
        };
        Running {
            pinned,
            ..Running::unknown()
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
