//! What a boot brings back, and what doctor says about it: in worlds whose
//! /etc, /run, /usr and /var/lib are their own, so that every file lies where
//! it lies on a host. Where this machine has systemd-binfmt and Debian's
//! update-binfmts, the boot itself is tried: what was promised has to come.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::foreign::line;
use crate::world::cache::{self, binfmt_support};
use crate::world::{Output, World, skip, text};

const CONF: &str = "/etc/binfmt.d/zz-binfmtctl.conf";
const SYSTEMD_BINFMT: &str = "/usr/lib/systemd/systemd-binfmt";
const UNITS: &str = "/usr/lib/systemd/system";

/// Own copies of what a boot reads, with systemd's two units and no rule.
const FURNISH: &str = r#"
mkdir "$SCRATCH"
mount -t tmpfs -o mode=755 tmpfs "$SCRATCH"
mkdir "$SCRATCH/etc" "$SCRATCH/usr" "$SCRATCH/work" "$SCRATCH/bin"
cp -a /etc/. "$SCRATCH/etc" 2>/dev/null || :
mount --bind "$SCRATCH/etc" /etc
mount -t overlay -o "lowerdir=/usr,upperdir=$SCRATCH/usr,workdir=$SCRATCH/work,userxattr" overlay /usr
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system
for dir in /etc/binfmt.d /etc/systemd/system /usr/lib/binfmt.d /usr/local/lib/binfmt.d \
    /usr/lib/systemd/system /usr/local/lib/systemd/system; do
    mkdir -p $dir
    mount -t tmpfs -o mode=755 tmpfs $dir
done
cd /usr/lib/systemd/system
mkdir sysinit.target.wants
for unit in systemd-binfmt.service proc-sys-fs-binfmt_misc.automount; do
    echo '[Unit]' >$unit
    ln -s ../$unit sysinit.target.wants/
done
ln -s "$BINFMTCTL" "$SCRATCH/bin/binfmtctl"
# This world's holder plays PID 1.
mount --bind "/proc/$HOLDER/mountinfo" /proc/1/mountinfo
"#;

/// The same of OpenRC.
const OPENRC: &str = r#"
rmdir /run/systemd/system
mkdir -p /run/openrc /etc/local.d /etc/runlevels/default
"#;

/// `systemctl` where nobody answers: it changes files, and that is all.
const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$1" = daemon-reload ] || exec /usr/bin/systemctl --root=/ "$@"
"#;

/// A world that looks like a host with systemd.
pub struct Machine {
    world: World,
}

impl Machine {
    fn new() -> Option<Self> {
        let machine = Self {
            world: World::new()?,
        };
        machine.sh(FURNISH).assert_exit(0);
        Some(machine)
    }

    /// The same with our rules for these platforms.
    fn with(platforms: &str) -> Option<Self> {
        let machine = Self::new()?;
        machine.ctl(&format!("install {platforms}")).assert_exit(0);
        Some(machine)
    }

    fn ctl(&self, line: &str) -> Output {
        self.world
            .ctl_with(line, &[("BINFMTCTL_CONF", Path::new(CONF))])
    }

    pub fn sh(&self, script: &str) -> Output {
        let scratch = self.world.path("scratch").display().to_string();
        let holder = self.world.holder();
        let head = format!(
            "SCRATCH={scratch}\nHOLDER={holder}\nPATH={scratch}/bin:$PATH\nexport BINFMTCTL_CONF={CONF}\n"
        );
        self.world.sh(&(head + script))
    }

    /// A path in the world's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    #[track_caller]
    fn write(&self, path: &str, text: &str) {
        let script = format!("mkdir -p \"$(dirname {path})\"\ncat >{path} <<'END'\n{text}\nEND\n");
        self.sh(&script).assert_exit(0);
    }

    fn read(&self, path: &str) -> String {
        self.sh(&format!("cat {path}")).stdout
    }

    /// What doctor says under this id, if it isn't "ok".
    fn findings(&self, id: &str) -> Vec<Value> {
        let output = self.ctl("doctor --json");
        let findings = output.json()["findings"].as_array().cloned();
        let findings = findings.unwrap_or_else(|| panic!("no findings: {output}"));
        let has_problem = findings.iter().any(|finding| finding["level"] == "problem");
        assert_eq!(output.status, i32::from(has_problem), "{output}");
        let mut of_id: Vec<Value> = findings.into_iter().filter(|f| f["id"] == id).collect();
        of_id.retain(|finding| finding["level"] != "ok");
        of_id
    }

    /// Doctor finds one thing of this kind, at this level, with these words in
    /// it and this evidence. Returns its remedy.
    #[track_caller]
    fn finds(&self, id: &str, level: &str, words: &str, evidence: &str) -> Option<String> {
        let found = self.findings(id);
        let [found] = &found[..] else {
            panic!("not one finding: {found:?}")
        };
        assert_eq!(found["level"], level, "{found}");
        assert!(text(&found["what"]).contains(words), "{found}");
        assert!(text(&found["evidence"]).contains(evidence), "{found}");
        found["remedy"].as_str().map(str::to_owned)
    }

