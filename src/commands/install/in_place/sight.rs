//! Seeing the instance where nobody has mounted it for us: in a container,
//! whose /proc/sys is its own, the host's rules can't be seen.
//!
//! What is mounted for that is unmounted again. Rules live as long as the last
//! mount, so those that only this one held are gone then.

use std::path::{Path, PathBuf};

use crate::binfmt::Instance;
use crate::binfmt::instance::{self, DEFAULT_MOUNT};
use crate::commands::Context;
use crate::host::in_mount_namespace_of_init;

/// The instance in sight.
pub(super) struct Sight {
    /// What this run has mounted, and takes away again.
    own: Option<PathBuf>,
}

impl Sight {
    /// Brings the instance into sight as far as that can be had. Where it
    /// can't, a run that has to change something will say why.
    pub fn open(context: &Context, changes: bool) -> Self {
        let nothing = Self { own: None };
        let dir = &context.mount;
        if Instance::find(dir).is_some() || !dir.is_dir() {
            return nothing;
        }
        let usual = dir == Path::new(DEFAULT_MOUNT);
        let host = &context.host;
        let mounted = match (host.initial_user_ns, usual) {
            // A mount in a user namespace hides the host's rules from it.
            (false, true) => return nothing,
            (false, false) if !(changes && context.userns) => return nothing,
            // On the host itself an install mounts it to stay.
            (true, true) if host.initial_pid_ns && in_mount_namespace_of_init() => return nothing,
            (true, true) if changes => Instance::find_or_mount(dir, host),
            _ => Instance::mount_at(dir),
        };
        match mounted {
            Ok(_) => Self {
                own: Some(dir.clone()),
            },
            Err(error) => {
                if !changes {
                    let why = error.reason();
                    context
                        .console
                        .note(&format!("rules can't be listed: {why}"));
                }
                nothing
            }
        }
    }

    /// Gives up what only this run holds, and looks again.
    pub fn renew(&mut self) {
        if let Some(dir) = self.own.take() {
            instance::unmount(&dir);
            if Instance::mount_at(&dir).is_ok() {
                self.own = Some(dir);
            }
        }
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        if let Some(dir) = &self.own {
            instance::unmount(dir);
        }
    }
}
