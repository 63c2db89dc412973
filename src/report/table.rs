//! The document as a person reads it: the summary first (what runs, what
//! doesn't, why, what to do), then a line a platform.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::details;
use super::plain::visible;
use super::{Action, Cause, Document, Finding, HostReport, Level, Owner, PlatformReport, Runs};
use crate::host::Kernel;

const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const BOLD: Style = Style::new().bold();
/// Hosts, and what their CPUs often run besides.
const COMPANIONS: [(&str, &str); 2] = [("linux/amd64", "linux/386"), ("linux/arm64", "linux/arm")];
const DIM: Style = Style::new().dimmed();

/// Renders the document, with ANSI styles for whoever wants them.
pub fn render(document: &Document) -> String {
    if let Some(findings) = &document.findings {
        return checklist(findings);
    }
    match (&document.host, &document.platforms) {
        (Some(host), Some(platforms)) => {
            let last = match document.dry_run {
                true => "WOULD BE",
                false => "THIS RUN",
            };
            let more = match document.details {
                true => details::render(platforms),
                false => String::new(),
            };
            format!(
                "{}\n{}{more}",
                summary(host, platforms),
                table(platforms, lifetime(host), last)
            )
        }
        _ => String::new(),
    }
}

fn summary(host: &HostReport, platforms: &[PlatformReport]) -> String {
    let of = |runs: Runs| {
        let names: Vec<&str> = platforms
            .iter()
            .filter(|platform| platform.runs == runs)
            .map(short_name)
            .collect();
        match names[..] {
            [] => "none".to_owned(),
            _ => names.join(", "),
        }
    };
    let native = match platforms.iter().any(|p| p.runs == Runs::Native) {
        true => format!("native     {}\n", of(Runs::Native)),
        // Only named platforms are listed.
        false => String::new(),
    };
    let mut text = format!(
        "{BOLD}{} host, Linux {}{BOLD:#}\n{native}{GOOD}emulated{GOOD:#}   {}\n",
        host.platform,
        visible(&host.kernel),
        of(Runs::Emulated)
    );
    let is_root = nix::unistd::geteuid().is_root();
    for (reason, platforms) in failing(platforms) {
        let names: Vec<&str> = platforms.iter().copied().map(short_name).collect();
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{BAD}not run{BAD:#}    {}: {}{}",
            names.join(", "),
            visible(reason),
            advice(&platforms, host.platform, is_root)
        );
    }
    text
}

/// Platforms that don't run, by why not.
fn failing(platforms: &[PlatformReport]) -> Vec<(&str, Vec<&PlatformReport>)> {
    let mut reasons: Vec<(&str, Vec<&PlatformReport>)> = Vec::new();
    for platform in platforms.iter().filter(|p| p.runs == Runs::No) {
        let reason = platform.detail.as_deref().unwrap_or("unknown");
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, together)) => together.push(platform),
            None => reasons.push((reason, vec![platform])),
        }
    }
    reasons
}

/// What to do about platforms that fail for one reason.
fn advice(platforms: &[&PlatformReport], host: &str, is_root: bool) -> String {
    // After a run that took them away, or failed at them, there is nothing
    // to suggest that the run hasn't said.
    if platforms.iter().any(|platform| platform.action.is_some()) {
        return String::new();
    }
    let install = || {
        let names: Vec<&str> = platforms.iter().copied().map(short_name).collect();
        format!("\n           -> binfmtctl install {}", names.join(" "))
    };
    let Some((platform, cause)) = platforms.first().and_then(|p| Some((p, p.cause?))) else {
        return String::new();
    };
    // CPUs often run these by themselves, were a rule not in the way: then
    // it should go, and no other one come. Doctor tries that.
    let is_companion = |platform: &&PlatformReport| {
        platform.handler.is_some() && COMPANIONS.contains(&(host, platform.platform))
    };
    match cause {
        // From a container that doesn't see the host's, none can be made either.
        Cause::Unmounted if platform.persistent.is_none() => {
            "\n           -> binfmtctl doctor".to_owned()
        }
        // Root is told what is missing by the reason itself.
        Cause::NotPermitted if is_root => String::new(),
        Cause::NotPermitted => "\n           -> ask as root".to_owned(),
        _ if platforms.iter().any(is_companion) => "\n           -> binfmtctl doctor".to_owned(),
        // What install did already it won't mend.
        _ if platform.owner == Some(Owner::Binfmtctl) => {
            "\n           -> binfmtctl doctor".to_owned()
        }
        Cause::Disabled if platform.owner.is_none() => {
            "\n           -> binfmtctl doctor".to_owned()
        }
        _ => install(),
    }
}

/// A line a finding, with what proves and what mends it below.
fn checklist(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, style) = match finding.level {
            Level::Ok => ("ok", GOOD),
            Level::Warning => ("warning", WARN),
            Level::Problem => ("problem", BAD),
        };
        let _ = writeln!(text, "{style}{word:7}{style:#}  {}", visible(&finding.what));
        if finding.level == Level::Ok {
            continue;
        }
        if let Some(evidence) = &finding.evidence {
            let _ = writeln!(text, "         {DIM}seen: {}{DIM:#}", visible(evidence));
        }
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "         -> {}", visible(remedy));
        }
    }
    text
}

fn short_name(platform: &PlatformReport) -> &str {
    platform.platform.trim_start_matches("linux/")
}

/// How long rules live that nobody registers again.
fn lifetime(host: &HostReport) -> &'static str {
    match (host.instance, host.held) {
        ("userns", _) => "with namespace",
        // Before, they outlive the mount.
        (_, Some(false)) if Kernel::parse(&host.kernel).has_instances() => "with mount",
        _ => "until reboot",
    }
}

