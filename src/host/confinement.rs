//! What keeps this process from what root may do: a missing capability, a
//! seccomp filter, a security module. Containers without --privileged have
//! all three, and each answers with a mere EPERM or EACCES.
//!
//! Told apart by errno and by what /proc says of this process, which is parsed
//! purely; where nothing explains a refusal, nothing is claimed.

use std::fs;
use std::io;

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::error::{Error, Result};

/// Where the profile of a security module is read; the first is AppArmor's own.
const PROFILES: [&str; 2] = [
    "/proc/self/attr/apparmor/current",
    "/proc/self/attr/current",
];

/// What confines this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Capabilities that the step takes and this process lacks.
    pub missing: Vec<Capability>,
    /// Whether system calls go through a seccomp filter.
    pub filtered: bool,
    /// The profile of a security module, unless it confines nothing.
    pub profile: Option<Profile>,
}

/// A security module's name for how this process is confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// AppArmor's, such as `docker-default`.
    AppArmor(String),
    /// SELinux's type, such as `container_t`.
    SeLinux(String),
}

impl Confinement {
    /// Looks at this process, for a step that takes these capabilities.
    pub fn read(needs: &[Capability]) -> Self {
        let has = |capability| caps::has_cap(None, CapSet::Effective, capability);
        let text = |path: &str| fs::read_to_string(path).ok();
        Self {
            // Where the capabilities can't be read, none is said to be missing.
            missing: needs
                .iter()
                .copied()
                .filter(|capability| matches!(has(*capability), Ok(false)))
                .collect(),
            filtered: text("/proc/self/status").is_some_and(|status| is_filtered(&status)),
            // Before an ordinary user stand the modes of files.
            profile: PROFILES
                .iter()
                .filter(|_| geteuid().is_root())
                .filter_map(|path| text(path))
                .find_map(|label| Profile::parse(&label)),
        }
    }

    /// Why the kernel answered with `errno`, and what helps.
    pub fn explain(&self, errno: Errno) -> Option<(String, String)> {
        let refused = matches!(errno, Errno::EPERM | Errno::EACCES);
        if refused && !self.missing.is_empty() {
            let names: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
            let options: Vec<String> = names
                .iter()
                .map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_")))
                .collect();
            // It would be the next in the way.
            let profile = self.profile.as_ref().map(Profile::option);
            let options = options.into_iter().chain(profile.map(str::to_owned));
            return Some((
                format!("this process lacks {}", names.join(", ")),
                format!(
                    "run it as root on the host, or in a container with --privileged, or at least {}",
                    options.collect::<Vec<_>>().join(" ")
                ),
            ));
        }
        let in_container =
            |option: &str| format!("run the container with {option}, or --privileged");
        match (errno, &self.profile) {
            // Capabilities and filters are refused with EPERM.
            (Errno::EACCES, Some(profile)) => {
                Some((profile.forbids(), in_container(profile.option())))
            }
            (Errno::EPERM, _) if self.filtered => Some((
                "a seccomp filter forbids it".to_owned(),
                in_container("--security-opt seccomp=unconfined"),
            )),
            _ => None,
        }
    }

    fn denied(&self, attempt: impl Into<String>, errno: Errno, otherwise: &str) -> Error {
        let cause = io::Error::from(errno);
        match self.explain(errno) {
            Some((why, hint)) => {
                let text = format!("{cause}: {why}");
                Error::io(attempt, cause).because(text).hint(hint)
            }
            None => Error::io(attempt, cause).hint(otherwise),
        }
    }
}

/// The error of a step that takes these capabilities, with what stands in its
/// way; `otherwise` is the advice where that isn't known.
pub fn denied(
    attempt: impl Into<String>,
    errno: Errno,
    needs: &[Capability],
    otherwise: &str,
) -> Error {
    Confinement::read(needs).denied(attempt, errno, otherwise)
}

/// Refuses a step that takes these capabilities where one is missing.
pub fn require(attempt: impl Into<String>, needs: &[Capability]) -> Result<()> {
    let confinement = Confinement::read(needs);
    match confinement.missing.is_empty() {
        true => Ok(()),
        false => Err(confinement.denied(attempt, Errno::EPERM, "")),
    }
}

