//! The command line of multiarch/qemu-user-static, which is `--reset` and the
//! options of QEMU's own qemu-binfmt-conf.sh, as getopt(1) reads them.
//!
//! Every emulator that is there is registered. F is always set: without it a
//! rule works on the host alone, which is what the lines that people copy are
//! meant to change. C is set only when asked for, as there. What it says goes
//! to stderr, and nothing to stdout but the help.

use glob::Pattern;

use super::list::{self, Asked};
use super::{Settings, refuse_unknown, run_time};
use crate::commands::install::in_place::{
    self, Argv0, Done, Every, Fate, Order, Outcome, Removal, Removed,
};
use crate::commands::{Context, Reply};
use crate::emulator::directory::Directory;
use crate::error::{Error, Result, Status};
use crate::platform::Request;
use crate::report::console::Console;

const USAGE: &str = "\
Usage: [--reset][--qemu-path DIR][--qemu-suffix SUFFIX][-p yes|no][-c yes|no][-g yes|no] [CPU...]

Registers the emulators in DIR, each of them or those of the CPUs, and proves
that they run. This is binfmtctl, speaking the language of
multiarch/qemu-user-static and of QEMU's qemu-binfmt-conf.sh.

       --reset:              remove the emulators' rules qemu-* that are there; each
                             stays until the one that replaces it runs
  -Q,  --qemu-path DIR:      where they are ($QEMU_BIN_DIR, default /usr/bin)
  -F,  --qemu-suffix SUFFIX: their names are qemu-CPU and this
                             (default: -static where there is such a file, or nothing)
  -p,  --persistent yes|no:  accepted; rules always work in containers (flag F)
  -c,  --credential yes|no:  set-user-id programs such as sudo get their rights,
                             and QEMU runs as root for them (flag C, default no)
  -g,  --preserve-argv0 yes|no: set the flag P (default: where it is understood)
  -i,  --ignore-family yes|no:  accepted; what runs natively is found out
  -h,  --help:               show this

`binfmtctl help` lists binfmtctl's own commands.
";

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    YesOrNo,
    Text,
}

/// Long name, short name, what it takes.
const OPTIONS: [(&str, Option<char>, Takes); 11] = [
    ("reset", None, Takes::Nothing),
    ("help", Some('h'), Takes::Nothing),
    ("persistent", Some('p'), Takes::YesOrNo),
    ("credential", Some('c'), Takes::YesOrNo),
    ("preserve-argv0", Some('g'), Takes::YesOrNo),
    ("ignore-family", Some('i'), Takes::YesOrNo),
    ("qemu-path", Some('Q'), Takes::Text),
    ("qemu-suffix", Some('F'), Takes::Text),
    ("debian", Some('d'), Takes::Nothing),
    ("systemd", Some('s'), Takes::Text),
    ("exportdir", Some('e'), Takes::Text),
];

/// A command line that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the rules that are there go.
    pub reset: bool,
    /// Whether only the help is wanted.
    pub help: bool,
    /// F, where something was said of it.
    pub persistent: Option<bool>,
    /// C, where something was said of it.
    pub credential: Option<bool>,
    /// P, where something was said of it.
    pub preserve_argv0: Option<bool>,
    /// Where the emulators are.
    pub path: Option<String>,
    /// What comes after their names.
    pub suffix: Option<String>,
    /// Which ones; all where none are named.
    pub cpus: Vec<String>,
}

/// Why a command line can't be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Wrong {
    #[error("unrecognized option '{0}'")]
    Unknown(String),
    #[error("option '{0}' is ambiguous")]
    Ambiguous(String),
    #[error("option '{0}' requires an argument")]
    NeedsArgument(String),
    #[error("option '{0}' doesn't allow an argument")]
    TakesNothing(String),
    #[error("option '{option}' is yes or no, not '{value}'")]
    NotYesOrNo { option: String, value: String },
    #[error("option '{0}', which writes files for other tools, isn't supported")]
    WritesFiles(String),
}

