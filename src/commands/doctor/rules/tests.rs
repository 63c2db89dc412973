//! Facts made by hand, and what is found in them.

use super::*;
use crate::binfmt::Flags;
use crate::binfmt::entry::Kind;
use crate::binfmt::switch::Wanted;
use crate::report::{BytesReport, Cause, Compared, Level, Pinned};

fn platform(name: &str) -> &'static Platform {
    crate::platform::PLATFORMS
        .iter()
        .find(|platform| platform.name == name)
        .unwrap()
}

/// A rule for a platform's programs.
fn rule(name: &str, of: &str) -> Entry {
    let wanted = Wanted {
        target: platform(of).target(),
        interpreter: "/usr/bin/emulator".to_owned(),
        flags: Flags::default(),
        prefix: String::new(),
        given: None,
    };
    Entry {
        name: name.to_owned(),
        enabled: true,
        interpreter: wanted.interpreter.clone(),
        flags: "POF".to_owned(),
        kind: Kind::Magic(wanted.pattern()),
    }
}

/// A platform that runs by our rule, from the right bytes.
fn emulated(name: &str) -> PlatformFacts {
    let platform = platform(name);
    PlatformFacts {
        platform,
        report: PlatformReport {
            platform: platform.name,
            target: platform.emulator,
            runs: Runs::Emulated,
            variants: Vec::new(),
            cause: None,
            detail: None,
            handler: Some("ours".to_owned()),
            interpreter: Some("/usr/bin/emulator".to_owned()),
            flags: Some("POF".to_owned()),
            owner: Some(Owner::Binfmtctl),
            qemu: Some("10.0.13".to_owned()),
            sha256: None,
            pinned: Some(Pinned::Match),
            bytes: None,
            in_front: Vec::new(),
            shadowed: Vec::new(),
            persistent: Some(true),
            boot: None,
            action: None,
            rehearsal: None,
        },
        desired: true,
        fault: None,
        is_shifted: false,
        is_pie: true,
    }
}

/// A platform that doesn't run.
fn dead(name: &str, cause: Cause) -> PlatformFacts {
    let mut platform = emulated(name);
    platform.report.runs = Runs::No;
    platform.report.cause = Some(cause);
    platform.report.detail = Some("it is dead".to_owned());
    platform
}

/// An amd64 host with these platforms and rules, and nothing else.
fn facts(platforms: Vec<PlatformFacts>, entries: Vec<(Entry, Owner)>) -> Facts {
    Facts {
        host: platform("linux/amd64"),
        mount: PathBuf::from("/m"),
        mounted: true,
        enabled: true,
        platforms,
        entries,
        native: Ok(vec![platform("linux/amd64"), platform("linux/386")]),
        announces_argv0: true,
        sees_files: true,
        ctl: Ctl::plain(),
    }
}

/// What isn't ok: id, level, remedy.
fn found(facts: &Facts) -> Vec<(&'static str, Level, String)> {
    (facts.native_rules().into_iter())
        .chain(check(facts))
        .filter(|finding| finding.level != Level::Ok)
        .map(|finding| {
            let remedy = finding.remedy.unwrap_or_default();
            (finding.id, finding.level, remedy)
        })
        .collect()
}

fn one(id: &'static str, level: Level, remedy: &str) -> Vec<(&'static str, Level, String)> {
    vec![(id, level, remedy.to_owned())]
}

#[test]
fn a_sound_host_has_nothing_to_mend() {
    let ours = (rule("ours", "linux/riscv64"), Owner::Binfmtctl);
    assert_eq!(
        found(&facts(vec![emulated("linux/riscv64")], vec![ours])),
        []
    );
}

#[test]
fn every_cause_is_a_problem_with_a_command() {
    let table = [
        (Cause::NoFixBinary, "no-fix-binary"),
        (Cause::InterpreterMissing, "interpreter-missing"),
        (Cause::EmulatorFailed, "emulator-failed"),
        (Cause::Timeout, "timeout"),
        (Cause::Shadowed, "shadowed"),
        (Cause::Disabled, "disabled"),
        (Cause::Unmounted, "unmounted"),
        (Cause::NotRegistered, "not-registered"),
    ];
    for (cause, id) in table {
        let facts = facts(vec![dead("linux/riscv64", cause)], Vec::new());
        let expected = one(id, Level::Problem, "binfmtctl install riscv64");
        assert_eq!(found(&facts), expected);
    }
}

