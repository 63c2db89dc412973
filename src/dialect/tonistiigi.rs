//! The command line of tonistiigi/binfmt: uninstall, then install, then always
//! the state as one JSON document on stdout, for which everything else goes to
//! stderr. Its exit status is 0 where all of it holds, 1 where it doesn't, and
//! 2 for a wrong command line.

use std::path::Path;

use serde::Serialize;

use super::go_flags::{self, Flag, Kind, Parsed, Stop};
use super::{Settings, Variables, failure, list};
use crate::binfmt::instance::DEFAULT_MOUNT;
use crate::commands::install::in_place::{
    self, Done, Every, Fate, Installed, Order, Outcome, Removed, Wish,
};
use crate::commands::{Context, Reply, load_manifest};
use crate::emulator::directory::Directory;
use crate::error::{Error, Result, Status};
use crate::platform::{PLATFORMS, Platform};
use crate::report::console::Console;
use crate::report::plain::visible;
use crate::report::{Document, ErrorReport};

/// Its flags, in the order in which Go lists them.
pub(super) const FLAGS: [Flag; 4] = [
    Flag {
        name: "install",
        kind: Kind::Text,
        usage: "architectures to install",
        default: "",
    },
    Flag {
        name: "mount",
        kind: Kind::Text,
        usage: "binfmt_misc mount point",
        default: DEFAULT_MOUNT,
    },
    Flag {
        name: "uninstall",
        kind: Kind::Text,
        usage: "architectures to uninstall",
        default: "",
    },
    Flag {
        name: "version",
        kind: Kind::Switch,
        usage: "display version",
        default: "",
    },
];

const MORE: &str = "
This is binfmtctl, speaking the language of tonistiigi/binfmt. A list is one
word: platforms by any name, `all`, separated by commas; to uninstall also names
of entries, and patterns such as 'qemu-*'. Emulators are registered where they are:
  QEMU_BINARY_PATH     their directory (default /usr/bin)
  QEMU_BINARY_PREFIX   what the names of files and rules have before qemu-
  QEMU_PRESERVE_ARGV0  say so where the flag P, which is set wherever kernel and
                       QEMU understand it, can't be set
  BINFMTCTL_LENIENT=1  exit 0 whatever fails, as the original does; a wrong flag
                       is 2, as there
  BINFMTCTL_USERNS=1   work on the rules of the current user namespace
Rules get the flag C here: sudo works in emulated containers, and QEMU runs as
root for it. Those of `install`, the command, get it only with --credentials.
`help` lists binfmtctl's own commands, which work under this name too.";

/// Reads the command line and carries it out.
pub(super) fn run(console: &Console, program: &str, words: &[String]) -> Result<Reply> {
    let Some(parsed) = read(console, program, words)? else {
        return Ok(Reply::default());
    };
    let settings = Settings::read();
    let lenient = settings.as_ref().is_ok_and(|settings| settings.lenient);
    if let Some(word) = parsed.rest.first() {
        let error = Error::new(Status::Usage, format!("nothing is known of '{word}'"))
            .hint("a list is one word, as in --install arm64,riscv64");
        match lenient {
            true => console.say(&error.line().to_string()),
            false => return Err(error),
        }
    }
    let order = order(&Variables::read(), &parsed);
    if parsed.is_on("version") {
        let manifest = settings
            .ok()
            .and_then(|settings| settings.manifest.manifest);
        console.say(&version(manifest.as_deref(), order.as_ref().ok()));
        return Ok(Reply::default());
    }
    let settings = settings?;
    let manifest = settings.manifest.manifest.clone();
    let mount = parsed.text("mount").map(Into::into);
    let told = settings.console();
    let (state, error) = match settings.context(told, mount) {
        Ok(context) => carry_out(&context, order, manifest.as_deref()),
        Err(error) => (Document::new(), Some(error)),
    };
    document(state, failure(console, lenient, error))
}