    /// The same, and its remedy makes it go away.
    #[track_caller]
    fn mends(&self, id: &str, level: &str, words: &str, evidence: &str) {
        let remedy = self.finds(id, level, words, evidence);
        let remedy = remedy.unwrap_or_else(|| panic!("no remedy for {id}"));
        self.sh(&remedy).assert_exit(0);
        let left = self.findings(id);
        assert!(left.is_empty(), "{remedy} didn't mend it: {left:?}");
    }

    fn status(&self, platform: &str) -> Value {
        let output = self.ctl(&format!("status {platform} --json"));
        output.assert_exit(0).json()["platforms"][0].clone()
    }

    /// What brings a platform's rule back: file and unit.
    fn source(&self, platform: &str) -> Option<(String, String)> {
        let status = self.status(platform);
        assert_eq!(status["persistent"], status["boot"].is_object(), "{status}");
        let boot = status["boot"].as_object()?;
        Some((text(&boot["file"]), text(&boot["unit"])))
    }

    /// Does what a boot does with the files. What was promised before has to
    /// come, and nothing else.
    #[track_caller]
    fn boot(&self, platforms: &[&str]) {
        let before: Vec<Value> = platforms.iter().map(|p| self.status(p)).collect();
        // systemd-binfmt fails where one of the lines does, and so does the other.
        let script = format!(
            "{SYSTEMD_BINFMT} || :\n[ ! -e /usr/sbin/update-binfmts ] || update-binfmts --enable || :"
        );
        self.sh(&script).assert_exit(0);
        for (platform, before) in platforms.iter().zip(before) {
            let after = self.status(platform);
            let same = ["handler", "interpreter", "runs"]
                .iter()
                .all(|key| after[key] == before[key]);
            assert_eq!(before["persistent"], same, "{before}\n{after}");
        }
    }

    /// An emulator at a place that isn't ours.
    fn emulator(&self, path: &str) {
        let stored = self.world.stored();
        let riscv64 = stored.iter().find(|path| path.ends_with("qemu-riscv64"));
        let riscv64 = riscv64.expect("an emulator in the store").display();
        self.sh(&format!(
            "mkdir -p \"$(dirname {path})\"\ncp {riscv64} {path}"
        ))
        .assert_exit(0);
    }

