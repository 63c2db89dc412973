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
    }
}

fn judge(switches: Switches, kernel: &Kernel) -> Finding {
    // Somebody closed them for a reason: nothing here opens them again.
    let closed =
        |what: &str, name: &str, value: u64| Finding::ok(ID, format!("{what} ({name} = {value})"));
    match switches {
        Switches { max: Some(0), .. } => closed(
            "nobody can make user namespaces here, so `install` can't rehearse, and ordinary users' `status` can try no program",
            "user.max_user_namespaces",
            0,
        ),
        Switches { clone: Some(0), .. } => closed(
            "only root can make user namespaces here, so ordinary users' `status` can try no program",
            "kernel.unprivileged_userns_clone",
            0,
        ),
        Switches {
            apparmor: Some(value @ 1..),
            ..
        } => closed(
            "AppArmor lets ordinary users do nothing in user namespaces, so their `status` can try no program",
            "kernel.apparmor_restrict_unprivileged_userns",
            value,
        ),
        Switches { max: None, .. } => Finding::ok(
            ID,
            "this kernel has no user namespaces; root doesn't need them",
        ),
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
    fn a_switch_that_closes_them_is_named_and_left_as_it_is() {
        let open = Switches {
            max: Some(9),
            clone: Some(1),
            apparmor: Some(0),
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
                Some("(user.max_user_namespaces = 0)"),
            ),
            (
                Switches {
                    clone: Some(0),
                    ..open
                },
                Some("(kernel.unprivileged_userns_clone = 0)"),
            ),
            (
                Switches {
                    apparmor: Some(1),
                    ..open
                },
                Some("(kernel.apparmor_restrict_unprivileged_userns = 1)"),
            ),
        ];
        for (switches, named) in table {
            let finding = judge(switches, &new);
            assert_eq!((finding.level, finding.remedy), (Level::Ok, None));
            assert!(finding.what.ends_with(named.unwrap_or("")), "{switches:?}");
            assert_eq!(finding.what.contains(" = "), named.is_some());
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