/// A wrong command line is told as Go does, but what is wrong comes last; of
/// one that only asks for help nothing is left.
fn read<'a>(console: &Console, program: &str, words: &'a [String]) -> Result<Option<Parsed<'a>>> {
    let usage = || go_flags::usage(&visible(program), &FLAGS);
    match go_flags::parse(&FLAGS, words) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(Stop::Help) => {
            console.help(&format!("{}\n{MORE}", usage()));
            Ok(None)
        }
        Err(stop) => {
            console.help(&usage());
            Err(Error::new(Status::Usage, stop.to_string()).hint("see the flags above"))
        }
    }
}

/// Does what was ordered. The state is told in any case.
fn carry_out(
    context: &Context,
    order: Result<Order>,
    manifest: Option<&Path>,
) -> (Document, Option<Error>) {
    let done = order.and_then(|order| {
        let done = in_place::run(context, &order, manifest)?;
        Ok(tell(context, &order, done))
    });
    done.unwrap_or_else(|error| {
        let state = in_place::state(context, manifest);
        (state.unwrap_or_else(|_| native(context)), Some(error))
    })
}

pub(super) fn order(variables: &Variables, parsed: &Parsed<'_>) -> Result<Order> {
    let asked = list::platforms(parsed.text("install"));
    let dir = variables
        .binary_path
        .as_deref()
        .unwrap_or("/usr/bin".as_ref());
    let prefix = variables.binary_prefix.as_deref().unwrap_or_default();
    let prefix = prefix.to_str().ok_or_else(|| {
        let prefix = prefix.to_string_lossy();
        Error::new(
            Status::Usage,
            format!("QEMU_BINARY_PREFIX, '{prefix}', isn't UTF-8 text"),
        )
    })?;
    Ok(Order {
        directory: Directory::new(dir.as_ref(), prefix, &[""])?,
        remove: parsed
            .text("uninstall")
            .map(list::removals)
            .unwrap_or_default(),
        named: asked.named,
        every: asked.every.map(|of| Every {
            of,
            must_run: false,
        }),
        unknown: asked.unknown,
        credentials: Wish::told(true),
        argv0: match variables.preserve_argv0 {
            true => Wish::told(true),
            false => Wish::new(true),
        },
    })
}

/// Says in the original's form what became of everything.
fn tell(context: &Context, order: &Order, done: Done) -> (Document, Option<Error>) {
    let say = |text: &str| context.console.note(text);
    for Removed { name, fate } in &done.removed {
        say(&match fate {
            Fate::Removed => format!("uninstalling: {name} OK"),
            Fate::Absent => format!("uninstalling: {name} not found"),
            Fate::Kept(why) => format!("uninstalling: {name} kept: {why}"),
            Fate::Failed(why) => format!("uninstalling: {name} failed: {why}"),
        });
    }
    for installed in &done.installed {
        if let Some(outcome) = outcome(installed) {
            say(&format!(
                "installing: {} {outcome}",
                short(installed.platform)
            ));
        }
    }
    for unknown in &order.unknown {
        say(&format!("installing: {} failed: {unknown}", unknown.name));
    }
    done.warnings.iter().for_each(|text| say(text));
    (done.document, done.failure)
}

fn outcome(installed: &Installed) -> Option<String> {
    Some(match &installed.outcome {
        Outcome::Native if installed.of_set => return None,
        Outcome::Native => "OK: this host runs it natively, so nothing was registered".to_owned(),
        Outcome::Kept { rule, but } => {
            let but: String = but.iter().map(|what| format!("; it {what}")).collect();
            format!("OK: the rule {rule} runs it already, and is kept{but}")
        }
        Outcome::InPlace => "OK: it was in place already".to_owned(),
        Outcome::Registered { rules, behind, .. } if behind.is_empty() => {
            match rules.iter().any(|rule| rule.contains("qemu-")) {
                true => "OK".to_owned(),
                false => format!("OK as {}", rules.join(", ")),
            }
        }
        Outcome::Registered { rules, behind, .. } => format!(
            "OK as {}, in front of {}, by which it didn't run",
            rules.join(", "),
            behind.join(", ")
        ),
        Outcome::Failed(why) => format!("failed: {why}"),
    })
}

