//! Where the blocks of a pinned artifact come from: a URL, the host's apt, or
//! a file that somebody carried in; or its emulators as they are.
//!
//! A source is trusted with nothing. Every block is compared with its digest
//! in `hand_over`, the only way out of this module, before anybody sees it.
//! What is refused: other bytes than the pinned ones, and any quiet way from
//! https down to http.

mod apt;
mod client;
mod file;
mod https;
mod ranges;
mod stream;
#[cfg(test)]
pub(crate) mod testserver;
mod tls;

pub use apt::{Apt, AptHost, CREDENTIALS, DISTRO_PACKAGES};
pub use client::{Client, Settings};
pub use file::FileSource;
pub use https::Https;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::directory::Directory;
use super::manifest::Release;
use crate::digest::Digest;
use crate::error::{Error, Result, Status};

/// Who takes a verified block, by its index.
pub type Deliver<'a> = dyn FnMut(usize, Vec<u8>) -> Result<()> + Send + 'a;

/// A place that the blocks of one pinned artifact can be read from.
pub trait Source: Send + Sync {
    /// What a person calls it: `https://host/path`, `the host's apt`, `/srv/x.deb`.
    fn name(&self) -> String;

    /// Hands every one of `wanted` (indices into `release.blocks`, ascending)
    /// to `deliver`, verified against its digest, in any order, each once; where
    /// that helps, with so many `ranges` in flight.
    ///
    /// The first failure ends it, and what was delivered before stays good;
    /// the rest can be asked of another source.
    fn fetch(
        &self,
        release: &Release,
        wanted: &[usize],
        ranges: usize,
        deliver: &mut Deliver<'_>,
    ) -> Result<(), Failure>;
}

/// Whose fault it is that a fetch ended early.
#[derive(Debug)]
pub enum Failure {
    /// The source's: the next source may do better.
    Source(Error),
    /// The receiver's, passed on as it came: no other source will help.
    Deliver(Error),
}

impl Failure {
    /// The error itself, whoever caused it.
    pub fn into_error(self) -> Error {
        match self {
            Self::Source(error) | Self::Deliver(error) => error,
        }
    }
}

/// Verifies one block and gives it to the receiver.
fn hand_over(
    source: &str,
    release: &Release,
    index: usize,
    bytes: Vec<u8>,
    deliver: &mut Deliver<'_>,
) -> Result<(), Failure> {
    let expected = release.blocks[index].sha256;
    let found = Digest::of(&bytes);
    if found != expected {
        let what = format!(
            "block {index} of {} from {source} isn't the pinned one: expected sha256 {expected}, found {found}",
            release.file
        );
        return Err(Failure::Source(Error::new(Status::Integrity, what)));
    }
    deliver(index, bytes).map_err(Failure::Deliver)
}

/// A block's length as a buffer size.
fn buffer_size(release: &Release, index: usize) -> Result<usize, Failure> {
    usize::try_from(release.blocks[index].length).map_err(|cause| {
        let what = format!("block {index} of {} doesn't fit into memory", release.file);
        Failure::Source(Error::new(Status::Unsupported, what).because(cause))
    })
}

/// What `--source` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Whatever works, in the order of [`candidates`].
    Auto,
    /// The mirror and the manifest's URLs.
    Https,
    /// The pinned package, through the host's apt.
    Apt,
    /// The distribution's own package, through the host's apt.
    Distro,
    /// A package file, or a directory that holds it or its emulators.
    Path(PathBuf),
}

impl FromStr for Choice {
    type Err = Error;

    /// A word is looked at before a path, so a file `apt` is written `./apt`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "https" => Ok(Self::Https),
            "apt" => Ok(Self::Apt),
            "distro" => Ok(Self::Distro),
            url if url.contains("://") => Err(Error::new(
                Status::Usage,
                format!("{url} is a URL: give it as --mirror"),
            )),
            path if path.contains('/') || PathBuf::from(path).exists() => {
                Ok(Self::Path(path.into()))
            }
            word => Err(Error::new(
                Status::Usage,
                format!(
                    "no source is called {word:?}: auto, https, apt, distro, or a file or directory"
                ),
            )),
        }
    }
}

