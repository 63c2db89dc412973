use super::*;
use crate::binfmt::Pattern;
use crate::platform::{TARGETS, Target};
use proptest::prelude::*;
use std::os::unix::fs::symlink;

/// A root in which systemd starts systemd-binfmt, and `/i` and `/j` are programs.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        root.unit(SYSTEMD_BINFMT, "sysinit.target", "[Service]\n");
        for program in ["i", "j"] {
            root.write(program, "");
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(root.path(program), executable).unwrap();
        }
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn unit(&self, name: &str, target: &str, text: &str) {
        let dir = "usr/lib/systemd/system";
        self.write(&format!("{dir}/{name}"), text);
        let link = self.path(&format!("{dir}/{target}.wants/{name}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        if !link.is_symlink() {
            symlink(format!("../{name}"), link).unwrap();
        }
    }

    /// binfmt-support with these formats, all without F.
    fn support(&self, after: &str, formats: &[(&str, &str)]) {
        self.write("usr/sbin/update-binfmts", "");
        self.unit(
            support::UNIT,
            "multi-user.target",
            &format!("[Unit]\nAfter={after}\n"),
        );
        for (name, magic) in formats {
            let text = format!("p\nmagic\n0\n{magic}\n\n/j\n");
            self.write(&format!("var/lib/binfmts/{name}"), &text);
        }
    }

    fn boot(&self) -> Boot {
        let conf = self.path("etc/binfmt.d/zz.conf");
        Boot::read(self.0.path(), &Init::Systemd, &conf)
    }

    /// The file that brings the entry of a line back.
    fn source(&self, line: &str) -> Option<String> {
        let boot = self.boot();
        let source = boot.covers(&entry(line))?;
        let file = source.file.strip_prefix(self.0.path()).unwrap();
        Some(file.display().to_string())
    }
}

/// The entry that a line becomes.
fn entry(line: &str) -> Entry {
    let rule: Rule = line.parse().unwrap();
    Entry {
        name: rule.name,
        enabled: true,
        interpreter: rule.interpreter,
        flags: rule.flags.to_string(),
        kind: Kind::Magic(rule.pattern),
    }
}

const A: &str = ":a:M::ABCD::/i:POF";
const ZZ: &str = "etc/binfmt.d/zz.conf";
const OURS: &str = "etc/binfmt.d/zz-binfmtctl.conf";

#[test]
fn a_rule_of_a_file_comes_back_as_it_is() {
    let root = Root::new();
    assert_eq!(root.source(A), None);
    root.write(ZZ, A);
    assert_eq!(root.source(A).as_deref(), Some(ZZ));
    assert_eq!(
        root.boot().covers(&entry(A)).unwrap().unit,
        "systemd-binfmt.service"
    );
    for other in [
        ":b:M::ABCD::/i:POF",
        ":a:M::ABCE::/i:POF",
        ":a:M::ABCD::/j:POF",
    ] {
        assert_eq!(root.source(other), None, "{other}");
    }
    assert!(root.source(":a:M::ABCD::/i:O").is_some());
    root.write(ZZ, ":a:M::ABCD::/i:PO");
    assert_eq!(root.source(A), None, "without F it isn't the same");
}

