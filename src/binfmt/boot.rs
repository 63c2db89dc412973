//! What the next boot brings back, found by playing through what this host's
//! init system does with the files that it reads.
//!
//! systemd-binfmt.service applies the files of binfmt.d(5), then Debian's
//! binfmt-support.service adds what its database has; the newest rule wins,
//! so a rule that another one follows doesn't come back to run anything. Last
//! comes our own service, where there is one: what it finds missing it adds.
//! Everything is seen in files, no service manager is asked. Where something
//! isn't certain, nothing is promised.

pub mod binfmt_d;
pub mod openrc;
pub mod service;
pub mod support;
pub mod unit;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::entry::{Entry, Kind};
use super::rule::Rule;
use crate::emulator::store::DEFAULT_PREFIX;
use crate::host::Init;
use binfmt_d::{ConfFile, Line, Place};
use support::Support;
use unit::Unit;

/// Our conf file, unless somebody names another.
pub const CONF: &str = "/etc/binfmt.d/zz-binfmtctl.conf";
/// The service that applies the files of binfmt.d.
pub const SYSTEMD_BINFMT: &str = "systemd-binfmt.service";
/// The units that give it a place to write to.
pub const MOUNTS: [&str; 2] = [
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
];

/// What brings a rule back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file that it is in.
    pub file: PathBuf,
    /// The service that applies the file.
    pub unit: &'static str,
}

/// A rule that is registered at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returning {
    /// The rule.
    pub rule: Rule,
    /// Where it comes from.
    pub source: Source,
    /// Whether it is certain to be there, and to find its interpreter.
    certain: bool,
}

