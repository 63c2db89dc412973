//! Rules that are in each other's way, or in the way of native programs, and
//! platforms that are taken for one another.

use super::{Facts, PlatformFacts, is_removable, quoted, removal, with_remedy};
use crate::binfmt::Entry;
use crate::report::{Finding, Owner, table};

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
                .mend(format!("binfmtctl install --replace {}", platform.short())),
                _ => {
                    let foreign: String = behind
                        .iter()
                        .filter(|(entry, owner)| is_removable(entry, *owner))
                        .map(|(entry, _)| format!(" --foreign {}", quoted(&entry.name)))
                        .collect();
                    let finding = Finding::warning(
                        "two-owners",
                        format!(
                            "{name} has two owners: it runs by rule {}, and rule {} lies behind it",
                            first.name, second.name
                        ),
                    );
                    with_remedy(
                        finding,
                        (!foreign.is_empty()).then(|| format!("binfmtctl uninstall{foreign}")),
                    )
                }
            };
            findings.push(finding.seen_in(format!("{seen}, in the kernel's order")));
        }
        findings
    }

    /// Rules that match the host's own programs.
    pub(super) fn native_rules(&self) -> Vec<Finding> {
        self.matching(self.host.target())
            .map(|(entry, owner)| {
                let name = &entry.name;
                let host = self.host.name;
                let finding = match entry.enabled {
                    true => Finding::problem(
                        "native-rule",
                        format!("rule {name} takes {host} programs, this host's own: nothing starts any more"),
                    ),
                    false => Finding::warning(
                        "native-rule",
                        format!("rule {name} would take {host} programs, this host's own: switched on, it would stop every program"),
                    ),
                };
                let finding = finding.seen_in(self.mount.join(name).display().to_string());
                with_remedy(finding, removal(entry, *owner, self.host.name))
            })
            .collect()
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
                Some(with_remedy(finding, removal(entry, *owner, platform.short())))
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
                (wide.runs() && !narrow.runs()).then(|| {
                    Finding::warning(
                        id,
                        format!(
                            "{} runs and {} doesn't, but container engines take one for the other: such containers end with exec format error",
                            wide.platform.name, narrow.platform.name
                        ),
                    )
                    .mend(format!("binfmtctl install {}", narrow.short()))
                })
            })
            .collect()
    }
}
