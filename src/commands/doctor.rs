//! `doctor`: every known way in which a host lies, each with its evidence and
//! the one command that mends it.
//!
//! Each part reads its facts first and then judges them purely: one file for
//! each place that can be at fault.

mod boot;
mod ctl;
mod engine;
#[cfg(fuzzing)]
pub mod fuzzing;
mod instance;
mod interpreter;
mod kernel;
mod rules;
mod security;
mod words;

use self::ctl::Ctl;
use super::install::checks::check_lines;
use super::{Context, Reply, load_manifest};
use crate::cli::DoctorArgs;
use crate::error::{Error, Result, Status};
use crate::platform::{PLATFORMS, Platform, Target};
use crate::rehearsal;
use crate::report::survey::{Scope, Survey};
use crate::report::{Document, Finding, Level};
use crate::rights::{DIAGNOSING, keep_only};

/// Looks at everything, and changes nothing.
pub fn run(context: &Context, args: &DoctorArgs) -> Result<Reply> {
    let manifest = load_manifest(args.manifest.manifest.as_deref())?;
    let mut before = instance::Before::read(&context.mount, &context.host);
    before.hidden = context.show().err().map(|error| error.reason());
    keep_only(&DIAGNOSING)?;
    let scope = Scope {
        rereads: true,
        ..context.scope(&manifest)
    };
    let (survey, unusable) = Survey::take_anyway(scope, &[])?;
    let unusable = unusable.or_else(|| check_lines(context, &survey.desired).err());
    let ctl = Ctl::new(context, &survey);
    let rules = rules::Facts::read(context, &survey, native_platforms(context.jobs), &ctl);
    let boot = boot::Facts::read(context, &manifest, &survey, unusable.as_ref(), &ctl);
    let instance = instance::Facts::read(before, context, &survey, &rules, &boot);
    let findings: Vec<Finding> = [
        kernel::check(&context.host.kernel),
        // Before anything that would switch such a rule on.
        rules.native_rules(),
        instance::check(&instance, &ctl),
        rules::check(&rules),
        boot::check(&boot),
        security::check(context, &survey, &ctl, rules.sees_files),
        engine::check(&context.host, &survey, &ctl),
    ]
    .into_iter()
    .flatten()
    .map(Finding::settled)
    .collect();
    Ok(Reply {
        failure: failure(&findings),
        document: Some(Document {
            findings: Some(findings),
            ..Document::new()
        }),
        text: None,
    })
}

/// What runs without any rule; why that can't be tried here.
fn native_platforms(jobs: Option<usize>) -> Result<Vec<&'static Platform>, String> {
    let targets: Vec<_> = PLATFORMS.iter().map(Platform::target).collect();
    let native = rehearsal::native(&targets, jobs).map_err(|error| error.reason())?;
    Ok(native.into_iter().map(Target::platform).collect())
}

fn failure(findings: &[Finding]) -> Option<Error> {
    let mut problems = findings.iter().filter(|f| f.level == Level::Problem);
    let first = problems.next()?;
    let text = match problems.count() {
        0 => first.what.clone(),
        more => format!("{}; and {more} more", first.what),
    };
    let error = Error::new(Status::Failed, text);
    Some(match &first.remedy {
        Some(remedy) => error.hint(remedy),
        None => error,
    })
}
