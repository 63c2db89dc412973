//! Seeing the instance where nobody has mounted it for us: in a container,
//! whose /proc/sys is its own, the host's rules can't be seen.
//!
//! What is mounted for that is seen by this process alone, and goes with it,
//! whatever ends it. Rules live as long as the last mount, so those that only
//! this one held are gone then.

use std::path::Path;

use crate::binfmt::instance::DEFAULT_MOUNT;
use crate::binfmt::lifetime::OwnMount;
use crate::binfmt::{Instance, Lifetime};
use crate::commands::Context;

/// The instance in sight.
pub(super) struct Sight<'a> {
    context: &'a Context,
    /// What this run has mounted, and takes away again.
    own: Option<OwnMount>,
}

impl<'a> Sight<'a> {
    /// Brings the instance into sight as far as that can be had. Where it
    /// can't, a run that has to change something will say why.
    pub fn open(context: &'a Context, changes: bool) -> Self {
        let nothing = Self { context, own: None };
        let dir = &context.mount;
        if Instance::find(dir).is_some() || !dir.is_dir() {
            return nothing;
        }
        let usual = dir == Path::new(DEFAULT_MOUNT);
        let own = || Instance::look_at(dir).map(Some);
        let mounted = match (context.host.initial_user_ns, usual) {
            // A mount in a user namespace hides the host's rules from it.
            (false, true) => return nothing,
            (false, false) if !(changes && context.userns) => return nothing,
            // What a change mounts there lasts, or isn't mounted.
            (true, true) => context.show().map(|()| None),
            _ => own(),
        };
        match mounted {
            Ok(own) => Self { context, own },
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
        if let Some(own) = &mut self.own {
            // Where that can't be found out, nothing is claimed.
            if own.outlives_itself().is_ok_and(|outlives| outlives) {
                self.context.learn(Lifetime::Elsewhere);
            }
        }
    }
}
