//! Rules that take some programs of a platform away from the rule that runs it.

use super::{Facts, PlatformFacts};
use crate::report::{Finding, Owner};

impl Facts {
    /// What the probes can't show, the patterns do.
    pub(super) fn narrow(&self) -> Vec<Finding> {
        self.platforms
            .iter()
            .filter(|platform| platform.runs())
            .flat_map(|platform| platform.report.in_front.iter().map(move |n| (platform, n)))
            .filter_map(|(platform, name)| self.narrow_one(platform, name))
            .collect()
    }

    fn narrow_one(&self, platform: &PlatformFacts, name: &str) -> Option<Finding> {
        let (entry, owner) = self.entries.iter().find(|(entry, _)| entry.name == *name)?;
        if *owner == Owner::Binfmtctl {
            // It runs another identity of the same platform.
            return None;
        }
        let what = format!(
            "{} runs, but rule {name} is in front and takes those of its programs that match it",
            platform.platform.name
        );
        let finding = Finding::warning("narrow-rule", what)
            .seen_in(self.mount.join(name).display().to_string());
        Some(finding.mend_if(self.removal(entry, *owner, platform)))
    }
}
