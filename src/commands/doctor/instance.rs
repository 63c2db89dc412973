//! The instance itself: whether the kernel has binfmt_misc, whether it is
//! mounted and stays, whether it is switched on, and whose it is.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::FromBufRead;
use procfs::process::MountInfos;

use crate::host::Host;
use crate::report::survey::Survey;
use crate::report::{Finding, HostReport};

/// Whether the kernel can be asked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Module {
    /// It is there.
    Present,
    /// It could be loaded.
    Loadable,
    /// This kernel has none.
    Missing,
}

/// What is mounted at the place, on top.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Top {
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
    match modules.iter().flat_map(|text| text.lines()).any(file) {
        true => Module::Loadable,
        false => Module::Missing,
    }
}

fn top(mountinfo: &[u8], place: &Path) -> Top {
    let Ok(mounts) = MountInfos::from_buf_read(mountinfo) else {
        return Top::Nothing;
    };
    // The last of those at one place is the one on top.
    let mut here = mounts
        .into_iter()
        .rev()
        .filter(|mount| mount.mount_point == place);
    match here.next() {
        None => Top::Nothing,
        Some(mount) => match mount.fs_type.as_str() {
            "binfmt_misc" => Top::Instance,
            "autofs" => Top::Automount,
            other => Top::Other(other.to_owned()),
        },
    }
}

/// Judges the instance.
pub fn check(before: &Before, survey: &Survey<'_>) -> Vec<Finding> {
    let report = survey.host_report();
    let has_rules = !survey.entries.is_empty();
    let mut findings = vec![check_module(before.module, &report)];
    findings.push(check_mount(before, &report));
    if report.mounted {
        findings.push(check_switch(&before.mount, report.enabled));
        findings.push(check_life(&before.mount, &report, has_rules));
    }
    findings
}

fn check_module(module: Module, host: &HostReport) -> Finding {
    const ID: &str = "module";
    match module {
        _ if host.mounted => Finding::ok(ID, "the kernel has binfmt_misc"),
        Module::Present => Finding::ok(ID, "the kernel has binfmt_misc"),
        Module::Loadable => Finding::warning(ID, "the kernel module binfmt_misc isn't loaded")
            .seen_in("/proc/filesystems")
            .mend("modprobe binfmt_misc"),
        Module::Missing => Finding::problem(
            ID,
            format!(
                "this kernel has no binfmt_misc, nor a module for it: install the rest of the modules of Linux {}, or boot a kernel with CONFIG_BINFMT_MISC",
                host.kernel
            ),
        )
        .seen_in(format!("/proc/filesystems, /lib/modules/{}", host.kernel)),
    }
}

fn check_mount(before: &Before, host: &HostReport) -> Finding {
    const ID: &str = "mount";
    let place = before.mount.display();
    match (&before.top, host.mounted) {
        (Top::Automount, true) => Finding::warning(
            ID,
            format!("nobody had triggered the automount at {place}; it is mounted since just now"),
        )
        .seen_in("/proc/self/mountinfo: autofs and nothing on it"),
        (Top::Automount, false) => Finding::problem(
            ID,
            format!("the automount at {place} doesn't mount anything"),
        )
        .seen_in("/proc/self/mountinfo: autofs and nothing on it")
        .mend("systemctl restart proc-sys-fs-binfmt_misc.automount"),
        (_, true) => Finding::ok(ID, format!("binfmt_misc is mounted at {place}")),
        (Top::Other(kind), false) => Finding::problem(
            ID,
            format!("at {place} is a {kind} and not binfmt_misc, so no rules can be seen or made"),
        )
        .seen_in("/proc/self/mountinfo")
        .mend(format!("mount -t binfmt_misc binfmt_misc {place}")),
        (Top::Nothing | Top::Instance, false) => Finding::problem(
            ID,
            format!("binfmt_misc isn't mounted at {place}, so no rules can be seen or made"),
        )
        .seen_in("/proc/self/mountinfo")
        // It mounts, and registers what nobody could while it wasn't.
        .mend("binfmtctl install"),
    }
}

fn check_switch(mount: &Path, enabled: bool) -> Finding {
    const ID: &str = "switch";
    let status = mount.join("status");
    let status = status.display();
    match enabled {
        true => Finding::ok(ID, "binfmt_misc as a whole is switched on"),
        false => Finding::problem(
            ID,
            "binfmt_misc as a whole is switched off: no rule is asked",
        )
        .seen_in(format!("{status}: disabled"))
        .mend(format!("sh -c 'echo 1 >{status}'")),
    }
}

