//! The instance itself: whether the kernel has binfmt_misc, whether it is
//! mounted and stays, whether it is switched on, and whose it is.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::FromBufRead;
use procfs::process::MountInfos;

use super::ctl::Ctl;
use super::words::{quoted, unescaped, word};
use super::{boot, rules};
use crate::binfmt::instance::DEFAULT_MOUNT;
use crate::commands::Context;
use crate::host::Host;
use crate::platform::PLATFORMS;
use crate::report::survey::Survey;
use crate::report::{Finding, HostReport};

/// Whether the kernel can be asked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Module {
    /// It is there.
    Present,
    /// It could be loaded.
    Loadable,
    /// This kernel's modules are there, and it isn't among them.
    Missing,
    /// This kernel's modules can't be seen.
    Unknown,
}

/// What is mounted at the place, on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Top {
    Nothing,
    Automount,
    Instance,
    Other(String),
}

/// What was seen before anything else was touched: to look into an automount
/// triggers it.
#[derive(Debug)]
pub struct Before {
    mount: PathBuf,
    module: Module,
    top: Top,
    /// Whether the host's mounts are others than these.
    from_container: bool,
    /// Why the host's rules can't be brought into sight, where that was tried.
    pub hidden: Option<String>,
}

impl Before {
    /// Looks.
    pub fn read(mount: &Path, host: &Host) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let modules = format!("/lib/modules/{}", host.kernel);
        let module = module(
            &text("/proc/filesystems"),
            &["modules.dep", "modules.builtin"].map(|file| text(&format!("{modules}/{file}"))),
        );
        let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self {
            mount: mount.to_owned(),
            module,
            top: top(&mountinfo, mount),
            from_container: host.initial_user_ns && !host.sees_boot(),
            hidden: None,
        }
    }
}

fn module(filesystems: &str, modules: &[String]) -> Module {
    let is_it = |line: &str| line.split_whitespace().last() == Some("binfmt_misc");
    if filesystems.lines().any(is_it) {
        return Module::Present;
    }
    let file = |line: &str| {
        let path = line.split(':').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        name.split('.').next() == Some("binfmt_misc")
    };
    let mut lines = modules.iter().flat_map(|text| text.lines()).peekable();
    match (lines.peek().is_some(), lines.any(file)) {
        (_, true) => Module::Loadable,
        (true, false) => Module::Missing,
        (false, false) => Module::Unknown,
    }
}

pub(super) fn top(mountinfo: &[u8], place: &Path) -> Top {
    let Ok(mounts) = MountInfos::from_buf_read(mountinfo) else {
        return Top::Nothing;
    };
    // The last of those at one place is the one on top.
    let mut here = mounts
        .into_iter()
        .rev()
        .filter(|mount| unescaped(&mount.mount_point) == place);
    match here.next() {
        None => Top::Nothing,
        Some(mount) => match mount.fs_type.as_str() {
            "binfmt_misc" => Top::Instance,
            "autofs" => Top::Automount,
            other => Top::Other(other.to_owned()),
        },
    }
}

/// What is judged.
#[derive(Debug)]
pub struct Facts {
    before: Before,
    report: HostReport,
    /// Whether the rules of an instance go with its last mount.
    has_instances: bool,
    has_rules: bool,
    /// An enabled rule that takes the host's own programs.
    deadly: Option<String>,
    /// Whether everything runs that should.
    asked_runs: bool,
    /// What sets up what should run.
    install: String,
}

impl Facts {
    /// Takes what the others saw.
    pub fn read(
        mut before: Before,
        context: &Context,
        survey: &Survey<'_>,
        rules: &rules::Facts,
        boot: &boot::Facts,
    ) -> Self {
        if rules.native.is_ok() {
            // A namespace without rules had one mounted.
            before.module = Module::Present;
        }
        let is_desired = |platform: &rules::PlatformFacts| match survey.desired.is_empty() {
            true => PLATFORMS.contains(platform.platform) && platform.platform.engine,
            false => platform.desired,
        };
        let mut asked = rules.platforms.iter().filter(|p| is_desired(p));
        Self {
            before,
            report: survey.host_report(),
            has_instances: context.host.kernel.has_instances(),
            has_rules: !survey.entries.is_empty(),
            deadly: rules.deadly().map(str::to_owned),
            asked_runs: asked.all(|platform| survey.runs(platform.platform)),
            install: boot.install(),
        }
    }
}

/// Judges the instance.
pub fn check(facts: &Facts, ctl: &Ctl) -> Vec<Finding> {
    let mut findings = vec![check_module(facts), check_mount(facts, ctl)];
    if facts.report.mounted {
        findings.extend([check_switch(facts), check_life(facts, ctl)]);
    }
    findings
}

fn check_module(facts: &Facts) -> Finding {
    const ID: &str = "module";
    let kernel = &facts.report.kernel;
    match facts.before.module {
        _ if facts.report.mounted => Finding::ok(ID, "the kernel has binfmt_misc"),
        Module::Present => Finding::ok(ID, "the kernel has binfmt_misc"),
        Module::Loadable => Finding::warning(ID, "the kernel module binfmt_misc isn't loaded")
            .seen_in("/proc/filesystems")
            .mend("modprobe binfmt_misc"),
        Module::Missing => Finding::problem(
            ID,
            format!(
                "this kernel has no binfmt_misc, nor a module for it: install the rest of the modules of Linux {kernel}, or boot a kernel with CONFIG_BINFMT_MISC"
            ),
        )
        .seen_in(format!("/proc/filesystems, /lib/modules/{kernel}")),
        Module::Unknown => Finding::warning(
            ID,
            "binfmt_misc isn't loaded, and whether this kernel has it can't be told from here",
        )
        .seen_in(format!(
            "/proc/filesystems; /lib/modules/{kernel} has no list of modules"
        )),
    }
}