/// Whether a word can only be one of these options.
pub(super) fn is_own(word: &str) -> bool {
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    match name.strip_prefix("--") {
        Some(long) => OPTIONS
            .iter()
            .any(|(known, ..)| *known == long && long != "help"),
        None => matches!(
            word,
            "-p" | "-c" | "-g" | "-pyes" | "-pno" | "-cyes" | "-cno" | "-gyes" | "-gno"
        ),
    }
}

/// Reads the words after the program's name. Of a yes or no that isn't there,
/// `-p` alone, the answer is yes.
pub fn parse(args: &[String]) -> Result<Options, Wrong> {
    let mut options = Options::default();
    let mut rest = args;
    while let [word, tail @ ..] = rest {
        rest = tail;
        if word == "--" {
            options.cpus.extend(rest.iter().cloned());
            break;
        }
        let (name, takes, value) = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) => long_option(word, long)?,
            (None, Some(short)) if !short.is_empty() => short_option(word, short)?,
            _ => {
                options.cpus.push(word.clone());
                continue;
            }
        };
        let value = match (takes, value) {
            (Takes::Nothing, None) => String::new(),
            (Takes::Nothing, Some(_)) => return Err(Wrong::TakesNothing(word.clone())),
            (_, Some(value)) => value.to_owned(),
            (takes, None) => match (takes, rest) {
                (Takes::YesOrNo, []) => "yes".to_owned(),
                (Takes::YesOrNo, [next, ..]) if next.starts_with('-') => "yes".to_owned(),
                (_, [next, tail @ ..]) => {
                    rest = tail;
                    next.clone()
                }
                (_, []) => return Err(Wrong::NeedsArgument(word.clone())),
            },
        };
        options.set(word, name, value)?;
    }
    Ok(options)
}

type Option_<'a> = (&'static str, Takes, Option<&'a str>);

/// A long name, or the beginning of one alone.
fn long_option<'a>(word: &str, long: &'a str) -> Result<Option_<'a>, Wrong> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let begin: Vec<_> = OPTIONS
        .iter()
        .filter(|(known, ..)| known.starts_with(name))
        .collect();
    let exact = begin.iter().find(|(known, ..)| *known == name);
    match (exact, &begin[..]) {
        (Some((name, _, takes)), _) | (None, [(name, _, takes)]) => Ok((name, *takes, value)),
        (None, []) => Err(Wrong::Unknown(word.to_owned())),
        (None, _) => Err(Wrong::Ambiguous(word.to_owned())),
    }
}

/// One letter, with its value in the same word.
fn short_option<'a>(word: &str, short: &'a str) -> Result<Option_<'a>, Wrong> {
    let mut letters = short.chars();
    let letter = letters.next();
    let value = Some(letters.as_str()).filter(|value| !value.is_empty());
    OPTIONS
        .iter()
        .find(|(_, known, _)| known.is_some() && *known == letter)
        .map(|(name, _, takes)| (*name, *takes, value))
        .ok_or_else(|| Wrong::Unknown(word.to_owned()))
}

impl Options {
    fn set(&mut self, word: &str, name: &str, value: String) -> Result<(), Wrong> {
        let yes_or_no = |value: &str| match value.to_lowercase().as_str() {
            "yes" => Ok(Some(true)),
            "no" => Ok(Some(false)),
            _ => Err(Wrong::NotYesOrNo {
                option: word.to_owned(),
                value: value.to_owned(),
            }),
        };
        match name {
            "reset" => self.reset = true,
            "help" => self.help = true,
            "persistent" => self.persistent = yes_or_no(&value)?,
            "credential" => self.credential = yes_or_no(&value)?,
            "preserve-argv0" => self.preserve_argv0 = yes_or_no(&value)?,
            "ignore-family" => drop(yes_or_no(&value)?),
            "qemu-path" => self.path = Some(value),
            "qemu-suffix" => self.suffix = Some(value),
            _ => return Err(Wrong::WritesFiles(word.to_owned())),
        }
        Ok(())
    }
}

