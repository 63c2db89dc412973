//! The ways in for `fuzz/`, to which these parsers are no interface otherwise.

use std::path::Path;

use super::instance;
use super::security::{limits, mounts};

/// The kind of what is mounted at a place, by this mountinfo text.
pub fn top(mountinfo: &[u8], place: &Path) -> String {
    format!("{:?}", instance::top(mountinfo, place))
}

/// Whether a mountinfo text has a mount of this number.
pub fn has_mount(mountinfo: &str, id: i32) -> bool {
    mounts::find(mountinfo, id).is_some()
}

/// The number of the mount in a text of /proc/PID/fdinfo.
pub fn mount_id(fdinfo: &str) -> Option<i32> {
    mounts::mount_id(fdinfo)
}

/// The limits in a text of /proc/PID/limits.
pub fn address_space(limits: &str) -> Option<(Option<u64>, Option<u64>)> {
    limits::address_space(limits)
}
