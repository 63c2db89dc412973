//! A host in a directory, with programs that stand in for apt's; and the real apt once.

use std::os::unix::fs::PermissionsExt;

use super::super::tests::{fetched, release};
use super::*;

/// A host in a directory: nothing of the real one but its programs.
fn host(root: &Path, os: &str) -> AptHost {
    let etc = root.join("apt");
    fs::create_dir_all(etc.join("sources.list.d")).unwrap();
    fs::write(root.join("os-release"), os).unwrap();
    AptHost {
        etc,
        os_release: root.join("os-release"),
        keyrings: root.join("keyrings"),
        scratch: root.to_owned(),
        may_update: false,
        ..AptHost::default()
    }
}

/// A program that stands in for one of apt's.
fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn refusal(host: AptHost) -> Error {
    match fetched(&Apt::of(host), &release(b"body", Some(0..4)), &[0]) {
        Err(Failure::Source(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_debians_apt_knows_debians_archive() {
    let root = tempfile::tempdir().unwrap();
    let error = refusal(host(
        root.path(),
        "ID=ubuntu\nID_LIKE=debian\nNAME=Ubuntu\n",
    ));
    assert_eq!(error.status(), Status::Unreachable);
    assert!(error.reason().contains("this host is Ubuntu"), "{error}");
}

#[test]
fn sources_without_debian_are_named() {
    let root = tempfile::tempdir().unwrap();
    let error = refusal(host(root.path(), "ID=debian\n"));
    assert!(
        error.reason().contains("isn't among the apt sources"),
        "{error}"
    );
}

#[test]
fn a_missing_keyring_names_its_package() {
    let root = tempfile::tempdir().unwrap();
    let host = host(root.path(), "ID=debian\n");
    fs::write(
        host.etc.join("sources.list"),
        "deb http://d.example/debian sid main\n",
    )
    .unwrap();
    let error = refusal(host);
    assert_eq!(
        error.advice(),
        Some("install the package debian-archive-keyring")
    );
}

/// A Debian host whose keyring exists, with these programs.
fn debian(root: &Path, apt_get: &str, apt_cache: &str) -> AptHost {
    let mut host = host(root, "ID=debian\n");
    let sources = "Types: deb\nURIs: http://d.example/debian\nSuites: sid\nComponents: main\n";
    fs::write(host.etc.join("sources.list.d/debian.sources"), sources).unwrap();
    fs::create_dir(&host.keyrings).unwrap();
    fs::write(host.keyrings.join("debian-archive-keyring.pgp"), "").unwrap();
    host.apt_get = root.join("apt-get");
    host.apt_cache = root.join("apt-cache");
    program(&host.apt_get, apt_get);
    program(&host.apt_cache, apt_cache);
    host
}

#[test]
fn a_host_without_apt_says_so() {
    let root = tempfile::tempdir().unwrap();
    let mut host = debian(root.path(), "", "");
    host.apt_get = "/nonexistent/apt-get".into();
    let error = refusal(host);
    assert_eq!(error.reason(), "this host has no /nonexistent/apt-get");
    assert_eq!(error.status(), Status::Unreachable);
}

#[test]
fn apts_own_last_words_are_the_cause() {
    let root = tempfile::tempdir().unwrap();
    let error = refusal(debian(root.path(), "echo 'E: no route' >&2; exit 100", ""));
    assert_eq!(error.reason(), "apt-get update failed: no route");
}

#[test]
fn the_pinned_package_is_asked_by_name_architecture_and_version() {
    let root = tempfile::tempdir().unwrap();
    let script = "case $3 in
        update) cat $(dirname $2)/sources.list >log; cat $2 >>log;;
        download) echo $4 >>../../log; printf body >x.deb;;
    esac";
    let host = debian(
        root.path(),
        &script
            .replace("log", &root.path().join("log").display().to_string())
            .replace("../../", ""),
        "",
    );
    let got = fetched(&Apt::of(host), &release(b"body", Some(1..3)), &[0]).unwrap();
    assert_eq!(got, [(0, b"od".to_vec())]);
    let log = fs::read_to_string(root.path().join("log")).unwrap();
    let keyring = root.path().join("keyrings/debian-archive-keyring.pgp");
    let entry = format!(
        "deb [signed-by={}] http://d.example/debian trixie main\n",
        keyring.display()
    );
    assert!(log.starts_with(&entry), "{log}");
    assert!(log.contains("APT::Architecture \"amd64\";"), "{log}");
    assert!(
        log.ends_with("\nqemu-user:amd64=1:10.0.13+ds-0+deb13u1\n"),
        "{log}"
    );
    let left = fs::read_dir(root.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("binfmtctl-apt.")
    });
    assert_eq!(left.count(), 0, "the scratch directory stays behind");
}

#[test]
fn another_package_of_that_name_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let host = debian(root.path(), "test $3 = update || printf bodi >x.deb", "");
    assert_eq!(refusal(host).status(), Status::Integrity);
}

