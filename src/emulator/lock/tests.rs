//! Small packages, made here, that show what can be pinned and what can't.

mod hostile;

use proptest::prelude::*;
use tar::EntryType;

use super::super::decode;
use super::super::elf::tests::program;
use super::super::manifest::Manifest;
use super::deb::tests::ar;
use super::xz::tests::xz;
use super::*;

const CONTROL: &str = "Package: qemu-user\nSource: qemu\nVersion: 1:10.0.13+ds-0+deb13u1\n\
                       Architecture: amd64\nDescription: emulators\n";

fn emulator(interpreter: Option<&str>, host: &str) -> Vec<u8> {
    let mut hosts = PLATFORMS.iter().filter(|p| p.debian == Some(host));
    program(hosts.next().unwrap().target(), interpreter)
}

/// An emulator of some size, told from others by its name.
fn named(name: &str) -> Vec<u8> {
    let mut bytes = emulator(None, "amd64");
    bytes.extend(name.as_bytes().repeat(500));
    bytes
}

/// A header with this very name; the builder's own way would drop `./`.
fn header(name: &str, kind: EntryType, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o755);
    header.set_cksum();
    header
}

fn file(tar: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let header = header(name, EntryType::Regular, content.len());
    tar.append(&header, content).unwrap();
}

fn link(tar: &mut tar::Builder<Vec<u8>>, name: &str, to: &str) {
    let mut header = header(name, EntryType::Symlink, 0);
    header.set_link_name(to).unwrap();
    header.set_cksum();
    tar.append(&header, io::empty()).unwrap();
}

/// A tar file as dpkg makes them: every name begins with `./`.
fn tar(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    fill(&mut tar);
    tar.into_inner().unwrap()
}

fn control(text: &str) -> Vec<u8> {
    tar(|tar| {
        file(tar, "./md5sums", b"x");
        file(tar, "./control", text.as_bytes());
    })
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A package with this data, and its control file in one xz block.
fn package(text: &str, data: (&str, &[u8])) -> Vec<u8> {
    let control = xz(&[&control(text)]);
    let members: [(&str, &[u8]); 3] = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", &control),
        data,
    ];
    ar(&members)
}

fn package_of(data: &[u8]) -> Vec<u8> {
    package(CONTROL, ("data.tar.xz", &xz(&[data])))
}

fn refused(package: &[u8]) -> String {
    pin(package).unwrap_err().to_string()
}

fn data() -> Vec<u8> {
    tar(|tar| {
        link(tar, "./usr/bin/qemu-arm64", "qemu-aarch64");
        file(tar, "./usr/bin/qemu-aarch64", &named("aarch64"));
        file(tar, "./usr/bin/qemu-arm", &named("arm"));
        file(tar, "./usr/bin/qemu-img", b"not an emulator");
        file(tar, "./usr/share/doc/qemu-s390x", b"neither");
        file(tar, "./usr/bin/qemu-s390x-static", &named("s390x"));
        let long = format!("./usr/bin/{}", "long".repeat(50));
        let mut header = header("", EntryType::Regular, 4);
        tar.append_data(&mut header, long, b"long".as_slice())
            .unwrap();
    })
}

/// The emulator's bytes by way of the blocks that it lies in alone.
fn cut_out(package: &[u8], release: &Release, target: &str) -> Vec<u8> {
    let emulator = release.emulator(target).unwrap();
    let blocks = release.blocks_of(emulator);
    let mut decoded = Vec::new();
    for block in &release.blocks[blocks.clone()] {
        let bytes = &package[block.offset as usize..][..block.length as usize];
        decode::verify(block, bytes).unwrap();
        decode::decode(
            release.encoding,
            block,
            bytes,
            block.decoded,
            &mut |piece| {
                decoded.extend_from_slice(piece);
                Ok(())
            },
        )
        .unwrap();
    }
    let start = (emulator.offset - release.block_start(blocks.start)) as usize;
    decoded[start..start + emulator.size as usize].to_vec()
}

