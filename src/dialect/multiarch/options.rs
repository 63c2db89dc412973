//! The options of qemu-binfmt-conf.sh as getopt(1) reads them: long names or
//! their beginnings, letters with their value in the same word or the next,
//! other words anywhere. Pure.

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
pub fn is_own(word: &str) -> bool {
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

/// An option's name, what it takes, and its value where that is in the same word.
type Given<'a> = (&'static str, Takes, Option<&'a str>);

/// A long name, or the beginning of one alone.
fn long_option<'a>(word: &str, long: &'a str) -> Result<Given<'a>, Wrong> {
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
fn short_option<'a>(word: &str, short: &'a str) -> Result<Given<'a>, Wrong> {
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
            "qemu-path" if value.is_empty() => return Err(Wrong::NeedsArgument(word.to_owned())),
            "qemu-path" => self.path = Some(value),
            "qemu-suffix" => self.suffix = Some(value),
            _ => return Err(Wrong::WritesFiles(word.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    pub fn options(line: &str) -> Options {
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
            ("--qemu-path=", "option '--qemu-path=' requires an argument"),
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

    proptest! {
        #[test]
        fn no_line_makes_it_panic(words in prop::collection::vec("-{0,2}[a-zA-Z-]{0,6}(=[a-z]{0,3})?|\\PC{0,3}", 0..6)) {
            let _ = parse(&words);
        }
    }
}