#[test]
fn the_distributions_packages_come_in_order_and_equal_to_the_index() {
    let root = tempfile::tempdir().unwrap();
    let show = format!(
        "echo Version: 1:7.2; case $3 in qemu-user-static:*) echo SHA256: {};; *) echo SHA256: {};; esac",
        Digest::of(b"body"),
        Digest::of(b"other")
    );
    let host = debian(
        root.path(),
        "test $1 = download && printf body >p.deb",
        &show,
    );
    let apt = Apt::of(host);
    let work = tempfile::tempdir().unwrap();
    let mut found = apt.distro_candidates("amd64", work.path());
    let first = found.next().unwrap().unwrap();
    assert_eq!(
        (first.package.as_str(), first.version.as_str()),
        ("qemu-user-static", "1:7.2")
    );
    assert_eq!(first.path, work.path().join("p.deb"));
    assert_eq!(fs::read(&first.path).unwrap(), b"body");
    let second = found.next().unwrap().unwrap_err();
    assert_eq!(second.status(), Status::Integrity);
    assert!(
        second.reason().contains("qemu-user:amd64=1:7.2"),
        "{second}"
    );
    assert!(found.next().is_none());
}

#[test]
fn the_hosts_lists_are_updated_only_when_empty_and_allowed() {
    let root = tempfile::tempdir().unwrap();
    let lists = root.path().join("lists");
    let get = format!(
        "case $1 in update) touch {0};; *) printf body >p.deb;; esac",
        lists.display()
    );
    let show = format!(
        "test -e {} && printf 'Version: 1\\nSHA256: {}\\n'",
        lists.display(),
        Digest::of(b"body")
    );
    let mut host = debian(root.path(), &get, &show);
    let work = tempfile::tempdir().unwrap();
    let first = |host: &AptHost| {
        Apt::of(host.clone())
            .distro_candidates("amd64", work.path())
            .next()
    };
    let error = first(&host).unwrap().unwrap_err();
    assert_eq!(error.advice(), Some("run apt-get update as root"));
    assert!(!lists.exists());
    host.may_update = true;
    assert_eq!(first(&host).unwrap().unwrap().version, "1");
    assert!(lists.exists());
}

#[test]
fn the_real_apt_downloads_another_architectures_package() {
    let real = AptHost::default();
    let os = fs::read_to_string(&real.os_release).unwrap_or_default();
    if os_release(&os, "ID") != Some("debian") || !Path::new("/usr/bin/apt-get").exists() {
        eprintln!("skipped: this host isn't Debian with apt-get");
        return;
    }
    let apt = Apt::of(real);
    let other = match std::env::consts::ARCH {
        "aarch64" => "amd64",
        _ => "arm64",
    };
    // A mirror that is being updated is out of step with itself for a while.
    let fetch = |suite: &str| {
        let scratch = apt.scratch().unwrap();
        let path = apt.download_pinned(&scratch, suite, other, &format!("hello:{other}"))?;
        assert!(path.to_string_lossy().ends_with(&format!("_{other}.deb")));
        assert!(fs::read(&path).unwrap().starts_with(b"!<arch>\n"));
        Ok::<(), Error>(())
    };
    if let Err(error) = fetch("trixie").or_else(|_| fetch("bookworm")) {
        panic!("{}", error.line());
    }
}

#[test]
fn a_user_namespace_without_apts_user_is_noticed() {
    let whole = "         0          0 4294967295\n";
    assert!(is_mapped(whole, 42));
    assert!(!is_mapped("         0          0          1\n", 42));
    assert!(is_mapped("0 1000 1\n1 100000 65536\n", 42));
    assert!(!is_mapped("nonsense\n", 42));
}
