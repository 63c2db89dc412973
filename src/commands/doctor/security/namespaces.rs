//! User namespaces: whether people without rights can try programs, and have
//! rules of their own.

use std::fs;
use std::path::Path;

use crate::host::Kernel;
use crate::report::Finding;

const ID: &str = "user-namespaces";

/// The switches that close them, as numbers; `None` where there is none.
#[derive(Debug, Clone, Copy, Default)]
struct Switches {
    /// user.max_user_namespaces.
    max: Option<u64>,
    /// kernel.unprivileged_userns_clone, Debian's.
    clone: Option<u64>,
    /// kernel.apparmor_restrict_unprivileged_userns, Ubuntu's.
    apparmor: Option<u64>,
    /// kernel.threads-max.
    threads: Option<u64>,
}

/// Whether user namespaces can be made here.
pub fn check(kernel: &Kernel) -> Vec<Finding> {
    vec![judge(read(Path::new("/proc/sys")), kernel)]
}

fn read(sysctls: &Path) -> Switches {
    let number = |file: &str| {
        let text = fs::read_to_string(sysctls.join(file)).ok()?;
        text.trim().parse().ok()
    };
    Switches {
        max: number("user/max_user_namespaces"),
        clone: number("kernel/unprivileged_userns_clone"),
        apparmor: number("kernel/apparmor_restrict_unprivileged_userns"),
        threads: number("kernel/threads-max"),
    }
}

fn judge(switches: Switches, kernel: &Kernel) -> Finding {
    let closed = |what: &str, name: &str, value: u64, good: u64| {
        Finding::warning(ID, what)
            .seen_in(format!("{name} = {value}"))
            .mend(format!("sysctl -w {name}={good}"))
    };
    match switches {
        Switches { max: Some(0), .. } => {
            // The kernel's own default is half of the threads.
            let good = switches.threads.map_or(4096, |threads| threads / 2).max(1);
            closed(
                "nobody can make user namespaces: `install` can't rehearse, and ordinary users' `status` can try no program",
                "user.max_user_namespaces",
                0,
                good,
            )
        }
        Switches { clone: Some(0), .. } => closed(
            "only root can make user namespaces: ordinary users' `status` can try no program",
            "kernel.unprivileged_userns_clone",
            0,
            1,
        ),
        Switches {
            apparmor: Some(value @ 1..),
            ..
        } => closed(
            "AppArmor lets ordinary users do nothing in user namespaces: their `status` can try no program",
            "kernel.apparmor_restrict_unprivileged_userns",
            value,
            0,
        ),
        Switches { max: None, .. } => Finding::ok(
            ID,
            "this kernel has no user namespaces; root doesn't need them",
        )
        .seen_in("/proc/sys/user/max_user_namespaces is missing"),
        _ if !kernel.has_instances() => Finding::ok(
            ID,
            format!(
                "user namespaces can be made; rules of their own take Linux 6.7 (this is {kernel})"
            ),
        ),
        _ => Finding::ok(
            ID,
            "user namespaces can be made, and have rules of their own with --userns",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;

    #[test]
    fn each_switch_that_closes_them_is_named_with_the_command_that_opens_them() {
        let open = Switches {
            max: Some(9),
            clone: Some(1),
            apparmor: Some(0),
            threads: Some(1000),
        };
        let new = Kernel::parse("6.12.0");
        let table = [
            (open, None),
            (
                Switches {
                    clone: None,
                    apparmor: None,
                    ..open
                },
                None,
            ),
            (Switches::default(), None),
            (
                Switches {
                    max: Some(0),
                    ..open
                },
                Some("sysctl -w user.max_user_namespaces=500"),
            ),
            (
                Switches {
                    clone: Some(0),
                    ..open
                },
                Some("sysctl -w kernel.unprivileged_userns_clone=1"),
            ),
            (
                Switches {
                    apparmor: Some(1),
                    ..open
                },
                Some("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
            ),
        ];
        for (switches, remedy) in table {
            let finding = judge(switches, &new);
            assert_eq!(finding.remedy.as_deref(), remedy, "{switches:?}");
            assert_eq!(finding.level == Level::Warning, remedy.is_some());
        }
        let old = judge(open, &Kernel::parse("6.1.0"));
        assert!(old.level == Level::Ok && old.what.contains("6.7"));
    }

    #[test]
    fn what_isnt_a_number_is_no_switch() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("user")).unwrap();
        let file = dir.path().join("user/max_user_namespaces");
        fs::write(&file, "0\n").unwrap();
        assert_eq!(read(dir.path()).max, Some(0));
        fs::write(&file, "many\n").unwrap();
        assert_eq!(read(dir.path()).max, None);
    }
}
