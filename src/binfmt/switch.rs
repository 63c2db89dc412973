//! Replacing a rule without a gap.
//!
//! The newest rule wins, so a new one goes in under a name that is free, is
//! proved, and only then does an old one go. Killed at any instant, this
//! leaves a rule that was proved.

use super::instance::{Instance, Lock};
use super::rule::{Flags, Pattern, Rule};
use crate::crash::{self, Point};
use crate::ending;
use crate::error::{Error, Result, Status};
use crate::platform::Target;

/// A rule that still needs a name.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it is for.
    pub target: &'static Target,
    /// The emulator's path.
    pub interpreter: String,
    /// How the kernel starts it.
    pub flags: Flags,
    /// What its usual name has before `qemu-`; mostly nothing.
    pub prefix: String,
    /// The name that it has been given already, if any.
    pub given: Option<String>,
}

impl Wanted {
    /// What it matches.
    pub fn pattern(&self) -> Pattern {
        Pattern {
            offset: 0,
            magic: self.target.magic.to_vec(),
            mask: Some(self.target.mask.to_vec()),
        }
    }

    /// The rule under this name.
    pub fn named(&self, name: impl Into<String>) -> Rule {
        Rule {
            name: name.into(),
            pattern: self.pattern(),
            interpreter: self.interpreter.clone(),
            flags: self.flags,
        }
    }

    /// `qemu-<target>`, which scripts and engines look for, or the name that it
    /// was given, unless `taken` says that somebody else has it; then `binfmtctl-<target>`, or that with
    /// a number.
    pub fn name(&self, taken: impl Fn(&str) -> bool) -> String {
        let numbered = (2..).map(|n| format!("{}-{n}", self.other_name()));
        [self.usual_name(), self.other_name()]
            .into_iter()
            .chain(numbered)
            .find(|name| !taken(name))
            .unwrap_or_else(|| self.other_name())
    }

    /// The name that it gets where that is free.
    pub fn usual_name(&self) -> String {
        let usual = || format!("{}qemu-{}", self.prefix, self.target.name);
        self.given.clone().unwrap_or_else(usual)
    }

    fn other_name(&self) -> String {
        format!("{}binfmtctl-{}", self.prefix, self.target.name)
    }

    fn interim_name(&self, n: u32) -> String {
        format!("{}.new{n}", self.other_name())
    }

    /// Whether that is a name that it gets in some case, also for the while in
    /// which another rule is replaced, where a killed run leaves it.
    pub fn may_be_called(&self, name: &str) -> bool {
        let number = |rest: &str| rest.parse::<u32>().is_ok();
        name == self.usual_name()
            || name.strip_prefix(&self.other_name()).is_some_and(|rest| {
                let mark = [".new", "-"]
                    .iter()
                    .find_map(|mark| rest.strip_prefix(mark));
                mark.map_or(rest.is_empty(), number)
            })
    }
}

/// Registers `wanted` and removes the entries called `displaced`, in an order
/// in which the platform runs at every instant. `prove` runs the platform and
/// says whether the wanted emulator did it.
pub fn switch(
    instance: &Instance,
    lock: &Lock,
    wanted: &Wanted,
    displaced: &[String],
    prove: &dyn Fn() -> Result<()>,
) -> Result<Rule> {
    // An interim rule doesn't stay because somebody lost patience.
    let _whole = ending::whole();
    let present: Vec<String> = instance
        .entries()?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let is_present = |name: &str| present.iter().any(|entry| entry == name);
    let is_foreign = |name: &str| is_present(name) && !displaced.iter().any(|d| d == name);
    let rule = wanted.named(wanted.name(is_foreign));

    let register = |rule: &Rule, registered: Point| {
        instance.register(lock, rule)?;
        crash::at(registered);
        prove().map_err(|error| {
            // What was there before comes to light again.
            match instance.remove(lock, &rule.name) {
                Ok(_) => error,
                Err(stuck) => stuck,
            }
        })
    };
    let remove_displaced = || {
        displaced.iter().try_for_each(|name| -> Result<()> {
            instance.remove(lock, name)?;
            crash::at(Point::OldRemoved);
            Ok(())
        })
    };
    if is_present(&rule.name) {
        let interim = (1..100)
            .map(|n| wanted.interim_name(n))
            .find(|name| !is_present(name))
            .ok_or_else(|| {
                Error::new(
                    Status::Failed,
                    format!(
                        "every name for an interim rule of {} is taken",
                        wanted.target.name
                    ),
                )
            })?;
        register(&wanted.named(&interim), Point::RegisteredBeside)?;
        crash::at(Point::ProvedBeside);
        remove_displaced()?;
        register(&rule, Point::Registered)?;
        crash::at(Point::Proved);
        instance.remove(lock, &interim)?;
    } else {
        register(&rule, Point::Registered)?;
        crash::at(Point::Proved);
        remove_displaced()?;
    }
    crash::at(Point::Switched);
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Platform;

    #[test]
    fn a_rule_has_the_usual_name_where_that_is_free() {
        let wanted = Wanted {
            target: Platform::by_emulator("aarch64").unwrap().target(),
            interpreter: "/x".to_owned(),
            flags: Flags::default(),
            prefix: "my-".to_owned(),
            given: None,
        };
        let order = [
            "my-qemu-aarch64",
            "my-binfmtctl-aarch64",
            "my-binfmtctl-aarch64-2",
            "my-binfmtctl-aarch64-3",
        ];
        for (i, name) in order.iter().enumerate() {
            assert_eq!(wanted.name(|name| order[..i].contains(&name)), *name);
            assert!(wanted.may_be_called(name), "{name}");
        }
        assert!(wanted.may_be_called(&wanted.interim_name(7)));
        for other in [
            "qemu-aarch64",
            "my-qemu-aarch64_be",
            "my-binfmtctl-aarch64_be",
            "my-binfmtctl-aarch64-x",
            "my-qemu-aarch64.new1",
        ] {
            assert!(!wanted.may_be_called(other), "{other}");
        }
    }
}
