//! WSL: one table of rules for all distributions, in which WSL's own rules
//! start Windows programs. Those are never touched, only looked at.

use std::path::Path;

use crate::binfmt::Entry;
use crate::binfmt::entry::WSL_INTEROP as INTEROP;
use crate::commands::doctor::words::word;
use crate::host::Kernel;
use crate::report::Finding;

const ID: &str = "wsl";

fn is_wsl(kernel: &Kernel) -> bool {
    kernel.release.to_lowercase().contains("microsoft")
}

/// Whether this process is in a distribution of WSL's, and not in a container
/// on one: WSL puts its init into each.
pub fn is_distribution(kernel: &Kernel) -> bool {
    is_wsl(kernel) && (Path::new("/run/WSL").exists() || Path::new("/init").exists())
}

/// What is special where WSL is; nothing elsewhere.
pub fn check(kernel: &Kernel, entries: &[Entry], mount: &Path) -> Vec<Finding> {
    let mut interop = entries.iter().filter(|entry| entry.is_wsls()).peekable();
    if !is_wsl(kernel) && interop.peek().is_none() {
        return Vec::new();
    }
    let finding = match interop.peek() {
        None if !entries.is_empty() => Finding::warning(
            ID,
            "WSL's own rule is gone, so no Windows program starts in any distribution (unless /etc/wsl.conf says so)",
        )
        .seen_in(format!("{}/{INTEROP} is missing", mount.display()))
        .mend(format!(
            "echo ':{INTEROP}:M::MZ::/init:PF' > {}",
            word(&mount.join("register"))
        )),
        _ => match interop.find(|entry| !entry.enabled) {
            Some(off) => Finding::warning(
                ID,
                format!(
                    "WSL's own rule {} is switched off, so no Windows program starts in any distribution",
                    off.name
                ),
            )
            .seen_in(format!("{}/{}", mount.display(), off.name))
            .mend(format!("echo 1 > {}", word(&mount.join(&off.name)))),
            None => Finding::ok(
                ID,
                "this is WSL: all distributions have the same rules; WSL's own are left alone",
            ),
        },
    };
    vec![finding]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Level;

    fn rule(name: &str, state: &str) -> Entry {
        let text = format!("{state}\ninterpreter /init\nflags: PF\noffset 0\nmagic 4d5a\n");
        Entry::parse(name, &text).unwrap()
    }

    fn judged(release: &str, entries: &[Entry]) -> Option<(Level, Option<String>)> {
        let mount = Path::new("/proc/sys/fs/binfmt_misc");
        let mut findings = check(&Kernel::parse(release), entries, mount);
        findings
            .pop()
            .map(|finding| (finding.level, finding.remedy))
    }

    #[test]
    fn wsls_rules_are_looked_at() {
        const WSL: &str = "5.15.167.4-microsoft-standard-WSL2";
        let on = rule("WSLInterop", "enabled");
        let off = rule("WSLInterop-late", "disabled");
        let other = rule("qemu-arm", "enabled");
        assert_eq!(judged("6.12.0", std::slice::from_ref(&other)), None);
        assert_eq!(
            judged(WSL, std::slice::from_ref(&on)),
            Some((Level::Ok, None))
        );
        assert_eq!(judged(WSL, &[]), Some((Level::Ok, None)));
        assert_eq!(
            judged("6.12.0", &[on, off]),
            Some((
                Level::Warning,
                Some("echo 1 > /proc/sys/fs/binfmt_misc/WSLInterop-late".to_owned())
            ))
        );
        assert_eq!(
            judged(WSL, &[other]),
            Some((
                Level::Warning,
                Some(
                    "echo ':WSLInterop:M::MZ::/init:PF' > /proc/sys/fs/binfmt_misc/register"
                        .to_owned()
                )
            ))
        );
    }
}