/// A wrong command line; the help, where only that is wanted.
pub(super) fn read(console: &Console, args: &[String]) -> Result<Option<Options>> {
    let options = parse(args).map_err(|wrong| {
        Error::new(Status::Usage, wrong.to_string()).hint(match wrong {
            Wrong::WritesFiles(_) => {
                "`binfmtctl install` writes /etc/binfmt.d, which lasts over reboots"
            }
            _ => "-h lists the options",
        })
    })?;
    match options.help {
        true => console.data(USAGE).map(|()| None),
        false => Ok(Some(options)),
    }
}

/// Carries the command line out.
pub(super) fn run(
    console: Console,
    settings: Settings,
    options: &Options,
) -> (Console, Result<Reply>) {
    let asked = list::platforms(options.cpus.iter().map(String::as_str));
    let order = match order(&settings, options, &asked) {
        Ok(order) => order,
        Err(error) => return (console, Err(run_time(error))),
    };
    if options.persistent == Some(false) {
        console.note(
            "persistent no: the flag F is set all the same, since without it containers don't find the emulator",
        );
    }
    let lenient = settings.lenient;
    let context = match settings.context(console, None) {
        Ok(context) => context,
        Err((console, error)) => return (console, Err(run_time(error))),
    };
    let failure = match in_place::run(&context, &order) {
        Ok(done) => tell(&context, &asked, done),
        Err(error) => Some(error),
    };
    let reply = match (lenient, failure.map(run_time)) {
        (true, Some(error)) => {
            context.console.error(&error);
            Ok(Reply::default())
        }
        (_, failure) => Ok(Reply {
            failure,
            ..Reply::default()
        }),
    };
    (context.console, reply)
}

fn order(settings: &Settings, options: &Options, asked: &Asked) -> Result<Order> {
    let variables = &settings.variables;
    let dir = [
        options.path.as_deref().map(AsRef::as_ref),
        variables.bin_dir.as_deref(),
        variables.binary_path.as_deref(),
    ];
    let dir = dir.into_iter().flatten().next();
    let suffixes = match &options.suffix {
        Some(suffix) => vec![suffix.as_str()],
        None => vec!["-static", ""],
    };
    let only_named = !asked.named.is_empty() || !asked.unknown.is_empty();
    let every = match (&asked.every, only_named) {
        (None, true) => None,
        (set, _) => Some(set.clone().unwrap_or(Request::AllTargets)),
    };
    Ok(Order {
        directory: Directory::new(dir.unwrap_or("/usr/bin".as_ref()).as_ref(), "", &suffixes)?,
        remove: match options.reset {
            true => Pattern::new("qemu-*")
                .map(Removal::Matching)
                .into_iter()
                .collect(),
            false => Vec::new(),
        },
        named: asked.named.clone(),
        every: every.map(|of| Every { of, must_run: true }),
        credentials: options.credential == Some(true),
        argv0: match options.preserve_argv0 {
            None => Argv0::WhereUnderstood,
            Some(true) => Argv0::Kept,
            Some(false) => Argv0::NotKept,
        },
        manifest: settings.manifest.clone(),
    })
}