/// The platform's name without its operating system.
pub(super) fn short(platform: &Platform) -> &'static str {
    platform.name.trim_start_matches("linux/")
}

/// In the original's form: this program, the emulators, what made it.
fn version(manifest: Option<&Path>, order: Option<&Order>) -> String {
    let own = env!("CARGO_PKG_VERSION");
    let mut platforms = PLATFORMS.iter().filter(|platform| platform.engine);
    let found = order.and_then(|order| {
        platforms.find_map(|platform| order.directory.find(platform).ok().flatten())
    });
    let qemu = match found {
        Some(found) => found.qemu,
        None => load_manifest(manifest)
            .ok()
            .map(|manifest| manifest.default),
    };
    let qemu = qemu.map_or("unknown".to_owned(), |qemu| format!("v{qemu}"));
    format!("binfmt/{own} qemu/{qemu} binfmtctl/{own}")
}

/// What scripts parse, first; then everything else that is known.
#[derive(Serialize)]
struct State {
    supported: Vec<String>,
    emulators: Option<Vec<String>>,
    #[serde(flatten)]
    rest: Document,
}

fn document(mut document: Document, failure: Option<Error>) -> Result<Reply> {
    document.error = failure.as_ref().map(ErrorReport::from);
    let state = State {
        supported: document.supported.take().unwrap_or_default(),
        // None at all are `null`.
        emulators: document.emulators.take().filter(|names| !names.is_empty()),
        rest: document,
    };
    let text = serde_json::to_string_pretty(&state)
        .map_err(|error| Error::new(Status::Failed, "cannot write the document").because(error))?;
    Ok(Reply {
        text: Some(text + "\n"),
        failure,
        document: None,
    })
}

/// The state of a host of which only its kind is known.
fn native(context: &Context) -> Document {
    Document {
        supported: Some(vec![context.host.platform.name.to_owned()]),
        ..Document::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str, test: impl FnOnce(&Parsed<'_>)) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        test(&go_flags::parse(&FLAGS, &words).unwrap());
    }

    #[test]
    fn an_order_is_what_flags_and_variables_say() {
        let mut variables = Variables::default();
        parsed("--uninstall qemu-* --install arm64,all", |parsed| {
            let order = order(&variables, parsed).unwrap();
            assert_eq!(
                order.directory.path(),
                "/usr/bin".as_ref() as &std::path::Path
            );
            assert_eq!(order.remove.len(), 1);
            assert_eq!(order.named.len(), 1);
            assert!(order.every.is_some_and(|every| !every.must_run));
            assert_eq!(order.credentials, Wish::told(true));
            assert_eq!(order.argv0, Wish::new(true));
        });
        variables.binary_path = Some("/opt/qemu/".into());
        variables.binary_prefix = Some("my-".into());
        variables.preserve_argv0 = true;
        parsed("-install=riscv64", |parsed| {
            let order = order(&variables, parsed).unwrap();
            let path = order.directory.candidates(order.named[0]).next().unwrap();
            assert_eq!(path.to_str(), Some("/opt/qemu/my-qemu-riscv64"));
            assert_eq!(order.argv0, Wish::told(true));
        });
    }

    #[test]
    fn scripts_find_their_keys_first_and_none_is_null() {
        let document = document(
            Document {
                supported: Some(vec!["linux/amd64".to_owned()]),
                emulators: Some(Vec::new()),
                ..Document::new()
            },
            None,
        );
        let text = document.unwrap().text.unwrap();
        let start = "{\n  \"supported\": [\n    \"linux/amd64\"\n  ],\n  \"emulators\": null,\n  \"schema\": 1";
        assert!(text.starts_with(start), "{text}");
    }
}
