//! Rules that are in each other's way, or in the way of native programs, and
//! platforms that are taken for one another.

use super::{Facts, PlatformFacts, is_removable};
use crate::binfmt::Entry;
use crate::commands::doctor::words::word;
use crate::platform::Platform;
use crate::probe::{Probe, Shape};
use crate::report::{Cause, Finding, Owner, table};

/// Pairs of emulators: where the first's programs run, engines believe that
/// the second's run too; and CPUs that run the first often do.
const COMPANIONS: [(&str, &str, &str); 2] = [
    ("arm64-without-arm", "aarch64", "arm"),
    ("amd64-without-386", "x86_64", "i386"),
];

impl Facts {
    /// More than one rule runs a platform, and they aren't one owner's.
    pub(super) fn owners(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for platform in self.platforms.iter().filter(|p| p.is_emulated()) {
            let rules: Vec<&(Entry, Owner)> = self
                .matching(platform.platform.target())
                .filter(|(entry, _)| entry.enabled)
                .collect();
            let Some(at) = rules.iter().position(|(e, _)| e.name == platform.handler()) else {
                continue;
            };
            let (first, first_owner) = rules[at];
            let behind: Vec<_> = rules[at + 1..]
                .iter()
                .filter(|(_, o)| o != first_owner)
                .collect();
            let Some((second, second_owner)) = behind.first() else {
                continue;
            };
            let name = platform.platform.name;
            let seen = rules
                .iter()
                .map(|(e, o)| format!("{} ({})", e.name, table::owner(*o)))
                .collect::<Vec<_>>()
                .join(", ");
            let finding = match (first_owner, second_owner) {
                (_, Owner::Binfmtctl) => Finding::warning(
                    "shadowed",
                    format!(
                        "{name} runs by rule {}, which isn't ours and is newer than ours",
                        first.name
                    ),
                )
                .mend_if(
                    (platform.is_qemu())
                        .then(|| {
                            self.ctl
                                .change(&format!("install --replace {}", platform.short()))
                        })
                        .flatten(),
                ),
                _ => {
                    let is_needed =
                        |rule: &str| self.platforms.iter().any(|other| self.needs(other, rule));
                    let foreign = behind
                        .iter()
                        .filter(|(entry, owner)| {
                            is_removable(entry, *owner) && !is_needed(&entry.name)
                        })
                        .map(|(entry, _)| entry.name.as_str());
                    Finding::warning(
                        "two-owners",
                        format!(
                            "{name} has two owners: it runs by rule {}, and rule {} lies behind it",
                            first.name, second.name
                        ),
                    )
                    .mend_if(self.ctl.remove_foreign(foreign))
                }
            };
            findings.push(finding.seen_in(format!("{seen}, in the kernel's order")));
        }
        findings
    }

    /// Rules that match the host's own programs, of whatever shape.
    pub fn native_rules(&self) -> Vec<Finding> {
        self.entries
            .iter()
            .filter(|(entry, _)| takes(entry, self.host))
            .map(|(entry, _)| {
                let name = &entry.name;
                let host = self.host.name;
                let finding = match (entry.enabled, self.enabled) {
                    (true, true) => Finding::problem(
                        "native-rule",
                        format!("rule {name} takes {host} programs, this host's own: nothing starts any more"),
                    ),
                    (true, false) => Finding::problem(
                        "native-rule",
                        format!("rule {name} takes {host} programs, this host's own: nothing starts as soon as binfmt_misc as a whole is switched on"),
                    ),
                    (false, _) => Finding::warning(
                        "native-rule",
                        format!("rule {name} would take {host} programs, this host's own: switched on, it would stop every program"),
                    ),
                };
                let file = self.mount.join(name);
                finding
                    .seen_in(file.display().to_string())
                    // A shell does it by itself, even where nothing starts.
                    .mend_if((!entry.is_wsls()).then(|| format!("echo -1 >{}", word(&file))))
            })
            .collect()
    }