/// How long the rules live.
fn check_life(mount: &Path, host: &HostReport, has_rules: bool) -> Finding {
    const ID: &str = "held";
    let place = mount.display();
    let only_here = format!(
        "PID 1 doesn't have this binfmt_misc mounted: its rules go when the mount at {place} goes"
    );
    let seen = "/proc/1/mountinfo";
    match (host.held, host.instance) {
        (Some(true), _) => Finding::ok(ID, "PID 1 has this binfmt_misc mounted: its rules stay"),
        (_, "userns") => Finding::warning(
            ID,
            "these are the rules of a user namespace: they go with it, and the host's don't reach into it",
        )
        .seen_in("/proc/self/ns/user, /proc/1/mountinfo"),
        (Some(false), _) => {
            let finding = match has_rules {
                true => Finding::problem(ID, only_here),
                false => Finding::warning(ID, only_here),
            };
            finding.seen_in(seen).mend(format!(
                "nsenter --target 1 --mount mount -t binfmt_misc binfmt_misc {place}"
            ))
        }
        (None, _) => Finding::warning(
            ID,
            format!("can't see whether the host's PID 1 has this binfmt_misc mounted; if it hasn't, its rules go when the mount at {place} goes"),
        )
        .seen_in("PID 1 here isn't the host's, or its mounts can't be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;
    use proptest::prelude::*;

    fn host(mounted: bool, held: Option<bool>, instance: &'static str) -> HostReport {
        HostReport {
            platform: "linux/amd64",
            kernel: "6.12.0".to_owned(),
            init: "systemd".to_owned(),
            instance,
            mounted,
            enabled: true,
            held,
        }
    }

    #[test]
    fn a_module_is_there_or_can_be_loaded_or_not() {
        let none = ["", ""].map(str::to_owned);
        let plain = "kernel/fs/binfmt_misc.ko.xz:\nkernel/fs/ext4/ext4.ko: kernel/lib/x.ko\n";
        let builtin = "kernel/fs/binfmt_script.ko\nkernel/fs/binfmt_misc.ko\n";
        assert_eq!(module("nodev\tbinfmt_misc\n", &none), Module::Present);
        assert_eq!(module("nodev\tproc\n", &none), Module::Missing);
        for text in [plain, builtin] {
            let modules = [text.to_owned(), String::new()];
            assert_eq!(module("", &modules), Module::Loadable);
        }
    }

    #[test]
    fn what_lies_on_top_counts() {
        let line = |id: u32, kind: &str| {
            format!("{id} 1 0:{id} / /proc/sys/fs/binfmt_misc rw - {kind} none rw\n")
        };
        let place = Path::new("/proc/sys/fs/binfmt_misc");
        let both = line(1, "autofs") + &line(2, "binfmt_misc");
        assert_eq!(top(both.as_bytes(), place), Top::Instance);
        assert_eq!(top(line(1, "autofs").as_bytes(), place), Top::Automount);
        assert_eq!(top(both.as_bytes(), Path::new("/elsewhere")), Top::Nothing);
    }

    #[test]
    fn an_automount_is_told_from_a_missing_mount() {
        let table = [
            (Top::Automount, true, Level::Warning),
            (Top::Automount, false, Level::Problem),
            (Top::Nothing, false, Level::Problem),
            (Top::Other("tmpfs".to_owned()), false, Level::Problem),
            (Top::Instance, true, Level::Ok),
        ];
        for (top, mounted, level) in table {
            let before = Before {
                mount: PathBuf::from("/m"),
                module: Module::Present,
                top,
            };
            let finding = check_mount(&before, &host(mounted, None, "host"));
            assert_eq!(finding.level, level, "{finding:?}");
        }
    }

    #[test]
    fn rules_that_go_with_a_mount_are_a_problem() {
        let level = |held, instance, has_rules| {
            check_life(Path::new("/m"), &host(true, held, instance), has_rules).level
        };
        assert_eq!(level(Some(false), "host", true), Level::Problem);
        assert_eq!(level(Some(false), "host", false), Level::Warning);
        assert_eq!(level(Some(false), "userns", true), Level::Warning);
        assert_eq!(level(None, "host", true), Level::Warning);
        assert_eq!(level(Some(true), "host", true), Level::Ok);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(filesystems: String, modules: String, mounts in "([0-9:/ a-z-]*\n){0,4}") {
            module(&filesystems, &[modules]);
            top(mounts.as_bytes(), Path::new("/m"));
        }
    }
}
