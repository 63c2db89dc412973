//! `check`: a predicate for scripts and health probes. It says nothing on
//! stdout, and runs the platforms that were asked for and no others.

use std::thread;
use std::time::{Duration, Instant};

use super::{Context, Reply, unknown};
use crate::cli::CheckArgs;
use crate::error::{Error, Result, Status};
use crate::platform::{self, Exact, Platform};
use crate::report::Cause;
use crate::report::survey::Survey;
use crate::rights::{REGISTERING, keep_only};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks until all run, or the time is over.
pub fn run(context: &Context, args: &CheckArgs) -> Result<Reply> {
    let asked = platform::parse_exact(&args.platforms).map_err(unknown)?;
    let mut platforms: Vec<&'static Platform> = asked.iter().map(|one| one.platform).collect();
    platforms.sort_by_key(|platform| platform.name);
    platforms.dedup();
    // What can't be shown isn't claimed.
    let _ = context.show();
    keep_only(&REGISTERING)?;
    let deadline = Instant::now() + Duration::from_secs(args.wait.into());
    let (survey, missing) = loop {
        let survey = Survey::of(context.scope(None), &platforms)?;
        let missing = asked.iter().find(|one| !runs(&survey, one)).copied();
        let left = deadline.saturating_duration_since(Instant::now());
        if missing.is_none() || left.is_zero() {
            break (survey, missing);
        }
        thread::sleep(PAUSE.min(left));
    };
    Ok(Reply {
        failure: missing.map(|missing| failure(missing, &survey)),
        // Only who wants the document waits for the digests in it.
        document: context.console.json.then(|| survey.document(None)),
        text: None,
    })
}

fn runs(survey: &Survey<'_>, one: &Exact) -> bool {
    match one.variant {
        Some(variant) => survey.runs(one.platform) && survey.runs_variant(one.platform, variant),
        None => survey.runs(one.platform),
    }
}

fn failure(missing: Exact, survey: &Survey<'_>) -> Error {
    let name = missing.name();
    let (status, says, why) = match survey.explain(missing.platform.target()) {
        Some((Cause::NotPermitted, why)) => (Status::Permission, "can't be tried", why),
        Some((_, why)) => (Status::NotRunnable, "doesn't run", why),
        None => {
            let why = format!("{} runs, this variant of it doesn't", missing.platform.name);
            (Status::NotRunnable, "doesn't run", why)
        }
    };
    Error::new(status, format!("{name} {says}"))
        .because(why)
        .hint("`binfmtctl doctor` says what to do")
}
