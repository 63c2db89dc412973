//! A page as text for man(7): what was written by hand, with what the command
//! line's definition says put between.

use std::fmt::Write;

use clap::builder::StyledStr;
use clap::{Arg, Command};

use crate::cli::Cli;

/// When what is written by hand last said something new.
const DATE: &str = "2026-11-23";

/// A manifest that is one.
const EXAMPLE: &str = include_str!("example.toml");

/// binfmtctl(1).
pub fn of_command() -> String {
    let cli = Cli::visible();
    let about = plain(cli.get_about());
    let about = about.trim_end_matches('.');
    let mut page = title("BINFMTCTL", "1");
    section(
        &mut page,
        "NAME",
        &format!("binfmtctl \\- {}\n", escape(about)),
    );
    page.push_str(include_str!("description.roff"));
    section(&mut page, "COMMANDS", &commands(&cli));
    section(&mut page, "GLOBAL OPTIONS", &options(&cli));
    page.push_str(include_str!("status.roff"));
    section(&mut page, "ENVIRONMENT", &variables(&cli));
    page.push_str(include_str!("rest.roff"));
    page
}

/// binfmtctl-manifest(5).
pub fn of_manifest() -> String {
    let text = include_str!("manifest.roff").replace("@EXAMPLE@", escape(EXAMPLE).trim_end());
    title("BINFMTCTL-MANIFEST", "5") + &text
}

fn title(name: &str, section: &str) -> String {
    let (name, version) = (escape(name), env!("CARGO_PKG_VERSION"));
    format!(".TH {name} {section} {DATE} \"binfmtctl {version}\" \"System Administration\"\n")
}

fn section(page: &mut String, name: &str, body: &str) {
    page.push_str(&format!(".SH {name}\n{body}"));
}

/// A subsection for each verb, in the order of the definition.
fn commands(cli: &Command) -> String {
    let mut text = String::new();
    for verb in cli.get_subcommands() {
        let name = format!("binfmtctl {}", verb.get_name());
        if !verb.has_subcommands() {
            text.push_str(&command(&name, verb));
        }
        for below in verb.get_subcommands() {
            text.push_str(&command(&format!("{name} {}", below.get_name()), below));
        }
    }
    text
}

fn command(name: &str, verb: &Command) -> String {
    let mut text = format!(".SS {name}\n\\fB{name}\\fR", name = escape(name));
    if verb.get_arguments().any(is_choice) {
        text.push_str(" [\\fIOPTION\\fR]...");
    }
    let (values, required): (Vec<&Arg>, Vec<&Arg>) = verb
        .get_arguments()
        .filter(|arg| !is_choice(arg))
        .partition(|arg| arg.is_positional());
    for arg in required.into_iter().chain(values) {
        let synopsis = match (arg.is_positional(), arg.is_required_set()) {
            (true, true) => value(arg),
            (true, false) => format!("[{}]", value(arg)),
            (false, _) => heading(arg),
        };
        let many = arg.is_positional() && arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        // Writing to a String can't fail.
        let _ = write!(text, " {synopsis}{}", if many { "..." } else { "" });
    }
    let _ = write!(text, "\n.PP\n{}.\n", prose(verb.get_about()));
    text + &options(verb)
}

/// Whether an argument is an option that may be left away.
fn is_choice(arg: &Arg) -> bool {
    !arg.is_positional() && !arg.is_required_set()
}

/// A paragraph for each argument.
fn options(verb: &Command) -> String {
    let mut text = String::new();
    for arg in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let _ = write!(text, ".TP\n{}\n{}.", heading(arg), prose(arg.get_help()));
        if arg.get_action().takes_values() {
            let values: Vec<String> = arg.get_possible_values().iter().map(possible).collect();
            if !values.is_empty() {
                let _ = write!(text, "\nOne of {}.", values.join(", "));
            }
            let defaults = arg.get_default_values().iter();
            for default in defaults.map(|default| escape(&default.to_string_lossy())) {
                let _ = write!(text, "\nThe default is \\fB{default}\\fR.");
            }
        }
        text.push('\n');
    }
    text
}