    /// The rule that would stop this host, were binfmt_misc switched on.
    pub fn deadly(&self) -> Option<&str> {
        let mut deadly = self.entries.iter().map(|(entry, _)| entry);
        let deadly = deadly.find(|entry| entry.enabled && takes(entry, self.host));
        deadly.map(|entry| entry.name.as_str())
    }

    /// Rules for what the host runs without them.
    pub(super) fn needless(&self) -> Vec<Finding> {
        if let Err(why) = &self.native {
            return self.perhaps_needless(why);
        }
        self.platforms
            .iter()
            .filter(|p| p.is_emulated() && self.is_native(p.platform))
            .filter_map(|platform| {
                let (entry, owner) = self
                    .matching(platform.platform.target())
                    .find(|(entry, _)| entry.name == platform.handler())?;
                let finding = Finding::warning(
                    "native-registered",
                    format!(
                        "{} runs natively here, but rule {} gives it to an emulator, which is many times slower",
                        platform.platform.name, entry.name
                    ),
                )
                .seen_in("its program ran in a namespace without rules");
                Some(finding.mend_if(self.removal(entry, *owner, platform)))
            })
            .collect()
    }

    /// What the CPU may well run by itself, where that can't be tried.
    fn perhaps_needless(&self, why: &str) -> Vec<Finding> {
        COMPANIONS
            .iter()
            .filter(|(_, wide, _)| *wide == self.host.emulator)
            .filter_map(|(_, _, narrow)| self.find(narrow))
            .filter(|narrow| narrow.is_emulated())
            .map(|narrow| {
                let what = format!(
                    "can't tell whether {} would run natively, without rule {}",
                    narrow.platform.name,
                    narrow.handler()
                );
                Finding::warning("native-registered", what).seen_in(why)
            })
            .collect()
    }

    fn find(&self, emulator: &str) -> Option<&PlatformFacts> {
        self.platforms
            .iter()
            .find(|p| p.platform.emulator == emulator)
    }

    /// Platforms that engines take for one another.
    pub(super) fn companions(&self) -> Vec<Finding> {
        COMPANIONS
            .iter()
            .filter_map(|(id, wide, narrow)| {
                let (wide, narrow) = (self.find(wide)?, self.find(narrow)?);
                let fails = !narrow.runs() && narrow.report.cause != Some(Cause::NotPermitted);
                (wide.runs() && fails).then(|| {
                    Finding::warning(
                        id,
                        format!(
                            "{} runs and {} doesn't, but container engines take one for the other: such containers end with exec format error",
                            wide.platform.name, narrow.platform.name
                        ),
                    )
                    .mend_if(self.revival(narrow))
                })
            })
            .collect()
    }

    /// The command after which a platform runs: without the rule that is in
    /// its way, where the CPU needs none; by a rule of ours elsewhere.
    pub(super) fn revival(&self, platform: &PlatformFacts) -> Option<String> {
        let mut rules = self.matching(platform.platform.target());
        let in_the_way = rules.find(|(entry, _)| entry.name == platform.handler());
        let install = format!("install {}", platform.short());
        match in_the_way {
            Some((entry, owner)) if self.is_native(platform.platform) => {
                self.removal(entry, *owner, platform)
            }
            // Whether the CPU needs one isn't known.
            Some(_) if self.native.is_err() && self.is_companion(platform) => None,
            _ if platform.report.cause == Some(Cause::Unmounted) => self.ctl.change_own(&install),
            _ => self.ctl.change(&install),
        }
    }

    /// Whether CPUs like the host's often run it.
    fn is_companion(&self, platform: &PlatformFacts) -> bool {
        COMPANIONS.iter().any(|(_, wide, narrow)| {
            *wide == self.host.emulator && *narrow == platform.platform.emulator
        })
    }
}

/// Whether a rule is for programs of this platform, of whatever shape.
fn takes(entry: &Entry, platform: &'static Platform) -> bool {
    let shapes = || [Shape::Usual].into_iter().chain(Shape::OTHERS);
    platform.targets().any(|target| {
        shapes().any(|shape| {
            let probe = Probe {
                shape,
                ..Probe::of(target)
            };
            entry.matches(&probe.image())
        })
    })
}
