//! Rules that take some programs of a platform away from the rule that runs it.

use super::{Facts, is_removable};
use crate::report::Finding;

impl Facts {
    /// What the probes can't show, the patterns do.
    pub(super) fn narrow(&self) -> Vec<Finding> {
        let is_theirs = |name: &str| {
            self.entries
                .iter()
                .any(|(entry, owner)| entry.name == name && is_removable(entry, *owner))
        };
        self.platforms
            .iter()
            .filter(|platform| platform.runs())
            .flat_map(|platform| platform.report.in_front.iter().map(move |name| (platform, name)))
            .filter(|(_, name)| is_theirs(name))
            .map(|(platform, name)| {
                let what = format!(
                    "{} runs, but rule {name} is in front and takes those of its programs that match it",
                    platform.platform.name
                );
                Finding::warning("narrow-rule", what)
                    .seen_in(self.mount.join(name).display().to_string())
            })
            .collect()
    }
}
