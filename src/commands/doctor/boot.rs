//! What a boot does to the rules: the services that apply files, what else
//! they apply, and whether our conf file says what the kernel has.
//!
//! Everything is seen in files; no service manager is asked, so this judges
//! also a host that isn't running.

mod conf;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::ctl::Ctl;
use super::interpreter;
use super::words::{option, quoted, word};
use crate::binfmt::boot::binfmt_d::{self, ConfFile, Line};
use crate::binfmt::boot::unit::Unit;
use crate::binfmt::boot::{Boot, SYSTEMD_BINFMT, Source, openrc};
use crate::binfmt::{Entry, Flags, Rule};
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
    pub unusable: Option<Unusable>,
    /// Where our emulators lie.
    pub prefix: PathBuf,
    /// What is ours, by identity.
    pub rows: Vec<Row>,
    /// Interpreters that can't be registered, with what is wrong with each.
    pub faults: BTreeMap<String, String>,
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
        let fault = |interpreter: &str| {
            let fault = interpreter::fault(Path::new(interpreter), context.host.platform);
            Some((interpreter.to_owned(), fault?))
        };
        Self {
            init: context.host.init.clone(),
            is_host: context.host.initial_pid_ns,
            faults: (boot.failing.iter())
                .filter_map(|(rule, _)| fault(&rule.interpreter))
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
    let install = match words.is_empty() {
        true => None,
        false => facts.ctl.change(&format!("install {words}")),
    };
    let script = openrc::SCRIPT;
    finding.mend_if(install.map(|install| {
        format!(
            r"printf '%s\n' '#!/bin/sh' {} >{script} && chmod +x {script} && rc-update add local default",
            quoted(&install)
        )
    }))
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

impl Facts {
    /// The command after which a file of somebody else's isn't applied any
    /// more; `None` where more than such rules would go with it.
    fn switch_off(&self, file: &Path, is_such: impl Fn(&Rule) -> bool) -> Option<String> {
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
fn switch_off(file: &Path, is_covering: bool) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_fits_the_place_of_its_file() {
        let table = [
            (
                "/etc/binfmt.d/a.conf",
                false,
                "mv /etc/binfmt.d/a.conf /etc/binfmt.d/a.conf.disabled",
            ),
            (
                "/etc/binfmt.d/a.conf",
                true,
                "mv /etc/binfmt.d/a.conf /etc/binfmt.d/a.conf.disabled && ln -s /dev/null /etc/binfmt.d/a.conf",
            ),
            (
                "/run/binfmt.d/a.conf",
                true,
                "mkdir -p /etc/binfmt.d && ln -s /dev/null /etc/binfmt.d/a.conf",
            ),
            (
                "/usr/lib/binfmt.d/a b.conf",
                false,
                "mkdir -p /etc/binfmt.d && ln -s /dev/null '/etc/binfmt.d/a b.conf'",
            ),
            ("/var/lib/binfmts/a", false, "rm /var/lib/binfmts/a"),
        ];
        for (file, is_covering, command) in table {
            assert_eq!(switch_off(Path::new(file), is_covering), command);
        }
        let unmasked = |dir: &str| unmask("x.service", &Path::new(dir).join("x.service"));
        let command = unmasked("/etc/systemd/system");
        assert_eq!(command.as_deref(), Some("systemctl unmask x.service"));
        assert_eq!(unmasked("/run/systemd/generator.early"), None);
        assert_eq!(unmasked("/usr/lib/systemd/system"), None);
    }

    /// A host whose conf file isn't there, and that has no rules.
    fn bare() -> Facts {
        let init = Init::Other("sh".to_owned());
        let conf = PathBuf::from("/nowhere/zz.conf");
        Facts {
            boot: Boot::read(Path::new("/nowhere"), &init, &conf),
            init,
            is_host: false,
            conf,
            present: false,
            unusable: None,
            prefix: "/opt/binfmtctl".into(),
            rows: Vec::new(),
            faults: BTreeMap::new(),
            covering: BTreeSet::new(),
            ctl: Ctl::plain(),
        }
    }

    #[test]
    fn a_container_is_told_to_ask_on_the_host() {
        let mut facts = bare();
        let told = |facts: &Facts| check(facts)[0].what.clone();
        assert!(told(&facts).contains("on the host"), "{}", told(&facts));
        facts.is_host = true;
        assert!(
            told(&facts).contains("/nowhere/zz.conf"),
            "{}",
            told(&facts)
        );
    }

    #[test]
    fn a_file_is_only_removed_for_what_it_says() {
        let table = [
            (
                Unusable::Content("line 1".to_owned()),
                Level::Problem,
                Some("rm /nowhere/zz.conf"),
            ),
            (
                Unusable::Forbidden("EACCES".to_owned()),
                Level::Warning,
                Some("sudo binfmtctl doctor"),
            ),
            (Unusable::Place("EISDIR".to_owned()), Level::Problem, None),
        ];
        for (unusable, level, remedy) in table {
            let facts = Facts {
                unusable: Some(unusable),
                ..bare()
            };
            let finding = check(&facts).pop().unwrap();
            assert_eq!((finding.id, finding.level), ("conf", level));
            assert_eq!(finding.remedy.as_deref(), remedy);
        }
    }

    #[test]
    fn what_a_file_lacks_isnt_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let error = Error::new(crate::error::Status::Failed, "no");
        let text = dir.path().join("text");
        fs::write(&text, "nonsense").unwrap();
        let content = Unusable::of(&text, &error);
        assert!(matches!(content, Unusable::Content(_)));
        for place in [dir.path().to_owned(), text.join("below")] {
            let place = Unusable::of(&place, &error);
            assert!(matches!(place, Unusable::Place(_)));
        }
    }

    #[test]
    fn a_file_that_says_more_isnt_switched_off() {
        let lines = |text: &str| binfmt_d::parse(text);
        let rule = r":theirs:M::\x7f:\xff:/usr/bin/x:F";
        for (more, is_alone) in [("", true), (":other:E::x::/bin/x:", false)] {
            let mut facts = bare();
            let path = PathBuf::from("/usr/lib/binfmt.d/a.conf");
            facts.boot.files = vec![ConfFile {
                path: path.clone(),
                lines: lines(&format!("{rule}\n{more}\n")),
                passes: false,
            }];
            assert_eq!(facts.switch_off(&path, |_| true).is_some(), is_alone);
            assert_eq!(facts.switch_off(&path, |_| false), None);
        }
    }
}
