//! Whose hands things are in: nothing is registered from a store, nor by a conf
//! file, that anybody but root could change, and each refusal names the object,
//! why, and the command that mends it, which then does.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::world::artifact::native_program;
use crate::world::{World, changes, host, skip};

/// Somebody who isn't root, and not one of those without a number either.
const AS_OTHER: &str = "setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all";

/// The command that a refusal names between backquotes.
#[track_caller]
fn remedy(line: &str) -> String {
    let mut parts = line.split('`');
    let command = parts.nth(1).unwrap_or_else(|| panic!("no command: {line}"));
    command.to_owned()
}

/// What doctor says about owners: what, and the commands.
fn doctors(world: &World) -> Vec<(String, String)> {
    let findings = world.ctl("doctor --json").json()["findings"].clone();
    let findings = findings.as_array().expect("findings");
    let of_owners = findings.iter().filter(|finding| finding["id"] == "owners");
    of_owners
        .filter(|finding| finding["level"] != "ok")
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            (text("what"), text("remedy"))
        })
        .collect()
}

/// The directory of the one emulator that is installed.
fn emulator(world: &World) -> PathBuf {
    let stored = world.stored();
    assert_eq!(stored.len(), 1, "{stored:?}");
    stored[0].clone()
}

/// What somebody may have done to an object, and what is said about it.
const SPOILED: [(&str, &str); 5] = [
    ("chmod 0777", "everybody may write to it (mode 0777)"),
    ("chmod 1777", "everybody may write to it (mode 1777)"),
    (
        "chmod 0775 O; chgrp 1000",
        "group 1000 may write to it (mode 0775)",
    ),
    ("chown 1000", "it belongs to user 1000"),
    ("chown 65534", "it belongs to user 65534"),
];

fn spoil(world: &World, how: &str, object: &Path) {
    let object = object.display().to_string();
    let script = format!("{how} {object}").replace(" O;", &format!(" {object};"));
    world.sh(&script).assert_exit(0);
}

/// A world with one platform in the file and the store, and not in the kernel.
fn waiting() -> Option<World> {
    let world = World::with_users()?;
    world.install("riscv64");
    world.write("qemu-riscv64", "-1");
    Some(world)
}

/// Spoils the object in each of these ways: then nothing is registered from it,
/// nor another platform added where that is `everybodys`, and the advice helps.
#[track_caller]
fn is_refused_until_taken_back(
    world: &World,
    object: &Path,
    ways: &[(&str, &str)],
    everybodys: bool,
) {
    for (how, why) in ways {
        let mode = fs::metadata(object).unwrap().mode() & 0o7777;
        spoil(world, how, object);
        let said = [object.to_str().unwrap(), *why];
        world.refuses("apply", 4, &said);
        assert_eq!(world.names(), Vec::<String>::new());
        let others = ["install s390x", "install s390x -n"];
        for line in others.iter().filter(|_| everybodys) {
            world.refuses(line, 4, &said);
        }
        let line = world.ctl("apply").last_line().to_owned();
        world.sh(&remedy(&line)).assert_exit(0);
        world.ctl("apply").assert_exit(0);
        world.write("qemu-riscv64", "-1");
        fs::set_permissions(object, fs::Permissions::from_mode(mode)).unwrap();
        world.sh(&format!("chgrp 0 {}", object.display()));
    }
}

#[test]
fn a_store_in_others_hands_is_refused_until_it_is_taken_back() {
    let Some(world) = waiting() else { return };
    let emulator = emulator(&world);
    let directory = emulator.parent().unwrap().to_owned();
    let above = world.prefix().parent().unwrap().to_owned();
    let bin = world.prefix().join("bin");
    // Each object with what may have been done to it.
    let cases = [
        (&above, &SPOILED[..1]),
        (&above, &SPOILED[3..4]),
        (&world.prefix(), &SPOILED[..]),
        (&bin, &SPOILED[1..2]),
        (&bin, &SPOILED[3..4]),
        (&directory, &SPOILED[..1]),
        (&directory, &SPOILED[4..]),
    ];
    for (object, ways) in cases {
        // The directory of one emulator is nobody else's business.
        let is_everybodys = *object != directory;
        is_refused_until_taken_back(&world, object, ways, is_everybodys);
    }
}

#[test]
fn status_and_doctor_tell_what_others_could_change_and_how_to_take_it_back() {
    let Some(world) = waiting() else { return };
    for object in [world.prefix(), emulator(&world), world.conf_path()] {
        assert_eq!(doctors(&world), []);
        spoil(&world, "chmod go+w", &object);
        let shown = object.to_str().unwrap();
        let warned = world.ctl("status riscv64").assert_exit(0);
        assert!(warned.stderr.contains(shown), "{warned}");
        assert!(
            warned.stderr.contains("everybody may write to it"),
            "{warned}"
        );
        let found = doctors(&world);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0.contains(shown), "{found:?}");
        assert_eq!(remedy(world.ctl("apply").last_line()), found[0].1);
        world.sh(&found[0].1).assert_exit(0);
    }
}

