//! The ways in for `fuzz/`, to which these parsers are no interface otherwise.

use std::collections::BTreeSet;

use super::confinement::{self, Profile};

/// Whether a mountinfo text lists a binfmt_misc, if need be with this device number.
pub fn mounts_device(mountinfo: &[u8], device: Option<u64>) -> Option<bool> {
    super::mounts_device(mountinfo, device)
}

/// The numbers of the mounts in a mountinfo text.
pub fn mount_ids(mountinfo: &[u8]) -> Option<BTreeSet<i32>> {
    super::mount_ids(mountinfo)
}

/// Whether /proc/PID/status tells of a filter.
pub fn is_filtered(status: &str) -> bool {
    confinement::is_filtered(status)
}

/// The profile in the label of a security module.
pub fn profile(label: &str) -> Option<Profile> {
    Profile::parse(label)
}