fn check_mount(facts: &Facts, ctl: &Ctl) -> Finding {
    const ID: &str = "mount";
    const AUTOFS: &str = "/proc/self/mountinfo: autofs and nothing on it";
    let mount = &facts.before.mount;
    let place = mount.display();
    // Rules are asked also where they can't be seen.
    let finding = |what: String| match facts.asked_runs {
        true => Finding::warning(ID, what),
        false => Finding::problem(ID, what),
    };
    let is_usual = mount == Path::new(DEFAULT_MOUNT);
    // It mounts, and registers what nobody could while it wasn't.
    let install = || is_usual.then(|| ctl.change(&facts.install)).flatten();
    match (&facts.before.top, facts.report.mounted) {
        (Top::Automount, true) => Finding::warning(
            ID,
            format!("nobody had triggered the automount at {place}; it is mounted since just now"),
        )
        .seen_in(AUTOFS),
        (Top::Automount, false) => {
            let restart = "systemctl restart proc-sys-fs-binfmt_misc.automount";
            finding(format!("the automount at {place} doesn't mount anything"))
                .seen_in(AUTOFS)
                .mend_if(ctl.is_outside().then_some(restart))
        }
        (Top::Nothing, true) if facts.before.from_container => Finding::ok(
            ID,
            "binfmt_misc isn't mounted in this container, but outside; doctor has mounted it for itself",
        ),
        (_, true) => Finding::ok(ID, format!("binfmt_misc is mounted at {place}")),
        (Top::Nothing, false) if facts.before.from_container => {
            let what = match &facts.before.hidden {
                Some(why) => {
                    format!("in this container the host's rules can't be seen ({why})")
                }
                None => {
                    "binfmt_misc is mounted neither in this container nor, as it seems, outside"
                        .to_owned()
                }
            };
            Finding::warning(
                ID,
                format!("{what}: run it on the host, or use --host in a container started with `--privileged --pid=host`"),
            )
            .seen_in("/proc/self/mountinfo")
        }
        (Top::Other(kind), false) => finding(format!(
            "at {place} is a {kind} and not binfmt_misc, so no rules can be seen or made"
        ))
        .seen_in("/proc/self/mountinfo")
        .mend_if(ctl.mount(mount).or_else(install)),
        (Top::Nothing | Top::Instance, false) => finding(format!(
            "binfmt_misc isn't mounted at {place}, so no rules can be seen or made"
        ))
        .seen_in("/proc/self/mountinfo")
        .mend_if(install().or_else(|| ctl.mount(mount))),
    }
}

fn check_switch(facts: &Facts) -> Finding {
    const ID: &str = "switch";
    let status = facts.before.mount.join("status");
    if facts.report.enabled {
        return Finding::ok(ID, "binfmt_misc as a whole is switched on");
    }
    let off = "binfmt_misc as a whole is switched off: no rule is asked";
    let seen = format!("{}: disabled", status.display());
    match &facts.deadly {
        Some(rule) => Finding::problem(
            ID,
            format!("{off}; don't switch it on before rule {rule} is gone, which would stop every program"),
        )
        .seen_in(seen),
        None => {
            let write = format!("echo 1 >{}", word(&status));
            Finding::problem(ID, off)
                .seen_in(seen)
                .mend(format!("sh -c {}", quoted(&write)))
        }
    }
}

/// How long the rules live.
fn check_life(facts: &Facts, ctl: &Ctl) -> Finding {
    const ID: &str = "held";
    let mount = &facts.before.mount;
    let place = mount.display();
    let only_here = "PID 1 doesn't have this binfmt_misc mounted";
    let gone = format!("{only_here}: its rules go when the mount at {place} goes");
    let seen = "/proc/1/mountinfo";
    match (facts.report.held, facts.report.instance) {
        (Some(true), _) => Finding::ok(ID, "PID 1 has this binfmt_misc mounted: its rules stay"),
        (_, "userns") => Finding::warning(
            ID,
            "these are the rules of a user namespace: they go with it, and the host's don't reach into it",
        )
        .seen_in("/proc/self/ns/user, /proc/1/mountinfo"),
        (Some(false), _) => {
            let finding = match (facts.has_instances, facts.has_rules) {
                (true, true) => Finding::problem(ID, gone),
                (true, false) => Finding::warning(ID, gone),
                (false, _) => Finding::warning(
                    ID,
                    format!("{only_here}: before Linux 6.7 rules outlive their mount, but not on stable kernels since September 2024"),
                ),
            };
            let mounted = ctl.mount(mount);
            finding.seen_in(seen).mend_if(
                mounted.map(|command| format!("nsenter --target 1 --mount {command}")),
            )
        }
        (None, _) => Finding::warning(
            ID,
            format!("can't see whether the host's PID 1 has this binfmt_misc mounted; if it hasn't, its rules go when the mount at {place} goes"),
        )
        .seen_in("PID 1 here isn't the host's, or its mounts can't be read"),
    }
}

#[cfg(test)]
mod tests;
