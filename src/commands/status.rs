//! `status`: what runs right now, and why the rest doesn't.

use super::install::checks::check_lines;
use super::{Context, Reply, load_manifest, parse_platforms};
use crate::binfmt::conf;
use crate::cli::StatusArgs;
use crate::custody::Trouble;
use crate::error::{Error, Result, Status};
use crate::report::survey::Survey;
use crate::rights::{REGISTERING, keep_only};

/// Looks, and changes nothing.
pub fn run(context: &Context, args: &StatusArgs) -> Result<Reply> {
    let manifest = load_manifest(args.manifest.manifest.as_deref())?;
    let request = parse_platforms(&args.platforms)?;
    let asked = request.platforms();
    if let Err(error) = context.show() {
        context.console.note(&error.line().to_string());
    }
    keep_only(&REGISTERING)?;
    let (survey, unusable) = Survey::take_anyway(context.scope(&manifest), &asked)?;
    let unusable = unusable.or_else(|| check_lines(context, &survey.desired).err());
    let listed = match args.platforms.is_empty() {
        true => None,
        false => Some(asked.as_slice()),
    };
    let mut document = survey.document(listed);
    // Who names platforms wants to know more than a line about each.
    document.details = context.console.verbose || listed.is_some();
    // What runs is known without the conf file; whoever may not read it isn't
    // to blame.
    let failure = match unusable {
        Some(error) if error.status() == Status::Permission => {
            context.console.note(&error.reason());
            None
        }
        unusable => unusable,
    };
    let faults = context.store.faults().unwrap_or_default();
    for fault in faults.into_iter().chain(conf::fault(&context.conf)) {
        let error = Error::from(Trouble::Fault(fault));
        context.console.note(&format!("warning: {}", error.line()));
    }
    Ok(Reply {
        document: Some(document),
        failure,
        text: None,
    })
}
