//! `status`: what runs right now, and why the rest doesn't.

use super::{Context, Reply, load_manifest, parse_platforms};
use crate::cli::StatusArgs;
use crate::error::Result;
use crate::report::survey::Survey;

/// Looks, and changes nothing.
pub fn run(context: &Context, args: &StatusArgs) -> Result<Reply> {
    let manifest = load_manifest(args.manifest.manifest.as_deref())?;
    let request = parse_platforms(&args.platforms)?;
    let asked = request.platforms();
    let survey = Survey::take(context.scope(&manifest), &asked)?;
    let listed = match args.platforms.is_empty() {
        true => None,
        false => Some(asked.as_slice()),
    };
    Ok(Reply::document(survey.document(listed)))
}
