//! What AppArmor and SELinux have refused to emulators, by the kernel's own
//! log, or the audit daemon's where one takes it away from there.
//!
//! Ordinary users may often read neither; then nothing is said. Lines are
//! somebody else's words: only their fields are looked at. What was refused
//! before the emulator's file was changed, labelled anew or removed is past.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

use crate::commands::doctor::words::plain;
use crate::emulator::store::Store;
use crate::platform::{PLATFORMS, TARGETS};
use crate::report::Finding;
use crate::report::survey::Survey;

const ID: &str = "denials";
const KERNEL_LOG: &str = "/dev/kmsg";
const AUDIT_LOG: &str = "/var/log/audit/audit.log";

/// As much of a log as is read.
const LIMIT: usize = 4 << 20;

/// The kernel cuts the names of processes (TASK_COMM_LEN).
const COMM: usize = 15;

/// Whether a refusal concerns an emulator in use.
pub fn check(survey: &Survey<'_>, store: &Store) -> Vec<Finding> {
    let interpreters: Vec<String> = TARGETS
        .iter()
        .flat_map(|target| survey.matching(target))
        .map(|entry| entry.interpreter.clone())
        .collect();
    let listed = store.list();
    let knows_store = listed.is_ok();
    let stored = listed.unwrap_or_default();
    let used = Used {
        knows_store,
        changed: interpreters
            .iter()
            .cloned()
            .chain(stored.iter().map(|path| path.display().to_string()))
            .filter_map(|path| Some((changed(Path::new(&path))?, path)))
            .map(|(time, path)| (path, time))
            .collect(),
        interpreters,
        store: format!("{}/", store.prefix().display()),
    };
    let logs = [
        (KERNEL_LOG, read_kernel_log(Path::new(KERNEL_LOG))),
        (AUDIT_LOG, read_end(Path::new(AUDIT_LOG))),
    ];
    let logs: Vec<(&str, String)> = logs
        .into_iter()
        .filter_map(|(name, log)| Some((name, log.ok()?)))
        .collect();
    judge(&logs, &used)
}

/// Emulators in use.
struct Used {
    /// Their paths as registered.
    interpreters: Vec<String>,
    /// What our own paths begin with.
    store: String,
    /// Whether every file there is known.
    knows_store: bool,
    /// When the file of each was changed or labelled last.
    changed: BTreeMap<String, Milliseconds>,
}

/// Since 1970.
type Milliseconds = i64;

fn changed(path: &Path) -> Option<Milliseconds> {
    let metadata = fs::metadata(path).ok()?;
    Some(metadata.ctime() * 1000 + metadata.ctime_nsec() / 1_000_000)
}

