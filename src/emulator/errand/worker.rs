//! The side that handles outside bytes, and has no rights.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::output::Output;
use super::wire::{receive, send};
use super::{Ended, Order, Site, Task, Told, alone, attempt, pipeline, sole};
use crate::emulator::lock::lock;
use crate::emulator::source::{Apt, AptHost, Client, FileSource, Https, Source};
use crate::error::{Error, IoContext, Result, Status};

/// What came of a task: what was pinned, as a manifest, what the package is
/// called, and itself where nobody has it yet.
type Outcome = Result<Option<(String, PathBuf, Option<File>)>, Ended>;

/// Carries out what is asked for at the other end of `channel`.
pub fn work(channel: impl AsFd) -> Result<()> {
    let channel = channel.as_fd().try_clone_to_owned().attempt(attempt)?;
    let channel = UnixStream::from(channel);
    let (Order { task, cell }, files) = receive(&channel).attempt(attempt)?;
    let client = Client::new();
    // The authorities to trust lie all over a host.
    let prepare = || {
        if task.asks_the_network() {
            client.prepare();
        }
    };
    let outcome = match cell.enter(prepare) {
        Ok(_) => carry_out(task, files, &client, &channel),
        Err(error) => Err(error.into()),
    };
    let (last, package) = match outcome {
        Ok(None) => (Told::Done(None), None),
        Ok(Some((text, path, package))) => (Told::Done(Some((text, path))), package),
        Err(Ended { error, elsewhere }) => {
            let why = (&error).into();
            (Told::Failed { why, elsewhere }, None)
        }
    };
    let files: Vec<_> = package.iter().map(File::as_fd).collect();
    send(&channel, &last, &files).attempt(attempt)
}

impl Task {
    fn asks_the_network(&self) -> bool {
        match self {
            Self::Fetch { places, .. } => places.iter().any(|place| matches!(place, Site::Url(_))),
            Self::Distro { .. } | Self::Pin { .. } => false,
        }
    }
}

fn carry_out(task: Task, files: Vec<File>, client: &Client, channel: &UnixStream) -> Outcome {
    let mut files = files.into_iter();
    let mut next = || {
        files
            .next()
            .ok_or_else(|| Error::new(Status::Failed, "a file wasn't handed over"))
    };
    match task {
        Task::Fetch {
            release,
            emulators,
            places,
            jobs,
        } => {
            let release = sole(&release)?;
            let mut outputs = Vec::new();
            for (target, path) in emulators {
                let emulator = release.emulator(&target).ok_or_else(|| {
                    Error::new(
                        Status::Failed,
                        format!("the release has no emulator of {target}"),
                    )
                })?;
                outputs.push(Output::new(&release, emulator, next()?, path));
            }
            let mut sources: Vec<Box<dyn Source>> = Vec::new();
            for place in places {
                sources.push(match place {
                    Site::Url(url) => Box::new(Https::new(client, url)),
                    Site::Apt(host) => Box::new(Apt::of(host)),
                    Site::File(path) => Box::new(FileSource::of(path, next()?)),
                });
            }
            let channel = Mutex::new(channel);
            let tell = |told: Told| {
                let channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
                // Nobody listens any more: then this process is being killed.
                let _ = send(&channel, &told, &[]);
            };
            pipeline::run(&release, &outputs, &sources, jobs, &tell).map(|()| None)
        }
        Task::Distro {
            package,
            architecture,
            apt,
        } => Ok(Some(distro(apt, &package, &architecture)?)),
        Task::Pin { path, suite } => {
            let release = lock(&path, next()?, suite)?;
            Ok(Some((alone(&release), path, None)))
        }
    }
}

/// The distribution's own package, and what is in it.
fn distro(host: AptHost, package: &str, arch: &str) -> Result<(String, PathBuf, Option<File>)> {
    let path = Apt::of(host).distro_candidate(package, arch)?;
    let attempt = || format!("cannot open {}", path.display());
    let file = File::open(&path).attempt(attempt)?;
    let release = lock(&path, file.try_clone().attempt(attempt)?, None)?;
    Ok((alone(&release), path, Some(file)))
}
