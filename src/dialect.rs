//! The command lines of two other programs, translated into ours, so that who
//! types them needn't learn anything: tonistiigi/binfmt's and
//! multiarch/qemu-user-static's.
//!
//! Both register emulators where they are, keep nothing on disk, and answer
//! with 0, 1 or 2: done, not done, wrong command line. binfmtctl's variables
//! count here too, `BINFMTCTL_USERNS` and `BINFMTCTL_QUIET` among them, and
//! `BINFMTCTL_LENIENT`, with which nothing is a failure but a wrong command line.

#[cfg(fuzzing)]
pub mod fuzzing;
mod go_flags;
mod list;
mod multiarch;
mod tonistiigi;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use clap::{Command, CommandFactory, Parser};

use crate::cli::{Cli, Global, ManifestFile};
use crate::commands::{Context, Reply};
use crate::emulator::store::Store;
use crate::error::{Error, Result, Status};
use crate::host::Host;
use crate::report::console::Console;

/// Another program's command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// tonistiigi/binfmt's.
    Tonistiigi,
    /// multiarch/qemu-user-static's, and qemu-binfmt-conf.sh's.
    Multiarch,
}

/// Our own command line. To define it takes longer than to read one.
static CLI: LazyLock<Command> = LazyLock::new(Cli::command);

/// Whose command line this is, where it isn't ours: by the name that the
/// program was called by, or by a flag that only the other has.
///
/// Our commands are ours under every name.
pub fn recognise(program: &OsStr, args: &[OsString]) -> Option<Dialect> {
    let name = Path::new(program).file_name().unwrap_or_default();
    let called = match name.to_string_lossy().as_ref() {
        "binfmt" => Some(Dialect::Tonistiigi),
        "register" | "qemu-binfmt-conf.sh" => Some(Dialect::Multiarch),
        _ => None,
    };
    let mut rest = args.iter().map(|word| word.to_string_lossy());
    while let Some(word) = rest.next() {
        let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            return called.filter(|_| !is_command(&word));
        };
        if multiarch::is_own(&word) {
            return Some(Dialect::Multiarch);
        }
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if matches!(flag.split('=').next(), Some("install" | "uninstall")) {
            return Some(Dialect::Tonistiigi);
        }
        // The next word is a value, not a command.
        let takes_value = CLI
            .get_arguments()
            .any(|arg| arg.get_long() == Some(flag) && arg.get_action().takes_values());
        if takes_value {
            rest.next();
        }
    }
    called
}

/// Whether a word is one of our commands.
fn is_command(word: &str) -> bool {
    word == "help" || CLI.find_subcommand(word).is_some()
}

/// Carries out a command line that [`recognise`] knows.
pub fn run(
    dialect: Dialect,
    console: &Console,
    program: &OsStr,
    args: &[OsString],
) -> Result<Reply> {
    let words = words(args)?;
    match dialect {
        Dialect::Tonistiigi => tonistiigi::run(console, &program.to_string_lossy(), &words),
        Dialect::Multiarch => multiarch::run(console, &words),
    }
}

/// Arguments as text. A likeness of one could be another path's name.
fn words(args: &[OsString]) -> Result<Vec<String>> {
    let text = |arg: &OsString| {
        let text = arg.to_str().map(str::to_owned);
        text.ok_or_else(|| {
            let arg = arg.to_string_lossy();
            Error::new(
                Status::Usage,
                format!("the argument '{arg}' isn't UTF-8 text"),
            )
            .hint("names of platforms, rules and directories have to be, with these flags")
        })
    };
    args.iter().map(text).collect()
}

/// What binfmtctl's own variables say, read as for its own command line.
#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    manifest: ManifestFile,
    #[arg(long, env = "BINFMTCTL_LENIENT", value_parser = clap::builder::FalseyValueParser::new())]
    lenient: bool,
}

/// The variables of the other programs; empty ones don't count.
#[derive(Debug, Default)]
struct Variables {
    /// `QEMU_BINARY_PATH`: where the emulators are.
    binary_path: Option<OsString>,
    /// `QEMU_BIN_DIR`: the same in the other dialect.
    bin_dir: Option<OsString>,
    /// `QEMU_BINARY_PREFIX`.
    binary_prefix: Option<OsString>,
    /// `QEMU_PRESERVE_ARGV0`: set to anything.
    preserve_argv0: bool,
}

