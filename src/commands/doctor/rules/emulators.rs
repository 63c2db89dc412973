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
                    .mend(format!("binfmtctl install {replace}{}", platform.short()))
            })
            .collect()
    }

    /// Programs that lose their `argv[0]`.
    pub(super) fn arguments(&self) -> Vec<Finding> {
        let loses = |p: &&PlatformFacts| {
            let flags = p.report.flags.as_deref();
            p.is_emulated() && flags.is_some_and(|flags| !flags.contains('P'))
        };
        let platforms: Vec<_> = self.platforms.iter().filter(loses).collect();
        if !self.announces_argv0 || platforms.is_empty() {
            return Vec::new();
        }
        let rules: Vec<&str> = platforms.iter().map(|p| p.handler()).collect();
        let finding = Finding::warning(
            "argv0",
            format!(
                "rules without flag P: programs of {} see their path in place of their argv[0]",
                names(platforms.iter().copied())
            ),
        )
        .seen_in(rules.join(", "))
        .mend(format!(
            "binfmtctl install --replace {}",
            words(platforms.iter().copied())
        ));
        vec![finding]
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
        let rules: Vec<String> = with_c
            .iter()
            .map(|p| {
                let owner = p.report.owner.map_or("unknown", table::owner);
                format!("{} ({owner})", p.handler())
            })
            .collect();
        let replace = match with_c
            .iter()
            .all(|p| p.report.owner == Some(Owner::Binfmtctl))
        {
            true => "",
            false => "--replace ",
        };
        let finding = Finding::warning(
            ID,
            format!(
                "flag C: set-user-id programs of {} run the emulator as root, which obeys the QEMU_* variables of whoever started it",
                names(with_c.iter().copied())
            ),
        )
        .seen_in(rules.join(", "))
        .mend(format!(
            "binfmtctl install {replace}{}",
            words(with_c.iter().copied())
        ));
        vec![finding]
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
                .mend(format!("binfmtctl install --replace {}", platform.short()));
                findings.push(finding);
            }
        }
        findings
    }
}