/// What a boot will do, by the files of this moment.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Where our conf file stands.
    pub place: Place,
    /// What becomes of systemd-binfmt.service.
    pub systemd_binfmt: Unit,
    /// A masked unit without which there is no binfmt_misc for it.
    pub masked_mount: Option<(&'static str, PathBuf)>,
    /// Whether nothing at all can mount it.
    is_mount_masked: bool,
    /// The files of binfmt.d, in the order in which they apply.
    pub files: Vec<ConfFile>,
    /// binfmt-support, where it is installed.
    pub support: Option<Support>,
    /// What becomes of our own unit.
    pub own: Unit,
    /// The program that it, or OpenRC's script, calls to apply our usual
    /// file; none where they may do something else.
    pub program: Option<String>,
    /// Whether that isn't there.
    pub is_program_lost: bool,
    /// What of OpenRC's calls this program.
    pub openrc: Option<(&'static str, PathBuf)>,
    /// Whether OpenRC has a service of this program's that nothing starts.
    pub has_idle_script: bool,
    /// What is registered afterwards, the newest last.
    pub rules: Vec<Returning>,
    /// Rules that can't be registered: F, and no such interpreter.
    pub failing: Vec<(Rule, Source)>,
}

impl Boot {
    /// Looks at what there is below `root`, where `init` is PID 1 and our
    /// conf file is `conf`.
    pub fn read(root: &Path, init: &Init, conf: &Path) -> Self {
        let mut boot = Self {
            place: binfmt_d::place(root, conf),
            systemd_binfmt: unit::look(root, SYSTEMD_BINFMT, "sysinit.target"),
            masked_mount: masked_mount(root),
            is_mount_masked: matches!(mount_unit(root, MOUNTS[1]), Unit::Masked(_)),
            files: binfmt_d::read(root),
            support: support::read(root),
            own: Unit::Absent,
            program: None,
            is_program_lost: false,
            openrc: openrc::read(root),
            has_idle_script: openrc::is_idle(root),
            rules: Vec::new(),
            failing: Vec::new(),
        };
        boot.own = service::look(root, boot.applies_files());
        boot.program = match init {
            Init::OpenRc => service::program_of_script(root),
            _ => (boot.own.file()).and_then(|file| service::program_of_unit(root, file)),
        };
        let found = |interpreter: &str| is_program(root, interpreter);
        boot.is_program_lost = boot.program.as_ref().is_some_and(|program| !found(program));
        let is_usual = conf == root.join(CONF.trim_start_matches('/'));
        let mut registry = Registry::new(&found);
        let by_openrc = boot.openrc.as_ref().map(|(service, _)| *service);
        let own = match (init, by_openrc) {
            (Init::Systemd, _) => boot.applies_ours().then_some(service::UNIT),
            (Init::OpenRc, Some(service::SCRIPT)) => boot.has_program().then_some(service::SCRIPT),
            _ => None,
        };
        match (init, by_openrc) {
            (Init::Systemd, _) => boot.play(&mut registry),
            (Init::OpenRc, Some(service)) if service != service::SCRIPT => {
                registry.apply(&ConfFile::read(conf), service);
            }
            _ => {}
        }
        if let Some(service) = own.filter(|_| is_usual) {
            registry.uphold(&ConfFile::read(conf), service);
        }
        (boot.rules, boot.failing) = (registry.rules, registry.failing);
        boot
    }

    /// Whether systemd applies the files of binfmt.d.
    pub fn applies_files(&self) -> bool {
        self.systemd_binfmt.starts() && self.masked_mount.is_none()
    }

    /// Whether our own unit applies our file. It has binfmt_misc mounted, if
    /// it can be.
    pub fn applies_ours(&self) -> bool {
        self.own.starts() && self.has_program() && !self.is_mount_masked
    }

    fn has_program(&self) -> bool {
        self.program.is_some() && !self.is_program_lost
    }

    fn play(&self, registry: &mut Registry<'_>) {
        if self.applies_files() {
            for file in &self.files {
                registry.apply(file, SYSTEMD_BINFMT);
            }
        }
        if let Some(support) = self.support.as_ref().filter(|s| s.unit.starts()) {
            // Before 2.2.2 the two may start in either order, and
            // systemd-binfmt begins with removing everybody's rules.
            let waits = support.settings.after.iter().any(|u| u == SYSTEMD_BINFMT);
            registry.add(support, waits || !self.applies_files());
        }
    }

    /// Whether some file has a rule of this entry's name and interpreter,
    /// whatever becomes of that file at boot.
    pub fn has(&self, entry: &Entry) -> bool {
        let is_entry =
            |rule: &Rule| rule.name == entry.name && rule.interpreter == entry.interpreter;
        let mut lines = self.files.iter().flat_map(|file| &file.lines);
        let mut formats = self.support.iter().flat_map(|support| {
            let all = support.formats.values();
            all.clone().filter_map(move |one| one.rule(all.clone()))
        });
        let in_file = lines.any(|line| match line {
            Line::Rule(rule) => is_entry(rule),
            Line::Other(name) => name.as_ref() == Some(&entry.name),
        });
        in_file || formats.any(|rule| is_entry(&rule))
    }

    /// What brings this entry back: the same name, pattern and interpreter,
    /// with F if it has F now. `None` also where a newer rule would take its
    /// programs then.
    pub fn covers(&self, entry: &Entry) -> Option<&Source> {
        let Kind::Magic(pattern) = &entry.kind else {
            return None;
        };
        let is_entry = |rule: &Rule| {
            rule.name == entry.name
                && rule.interpreter == entry.interpreter
                && rule.pattern == *pattern
                && (rule.flags.fix_binary || !entry.known_flags().fix_binary)
        };
        let found = self.rules.iter().find(|r| is_entry(&r.rule))?;
        (found.certain && self.rival(&found.rule).is_none()).then_some(&found.source)
    }

    /// What takes this rule's programs, or some of them, from it at boot: one
    /// that takes its name, or a newer one.
    pub fn rival(&self, rule: &Rule) -> Option<&Returning> {
        let position = self.rules.iter().position(|r| r.rule.name == rule.name)?;
        let namesake = &self.rules[position];
        if namesake.rule != *rule {
            return Some(namesake);
        }
        let mut newest_first = self.rules[position + 1..].iter().rev();
        newest_first.find(|r| r.rule.pattern.overlaps(&rule.pattern))
    }
}

struct Registry<'a> {
    is_program: &'a dyn Fn(&str) -> bool,
    /// Names of whatever is registered.
    taken: BTreeSet<String>,
    rules: Vec<Returning>,
    failing: Vec<(Rule, Source)>,
}

impl<'a> Registry<'a> {
    fn new(is_program: &'a dyn Fn(&str) -> bool) -> Self {
        Self {
            is_program,
            taken: BTreeSet::new(),
            rules: Vec::new(),
            failing: Vec::new(),
        }
    }

