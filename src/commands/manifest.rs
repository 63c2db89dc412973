//! `manifest show`, `verify`, `extract`, `lock`: what is pinned, whether the
//! disk agrees, the pinned bytes as files, and pinning something else.

mod extract;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Reply, json, load_manifest};
use crate::cli::ManifestCommand;
use crate::digest::Digest;
use crate::emulator::errand;
use crate::emulator::manifest::{Manifest, Release};
use crate::emulator::store::Store;
use crate::error::{Error, IoContext, Result, Status};
use crate::report::console::Console;

/// Runs one of the four.
pub fn run(
    store: &Store,
    console: &Console,
    jobs: Option<usize>,
    command: &ManifestCommand,
) -> Result<Reply> {
    match command {
        ManifestCommand::Show { manifest } => {
            show(console, &load_manifest(manifest.manifest.as_deref())?)
        }
        ManifestCommand::Verify { packages, manifest } => verify(
            store,
            console,
            packages,
            &load_manifest(manifest.manifest.as_deref())?,
        ),
        ManifestCommand::Extract(args) => extract::run(console, jobs, args),
        ManifestCommand::Lock {
            packages,
            url,
            suite,
            default,
        } => lock_packages(console, packages, url, suite.as_deref(), default.as_deref()),
    }
}

/// What is pinned, as data.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema: u32,
    default: &'a str,
    releases: Vec<ShownRelease<'a>>,
}

#[derive(Debug, Serialize)]
struct ShownRelease<'a> {
    qemu: &'a str,
    host: &'a str,
    package: &'a str,
    version: &'a str,
    suite: Option<&'a str>,
    file: &'a str,
    path: Option<&'a str>,
    size: u64,
    sha256: String,
    urls: &'a [String],
    emulators: Vec<ShownEmulator<'a>>,
}

#[derive(Debug, Serialize)]
struct ShownEmulator<'a> {
    target: &'a str,
    size: u64,
    sha256: String,
    /// Compressed bytes that have to be fetched for it alone.
    fetch: u64,
}

fn show(console: &Console, manifest: &Manifest) -> Result<Reply> {
    let releases: Vec<_> = manifest.releases.iter().map(shown_release).collect();
    let text = match console.json {
        true => json(&Shown {
            schema: 1,
            default: &manifest.default,
            releases,
        })?,
        false => releases.iter().fold(String::new(), |mut text, release| {
            let marker = match release.qemu == manifest.default {
                true => " (default)",
                false => "",
            };
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "QEMU {}{marker} for {} hosts: {} emulators\n  {}, {} bytes\n  sha256 {}",
                release.qemu,
                release.host,
                release.emulators.len(),
                release.file,
                release.size,
                release.sha256
            );
            for url in release.urls {
                let _ = writeln!(text, "  {url}");
            }
            text
        }),
    };
    Ok(Reply {
        text: Some(text),
        ..Reply::default()
    })
}

fn shown_release(release: &Release) -> ShownRelease<'_> {
    ShownRelease {
        qemu: &release.qemu,
        host: &release.host,
        package: &release.package,
        version: &release.version,
        suite: release.suite.as_deref(),
        file: &release.file,
        path: release.path.as_deref(),
        size: release.size,
        sha256: release.sha256.to_string(),
        urls: &release.urls,
        emulators: release
            .emulators
            .iter()
            .map(|emulator| ShownEmulator {
                target: &emulator.target,
                size: emulator.size,
                sha256: emulator.sha256.to_string(),
                fetch: release
                    .blocks_of(emulator)
                    .map(|block| release.blocks[block].length)
                    .sum(),
            })
            .collect(),
    }
}

/// One file that was held against the manifest.
#[derive(Debug, Serialize)]
struct Verified {
    path: String,
    sound: bool,
    detail: String,
}

