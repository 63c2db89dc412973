use super::*;
use crate::report::Level;

const KERNEL: &str = "6.12.0";

fn judged(heard: Heard, service: Option<(&'static str, &'static str)>) -> Vec<Finding> {
    let facts = Facts {
        heard,
        service,
        kernel: KERNEL.to_owned(),
        as_root: Some("sudo binfmtctl doctor".to_owned()),
    };
    judge(&facts, &["linux/amd64".to_owned()])
}

const SYSTEMD: Option<(&str, &str)> = Some(("systemctl", "docker"));

fn unreached(errno: Option<i32>) -> Heard {
    Heard::NoEngine {
        endpoint: "unix:///var/run/docker.sock".to_owned(),
        cause: errno.map(io::Error::from_raw_os_error),
        said: "Cannot connect\nto it".to_owned(),
    }
}

fn info() -> Info {
    Info {
        version: Some("20.10.24".to_owned()),
        kernel: Some(KERNEL.to_owned()),
        driver: Some("overlay2".to_owned()),
        buildx: true,
        ..Info::default()
    }
}

fn builder(driver: &str) -> Builder {
    let text = format!(
        "Name: b\nDriver: {driver}\n\nNodes:\nName: b\nStatus: running\nPlatforms: linux/amd64\n"
    );
    // No 386 runs in these tests.
    let text = text.replace("linux/amd64", "linux/s390x");
    Builder::parse(&text).unwrap()
}

fn ids(findings: &[Finding]) -> Vec<(&'static str, Level)> {
    findings
        .iter()
        .map(|finding| (finding.id, finding.level))
        .collect()
}

#[test]
fn a_host_without_docker_is_fine() {
    assert_eq!(ids(&judged(Heard::NoClient, None)), [("docker", Level::Ok)]);
}

#[test]
fn an_engine_that_doesnt_answer_has_its_cause_and_its_remedy() {
    use nix::libc::{EACCES, ECONNREFUSED, ENOENT};
    let openrc = Some(("rc-service docker", ""));
    let table = [
        (Some(ENOENT), SYSTEMD, Some("systemctl start docker")),
        (Some(ECONNREFUSED), openrc, Some("rc-service docker start")),
        (Some(ENOENT), None, None),
        (Some(EACCES), SYSTEMD, Some("sudo binfmtctl doctor")),
        (None, None, None),
    ];
    for (errno, service, remedy) in table {
        let findings = judged(unreached(errno), service);
        assert_eq!(ids(&findings), [("docker", Level::Warning)]);
        assert_eq!(findings[0].remedy.as_deref(), remedy, "{errno:?}");
        assert!(findings[0].what.contains("/var/run/docker.sock"));
        assert!(!findings[0].evidence.as_deref().unwrap().contains('\n'));
    }
    let silent = judged(Heard::Nothing("it didn't answer".to_owned()), SYSTEMD);
    assert_eq!(
        silent[0].remedy.as_deref(),
        Some("systemctl restart docker")
    );
}

#[test]
fn the_classic_store_is_told_until_a_builder_makes_up_for_it() {
    let store = |info: Info, builder: Result<Builder, String>| {
        let findings = judged(Heard::Engine(info, builder), None);
        let store = findings.into_iter().find(|f| f.id == "image-store");
        store.map(|store| (store.level, store.remedy)).unwrap()
    };
    let create = Some("docker buildx create --use".to_owned());
    let containerd = Info {
        containerd_store: true,
        ..info()
    };
    assert_eq!(
        store(info(), Ok(builder("docker"))),
        (Level::Warning, create)
    );
    assert_eq!(
        store(info(), Ok(builder("docker-container"))),
        (Level::Ok, None)
    );
    assert_eq!(store(info(), Err(String::new())), (Level::Warning, None));
    assert_eq!(store(containerd, Ok(builder("docker"))), (Level::Ok, None));
}

#[test]
fn a_builder_that_cant_be_asked_is_told_and_one_that_isnt_there_is_no_fault() {
    let level = |info: Info| {
        let findings = judged(Heard::Engine(info, Err("it said no".to_owned())), None);
        findings.last().map(|finding| (finding.id, finding.level))
    };
    let without = Info {
        buildx: false,
        ..info()
    };
    assert_eq!(level(info()), Some(("builder", Level::Warning)));
    assert_eq!(level(without), Some(("builder", Level::Ok)));
}

#[test]
fn engines_elsewhere_and_podman_arent_held_against_this_host() {
    let desktop = Info {
        kernel: Some("6.1.0-linuxkit".to_owned()),
        ..info()
    };
    let podman = Info {
        podman: true,
        ..Info::default()
    };
    for info in [desktop, podman] {
        let findings = judged(Heard::Engine(info, Ok(builder("docker"))), None);
        assert_eq!(ids(&findings), [("docker", Level::Ok)]);
    }
}