#[test]
fn a_package_is_pinned_down_to_the_bytes_of_each_emulator() {
    let data = data();
    let pieces: Vec<&[u8]> = data.chunks(3000).collect();
    let table = [
        ("data.tar.xz", xz(&pieces), pieces.len()),
        ("data.tar.xz", xz(&[&data]), 1),
        ("data.tar.zst", zstd(&data), 1),
        (
            "data.tar.zst",
            pieces.iter().flat_map(|p| zstd(p)).collect(),
            1,
        ),
    ];
    for (name, member, blocks) in table {
        let package = package(CONTROL, (name, &member));
        let release = pin(&package).unwrap();
        assert_eq!(release.blocks.len(), blocks, "{name}");
        assert_eq!(release.block_start(blocks), data.len() as u64);
        let targets: Vec<&str> = release.emulators.iter().map(|e| &*e.target).collect();
        assert_eq!(targets, ["aarch64", "arm", "s390x"]);
        for target in targets {
            let bytes = cut_out(&package, &release, target);
            assert!(bytes == named(target), "{name} {target}");
            let sha256 = release.emulator(target).unwrap().sha256;
            assert_eq!(sha256, Digest::of(&bytes));
        }
        assert_eq!(release.size, package.len() as u64);
        assert_eq!(release.sha256, Digest::of(&package));
    }
}

fn open(path: &Path, suite: Option<&str>) -> Result<Release> {
    lock(path, File::open(path).unwrap(), suite.map(str::to_owned))
}

#[test]
fn a_pinned_file_is_written_as_a_release_that_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("any-name");
    std::fs::write(&path, package_of(&data())).unwrap();
    let mut release = open(&path, Some("trixie")).unwrap();
    assert_eq!(release.qemu, "10.0.13");
    assert_eq!(release.host, "amd64");
    assert_eq!(release.version, "1:10.0.13+ds-0+deb13u1");
    assert_eq!(release.file, "qemu-user_10.0.13+ds-0+deb13u1_amd64.deb");
    let pool = "pool/main/q/qemu/qemu-user_10.0.13+ds-0+deb13u1_amd64.deb";
    assert_eq!(release.path.as_deref(), Some(pool));
    assert_eq!(release.suite.as_deref(), Some("trixie"));
    release.urls = vec!["http://mirror.example/a".to_owned()];
    let manifest = Manifest {
        default: "10.0.13".to_owned(),
        releases: vec![release],
    };
    assert_eq!(Manifest::parse(&manifest.to_toml()), Ok(manifest));
}

#[test]
fn file_name_version_and_pool_follow_from_the_control_file() {
    let described = |version: &str, source: &str| {
        let text =
            format!("Package: q\nSource: {source}\nVersion: {version}\nArchitecture: arm64\n");
        let release = describe(deb::control(&text).unwrap()).unwrap();
        (release.qemu, release.file, release.path.is_some())
    };
    for (version, source, qemu, file, pool) in [
        (
            "1:11.1.3+ds-1~bpo13+1",
            "qemu",
            "11.1.3",
            "q_11.1.3+ds-1~bpo13+1_arm64.deb",
            true,
        ),
        ("7.2-1", "qemu (1:7.2-1)", "7.2", "q_7.2-1_arm64.deb", true),
        (
            "11.0~rc2+ds-1",
            "own",
            "11.0~rc2",
            "q_11.0~rc2+ds-1_arm64.deb",
            false,
        ),
        (
            "1:8.2.2+ds-0ubuntu1.4",
            "qemu",
            "8.2.2",
            "q_8.2.2+ds-0ubuntu1.4_arm64.deb",
            false,
        ),
    ] {
        let expected = (qemu.to_owned(), file.to_owned(), pool);
        assert_eq!(described(version, source), expected);
    }
}