    /// Debian's binfmt-support, with its unit as it is from 2.2.2 on.
    fn with_support(self) -> Self {
        let package = binfmt_support().display();
        let script = format!(
            r#"
cp -a {package}/usr/sbin/update-binfmts {package}/usr/lib/*/libpipeline.so.* "$SCRATCH"
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/update-binfmts "$@"\n' "$SCRATCH" "$SCRATCH" >/usr/sbin/update-binfmts
chmod +x /usr/sbin/update-binfmts
cp {package}/usr/lib/systemd/system/binfmt-support.service {UNITS}
mkdir -p /var/lib/binfmts /etc/systemd/system/multi-user.target.wants
ln -s {UNITS}/binfmt-support.service /etc/systemd/system/multi-user.target.wants
"#
        );
        self.sh(&script).assert_exit(0);
        self
    }

    /// The riscv64 format of Debian 12's qemu-user-static, imported as its
    /// package does that.
    fn import(&self, name: &str) {
        const FORMAT: &str = r"package qemu-user-static
interpreter /usr/libexec/qemu-binfmt/riscv64-binfmt-P
magic \x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00
offset 0
mask \xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff
credentials no
fix_binary yes
preserve yes";
        self.write(&format!("/usr/share/binfmts/{name}"), FORMAT);
        self.sh(&format!("update-binfmts --import {name}"))
            .assert_exit(0);
    }

    fn has_systemctl(&self) -> bool {
        if !Path::new("/usr/bin/systemctl").exists() {
            skip("there is no systemctl here");
            return false;
        }
        let path = self
            .world
            .path("scratch/bin/systemctl")
            .display()
            .to_string();
        self.write(&path, SYSTEMCTL);
        self.sh(&format!("chmod +x {path}")).assert_exit(0);
        true
    }
}

/// A machine that can be booted.
fn bootable(platforms: &str) -> Option<Machine> {
    if !Path::new(SYSTEMD_BINFMT).exists() {
        skip("there is no systemd-binfmt here");
        return None;
    }
    Machine::with(platforms)
}

fn from(file: &str, unit: &str) -> Option<(String, String)> {
    Some((file.to_owned(), unit.to_owned()))
}

fn by_systemd(file: &str) -> Option<(String, String)> {
    from(file, "systemd-binfmt.service")
}

#[test]
fn a_host_as_install_leaves_it_is_ready_for_a_boot() {
    let Some(machine) = bootable("riscv64 s390x") else {
        return;
    };
    for id in ["systemd-binfmt", "conf", "order", "distribution"] {
        assert_eq!(machine.findings(id), Vec::<Value>::new(), "{id}");
    }
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));
    machine.boot(&["riscv64", "s390x"]);
    let shown = machine.ctl("status riscv64").assert_exit(0).stdout;
    assert!(shown.contains(CONF), "{shown}");
}

#[test]
fn what_was_not_kept_goes_with_the_boot() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    machine.ctl("install s390x --no-persist").assert_exit(0);
    assert_eq!(machine.source("s390x"), None);
    machine.boot(&["riscv64", "s390x"]);
    assert_eq!(machine.status("s390x")["runs"], "no");
}

#[test]
fn files_before_and_after_ours_are_told_apart() {
    let Some(machine) = bootable("riscv64 s390x") else {
        return;
    };
    machine.emulator("/usr/bin/qemu-other");
    let other = line("other", "/usr/bin/qemu-other", "POF");
    machine.write("/usr/lib/binfmt.d/qemu-other.conf", &other);
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));
    machine.boot(&["riscv64", "s390x"]);

    machine.write("/usr/lib/binfmt.d/zzz.conf", &other.replace("other", "zzz"));
    machine.emulator("/usr/bin/qemu-zzz");
    assert_eq!(machine.source("riscv64"), None);
    assert_eq!(machine.source("s390x"), by_systemd(CONF));
    machine.boot(&["riscv64", "s390x"]);
    assert_eq!(machine.status("riscv64")["handler"], "zzz");
    // Now theirs is the one that comes back.
    assert_eq!(
        machine.source("riscv64"),
        by_systemd("/usr/lib/binfmt.d/zzz.conf")
    );
    machine.boot(&["riscv64", "s390x"]);
}

#[test]
fn a_namespaces_own_rules_come_back_for_nobody() {
    let Some(machine) = Machine::with("s390x") else {
        return;
    };
    assert!(machine.source("s390x").is_some());
    machine.sh("umount /proc/1/mountinfo").assert_exit(0);
    assert_eq!(machine.source("s390x"), None);
    assert_eq!(machine.status("s390x")["persistent"], false);
}

#[test]
fn a_name_that_a_later_line_takes_is_gone() {
    for later in [
        ":qemu-riscv64:E::exe::/bin/true:",
        ":qemu-riscv64:M::MZ::/nowhere:F",
        ":qemu-riscv64:M::nonsense",
    ] {
        let Some(machine) = bootable("riscv64 s390x") else {
            return;
        };
        machine.write("/usr/lib/binfmt.d/zzz.conf", later);
        assert_eq!(machine.source("riscv64"), None, "{later}");
        machine.boot(&["riscv64", "s390x"]);
    }
}

#[test]
fn an_emulator_that_is_gone_does_not_come_back() {
    let Some(machine) = bootable("riscv64 s390x") else {
        return;
    };
    let riscv64 = text(&machine.status("riscv64")["interpreter"]);
    fs::remove_file(riscv64).unwrap();
    assert_eq!(machine.status("riscv64")["runs"], "emulated");
    assert_eq!(machine.source("riscv64"), None);
    machine.mends("conf", "warning", "linux/riscv64", CONF);
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));

    let riscv64 = text(&machine.status("riscv64")["interpreter"]);
    fs::remove_file(riscv64).unwrap();
    machine.boot(&["riscv64", "s390x"]);
    assert_eq!(machine.status("riscv64")["runs"], "no");
}

#[test]
fn debians_own_files_are_understood() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    machine.emulator("/usr/libexec/qemu-binfmt/riscv64-binfmt-P");
    machine.ctl("uninstall").assert_exit(0);
    let share = machine.world.path("share");
    let package = cache::package();
    let unpack = format!(
        "mkdir {0}\ndpkg-deb --fsys-tarfile {1} | tar -x -C {0} ./usr/share/qemu/binfmt.d\ncp {0}/usr/share/qemu/binfmt.d/* /usr/lib/binfmt.d/",
        share.display(),
        package.display()
    );
    machine.sh(&unpack).assert_exit(0);
    // Only this emulator is there; the others' rules fail.
    machine.sh(&format!("{SYSTEMD_BINFMT} || :")).assert_exit(0);
    let file = "/usr/lib/binfmt.d/qemu-riscv64.conf";
    assert_eq!(machine.source("riscv64"), by_systemd(file));
    machine.boot(&["riscv64"]);

    let found = machine.findings("distribution");
    assert!(found.len() > 20, "{found:?}");
    let remedies: Vec<String> = found.iter().map(|f| text(&f["remedy"])).collect();
    machine.sh(&remedies.join("\n")).assert_exit(0);
    assert_eq!(machine.findings("distribution"), Vec::<Value>::new());
    machine.sh(SYSTEMD_BINFMT).assert_exit(0);
    assert_eq!(machine.status("riscv64")["runs"], "emulated");
}

#[test]
fn a_file_with_a_missing_emulator_makes_the_service_fail() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    let missing = line("theirs", "/nowhere", "F").replace("\\xf3", "\\xf4");
    for file in ["/etc/binfmt.d/a.conf", "/usr/lib/binfmt.d/a.conf"] {
        machine.write(file, &missing);
        assert_ne!(machine.sh(SYSTEMD_BINFMT).status, 0);
        machine.mends("distribution", "warning", "/nowhere", file);
        machine.sh(SYSTEMD_BINFMT).assert_exit(0);
    }
    // Masked once, it would take what else is in it along.
    machine.write(
        "/usr/lib/binfmt.d/b.conf",
        &format!("{missing}\n:jar:M::PK::/bin/true:\n"),
    );
    let remedy = machine.finds("distribution", "warning", "theirs", "b.conf");
    assert_eq!(remedy, None);
}

#[test]
fn a_file_that_is_switched_off_brings_none_to_light() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    let missing = line("theirs", "/nowhere", "F").replace("\\xf3", "\\xf4");
    for file in ["/usr/lib/binfmt.d/a.conf", "/etc/binfmt.d/a.conf"] {
        machine.write(file, &missing);
    }
    machine.mends(
        "distribution",
        "warning",
        "is missing",
        "/etc/binfmt.d/a.conf",
    );
}

#[test]
fn a_file_without_mode_x_isnt_called_missing() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    machine.write("/etc/plain", "x");
    machine.sh("chmod 644 /etc/plain").assert_exit(0);
    let plain = line("theirs", "/etc/plain", "F").replace("\\xf3", "\\xf4");
    machine.write("/etc/binfmt.d/a.conf", &plain);
    machine.mends("distribution", "warning", "isn't executable", "a.conf");
}

#[test]
fn a_rival_among_other_lines_is_left_to_whoever_wrote_them() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    machine.emulator("/usr/bin/theirs");
    let rival = line("theirs", "/usr/bin/theirs", "F");
    let file = "/etc/binfmt.d/zzz.conf";
    machine.write(file, &format!("{rival}\n:jar:M::PK::/bin/true:\n"));
    let remedy = machine.finds("order", "warning", "other things", file);
    assert_eq!(remedy, None);
    machine.write(file, &rival);
    machine.mends("order", "warning", "theirs", file);
}

#[test]
fn a_line_that_would_stop_the_host_is_told_before_the_boot_that_applies_it() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    machine.emulator("/usr/bin/theirs");
    let file = "/etc/binfmt.d/zzz.conf";
    machine.write(file, r":theirs:M::\x7fELF::/usr/bin/theirs:F");
    machine.mends("native-rule", "problem", "at the next boot", file);
}

#[test]
fn a_file_that_this_user_may_not_read_is_never_removed() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    let script =
        format!("chmod 000 {CONF}\nunshare --user --map-user=1000 \"$BINFMTCTL\" doctor --json");
    let output = machine.sh(&script).json();
    let findings = output["findings"].as_array().unwrap();
    let found = findings.iter().find(|f| f["id"] == "conf").unwrap();
    assert_eq!(found["level"], "warning", "{found}");
    let remedy = text(&found["remedy"]);
    assert!(remedy.starts_with("sudo binfmtctl doctor"), "{remedy}");
}

#[test]
fn systemd_binfmt_masked() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    if !machine.has_systemctl() {
        return;
    }
    for (unit, mask) in [
        ("systemd-binfmt.service", ""),
        ("systemd-binfmt.service", " --runtime"),
        ("proc-sys-fs-binfmt_misc.automount", ""),
    ] {
        machine
            .sh(&format!("systemctl mask{mask} {unit}"))
            .assert_exit(0);
        assert_eq!(machine.source("riscv64"), None, "{unit}");
        machine.mends("systemd-binfmt", "problem", unit, unit);
        assert_eq!(machine.source("riscv64"), by_systemd(CONF), "{unit}");
    }
    // As systemd.mask= on the kernel's command line does it.
    let early = "/run/systemd/generator.early";
    let link = format!("{early}/systemd-binfmt.service");
    machine
        .sh(&format!("mkdir {early}\nln -s /dev/null {link}"))
        .assert_exit(0);
    let remedy = machine.finds("systemd-binfmt", "problem", "masked", early);
    assert_eq!(remedy, None);
    machine.sh(&format!("rm {link}")).assert_exit(0);

    machine.ctl("uninstall").assert_exit(0);
    machine
        .sh("systemctl mask systemd-binfmt.service")
        .assert_exit(0);
    machine.mends("systemd-binfmt", "warning", "masked", "/etc/systemd/system");
}

#[test]
fn systemd_binfmt_that_nothing_starts() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    if !machine.has_systemctl() {
        return;
    }
    machine
        .sh(&format!(
            "rm {UNITS}/sysinit.target.wants/systemd-binfmt.service\ntouch {UNITS}/sysinit.target"
        ))
        .assert_exit(0);
    machine.write(&format!("{UNITS}/sysinit.target"), "[Unit]");
    assert_eq!(machine.source("riscv64"), None);
    machine.mends("systemd-binfmt", "problem", "wants", UNITS);
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));
}

#[test]
fn a_systemd_without_binfmt() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    machine
        .sh(&format!("rm {UNITS}/systemd-binfmt.service"))
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), None);
    let remedy = machine.finds("systemd-binfmt", "problem", "has no", UNITS);
    assert_eq!(remedy, None);
}

#[test]
fn our_file_is_gone() {
    let Some(machine) = Machine::with("riscv64 s390x --credentials") else {
        return;
    };
    let before = machine.read(CONF);
    machine.sh(&format!("rm {CONF}")).assert_exit(0);
    assert_eq!(machine.source("riscv64"), None);
    machine.mends("conf", "warning", "linux/riscv64, linux/s390x", CONF);
    assert_eq!(machine.read(CONF), before);
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));
}

#[test]
fn our_file_is_invalid() {
    let Some(machine) = Machine::with("riscv64 s390x") else {
        return;
    };
    let before = machine.read(CONF);
    machine
        .sh(&format!("echo nonsense >>{CONF}"))
        .assert_exit(0);
    for line in ["status", "install riscv64", "uninstall"] {
        machine
            .ctl(line)
            .assert_exit(6)
            .assert_says(&[CONF, "line"]);
    }
    // The others come back all the same, and the rest is looked at.
    assert!(!machine.ctl("doctor").stdout.is_empty());
    let lines = before.lines().count() + 1;
    machine.mends("conf", "problem", &format!("line {lines}"), CONF);
    assert_eq!(machine.read(CONF), before);
    machine.ctl("status").assert_exit(0);

    machine.ctl("uninstall").assert_exit(0);
    machine.write(CONF, "nonsense");
    machine.mends("conf", "problem", "line 1", CONF);
    machine.sh(&format!("test ! -e {CONF}")).assert_exit(0);
}

#[test]
fn our_file_is_masked() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    machine
        .sh(&format!("ln -sf /dev/null {CONF}"))
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), None);
    machine.mends("conf", "warning", "masked", CONF);
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));
}

#[test]
fn our_file_is_overridden() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    let own = "/usr/lib/binfmt.d/own.conf";
    let variables = [("BINFMTCTL_CONF", Path::new(own))];
    machine.sh(&format!("mv {CONF} {own}")).assert_exit(0);
    assert_eq!(machine.source("riscv64"), by_systemd(own));
    machine
        .sh("ln -s /dev/null /etc/binfmt.d/own.conf")
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), None);
    let doctor = || {
        let doctor = machine.world.ctl_with("doctor --json", &variables);
        let findings = doctor.json()["findings"].as_array().unwrap().clone();
        let conf = findings.into_iter().find(|finding| finding["id"] == "conf");
        conf.expect("a finding about the file")
    };
    let found = doctor();
    assert_eq!(found["level"], "warning", "{found}");
    assert_eq!(found["evidence"], "/etc/binfmt.d/own.conf");
    machine.sh(&text(&found["remedy"])).assert_exit(0);
    assert_eq!(doctor()["level"], "ok");
    assert_eq!(machine.source("riscv64"), by_systemd(own));
}

#[test]
fn our_file_lies_where_nobody_reads() {
    let Some(machine) = Machine::new() else {
        return;
    };
    // The world's usual place for it.
    machine.world.install("riscv64");
    assert_eq!(machine.source("riscv64"), None);
    let doctor = machine.world.ctl("doctor --json").json();
    let findings = doctor["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["id"] == "conf");
    let found = found.expect("a finding about the file");
    assert_eq!(found["level"], "warning", "{found}");
    assert!(text(&found["what"]).contains("nothing reads"), "{found}");
    machine.sh(&text(&found["remedy"])).assert_exit(0);
    assert_eq!(machine.findings("conf"), Vec::<Value>::new());
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));
}

#[test]
fn file_and_kernel_are_out_of_step() {
    let Some(machine) = Machine::with("riscv64 s390x") else {
        return;
    };
    let intact = machine.read(CONF);

    machine.world.write("qemu-riscv64", "-1");
    machine.mends("conf", "warning", "aren't registered", CONF);
    assert_eq!(machine.status("riscv64")["runs"], "emulated");

    machine
        .sh(&format!("sed -i '/qemu-riscv64/d' {CONF}"))
        .assert_exit(0);
    machine.mends("conf", "warning", "lacks our rules for linux/riscv64", CONF);
    assert_eq!(machine.read(CONF), intact);

    for change in [
        "s/:POF$/:OF/",
        "s|/bin/[0-9a-f]*|/bin/0000|",
        "s/:qemu-/:binfmtctl-/",
    ] {
        machine
            .sh(&format!("sed -i '/riscv64/{change}' {CONF}"))
            .assert_exit(0);
        assert_ne!(machine.read(CONF), intact, "{change}");
        machine.mends("conf", "warning", "otherwise", CONF);
        assert_eq!(machine.read(CONF), intact, "{change}");
    }
}

#[test]
fn options_of_install_survive_the_mending() {
    let Some(machine) = Machine::with("riscv64 --credentials") else {
        return;
    };
    let newer = cache::NEW;
    machine
        .ctl(&format!("install s390x --qemu {newer}"))
        .assert_exit(0);
    machine.sh(&format!("rm {CONF}")).assert_exit(0);
    let remedies: Vec<String> = machine
        .findings("conf")
        .iter()
        .map(|finding| text(&finding["remedy"]))
        .collect();
    machine.sh(&remedies.join("\n")).assert_exit(0);
    assert_eq!(machine.findings("conf"), Vec::<Value>::new());
    assert_eq!(machine.status("riscv64")["flags"], "POCF");
    assert_eq!(machine.status("s390x")["qemu"], newer);
}

#[test]
fn somebody_else_runs_what_our_file_is_for() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    machine.emulator("/usr/bin/qemu-other");
    machine.world.write("qemu-riscv64", "-1");
    // The emulator is there in this world only.
    let theirs = line("theirs", "/usr/bin/qemu-other", "POF");
    machine
        .sh(&format!(
            "printf %s '{theirs}' >/proc/sys/fs/binfmt_misc/register"
        ))
        .assert_exit(0);
    assert_eq!(machine.status("riscv64")["handler"], "theirs");
    machine.mends("conf", "warning", "aren't registered", CONF);
    assert_eq!(machine.status("riscv64")["owner"], "binfmtctl");
}

#[test]
fn another_file_has_the_last_word() {
    let Some(machine) = bootable("riscv64 s390x") else {
        return;
    };
    for file in ["/etc/binfmt.d/zzz.conf", "/usr/lib/binfmt.d/zzz.conf"] {
        machine.write(file, &line("theirs", "/bin/true", "F"));
        assert_eq!(machine.source("riscv64"), None, "{file}");
        machine.mends("order", "warning", "linux/riscv64", file);
        assert_eq!(machine.source("riscv64"), by_systemd(CONF));
        machine.boot(&["riscv64", "s390x"]);
    }
}

#[test]
fn binfmt_support_brings_its_formats_back() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    let machine = machine.with_support();
    machine.emulator("/usr/libexec/qemu-binfmt/riscv64-binfmt-P");
    machine.ctl("uninstall").assert_exit(0);
    machine.import("qemu-riscv64");
    let file = "/var/lib/binfmts/qemu-riscv64";
    assert_eq!(machine.status("riscv64")["handler"], "qemu-riscv64");
    let by_support = from(file, "binfmt-support.service");
    assert_eq!(machine.source("riscv64"), by_support);
    machine.boot(&["riscv64"]);

    // A format that shares its magic takes F away from both.
    machine.import("another");
    assert_eq!(machine.source("riscv64"), None);
    machine.boot(&["riscv64"]);
    machine.sh("rm /var/lib/binfmts/another").assert_exit(0);
    machine.sh("update-binfmts --enable").assert_exit(0);
    assert_eq!(machine.source("riscv64"), by_support);

    machine.write("/var/lib/binfmts/broken.tmp", "p\nmagic");
    assert_eq!(machine.source("riscv64"), None);
    machine.mends("binfmt-support", "warning", "incomplete", "broken.tmp");
    machine.boot(&["riscv64"]);

    machine
        .sh("ln -s /dev/null /etc/systemd/system/binfmt-support.service")
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), None);
}

#[test]
fn binfmt_support_comes_after_us() {
    let Some(machine) = bootable("riscv64") else {
        return;
    };
    let machine = machine.with_support();
    machine.emulator("/usr/libexec/qemu-binfmt/riscv64-binfmt-P");
    machine.import("theirs");
    machine.world.write("theirs", "-1");
    assert_eq!(machine.source("riscv64"), None);
    machine.mends("order", "warning", "theirs", "/var/lib/binfmts/theirs");
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));
    machine.boot(&["riscv64"]);

    // A name that we have it passes over at boot, but takes away at its stop.
    machine
        .sh("cp /usr/share/binfmts/theirs /usr/share/binfmts/qemu-riscv64")
        .assert_exit(0);
    machine
        .sh("update-binfmts --procdir /nowhere --import qemu-riscv64")
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), by_systemd(CONF));
    machine.boot(&["riscv64"]);
    let file = "/var/lib/binfmts/qemu-riscv64";
    machine.mends("binfmt-support", "warning", "qemu-riscv64", file);
    machine
        .sh("unshare --mount update-binfmts --disable")
        .assert_exit(0);
    assert_eq!(machine.status("riscv64")["runs"], "emulated");
}

#[test]
fn the_stop_of_binfmt_support() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    let machine = machine.with_support();
    if !machine.has_systemctl() {
        return;
    }
    assert_eq!(machine.findings("binfmt-support"), Vec::<Value>::new());
    // The unit as it was before 2.2.2.
    let unit = format!("{UNITS}/binfmt-support.service");
    let older = format!("sed -i '/^Pr\\|^Restrict/d; s/ systemd-binfmt.service//' {unit}");
    machine.sh(&older).assert_exit(0);
    assert!(!machine.read(&unit).contains("ProtectSystem"));
    machine.mends("binfmt-support", "warning", "unmounts", &unit);
    machine
        .sh("systemctl unmask binfmt-support.service")
        .assert_exit(0);

    machine.write(
        "/var/lib/binfmts/jar",
        "p\nmagic\n0\nPK\n\n/bin/true\n\n\n\n",
    );
    machine.mends("binfmt-support", "warning", "unmounts", &unit);
    let drop_in = machine.read("/etc/systemd/system/binfmt-support.service.d/*");
    assert_eq!(drop_in, "[Service]\nExecStop=\n");

    // What it does without: the reason for all this.
    machine.sh("update-binfmts --disable").assert_exit(0);
    machine
        .sh("test ! -e /proc/sys/fs/binfmt_misc/register && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc")
        .assert_exit(0);
    assert_eq!(machine.status("riscv64")["runs"], "no");
}

/// A machine whose namespaces can't be told from a host's, with nothing
/// installed, and the program where packages leave room for it.
pub fn bare_host() -> Option<Machine> {
    let machine = Machine::with("riscv64")?;
    if machine.sh("stat -c %u /").stdout.trim() != "0" {
        skip("only root's files are root's in a user namespace");
        return None;
    }
    machine
        .sh("binfmtctl uninstall -q\nmount -t tmpfs -o mode=755 opt /opt\nmkdir -p /usr/local/bin /run/empty\ncp \"$BINFMTCTL\" /usr/local/bin/")
        .assert_exit(0);
    Some(machine)
}

/// What that program does, told of no other places, and of these variables.
pub fn as_host(machine: &Machine, line: &str, variables: &str) -> Output {
    machine.sh(&format!(
        "export {variables}\nunset BINFMTCTL_PREFIX BINFMTCTL_USERNS\nexec sh -euc 'mount --bind /run/empty /proc/$$/ns; exec /usr/local/bin/binfmtctl {line}'"
    ))
}

/// The files and links below /etc/systemd and /etc/init.d that are ours.
pub fn service_files(machine: &Machine) -> String {
    machine
        .sh("find /etc/systemd /etc/init.d /etc/runlevels -name '*binfmtctl*' 2>/dev/null | sort || :")
        .stdout
}

#[test]
fn install_sets_up_a_unit_and_uninstall_takes_it_away() {
    let Some(machine) = bare_host() else { return };
    let told = as_host(&machine, "install riscv64 -n", "");
    told.assert_exit(0)
        .assert_says(&["would write", "binfmtctl.service"]);
    assert_eq!(service_files(&machine), "");
    as_host(&machine, "install riscv64", "")
        .assert_exit(0)
        .assert_says(&["wrote /etc/systemd/system/binfmtctl.service"]);
    let unit = machine.read("/etc/systemd/system/binfmtctl.service");
    assert!(
        unit.contains("\nExecStart=/usr/local/bin/binfmtctl apply\n"),
        "{unit}"
    );
    let files = service_files(&machine);
    assert_eq!(files.lines().count(), 4, "{files}");
    as_host(&machine, "install riscv64", "")
        .assert_exit(0)
        .assert_says(&["nothing was changed"]);
    machine
        .sh("ln -s /dev/null /etc/systemd/system/systemd-binfmt.service")
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), from(CONF, "binfmtctl.service"));
    // What an administrator switched off stays off.
    machine
        .sh("rm /etc/systemd/system/*.wants/binfmtctl.service")
        .assert_exit(0);
    as_host(&machine, "install riscv64 s390x", "").assert_exit(0);
    assert_eq!(service_files(&machine).lines().count(), 1);
    as_host(&machine, "uninstall riscv64", "").assert_exit(0);
    assert_eq!(service_files(&machine).lines().count(), 1, "s390x is left");
    as_host(&machine, "uninstall", "")
        .assert_exit(0)
        .assert_says(&["removed /etc/systemd/system/binfmtctl.service"]);
    assert_eq!(service_files(&machine), "");
}

#[test]
fn a_unit_that_cant_be_written_is_missed_only_where_nothing_else_does_its_work() {
    let Some(machine) = bare_host() else { return };
    machine
        .sh("mount -o remount,ro /etc/systemd/system")
        .assert_exit(0);
    as_host(&machine, "install riscv64", "")
        .assert_exit(0)
        .assert_says(&["Read-only", "systemd-binfmt alone"]);
    let early = "/run/systemd/generator.early";
    machine
        .sh(&format!(
            "mkdir {early}\nln -s /dev/null {early}/systemd-binfmt.service"
        ))
        .assert_exit(0);
    as_host(&machine, "install riscv64 s390x", "")
        .assert_exit(4)
        .assert_says(&["/etc/systemd/system", "Read-only"]);
}

#[test]
fn under_openrc_install_sets_up_a_script() {
    let Some(machine) = bare_host() else { return };
    machine.sh(OPENRC).assert_exit(0);
    as_host(&machine, "install riscv64", "")
        .assert_exit(0)
        .assert_says(&["wrote /etc/init.d/binfmtctl"]);
    let files = service_files(&machine);
    assert_eq!(
        files,
        "/etc/init.d/binfmtctl\n/etc/runlevels/default/binfmtctl\n"
    );
    assert_eq!(machine.source("riscv64"), from(CONF, "binfmtctl"));
    machine
        .sh("rm /etc/runlevels/default/binfmtctl")
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), None);
    let remedy = machine.finds("openrc", "warning", "OpenRC", "/etc/runlevels");
    assert_eq!(remedy.as_deref(), Some("rc-update add binfmtctl default"));
    as_host(&machine, "uninstall", "").assert_exit(0);
    assert_eq!(service_files(&machine), "");
}

#[test]
fn our_own_unit_applies_the_file_where_systemds_doesnt() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    const UNIT: &str = "/etc/systemd/system/binfmtctl.service";
    const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
    // The unit knows the usual store alone.
    machine
        .sh("binfmtctl uninstall -q\nmount -t tmpfs -o mode=755 opt /opt\nBINFMTCTL_PREFIX=/opt/binfmtctl binfmtctl install -q riscv64")
        .assert_exit(0);
    let shipped = include_str!("../../packaging/systemd/binfmtctl.service");
    let calls = |program: &str| {
        machine.write(
            UNIT,
            shipped.replace("/usr/bin/binfmtctl", program).trim_end(),
        );
    };
    calls(env!("CARGO_BIN_EXE_binfmtctl"));
    machine
        .sh(&format!("mkdir {WANTS}; ln -s {UNIT} {WANTS}/"))
        .assert_exit(0);
    let by_ours = from(CONF, "binfmtctl.service");
    assert_eq!(machine.source("riscv64"), by_systemd(CONF), "it is there");
    machine
        .sh("ln -s /dev/null /etc/systemd/system/systemd-binfmt.service")
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), by_ours);
    machine.finds(
        "systemd-binfmt",
        "warning",
        "but our file",
        "systemd-binfmt",
    );
    // What the unit calls, where the boot has left no rule.
    machine.world.write("qemu-riscv64", "-1");
    machine
        .sh("BINFMTCTL_PREFIX=/opt/binfmtctl binfmtctl apply")
        .assert_exit(0);
    assert_eq!(machine.status("riscv64")["runs"], "emulated");
    calls("/nowhere/binfmtctl");
    assert_eq!(machine.source("riscv64"), None);
    machine.finds("service", "warning", "/nowhere/binfmtctl", UNIT);
}

#[test]
fn openrc_calls_us_once_it_is_told_to() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    machine.sh(OPENRC).assert_exit(0);
    machine.write(
        &machine
            .world
            .path("scratch/bin/rc-update")
            .display()
            .to_string(),
        "#!/bin/sh\nln -s /etc/init.d/$2 /etc/runlevels/$3/$2",
    );
    machine
        .sh("chmod +x \"$SCRATCH/bin/rc-update\"")
        .assert_exit(0);
    assert_eq!(machine.source("riscv64"), None);
    machine.mends("openrc", "warning", "OpenRC", "/etc/runlevels");
    assert_eq!(machine.source("riscv64"), from(CONF, "local"));
    // The boot itself: no rule, and then the script.
    machine.world.write("qemu-riscv64", "-1");
    machine.sh("/etc/local.d/binfmtctl.start").assert_exit(0);
    assert_eq!(machine.status("riscv64")["runs"], "emulated");
}

#[test]
fn another_init_system_is_told_that_nothing_lasts() {
    let Some(machine) = Machine::with("riscv64") else {
        return;
    };
    machine.sh("rmdir /run/systemd/system").assert_exit(0);
    assert_eq!(machine.source("riscv64"), None);
    let found = &machine.findings("init")[0];
    assert_eq!(found["level"], "warning", "{found}");
}
