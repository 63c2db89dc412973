//! The names that people type: `arm64`, `linux/arm/v7`, `x86_64`,
//! `qemu-riscv64-static`, `aarch64-linux-gnu`.
//!
//! A name is lower-cased and stripped of everything that isn't the
//! architecture; all arm variants are one emulator, so that a variant never
//! fails. An unknown name is an error with a suggestion, never a guess.

use super::{PLATFORMS, Platform, Variant};

/// Which platforms a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// What container engines know.
    Engine,
    /// Everything that QEMU runs.
    AllTargets,
    /// These, in the order of the table, each once.
    Named(Vec<&'static Platform>),
}

impl Request {
    /// The platforms asked for, native or not, in the order of the table.
    pub fn platforms(&self) -> Vec<&'static Platform> {
        PLATFORMS
            .iter()
            .filter(|platform| match self {
                Self::Engine => platform.engine,
                Self::AllTargets => true,
                Self::Named(named) => named.contains(platform),
            })
            .collect()
    }

    /// Whether the user wrote this platform down.
    pub fn names(&self, platform: &Platform) -> bool {
        matches!(self, Self::Named(named) if named.contains(&platform))
    }
}

/// A name that no platform has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform '{name}'{}", match suggestion {
    Some(known) => format!("; did you mean '{known}'?"),
    None => String::new(),
})]
pub struct UnknownName {
    /// What was typed.
    pub name: String,
    /// The closest name that exists.
    pub suggestion: Option<&'static str>,
}

impl UnknownName {
    fn nothing() -> Self {
        Self {
            name: String::new(),
            suggestion: None,
        }
    }
}

/// Reads platform names, separated by commas or white space in any word.
/// No words mean the engine set, `all` too; `all-targets` means everything.
/// Words that hold no name, an empty variable of a script, are an error: they
/// must not mean everything.
pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Request, UnknownName> {
    let mut named = Vec::new();
    let mut request = None;
    for name in words.iter().flat_map(|word| split(word.as_ref())) {
        match name.as_str() {
            "all-targets" => request = Some(Request::AllTargets),
            "all" => request = request.or(Some(Request::Engine)),
            _ => named.push(find(&name)?),
        }
    }
    if request == Some(Request::Engine) && !named.is_empty() {
        named.extend(Request::Engine.platforms());
        request = None;
    }
    Ok(match request {
        Some(request) => request,
        None if words.is_empty() => Request::Engine,
        None if named.is_empty() => {
            return Err(UnknownName::nothing());
        }
        None => {
            let unique = Request::Named(named).platforms();
            Request::Named(unique)
        }
    })
}

/// What one word of `check` means, as fine as it can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exact {
    /// The platform.
    pub platform: &'static Platform,
    /// Its variant, where one was named that differs from the platform.
    pub variant: Option<&'static Variant>,
}

impl Exact {
    /// The engine's name.
    pub fn name(&self) -> &'static str {
        self.variant
            .map_or(self.platform.name, |variant| variant.name)
    }
}

/// Like [`parse`], but `linux/amd64/v3` isn't `linux/amd64`, and a variant
/// that can't be measured is unknown.
pub fn parse_exact<S: AsRef<str>>(words: &[S]) -> Result<Vec<Exact>, UnknownName> {
    let mut exact = Vec::new();
    for name in words.iter().flat_map(|word| split(word.as_ref())) {
        for platform in parse(&[&name])?.platforms() {
            let variant = match level(&name) {
                Some(level) => variant(platform, level, &name)?,
                None => None,
            };
            exact.push(Exact { platform, variant });
        }
    }
    match exact.is_empty() {
        true => Err(UnknownName::nothing()),
        false => Ok(exact),
    }
}

/// The variant of this level; `None` where it is the platform itself.
fn variant(
    platform: &'static Platform,
    level: &str,
    name: &str,
) -> Result<Option<&'static Variant>, UnknownName> {
    let of_level = |variant: &&Variant| {
        variant
            .name
            .rsplit_once('/')
            .is_some_and(|(_, l)| l == level)
    };
    match platform.variants.iter().find(of_level) {
        Some(variant) => Ok(Some(variant)),
        None if BASE_LEVELS.contains(&(platform.emulator, level)) => Ok(None),
        None => Err(UnknownName {
            name: name.to_owned(),
            suggestion: platform.variants.last().map(|variant| variant.name),
        }),
    }
}

