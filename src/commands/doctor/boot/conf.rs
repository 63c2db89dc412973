//! Our conf file: whether it can be used, is read at boot, says what the
//! kernel has, and has the last word.

use std::path::PathBuf;

use super::{Facts, Other, Row, Unusable};
use crate::binfmt::Rule;
use crate::binfmt::boot::binfmt_d::Place;
use crate::binfmt::boot::{CONF, Returning};
use crate::binfmt::entry::{Entry, Kind};
use crate::commands::doctor::words::word;
use crate::host::Init;
use crate::probe::Probe;
use crate::report::Finding;

const ID: &str = "conf";

/// How a row of file and kernel are out of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drift {
    /// In the file alone.
    Unregistered,
    /// In the kernel alone.
    Unfiled,
    /// In both, differently.
    Differs,
    /// In both, but the emulator is gone.
    Gone,
}

/// Judges our conf file.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    if let Some(unusable) = &facts.unusable {
        return vec![judge_unusable(facts, unusable)];
    }
    if facts.rows.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    findings.extend(place(facts));
    for drift in [
        Drift::Unregistered,
        Drift::Unfiled,
        Drift::Differs,
        Drift::Gone,
    ] {
        // What isn't read needn't be complete.
        if drift != Drift::Unfiled || findings.is_empty() {
            findings.extend(drifted(facts, drift));
        }
    }
    if findings.is_empty() {
        let what = format!(
            "{} has our rules ({}), and they are registered as it says",
            facts.conf.display(),
            facts.rows.len()
        );
        findings.push(Finding::ok(ID, what));
    }
    findings.extend(order(facts));
    findings
}

fn judge_unusable(facts: &Facts, unusable: &Unusable) -> Finding {
    let seen = facts.conf.display().to_string();
    match unusable {
        Unusable::Content(why) => {
            let remove = format!("rm {}", word(&facts.conf));
            let remedy = match facts.rows.is_empty() {
                true => Some(remove),
                false => (facts.ctl.change(&install(&facts.rows)))
                    .map(|install| format!("{remove} && {install}")),
            };
            Finding::problem(ID, why).seen_in(seen).mend_if(remedy)
        }
        Unusable::Forbidden(why) => Finding::warning(ID, why)
            .seen_in(seen)
            .mend_if(facts.ctl.as_root()),
        Unusable::Place(why) => Finding::problem(ID, why).seen_in(seen),
    }
}

/// Whether the file is read at boot.
fn place(facts: &Facts) -> Option<Finding> {
    if facts.init != Init::Systemd {
        return None;
    }
    let conf = facts.conf.display();
    let (what, seen, remedy) = match &facts.boot.place {
        Place::Read => return None,
        Place::Masked => (
            format!("{conf} is masked: it says nothing, so our rules go with the next boot"),
            facts.conf.clone(),
            facts.ctl.change(&install(&facts.rows)),
        ),
        Place::Overridden(by) => (
            format!(
                "{conf} isn't read at boot: {} is, in its place",
                by.display()
            ),
            by.clone(),
            Some(format!("rm {}", word(by))),
        ),
        Place::Elsewhere => (
            format!("{conf} isn't read at boot: nothing reads files there"),
            facts.conf.clone(),
            (facts.ctl).change_with_conf(&install(&facts.rows), CONF),
        ),
    };
    let finding = Finding::warning(ID, what).seen_in(seen.display().to_string());
    Some(finding.mend_if(remedy))
}

/// The words that set up all that is ours.
pub(super) fn install(rows: &[Row]) -> String {
    let mut options = rows.iter().map(|row| row.options.as_str());
    let first = options.next().unwrap_or_default();
    // Where they differ, one command can only do the usual.
    let options = match options.all(|other| other == first) {
        true => first,
        false => "",
    };
    format!("install{options} {}", words(rows.iter()))
}

