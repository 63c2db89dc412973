//! The program: parse, run, print, exit status; nothing else.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anstream::ColorChoice;
use clap::Parser;
use clap::error::ErrorKind;

use binfmtctl::cli::{Cli, Command};
use binfmtctl::commands::{self, Context, Reply};
use binfmtctl::dialect;
use binfmtctl::emulator::directory::Directory;
use binfmtctl::emulator::errand;
use binfmtctl::emulator::store::Store;
use binfmtctl::error::{Error, Result, Status};
use binfmtctl::host::{Host, init_mounts};
use binfmtctl::rehearsal;
use binfmtctl::report::ErrorReport;
use binfmtctl::report::console::{self, Console};
use binfmtctl::scratch;

fn main() -> ExitCode {
    binfmtctl::probe::give_back_memory();
    binfmtctl::probe::pin_name_services();
    binfmtctl::probe::wait_for_children();
    binfmtctl::durable::set_umask();
    let mut args = std::env::args_os();
    let (program, args) = (args.next().unwrap_or_default(), args.collect::<Vec<_>>());
    if let Some(dialect) = dialect::recognise(&program, &args) {
        binfmtctl::ending::watch();
        let console = Console::new(false, false, false, ColorChoice::Auto);
        let reply = dialect::run(dialect, &console, &program, &args);
        return finish(&console, reply);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let global = &cli.global;
    let console = Console::new(global.json, global.quiet, global.verbose, global.colors());
    let (console, reply) = run(cli, console);
    finish(&console, reply)
}

fn run(cli: Cli, console: Console) -> (Console, Result<Reply>) {
    // Before anything starts a thread, and without a look at the host.
    if let Command::Rehearse = &cli.command {
        let answer = rehearsal::play(std::io::stdin());
        let text = |text| Reply {
            text: Some(text),
            ..Reply::default()
        };
        return (console, answer.map(text));
    }
    if let Command::Errand = &cli.command {
        let done = errand::work(std::io::stdin());
        return (console, done.map(|()| Reply::default()));
    }
    if let Command::ClearUp { dir } = &cli.command {
        scratch::aftermath::clear_up(dir, std::io::stdin());
        return (console, Ok(Reply::default()));
    }
    // What is generated from the command line's definition is the same everywhere.
    if let Command::Completions(args) = &cli.command {
        let reply = commands::completions::run(&console, args);
        return (console, reply);
    }
    if let Command::Man(args) = &cli.command {
        let reply = commands::man::run(&console, args);
        return (console, reply);
    }
    if let Err(error) = commands::host_paths::require_absolute(&cli) {
        return (console, Err(error));
    }
    let store = match Store::new(&cli.global.prefix) {
        Ok(store) => store,
        Err(error) => return (console, Err(error)),
    };
    let emulators = match enter(&cli) {
        Ok(emulators) => emulators,
        Err(error) => return (console, Err(error)),
    };
    // Whoever goes to other namespaces may have no other thread.
    binfmtctl::ending::watch();
    // What is pinned doesn't depend on the host.
    if let Command::Manifest(command) = &cli.command {
        let reply = commands::manifest::run(&store, &console, cli.global.jobs(), command);
        return (console, reply);
    }
    let host = match Host::read() {
        Ok(host) => host,
        Err(error) => return (console, Err(error)),
    };
    let context = Context {
        host,
        store,
        emulators,
        console,
        jobs: cli.global.jobs(),
        mount: cli.global.mount,
        conf: cli.global.conf,
        userns: cli.global.userns,
        from_container: cli.global.host,
        lifetime: OnceLock::new(),
    };
    let reply = match &cli.command {
        Command::Install(args) => commands::install::run(&context, args),
        Command::Uninstall(args) => commands::uninstall::run(&context, args),
        Command::Apply => commands::apply::run(&context),
        Command::Status(args) => commands::status::run(&context, args),
        Command::Check(args) => commands::check::run(&context, args),
        Command::Doctor(args) => commands::doctor::run(&context, args),
        Command::Manifest(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Rehearse
        | Command::Errand
        | Command::ClearUp { .. } => Ok(Reply::default()),
    };
    (context.console, reply)
}

/// Variables that name files of the place where they were set. The network
/// stays that of where this process comes from, and so do its proxies.
const LEFT_BEHIND: [&str; 5] = [
    "APT_CONFIG",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
];

/// Takes this process to where it has to work. What it needs of where it is
/// now comes along.
fn enter(cli: &Cli) -> Result<Option<Arc<Directory>>> {
    let emulators = match &cli.command {
        Command::Install(args) => args.at_hand().map(Directory::hold).transpose()?,
        _ => None,
    };
    if cli.global.host && init_mounts::enter_host(cli.global.userns)? {
        binfmtctl::probe::forget_variables(&LEFT_BEHIND)?;
    }
    Ok(emulators.map(Arc::new))
}

/// Prints the answer, then, as the last line of stderr, what went wrong.
fn finish(console: &Console, reply: Result<Reply>) -> ExitCode {
    let failure = match reply {
        Ok(reply) => print(console, reply).unwrap_or_else(Some),
        Err(error) => {
            if console.json {
                // What can't be printed can't be told either, except by the status.
                let _ = console.document(&console::failure(&error));
            }
            Some(error)
        }
    };
    match failure {
        Some(error) => {
            console.error(&error);
            ExitCode::from(error.status() as u8)
        }
        None => ExitCode::SUCCESS,
    }
}

fn print(console: &Console, reply: Reply) -> Result<Option<Error>> {
    if let Some(mut document) = reply.document {
        document.error = reply.failure.as_ref().map(ErrorReport::from);
        console.document(&document)?;
    }
    if let Some(text) = &reply.text {
        console.data(text)?;
    }
    Ok(reply.failure)
}

/// What was asked for and isn't an error, such as the help, in clap's own
/// words; wrong usage as any other failure.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that has seen enough is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let json = std::env::args_os().any(|arg| arg == "--json")
        || std::env::var("BINFMTCTL_JSON").is_ok_and(|value| is_true(&value));
    let console = Console::new(json, false, false, ColorChoice::Auto);
    let wrong = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Error::new(Status::Usage, "no command was given").hint("see the list above")
        }
        _ => explain(&error.to_string()),
    };
    finish(&console, Err(wrong))
}

/// clap's text in one line: what is wrong, and the tip where it has one.
fn explain(text: &str) -> Error {
    let text = text.trim_start_matches("error: ");
    let mut paragraphs = text.split("\n\n");
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wrong = one_line(paragraphs.next().unwrap_or_default());
    let tip = paragraphs.find_map(|text| text.trim_start().strip_prefix("tip: "));
    let hint = tip.map_or("see `binfmtctl --help`".to_owned(), one_line);
    Error::new(Status::Usage, wrong).hint(hint)
}

/// As clap reads the variables of flags.
fn is_true(value: &str) -> bool {
    let value = value.to_lowercase();
    !["", "n", "no", "f", "false", "off", "0"].contains(&value.as_str())
}