fn tell(context: &Context, asked: &Asked, done: Done) -> Option<Error> {
    let say = |text: &str| context.console.note(text);
    for Removed { name, fate } in &done.removed {
        match fate {
            Fate::Removed => say(&format!("removed the rule {name}")),
            Fate::Kept(why) => say(&format!("kept the rule {name}: {why}")),
            Fate::Failed(why) => say(why),
            Fate::Absent => {}
        }
    }
    for installed in &done.installed {
        let platform = installed.platform;
        let cpu = platform.emulator;
        match &installed.outcome {
            Outcome::Native if installed.of_set => {}
            Outcome::Native => say(&format!(
                "{cpu} programs run natively; nothing was registered"
            )),
            Outcome::Kept(rule) => say(&format!(
                "{cpu} programs run by the rule {rule} already, which is kept (--reset replaces it)"
            )),
            Outcome::InPlace => say(&format!("the rule for {cpu} was in place already")),
            Outcome::Registered {
                rules,
                interpreter,
                behind,
            } => {
                let interpreter = interpreter.display();
                say(&format!(
                    "Setting {interpreter} as binfmt interpreter for {cpu}"
                ));
                if !behind.is_empty() {
                    say(&format!(
                        "its rule is {}, in front of {}, by which it didn't run",
                        rules.join(", "),
                        behind.join(", ")
                    ));
                }
            }
            Outcome::Failed(why) => say(why),
        }
    }
    for unknown in &asked.unknown {
        say(&unknown.to_string());
    }
    done.warnings.iter().for_each(|text| say(text));
    done.failure.or_else(|| refuse_unknown(&asked.unknown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn options(line: &str) -> Options {
        parse(&words(line)).unwrap_or_else(|wrong| panic!("{line}: {wrong}"))
    }

    #[test]
    fn the_most_copied_line_is_understood_however_it_is_written() {
        for line in [
            "--reset -p yes",
            "--reset -pyes",
            "--reset --persistent yes",
            "--reset --persistent=yes",
            "--reset --persist yes",
            "--reset -p",
            "-p --reset",
            "-p YES --reset",
        ] {
            let options = options(line);
            assert!(options.reset, "{line}");
            assert_eq!(options.persistent, Some(true), "{line}");
            assert_eq!(options.cpus, Vec::<String>::new());
        }
    }

    #[test]
    fn every_option_has_its_value() {
        let read = options("-c yes -g no -p no -Q /q -F -static -i yes aarch64 -- -x");
        let expected = Options {
            credential: Some(true),
            preserve_argv0: Some(false),
            persistent: Some(false),
            path: Some("/q".to_owned()),
            suffix: Some("-static".to_owned()),
            cpus: words("aarch64 -x"),
            ..Options::default()
        };
        assert_eq!(read, expected);
        assert_eq!(
            options(
                "--credential=yes --preserve-argv0 no --persistent no --qemu-path=/q --qemu-suffix -static aarch64 -- -x"
            ),
            expected
        );
        assert!(options("-h").help && options("--help").help);
    }

    #[test]
    fn what_getopt_refuses_is_refused() {
        let table = [
            ("--foo", "unrecognized option '--foo'"),
            ("-x", "unrecognized option '-x'"),
            ("--qemu x", "option '--qemu' is ambiguous"),
            ("--qemu-path", "option '--qemu-path' requires an argument"),
            ("--reset=1", "option '--reset=1' doesn't allow an argument"),
            ("-p maybe", "option '-p' is yes or no, not 'maybe'"),
            (
                "--systemd ALL",
                "option '--systemd', which writes files for other tools, isn't supported",
            ),
        ];
        for (line, message) in table {
            assert_eq!(
                parse(&words(line)).unwrap_err().to_string(),
                message,
                "{line}"
            );
        }
    }

    #[test]
    fn every_emulator_is_asked_for_unless_some_are_named() {
        let order_of = |line: &str| {
            let options = options(line);
            let asked = list::platforms(options.cpus.iter().map(String::as_str));
            order(&Settings::default(), &options, &asked).unwrap()
        };
        let all = order_of("--reset -p yes");
        assert_eq!(all.remove.len(), 1);
        assert_eq!(all.every.map(|every| every.of), Some(Request::AllTargets));
        assert!(!all.credentials);
        let some = order_of("-c yes aarch64 arm");
        assert!(some.remove.is_empty() && some.every.is_none() && some.credentials);
        assert_eq!(some.named.len(), 2);
        assert_eq!(order_of("nonsense").every, None);
        let paths: Vec<_> = some.directory.candidates(some.named[0]).collect();
        assert_eq!(
            paths,
            ["/usr/bin/qemu-aarch64-static", "/usr/bin/qemu-aarch64"].map(std::path::PathBuf::from)
        );
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(words in prop::collection::vec("-{0,2}[a-zA-Z-]{0,6}(=[a-z]{0,3})?|\\PC{0,3}", 0..6)) {
            let _ = parse(&words);
        }
    }
}
