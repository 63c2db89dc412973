//! `completions`: a completion script for a shell, from the command line's
//! one definition.
//!
//! Nothing of the host is looked at. What a value's name promises (a platform,
//! a file, a directory) is what the script offers for it.

use std::fmt::Write;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use clap_complete::aot::{Bash, Fish, Zsh, generate};

use super::{Reply, json};
use crate::cli::{Cli, CompletionsArgs, Shell};
use crate::error::{Error, Result, Status};
use crate::platform::PLATFORMS;
use crate::report::console::Console;

const NAME: &str = "binfmtctl";

/// Prints the script.
pub fn run(console: &Console, args: &CompletionsArgs) -> Result<Reply> {
    let script = script(args.shell)?;
    Ok(Reply {
        text: Some(match console.json {
            true => json(&serde_json::json!({ "schema": 1, "completions": script }))?,
            false => script,
        }),
        ..Reply::default()
    })
}

fn script(shell: Shell) -> Result<String> {
    let mut cli = with_values(Cli::visible());
    let mut script = Vec::new();
    match shell {
        Shell::Bash => generate(Bash, &mut cli, NAME, &mut script),
        Shell::Zsh => generate(Zsh, &mut cli, NAME, &mut script),
        Shell::Fish => generate(Fish, &mut cli, NAME, &mut script),
    }
    let mut script = String::from_utf8(script)
        .map_err(|error| Error::new(Status::Failed, "cannot write the script").because(error))?;
    if shell == Shell::Fish {
        script.push_str(&fish_positionals(&Cli::visible()));
    }
    Ok(script)
}

/// The definition with what its values may be, as far as their names say.
fn with_values(command: Command) -> Command {
    command.mut_args(with_value).mut_subcommands(with_values)
}

fn with_value(arg: Arg) -> Arg {
    match value_name(&arg).as_deref() {
        Some("PLATFORM") => {
            let names = platforms(&arg);
            arg.value_parser(PossibleValuesParser::new(names))
        }
        Some("DIR") => arg.value_hint(ValueHint::DirPath),
        Some("FILE" | "PACKAGE" | "SOURCE") => arg.value_hint(ValueHint::FilePath),
        Some("URL" | "VERSION" | "SUITE" | "NAME" | "SECONDS") => arg.value_hint(ValueHint::Other),
        _ => arg,
    }
}

fn value_name(arg: &Arg) -> Option<String> {
    let name = arg.get_value_names()?.first()?;
    Some(name.to_string())
}

/// The platforms by the names that are typed: `arm64`, not `linux/arm64`.
fn platforms(arg: &Arg) -> Vec<&'static str> {
    let short = |name: &'static str| name.strip_prefix("linux/").unwrap_or(name);
    let names = PLATFORMS.iter().map(|platform| short(platform.name));
    let all = arg.is_positional().then_some("all-targets");
    names.chain(all).collect()
}

/// What clap's generator leaves out for fish: values that aren't an option's.
fn fish_positionals(cli: &Command) -> String {
    let mut lines = String::new();
    let mut offer = |condition: &str, verb: &Command| {
        for arg in verb.get_positionals() {
            let values = match value_name(arg).as_deref() {
                Some("PLATFORM") => platforms(arg).join(" "),
                _ => {
                    let values = arg.get_possible_values();
                    let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
                    names.join(" ")
                }
            };
            let files = match values.is_empty() {
                true => "-F".to_owned(),
                false => format!("-f -a \"{values}\""),
            };
            // Writing to a String can't fail.
            let _ = writeln!(lines, "complete -c {NAME} -n \"{condition}\" {files}");
        }
    };
    for verb in cli.get_subcommands() {
        let seen = format!("__fish_{NAME}_using_subcommand {}", verb.get_name());
        offer(&seen, verb);
        for below in verb.get_subcommands() {
            let name = below.get_name();
            offer(
                &format!("{seen}; and __fish_seen_subcommand_from {name}"),
                below,
            );
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::process::{Command as Process, Stdio};

    use clap::CommandFactory;

    use super::*;

    const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

    /// How a script spells a long option.
    fn spelled(shell: Shell, option: &str) -> String {
        match shell {
            Shell::Bash | Shell::Zsh => format!("--{option}"),
            Shell::Fish => format!("-l {option} "),
        }
    }

    fn offers(shell: Shell, script: &str, verb: &str) -> bool {
        script.contains(&match shell {
            Shell::Bash => format!("binfmtctl,{verb})"),
            Shell::Zsh => format!("({verb})"),
            Shell::Fish => format!("-a \"{verb}\""),
        })
    }

    fn collect(command: &Command, verbs: &mut BTreeSet<String>, options: &mut BTreeSet<String>) {
        options.extend(
            command
                .get_opts()
                .filter_map(Arg::get_long)
                .map(str::to_owned),
        );
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            verbs.insert(verb.get_name().to_owned());
            collect(verb, verbs, options);
        }
    }

    #[test]
    fn every_verb_and_option_is_in_every_script_and_nothing_hidden() {
        let (mut verbs, mut options) = (BTreeSet::new(), BTreeSet::new());
        collect(&Cli::command(), &mut verbs, &mut options);
        assert!(
            verbs.len() > 10 && options.len() > 15,
            "{verbs:?} {options:?}"
        );
        for shell in SHELLS {
            let script = script(shell).unwrap();
            for verb in &verbs {
                assert!(script.contains(verb), "{shell:?}: {verb}");
            }
            for option in &options {
                assert!(
                    script.contains(&spelled(shell, option)),
                    "{shell:?}: {option}"
                );
            }
            for hidden in ["rehearse", "clear-up"] {
                assert!(!offers(shell, &script, hidden), "{shell:?}: {hidden}");
            }
            assert!(offers(shell, &script, "install"), "{shell:?}");
            assert!(
                script.contains("arm64") && script.contains("all-targets"),
                "{shell:?}"
            );
        }
    }

    #[test]
    fn bash_takes_the_script_for_one() {
        let shell = Process::new("bash").arg("-n").stdin(Stdio::piped()).spawn();
        let Ok(mut shell) = shell else {
            assert!(std::env::var_os("CI").is_none(), "there is no bash");
            return;
        };
        let script = script(Shell::Bash).unwrap();
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(shell.wait().unwrap().success());
    }
}
