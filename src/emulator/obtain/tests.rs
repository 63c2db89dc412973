//! What becomes of blocks that come, in whatever order, and of those that don't.

use std::fs;
use std::sync::Mutex;

use super::*;
use crate::digest::Digest;
use crate::emulator::decode::tests::xz_block;
use crate::emulator::errand::{Output, decode};
use crate::emulator::manifest::{Block, Encoding};
use crate::emulator::source::{Deliver, Failure, Source};

const BLOCK: usize = 300_000;

/// Two blocks of content in which nothing repeats for long.
fn content() -> Vec<u8> {
    let words = (0..BLOCK as u32 / 2).flat_map(|n| (n.wrapping_mul(n) / 7).to_le_bytes());
    words.collect()
}

/// A package of two blocks, which are read backwards.
struct Package {
    blocks: Vec<Vec<u8>>,
    /// This one doesn't come.
    lost: Option<usize>,
    /// And that isn't told.
    silently: bool,
}

impl Package {
    fn new() -> Self {
        Self {
            blocks: content()
                .chunks(BLOCK)
                .map(|part| xz_block(part, 6))
                .collect(),
            lost: None,
            silently: false,
        }
    }

    /// Three emulators: in the first block, in both, and to the end of the second.
    fn release(&self) -> Release {
        let mut release = crate::emulator::source::tests::release(b"", []);
        release.encoding = Encoding::Xz { check: 4 };
        release.blocks = (self.blocks.iter())
            .map(|bytes| Block {
                offset: 0,
                length: bytes.len() as u64,
                decoded: BLOCK as u64,
                sha256: Digest::of(bytes),
            })
            .collect();
        let places = [
            ("arm", 100..150_000),
            ("aarch64", 200_000..400_000),
            ("s390x", 400_000..600_000),
        ];
        release.emulators = places
            .map(|(target, place)| Emulator {
                target: target.to_owned(),
                offset: place.start as u64,
                size: place.len() as u64,
                sha256: Digest::of(&content()[place]),
            })
            .into();
        release
    }
}

impl Source for Package {
    fn name(&self) -> String {
        "a test".to_owned()
    }

    fn fetch(
        &self,
        _release: &Release,
        wanted: &[usize],
        _ranges: usize,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), Failure> {
        for &index in wanted.iter().rev() {
            if self.lost == Some(index) && self.silently {
                continue;
            }
            if self.lost == Some(index) {
                return Err(Failure::Source(Error::new(Status::Unreachable, "lost")));
            }
            deliver(index, self.blocks[index].clone()).map_err(Failure::Deliver)?;
        }
        Ok(())
    }
}

/// Obtains these emulators, in this process, and says which are there afterwards.
fn obtain_from(
    package: Package,
    release: &Release,
    targets: &[&str],
    jobs: Option<usize>,
) -> (Result<()>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(&dir.path().join("store")).unwrap();
    let wanted = targets.iter().map(|target| {
        let emulator = release.emulator(target).unwrap();
        let staged = store.stage(&emulator.sha256, &emulator.binary());
        Work::new(emulator, staged.unwrap())
    });
    let work: Vec<_> = wanted.collect();
    let sources: [Box<dyn Source>; 1] = [Box::new(package)];
    let obtained = {
        let work: Vec<_> = work.iter().collect();
        let drafts = Drafts::make(&work).unwrap();
        let outputs: Vec<_> = (work.iter().zip(&drafts.files))
            .map(|(work, draft)| {
                let (file, path) = (draft.try_clone().unwrap(), work.path().to_owned());
                Output::new(release, work.emulator, file, path)
            })
            .collect();
        finish_while(&work, &drafts, &|_| {}, |hear| {
            let hear = Mutex::new(hear);
            let tell = |told| drop((hear.lock().unwrap())(told));
            decode(release, &outputs, &sources, jobs, &tell)
        })
    };
    let obtained = obtained.map_err(|ended| ended.error);
    drop(work);
    let there = store.list().unwrap();
    for path in &there {
        assert!(store.is_sound(path).unwrap());
    }
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = there.iter().map(name).collect();
    names.sort();
    // Nothing is left of what isn't whole.
    let bin = dir.path().join("store/bin");
    let files = fs::read_dir(bin)
        .unwrap()
        .flat_map(|dir| fs::read_dir(dir.unwrap().path()).unwrap());
    assert_eq!(files.count(), names.len());
    (obtained, names)
}

#[test]
fn emulators_that_share_blocks_come_whole_however_many_decode() {
    for jobs in [None, Some(1), Some(2), Some(16)] {
        let release = Package::new().release();
        let all = ["arm", "aarch64", "s390x"];
        let (obtained, there) = obtain_from(Package::new(), &release, &all, jobs);
        obtained.unwrap();
        assert_eq!(there, ["qemu-aarch64", "qemu-arm", "qemu-s390x"]);
    }
}

#[test]
fn a_block_is_decoded_to_the_last_byte_that_somebody_needs_and_no_further() {
    let damaged = || {
        let mut package = Package::new();
        let length = package.blocks[0].len();
        // About a quarter of what the block decodes to.
        package.blocks[0][length * 3 / 4..].fill(0xff);
        package
    };
    // The digest is that of the damaged block, so only who decodes the damage sees it.
    let release = damaged().release();
    let (obtained, there) = obtain_from(damaged(), &release, &["arm"], None);
    obtained.unwrap();
    assert_eq!(there, ["qemu-arm"]);
    let (obtained, there) = obtain_from(damaged(), &release, &["arm", "aarch64"], None);
    assert_eq!(obtained.unwrap_err().status(), Status::Integrity);
    assert!(there.is_empty());
}

#[test]
fn what_came_whole_before_a_failure_is_kept() {
    let mut package = Package::new();
    package.lost = Some(0);
    let release = package.release();
    let (obtained, there) = obtain_from(package, &release, &["arm", "aarch64", "s390x"], None);
    assert_eq!(obtained.unwrap_err().reason(), "lost");
    assert_eq!(there, ["qemu-s390x"]);
}

#[test]
fn a_source_that_leaves_something_out_has_failed() {
    let mut package = Package::new();
    (package.lost, package.silently) = (Some(0), true);
    let release = package.release();
    let (obtained, there) = obtain_from(package, &release, &["arm", "s390x"], None);
    assert_eq!(obtained.unwrap_err().status(), Status::Failed);
    assert_eq!(there, ["qemu-s390x"]);
}

#[test]
fn an_emulator_with_other_bytes_gets_no_name_and_is_what_is_told() {
    let mut release = Package::new().release();
    release.emulators[1].sha256 = Digest::of(b"something else");
    let (obtained, there) = obtain_from(Package::new(), &release, &["aarch64"], None);
    let error = obtained.unwrap_err();
    assert_eq!(error.status(), Status::Integrity);
    assert!(error.reason().contains("aarch64"), "{error}");
    assert!(there.is_empty());
}