#[test]
fn what_the_whole_instance_lacks_is_not_said_again_for_each_platform() {
    for (cause, mounted) in [(Cause::Unmounted, false), (Cause::Disabled, true)] {
        let mut facts = facts(vec![dead("linux/riscv64", cause)], Vec::new());
        (facts.mounted, facts.enabled) = (mounted, false);
        assert_eq!(found(&facts), []);
    }
}

#[test]
fn a_broken_rule_for_a_native_platform_goes() {
    let theirs = (rule("ours", "linux/386"), Owner::Other);
    let mut platform = dead("linux/386", Cause::NoFixBinary);
    platform.report.owner = Some(Owner::Other);
    let remedy = "binfmtctl uninstall --foreign ours";
    assert_eq!(
        found(&facts(vec![platform], vec![theirs])),
        one("no-fix-binary", Level::Problem, remedy)
    );
}

#[test]
fn missing_platforms_matter_where_nothing_is_there_at_all() {
    let bare = || {
        let mut bare = dead("linux/arm64", Cause::NotRegistered);
        bare.desired = false;
        bare
    };
    let remedy = "binfmtctl install arm64";
    assert_eq!(
        found(&facts(vec![bare()], Vec::new())),
        one("not-registered", Level::Warning, remedy)
    );
    let other = emulated("linux/riscv64");
    assert_eq!(found(&facts(vec![bare(), other], Vec::new())), []);
}

#[test]
fn stale_bytes_are_told_by_how_they_came_to_be() {
    let table = [
        (
            Compared::Missing,
            None,
            Owner::Other,
            Level::Warning,
            "--replace ",
        ),
        (
            Compared::Other,
            None,
            Owner::Other,
            Level::Warning,
            "--replace ",
        ),
        (
            Compared::Other,
            Some(Compared::Same),
            Owner::Binfmtctl,
            Level::Warning,
            "",
        ),
        (
            Compared::Same,
            Some(Compared::Other),
            Owner::Binfmtctl,
            Level::Problem,
            "",
        ),
    ];
    for (file, store, owner, level, option) in table {
        let mut platform = emulated("linux/riscv64");
        platform.report.pinned = Some(Pinned::Stale);
        platform.report.owner = Some(owner);
        platform.report.bytes = Some(BytesReport {
            file,
            store,
            manifest: None,
        });
        let remedy = format!("binfmtctl install {option}riscv64");
        let facts = facts(vec![platform], Vec::new());
        assert_eq!(found(&facts), one("stale", level, &remedy));
    }
}

#[test]
fn two_owners_are_told_by_who_wins() {
    let rules = |first: Owner, second: Owner| {
        vec![
            (rule("ours", "linux/riscv64"), first),
            (rule("it's $(theirs)", "linux/riscv64"), second),
        ]
    };
    let platforms = || vec![emulated("linux/riscv64")];
    assert_eq!(
        found(&facts(
            platforms(),
            rules(Owner::Binfmtctl, Owner::Distribution)
        )),
        one(
            "two-owners",
            Level::Warning,
            r"binfmtctl uninstall --foreign 'it'\''s $(theirs)'"
        )
    );
    let shadowed = |owner: Owner, remedy: &str| {
        let mut platform = emulated("linux/riscv64");
        platform.report.owner = Some(owner);
        assert_eq!(
            found(&facts(vec![platform], rules(owner, Owner::Binfmtctl))),
            one("shadowed", Level::Warning, remedy)
        );
    };
    shadowed(Owner::Distribution, "binfmtctl install --replace riscv64");
    shadowed(Owner::Rosetta, "");
    assert_eq!(
        found(&facts(platforms(), rules(Owner::Other, Owner::Other))),
        []
    );
}

#[test]
fn a_rule_for_the_hosts_own_programs_is_told_by_whether_it_is_on() {
    for (enabled, level) in [(true, Level::Problem), (false, Level::Warning)] {
        let mut entry = rule("deadly", "linux/amd64");
        entry.enabled = enabled;
        assert_eq!(
            found(&facts(Vec::new(), vec![(entry, Owner::Other)])),
            one("native-rule", level, "echo -1 >/m/deadly")
        );
    }
}