fn table(platforms: &[PlatformReport], lifetime: &str, last: &'static str) -> String {
    let acted = platforms.iter().any(|platform| platform.action.is_some());
    let mut head = vec![
        "PLATFORM", "RUNS", "RULE", "FLAGS", "OWNER", "QEMU", "LASTS",
    ];
    if acted {
        head.push(last);
    }
    let rows: Vec<Vec<String>> = platforms
        .iter()
        .map(|platform| row(platform, lifetime, acted))
        .collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([head[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &[&str]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = format!("{DIM}{}{DIM:#}\n", line(&head));
    for (platform, row) in platforms.iter().zip(&rows) {
        let style = match platform.runs {
            Runs::Native => Style::new(),
            Runs::Emulated => GOOD,
            Runs::No => BAD,
        };
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        let _ = writeln!(text, "{style}{}{style:#}", line(&cells));
    }
    text
}

fn row(platform: &PlatformReport, lifetime: &str, acted: bool) -> Vec<String> {
    let prefix = format!("{}/", platform.platform);
    let variants: Vec<&str> = platform
        .variants
        .iter()
        .map(|variant| variant.trim_start_matches(&prefix))
        .collect();
    let name = match variants[..] {
        [] => platform.platform.to_owned(),
        _ => format!("{} ({})", platform.platform, variants.join(" ")),
    };
    let or_dash = |text: &Option<String>| match text.as_deref() {
        None | Some("") => "-".to_owned(),
        Some(text) => visible(text),
    };
    let (runs, lasts) = match (platform.runs, platform.persistent) {
        (Runs::Native, _) => ("native", "-"),
        (Runs::Emulated, Some(true)) => ("emulated", brought_back(platform)),
        (Runs::Emulated, Some(false)) => ("emulated", lifetime),
        (Runs::Emulated, None) => ("emulated", "unknown"),
        (Runs::No, _) => ("no", "-"),
    };
    let mut row = vec![
        name,
        runs.to_owned(),
        or_dash(&platform.handler),
        or_dash(&platform.flags),
        platform.owner.map_or("-", owner).to_owned(),
        or_dash(&platform.qemu),
        lasts.to_owned(),
    ];
    if acted {
        row.push(platform.action.map_or("-", action).to_owned());
    }
    row
}

/// What keeps it over boots.
fn brought_back(platform: &PlatformReport) -> &str {
    let unit = platform.boot.as_ref().map(|boot| boot.unit);
    unit.map_or("yes", |unit| unit.trim_end_matches(".service"))
}

/// An owner's name.
pub fn owner(owner: Owner) -> &'static str {
    match owner {
        Owner::Binfmtctl => "binfmtctl",
        Owner::Distribution => "distribution",
        Owner::Tonistiigi => "tonistiigi",
        Owner::Rosetta => "rosetta",
        Owner::Other => "other",
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Installed => "installed",
        Action::Replaced => "replaced",
        Action::Kept => "kept",
        Action::Native => "native",
        Action::Removed => "removed",
        Action::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(name: &'static str, runs: Runs, detail: Option<&str>) -> PlatformReport {
        PlatformReport {
            platform: name,
            target: "x",
            runs,
            variants: Vec::new(),
            cause: detail.map(|_| Cause::NotRegistered),
            detail: detail.map(str::to_owned),
            handler: None,
            interpreter: None,
            flags: None,
            owner: None,
            qemu: None,
            sha256: None,
            pinned: None,
            bytes: None,
            in_front: Vec::new(),
            shadowed: Vec::new(),
            persistent: Some(false),
            boot: None,
            action: None,
            rehearsal: None,
        }
    }

    #[test]
    fn advice_never_opposes_doctors_nor_sends_root_to_root() {
        let mut broken = platform("linux/386", Runs::No, Some("rule x is broken"));
        broken.cause = Some(Cause::NoFixBinary);
        broken.handler = Some("x".to_owned());
        let on = |host: &str| advice(&[&broken], host, false);
        assert!(on("linux/amd64").ends_with("-> binfmtctl doctor"));
        assert!(on("linux/riscv64").ends_with("-> binfmtctl install 386"));
        let mut closed = platform("linux/arm", Runs::No, Some("no /proc"));
        closed.cause = Some(Cause::NotPermitted);
        let by = |is_root| advice(&[&closed], "linux/amd64", is_root);
        assert!(by(false).ends_with("-> ask as root"));
        assert_eq!(by(true), "");
        let mut unseen = platform("linux/arm", Runs::No, Some("not mounted"));
        (unseen.cause, unseen.persistent) = (Some(Cause::Unmounted), None);
        assert!(advice(&[&unseen], "linux/amd64", true).ends_with("-> binfmtctl doctor"));
    }

    #[test]
    fn one_reason_is_told_once_with_what_to_do() {
        let why = Some("no rule is for it");
        let document = Document {
            host: Some(HostReport {
                platform: "linux/amd64",
                kernel: "6.12.0".to_owned(),
                init: "systemd".to_owned(),
                instance: "host",
                mounted: true,
                enabled: true,
                held: Some(true),
            }),
            platforms: Some(vec![
                platform("linux/amd64", Runs::Native, None),
                platform("linux/arm64", Runs::No, why),
                platform("linux/s390x", Runs::No, why),
            ]),
            ..Document::new()
        };
        let text = anstream::adapter::strip_str(&render(&document)).to_string();
        let summary: Vec<&str> = text.lines().take(5).collect();
        assert_eq!(
            summary,
            [
                "linux/amd64 host, Linux 6.12.0",
                "native     amd64",
                "emulated   none",
                "not run    arm64, s390x: no rule is for it",
                "           -> binfmtctl install arm64 s390x",
            ]
        );
    }
}