#[test]
fn names_that_could_leave_their_place_are_refused() {
    for (field, bad) in [
        ("Package: qemu-user", "Package: ../qemu"),
        ("Version: 1:10.0.13+ds-0+deb13u1", "Version: 1:../10"),
        ("Version: 1:10.0.13+ds-0+deb13u1", "Version: x-1"),
    ] {
        let text = CONTROL.replace(field, bad);
        let package = package(&text, ("data.tar.xz", &xz(&[&data()])));
        assert!(refused(&package).ends_with("isn't proper"), "{bad}");
    }
}

#[test]
fn an_architecture_without_emulators_is_named() {
    for architecture in ["all", "mips64el", "x32"] {
        let text = CONTROL.replace("amd64", architecture);
        let package = package(&text, ("data.tar.xz", &xz(&[&data()])));
        let reason = refused(&package);
        assert!(reason.starts_with(&format!("its architecture {architecture:?}")));
    }
}

#[test]
fn a_package_of_links_holds_no_emulator() {
    let links = tar(|tar| {
        link(tar, "./usr/bin/qemu-aarch64-static", "qemu-aarch64");
        file(
            tar,
            "./usr/libexec/qemu-binfmt/aarch64-binfmt-P",
            &named("x"),
        );
    });
    let reason = refused(&package_of(&links));
    assert!(reason.starts_with("it holds no emulator"), "{reason}");
}

#[test]
fn two_emulators_for_one_target_are_refused() {
    let twice = tar(|tar| {
        file(tar, "./usr/bin/qemu-arm", &named("arm"));
        file(tar, "./usr/bin/qemu-arm-static", &named("arm"));
    });
    assert_eq!(
        refused(&package_of(&twice)),
        "it holds two emulators for arm"
    );
}

#[test]
fn an_emulator_that_would_fail_in_a_container_is_refused_by_name() {
    let foreign = "it is for linux/arm64, not for linux/amd64";
    for (bytes, reason) in [
        (emulator(None, "arm64"), foreign),
        (
            emulator(Some("/lib/ld.so"), "amd64"),
            "it isn't static: it needs the interpreter /lib/ld.so",
        ),
        (b"#!/bin/sh\n".to_vec(), "it isn't an ELF file"),
        (Vec::new(), "it isn't an ELF file"),
    ] {
        let data = tar(|tar| file(tar, "./usr/bin/qemu-arm", &bytes));
        let expected = format!("its qemu-arm can't be used: {reason}");
        assert_eq!(refused(&package_of(&data)), expected);
    }
}

#[test]
fn extensions_that_readers_understand_differently_are_refused() {
    let with = |key: &str, value: &[u8]| {
        tar(|tar| {
            tar.append_pax_extensions([(key, value)]).unwrap();
            file(tar, "./usr/bin/qemu-arm", &named("arm"));
        })
    };
    assert!(refused(&package_of(&with("size", b"5"))).contains("isn't in its header"));
    assert!(refused(&package_of(&with("GNU.sparse.major", b"1"))).contains("sparse"));
    let renamed = with("path", b"./usr/bin/qemu-ppc");
    let release = pin(&package_of(&renamed)).unwrap();
    assert_eq!(release.emulators[0].target, "ppc");
    assert!(pin(&package_of(&with("mtime", b"1.5"))).is_ok());

    let sparse = tar(|tar| {
        let header = header("./usr/bin/qemu-arm", EntryType::GNUSparse, 0);
        tar.append(&header, io::empty()).unwrap();
    });
    assert!(refused(&package_of(&sparse)).contains("sparse"));
}

#[test]
fn names_that_only_look_like_an_emulators_are_left_alone() {
    let odd = tar(|tar| {
        for name in [
            "./usr/bin/sub/qemu-arm",
            "/usr/bin/qemu-arm",
            "./usr/bin/../qemu-arm",
            "../usr/bin/qemu-arm",
            "././usr/bin/qemu-arm",
            "./usr/bin/qemu-",
            "./usr/bin/qemu-arm-static-static",
        ] {
            file(tar, name, &named("arm"));
        }
    });
    assert!(refused(&package_of(&odd)).starts_with("it holds no emulator"));
}