/// Levels that are the platform itself.
const BASE_LEVELS: [(&str, &str); 2] = [("x86_64", "v1"), ("aarch64", "v8")];

/// Names of 32-bit Arm's levels, which have no slash.
const ARM_LEVELS: [(&str, &[&str]); 3] = [
    ("v7", &["armv7", "armv7l", "armhf", "arm32v7"]),
    ("v6", &["armv6", "armv6l", "armel", "arm32v6"]),
    ("v5", &["armv5", "armv5tel", "arm32v5"]),
];

/// The level that a name asks for: `v7` of `linux/arm/v7` and of `armhf`.
fn level(name: &str) -> Option<&str> {
    let bare = name.strip_prefix("linux/").unwrap_or(name);
    match bare.split_once('/') {
        Some((_, level)) => Some(level),
        None => ARM_LEVELS
            .iter()
            .find(|(_, names)| names.contains(&bare))
            .map(|(level, _)| *level),
    }
}

/// The names in a word, in lower case.
fn split(word: &str) -> impl Iterator<Item = String> {
    word.split([',', ' ', '\t', '\n'])
        .map(|name| name.trim().to_lowercase())
        .filter(|name| !name.is_empty())
}

/// The platform that a single name means.
fn find(name: &str) -> Result<&'static Platform, UnknownName> {
    let bare = name.strip_prefix("linux/").unwrap_or(name);
    let bare = bare.strip_prefix("qemu-").unwrap_or(bare);
    let bare = bare.strip_suffix("-static").unwrap_or(bare);
    let lookup = |bare: &str| {
        PLATFORMS
            .iter()
            .find(|platform| known_names(platform).any(|known| known == bare))
    };
    let without_variant = |bare: &'_ str| match bare.split_once('/') {
        Some((family, variant)) if is_variant(variant) => lookup(family),
        _ => None,
    };
    lookup(bare)
        .or_else(|| without_variant(bare))
        .or_else(|| lookup(without_triple_tail(bare)))
        .ok_or_else(|| UnknownName {
            name: name.to_owned(),
            suggestion: suggest(bare),
        })
}

