//! Hosts made by hand, and what is told of their boots.

use super::foreign::switch_off;
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
        deadly: Vec::new(),
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
fn a_line_of_others_that_would_stop_the_host_at_the_next_boot_is_told() {
    let mut facts = bare();
    let rule: Rule = r":theirs:M::\x7fELF::/opt/theirs:F".parse().unwrap();
    let file = PathBuf::from("/etc/binfmt.d/theirs.conf");
    facts.deadly = vec![(rule, file, "/bin/sh".to_owned())];
    let findings = check(&facts);
    let found = findings.iter().find(|f| f.id == "native-rule").unwrap();
    assert_eq!(found.level, Level::Problem);
    assert!(
        found.what.contains("theirs takes /bin/sh"),
        "{}",
        found.what
    );
    let remedy = found.remedy.as_deref().unwrap_or_default();
    assert!(remedy.contains("theirs.conf.disabled"), "{remedy}");
}

#[test]
fn our_unit_is_told_of_where_it_does_or_should_do_the_work() {
    let mut facts = bare();
    facts.init = Init::Systemd;
    let unit = PathBuf::from("/etc/systemd/system/binfmtctl.service");
    let told = |facts: &Facts| {
        let finding = check(facts).into_iter().find(|f| f.id == "service");
        finding.map(|finding| (finding.level, finding.remedy))
    };
    assert_eq!(told(&facts), None);
    let enable = Some("systemctl enable binfmtctl.service".to_owned());
    let unmask = Some("systemctl unmask binfmtctl.service".to_owned());
    for (own, level, remedy) in [
        (Unit::Starts(unit.clone()), Level::Ok, None),
        (Unit::Idle(unit.clone()), Level::Warning, enable),
        (Unit::Masked(unit.clone()), Level::Warning, unmask),
    ] {
        facts.boot.own = own;
        facts.boot.program = Some("/usr/bin/binfmtctl".to_owned());
        assert_eq!(told(&facts), Some((level, remedy)));
    }
    facts.boot.own = Unit::Starts(unit.clone());
    facts.boot.program = None;
    assert_eq!(
        told(&facts),
        Some((Level::Warning, None)),
        "it may do nothing"
    );
    facts.boot.program = Some("/gone".to_owned());
    facts.boot.is_program_lost = true;
    assert_eq!(told(&facts), Some((Level::Warning, None)));
    facts.boot.own = Unit::Masked(unit);
    facts.boot.systemd_binfmt =
        Unit::Starts("/usr/lib/systemd/system/systemd-binfmt.service".into());
    assert_eq!(told(&facts), None, "systemd's own does the work");
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