fn verify(
    store: &Store,
    console: &Console,
    packages: &[PathBuf],
    manifest: &Manifest,
) -> Result<Reply> {
    let mut results = Vec::new();
    for path in store.list()? {
        results.push(verify_emulator(store, &path, manifest)?);
    }
    for path in packages {
        for file in package_files(path)? {
            results.push(verify_package(&file, manifest)?);
        }
    }
    let bad: Vec<&str> = results
        .iter()
        .filter(|result| !result.sound)
        .map(|result| result.path.as_str())
        .collect();
    let failure = (!bad.is_empty()).then(|| {
        Error::new(
            Status::Integrity,
            format!("not the pinned bytes: {}", bad.join(", ")),
        )
        .hint("damaged emulators are replaced by `binfmtctl install`; get damaged packages anew")
    });
    let text = match console.json {
        true => json(&serde_json::json!({ "schema": 1, "files": results }))?,
        false => results.iter().fold(String::new(), |mut text, result| {
            let word = if result.sound { "ok " } else { "BAD" };
            let _ = writeln!(text, "{word} {}  {}", result.path, result.detail);
            text
        }),
    };
    Ok(Reply {
        text: Some(text),
        failure,
        ..Reply::default()
    })
}

fn verify_emulator(store: &Store, path: &Path, manifest: &Manifest) -> Result<Verified> {
    let digest = store.digest_of_path(path);
    let sound = store.is_sound(path)?;
    let release = digest.and_then(|digest| manifest.known(&digest));
    Ok(Verified {
        path: path.display().to_string(),
        sound,
        detail: match (sound, release) {
            (false, _) => "its bytes aren't those of its name".to_owned(),
            (true, Some(release)) => format!("QEMU {} for {}", release.qemu, release.host),
            (true, None) => "whole, of a release that this manifest doesn't have".to_owned(),
        },
    })
}

fn verify_package(path: &Path, manifest: &Manifest) -> Result<Verified> {
    let attempt = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).attempt(attempt)?;
    let (digest, size) = Digest::of_reader(file).attempt(attempt)?;
    let release = manifest
        .releases
        .iter()
        .find(|release| release.sha256 == digest && release.size == size);
    Ok(Verified {
        path: path.display().to_string(),
        sound: release.is_some(),
        detail: match release {
            Some(release) => format!("QEMU {} for {}", release.qemu, release.host),
            None => format!("sha256 {digest} ({size} bytes) is of no pinned package"),
        },
    })
}

/// The file itself, or the packages in a directory.
fn package_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let attempt = || format!("cannot list {}", path.display());
    let mut files = Vec::new();
    for file in std::fs::read_dir(path).attempt(attempt)? {
        let file = file.attempt(attempt)?.path();
        if file.extension().is_some_and(|ending| ending == "deb") {
            files.push(file);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(Error::new(
            Status::Usage,
            format!("there is no .deb package in {}", path.display()),
        )),
        false => Ok(files),
    }
}

fn lock_packages(
    console: &Console,
    packages: &[PathBuf],
    urls: &[String],
    suite: Option<&str>,
    default: Option<&str>,
) -> Result<Reply> {
    let mut releases = Vec::new();
    for package in packages {
        console.detail(&format!("reading {}", package.display()));
        let mut release = errand::pin(package, suite)?;
        release.urls = urls.iter().map(|url| fill(url, &release)).collect();
        releases.push(release);
    }
    let first = releases.first().map(|release| release.qemu.clone());
    let manifest = Manifest {
        default: default.map(str::to_owned).or(first).unwrap_or_default(),
        releases,
    };
    let text = manifest.to_toml();
    // What is written must be what can be read.
    Manifest::parse(&text).map_err(|error| {
        Error::new(
            Status::Invalid,
            "these packages don't make a valid manifest",
        )
        .because(error)
    })?;
    Ok(Reply {
        text: Some(match console.json {
            true => json(&serde_json::json!({ "schema": 1, "manifest": text }))?,
            false => text,
        }),
        ..Reply::default()
    })
}

/// A URL with the release's own names in it.
fn fill(url: &str, release: &Release) -> String {
    url.replace("{file}", &release.file)
        .replace("{path}", release.path.as_deref().unwrap_or(&release.file))
}
