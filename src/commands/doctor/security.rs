//! What the host's own safeguards keep from working, and what can't be seen
//! from where this process is: mounts, SELinux and AppArmor, namespaces,
//! containers, limits.

mod container;
mod denials;
pub(super) mod limits;
pub(super) mod mounts;
mod namespaces;
mod owners;
mod selinux;
mod wsl;

use super::ctl::Ctl;
use crate::commands::Context;
use crate::report::Finding;
use crate::report::survey::Survey;

/// Looks at all of them.
pub fn check(context: &Context, survey: &Survey<'_>, ctl: &Ctl, sees_files: bool) -> Vec<Finding> {
    let Context { host, store, .. } = context;
    [
        container::check(context, survey.instance.is_some()),
        wsl::check(&host.kernel, &survey.entries, &context.mount),
        mounts::temporary(),
        mounts::store(store.prefix(), ctl),
        owners::check(store, &context.conf),
        selinux::check(survey, store, ctl, sees_files),
        denials::check(survey, store),
        namespaces::check(&host.kernel),
        limits::check(survey),
    ]
    .into_iter()
    .flatten()
    .collect()
}
