//! Debian's binfmt-support beside us. It takes its own formats away by name,
//! whoever has the name by then; before version 2.2.2 its stop unmounts
//! binfmt_misc for the whole host, which stops no rule of ours before Linux
//! 6.7 and removes everybody's since.

use super::Facts;
use crate::binfmt::boot::support::{Support, UNIT};
use crate::binfmt::boot::unit::Unit;
use crate::commands::doctor::words::quoted;
use crate::report::Finding;

const ID: &str = "binfmt-support";
const DROP_IN: &str = "/etc/systemd/system/binfmt-support.service.d";

/// Judges binfmt-support, where it is installed.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(support) = &facts.boot.support else {
        return Vec::new();
    };
    let mut findings: Vec<Finding> = [
        stop(support),
        names(facts, support),
        support.broken.as_ref().map(|file| {
            let path = file.display().to_string();
            Finding::warning(
                ID,
                "binfmt-support registers nothing: a file of its database is incomplete",
            )
            .mend(format!("rm {}", quoted(&path)))
            .seen_in(path)
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if findings.is_empty() {
        let formats = support.formats.len();
        let what = match support.unit {
            Unit::Masked(_) => "binfmt-support is masked".to_owned(),
            _ => format!("binfmt-support leaves our rules alone; it has {formats} formats"),
        };
        findings.push(Finding::ok(ID, what).seen_in(seen(support)));
    }
    findings
}

fn seen(support: &Support) -> String {
    match support.unit.file() {
        Some(file) => file.display().to_string(),
        None => "/usr/sbin/update-binfmts".to_owned(),
    }
}

/// Its stop, which every upgrade and removal of the package does too.
fn stop(support: &Support) -> Option<Finding> {
    let is_harmless = matches!(support.unit, Unit::Masked(_) | Unit::Absent)
        || !support.settings.stops
        || support.settings.own_mounts;
    if is_harmless {
        return None;
    }
    let finding = Finding::warning(
        ID,
        format!(
            "when {UNIT} stops, as with every upgrade of it, it unmounts binfmt_misc, and everybody's rules are gone (Linux 6.7 and later)"
        ),
    )
    .seen_in(seen(support));
    // Masked, it wouldn't register its formats any more.
    Some(finding.mend(match support.formats.is_empty() {
        true => format!("systemctl mask {UNIT}"),
        false => format!(
            r"mkdir -p {DROP_IN} && printf '[Service]\nExecStop=\n' >{DROP_IN}/no-stop.conf && systemctl daemon-reload"
        ),
    }))
}

/// Formats that have the name of a rule of ours.
fn names(facts: &Facts, support: &Support) -> Option<Finding> {
    let is_ours = |name: &str| {
        facts.rows.iter().any(|row| {
            let mut registered = row.registered.iter();
            registered.any(|entry| entry.name == name)
                || row.filed.as_ref().is_some_and(|rule| rule.name == name)
        })
    };
    let (files, names): (Vec<String>, Vec<&str>) = support
        .formats
        .iter()
        .filter(|(_, format)| is_ours(&format.name))
        .map(|(path, format)| (path.display().to_string(), format.name.as_str()))
        .unzip();
    if files.is_empty() {
        return None;
    }
    let paths: Vec<String> = files.iter().map(|path| quoted(path)).collect();
    let what = format!(
        "binfmt-support has formats named like our rules ({}): it removes ours when it stops or updates them",
        names.join(", ")
    );
    Some(
        Finding::warning(ID, what)
            .seen_in(files.join(", "))
            .mend(format!("rm {}", paths.join(" "))),
    )
}
