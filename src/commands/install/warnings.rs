//! What a successful install has to say all the same: what doesn't last, and
//! what engines will misunderstand.

use super::{Run, arm_is_missing};
use crate::host::Init;
use crate::report::survey::Survey;
use crate::report::{Document, HostReport, Owner};

impl Run<'_> {
    /// Says plainly what people wouldn't expect. `outlived` says that this run
    /// has found out that its rules outlive the mount that it made.
    pub(super) fn warn(&self, survey: &Survey<'_>, document: &Document, outlived: bool) {
        let note = |text: &str| self.context.console.note(text);
        let (Some(host), Some(platforms)) = (&document.host, &document.platforms) else {
            return;
        };
        let mut ours = platforms
            .iter()
            .filter(|p| p.owner == Some(Owner::Binfmtctl))
            .peekable();
        if ours.peek().is_some() {
            if let Some(text) = lifetime(host, outlived) {
                note(text);
            }
            let returns = ours.all(|p| p.persistent == Some(true));
            if host.instance == "host" && !self.args.no_persist && !returns {
                note(&self.after_boot());
            }
        }
        if arm_is_missing(survey) {
            note(
                "warning: linux/arm64 runs and linux/arm doesn't, but container engines take one for the other; `binfmtctl install arm` mends it",
            );
        }
    }

    /// Why the rules don't come back.
    fn after_boot(&self) -> String {
        let host = &self.context.host;
        let conf = self.context.conf.display();
        let entering = match self.context.from_container {
            true => " --host",
            false => "",
        };
        match &host.init {
            _ if !host.sees_boot() => format!(
                "warning: a container can't see what the host does at boot: these rules come back only if {} and {conf} are the host's, as with --host in a container started with `--privileged --pid=host`",
                self.context.store.prefix().display()
            ),
            Init::Systemd => format!(
                "warning: not all of these rules come back at boot; `binfmtctl doctor{entering}` says why"
            ),
            init => format!(
                "warning: nothing on this host applies {conf} at boot (init system: {init}); after a reboot run `binfmtctl install{entering}` again"
            ),
        }
    }
}

/// How long the rules live, where that isn't until they are removed.
fn lifetime(host: &HostReport, outlived: bool) -> Option<&'static str> {
    match (host.instance, host.held) {
        ("userns", _) => Some("these rules are this user namespace's own, and go when it goes"),
        (_, Some(true)) => None,
        (_, Some(false)) => Some(
            "warning: PID 1 doesn't have binfmt_misc mounted, so these rules go when this mount goes",
        ),
        (_, None) if outlived => Some(
            "the host's PID 1 can't be seen from here, but it was made sure that rules outlive this container",
        ),
        (_, None) => Some(
            "warning: can't see whether the host's PID 1 has binfmt_misc mounted; if it hasn't, these rules go when this mount goes",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(instance: &'static str, held: Option<bool>, outlived: bool) -> Option<&'static str> {
        let host = HostReport {
            platform: "linux/amd64",
            kernel: "6.12.0".to_owned(),
            init: "systemd".to_owned(),
            instance,
            mounted: true,
            enabled: true,
            held,
        };
        lifetime(&host, outlived)
    }

    #[test]
    fn only_what_pid_1_holds_needs_no_words() {
        assert_eq!(told("host", Some(true), false), None);
        for (instance, held, outlived, words) in [
            ("host", Some(false), true, "PID 1 doesn't have"),
            ("host", None, false, "can't see whether"),
            ("host", None, true, "outlive this container"),
            ("userns", Some(false), false, "user namespace's own"),
        ] {
            let text = told(instance, held, outlived).unwrap_or_default();
            assert!(text.contains(words), "{text}");
        }
    }
}
