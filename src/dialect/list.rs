//! The lists of names in the dialects, `arm64,linux/arm/v7,all`, one by one:
//! a name that nobody knows doesn't keep the others from being installed.

use glob::Pattern;

use crate::commands::install::in_place::Removal;
use crate::platform::{self, Platform, Request, UnknownName};

/// What a list of platforms asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Platforms that were written down.
    pub named: Vec<&'static Platform>,
    /// The set that was asked for beside them.
    pub every: Option<Request>,
    /// What no platform is called.
    pub unknown: Vec<UnknownName>,
}

/// Reads lists of platforms; an empty one asks for nothing.
pub fn platforms<'a>(lists: impl IntoIterator<Item = &'a str>) -> Asked {
    let mut asked = Asked::default();
    for name in lists.into_iter().flat_map(split) {
        match platform::parse(&[name]) {
            Ok(Request::Named(named)) => asked.named.extend(named),
            Ok(Request::Engine) if asked.every == Some(Request::AllTargets) => {}
            Ok(set) => asked.every = Some(set),
            Err(unknown) => asked.unknown.push(unknown),
        }
    }
    asked.named = match asked.named.is_empty() {
        true => Vec::new(),
        false => Request::Named(asked.named).platforms(),
    };
    asked
}

/// Reads a list of what is to be removed.
pub fn removals(list: &str) -> Vec<Removal> {
    split(list).map(removal).collect()
}

fn removal(name: &str) -> Removal {
    if name.eq_ignore_ascii_case("all") {
        return Removal::All;
    }
    // Go has another sign for the characters that there may not be.
    let pattern = Pattern::new(&name.replace("[^", "[!"));
    match pattern {
        Ok(pattern) if name.contains(['*', '?', '[']) => Removal::Matching(pattern),
        _ => Removal::Named(name.to_owned()),
    }
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(list: &str) -> Vec<&'static str> {
        let asked = platforms([list]);
        assert!(asked.unknown.is_empty(), "{list}");
        asked.named.iter().map(|platform| platform.name).collect()
    }

    #[test]
    fn platforms_go_by_every_name() {
        for (list, names) in [
            ("arm64", &["linux/arm64"][..]),
            ("linux/arm64,aarch64", &["linux/arm64"]),
            ("linux/arm/v7,linux/arm/v6", &["linux/arm"]),
            ("amd64/v2", &["linux/amd64"]),
            (" s390x, riscv64 ,", &["linux/riscv64", "linux/s390x"]),
            ("mipsel", &["linux/mipsle"]),
            ("", &[]),
            (",", &[]),
        ] {
            assert_eq!(named(list), names, "{list}");
        }
    }

    #[test]
    fn a_set_may_stand_beside_names() {
        let asked = platforms(["all,alpha"]);
        assert_eq!(asked.every, Some(Request::Engine));
        assert_eq!(asked.named.len(), 1);
        for list in ["all,all-targets", "all-targets,all"] {
            assert_eq!(platforms([list]).every, Some(Request::AllTargets), "{list}");
        }
        assert_eq!(platforms([""]), Asked::default());
    }

    #[test]
    fn an_unknown_name_spoils_nothing_else() {
        let asked = platforms(["arm46,s390x,solaris/sparc"]);
        assert_eq!(asked.named.len(), 1);
        let unknown: Vec<_> = asked.unknown.iter().map(|name| &*name.name).collect();
        assert_eq!(unknown, ["arm46", "solaris/sparc"]);
    }

    #[test]
    fn what_is_to_be_removed_is_a_name_or_a_pattern() {
        let table = [
            ("all", Removal::All),
            ("arm64", Removal::Named("arm64".to_owned())),
            ("qemu-*", Removal::Matching(Pattern::new("qemu-*").unwrap())),
            ("q[^x]*", Removal::Matching(Pattern::new("q[!x]*").unwrap())),
            ("qemu-[", Removal::Named("qemu-[".to_owned())),
        ];
        for (list, removal) in table {
            assert_eq!(removals(list), [removal], "{list}");
        }
        assert_eq!(removals("a,qemu-*, b").len(), 3);
        assert_eq!(removals(""), []);
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic(list in "[a-z0-9,/*?\\[\\]^! -]{0,20}", any: String) {
            for list in [&list, &any] {
                platforms([list.as_str()]);
                removals(list);
            }
        }
    }
}