#[test]
fn a_rule_comes_back_only_where_the_service_applies_files() {
    let root = Root::new();
    root.write(ZZ, A);
    for mask in [SYSTEMD_BINFMT, MOUNTS[0], MOUNTS[1]] {
        let link = root.path(&format!("etc/systemd/system/{mask}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink("/dev/null", &link).unwrap();
        assert_eq!(root.source(A), None, "{mask}");
        fs::remove_file(link).unwrap();
    }
    let conf = root.path(ZZ);
    for init in [Init::OpenRc, Init::Other("init".to_owned())] {
        let boot = Boot::read(root.0.path(), &init, &conf);
        assert_eq!(boot.covers(&entry(A)), None);
    }
    assert!(root.source(A).is_some());
    fs::remove_dir_all(root.path("usr")).unwrap();
    assert_eq!(root.source(A), None);
}

#[test]
fn whose_a_rule_is_doesnt_depend_on_what_becomes_of_its_file() {
    let root = Root::new();
    root.write(ZZ, A);
    root.support("", &[("c", "CCCC"), ("d", "DDDD")]);
    root.write("var/lib/binfmts/x.tmp", "p\n");
    let conf = root.path(ZZ);
    let boot = Boot::read(root.0.path(), &Init::Other("init".to_owned()), &conf);
    for (line, is_there) in [
        (A, true),
        // As it was before an upgrade.
        (":a:M::ABCE::/i:O", true),
        (":c:M:0:CCCC::/j:", true),
        (":a:M::ABCD::/j:POF", false),
        (":b:M::ABCD::/i:POF", false),
        (":c:M:0:CCCC::/i:", false),
    ] {
        assert_eq!(boot.has(&entry(line)), is_there, "{line}");
    }
}

#[test]
fn fstab_mounts_without_the_automount() {
    let root = Root::new();
    root.write(ZZ, A);
    let link = root.path("etc/systemd/system/proc-sys-fs-binfmt_misc.automount");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink("/dev/null", &link).unwrap();
    root.write("etc/fstab", "# binfmt_misc\n");
    assert_eq!(root.source(A), None);
    root.write(
        "etc/fstab",
        "binfmt_misc /proc/sys/fs/binfmt_misc binfmt_misc defaults 0 0\n",
    );
    assert!(root.source(A).is_some());
}

#[test]
fn what_lies_in_run_goes_with_the_boot() {
    let root = Root::new();
    root.write("run/binfmt.d/zz.conf", A);
    assert_eq!(root.source(A), None);
    assert_eq!(root.boot().rules.len(), 1);
}

#[test]
fn the_rule_that_is_applied_last_wins() {
    let root = Root::new();
    root.write(ZZ, A);
    root.write("usr/lib/binfmt.d/b.conf", ":b:M::ABCD::/j:POF");
    assert!(root.source(A).is_some());
    assert_eq!(root.source(":b:M::ABCD::/j:POF"), None);

    root.write("usr/lib/binfmt.d/zzz.conf", ":c:M:2:CDE::/j:");
    assert_eq!(root.source(A), None, "ABCDE is zzz's");
    let boot = root.boot();
    let rival = boot.rival(&A.parse().unwrap()).unwrap();
    assert!(rival.source.file.ends_with("zzz.conf"));

    root.write("usr/lib/binfmt.d/zzz.conf", ":c:M:2:DE::/j:");
    assert!(root.source(A).is_some(), "nothing is of both");
}

#[test]
fn a_later_line_takes_the_name_whatever_it_is() {
    for line in [
        ":a:M::XYZW::/j:",
        ":a:E::exe::/j:",
        ":a:M::XYZW::/nowhere:F",
    ] {
        let root = Root::new();
        root.write(ZZ, &format!("{A}\n{line}\n"));
        assert_eq!(root.source(A), None, "{line}");
    }
}

#[test]
fn a_rule_whose_interpreter_is_gone_does_not_come_back() {
    let root = Root::new();
    root.write(ZZ, &format!("{A}\n:b:M::X::/j:\n"));
    for program in ["i", "j"] {
        fs::set_permissions(root.path(program), fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert_eq!(root.source(A), None);
    assert_eq!(root.source(":b:M::X::/j:"), None);
    let boot = root.boot();
    let failing: Vec<&str> = boot.failing.iter().map(|(r, _)| r.name.as_str()).collect();
    assert_eq!(failing, ["a"], "only F makes the service fail");
}

#[test]
fn binfmt_support_comes_after_and_passes_over_names_that_are_taken() {
    let root = Root::new();
    root.write(ZZ, A);
    root.support(SYSTEMD_BINFMT, &[("a", "XYZ"), ("c", "CCCC")]);
    assert!(root.source(A).is_some());
    let c = ":c:M:0:CCCC::/j:";
    assert_eq!(root.source(c).as_deref(), Some("var/lib/binfmts/c"));
    assert_eq!(
        root.boot().covers(&entry(c)).unwrap().unit,
        "binfmt-support.service"
    );

    root.support(SYSTEMD_BINFMT, &[("b", "ABCD")]);
    assert_eq!(root.source(A), None, "b is newer");
    root.write("var/lib/binfmts/x.tmp", "p\n");
    assert!(root.source(A).is_some(), "a broken file stops them all");
    assert_eq!(root.source(c), None);
}

#[test]
fn binfmt_support_that_does_not_wait_promises_nothing() {
    let root = Root::new();
    root.write(ZZ, A);
    root.support("local-fs.target", &[("b", "ABCD"), ("c", "CCCC")]);
    assert_eq!(root.source(":c:M:0:CCCC::/j:"), None);
    assert_eq!(root.source(A), None, "b may be newer");
}

/// What brings the entry back at the boot of a root whose file is ours.
fn by_our_file(root: &Root, line: &str) -> Option<&'static str> {
    let conf = root.path(OURS);
    let boot = Boot::read(root.0.path(), &Init::Systemd, &conf);
    boot.covers(&entry(line)).map(|source| source.unit)
}

/// A root with our unit, as packages have it, and our file.
fn with_our_unit() -> Root {
    let root = Root::new();
    for program in ["opt/binfmtctl/bin/i", "usr/bin/binfmtctl"] {
        root.write(program, "");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path(program), executable).unwrap();
    }
    let unit = include_str!("../../../packaging/systemd/binfmtctl.service");
    root.unit(service::UNIT, "multi-user.target", unit);
    root.write(OURS, STORED);
    root
}

const STORED: &str = ":a:M::ABCD::/opt/binfmtctl/bin/i:POF";

fn mask(root: &Root, unit: &str) {
    let link = root.path("etc/systemd/system").join(unit);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink("/dev/null", link).unwrap();
}

#[test]
fn our_service_adds_what_the_others_left_out() {
    let root = with_our_unit();
    let by_systemd = Some(SYSTEMD_BINFMT);
    assert_eq!(by_our_file(&root, STORED), by_systemd, "all is there");
    mask(&root, SYSTEMD_BINFMT);
    assert_eq!(by_our_file(&root, STORED), Some(service::UNIT));
    let mode = |path: &str, mode| {
        fs::set_permissions(root.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for program in ["usr/bin/binfmtctl", "opt/binfmtctl/bin/i"] {
        mode(program, 0o644);
        assert_eq!(by_our_file(&root, STORED), None, "{program}");
        mode(program, 0o755);
    }
    mask(&root, MOUNTS[1]);
    assert_eq!(
        by_our_file(&root, STORED),
        None,
        "nothing mounts binfmt_misc"
    );
}

#[test]
fn of_a_unit_that_was_changed_nothing_is_promised() {
    let root = with_our_unit();
    mask(&root, SYSTEMD_BINFMT);
    root.write("etc/systemd/system/binfmtctl.service.d/a.conf", "");
    assert_eq!(by_our_file(&root, STORED), None);
}

#[test]
fn our_service_applies_only_what_has_its_emulator_in_the_store() {
    let root = with_our_unit();
    mask(&root, SYSTEMD_BINFMT);
    root.write(OURS, A);
    assert_eq!(by_our_file(&root, A), None);
}

#[test]
fn our_service_puts_ours_before_broken_rules_and_leaves_those_that_work() {
    let root = with_our_unit();
    root.support(SYSTEMD_BINFMT, &[("b", "ABCD")]);
    assert_eq!(
        by_our_file(&root, STORED),
        Some(service::UNIT),
        "b has no F"
    );
    let later = "usr/lib/binfmt.d/zzz.conf";
    root.write(later, ":b:M::ABCD::/j:F");
    assert_eq!(by_our_file(&root, STORED), None, "b runs it");
    root.write(later, ":b:M::ABCD::/nowhere:F");
    assert!(by_our_file(&root, STORED).is_some());
    root.write(later, ":b:M::ABCDE::/j:");
    assert_eq!(
        by_our_file(&root, STORED),
        None,
        "b is for some of its programs"
    );
    for taken in [":a:M::XYZW::/j:", ":a:E::exe::/j:"] {
        root.write(later, taken);
        assert_eq!(by_our_file(&root, STORED), None, "{taken}");
    }
}

#[test]
fn our_own_rules_are_no_rivals_of_each_other() {
    let pattern = |target: &Target| Pattern {
        offset: 0,
        magic: target.magic.to_vec(),
        mask: Some(target.mask.to_vec()),
    };
    for (i, one) in TARGETS.iter().enumerate() {
        for other in &TARGETS[..i] {
            let both = pattern(one).overlaps(&pattern(other));
            assert!(!both, "{} and {}", one.name, other.name);
        }
    }
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let byte = || 0u8..2;
    let bytes = proptest::collection::vec((byte(), byte()), 1..4);
    (0usize..3, bytes, any::<bool>()).prop_map(|(offset, bytes, masked)| Pattern {
        offset,
        magic: bytes.iter().map(|(magic, _)| *magic).collect(),
        mask: masked.then(|| bytes.iter().map(|(_, mask)| *mask).collect()),
    })
}

/// Every header that these patterns can tell apart.
fn headers() -> impl Iterator<Item = [u8; 5]> {
    (0..32u8).map(|n| [4, 3, 2, 1, 0].map(|shift| n >> shift & 1))
}

proptest! {
    #[test]
    fn patterns_overlap_where_some_header_matches_both(one in pattern(), other in pattern()) {
        let both = headers().any(|header| one.matches(&header) && other.matches(&header));
        prop_assert_eq!(one.overlaps(&other), both);
        prop_assert_eq!(other.overlaps(&one), both);
    }

    #[test]
    fn what_is_covered_is_what_the_kernel_would_run(
        lines in proptest::collection::vec(("[abc]", pattern(), "[ij]"), 1..6),
    ) {
        let rules: Vec<Rule> = lines
            .into_iter()
            .map(|(name, pattern, interpreter)| Rule {
                name,
                pattern,
                interpreter: format!("/{interpreter}"),
                flags: crate::binfmt::Flags::default(),
            })
            .collect();
        let lines: Vec<String> = rules.iter().map(|rule| rule.line().unwrap()).collect();
        let root = Root::new();
        root.write(ZZ, &lines.join("\n"));
        let boot = root.boot();
        // The kernel's own list, newest first.
        let mut kernel: Vec<&Rule> = Vec::new();
        for rule in &rules {
            kernel.retain(|present| present.name != rule.name);
            kernel.insert(0, rule);
        }
        for rule in &rules {
            let covered = boot.covers(&entry(&rule.line().unwrap())).is_some();
            let all_its_own = headers()
                .filter(|header| rule.pattern.matches(header))
                .all(|header| {
                    let first = kernel.iter().find(|rule| rule.pattern.matches(&header));
                    first.is_some_and(|first| *first == rule)
                });
            prop_assert_eq!(covered, all_its_own, "{:?}", rule);
        }
    }
}