#[test]
fn a_name_that_is_too_long_to_be_one_isnt_read() {
    let header = header("././@LongLink", EntryType::GNULongName, 3 << 20);
    let data = [header.as_bytes().as_slice(), &vec![b'a'; 3 << 20]].concat();
    assert!(refused(&package_of(&data)).contains("far too large"));
}

#[test]
fn a_block_that_doesnt_decode_is_an_integrity_error() {
    let package = package_of(&data());
    let block = pin(&package).unwrap().blocks[0].clone();
    let end = (block.offset + block.length) as usize;
    for (at, reason) in [
        (block.offset as usize, "its xz data is damaged"),
        // In the middle the decoder yields other bytes until it notices.
        ((block.offset + block.length / 2) as usize, "damaged"),
        // The content is right and its check isn't.
        (end - 1, "its xz data is damaged"),
    ] {
        let mut package = package.clone();
        package[at] ^= 1;
        let error = pin(&package).unwrap_err();
        assert_eq!(error.status(), Status::Integrity);
        let text = error.to_string();
        assert!(text.starts_with("cannot read what it holds: "), "{text}");
        assert!(text.ends_with(reason), "{text}");
    }
}

#[test]
fn files_that_cant_be_pinned_are_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("some.deb");
    let line = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        let error = open(&path, None).unwrap_err();
        assert!(error.reason().contains("some.deb"));
        (error.status(), error.reason())
    };
    let (status, reason) = line(b"");
    assert_eq!(status, Status::Invalid);
    assert!(reason.ends_with("it isn't a Debian package"), "{reason}");
    let whole = package_of(&data());
    let (status, reason) = line(&whole[..whole.len() - 100]);
    assert_eq!(status, Status::Integrity);
    assert!(reason.ends_with("it is cut short"), "{reason}");

    let mut flipped = whole;
    let at = pin(&flipped).unwrap().blocks[0].offset as usize;
    flipped[at] ^= 1;
    let (status, reason) = line(&flipped);
    assert_eq!(status, Status::Integrity);
    let end = ": cannot read what it holds: its xz data is damaged";
    assert!(reason.ends_with(end), "{reason}");
    assert_eq!(reason.matches("damaged").count(), 1, "{reason}");

    assert!(open(directory.path(), None).is_err());
}

#[test]
fn a_suite_that_a_manifest_couldnt_hold_is_a_usage_error() {
    let suite = open(Path::new("/dev/null"), Some("../x")).unwrap_err();
    assert_eq!(suite.status(), Status::Usage);
}

fn small_package(zst: bool) -> Vec<u8> {
    let data = tar(|tar| file(tar, "./usr/bin/qemu-arm", &emulator(None, "amd64")));
    match zst {
        true => package(CONTROL, ("data.tar.zst", &zstd(&data))),
        false => package(CONTROL, ("data.tar.xz", &xz(&[&data[..700], &data[700..]]))),
    }
}

#[test]
fn a_package_that_is_cut_anywhere_cant_be_pinned() {
    for zst in [false, true] {
        let package = small_package(zst);
        for length in 0..package.len() - 1 {
            assert!(pin(&package[..length]).is_err(), "{length}");
        }
    }
}

proptest! {
    #[test]
    fn damaged_packages_never_panic(
        zst: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut package = small_package(zst);
        for (at, value) in changes {
            *at.get_mut(&mut package) = value;
        }
        if let Ok(release) = pin(&package) {
            prop_assert_eq!(release.sha256, Digest::of(&package));
        }
    }

    #[test]
    fn damaged_tar_headers_never_panic(
        changes in prop::collection::vec((0..512_usize, any::<u8>()), 1..4),
    ) {
        let mut data = tar(|tar| file(tar, "./usr/bin/qemu-arm", &emulator(None, "amd64")));
        for (at, value) in changes {
            data[at] = value;
        }
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&data[..512]);
        header.set_cksum();
        data[..512].copy_from_slice(header.as_bytes());
        if let Ok(release) = pin(&package_of(&data)) {
            prop_assert!(!release.emulators.is_empty());
        }
    }
}