fn possible(value: &clap::builder::PossibleValue) -> String {
    let (name, help) = (escape(value.get_name()), prose(value.get_help()));
    match help.to_lowercase() == name {
        true => format!("\\fB{name}\\fR"),
        false => format!("\\fB{name}\\fR ({help})"),
    }
}

/// `-q, --quiet`, `--conf FILE`, `PLATFORM`.
fn heading(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("\\fB\\-{short}\\fR"));
    let long = arg
        .get_long()
        .map(|long| format!("\\fB\\-\\-{}\\fR", escape(long)));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    match (names.join(", "), arg.get_action().takes_values()) {
        (names, false) => names,
        (names, true) if names.is_empty() => value(arg),
        (names, true) => format!("{names} {}", value(arg)),
    }
}

fn value(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    format!("\\fI{}\\fR", escape(&names.join(" ")))
}

/// A paragraph for each variable: whose option it stands for.
fn variables(cli: &Command) -> String {
    let mut found: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut collect = |verb: &Command, name: Option<String>| {
        for arg in verb.get_arguments() {
            let Some(variable) = arg.get_env() else {
                continue;
            };
            let variable = variable.to_string_lossy().into_owned();
            let at = found.iter().position(|(known, ..)| *known == variable);
            let at = at.unwrap_or_else(|| {
                found.push((variable, heading(arg), Vec::new()));
                found.len() - 1
            });
            found[at].2.extend(name.clone());
        }
    };
    collect(cli, None);
    for verb in cli.get_subcommands() {
        let name = verb.get_name();
        collect(verb, Some(format!("\\fB{name}\\fR")));
        for below in verb.get_subcommands() {
            collect(below, Some(format!("\\fB{name} {}\\fR", below.get_name())));
        }
    }
    let mut text = include_str!("variables.roff").to_owned();
    for (variable, option, verbs) in found {
        let whose = match verbs.is_empty() {
            true => String::new(),
            false => format!(" of {}", verbs.join(", ")),
        };
        let _ = write!(text, ".TP\n\\fB{variable}\\fR\n{option}{whose}.\n");
    }
    text
}

fn plain(text: Option<&StyledStr>) -> String {
    text.map(StyledStr::to_string).unwrap_or_default()
}

/// Prose with what is quoted as code in bold.
fn prose(text: Option<&StyledStr>) -> String {
    let text = plain(text);
    let mut parts = text.split('`').map(escape);
    let mut prose = parts.next().unwrap_or_default();
    while let (Some(code), after) = (parts.next(), parts.next()) {
        let _ = write!(prose, "\\fB{code}\\fR{}", after.unwrap_or_default());
    }
    prose
}

