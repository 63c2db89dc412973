//! `doctor`: every known way in which a host lies, each with its evidence and
//! the one command that mends it.
//!
//! Each part reads its facts first and then judges them purely: one file for
//! each place that can be at fault.

mod engine;
mod kernel;
mod security;
mod words;

use super::{Context, Reply, load_manifest};
use crate::cli::DoctorArgs;
use crate::error::{Error, Result, Status};
use crate::report::survey::Survey;
use crate::report::{Document, Finding, Level};

/// Looks at everything, and changes nothing.
pub fn run(context: &Context, args: &DoctorArgs) -> Result<Reply> {
    let manifest = load_manifest(args.manifest.manifest.as_deref())?;
    let survey = Survey::take(context.scope(&manifest), &[])?;
    let findings: Vec<Finding> = [
        kernel::check(&context.host.kernel),
        security::check(context, &survey),
        engine::check(&context.host, &survey),
    ]
    .into_iter()
    .flatten()
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