/// One finding for each command that it takes.
fn drifted(facts: &Facts, drift: Drift) -> Vec<Finding> {
    let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in facts
        .rows
        .iter()
        .filter(|row| drift_of(facts, row) == Some(drift))
    {
        let (verb, options) = match row.runs_by {
            Other::Kernel => ("uninstall", ""),
            Other::Rule(_) => ("install --replace", row.options.as_str()),
            Other::Nobody => ("install", row.options.as_str()),
        };
        let command = format!("{verb}{options}");
        match groups.iter_mut().find(|(known, _)| *known == command) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((command, vec![row])),
        }
    }
    groups
        .into_iter()
        .map(|(command, rows)| {
            let words = words(rows.iter().copied());
            Finding::warning(ID, told(facts, drift, &names(&rows)))
                .seen_in(facts.conf.display().to_string())
                .mend_if(facts.ctl.change(&format!("{command} {words}")))
        })
        .collect()
}

fn told(facts: &Facts, drift: Drift, names: &str) -> String {
    let conf = facts.conf.display();
    match drift {
        Drift::Unregistered => {
            format!("{conf} has rules for {names} that aren't registered now")
        }
        Drift::Unfiled if !facts.present => {
            format!("{conf} isn't there, so our rules for {names} go with the next boot")
        }
        Drift::Unfiled => {
            format!("{conf} lacks our rules for {names}, which go with the next boot")
        }
        Drift::Differs => {
            format!("our rules for {names} are registered otherwise than {conf} says")
        }
        Drift::Gone => format!(
            "the emulators of {names} that {conf} names are gone, so they don't come back at boot"
        ),
    }
}

fn drift_of(facts: &Facts, row: &Row) -> Option<Drift> {
    let Some(rule) = &row.filed else {
        return Some(Drift::Unfiled);
    };
    if row.registered.is_empty() {
        return Some(Drift::Unregistered);
    }
    if !row.registered.iter().any(|entry| is_same(entry, rule)) {
        return Some(Drift::Differs);
    }
    let mut failing = facts.boot.failing.iter();
    failing
        .any(|(failing, _)| failing == rule)
        .then_some(Drift::Gone)
}

fn is_same(entry: &Entry, rule: &Rule) -> bool {
    entry.name == rule.name
        && entry.interpreter == rule.interpreter
        && entry.known_flags() == rule.flags
        && entry.kind == Kind::Magic(rule.pattern.clone())
}

/// Rules that are applied after ours and take platforms from them.
fn order(facts: &Facts) -> Vec<Finding> {
    let mut rivals: Vec<(PathBuf, Vec<&Row>, &Returning)> = Vec::new();
    for row in &facts.rows {
        let rival = row.filed.as_ref().and_then(|rule| facts.boot.rival(rule));
        // Two lines of our own file are none's rivals.
        let Some(rival) = rival.filter(|rival| rival.source.file != facts.conf) else {
            continue;
        };
        match rivals
            .iter_mut()
            .find(|(file, ..)| *file == rival.source.file)
        {
            Some((_, rows, _)) => rows.push(row),
            None => rivals.push((rival.source.file.clone(), vec![row], rival)),
        }
    }
    rivals
        .into_iter()
        .map(|(file, rows, rival)| {
            let is_rival = |rule: &Rule| {
                let mut targets = rows.iter().flat_map(|row| row.platform.targets());
                targets.any(|target| rule.pattern.matches(&Probe::of(target).image()))
            };
            let remedy = facts.switch_off(&file, is_rival);
            let more = match remedy {
                Some(_) => "",
                None => "; its file says other things too, so only that line should go",
            };
            let what = format!(
                "rule {} is applied after ours, so it runs {} from the next boot on, not ours{more}",
                rival.rule.name,
                names(&rows)
            );
            let finding = Finding::warning("order", what).seen_in(file.display().to_string());
            finding.mend_if(remedy)
        })
        .collect()
}

fn names(rows: &[&Row]) -> String {
    joined(rows.iter().copied(), ", ", |platform| platform)
}

/// Platforms as commands take them.
fn words<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    joined(rows, " ", |name| {
        name.strip_prefix("linux/").unwrap_or(name)
    })
}

fn joined<'a>(
    rows: impl Iterator<Item = &'a Row>,
    with: &str,
    shown: impl Fn(&'static str) -> &'static str,
) -> String {
    let mut names: Vec<&str> = rows.map(|row| shown(row.platform.name)).collect();
    // An emulator may have several identities.
    names.dedup();
    names.join(with)
}
