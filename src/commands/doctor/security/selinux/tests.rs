//! Policies made by hand, and what is told of them.

use super::*;
use crate::digest::Digest;
use crate::report::Level;
use proptest::prelude::*;

fn emulator(store: &Store, denied: &[&'static str]) -> Emulator {
    Emulator {
        platform: "linux/arm64",
        path: store.path(&Digest::of(b""), "qemu-aarch64"),
        at_path: true,
        label: "system_u:object_r:container_file_t:s0:c3,c4".to_owned(),
        denied: denied.to_vec(),
    }
}

fn judged(store: &Store, emulators: Vec<Emulator>) -> Vec<Finding> {
    judge(
        &Facts::Asked {
            mls: true,
            emulators,
        },
        &seen(store, &Ctl::plain()),
    )
}

fn seen<'a>(store: &'a Store, ctl: &'a Ctl) -> Seen<'a> {
    Seen {
        store,
        ctl,
        sees_files: true,
    }
}

#[test]
fn what_containers_may_not_map_is_a_problem_and_the_remedy_fits_its_place() {
    let default = Store::new(Path::new(DEFAULT_PREFIX)).unwrap();
    let other = Store::new(Path::new("/srv/e")).unwrap();
    let distribution = Emulator {
        path: "/usr/bin/qemu-aarch64-static".into(),
        ..emulator(&default, &["execute"])
    };
    let gone = Emulator {
        at_path: false,
        ..distribution.clone()
    };
    let table = [
        (
            &default,
            emulator(&default, &["execute"]),
            "restorecon -RFv /opt/binfmtctl",
        ),
        (
            &other,
            emulator(&other, &["execute"]),
            "chcon -R system_u:object_r:bin_t:s0 /srv/e/bin",
        ),
        (
            &default,
            distribution,
            "chcon system_u:object_r:bin_t:s0 /usr/bin/qemu-aarch64-static",
        ),
        (&default, gone, "binfmtctl install --replace arm64"),
    ];
    for (store, emulator, remedy) in table {
        let findings = judged(store, vec![emulator]);
        assert_eq!(findings[0].level, Level::Problem);
        assert_eq!(findings[0].remedy.as_deref(), Some(remedy));
    }
}

#[test]
fn nothing_is_replaced_that_a_container_cant_see() {
    let store = Store::new(Path::new(DEFAULT_PREFIX)).unwrap();
    let unseen = Emulator {
        at_path: false,
        ..emulator(&store, &["execute"])
    };
    let facts = Facts::Asked {
        mls: true,
        emulators: vec![unseen],
    };
    let ctl = Ctl::plain();
    let from = Seen {
        sees_files: false,
        ..seen(&store, &ctl)
    };
    assert_eq!(judge(&facts, &from)[0].remedy, None);
}

#[test]
fn one_label_is_one_finding() {
    let store = Store::new(Path::new(DEFAULT_PREFIX)).unwrap();
    let bad = emulator(&store, &["read", "execute"]);
    let findings = judged(&store, vec![bad.clone(), emulator(&store, &[]), bad]);
    assert_eq!(findings.len(), 1);
    let evidence = findings[0].evidence.as_deref().unwrap();
    assert!(evidence.ends_with("container_t lacks { read execute }"));
}

#[test]
fn whoever_refuses_nothing_is_fine() {
    let store = Store::new(Path::new(DEFAULT_PREFIX)).unwrap();
    for facts in [
        Facts::Absent,
        Facts::Permissive,
        Facts::Unconfined,
        Facts::Silent("EACCES".to_owned()),
        Facts::Asked {
            mls: true,
            emulators: vec![emulator(&store, &[])],
        },
    ] {
        let findings = judge(&facts, &seen(&store, &Ctl::plain()));
        assert_eq!(findings.len(), 1, "{facts:?}");
        assert_eq!(findings[0].level, Level::Ok, "{facts:?}");
    }
}

#[test]
fn the_kernels_answer_is_read() {
    let answer = "12 ffffffff 0 ffffffff 7 0";
    let vector = allowed(answer).unwrap();
    assert!(has(vector, 2) && has(vector, 5));
    assert!(!has(vector, 1) && !has(vector, 0) && !has(vector, 33));
    assert_eq!(allowed("0 ffffffff 0 ffffffff 7 1"), Some(u32::MAX));
    assert_eq!(allowed(""), None);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(answer: String, permission: u32) {
        if let Some(vector) = allowed(&answer) {
            has(vector, permission);
        }
    }
}