/// Where a package may be had; nothing was asked of it yet.
#[derive(Debug)]
pub enum Place {
    /// At an address.
    Url(String),
    /// From the host's apt.
    Apt(AptHost),
    /// In a file.
    File(FileSource),
}

/// Where a release's emulators may be had, in the order to try.
#[derive(Debug, Default)]
pub struct Sources {
    /// Emulators as they are.
    pub emulators: Option<Arc<Directory>>,
    /// The package that they lie in.
    pub packages: Vec<Place>,
}

impl Sources {
    fn packages(packages: Vec<Place>) -> Self {
        Self {
            emulators: None,
            packages,
        }
    }
}

/// The sources of a choice: emulators that are at hand, the mirror, the
/// manifest's URLs, the host's apt; or the file alone. [`Choice::Distro`] has
/// none, since its package isn't the pinned one: see [`Apt::distro_candidate`].
pub fn candidates(
    choice: &Choice,
    release: &Release,
    mirror: Option<&str>,
    apt: &AptHost,
    at_hand: Option<&Arc<Directory>>,
) -> Result<Sources> {
    match choice {
        Choice::Auto => {
            let mut packages = urls(release, mirror)?;
            packages.push(Place::Apt(apt.clone()));
            Ok(Sources {
                emulators: at_hand.cloned(),
                packages,
            })
        }
        Choice::Https => {
            let sources = urls(release, mirror)?;
            if sources.is_empty() {
                let what = format!("the manifest names no URL for {}", release.file);
                return Err(Error::new(Status::Unreachable, what)
                    .hint("name a mirror with --mirror, or another --source"));
            }
            Ok(Sources::packages(sources))
        }
        Choice::Apt => Ok(Sources::packages(vec![Place::Apt(apt.clone())])),
        Choice::Distro => Ok(Sources::default()),
        Choice::Path(path) if path.is_dir() => in_dir(path, release),
        Choice::Path(path) => Ok(Sources::packages(vec![Place::File(FileSource::open(
            path,
        )?)])),
    }
}

/// The package in a directory, its emulators, or both.
fn in_dir(dir: &Path, release: &Release) -> Result<Sources> {
    let emulators = Directory::hold(dir)?;
    let package = FileSource::in_dir(dir, release)?;
    match (package, emulators.has_any(release)) {
        (None, false) => {
            let [name, apt_name] = FileSource::names(release);
            let dir = dir.display();
            Err(Error::new(
                Status::Unreachable,
                format!(
                    "{dir} holds neither {name}, nor {apt_name}, nor an emulator of it (qemu-<target>)"
                ),
            ))
        }
        (package, loose) => Ok(Sources {
            emulators: loose.then(|| Arc::new(emulators)),
            packages: package.into_iter().map(Place::File).collect(),
        }),
    }
}

fn urls(release: &Release, mirror: Option<&str>) -> Result<Vec<Place>> {
    let mut urls = match mirror {
        Some(mirror) => below_mirror(mirror, release)?,
        None => Vec::new(),
    };
    urls.extend(release.urls.iter().cloned());
    Ok(urls.into_iter().map(Place::Url).collect())
}