impl Variables {
    fn read() -> Self {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            binary_path: variable("QEMU_BINARY_PATH"),
            bin_dir: variable("QEMU_BIN_DIR"),
            binary_prefix: variable("QEMU_BINARY_PREFIX"),
            preserve_argv0: variable("QEMU_PRESERVE_ARGV0").is_some(),
        }
    }
}

impl Settings {
    fn read() -> Result<Self> {
        // A colour that doesn't exist keeps nobody from registering emulators.
        let any_color = |_| Self::try_parse_from(["binfmtctl", "--color=auto"]);
        let read = Self::try_parse_from(["binfmtctl"]).or_else(any_color);
        let settings = read.map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            Error::new(Status::Usage, line.trim_start_matches("error: "))
                .hint("a variable BINFMTCTL_... says so")
        })?;
        if settings.global.host {
            return Err(Error::new(
                Status::Usage,
                "BINFMTCTL_HOST is for binfmtctl's own commands; these flags register the emulators of this container",
            )
            .hint("leave it out, or use `binfmtctl install --host`"));
        }
        Ok(settings)
    }

    /// The document, where there is one, isn't the console's to print.
    fn console(&self) -> Console {
        let global = &self.global;
        Console::new(false, global.quiet, global.verbose, global.colors())
    }

    fn context(self, console: Console, mount: Option<PathBuf>) -> Result<Context> {
        let global = self.global;
        Ok(Context {
            store: Store::new(&global.prefix)?,
            host: Host::read()?,
            emulators: None,
            console,
            jobs: global.jobs(),
            mount: mount.unwrap_or(global.mount),
            conf: global.conf,
            userns: global.userns,
            from_container: false,
            lifetime: OnceLock::new(),
        })
    }
}

/// What counts as the run's failure in the end; it is told in any case.
fn failure(console: &Console, lenient: bool, failure: Option<Error>) -> Option<Error> {
    let failure = failure.map(run_time);
    match (lenient, failure) {
        (true, Some(error)) => {
            console.error(&error);
            None
        }
        (_, failure) => failure,
    }
}

/// A failure at run time has one exit status.
fn run_time(error: Error) -> Error {
    let one = Error::new(Status::Failed, error.reason());
    match error.advice() {
        Some(hint) => one.hint(hint),
        None => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_dialects_are_told_from_our_own_commands() {
        use Dialect::{Multiarch, Tonistiigi};
        let table = [
            ("binfmt", Some(Tonistiigi)),
            ("/usr/bin/binfmt", Some(Tonistiigi)),
            ("binfmt --version", Some(Tonistiigi)),
            ("binfmt -h", Some(Tonistiigi)),
            ("binfmt --mount /x", Some(Tonistiigi)),
            ("binfmt --nonsense", Some(Tonistiigi)),
            ("binfmt nonsense", Some(Tonistiigi)),
            ("binfmt --install status", Some(Tonistiigi)),
            ("binfmt --reset -p yes", Some(Multiarch)),
            ("binfmt -p yes", Some(Multiarch)),
            ("binfmt status", None),
            ("binfmt help", None),
            ("binfmt --json status", None),
            ("binfmt --color never status", None),
            ("binfmt --mount /x status", None),
            ("binfmt install arm64 -n", None),
            ("binfmt rehearse", None),
            ("binfmtctl", None),
            ("binfmtctl --version", None),
            ("binfmtctl --help", None),
            ("binfmtctl nonsense", None),
            ("binfmtctl status", None),
            ("binfmtctl install arm64 --credentials", None),
            ("binfmtctl --install arm64", Some(Tonistiigi)),
            ("binfmtctl -install=arm64", Some(Tonistiigi)),
            ("binfmtctl --mount /x --uninstall qemu-*", Some(Tonistiigi)),
            ("binfmtctl --reset", Some(Multiarch)),
            ("binfmtctl --credential yes", Some(Multiarch)),
            ("register", Some(Multiarch)),
            ("/qemu-binfmt-conf.sh --help", Some(Multiarch)),
        ];
        for (line, dialect) in table {
            let mut words = line.split(' ').map(str::to_owned);
            let program = OsString::from(words.next().unwrap());
            let args: Vec<OsString> = words.map(OsString::from).collect();
            assert_eq!(recognise(&program, &args), dialect, "{line}");
        }
    }

    #[test]
    fn our_variables_are_read_by_the_same_rules() {
        Settings::command().debug_assert();
    }
}
