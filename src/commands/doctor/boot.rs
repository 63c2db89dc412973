//! What a boot does to the rules: the services that apply files, what else
//! they apply, and whether our conf file says what the kernel has.
//!
//! Everything is seen in files; no service manager is asked, so this judges
//! also a host that isn't running.

mod conf;
mod support;

use std::path::{Path, PathBuf};

use super::rules::{quoted, with_remedy};
use crate::binfmt::boot::binfmt_d::{ConfFile, Line};
use crate::binfmt::boot::unit::Unit;
use crate::binfmt::boot::{Boot, SYSTEMD_BINFMT, Source, openrc};
use crate::binfmt::{Entry, Rule};
use crate::commands::Context;
use crate::emulator::manifest::Manifest;
use crate::error::Error;
use crate::host::Init;
use crate::platform::{PLATFORMS, Platform, TARGETS, Target};
use crate::probe::Probe;
use crate::report::survey::Survey;
use crate::report::{Finding, Level};

/// What is judged.
pub struct Facts {
    /// Who is PID 1.
    pub init: Init,
    /// Whether it is the host's.
    pub is_host: bool,
    /// What the next boot does.
    pub boot: Boot,
    /// Our conf file.
    pub conf: PathBuf,
    /// Whether it is there.
    pub present: bool,
    /// Why it can't be used.
    pub unusable: Option<String>,
    /// Where our emulators lie.
    pub prefix: PathBuf,
    /// What is ours, by identity.
    pub rows: Vec<Row>,
}

/// What is ours of one identity, in the file and in the kernel.
pub struct Row {
    /// The platform.
    pub platform: &'static Platform,
    /// The rule in our file.
    pub filed: Option<Rule>,
    /// Our entries in the kernel.
    pub registered: Vec<Entry>,
    /// Who runs it now, where that isn't us.
    pub runs_by: Other,
    /// What `install` has to be told to keep it as it is.
    pub options: String,
}

/// Who runs a platform, if we don't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// Nobody.
    Nobody,
    /// Somebody else's rule.
    Rule(String),
    /// The kernel itself.
    Kernel,
}

impl Facts {
    /// Takes what the survey saw, and looks at the files.
    pub fn read(
        context: &Context,
        manifest: &Manifest,
        survey: &Survey<'_>,
        unusable: Option<&Error>,
    ) -> Self {
        let file = ConfFile::read(&context.conf);
        let mut rows: Vec<Row> = TARGETS
            .iter()
            .map(|target| Row::read(context, manifest, survey, &file, target))
            .filter(|row| row.filed.is_some() || !row.registered.is_empty())
            .collect();
        rows.sort_by_key(|row| PLATFORMS.iter().position(|p| p == row.platform));
        Self {
            init: context.host.init.clone(),
            is_host: context.host.initial_pid_ns,
            boot: Boot::read(Path::new("/"), &context.host.init, &context.conf),
            conf: context.conf.clone(),
            present: context.conf.exists(),
            unusable: unusable.map(Error::reason),
            prefix: context.store.prefix().to_owned(),
            rows,
        }
    }

    /// Whether our file has a rule to bring back.
    fn has_rules(&self) -> bool {
        self.rows.iter().any(|row| row.filed.is_some())
    }

    fn is_ours(&self, rule: &Rule) -> bool {
        Path::new(&rule.interpreter).starts_with(&self.prefix)
    }
}

impl Row {
    fn read(
        context: &Context,
        manifest: &Manifest,
        survey: &Survey<'_>,
        file: &ConfFile,
        target: &'static Target,
    ) -> Self {
        let platform = target.platform();
        let header = Probe::of(target).image();
        let filed = file.rules().find(|rule| rule.pattern.matches(&header));
        let registered: Vec<Entry> = survey
            .matching(target)
            .filter(|entry| survey.is_ours(entry))
            .cloned()
            .collect();
        let winner = survey
            .winner(target)
            .filter(|entry| !survey.is_ours(entry) && survey.runs(platform));
        Self {
            platform,
            filed: filed.cloned(),
            runs_by: match winner {
                Some(entry) => Other::Rule(entry.name.clone()),
                None if survey.is_native(platform) => Other::Kernel,
                None => Other::Nobody,
            },
            options: options(context, manifest, &registered),
            registered,
        }
    }
}

