//! Command lines as Go's package `flag` reads them: `-x`, `--x`, `-x=v`,
//! `--x v`; the last of several counts; the first word that is no flag, or
//! `--`, ends them. Pure; the messages are Go's.

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text, in the same word or in the next one.
    Text,
    /// Nothing, or a truth value in the same word.
    Switch,
}

/// A flag that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without a dash.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is for.
    pub usage: &'static str,
    /// What counts where it isn't given; empty for nothing.
    pub default: &'static str,
}

/// A command line that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'a> {
    values: Vec<(&'static str, String)>,
    /// What comes after the flags.
    pub rest: &'a [String],
}

/// Why a command line isn't carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Stop {
    #[error("help requested")]
    Help,
    #[error("bad flag syntax: {0}")]
    BadSyntax(String),
    #[error("flag provided but not defined: -{0}")]
    NotDefined(String),
    #[error("flag needs an argument: -{0}")]
    NeedsArgument(&'static str),
    #[error("invalid boolean value {value:?} for -{name}: parse error")]
    NotABoolean { name: &'static str, value: String },
}

impl Parsed<'_> {
    /// The last value of a text flag, where it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        let last = self.values.iter().rev().find(|(known, _)| *known == name);
        last.map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }
}

/// Reads the words after the program's name.
pub fn parse<'a>(flags: &[Flag], args: &'a [String]) -> Result<Parsed<'a>, Stop> {
    let mut values = Vec::new();
    let mut rest = args;
    while let [word, tail @ ..] = rest {
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            break;
        };
        rest = tail;
        if name == "-" {
            break;
        }
        let name = name.strip_prefix('-').unwrap_or(name);
        if name.starts_with(['-', '=']) {
            return Err(Stop::BadSyntax(word.clone()));
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
            return Err(match name {
                "help" | "h" => Stop::Help,
                name => Stop::NotDefined(name.to_owned()),
            });
        };
        let value = match (flag.kind, value) {
            (Kind::Text, Some(value)) => value,
            (Kind::Text, None) => match rest {
                [value, tail @ ..] => {
                    rest = tail;
                    value.clone()
                }
                [] => return Err(Stop::NeedsArgument(flag.name)),
            },
            (Kind::Switch, value) => boolean(flag.name, value)?.to_string(),
        };
        values.push((flag.name, value));
    }
    Ok(Parsed { values, rest })
}

fn boolean(name: &'static str, value: Option<String>) -> Result<bool, Stop> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
        Some(value) => Err(Stop::NotABoolean {
            name,
            value: value.to_owned(),
        }),
    }
}

/// The list of flags as Go prints it.
pub fn usage(program: &str, flags: &[Flag]) -> String {
    let mut text = format!("Usage of {program}:");
    for flag in flags {
        let kind = match flag.kind {
            Kind::Text => " string",
            Kind::Switch => "",
        };
        text.push_str(&format!("\n  -{}{kind}\n    \t{}", flag.name, flag.usage));
        if !flag.default.is_empty() {
            text.push_str(&format!(" (default {:?})", flag.default));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tonistiigi::FLAGS;
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_flag_has_one_dash_or_two_and_its_value_here_or_next() {
        for line in [
            "-install a,b",
            "--install a,b",
            "-install=a,b",
            "--install=a,b",
        ] {
            let words = words(line);
            let parsed = parse(&FLAGS, &words).unwrap();
            assert_eq!(parsed.text("install"), Some("a,b"), "{line}");
            assert!(parsed.rest.is_empty());
        }
    }

    #[test]
    fn the_last_one_counts() {
        let words = words("-install a --version -install= -version=F");
        let parsed = parse(&FLAGS, &words).unwrap();
        assert_eq!(parsed.text("install"), Some(""));
        assert!(!parsed.is_on("version"));
        assert_eq!(parsed.text("mount"), None);
    }

    #[test]
    fn a_value_may_look_like_a_flag() {
        let words = words("--install --version -version");
        let parsed = parse(&FLAGS, &words).unwrap();
        assert_eq!(parsed.text("install"), Some("--version"));
        assert!(parsed.is_on("version"));
    }

    #[test]
    fn the_first_other_word_ends_the_flags() {
        for (line, rest) in [
            ("-version x -install", "x -install"),
            ("-version - -x", "- -x"),
            ("-version -- -x", "-x"),
        ] {
            let (line, rest) = (words(line), words(rest));
            let parsed = parse(&FLAGS, &line).unwrap();
            assert_eq!(parsed.rest, rest);
            assert!(parsed.is_on("version"));
        }
    }

    #[test]
    fn what_go_refuses_is_refused_in_gos_words() {
        let table = [
            ("--foo", "flag provided but not defined: -foo"),
            ("-foo=1", "flag provided but not defined: -foo"),
            ("---x", "bad flag syntax: ---x"),
            ("-=x", "bad flag syntax: -=x"),
            ("--=x", "bad flag syntax: --=x"),
            ("-version --install", "flag needs an argument: -install"),
            (
                "-version=yes",
                "invalid boolean value \"yes\" for -version: parse error",
            ),
            ("-h", "help requested"),
            ("-version --help -foo", "help requested"),
        ];
        for (line, message) in table {
            let stop = parse(&FLAGS, &words(line)).unwrap_err();
            assert_eq!(stop.to_string(), message, "{line}");
        }
    }

    #[test]
    fn usage_is_listed_as_go_does() {
        assert_eq!(
            usage("/usr/bin/binfmt", &FLAGS),
            "Usage of /usr/bin/binfmt:\n  -install string\n    \tarchitectures to install\n  -mount string\n    \tbinfmt_misc mount point (default \"/proc/sys/fs/binfmt_misc\")\n  -uninstall string\n    \tarchitectures to uninstall\n  -version\n    \tdisplay version"
        );
    }

    fn any_word() -> impl Strategy<Value = String> {
        prop_oneof![
            "-{0,3}(install|version|foo|h)?(=[a-z1=-]{0,3})?",
            "[a-z,=-]{0,4}",
        ]
    }

    proptest! {
        #[test]
        fn any_line_ends_in_a_stop_or_with_a_tail_of_itself(words in prop::collection::vec(any_word(), 0..8)) {
            if let Ok(parsed) = parse(&FLAGS, &words) {
                prop_assert!(words.ends_with(parsed.rest));
                let flag = |word: &String| word.len() > 1 && word.starts_with('-');
                let ended = words.len() - parsed.rest.len();
                let by_dashes = ended > 0 && words[ended - 1] == "--";
                prop_assert!(by_dashes || parsed.rest.first().is_none_or(|word| !flag(word)));
            }
        }

        #[test]
        fn how_it_is_written_makes_no_difference(value in "[^=]{0,6}", other: bool) {
            let forms = [
                vec!["-install".to_owned(), value.clone()],
                vec!["--install".to_owned(), value.clone()],
                vec![format!("-install={value}")],
                vec![format!("--install={value}")],
            ];
            for mut form in forms {
                if other {
                    form.insert(0, "-version".to_owned());
                }
                let parsed = parse(&FLAGS, &form).unwrap();
                prop_assert_eq!(parsed.text("install"), Some(value.as_str()));
                prop_assert_eq!(parsed.is_on("version"), other);
            }
        }
    }
}