    /// systemd-binfmt: each line takes its name from whoever has it.
    fn apply(&mut self, file: &ConfFile, unit: &'static str) {
        for line in &file.lines {
            let name = match line {
                Line::Rule(rule) => &rule.name,
                Line::Other(Some(name)) => name,
                Line::Other(None) => continue,
            };
            self.rules.retain(|returning| returning.rule.name != *name);
            self.taken.remove(name);
            match line {
                Line::Rule(rule) => {
                    self.register(rule.clone(), &file.path, unit, !file.passes);
                }
                Line::Other(_) => drop(self.taken.insert(name.clone())),
            }
        }
    }

    /// update-binfmts: each format by name, unless its name is taken.
    fn add(&mut self, support: &Support, certain: bool) {
        if support.broken.is_some() {
            return;
        }
        for (path, format) in &support.formats {
            if self.taken.contains(&format.name) {
                continue;
            }
            if let Some(rule) = format.rule(support.formats.values()) {
                self.register(rule, path, support::UNIT, certain);
            }
        }
    }

    /// Our own service: what of the file doesn't run by then is registered
    /// anew. It applies only what has an emulator in the store, leaves others'
    /// rules that work, and others' names; and what it makes of rules that
    /// are for a part of its programs isn't certain.
    fn uphold(&mut self, file: &ConfFile, unit: &'static str) {
        let is_ours = |rule: &&Rule| Path::new(&rule.interpreter).starts_with(DEFAULT_PREFIX);
        for rule in file.rules().filter(is_ours) {
            let is_taken = (self.rules.iter().map(|returning| &returning.rule))
                .any(|other| other.name == rule.name && other != rule);
            let mut newest_first = self.rules.iter().rev();
            let first =
                newest_first.find(|returning| returning.rule.pattern.overlaps(&rule.pattern));
            let stays = first.is_some_and(
                |Returning {
                     rule: first,
                     certain,
                     ..
                 }| {
                    let works = *certain && (first == rule || first.flags.fix_binary);
                    works || first.pattern != rule.pattern
                },
            );
            if !stays && !is_taken && !self.taken_by_others(rule) {
                self.rules
                    .retain(|returning| returning.rule.name != rule.name);
                self.failing.retain(|(failing, _)| failing != rule);
                self.register(rule.clone(), &file.path, unit, true);
            }
        }
    }

    /// Whether its name is that of something else than a rule by magic.
    fn taken_by_others(&self, rule: &Rule) -> bool {
        let mut known = self.rules.iter().map(|returning| &returning.rule.name);
        self.taken.contains(&rule.name) && !known.any(|name| *name == rule.name)
    }

    fn register(&mut self, rule: Rule, file: &Path, unit: &'static str, certain: bool) {
        let source = Source {
            file: file.to_owned(),
            unit,
        };
        let found = (self.is_program)(&rule.interpreter);
        // With F the kernel opens it at once.
        if rule.flags.fix_binary && !found {
            self.failing.push((rule, source));
            return;
        }
        self.taken.insert(rule.name.clone());
        self.rules.push(Returning {
            rule,
            source,
            certain: certain && found,
        });
    }
}

/// Whether the kernel could start it.
fn is_program(root: &Path, path: &str) -> bool {
    fs::metadata(root.join(path.trim_start_matches('/')))
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// systemd-binfmt.service does nothing where binfmt_misc isn't mounted.
fn masked_mount(root: &Path) -> Option<(&'static str, PathBuf)> {
    let fstab = fs::read_to_string(root.join("etc/fstab")).unwrap_or_default();
    let mut lines = fstab.lines().map(str::trim_start);
    let in_fstab = lines.any(|line| !line.starts_with('#') && line.contains("binfmt_misc"));
    MOUNTS.into_iter().find_map(|name| {
        let needed = !(in_fstab && name.ends_with(".automount"));
        match mount_unit(root, name) {
            Unit::Masked(file) if needed => Some((name, file)),
            _ => None,
        }
    })
}

fn mount_unit(root: &Path, name: &str) -> Unit {
    unit::look(root, name, "sysinit.target")
}

#[cfg(test)]
mod tests;