/// All records that are there now; each read gives one.
fn read_kernel_log(path: &Path) -> io::Result<String> {
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let mut text = Vec::new();
    let mut record = [0; 8192];
    while text.len() < LIMIT {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&record[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // Records were overwritten while they were read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn read_end(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LIMIT as u64)))?;
    let mut text = Vec::new();
    file.take(LIMIT as u64).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn judge(logs: &[(&str, String)], used: &Used) -> Vec<Finding> {
    if logs.is_empty() {
        return vec![Finding::ok(
            ID,
            "the kernel's log can't be read, so refusals by AppArmor or SELinux don't show",
        )];
    }
    let found = logs.iter().find_map(|(name, log)| {
        let refusals = || log.lines().filter(|line| is_refusal(line, used));
        refusals()
            .next_back()
            .map(|last| (name, refusals().count(), last))
    });
    let finding = match found {
        None => {
            Finding::ok(ID, "the kernel's log has no refusal of an emulator").seen_in(names(logs))
        }
        Some((name, count, last)) => Finding::warning(
            ID,
            match count {
                1 => "an emulator was refused something once".to_owned(),
                _ => format!("emulators were refused something {count} times, here the last"),
            },
        )
        .seen_in(format!("{name}: {}", plain(message(last)))),
    };
    vec![finding]
}

fn names(logs: &[(&str, String)]) -> String {
    let names: Vec<&str> = logs.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// A line of /dev/kmsg without what precedes the message.
fn message(line: &str) -> &str {
    match line.split_once(';') {
        Some((prefix, message)) if prefix.starts_with(|c: char| c.is_ascii_digit()) => message,
        _ => line,
    }
}

/// Whether the line says that a security module refused something to an
/// emulator, or to somebody who wanted to use one; and that the emulator's
/// file is still there, as it was then.
fn is_refusal(line: &str, used: &Used) -> bool {
    let refused = line.contains("apparmor=\"DENIED\"")
        || (line.contains("avc:  denied ") && !line.contains("permissive=1"));
    let is_past = |value: &str| match (time(line), used.changed.get(value)) {
        (Some(time), Some(changed)) => time < *changed,
        // It is gone since.
        (_, None) => used.knows_store && value.starts_with(&used.store),
        _ => false,
    };
    refused && fields(line).any(|value| is_emulator(value, used)) && !fields(line).any(is_past)
}

/// The time in `audit(1700000000.123:45)`.
fn time(line: &str) -> Option<Milliseconds> {
    let (_, rest) = line.split_once("audit(")?;
    let (seconds, rest) = rest.split_once('.')?;
    let (milliseconds, _) = rest.split_once(':')?;
    let seconds: Milliseconds = seconds.parse().ok()?;
    let milliseconds: Milliseconds = milliseconds.parse().ok()?;
    seconds.checked_mul(1000)?.checked_add(milliseconds)
}

/// The quoted values that name a process or a file.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    ["comm", "name", "path", "exe"]
        .into_iter()
        .filter_map(|key| {
            let (_, rest) = line.split_once(&format!(" {key}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        })
}

fn is_emulator(value: &str, used: &Used) -> bool {
    let name = last(value);
    let is_named = |known: &str| name == known || name == cut(known);
    // qemu-system-* and other tools of QEMU's are none of ours.
    let is_qemu = || {
        PLATFORMS.iter().any(|platform| {
            let binary = platform.binary();
            is_named(&binary) || is_named(&format!("{binary}-static"))
        })
    };
    let is_used = || {
        let mut names = used.interpreters.iter().map(|path| last(path));
        names.any(is_named) || value.starts_with(&used.store)
    };
    !name.is_empty() && (is_qemu() || is_used())
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn cut(name: &str) -> &str {
    name.get(..COMM).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;
    use proptest::prelude::*;

    const APPARMOR: &str = "5,912,8123,-;audit: type=1400 audit(1700000000.123:45): apparmor=\"DENIED\" operation=\"exec\" class=\"file\" profile=\"box\" name=\"/opt/binfmtctl/bin/0/qemu-arm\" pid=7 comm=\"sh\" requested_mask=\"x\" denied_mask=\"x\"\n";
    const SELINUX: &str = "type=AVC msg=audit(1700000000.123:45): avc:  denied  { execute } for  pid=7 comm=\"uname\" path=\"/usr/bin/qemu-aarch64-static\" dev=\"vda1\" ino=9 tclass=file permissive=0\n";

    fn used(interpreter: &str) -> Used {
        Used {
            interpreters: vec![String::new(), interpreter.to_owned()],
            store: "/opt/binfmtctl/".to_owned(),
            knows_store: false,
            changed: BTreeMap::new(),
        }
    }

    fn refusals(text: &str) -> usize {
        let used = used("/mnt/lima-rosetta/rosetta");
        let lines = text.lines();
        lines.filter(|line| is_refusal(line, &used)).count()
    }

    #[test]
    fn refusals_of_emulators_count_and_nothing_else() {
        let others = SELINUX.replace("qemu-aarch64-static", "qemu-img");
        let table = [
            (APPARMOR, 1),
            (SELINUX, 1),
            (others.as_str(), 0),
            (&APPARMOR.replace("DENIED", "ALLOWED"), 0),
            (&SELINUX.replace("permissive=0", "permissive=1"), 0),
            (&others.replace("uname", "qemu-system-x86"), 0),
            (&others.replace("uname", "qemu-loongarch6"), 1),
            (&others.replace("uname", "rosetta"), 1),
            (&others.replace("/usr/bin/", "/opt/binfmtctl/"), 1),
            ("6,1,1,-;traps: qemu-arm[7] trap invalid opcode\n", 0),
        ];
        for (line, expected) in table {
            assert_eq!(refusals(line), expected, "{line}");
        }
    }

    #[test]
    fn the_last_one_is_the_evidence() {
        let log = format!(
            "{APPARMOR}{}6,1,1,-;other\n",
            APPARMOR.replace("pid=7", "pid=8")
        );
        let findings = judge(&[(KERNEL_LOG, log)], &used("/usr/bin/qemu-arm"));
        assert_eq!(findings[0].level, Level::Warning);
        assert!(findings[0].what.contains("2 times"));
        let evidence = findings[0].evidence.as_deref().unwrap();
        assert!(evidence.starts_with("/dev/kmsg: audit:") && evidence.contains("pid=8"));
    }

    #[test]
    fn what_was_changed_since_is_past() {
        let path = "/usr/bin/qemu-aarch64-static";
        for (changed, expected) in [(1_700_000_000_122, true), (1_700_000_000_124, false)] {
            let mut used = used(path);
            used.changed.insert(path.to_owned(), changed);
            assert_eq!(is_refusal(SELINUX, &used), expected, "{changed}");
        }
    }

    #[test]
    fn what_isnt_stored_any_more_is_past() {
        for (knows_store, expected) in [(false, true), (true, false)] {
            let mut used = used("");
            used.knows_store = knows_store;
            assert_eq!(is_refusal(APPARMOR, &used), expected);
        }
    }

    #[test]
    fn a_log_that_cant_be_read_is_no_fault() {
        assert_eq!(judge(&[], &used(""))[0].level, Level::Ok);
        let missing = Path::new("/nowhere");
        assert!(read_kernel_log(missing).is_err() && read_end(missing).is_err());
    }

    proptest! {
        #[test]
        fn no_log_makes_it_panic(
            log in "((audit\\([0-9.]{0,25}:)?.*(apparmor=\"DENIED\"|avc:  denied ).{0,9} (comm|name|path)=\".*\"?\n){0,4}",
            interpreter: String,
        ) {
            judge(&[(KERNEL_LOG, log)], &used(&interpreter));
        }
    }
}