#[test]
fn an_emulator_in_others_hands_is_not_registered_and_install_replaces_it() {
    let Some(world) = waiting() else { return };
    let emulator = emulator(&world);
    for (how, why) in SPOILED {
        spoil(&world, how, &emulator);
        world.refuses("apply", 4, &[emulator.to_str().unwrap(), why]);
        world.install("riscv64");
        assert_eq!(world.runs("riscv64"), "emulated");
        let found = fs::metadata(&emulator).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o755);
        world.write("qemu-riscv64", "-1");
    }
}

#[test]
fn an_emulator_that_somebody_took_while_it_ran_is_replaced_by_install() {
    let Some(world) = World::with_users() else {
        return;
    };
    world.install("riscv64");
    let emulator = emulator(&world);
    spoil(&world, "chown 1000", &emulator);
    world.refuses("apply", 4, &[emulator.to_str().unwrap(), "user 1000"]);
    assert_eq!(
        world.runs("riscv64"),
        "emulated",
        "what runs goes on running"
    );
    let said = world.install("riscv64").stderr;
    assert!(!said.contains("nothing was changed"), "{said}");
    assert_eq!(doctors(&world), []);
}

#[test]
fn links_in_the_store_are_refused_and_never_followed() {
    let Some(world) = waiting() else { return };
    let (bin, emulator) = (world.prefix().join("bin"), emulator(&world));
    for object in [&bin, emulator.parent().unwrap(), &emulator] {
        let (shown, away) = (object.display(), world.path("away"));
        world
            .sh(&format!(
                "mv {shown} {0}; ln -s {0} {shown}",
                away.display()
            ))
            .assert_exit(0);
        world.refuses("apply", 4, &[object.to_str().unwrap(), "it is a link"]);
        world
            .sh(&format!("rm {shown}; mv {} {shown}", away.display()))
            .assert_exit(0);
    }
    world.ctl("apply").assert_exit(0);
    // What a link leads to isn't swept with the store.
    let other = world.path(&"1".repeat(64));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("precious"), "").unwrap();
    let link = bin.join("1".repeat(64));
    std::os::unix::fs::symlink(&other, &link).unwrap();
    world.ctl("uninstall").assert_exit(0);
    assert!(other.join("precious").exists());
}

#[test]
fn a_store_behind_roots_own_link_works_and_behind_somebody_elses_doesnt() {
    let Some(world) = World::with_users() else {
        return;
    };
    let (link, there) = (world.prefix(), world.path("there"));
    fs::create_dir(&there).unwrap();
    std::os::unix::fs::symlink(&there, &link).unwrap();
    world.install("riscv64");
    assert_eq!(world.runs("riscv64"), "emulated");
    let shown = link.to_str().unwrap();
    world.sh(&format!("chown -h 1000 {shown}")).assert_exit(0);
    world.refuses("install s390x", 4, &[shown, "user 1000", "chown -h root:"]);
}

#[test]
fn a_conf_file_that_others_could_have_written_is_neither_applied_nor_kept() {
    let Some(world) = waiting() else { return };
    let (conf, dir) = (world.conf_path(), world.path("etc/binfmt.d"));
    for (object, ways) in [(&conf, &SPOILED[2..]), (&dir, &SPOILED[..1])] {
        is_refused_until_taken_back(&world, object, ways, true);
    }
}

#[test]
fn what_stays_of_a_conf_file_in_others_hands_is_not_written_anew() {
    let Some(world) = World::with_users() else {
        return;
    };
    world.install("riscv64 s390x");
    spoil(&world, "chmod 0666", &world.conf_path());
    for line in ["uninstall s390x", "uninstall"] {
        world.refuses(line, 4, &["zz-binfmtctl.conf", "mode 0666"]);
    }
    assert_eq!(world.runs("s390x"), "emulated");
}

#[test]
fn an_access_control_list_counts() {
    let Some(world) = World::with_users() else {
        return;
    };
    world.install("riscv64");
    let prefix = world.prefix().display().to_string();
    // The group root's own right to write is nobody else's.
    world.sh(&format!("chmod 0775 {prefix}")).assert_exit(0);
    world.install("s390x");
    // What setfacl -m u:1000:rwx writes: version 2, then tag, rights, id.
    let entries = [
        (1u16, 7u16, u32::MAX),
        (2, 7, 1000),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 5, u32::MAX),
    ];
    let mut list = vec![2, 0, 0, 0];
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&*world.prefix(), "system.posix_acl_access", &list, flags)
        .expect("a file system with access control lists");
    world.refuses(
        "install arm64",
        4,
        &[&prefix, "access control list", "setfacl -b"],
    );
}

#[test]
fn who_has_no_number_in_a_user_namespace_is_taken_for_the_hosts_root() {
    // All but one user, and so everybody above the world.
    let Some(world) = World::new() else { return };
    world.install("riscv64");
    assert_eq!(doctors(&world), []);
    let inner = world.inner();
    inner
        .sh("mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc")
        .assert_exit(0);
    inner.install("riscv64");
    assert_eq!(inner.runs("riscv64"), "emulated");
}

