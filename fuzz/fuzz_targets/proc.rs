#![no_main]
//! Texts of /proc: mountinfo, status, limits, fdinfo, labels, a kernel's release.

use std::path::Path;

use binfmtctl::commands::doctor::fuzzing as doctor;
use binfmtctl::host::{Kernel, fuzzing as host};
use binfmtctl_fuzz::{choice, memory, text};
use libfuzzer_sys::fuzz_target;

const PLACE: &str = "/proc/sys/fs/binfmt_misc";

fn mountinfo(bytes: &[u8]) {
    let any = host::mounts_device(bytes, None);
    let one = host::mounts_device(bytes, Some(45));
    assert_eq!(any.is_some(), one.is_some());
    assert!(any == Some(true) || one != Some(true));
    let ids = host::mount_ids(bytes);
    assert_eq!(ids.is_some(), any.is_some());
    let text = text(bytes);
    if let Some(ids) = ids {
        assert!(ids.len() <= text.lines().count());
        assert!(ids.iter().all(|id| doctor::has_mount(&text, *id)));
        let top = doctor::top(bytes, Path::new(PLACE));
        assert!(top != "Instance" || any == Some(true));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (kind, rest) = choice(bytes);
    let text = text(rest);
    memory::within(16 * 1024 + 64 * bytes.len(), || match kind % 8 {
        0 => {
            assert_eq!(Kernel::parse(&text).to_string(), text);
        }
        1 => {
            if host::is_filtered(&text) {
                assert!(text.contains("Seccomp:") && text.contains('2'));
            }
        }
        2 => {
            host::profile(&text);
        }
        3 => {
            doctor::address_space(&text);
        }
        4 => {
            doctor::mount_id(&text);
        }
        _ => mountinfo(rest),
    });
});
