//! From where this process looks: the host itself, a container, or a user
//! namespace; what can't be seen from there is said.

use std::path::Path;

use super::mounts::mount_of;
use super::wsl;
use crate::commands::Context;
use crate::report::Finding;

const ID: &str = "container";
const ADVICE: &str = "run it on the host, or in a container started with --privileged --pid=host";

#[derive(Debug, Clone, Copy)]
struct Facts {
    /// The user namespace is that of the boot.
    initial_user_ns: bool,
    /// PID 1 is the host's.
    initial_pid_ns: bool,
    /// The user asked for the user namespace's own rules.
    userns: bool,
    /// /proc/sys is read-only.
    read_only: bool,
    /// binfmt_misc is mounted.
    mounted: bool,
    /// WSL puts every distribution in a PID namespace of its own.
    wsl: bool,
}

/// Whether everything can be seen from here.
pub fn check(context: &Context, mounted: bool) -> Vec<Finding> {
    vec![judge(Facts {
        initial_user_ns: context.host.initial_user_ns,
        initial_pid_ns: context.host.initial_pid_ns,
        userns: context.userns,
        read_only: mount_of(Path::new("/proc/sys")).is_some_and(|mount| mount.read_only),
        mounted,
        wsl: wsl::is_distribution(&context.host.kernel),
    })]
}

fn judge(facts: Facts) -> Finding {
    let read_only = match facts.read_only {
        true => ", /proc/sys is read-only",
        false => "",
    };
    let unmounted = match facts.mounted {
        true => "",
        false => ", and the host's rules don't show",
    };
    if !facts.initial_pid_ns && !facts.wsl {
        Finding::warning(
            ID,
            format!(
                "this is a container: whether the host keeps its rules can't be seen from here{read_only}{unmounted}: {ADVICE}"
            ),
        )
        .seen_in("/proc/self/ns/pid isn't the host's")
    } else if facts.read_only {
        Finding::warning(
            ID,
            format!("/proc/sys is read-only here, so no rule can be changed{unmounted}: {ADVICE}"),
        )
        .seen_in("/proc/self/mountinfo")
    } else if !facts.initial_user_ns && !facts.userns {
        Finding::warning(
            ID,
            "this is a user namespace, from which the host's rules can't be changed: run it outside, or give the namespace rules of its own with --userns",
        )
        .seen_in("/proc/self/ns/user isn't the host's")
    } else if !facts.initial_user_ns {
        Finding::ok(ID, "this is a user namespace, and its own rules are meant")
    } else {
        Finding::ok(ID, "the host's processes and rules can be seen from here")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;

    const HOST: Facts = Facts {
        initial_user_ns: true,
        initial_pid_ns: true,
        userns: false,
        read_only: false,
        mounted: true,
        wsl: false,
    };

    #[test]
    fn what_cant_be_seen_is_said() {
        let container = Facts {
            initial_pid_ns: false,
            ..HOST
        };
        let rootless = Facts {
            initial_user_ns: false,
            ..HOST
        };
        let table = [
            (HOST, Level::Ok, "host's processes"),
            (container, Level::Warning, "--pid=host"),
            (
                Facts {
                    wsl: true,
                    ..container
                },
                Level::Ok,
                "host's",
            ),
            (
                Facts {
                    read_only: true,
                    mounted: false,
                    ..container
                },
                Level::Warning,
                "read-only, and the host's rules don't show",
            ),
            (
                Facts {
                    read_only: true,
                    ..HOST
                },
                Level::Warning,
                "read-only",
            ),
            (rootless, Level::Warning, "--userns"),
            (
                Facts {
                    userns: true,
                    ..rootless
                },
                Level::Ok,
                "user namespace",
            ),
        ];
        for (facts, level, words) in table {
            let finding = judge(facts);
            assert_eq!(finding.level, level, "{facts:?}");
            assert!(finding.what.contains(words), "{finding:?}");
        }
    }
}
