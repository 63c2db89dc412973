//! What is refused before anything depends on it, by a real run and by a dry
//! one with the same words: bytes that can't be an emulator, rules that would
//! stop the host, a root in which nothing can be started.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::plan::Step;
use crate::binfmt::{Guard, Rule};
use crate::commands::Context;
use crate::durable;
use crate::emulator::elf;
use crate::error::{Error, IoContext, Result, Status};
use crate::host::Host;
use crate::platform::Platform;
use crate::probe::{Probe, Shape};
use crate::report::survey::Survey;

/// Where emulators are had that fit, for what is fetched.
pub(super) const PIN: &str =
    "pin a package of static emulators for this host with `binfmtctl manifest lock`";

/// No program can be started without it, and every start would blame something
/// else.
pub(in crate::commands) fn require_null() -> Result<()> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map(drop)
        .attempt(|| "cannot try any emulator without /dev/null".to_owned())
        .map_err(|error| error.hint("give this root a /dev: mount --rbind /dev ROOT/dev"))
}

/// Refuses bytes, wherever they are now, that at this path would be no static
/// program for the host; `remedy` says where others are had. Returns the first
/// of them.
pub(super) fn check_emulator(
    step: &Step,
    path: &Path,
    bytes: &Path,
    host: &'static Platform,
    remedy: &str,
) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    durable::open_file(bytes)
        .and_then(|file| file.take(elf::HEAD as u64).read_to_end(&mut head))
        .attempt(|| format!("cannot read {}", bytes.display()))?;
    elf::check(&head, host).map_err(|unfit| {
        Error::new(
            Status::Unsupported,
            format!("cannot use {} for {}", path.display(), step.platform.name),
        )
        .because(unfit)
        .hint(remedy)
    })?;
    Ok(head)
}

/// Refuses a rule that would stop the host.
pub(super) fn check_rule(guard: &Guard, rule: &Rule, platform: &Platform) -> Result<()> {
    guard.check(rule).map_err(|refusal| {
        Error::new(
            Status::Unsupported,
            format!("refused to register {}", platform.name),
        )
        .because(refusal)
    })
}

/// Refuses lines of the conf file that would stop the host, whoever wrote them:
/// a boot applies them without this program.
pub(in crate::commands) fn check_lines(context: &Context, lines: &[Rule]) -> Result<()> {
    let guard = host_guard(&context.host);
    lines.iter().try_for_each(|rule| {
        guard.check(rule).map_err(|refusal| {
            let what = format!("cannot use {}", context.conf.display());
            Error::new(Status::Invalid, what)
                .because(refusal)
                .hint("remove that line before the next boot, which would apply it")
        })
    })
}

/// What must stay native: the programs of this host, and everything that
/// looks like one.
pub(super) fn guard(survey: &Survey<'_>) -> Guard {
    let mut guard = Guard::of_host(survey.host().emulated);
    let native = survey.native_platforms();
    native.for_each(|platform| protect_platform(&mut guard, platform));
    guard
}

/// The same but for what the kernel also runs, as amd64 does 386.
pub(in crate::commands) fn host_guard(host: &Host) -> Guard {
    let mut guard = Guard::of_host(host.emulated);
    protect_platform(&mut guard, host.platform);
    guard
}

/// Programs of all shapes that a platform's may have.
fn protect_platform(guard: &mut Guard, platform: &'static Platform) {
    let shapes = [Shape::Usual, Shape::Pie, Shape::Gnu];
    for (target, shape) in platform
        .targets()
        .flat_map(|target| shapes.map(|shape| (target, shape)))
    {
        let probe = Probe {
            shape,
            ..Probe::of(target)
        };
        guard.protect(format!("native {} programs", platform.name), probe.image());
    }
}

#[cfg(test)]
mod tests;
