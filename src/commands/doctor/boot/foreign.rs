//! Other people's files that are applied at boot, and the commands after which
//! one of them isn't any more, whatever lies behind it.

use std::path::{Path, PathBuf};

use super::Facts;
use crate::binfmt::Rule;
use crate::binfmt::boot::Source;
use crate::binfmt::boot::binfmt_d::{ConfFile, Line};
use crate::commands::doctor::words::{quoted, word};
use crate::report::Finding;

/// Other people's files of which a rule can't be registered: then the service
/// that applies them counts as failed.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "distribution";
    let failing: Vec<&(Rule, Source)> = facts
        .boot
        .failing
        .iter()
        .filter(|(rule, _)| !facts.is_ours(rule))
        .collect();
    let files = facts
        .boot
        .files
        .iter()
        .filter(|file| file.path != facts.conf);
    if failing.is_empty() {
        let files: Vec<&ConfFile> = files.filter(|file| !file.lines.is_empty()).collect();
        if files.is_empty() {
            return Vec::new();
        }
        let rules: usize = files.iter().map(|file| file.rules().count()).sum();
        let others: usize = files.iter().map(|file| file.others()).sum();
        let what = format!(
            "{} more files of binfmt.d are applied at boot: {rules} rules by magic, {others} others",
            files.len()
        );
        return vec![Finding::ok(ID, what)];
    }
    failing
        .into_iter()
        .map(|(rule, source)| {
            let fault = facts.faults.get(&rule.interpreter);
            let what = format!(
                "{} {}, so rule {} can't be registered and {} fails at boot",
                rule.interpreter,
                fault.map_or("can't be used", String::as_str),
                rule.name,
                source.unit
            );
            let fails = |rule: &Rule| {
                facts
                    .boot
                    .failing
                    .iter()
                    .any(|(failing, _)| failing == rule)
            };
            Finding::warning(ID, what)
                .seen_in(source.file.display().to_string())
                .mend_if(facts.switch_off(&source.file, fails))
        })
        .collect()
}

/// Other people's rules that stop the host at its next boot.
pub(super) fn deadly(facts: &Facts) -> Vec<Finding> {
    let told = |(rule, file, what): &(Rule, PathBuf, String)| {
        let what = format!(
            "rule {} takes {what}: nothing starts any more once it is applied, at the next boot",
            rule.name
        );
        Finding::problem("native-rule", what)
            .seen_in(file.display().to_string())
            .mend_if(facts.switch_off(file, |other| other == rule))
    };
    facts.deadly.iter().map(told).collect()
}

impl Facts {
    /// The command after which a file of somebody else's isn't applied any
    /// more; `None` where more than such rules would go with it.
    pub(super) fn switch_off(
        &self,
        file: &Path,
        is_such: impl Fn(&Rule) -> bool,
    ) -> Option<String> {
        let known = self.boot.files.iter().find(|known| known.path == file);
        let alone = known.is_none_or(|known| {
            known.lines.iter().all(|line| match line {
                Line::Rule(rule) => is_such(rule),
                Line::Other(_) => false,
            })
        });
        alone.then(|| switch_off(file, self.covering.contains(file)))
    }
}

/// The command after which a file isn't applied any more, nor another one of
/// its name in its place.
pub(super) fn switch_off(file: &Path, is_covering: bool) -> String {
    let path = word(file);
    let name = file.file_name().unwrap_or_default();
    let mask = word(&Path::new("/etc/binfmt.d").join(name));
    let aside = quoted(&format!("{}.disabled", file.display()));
    if file.starts_with("/var") {
        format!("rm {path}")
    } else if file.starts_with("/etc") && is_covering {
        format!("mv {path} {aside} && ln -s /dev/null {mask}")
    } else if file.starts_with("/etc") || (file.starts_with("/run") && !is_covering) {
        format!("mv {path} {aside}")
    } else {
        format!("mkdir -p /etc/binfmt.d && ln -s /dev/null {mask}")
    }
}
