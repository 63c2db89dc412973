//! Emulators that run, but not as people think.

use super::{Facts, PlatformFacts, names, qemu, words};
use crate::report::{Compared, Finding, Owner, Pinned, table};

impl Facts {
    /// The kernel runs other bytes than those at the rule's path.
    pub(super) fn stale(&self) -> Vec<Finding> {
        let is_stale = |p: &&PlatformFacts| p.report.pinned == Some(Pinned::Stale);
        self.platforms
            .iter()
            .filter(|p| p.is_emulated())
            .filter(is_stale)
            .map(|platform| {
                let report = &platform.report;
                let (rule, name) = (platform.handler(), platform.platform.name);
                let interpreter = report.interpreter.as_deref().unwrap_or_default();
                let bytes = report.bytes.as_ref();
                let is_promised = bytes.is_none_or(|b| b.store != Some(Compared::Other));
                let gone = bytes.is_some_and(|b| b.file == Compared::Missing);
                if is_promised && !self.sees_files {
                    return Finding::ok(
                        "stale",
                        format!("{name} runs by rule {rule}, whose file {interpreter} can't be seen from here: paths mean something else on the host"),
                    );
                }
                let sha256 = report.sha256.as_deref().unwrap_or_default();
                let finding = match (is_promised, gone) {
                    (false, _) => Finding::problem(
                        "stale",
                        format!("{name}: rule {rule} runs bytes that its path in our store doesn't stand for"),
                    ),
                    (true, true) => Finding::warning(
                        "stale",
                        format!("{name} runs on a file that is gone, so that it can't be registered again: rule {rule}, {interpreter}"),
                    ),
                    (true, false) => Finding::warning(
                        "stale",
                        format!("{name} still runs on the bytes that {interpreter} had when rule {rule} was registered; the file was replaced since"),
                    ),
                };
                let replace = match report.owner {
                    Some(Owner::Binfmtctl) => "",
                    _ => "--replace ",
                };
                finding
                    .seen_in(format!("the running bytes have sha256 {sha256}"))
                    .mend_if(self.ctl.change(&format!("install {replace}{}", platform.short())))
            })
            .collect()
    }

    /// Programs that lose their `argv[0]`.
    pub(super) fn arguments(&self) -> Vec<Finding> {
        let loses = |p: &&PlatformFacts| {
            let flags = p.report.flags.as_deref();
            p.is_emulated() && flags.is_some_and(|flags| !flags.contains('P'))
        };
        let platforms = self.platforms.iter().filter(loses);
        if !self.announces_argv0 {
            return Vec::new();
        }
        by_kind(platforms)
            .map(|(platforms, is_qemu)| {
                let rules: Vec<&str> = platforms.iter().map(|p| p.handler()).collect();
                let names = names(platforms.iter().copied());
                let words = words(platforms.iter().copied());
                let replace = || self.ctl.change(&format!("install --replace {words}"));
                Finding::warning(
                    "argv0",
                    format!(
                        "rules without flag P: programs of {names} see their path in place of their argv[0]"
                    ),
                )
                .seen_in(rules.join(", "))
                .mend_if(is_qemu.then(replace).flatten())
            })
            .collect()
    }

    /// Set-user-id programs: possible and dangerous, or neither.
    pub(super) fn credentials(&self) -> Vec<Finding> {
        const ID: &str = "credentials";
        let emulated = || self.platforms.iter().filter(|p| p.is_emulated());
        let with_c: Vec<_> = emulated()
            .filter(|p| {
                p.report
                    .flags
                    .as_deref()
                    .is_some_and(|flags| flags.contains('C'))
            })
            .collect();
        if emulated().next().is_none() {
            return Vec::new();
        }
        if with_c.is_empty() {
            let text = "no rule has flag C: sudo inside emulated containers doesn't work, and no user can run an emulator as root (`binfmtctl install --credentials` changes both)";
            return vec![Finding::ok(ID, text)];
        }
        by_kind(with_c.into_iter())
            .map(|(platforms, is_qemu)| self.with_credentials(&platforms, is_qemu))
            .collect()
    }

    fn with_credentials(&self, platforms: &[&PlatformFacts], is_qemu: bool) -> Finding {
        let rules: Vec<String> = platforms
            .iter()
            .map(|p| {
                let owner = p.report.owner.map_or("unknown", table::owner);
                format!("{} ({owner})", p.handler())
            })
            .collect();
        let is_ours = |p: &&PlatformFacts| p.report.owner == Some(Owner::Binfmtctl);
        let replace = match platforms.iter().all(is_ours) {
            true => "",
            false => "--replace ",
        };
        let words = words(platforms.iter().copied());
        let install = || self.ctl.change(&format!("install {replace}{words}"));
        Finding::warning(
            "credentials",
            format!(
                "flag C: set-user-id programs of {} run the emulator as root, which obeys the QEMU_* variables of whoever started it",
                names(platforms.iter().copied())
            ),
        )
        .seen_in(rules.join(", "))
        .mend_if(is_qemu.then(install).flatten())
    }

    /// Versions of QEMU with known defects.
    pub(super) fn defects(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for platform in self.platforms.iter().filter(|p| p.is_emulated()) {
            let Some(version) = &platform.report.qemu else {
                continue;
            };
            for what in qemu::defects(version, platform.platform.emulator, platform.is_pie) {
                let finding = Finding::warning(
                    "qemu-version",
                    format!("{} runs on QEMU {version}: {what}", platform.platform.name),
                )
                .seen_in(format!("the running bytes of rule {}", platform.handler()))
                .mend_if(
                    self.ctl
                        .change(&format!("install --replace {}", platform.short())),
                );
                findings.push(finding);
            }
        }
        findings
    }
}

/// Platforms that QEMU runs, with `true`, and those that something else does.
fn by_kind<'a>(
    platforms: impl Iterator<Item = &'a PlatformFacts>,
) -> impl Iterator<Item = (Vec<&'a PlatformFacts>, bool)> {
    let (qemu, others): (Vec<_>, Vec<_>) = platforms.partition(|p| p.is_qemu());
    let groups = [(qemu, true), (others, false)];
    groups.into_iter().filter(|(group, _)| !group.is_empty())
}