/// Whether /proc/PID/status tells of a filter (`SECCOMP_MODE_FILTER`).
pub(super) fn is_filtered(status: &str) -> bool {
    status
        .lines()
        .filter_map(|line| line.strip_prefix("Seccomp:"))
        .any(|mode| mode.trim() == "2")
}

impl Profile {
    /// Reads a label; `None` for one that confines nothing.
    pub(super) fn parse(label: &str) -> Option<Self> {
        let label = label.trim_end_matches(['\0', '\n']);
        // A profile in complain mode forbids nothing.
        if let Some(name) = label.strip_suffix(" (enforce)") {
            return Some(Self::AppArmor(name.to_owned()));
        }
        // user:role:type:level
        let mut parts = label.split(':');
        let kind = parts.nth(2)?;
        let free = ["unconfined_t", "spc_t", "kernel_t"].contains(&kind);
        (!free).then(|| Self::SeLinux(kind.to_owned()))
    }

    /// That this is what stands in the way.
    fn forbids(&self) -> String {
        match self {
            Self::AppArmor(name) => format!("AppArmor's profile {name} forbids it"),
            Self::SeLinux(name) => format!("SELinux forbids it to {name}"),
        }
    }

    /// The engines' option that takes it away.
    fn option(&self) -> &'static str {
        match self {
            Self::AppArmor(_) => "--security-opt apparmor=unconfined",
            Self::SeLinux(_) => "--security-opt label=disable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn explained(confinement: &Confinement, errno: Errno) -> String {
        let explained = confinement.explain(errno);
        explained.map_or_else(String::new, |(why, hint)| format!("{why}; {hint}"))
    }

    #[test]
    fn each_obstacle_is_named_with_the_option_that_takes_it_away() {
        let free = Confinement::default();
        let lacking = Confinement {
            missing: vec![Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE],
            filtered: true,
            ..free.clone()
        };
        let filtered = Confinement {
            filtered: true,
            profile: Some(Profile::AppArmor("docker-default".to_owned())),
            ..free.clone()
        };
        let all = Confinement {
            profile: filtered.profile.clone(),
            ..lacking.clone()
        };
        let labelled = Confinement {
            profile: Some(Profile::SeLinux("container_t".to_owned())),
            ..filtered.clone()
        };
        let table = [
            (
                &lacking,
                Errno::EPERM,
                "lacks CAP_SYS_ADMIN, CAP_SYS_PTRACE",
                "--cap-add SYS_ADMIN --cap-add SYS_PTRACE",
            ),
            (
                &all,
                Errno::EPERM,
                "lacks CAP_SYS_ADMIN",
                "--cap-add SYS_PTRACE --security-opt apparmor=unconfined",
            ),
            (
                &filtered,
                Errno::EPERM,
                "seccomp filter",
                "seccomp=unconfined",
            ),
            (
                &filtered,
                Errno::EACCES,
                "docker-default",
                "apparmor=unconfined",
            ),
            (&labelled, Errno::EACCES, "container_t", "label=disable"),
        ];
        for (confinement, errno, why, hint) in table {
            let text = explained(confinement, errno);
            assert!(text.contains(why) && text.contains(hint), "{text}");
        }
        assert_eq!(explained(&free, Errno::EPERM), "");
        assert_eq!(explained(&lacking, Errno::EROFS), "");
    }

    #[test]
    fn labels_that_confine_nothing_are_none() {
        let table = [
            ("unconfined\n", None),
            (
                "docker-default (enforce)\n",
                Some(Profile::AppArmor("docker-default".to_owned())),
            ),
            ("firefox (complain)\n", None),
            (
                "system_u:system_r:container_t:s0:c1,c2\0",
                Some(Profile::SeLinux("container_t".to_owned())),
            ),
            (
                "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\0",
                None,
            ),
            ("system_u:system_r:spc_t:s0\0", None),
            ("", None),
        ];
        for (label, profile) in table {
            assert_eq!(Profile::parse(label), profile, "{label}");
        }
    }

    #[test]
    fn a_filter_is_told_from_none() {
        assert!(is_filtered("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t2\n"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(status: String, label: String) {
            is_filtered(&status);
            Profile::parse(&label);
        }
    }
}