fn known_names(platform: &'static Platform) -> impl Iterator<Item = &'static str> {
    let engine = platform.name.strip_prefix("linux/");
    engine
        .into_iter()
        .chain([platform.emulator])
        .chain(platform.aliases.iter().copied())
        .chain(platform.targets().map(|target| target.name))
}

/// `v8`, `v7`, `v2`, `power9`, `rva22u64`: a word, not another path.
fn is_variant(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
}

/// `aarch64-linux-gnu`, `x86_64-unknown-linux-musl` without their tails.
fn without_triple_tail(bare: &str) -> &str {
    let is_triple = bare.split('-').skip(1).any(|part| part == "linux");
    match bare.split_once('-') {
        Some((architecture, _)) if is_triple => architecture,
        _ => bare,
    }
}

fn suggest(bare: &str) -> Option<&'static str> {
    PLATFORMS
        .iter()
        .flat_map(|platform| known_names(platform).map(move |known| (platform, known)))
        .map(|(platform, known)| (strsim::jaro_winkler(bare, known), platform.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_variant_is_not_its_platform_where_that_is_measured() {
        let table = [
            ("linux/amd64", "linux/amd64"),
            ("x86_64/v1", "linux/amd64"),
            ("amd64/v3", "linux/amd64/v3"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/arm64/v8", "linux/arm64"),
            ("riscv64", "linux/riscv64"),
            ("armhf", "linux/arm/v7"),
            ("armel", "linux/arm/v6"),
            ("arm", "linux/arm"),
        ];
        for (typed, name) in table {
            let exact = parse_exact(&[typed]).unwrap();
            assert_eq!(exact.iter().map(Exact::name).collect::<Vec<_>>(), [name]);
        }
        assert_eq!(parse_exact(&["arm,amd64/v2 s390x"]).unwrap().len(), 3);
        let unmeasured = [
            "linux/arm/v9",
            "amd64/v5",
            "arm64/v9",
            "riscv64/rva23u64",
            "386/v3",
        ];
        for unknown in unmeasured.into_iter().chain(["", "nonsense"]) {
            assert!(parse_exact(&[unknown]).is_err(), "{unknown}");
        }
    }

    fn one(name: &str) -> &'static str {
        match parse(&[name]).unwrap() {
            Request::Named(named) if named.len() == 1 => named[0].emulator,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn names_that_people_type() {
        let table = [
            ("x86_64", "x86_64 x86-64 x64 amd64 amd64/v2 linux/amd64/v4"),
            ("i386", "386 i386 i486 i586 i686 x86 ia32 linux/386"),
            (
                "aarch64",
                "arm64 aarch64 arm64v8 arm64/v8 armv8 linux/arm64/v9.2 LINUX/ARM64",
            ),
            (
                "arm",
                "arm arm/v7 arm/v6 arm/v5 armv7 armv7l armhf arm32v7 armv6 armv6l armel",
            ),
            (
                "arm",
                "arm32v6 armv5 armv5tel arm32v5 armv8l linux/arm/v7 qemu-arm-static",
            ),
            ("ppc64le", "ppc64le ppc64el powerpc64le"),
            (
                "riscv64",
                "riscv64 rv64 riscv64gc qemu-riscv64 riscv64-linux-gnu",
            ),
            ("mips64el", "mips64le mips64el"),
            ("loongarch64", "loong64 loongarch64 la64"),
            (
                "aarch64",
                "aarch64-linux-gnu aarch64-unknown-linux-musl aarch64-linux",
            ),
            ("microblaze", "microblaze microblaze-189"),
        ];
        for (emulator, names) in table {
            for name in names.split(' ') {
                assert_eq!(one(name), emulator, "{name}");
            }
        }
    }

    #[test]
    fn lists_are_split_on_commas_and_white_space_and_say_each_platform_once() {
        let Request::Named(named) = parse(&["arm64,riscv64 ", "linux/arm64\tarm/v7"]).unwrap()
        else {
            panic!("names were given");
        };
        let emulators: Vec<_> = named.iter().map(|platform| platform.emulator).collect();
        assert_eq!(emulators, ["aarch64", "riscv64", "arm"]);
    }

    #[test]
    fn nothing_and_all_are_the_engine_set() {
        assert_eq!(parse::<&str>(&[]), Ok(Request::Engine));
        assert_eq!(parse(&["all"]), Ok(Request::Engine));
        assert_eq!(parse(&["all-targets", "arm64"]), Ok(Request::AllTargets));
        assert_eq!(Request::Engine.platforms().len(), 11);
        assert_eq!(parse(&["all", "alpha"]).unwrap().platforms().len(), 12);
    }

    #[test]
    fn an_unknown_name_gets_a_suggestion_where_one_is_near() {
        let error = parse(&["amr64"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown platform 'amr64'; did you mean 'linux/arm64'?"
        );
        let error = parse(&["windows/amd64"]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("unknown platform 'windows/amd64'")
        );
        assert!(parse(&["linux/arm64/../x"]).is_err());
        assert!(parse(&[""]).is_err() && parse(&[" , "]).is_err());
        assert!(parse(&["zzzzqqqq"]).unwrap_err().suggestion.is_none());
    }

    fn every_name() -> Vec<&'static str> {
        let variants = PLATFORMS.iter().flat_map(|platform| platform.variants);
        let others = ["all", "all-targets", "nonsense", "\u{130}", ""];
        PLATFORMS
            .iter()
            .flat_map(known_names)
            .chain(variants.map(|variant| variant.name))
            .chain(others)
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_understood_is_called_by_its_own_names(
            words in prop::collection::vec(
                ("(linux/|qemu-|LINUX/)?", prop::sample::select(every_name()), "(-static|-linux-gnu|/v[1-9]|,|x)?"),
                0..4,
            ),
        ) {
            let words: Vec<String> = words
                .into_iter()
                .map(|(before, name, behind)| format!("{before}{name}{behind}"))
                .collect();
            if let Ok(request) = parse(&words) {
                let platforms = request.platforms();
                prop_assert!(!platforms.is_empty());
                let names: Vec<&str> = platforms.iter().map(|platform| platform.name).collect();
                prop_assert_eq!(parse(&names).unwrap().platforms(), platforms);
            }
            if let Ok(exact) = parse_exact(&words) {
                let names: Vec<&str> = exact.iter().map(Exact::name).collect();
                prop_assert_eq!(parse_exact(&names), Ok(exact));
            }
        }
    }
}