#[test]
fn a_rule_that_would_stop_the_host_is_known_before_anything_is_switched_on() {
    let mut facts = facts(
        Vec::new(),
        vec![(rule("it's deadly", "linux/amd64"), Owner::Other)],
    );
    facts.enabled = false;
    let remedy = r"echo -1 >'/m/it'\''s deadly'";
    assert_eq!(found(&facts), one("native-rule", Level::Problem, remedy));
    let what = &facts.native_rules()[0].what;
    assert!(!what.contains("any more"), "{what}");
    assert_eq!(facts.deadly(), Some("it's deadly"));
    facts.entries[0].0.enabled = false;
    assert_eq!(facts.deadly(), None);
}

#[test]
fn a_rule_for_position_independent_programs_alone_would_stop_the_host_too() {
    let mut entry = rule("deadly", "linux/amd64");
    if let Kind::Magic(pattern) = &mut entry.kind {
        pattern.magic[16] = 3;
        if let Some(mask) = &mut pattern.mask {
            mask[16] = 0xff;
        }
    }
    assert!(!entry.matches(&Probe::of(platform("linux/amd64").target()).image()));
    let facts = facts(Vec::new(), vec![(entry, Owner::Other)]);
    let remedy = "echo -1 >/m/deadly";
    assert_eq!(found(&facts), one("native-rule", Level::Problem, remedy));
}

#[test]
fn a_rule_that_others_run_by_stays_and_is_told_once() {
    let mut wide = rule("ours", "linux/386");
    if let Kind::Magic(pattern) = &mut wide.kind {
        pattern.magic.truncate(5);
        pattern.mask = None;
        pattern.magic[4] = 1;
    }
    let broken = |name: &str| {
        let mut platform = dead(name, Cause::EmulatorFailed);
        platform.report.owner = Some(Owner::Other);
        platform
    };
    let mut runs = emulated("linux/arm");
    runs.report.owner = Some(Owner::Other);
    let entries = || vec![(wide.clone(), Owner::Other)];
    let platforms = vec![broken("linux/386"), runs];
    assert_eq!(
        found(&facts(platforms, entries())),
        one("emulator-failed", Level::Problem, "")
    );
    let alone = vec![broken("linux/386"), broken("linux/arm")];
    let remedy = "binfmtctl uninstall --foreign ours";
    assert_eq!(
        found(&facts(alone, entries())),
        one("emulator-failed", Level::Problem, remedy)
    );
    let foreign = vec![broken("linux/mipsle"), broken("linux/arm")];
    let remedy = "binfmtctl install mipsle arm";
    assert_eq!(
        found(&facts(foreign, entries())),
        one("emulator-failed", Level::Problem, remedy)
    );
}

#[test]
fn a_file_that_cant_be_seen_from_a_container_isnt_gone() {
    let mut platform = emulated("linux/riscv64");
    platform.report.pinned = Some(Pinned::Stale);
    platform.report.owner = Some(Owner::Tonistiigi);
    platform.report.bytes = Some(BytesReport {
        file: Compared::Missing,
        store: None,
        manifest: None,
    });
    let mut facts = facts(vec![platform], Vec::new());
    facts.sees_files = false;
    assert_eq!(found(&facts), []);
    assert!(facts.stale()[0].what.contains("can't be seen from here"));
    let table = [
        (true, false, Some(true), true),
        (true, false, Some(false), false),
        (true, true, Some(false), true),
        (false, false, Some(true), false),
        (false, true, Some(false), false),
        (true, false, None, true),
    ];
    for (initial_pid_ns, is_own, same_root, expected) in table {
        assert_eq!(sees(initial_pid_ns, is_own, same_root), expected);
    }
}

#[test]
fn a_user_namespace_is_only_told_what_it_may_do() {
    let told = |cause| {
        let mut facts = facts(vec![dead("linux/riscv64", cause)], Vec::new());
        facts.ctl = Ctl::inside();
        found(&facts).pop().unwrap().2
    };
    assert_eq!(told(Cause::NoFixBinary), "");
    assert_eq!(told(Cause::NotRegistered), "");
    assert_eq!(told(Cause::NotPermitted), "");
    let own = "binfmtctl install riscv64 --userns";
    assert_eq!(told(Cause::Unmounted), own);
}

