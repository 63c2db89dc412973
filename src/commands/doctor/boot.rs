//! What a boot does to the rules: the services that apply files, what else
//! they apply, and whether our conf file says what the kernel has.
//!
//! Everything is seen in files; no service manager is asked, so this judges
//! also a host that isn't running.

mod conf;
mod foreign;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::ctl::Ctl;
use super::interpreter;
use super::words::{option, quoted};
use crate::binfmt::boot::binfmt_d::{self, ConfFile};
use crate::binfmt::boot::unit::Unit;
use crate::binfmt::boot::{Boot, CONF, Returning, SYSTEMD_BINFMT, openrc, service};
use crate::binfmt::{Entry, Flags, Rule};
use crate::commands::Context;
use crate::commands::install::checks::host_guard;
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
    pub unusable: Option<Unusable>,
    /// Where our emulators lie.
    pub prefix: PathBuf,
    /// What is ours, by identity.
    pub rows: Vec<Row>,
    /// Interpreters that can't be registered, with what is wrong with each.
    pub faults: BTreeMap<String, String>,
    /// Other people's rules that would stop this host when they come back, with
    /// what each takes.
    pub deadly: Vec<(Rule, PathBuf, String)>,
    /// Files of binfmt.d in whose place another one of their name would be
    /// read, were they not there.
    pub covering: BTreeSet<PathBuf>,
    /// Our commands.
    pub ctl: Ctl,
}

/// Why our conf file can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// What it says makes no sense.
    Content(String),
    /// This user may not read it.
    Forbidden(String),
    /// It is no file, or its place is none.
    Place(String),
}

impl Unusable {
    fn of(conf: &Path, error: &Error) -> Self {
        let reason = error.reason();
        match fs::read(conf) {
            Ok(_) => Self::Content(reason),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Self::Forbidden(reason),
            Err(_) => Self::Place(reason),
        }
    }
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
        ctl: &Ctl,
    ) -> Self {
        let file = ConfFile::read(&context.conf);
        let mut rows: Vec<Row> = TARGETS
            .iter()
            .map(|target| Row::read(context, manifest, survey, &file, target))
            .filter(|row| row.filed.is_some() || !row.registered.is_empty())
            .collect();
        rows.sort_by_key(|row| PLATFORMS.iter().position(|p| p == row.platform));
        let root = Path::new("/");
        let boot = Boot::read(root, &context.host.init, &context.conf);
        let guard = host_guard(&context.host);
        let deadly = |returning: &Returning| {
            let refusal = guard.check(&returning.rule).err()?;
            let file = returning.source.file.clone();
            Some((returning.rule.clone(), file, refusal.what))
        };
        let fault = |interpreter: &str| {
            let fault = interpreter::fault(Path::new(interpreter), context.host.platform);
            Some((interpreter.to_owned(), fault?))
        };
        Self {
            init: context.host.init.clone(),
            is_host: context.host.sees_boot(),
            faults: (boot.failing.iter())
                .filter_map(|(rule, _)| fault(&rule.interpreter))
                .collect(),
            deadly: (boot.rules.iter())
                .filter(|returning| returning.source.file != context.conf)
                .filter_map(deadly)
                .collect(),
            covering: (boot.files.iter())
                .map(|file| file.path.clone())
                .filter(|path| binfmt_d::covers(root, path))
                .collect(),
            boot,
            ctl: ctl.clone(),
            conf: context.conf.clone(),
            present: context.conf.exists(),
            unusable: unusable.map(|error| Unusable::of(&context.conf, error)),
            prefix: context.store.prefix().to_owned(),
            rows,
        }
    }

    /// Whether our file has a rule to bring back.
    fn has_rules(&self) -> bool {
        self.rows.iter().any(|row| row.filed.is_some())
    }

    /// The words that set up all that should run; all that could, where
    /// nothing was asked for.
    pub fn install(&self) -> String {
        match self.has_rules() {
            true => conf::install(&self.rows),
            false => "install".to_owned(),
        }
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
            options: match (registered.first(), filed) {
                (Some(entry), _) => {
                    options(context, manifest, &entry.interpreter, entry.known_flags())
                }
                (None, Some(rule)) => options(context, manifest, &rule.interpreter, rule.flags),
                (None, None) => String::new(),
            },
            registered,
        }
    }
}

/// What tells `install` to leave a rule's QEMU and flags as they are.
fn options(context: &Context, manifest: &Manifest, interpreter: &str, flags: Flags) -> String {
    let usual = context
        .host
        .architecture()
        .and_then(|host| manifest.release(host, None));
    let digest = context.store.digest_of_path(Path::new(interpreter));
    let release = digest.and_then(|digest| manifest.known(&digest));
    let mut options = String::new();
    if flags.credentials {
        options.push_str(" --credentials");
    }
    if let (Some(release), Ok(usual)) = (release, usual) {
        if release.qemu != usual.qemu {
            options.push_str(&option("--qemu", &release.qemu));
        }
    }
    options
}

