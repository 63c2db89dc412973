//! Instances made by hand, and what is found in them.

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
    assert_eq!(module("nodev\tproc\n", &none), Module::Unknown);
    let others = ["kernel/fs/ext4/ext4.ko:\n", ""].map(str::to_owned);
    assert_eq!(module("nodev\tproc\n", &others), Module::Missing);
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
    let spaced = line(1, "binfmt_misc").replace("/proc/sys/fs/binfmt_misc", r"/a\040b");
    assert_eq!(top(spaced.as_bytes(), Path::new("/a b")), Top::Instance);
}

/// An instance that is there, on, and has a rule.
fn facts(report: HostReport) -> Facts {
    Facts {
        before: Before {
            mount: PathBuf::from("/m m"),
            module: Module::Present,
            top: Top::Instance,
            from_container: false,
            hidden: None,
        },
        report,
        has_instances: true,
        has_rules: true,
        deadly: None,
        asked_runs: false,
        install: "install arm64".to_owned(),
    }
}

#[test]
fn an_automount_is_told_from_a_missing_mount() {
    let other = || Top::Other("tmpfs".to_owned());
    let table = [
        (Top::Automount, true, false, Level::Warning),
        (Top::Automount, false, false, Level::Problem),
        (Top::Nothing, false, false, Level::Problem),
        (Top::Nothing, false, true, Level::Warning),
        (other(), false, false, Level::Problem),
        (other(), false, true, Level::Warning),
        (Top::Instance, true, false, Level::Ok),
    ];
    for (top, mounted, asked_runs, level) in table {
        let mut facts = facts(host(mounted, None, "host"));
        facts.before.top = top;
        facts.asked_runs = asked_runs;
        let finding = check_mount(&facts, &Ctl::plain());
        assert_eq!(finding.level, level, "{finding:?}");
    }
}

#[test]
fn a_container_without_the_mount_is_no_broken_host() {
    for (mounted, level) in [(true, Level::Ok), (false, Level::Warning)] {
        let mut facts = facts(host(mounted, None, "host"));
        facts.before.top = Top::Nothing;
        facts.before.from_container = true;
        let finding = check_mount(&facts, &Ctl::plain());
        assert_eq!(finding.level, level);
        assert!(finding.what.contains("this container"), "{finding:?}");
    }
    let mut facts = facts(host(false, None, "host"));
    facts.before.top = Top::Nothing;
    facts.before.from_container = true;
    facts.before.hidden = Some("cannot look: it lacks CAP_X".to_owned());
    let finding = check_mount(&facts, &Ctl::plain());
    assert!(finding.what.contains("lacks CAP_X"), "{finding:?}");
}

#[test]
fn only_what_hides_nothing_is_mounted() {
    let remedy = |top: &Top, mount: &str, ctl: &Ctl| {
        let mut facts = facts(host(false, None, "host"));
        facts.before.top = top.clone();
        facts.before.mount = mount.into();
        check_mount(&facts, ctl).remedy
    };
    let other = Top::Other("tmpfs".to_owned());
    let by_hand = Some("mount -t binfmt_misc binfmt_misc '/m m'".to_owned());
    let plain = Ctl::plain();
    for top in [&other, &Top::Nothing] {
        assert_eq!(remedy(top, "/m m", &plain), by_hand);
        for mount in ["/m m", DEFAULT_MOUNT] {
            assert_eq!(remedy(top, mount, &Ctl::inside()), None);
        }
    }
    assert_eq!(
        remedy(&Top::Nothing, DEFAULT_MOUNT, &plain).as_deref(),
        Some("binfmtctl install arm64")
    );
    assert_eq!(remedy(&Top::Automount, "/m", &Ctl::inside()), None);
}

#[test]
fn nothing_is_switched_on_that_would_stop_the_host() {
    let mut off = facts(host(true, Some(true), "host"));
    off.report.enabled = false;
    assert_eq!(
        check_switch(&off).remedy.as_deref(),
        Some(r"sh -c 'echo 1 >'\''/m m/status'\'''")
    );
    off.deadly = Some("bad".to_owned());
    let finding = check_switch(&off);
    assert!(finding.what.contains("rule bad"), "{finding:?}");
    assert_eq!((finding.level, finding.remedy), (Level::Problem, None));
}

#[test]
fn a_missing_module_is_only_claimed_where_it_would_be_seen() {
    let level = |module| {
        let mut facts = facts(host(false, None, "host"));
        facts.before.module = module;
        check_module(&facts).level
    };
    assert_eq!(level(Module::Missing), Level::Problem);
    assert_eq!(level(Module::Unknown), Level::Warning);
    assert_eq!(level(Module::Present), Level::Ok);
}

#[test]
fn rules_that_go_with_a_mount_are_a_problem() {
    let level = |held, instance, has_rules, has_instances| {
        let mut facts = facts(host(true, held, instance));
        (facts.has_rules, facts.has_instances) = (has_rules, has_instances);
        check_life(&facts, &Ctl::plain()).level
    };
    assert_eq!(level(Some(false), "host", true, true), Level::Problem);
    assert_eq!(level(Some(false), "host", true, false), Level::Warning);
    assert_eq!(level(Some(false), "host", false, true), Level::Warning);
    assert_eq!(level(Some(false), "userns", true, true), Level::Warning);
    assert_eq!(level(None, "host", true, true), Level::Warning);
    assert_eq!(level(Some(true), "host", true, true), Level::Ok);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(filesystems: String, modules: String, mounts in "([0-9:/ a-z-]*\n){0,4}") {
        module(&filesystems, &[modules]);
        top(mounts.as_bytes(), Path::new("/m"));
    }
}