/// What tells `install` to leave these entries' QEMU and flags as they are.
fn options(context: &Context, manifest: &Manifest, registered: &[Entry]) -> String {
    let Some(entry) = registered.first() else {
        return String::new();
    };
    let usual = context
        .host
        .architecture()
        .and_then(|host| manifest.release(host, None));
    let digest = context.store.digest_of_path(Path::new(&entry.interpreter));
    let release = digest.and_then(|digest| manifest.known(&digest));
    let mut options = String::new();
    if entry.known_flags().credentials {
        options.push_str(" --credentials");
    }
    if let (Some(release), Ok(usual)) = (release, usual) {
        if release.qemu != usual.qemu {
            options.push_str(&format!(" --qemu {}", release.qemu));
        }
    }
    options
}

/// Judges what the next boot does.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match facts.init {
        Init::Systemd => {
            findings.push(systemd(facts));
            findings.extend(support::check(facts));
            findings.extend(foreign(facts));
        }
        Init::OpenRc => findings.push(openrc(facts)),
        Init::Other(_) => findings.push(other(facts)),
    }
    findings.extend(conf::check(facts));
    findings
}

/// Whether systemd applies the files of binfmt.d.
fn systemd(facts: &Facts) -> Finding {
    const ID: &str = "systemd-binfmt";
    let level = match facts.has_rules() {
        true => Level::Problem,
        false => Level::Warning,
    };
    let applies_nothing = |why: String| {
        let what = format!("{why}, so nothing in binfmt.d is registered at boot");
        Finding::new(ID, level, what)
    };
    let seen = |path: &Path| path.display().to_string();
    if let (Unit::Starts(_), Some((name, file))) =
        (&facts.boot.systemd_binfmt, &facts.boot.masked_mount)
    {
        let finding = applies_nothing(format!("{name} is masked")).seen_in(seen(file));
        return with_remedy(finding, unmask(name, file));
    }
    match &facts.boot.systemd_binfmt {
        Unit::Starts(file) => Finding::ok(
            ID,
            format!("{SYSTEMD_BINFMT} applies the files of binfmt.d at boot"),
        )
        .seen_in(seen(file)),
        Unit::Masked(file) => with_remedy(
            applies_nothing(format!("{SYSTEMD_BINFMT} is masked")).seen_in(seen(file)),
            unmask(SYSTEMD_BINFMT, file),
        ),
        Unit::Idle(file) => applies_nothing(format!("no target wants {SYSTEMD_BINFMT}"))
            .seen_in(seen(file))
            .mend(format!(
                "systemctl add-wants sysinit.target {SYSTEMD_BINFMT}"
            )),
        Unit::Absent => applies_nothing(format!("this systemd has no {SYSTEMD_BINFMT}"))
            .seen_in("/usr/lib/systemd/system"),
    }
}

/// The command that takes a mask away, where there is one: what the kernel's
/// command line masks, or a package, only that can unmask.
fn unmask(unit: &str, file: &Path) -> Option<String> {
    match file.parent()?.to_str()? {
        "/etc/systemd/system" => Some(format!("systemctl unmask {unit}")),
        "/run/systemd/system" => Some(format!("systemctl unmask --runtime {unit}")),
        _ => None,
    }
}

fn openrc(facts: &Facts) -> Finding {
    const ID: &str = "openrc";
    if let Some((service, file)) = &facts.boot.openrc {
        return Finding::ok(
            ID,
            format!("OpenRC's service {service} calls binfmtctl at boot"),
        )
        .seen_in(file.display().to_string());
    }
    let finding = Finding::warning(
        ID,
        format!(
            "OpenRC registers nothing from {} at boot: its own binfmt service loses the backslashes",
            facts.conf.display()
        ),
    )
    .seen_in("/etc/runlevels");
    let words = conf::words(facts.rows.iter());
    let script = openrc::SCRIPT;
    with_remedy(
        finding,
        (!words.is_empty()).then(|| {
            format!(
                r"printf '#!/bin/sh\nbinfmtctl install {words}\n' >{script} && chmod +x {script} && rc-update add local default"
            )
        }),
    )
}