#[test]
fn what_isnt_qemu_is_never_replaced() {
    for (flags, id) in [("OF", "argv0"), ("POCF", "credentials")] {
        let mut platform = emulated("linux/riscv64");
        platform.report.flags = Some(flags.to_owned());
        platform.report.owner = Some(Owner::Other);
        platform.report.qemu = None;
        let facts = facts(vec![platform, emulated("linux/s390x")], Vec::new());
        assert_eq!(found(&facts), one(id, Level::Warning, ""));
    }
}

#[test]
fn no_two_findings_name_opposite_commands() {
    let theirs = || (rule("ours", "linux/386"), Owner::Other);
    let broken = || {
        let mut platform = dead("linux/386", Cause::NoFixBinary);
        platform.report.owner = Some(Owner::Other);
        vec![emulated("linux/amd64"), platform]
    };
    let remove = "binfmtctl uninstall --foreign ours".to_owned();
    let mut facts = facts(broken(), vec![theirs()]);
    let expected = |remedy: String| {
        vec![
            ("no-fix-binary", Level::Problem, remedy.clone()),
            ("amd64-without-386", Level::Warning, remedy),
        ]
    };
    assert_eq!(found(&facts), expected(remove));
    facts.native = Err("namespaces are closed".to_owned());
    assert_eq!(found(&facts), expected(String::new()));
}

#[test]
fn what_cant_be_tried_isnt_said_to_be_missing() {
    let untried = dead("linux/arm", Cause::NotPermitted);
    let facts = facts(vec![emulated("linux/arm64"), untried], Vec::new());
    let remedy = "sudo binfmtctl doctor";
    assert_eq!(found(&facts), one("not-permitted", Level::Warning, remedy));
}

#[test]
fn wsls_rules_are_never_to_be_removed() {
    let mut entry = rule("WSLInterop", "linux/amd64");
    entry.enabled = false;
    let facts = facts(Vec::new(), vec![(entry, Owner::Other)]);
    assert_eq!(found(&facts), one("native-rule", Level::Warning, ""));
}

#[test]
fn what_runs_natively_needs_no_emulator() {
    let ours = (rule("ours", "linux/386"), Owner::Binfmtctl);
    let expected = one(
        "native-registered",
        Level::Warning,
        "binfmtctl uninstall 386",
    );
    let mut facts = facts(vec![emulated("linux/386")], vec![ours]);
    assert_eq!(found(&facts), expected);
    facts.native = Err("namespaces are closed".to_owned());
    let unknown = one("native-registered", Level::Warning, "");
    assert_eq!(found(&facts), unknown);
}

#[test]
fn platforms_that_engines_take_for_one_another_belong_together() {
    let table = [
        ("linux/arm64", "linux/arm", "arm64-without-arm", "arm"),
        ("linux/amd64", "linux/386", "amd64-without-386", "386"),
    ];
    for (wide, narrow, id, name) in table {
        let mut narrow = dead(narrow, Cause::NotRegistered);
        narrow.desired = false;
        let remedy = format!("binfmtctl install {name}");
        let facts = facts(vec![emulated(wide), narrow], Vec::new());
        assert_eq!(found(&facts), one(id, Level::Warning, &remedy));
    }
}

#[test]
fn flags_that_change_what_programs_see_are_told() {
    let table = [
        ("OF", "argv0", "binfmtctl install --replace riscv64"),
        ("POCF", "credentials", "binfmtctl install --replace riscv64"),
    ];
    for (flags, id, remedy) in table {
        let mut platform = emulated("linux/riscv64");
        platform.report.flags = Some(flags.to_owned());
        platform.report.owner = Some(Owner::Tonistiigi);
        let facts = facts(vec![platform], Vec::new());
        assert_eq!(found(&facts), one(id, Level::Warning, remedy));
    }
}

#[test]
fn a_known_bad_qemu_is_told() {
    let mut platform = emulated("linux/arm64");
    platform.report.qemu = Some("9.2.0".to_owned());
    let remedy = "binfmtctl install --replace arm64";
    assert_eq!(
        found(&facts(vec![platform], Vec::new())),
        one("qemu-version", Level::Warning, remedy)
    );
}

#[test]
fn what_cannot_be_tried_is_no_problem_but_said() {
    let facts = facts(vec![dead("linux/arm64", Cause::NotPermitted)], Vec::new());
    assert_eq!(
        found(&facts),
        one("not-permitted", Level::Warning, "sudo binfmtctl doctor")
    );
}
