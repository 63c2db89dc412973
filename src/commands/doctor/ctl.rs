//! The commands of this program that doctor names: with the options that it
//! was itself given, so that they work on the same files and rules, and only
//! where they wouldn't be refused.

use std::path::Path;

use super::words::{option, word};
use crate::binfmt::boot::CONF;
use crate::binfmt::instance::DEFAULT_MOUNT;
use crate::commands::Context;
use crate::emulator::store::DEFAULT_PREFIX;
use crate::report::survey::Survey;

/// Whose rules this program could change from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The host's.
    Host,
    /// Those of this user namespace.
    Namespace,
    /// Nobody's yet: this user namespace could have rules of its own, which
    /// would hide the host's.
    Nobody,
}

/// Builds commands.
#[derive(Debug, Clone)]
pub struct Ctl {
    reach: Reach,
    /// Whether a user namespace can have rules of its own.
    has_instances: bool,
    /// Whether this is root already.
    root: bool,
    userns: bool,
    from_container: bool,
    mount: String,
    prefix: String,
    conf: String,
}

impl Ctl {
    /// The commands for where this run looks.
    pub fn new(context: &Context, survey: &Survey<'_>) -> Self {
        let host = &context.host;
        let owns = || {
            let instance = survey.instance.as_ref();
            instance.is_some_and(|instance| instance.open_register().is_ok())
        };
        let reach = match host.initial_user_ns {
            true => Reach::Host,
            false if !host.kernel.has_instances() => Reach::Nobody,
            false if context.userns => Reach::Namespace,
            false if survey.host_report().instance == "userns" && owns() => Reach::Namespace,
            false => Reach::Nobody,
        };
        let given = |name: &str, value: &Path, usual: &str| match value == Path::new(usual) {
            true => String::new(),
            false => option(name, &value.to_string_lossy()),
        };
        Self {
            reach,
            has_instances: host.kernel.has_instances(),
            root: nix::unistd::geteuid().is_root(),
            userns: context.userns || reach == Reach::Namespace,
            from_container: context.from_container,
            mount: given("--mount", &context.mount, DEFAULT_MOUNT),
            prefix: given("--prefix", context.store.prefix(), DEFAULT_PREFIX),
            conf: given("--conf", &context.conf, CONF),
        }
    }

    /// A command that changes rules; `None` where it would be refused.
    pub fn change(&self, words: &str) -> Option<String> {
        (self.reach != Reach::Nobody).then(|| self.line(words))
    }

    /// The same where the user namespace has, or had, rules of its own
    /// already, so that nothing more is hidden.
    pub fn change_own(&self, words: &str) -> Option<String> {
        if self.reach == Reach::Nobody && self.has_instances {
            let own = Self {
                userns: true,
                ..self.clone()
            };
            return Some(own.line(words));
        }
        self.change(words)
    }

    /// The same with another conf file.
    pub fn change_with_conf(&self, words: &str, conf: &str) -> Option<String> {
        let conf = option("--conf", conf);
        let other = Self {
            conf,
            ..self.clone()
        };
        other.change(words)
    }

    /// The same with another place for emulators.
    pub fn change_with_prefix(&self, words: &str, prefix: &str) -> Option<String> {
        let prefix = option("--prefix", prefix);
        let other = Self {
            prefix,
            ..self.clone()
        };
        other.change(words)
    }

    /// Takes somebody else's rules away.
    pub fn remove_foreign<'a>(&self, names: impl Iterator<Item = &'a str>) -> Option<String> {
        let options: String = names.map(|name| option("--foreign", name)).collect();
        match options.is_empty() {
            true => None,
            false => self.change(&format!("uninstall{options}")),
        }
    }

    /// Asks again with root's rights; `None` for whoever has them.
    pub fn as_root(&self) -> Option<String> {
        (!self.root).then(|| format!("sudo {}", self.line("doctor")))
    }

    /// Mounts an instance for good; `None` in a user namespace, whose own one
    /// would hide the host's rules as long as the namespace lives.
    pub fn mount(&self, place: &Path) -> Option<String> {
        match self.reach {
            Reach::Host => Some(format!("mount -t binfmt_misc binfmt_misc {}", word(place))),
            Reach::Namespace | Reach::Nobody => None,
        }
    }

    /// Whether this is outside of all user namespaces but the first.
    pub fn is_outside(&self) -> bool {
        self.reach == Reach::Host
    }

    fn line(&self, words: &str) -> String {
        let host = if self.from_container { " --host" } else { "" };
        let userns = if self.userns { " --userns" } else { "" };
        let Self {
            mount,
            prefix,
            conf,
            ..
        } = self;
        format!("binfmtctl {words}{host}{userns}{mount}{prefix}{conf}")
    }
}

#[cfg(test)]
impl Ctl {
    /// Without any options, on the host, by an ordinary user.
    pub fn plain() -> Self {
        Self {
            reach: Reach::Host,
            has_instances: true,
            root: false,
            userns: false,
            from_container: false,
            mount: String::new(),
            prefix: String::new(),
            conf: String::new(),
        }
    }

    /// In a user namespace that has no rules of its own, as its root.
    pub fn inside() -> Self {
        Self {
            reach: Reach::Nobody,
            root: true,
            ..Self::plain()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_that_were_given_are_repeated() {
        let ctl = Ctl {
            userns: true,
            prefix: option("--prefix", "/a b"),
            conf: option("--conf", "/c"),
            ..Ctl::plain()
        };
        let table = [
            (
                ctl.change("install arm"),
                "binfmtctl install arm --userns --prefix '/a b' --conf /c",
            ),
            (
                ctl.change_with_conf("install", "/d"),
                "binfmtctl install --userns --prefix '/a b' --conf /d",
            ),
            (
                ctl.change_with_prefix("install", "/p"),
                "binfmtctl install --userns --prefix /p --conf /c",
            ),
            (
                ctl.as_root(),
                "sudo binfmtctl doctor --userns --prefix '/a b' --conf /c",
            ),
        ];
        for (command, expected) in table {
            assert_eq!(command.as_deref(), Some(expected));
        }
    }

    #[test]
    fn from_a_container_they_lead_to_the_host_again() {
        let ctl = Ctl {
            from_container: true,
            ..Ctl::plain()
        };
        assert_eq!(
            ctl.change("install arm").as_deref(),
            Some("binfmtctl install arm --host")
        );
    }

    #[test]
    fn a_name_that_looks_like_an_option_is_none() {
        let names = ["-x", "it's", "plain"];
        assert_eq!(
            Ctl::plain().remove_foreign(names.into_iter()).as_deref(),
            Some(r"binfmtctl uninstall --foreign=-x --foreign 'it'\''s' --foreign plain")
        );
        assert_eq!(Ctl::plain().remove_foreign([].into_iter()), None);
    }

    #[test]
    fn what_would_be_refused_is_never_named() {
        let inside = Ctl::inside();
        assert_eq!(inside.change("install arm"), None);
        assert_eq!(
            inside.change_own("install arm").as_deref(),
            Some("binfmtctl install arm --userns")
        );
        assert_eq!(inside.mount(Path::new("/m")), None);
        assert_eq!(inside.as_root(), None);
        let old = Ctl {
            has_instances: false,
            ..inside
        };
        assert_eq!(old.change_own("install arm"), None);
    }
}