fn other(facts: &Facts) -> Finding {
    let init = &facts.init;
    let what = match facts.is_host {
        true => format!(
            "nothing on this host registers {} at boot (init system: {init}): have it run `binfmtctl install` then",
            facts.conf.display()
        ),
        false => format!(
            "this is a container ({init} is its PID 1), from which nothing lasts over a boot: run binfmtctl on the host"
        ),
    };
    Finding::warning("init", what).seen_in("/proc/1/comm, /run")
}

/// Other people's files of which a rule can't be registered: then the service
/// that applies them counts as failed.
fn foreign(facts: &Facts) -> Vec<Finding> {
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
            let what = format!(
                "{} isn't there, so rule {} can't be registered and {} fails at boot",
                rule.interpreter, rule.name, source.unit
            );
            let file = facts
                .boot
                .files
                .iter()
                .find(|file| file.path == source.file);
            let all_fail = file.is_none_or(|file| {
                file.lines.iter().all(|line| match line {
                    Line::Rule(rule) => facts
                        .boot
                        .failing
                        .iter()
                        .any(|(failing, _)| failing == rule),
                    Line::Other(_) => false,
                })
            });
            with_remedy(
                Finding::warning(ID, what).seen_in(source.file.display().to_string()),
                all_fail.then(|| switch_off(&source.file)),
            )
        })
        .collect()
}

/// The command after which a file of somebody else's isn't applied any more.
fn switch_off(file: &Path) -> String {
    let path = quoted(&file.display().to_string());
    if file.starts_with("/etc") || file.starts_with("/run") {
        return format!(
            "mv {path} {}",
            quoted(&format!("{}.disabled", file.display()))
        );
    }
    if file.starts_with("/var") {
        return format!("rm {path}");
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "ln -s /dev/null {}",
        quoted(&format!("/etc/binfmt.d/{name}"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_fits_the_place_of_its_file() {
        let table = [
            (
                "/etc/binfmt.d/a.conf",
                "mv /etc/binfmt.d/a.conf /etc/binfmt.d/a.conf.disabled",
            ),
            (
                "/usr/lib/binfmt.d/a b.conf",
                "ln -s /dev/null '/etc/binfmt.d/a b.conf'",
            ),
            ("/var/lib/binfmts/a", "rm /var/lib/binfmts/a"),
        ];
        for (file, command) in table {
            assert_eq!(switch_off(Path::new(file)), command);
        }
        let unmasked = |dir: &str| unmask("x.service", &Path::new(dir).join("x.service"));
        let command = unmasked("/etc/systemd/system");
        assert_eq!(command.as_deref(), Some("systemctl unmask x.service"));
        assert_eq!(unmasked("/run/systemd/generator.early"), None);
        assert_eq!(unmasked("/usr/lib/systemd/system"), None);
    }

    #[test]
    fn a_container_is_told_to_ask_on_the_host() {
        let init = Init::Other("sh".to_owned());
        let conf = PathBuf::from("/nowhere/zz.conf");
        let mut facts = Facts {
            boot: Boot::read(Path::new("/nowhere"), &init, &conf),
            init,
            is_host: false,
            conf,
            present: false,
            unusable: None,
            prefix: "/opt/binfmtctl".into(),
            rows: Vec::new(),
        };
        let told = |facts: &Facts| check(facts)[0].what.clone();
        assert!(told(&facts).contains("on the host"), "{}", told(&facts));
        facts.is_host = true;
        assert!(
            told(&facts).contains("/nowhere/zz.conf"),
            "{}",
            told(&facts)
        );
    }
}
