//! The document as a person reads it: the summary first, then a line a
//! platform, then what to do.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{Action, Document, Owner, PlatformReport, Runs};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Renders the document's platforms, with ANSI styles for whoever wants them.
pub fn render(document: &Document) -> String {
    let (Some(host), Some(platforms)) = (&document.host, &document.platforms) else {
        return String::new();
    };
    let mut text = String::new();
    let short =
        |platform: &PlatformReport| platform.platform.trim_start_matches("linux/").to_owned();
    let of = |runs: Runs| -> Vec<String> {
        platforms
            .iter()
            .filter(|p| p.runs == runs)
            .map(short)
            .collect()
    };
    let (emulated, failing) = (of(Runs::Emulated), of(Runs::No));
    let native: Vec<String> = of(Runs::Native);
    // Writing to a String can't fail.
    let _ = write!(
        text,
        "{BOLD}{}, Linux {}{BOLD:#}",
        host.platform, host.kernel
    );
    if !native.is_empty() {
        let _ = write!(text, ": native {}", native.join(", "));
    }
    let _ = writeln!(text);
    let _ = match emulated.len() {
        0 => writeln!(text, "{BAD}no platform is emulated{BAD:#}"),
        n => writeln!(text, "{GOOD}{n} emulated:{GOOD:#} {}", emulated.join(", ")),
    };
    if !failing.is_empty() {
        let _ = writeln!(
            text,
            "{BAD}{} can't run:{BAD:#} {}",
            failing.len(),
            failing.join(", ")
        );
    }
    let _ = writeln!(text);
    table(&mut text, platforms);
    text
}

fn table(text: &mut String, platforms: &[PlatformReport]) {
    let acted = platforms.iter().any(|platform| platform.action.is_some());
    let mut head = vec![
        "PLATFORM",
        "RUNS",
        "RULE",
        "FLAGS",
        "OWNER",
        "QEMU",
        "AFTER BOOT",
    ];
    if acted {
        head.push("THIS RUN");
    }
    let rows: Vec<Vec<String>> = platforms
        .iter()
        .map(|platform| row(platform, acted))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .chain([head[column].len()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| -> String {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let _ = writeln!(text, "{DIM}{}{DIM:#}", line(head.clone()));
    for (platform, row) in platforms.iter().zip(&rows) {
        let style = match platform.runs {
            Runs::Native => Style::new(),
            Runs::Emulated => GOOD,
            Runs::No => BAD,
        };
        let _ = writeln!(
            text,
            "{style}{}{style:#}",
            line(row.iter().map(String::as_str).collect())
        );
        if let Some(detail) = &platform.detail {
            let _ = writeln!(text, "  {detail}");
        }
    }
}

fn row(platform: &PlatformReport, acted: bool) -> Vec<String> {
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
        Some(text) => text.to_owned(),
    };
    let runs = match platform.runs {
        Runs::Native => "native",
        Runs::Emulated => "emulated",
        Runs::No => "no",
    };
    let mut row = vec![
        name,
        runs.to_owned(),
        or_dash(&platform.handler),
        or_dash(&platform.flags),
        platform.owner.map_or("-", owner).to_owned(),
        or_dash(&platform.qemu),
        match (platform.runs, platform.persistent) {
            (Runs::No, _) => "-",
            (_, true) => "yes",
            (_, false) => "no",
        }
        .to_owned(),
    ];
    if acted {
        row.push(platform.action.map_or("-", action).to_owned());
    }
    row
}

fn owner(owner: Owner) -> &'static str {
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