/// Judges what the next boot does.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = foreign::deadly(facts);
    match facts.init {
        Init::Systemd => {
            findings.push(systemd(facts));
            findings.extend(own(facts));
            findings.extend(support::check(facts));
            findings.extend(foreign::check(facts));
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
    let level = match facts.has_rules() && !facts.boot.applies_ours() {
        true => Level::Problem,
        false => Level::Warning,
    };
    let applies_nothing = |why: String| {
        let but = match facts.boot.applies_ours() {
            true => format!(" but our file, by {}", service::UNIT),
            false => String::new(),
        };
        let what = format!("{why}, so nothing in binfmt.d is registered at boot{but}");
        Finding::new(ID, level, what)
    };
    let seen = |path: &Path| path.display().to_string();
    if let (Unit::Starts(_), Some((name, file))) =
        (&facts.boot.systemd_binfmt, &facts.boot.masked_mount)
    {
        let finding = applies_nothing(format!("{name} is masked")).seen_in(seen(file));
        return finding.mend_if(unmask(name, file));
    }
    match &facts.boot.systemd_binfmt {
        Unit::Starts(file) => Finding::ok(
            ID,
            format!("{SYSTEMD_BINFMT} applies the files of binfmt.d at boot"),
        )
        .seen_in(seen(file)),
        Unit::Masked(file) => applies_nothing(format!("{SYSTEMD_BINFMT} is masked"))
            .seen_in(seen(file))
            .mend_if(unmask(SYSTEMD_BINFMT, file)),
        Unit::Idle(file) => applies_nothing(format!("no target wants {SYSTEMD_BINFMT}"))
            .seen_in(seen(file))
            .mend(format!(
                "systemctl add-wants sysinit.target {SYSTEMD_BINFMT}"
            )),
        Unit::Absent => applies_nothing(format!("this systemd has no {SYSTEMD_BINFMT}"))
            .seen_in("/usr/lib/systemd/system"),
    }
}

/// Whether our own unit, where there is one, does its work.
fn own(facts: &Facts) -> Option<Finding> {
    const ID: &str = "service";
    let file = facts.boot.own.file()?;
    let seen = file.display().to_string();
    let finding = match (&facts.boot.own, &facts.boot.program) {
        (Unit::Starts(_) | Unit::Idle(_), Some(program)) if facts.boot.is_program_lost => {
            Finding::warning(
                ID,
                format!("{} would call {program}, which isn't there", service::UNIT),
            )
        }
        (Unit::Starts(_), None) => Finding::new(
            ID,
            match facts.boot.applies_files() {
                true => Level::Ok,
                false => Level::Warning,
            },
            format!(
                "what {} does at boot can't be told: its file, a drop-in or /etc/default/binfmtctl isn't as binfmtctl brings it",
                service::UNIT
            ),
        ),
        (Unit::Starts(_), Some(_)) if facts.boot.applies_ours() => Finding::ok(
            ID,
            format!(
                "{} applies {CONF} at boot, after everybody else",
                service::UNIT
            ),
        ),
        // Without it, systemd's own does.
        _ if facts.boot.applies_files() => return None,
        (Unit::Masked(_), _) => Finding::warning(ID, format!("{} is masked", service::UNIT))
            .mend_if(unmask(service::UNIT, file)),
        (Unit::Idle(_), _) => Finding::warning(ID, format!("nothing starts {}", service::UNIT))
            .mend(format!("systemctl enable {}", service::UNIT)),
        // Nothing mounts binfmt_misc for it, which is told of.
        _ => return None,
    };
    Some(finding.seen_in(seen))
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
        if let (true, Some(program)) = (facts.boot.is_program_lost, &facts.boot.program) {
            let what =
                format!("OpenRC's service {service} would call {program}, which isn't there");
            return Finding::warning(ID, what).seen_in(file.display().to_string());
        }
        return Finding::ok(
            ID,
            format!("OpenRC's service {service} calls binfmtctl at boot"),
        )
        .seen_in(file.display().to_string());
    }
    let finding = Finding::warning(
        ID,
        format!(
            "no service of OpenRC surely registers what {} says at boot: old versions of its own binfmt lose the backslashes",
            facts.conf.display()
        ),
    )
    .seen_in("/etc/runlevels");
    if facts.boot.has_idle_script {
        return finding.mend("rc-update add binfmtctl default");
    }
    let apply = match facts.rows.is_empty() {
        true => None,
        false => facts.ctl.change("apply"),
    };
    let script = openrc::SCRIPT;
    finding.mend_if(apply.map(|apply| {
        format!(
            r"printf '%s\n' '#!/bin/sh' {} >{script} && chmod +x {script} && rc-update add local default",
            quoted(&apply)
        )
    }))
}

fn other(facts: &Facts) -> Finding {
    let init = &facts.init;
    let install = facts.ctl.change(&facts.install());
    let run = install.map(|command| format!(": have it run `{command}` then"));
    let what = match facts.is_host {
        true => format!(
            "nothing on this host registers {} at boot (init system: {init}){}",
            facts.conf.display(),
            run.unwrap_or_default()
        ),
        false => "this is a container, from which nothing lasts over a boot: run binfmtctl on the host, or use --host".to_owned(),
    };
    Finding::warning("init", what).seen_in("/proc/1/comm, /run")
}

#[cfg(test)]
mod tests;
