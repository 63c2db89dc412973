//! What a successful install has to say all the same: what doesn't last, and
//! what engines will misunderstand.

use std::path::Path;

use super::{Run, arm_is_missing};
use crate::binfmt::Lifetime;
use crate::binfmt::boot::{Boot, CONF};
use crate::host::{Init, program};
use crate::report::survey::Survey;
use crate::report::{Document, HostReport, Owner};

impl Run<'_> {
    /// Says plainly what people wouldn't expect.
    pub(super) fn warn(&self, survey: &Survey<'_>, document: &Document) {
        let note = |text: &str| self.context.console.note(text);
        let (Some(host), Some(platforms)) = (&document.host, &document.platforms) else {
            return;
        };
        let mut ours = platforms
            .iter()
            .filter(|p| p.owner == Some(Owner::Binfmtctl))
            .peekable();
        if ours.peek().is_some() {
            if let Some(text) = lifetime(host, self.context.lifetime.get().copied()) {
                note(text);
            }
            let returns = ours.all(|p| p.persistent == Some(true));
            if host.instance == "host" && !self.args.no_persist && !returns {
                note(&self.after_boot());
            }
        }
        if let Some(settings) = self.unaware() {
            note(&format!(
                "warning: the service that applies {} at boot looks for the store at its usual place; write BINFMTCTL_PREFIX={} into {settings}",
                self.context.conf.display(),
                self.context.store.prefix().display()
            ));
        }
        if arm_is_missing(survey) {
            note(
                "warning: linux/arm64 runs and linux/arm doesn't, but container engines take one for the other; `binfmtctl install arm` mends it",
            );
        }
    }

    /// Where a service that applies the file is to be told of the store, if
    /// that isn't where it looks.
    fn unaware(&self) -> Option<&'static str> {
        let context = self.context;
        let is_elsewhere = context.conf == Path::new(CONF) && !context.has_usual_places();
        if !is_elsewhere || !context.host.sees_boot() || self.args.no_persist {
            return None;
        }
        let boot = Boot::read(Path::new("/"), &context.host.init, &context.conf);
        boot.program?;
        match context.host.init {
            Init::Systemd => boot.own.starts().then_some("/etc/default/binfmtctl"),
            _ => boot.openrc.map(|_| "/etc/conf.d/binfmtctl (with export)"),
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
            Init::OpenRc => {
                let what = format!("warning: nothing on this host applies {conf} at boot");
                match program::lasting() {
                    Err(why) if self.context.has_usual_places() => format!(
                        "{what}: {why}; run `binfmtctl install` from /usr/local/bin, and it sets that up"
                    ),
                    _ => format!("{what}; `binfmtctl doctor{entering}` says what can"),
                }
            }
            init => format!(
                "warning: nothing on this host applies {conf} at boot (init system: {init}); after a reboot run `binfmtctl install{entering}` again, or have it run `binfmtctl apply`"
            ),
        }
    }
}

/// How long the rules live, where that isn't until they are removed; only what
/// is known, or has been tried.
pub(in crate::commands) fn lifetime(
    host: &HostReport,
    tried: Option<Lifetime>,
) -> Option<&'static str> {
    match (host.instance, host.held, tried) {
        ("userns", ..) => Some("these rules are this user namespace's own, and go when it goes"),
        (_, Some(true), _) | (_, _, Some(Lifetime::Kernel)) => None,
        (_, Some(false), _) => Some(
            "warning: PID 1 doesn't have binfmt_misc mounted, so these rules go when this mount goes",
        ),
        (_, None, Some(Lifetime::Elsewhere)) => Some(
            "the host's PID 1 can't be seen from here; something outside this container keeps binfmt_misc, and these rules last as long as it does",
        ),
        (_, None, _) => Some(
            "warning: can't see whether the host's PID 1 has binfmt_misc mounted; if it hasn't, these rules go when this mount goes",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        instance: &'static str,
        held: Option<bool>,
        tried: Option<Lifetime>,
    ) -> Option<&'static str> {
        let host = HostReport {
            platform: "linux/amd64",
            kernel: "6.12.0".to_owned(),
            init: "systemd".to_owned(),
            instance,
            mounted: true,
            enabled: true,
            held,
        };
        lifetime(&host, tried)
    }

    #[test]
    fn only_what_is_sure_to_stay_needs_no_words() {
        assert_eq!(told("host", Some(true), None), None);
        assert_eq!(told("host", None, Some(Lifetime::Kernel)), None);
        let elsewhere = Some(Lifetime::Elsewhere);
        for (instance, held, tried, words) in [
            ("host", Some(false), elsewhere, "PID 1 doesn't have"),
            ("host", None, None, "can't see whether"),
            ("host", None, elsewhere, "as long as it does"),
            ("userns", Some(false), None, "user namespace's own"),
        ] {
            let text = told(instance, held, tried).unwrap_or_default();
            assert!(text.contains(words), "{text}");
        }
    }
}