/// What roff would take for its own. Nothing here starts a line with a dot.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::emulator::manifest::Manifest;
    use crate::error::Status;

    /// Every command that can be typed, by its whole name, and whether it is hidden.
    fn verbs(command: &Command, name: &str, hidden: bool) -> Vec<(String, bool, Command)> {
        let mut all = Vec::new();
        for verb in command.get_subcommands() {
            let name = format!("{name} {}", verb.get_name());
            let hidden = hidden || verb.is_hide_set();
            all.extend(verbs(verb, &name, hidden));
            if !verb.has_subcommands() {
                all.push((name, hidden, verb.clone()));
            }
        }
        all
    }

    /// A section or subsection of the page.
    fn part(page: &str, heading: &str) -> Option<String> {
        let start = page.find(&format!("\n{heading}\n"))? + 1 + heading.len();
        let rest = &page[start..];
        let end = [rest.find("\n.SS "), rest.find("\n.SH ")];
        let end = end.into_iter().flatten().min().unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    }

    #[test]
    fn every_verb_that_is_shown_has_its_part_with_each_argument() {
        let page = of_command();
        let verbs = verbs(&Cli::command(), "binfmtctl", false);
        assert!(verbs.len() > 10);
        for (name, hidden, verb) in verbs {
            let part = part(&page, &format!(".SS {}", escape(&name)));
            assert_eq!(part.is_none(), hidden, "{name}");
            let Some(part) = part else { continue };
            assert!(part.contains(&prose(verb.get_about())), "{name}");
            for arg in verb.get_arguments() {
                let id = arg.get_id();
                assert!(
                    part.contains(&format!(".TP\n{}\n", heading(arg))),
                    "{name} {id}"
                );
                assert!(part.contains(&prose(arg.get_help())), "{name} {id}");
            }
        }
    }

    #[test]
    fn what_every_verb_has_stands_once() {
        let page = of_command();
        let globals = part(&page, ".SH GLOBAL OPTIONS").unwrap();
        let variables = part(&page, ".SH ENVIRONMENT").unwrap();
        let cli = Cli::command();
        assert!(cli.get_arguments().count() > 5);
        for arg in cli.get_arguments() {
            let heading = format!(".TP\n{}\n", heading(arg));
            assert!(globals.contains(&heading), "{heading}");
            assert_eq!(page.matches(&heading).count(), 1, "{heading}");
            let variable = arg.get_env().unwrap().to_str().unwrap();
            assert!(
                variables.contains(&format!("\n\\fB{variable}\\fR\n")),
                "{variable}"
            );
        }
    }

    #[test]
    fn a_variable_names_the_commands_that_heed_it() {
        let variables = part(&of_command(), ".SH ENVIRONMENT").unwrap();
        let line =
            "\\fB\\-\\-source\\fR \\fISOURCE\\fR of \\fBinstall\\fR, \\fBmanifest extract\\fR.\n";
        assert!(
            variables.contains(&format!("\\fBBINFMTCTL_SOURCE\\fR\n{line}")),
            "{variables}"
        );
    }

    #[test]
    fn every_exit_status_is_explained() {
        let statuses = part(&of_command(), ".SH EXIT STATUS").unwrap();
        let explained: Vec<u8> = statuses
            .lines()
            .filter_map(|line| line.strip_prefix(".B ")?.parse().ok())
            .collect();
        let known = [
            Status::Failed,
            Status::Usage,
            Status::NotRunnable,
            Status::Permission,
            Status::Unsupported,
            Status::Invalid,
            Status::Integrity,
            Status::Unreachable,
            Status::Locked,
        ];
        let known: Vec<u8> = [0]
            .into_iter()
            .chain(known.map(|status| status as u8))
            .collect();
        assert_eq!(explained, known);
    }

    #[test]
    fn the_example_is_a_manifest_with_every_key_that_has_its_paragraph() {
        let manifest = Manifest::parse(EXAMPLE).unwrap();
        assert_eq!(manifest.releases.len(), 1);
        let page = of_manifest();
        assert!(page.contains(&escape(EXAMPLE)));
        let written = manifest.to_toml();
        let words = written
            .split(['\n', ',', '{', '['])
            .filter_map(|part| part.split_once(" = "));
        let keys: Vec<&str> = words.map(|(key, _)| key.trim()).collect();
        assert!(keys.len() > 15, "{keys:?}");
        for key in keys.into_iter().chain(["path"]) {
            let paragraphs = [
                format!(".TP\n.B {key}\n"),
                format!(".TP\n.BR {key} \" (opt"),
            ];
            assert!(paragraphs.iter().any(|start| page.contains(start)), "{key}");
        }
    }

    #[test]
    fn no_line_but_a_request_starts_as_one() {
        for page in [of_command(), of_manifest()] {
            for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
                let request = line[1..].split(' ').next().unwrap();
                let known = [
                    "TH", "SH", "SS", "TP", "PP", "B", "BR", "BI", "I", "IR", "nf", "fi", "RS",
                    "RE",
                ];
                assert!(known.contains(&request), "{line}");
            }
        }
    }
}
