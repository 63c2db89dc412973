//! `manifest extract`: request -> fetch -> verify -> decode -> verify -> write,
//! into a directory, for a host of any architecture. For whoever ships the
//! emulators: images, packages. Nothing of this host is looked at or changed.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::json;
use crate::cli::Extract;
use crate::commands::{Reply, load_manifest, parse_platforms};
use crate::emulator::manifest::{Emulator, Release};
use crate::emulator::obtain;
use crate::emulator::source::{AptHost, Choice, candidates};
use crate::error::{Error, Result, Status};
use crate::host::{Host, architecture_of};
use crate::platform::{Platform, Request};
use crate::report::console::Console;

/// What was written, as data.
#[derive(Debug, Serialize)]
struct Extracted<'a> {
    schema: u32,
    qemu: &'a str,
    host: &'a str,
    package: &'a str,
    version: &'a str,
    emulators: Vec<Written<'a>>,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    platform: &'a str,
    target: &'a str,
    path: String,
    size: u64,
    sha256: String,
}

/// Writes the emulators, and says which file has which bytes.
pub fn run(console: &Console, jobs: Option<usize>, args: &Extract) -> Result<Reply> {
    let manifest = load_manifest(args.fetch.manifest.manifest.as_deref())?;
    let request = parse_platforms(&args.platforms)?;
    let source = pinned_source(&args.fetch.source)?;
    let host = match &args.runs_on {
        Some(name) => one_platform(name)?,
        None => Host::read()?.platform,
    };
    let release = manifest.release(architecture_of(host)?, args.fetch.qemu.as_deref())?;
    let emulators = choose(&request, host, release)?;
    let sources = candidates(
        &source,
        release,
        args.fetch.mirror.as_deref(),
        &AptHost::default(),
        None,
    )?;
    let observe = |event: obtain::Event<'_>| console.progress(event);
    let paths = obtain::extract(&args.to, release, &emulators, &sources, jobs, &observe)?;
    let written = emulators.iter().zip(&paths).map(written).collect();
    Ok(Reply {
        text: Some(describe(console, release, host, written)?),
        ..Reply::default()
    })
}

/// The emulators that are asked for: what was named has to be there, of
/// everything else what there is.
fn choose<'a>(
    request: &Request,
    host: &Platform,
    release: &'a Release,
) -> Result<Vec<&'a Emulator>> {
    let mut chosen = Vec::new();
    for platform in request.platforms() {
        match release.emulator(platform.emulator) {
            Some(emulator) if request.names(platform) || platform != host => chosen.push(emulator),
            None if request.names(platform) => {
                return Err(Error::new(
                    Status::Unsupported,
                    format!(
                        "QEMU {} has no emulator of {} for {} hosts",
                        release.qemu, platform.name, host.name
                    ),
                )
                .hint("`binfmtctl manifest show --json` lists what there is"));
            }
            Some(_) | None => {}
        }
    }
    Ok(chosen)
}

/// A source of pinned bytes; the distribution's own aren't.
fn pinned_source(word: &str) -> Result<Choice> {
    match word.parse()? {
        Choice::Distro => Err(Error::new(
            Status::Usage,
            "only pinned emulators are extracted, and the distribution's own aren't pinned",
        )
        .hint("pin its package with `binfmtctl manifest lock`, then use --manifest and --source")),
        choice => Ok(choice),
    }
}

fn one_platform(name: &str) -> Result<&'static Platform> {
    match parse_platforms(&[name.to_owned()])? {
        Request::Named(platforms) if platforms.len() == 1 => Ok(platforms[0]),
        _ => Err(Error::new(
            Status::Usage,
            format!("--for {name}: that isn't one platform"),
        )),
    }
}

fn written<'a>((emulator, path): (&&'a Emulator, &PathBuf)) -> Written<'a> {
    Written {
        platform: emulator
            .platform()
            .map_or(&emulator.target, |platform| platform.name),
        target: &emulator.target,
        path: path.display().to_string(),
        size: emulator.size,
        sha256: emulator.sha256.to_string(),
    }
}

/// Lines that `sha256sum --check` reads, or the document.
fn describe(
    console: &Console,
    release: &Release,
    host: &Platform,
    emulators: Vec<Written<'_>>,
) -> Result<String> {
    if console.json {
        return json(&Extracted {
            schema: 1,
            qemu: &release.qemu,
            host: host.name,
            package: &release.package,
            version: &release.version,
            emulators,
        });
    }
    Ok(emulators.iter().fold(String::new(), |mut text, written| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}  {}", written.sha256, written.path);
        text
    }))
}
