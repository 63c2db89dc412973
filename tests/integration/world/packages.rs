//! Files of Debian's packages, unpacked once per machine under their own
//! paths: emulators as they are, other people's emulators and rules, and a
//! root with a shell as containers have it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use binfmtctl::digest::Digest;

use super::cache::{self, AptRoot, SUITES, cached, done, lock};

/// The emulators that [`emulator`] has.
const EMULATORS: [&str; 5] = ["aarch64", "arm", "i386", "riscv64", "s390x"];

/// The pinned package, as far as the tests need it: some emulators, and
/// Debian's rules.
pub fn pinned() -> PathBuf {
    let emulators = EMULATORS.map(|name| format!("./usr/bin/qemu-{name}"));
    let mut members = vec!["./usr/share/qemu/binfmt.d/*", "./usr/libexec/*"];
    members.extend(emulators.iter().map(String::as_str));
    let name = format!(
        "{}-{}",
        cache::release().file,
        Digest::of(members.concat().as_bytes())
    );
    unpacked(&name, |to| unpack(&cache::package(), &members, to))
}

/// A pinned emulator, by QEMU's name.
pub fn emulator(name: &str) -> PathBuf {
    assert!(EMULATORS.contains(&name), "{name} isn't unpacked");
    pinned().join("usr/bin").join(format!("qemu-{name}"))
}

/// Files of a package of a suite, for an architecture: those that match these
/// patterns of tar's.
pub fn files(suite: &str, package: &str, architecture: &str, members: &[&str]) -> PathBuf {
    unpacked(&format!("{package}-{suite}-{architecture}"), |to| {
        let apt = AptRoot::new(suite, architecture)?;
        unpack(
            &apt.download(&format!("{package}:{architecture}"))?,
            members,
            to,
        )
    })
}

/// A root with a shell and its C library: a dynamic, position-independent
/// program, as nearly all are in containers.
pub fn shell_root(architecture: &str) -> PathBuf {
    unpacked(&format!("root-{architecture}"), |to| {
        let fetch = |suite: &&str| make_shell_root(suite, architecture, to);
        let failed: Vec<String> = SUITES.iter().map_while(|s| fetch(s).err()).collect();
        match failed.len() < SUITES.len() {
            true => Ok(()),
            false => Err(failed.join("; ")),
        }
    })
}

fn make_shell_root(suite: &str, architecture: &str, to: &Path) -> Result<(), String> {
    let apt = AptRoot::new(suite, architecture)?;
    let libraries = ["*/ld-linux*", "*/libc.so.6", "*/libresolv.so.2"];
    for (package, members) in [("busybox", &["*/bin/busybox"][..]), ("libc6", &libraries)] {
        unpack(
            &apt.download(&format!("{package}:{architecture}"))?,
            members,
            to,
        )?;
    }
    // The shell is called by its name, and /lib is in /usr.
    let script = "cd \"$1\"; find . -path '*/bin/busybox' -exec mv {} sh ';'; [ -e lib ] || ln -s usr/lib lib";
    done(Command::new("sh").args(["-euc", script, "sh"]).arg(to))
}

/// The directory of this name in the cache, made by `make` if need be.
fn unpacked(name: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> PathBuf {
    let dir = cached("unpacked");
    let (path, new) = (dir.join(name), dir.join(format!(".{name}")));
    let _lock = lock("unpacked");
    if !path.exists() {
        // What a killed run has left.
        let _ = fs::remove_dir_all(&new);
        make(&new).unwrap_or_else(|error| panic!("cannot get {name}: {error}"));
        fs::rename(&new, &path).expect("a directory in target/tmp");
    }
    path
}

/// Takes these members out of a package.
fn unpack(package: &Path, members: &[&str], to: &Path) -> Result<(), String> {
    let script = "mkdir -p \"$1\"; dpkg-deb --fsys-tarfile \"$2\" >\"$1/.tar\"; \
        to=$1; shift 2; tar -x -C \"$to\" -f \"$to/.tar\" --wildcards \"$@\"; rm \"$to/.tar\"";
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).args([to, package]);
    done(command.args(members))
}