/// An emulator that, when it is tried by hand, puts another file in its own
/// place, and says that all went well.
fn swapper(other: &Path) -> Vec<u8> {
    let mut code = b"\x48\x81\xec\x00\x10\x00\x00".to_vec(); // sub rsp, 4096
    let (exe, other) = (b"/proc/self/exe\0", other.to_str().unwrap());
    // readlink(exe, rsp, 4095); rsp[rax] = 0; rename(other, rsp); exit(43)
    let parts: [&[u8]; 2] = [
        b"\x48\x89\xe6\xba\xff\x0f\x00\x00\xb8\x59\x00\x00\x00\x0f\x05\xc6\x04\x04\x00",
        b"\x48\x89\xe6\xb8\x52\x00\x00\x00\x0f\x05\xbf\x2b\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05",
    ];
    let lea = 7;
    let first_end = code.len() + lea;
    let second_end = first_end + parts[0].len() + lea;
    let data = second_end + parts[1].len();
    code.extend(b"\x48\x8d\x3d"); // lea rdi, [rip + exe]
    code.extend(((data - first_end) as u32).to_le_bytes());
    code.extend(parts[0]);
    code.extend(b"\x48\x8d\x3d"); // lea rdi, [rip + other]
    code.extend(((data + exe.len() - second_end) as u32).to_le_bytes());
    code.extend(parts[1]);
    code.extend(exe);
    code.extend(other.as_bytes());
    code.push(0);
    native_program(code.leak())
}

#[test]
fn a_file_that_is_exchanged_between_proof_and_registration_is_refused() {
    if host().name != "linux/amd64" {
        return skip("the programs are amd64 code");
    }
    let Some(world) = World::new() else { return };
    // It ends as a program does that got its arguments, whatever it is given.
    let code = b"\xbf\x2a\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05";
    let other = world.program("other", native_program(code));
    let pinned = world.pin("riscv64", &swapper(&other));
    let run = world.ctl_with("install riscv64", &pinned.options());
    run.assert_exit(7)
        .assert_says(&["qemu-riscv64", "changed while it was registered"]);
    assert!(!other.exists(), "it was exchanged");
    assert!(world.names().is_empty(), "its rule went again");
    assert_eq!(world.conf(), "");
}

/// Takes the names of store and conf file's directory in turn, as link and as
/// directory, and says how often.
const ATTACK: &str = r#"
    my ($shared, $victim, $stop) = @ARGV;
    chdir $shared or die;
    my $count = 0;
    until (-e $stop) {
        for my $name ("store", "conf.d") {
            symlink $victim, $name; unlink $name;
            mkdir $name; rmdir $name;
            $count += 2;
        }
    }
    print $count;
"#;

#[test]
fn whoever_fights_for_the_names_in_a_shared_directory_gets_nothing_registered() {
    let Some(world) = World::with_users() else {
        return;
    };
    // Names in a directory as /tmp: anybody may take one that is free.
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let victim = world.path("victim");
    world
        .sh(&format!(
            "mkdir -p {0}/bin/{1}; touch {0}/bin/{1}/qemu-precious {0}/.binfmtctl-precious.tmp",
            victim.display(),
            "1".repeat(64)
        ))
        .assert_exit(0);
    let before = changes(&Default::default(), &snapshot(&victim));
    let mut attacker = world.command("setpriv");
    attacker
        .args(AS_OTHER.split(' ').skip(1))
        .args(["perl", "-e", ATTACK])
        .args([&shared, &victim, &world.path("stop")])
        .stdout(Stdio::piped());
    let attacker = attacker.spawn().expect("an attacker");
    let (prefix, conf) = (shared.join("store"), shared.join("conf.d/zz.conf"));
    let variables: [(&str, &Path); 2] = [("BINFMTCTL_PREFIX", &prefix), ("BINFMTCTL_CONF", &conf)];
    for _ in 0..20 {
        let installed = world.ctl_with("install riscv64", &variables);
        // Refused, or done; a name that came and went again in between is a failure.
        assert!([0, 1, 4].contains(&installed.status), "{installed}");
        for (name, rule) in world.entries() {
            let interpreter = rule.lines().find(|line| line.starts_with("interpreter"));
            assert!(interpreter.unwrap().contains("/store/bin/"), "{name}");
        }
        if installed.status == 0 {
            let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
            assert_eq!(owner(&prefix), fs::metadata(&victim).unwrap().uid());
        }
        let removed = world.ctl_with("uninstall", &variables);
        assert!([0, 1, 4].contains(&removed.status), "{removed}");
        for name in world.names() {
            world.write(&name, "-1");
        }
    }
    world.file("stop", "");
    let swaps = attacker.wait_with_output().expect("an attacker");
    let swaps = String::from_utf8_lossy(&swaps.stdout);
    let swaps: u32 = swaps.trim().parse().expect("a number");
    eprintln!("{swaps} times exchanged");
    assert!(swaps > 0, "{swaps}");
    assert_eq!(changes(&Default::default(), &snapshot(&victim)), before);
}

fn snapshot(dir: &Path) -> crate::world::Snapshot {
    let mut snapshot = Default::default();
    crate::world::collect(dir, &mut snapshot);
    snapshot
}