/// Where a mirror may have the artifact: laid out like Debian's archive, or flat.
fn below_mirror(mirror: &str, release: &Release) -> Result<Vec<String>> {
    let wrong = |why: &str| Error::new(Status::Usage, format!("--mirror {mirror}: {why}"));
    if !mirror.starts_with("https://") && !mirror.starts_with("http://") {
        return Err(wrong("a mirror is an https:// or http:// URL"));
    }
    if mirror.contains(['?', '#']) {
        return Err(wrong("paths are put after it, so it can't have a ? or #"));
    }
    reqwest::Url::parse(mirror).map_err(|cause| wrong("not a URL").because(cause))?;
    let base = mirror.trim_end_matches('/');
    Ok(release
        .path
        .iter()
        .chain([&release.file])
        .map(|path| format!("{base}/{path}"))
        .collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::ops::Range;

    use super::*;
    use crate::emulator::manifest::{Block, Encoding};

    /// A release whose artifact is `body`, with blocks at these places.
    pub(crate) fn release(body: &[u8], places: impl IntoIterator<Item = Range<usize>>) -> Release {
        Release {
            qemu: "10.0.13".into(),
            host: "amd64".into(),
            package: "qemu-user".into(),
            version: "1:10.0.13+ds-0+deb13u1".into(),
            suite: Some("trixie".into()),
            file: "qemu-user_10.0.13+ds-0+deb13u1_amd64.deb".into(),
            path: Some("pool/main/q/qemu/qemu-user_10.0.13+ds-0+deb13u1_amd64.deb".into()),
            size: body.len() as u64,
            sha256: Digest::of(body),
            urls: vec!["https://archive.example/file/1".into()],
            encoding: Encoding::Zstd,
            blocks: places
                .into_iter()
                .map(|place| Block {
                    offset: place.start as u64,
                    length: place.len() as u64,
                    decoded: 0,
                    sha256: Digest::of(&body[place]),
                })
                .collect(),
            emulators: Vec::new(),
        }
    }

    /// What a source delivers, by block.
    pub(crate) fn fetched(
        source: &dyn Source,
        release: &Release,
        wanted: &[usize],
    ) -> Result<Vec<(usize, Vec<u8>)>, Failure> {
        let mut got = Vec::new();
        source.fetch(release, wanted, 1, &mut |index, bytes| {
            got.push((index, bytes));
            Ok(())
        })?;
        Ok(got)
    }

    fn names(choice: &Choice, mirror: Option<&str>) -> Vec<String> {
        let apt = AptHost::default();
        let sources = candidates(choice, &release(b"", []), mirror, &apt, None).unwrap();
        let name = |place: &Place| match place {
            Place::Url(url) => url.clone(),
            Place::Apt(_) => "the host's apt".to_owned(),
            Place::File(file) => file.name(),
        };
        sources.packages.iter().map(name).collect()
    }

    #[test]
    fn the_mirror_comes_first_then_the_manifest_then_apt() {
        let file = "qemu-user_10.0.13+ds-0+deb13u1_amd64.deb";
        assert_eq!(
            names(&Choice::Auto, Some("http://mirror.example/debian/")),
            [
                &format!("http://mirror.example/debian/pool/main/q/qemu/{file}"),
                &format!("http://mirror.example/debian/{file}"),
                "https://archive.example/file/1",
                "the host's apt",
            ]
        );
        assert_eq!(
            names(&Choice::Https, None),
            ["https://archive.example/file/1"]
        );
        assert_eq!(names(&Choice::Apt, None), ["the host's apt"]);
        assert!(names(&Choice::Distro, None).is_empty());
    }

    #[test]
    fn emulators_at_hand_come_before_the_network_and_only_where_nothing_was_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let at_hand = Arc::new(Directory::hold(dir.path()).unwrap());
        let has = |choice| {
            let sources = candidates(
                &choice,
                &release(b"", []),
                None,
                &AptHost::default(),
                Some(&at_hand),
            )
            .unwrap();
            sources.emulators.is_some()
        };
        assert!(has(Choice::Auto));
        assert!(!has(Choice::Https) && !has(Choice::Apt));
    }

    #[test]
    fn a_directory_holds_the_package_its_emulators_or_both() {
        let dir = tempfile::tempdir().unwrap();
        let mut release = release(b"", []);
        release.emulators.push(crate::emulator::manifest::Emulator {
            target: "arm".into(),
            offset: 0,
            size: 0,
            sha256: Digest::of(b""),
        });
        let look = || {
            let choice = Choice::Path(dir.path().into());
            let sources = candidates(&choice, &release, None, &AptHost::default(), None)?;
            Ok::<_, Error>((sources.emulators.is_some(), sources.packages.len()))
        };
        let error = look().unwrap_err();
        assert_eq!(error.status(), Status::Unreachable);
        for name in [
            "qemu-user_10.0.13",
            "qemu-user_1%3a10.0.13",
            "qemu-<target>",
        ] {
            assert!(error.reason().contains(name), "{error}");
        }
        std::fs::write(dir.path().join("qemu-arm"), b"").unwrap();
        assert_eq!(look().unwrap(), (true, 0));
        std::fs::write(dir.path().join(&release.file), b"").unwrap();
        assert_eq!(look().unwrap(), (true, 1));
        std::fs::remove_file(dir.path().join("qemu-arm")).unwrap();
        assert_eq!(look().unwrap(), (false, 1));
    }

    #[test]
    fn a_mirror_is_a_web_address() {
        for mirror in [
            "ftp://mirror.example",
            "/srv/mirror",
            "https://",
            "https://a/?x=1",
        ] {
            let error = candidates(
                &Choice::Auto,
                &release(b"", []),
                Some(mirror),
                &AptHost::default(),
                None,
            )
            .err()
            .unwrap();
            assert_eq!(error.status(), Status::Usage, "{mirror}");
            assert!(error.reason().contains(mirror), "{error}");
        }
    }

    #[test]
    fn https_without_any_url_says_so() {
        let mut release = release(b"", []);
        release.urls.clear();
        let error = candidates(&Choice::Https, &release, None, &AptHost::default(), None)
            .err()
            .unwrap();
        assert!(error.line().to_string().contains("--mirror"), "{error}");
    }

    #[test]
    fn a_source_is_one_of_four_words_or_a_path() {
        let here = tempfile::NamedTempFile::new().unwrap();
        let path = here.path().to_str().unwrap();
        assert_eq!("apt".parse::<Choice>().unwrap(), Choice::Apt);
        assert_eq!("https".parse::<Choice>().unwrap(), Choice::Https);
        assert_eq!("distro".parse::<Choice>().unwrap(), Choice::Distro);
        assert_eq!("auto".parse::<Choice>().unwrap(), Choice::Auto);
        assert_eq!(path.parse::<Choice>().unwrap(), Choice::Path(path.into()));
        assert_eq!(
            "./apt".parse::<Choice>().unwrap(),
            Choice::Path("./apt".into())
        );
        let error = "ftp".parse::<Choice>().unwrap_err().to_string();
        assert!(error.contains("auto, https, apt, distro"), "{error}");
        let error = "https://m.example/".parse::<Choice>().unwrap_err();
        assert!(error.to_string().contains("--mirror"), "{error}");
    }

    #[test]
    fn other_bytes_never_reach_the_receiver() {
        let release = release(b"right", Some(0..5));
        let mut receiver = |_, _| panic!("delivered");
        let failure = hand_over("/srv/x", &release, 0, b"wrong".to_vec(), &mut receiver);
        let Err(Failure::Source(error)) = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(error.status(), Status::Integrity);
        let text = error.to_string();
        for part in [
            "/srv/x",
            "block 0",
            &Digest::of(b"right").to_string(),
            &Digest::of(b"wrong").to_string(),
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_receivers_failure_isnt_the_sources() {
        let release = release(b"right", Some(0..5));
        let mut full = |_, _| Err(Error::new(Status::Failed, "the disk is full"));
        let failure = hand_over("x", &release, 0, b"right".to_vec(), &mut full);
        let Err(Failure::Deliver(error)) = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(error.reason(), "the disk is full");
    }
}
