//! The command line of multiarch/qemu-user-static, which is `--reset` and the
//! options of QEMU's own qemu-binfmt-conf.sh, as getopt(1) reads them.
//!
//! Every emulator that is there is registered. F is always set: without it a
//! rule works on the host alone, which is what the lines that people copy are
//! meant to change. C is set only when asked for, as there. What it says goes
//! to stderr, and nothing to stdout but the help.

mod options;

use glob::Pattern;
pub(super) use options::is_own;
use options::{Options, Wrong, parse};

use super::{Settings, Variables, failure, is_command, list};
use crate::commands::install::in_place::{
    self, Done, Every, Fate, Order, Outcome, Removal, Removed, Wish,
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
  -g,  --preserve-argv0 yes|no: set the flag P where it is understood (default yes)
  -i,  --ignore-family yes|no:  accepted; what runs natively is found out
  -h,  --help:               show this

`binfmtctl help` lists binfmtctl's own commands.
";

/// Reads the command line and carries it out.
pub(super) fn run(console: &Console, words: &[String]) -> Result<Reply> {
    let options = read(words)?;
    if options.help {
        return console.data(USAGE).map(|()| Reply::default());
    }
    let settings = Settings::read()?;
    let (told, lenient) = (settings.console(), settings.lenient);
    if options.persistent == Some(false) {
        told.note(
            "persistent no: the flag F is set all the same, since without it containers don't find the emulator",
        );
    }
    let manifest = settings.manifest.manifest.clone();
    let done = order(&Variables::read(), &options).and_then(|order| {
        let context = settings.context(told, None)?;
        let done = in_place::run(&context, &order, manifest.as_deref())?;
        Ok(tell(&context, &order, done))
    });
    Ok(Reply {
        failure: failure(console, lenient, done.unwrap_or_else(Some)),
        ..Reply::default()
    })
}

/// What a command line says, or what is wrong with it.
pub(super) fn read(words: &[String]) -> Result<Options> {
    let options = parse(words).map_err(|wrong| {
        Error::new(Status::Usage, wrong.to_string()).hint(match wrong {
            Wrong::WritesFiles(_) => {
                "`binfmtctl install` writes /etc/binfmt.d, which lasts over reboots"
            }
            _ => "-h lists the options",
        })
    })?;
    match options.cpus.iter().find(|word| is_command(word)) {
        Some(command) if !options.help => Err(Error::new(
            Status::Usage,
            format!("'{command}' is a command of binfmtctl's own, and these options aren't"),
        )
        .hint(format!(
            "name CPUs here, or say `binfmtctl {command}` without these options"
        ))),
        _ => Ok(options),
    }
}

pub(super) fn order(variables: &Variables, options: &Options) -> Result<Order> {
    let asked = list::platforms(options.cpus.iter().map(String::as_str));
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
    // Without an answer as QEMU's own script; with one, whatever runs has to have it.
    let wish = |answer: Option<bool>, default| match answer {
        Some(on) => Wish::required(on),
        None => Wish::new(default),
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
        every: every.map(|of| Every { of, must_run: true }),
        named: asked.named,
        unknown: asked.unknown,
        credentials: wish(options.credential, false),
        argv0: wish(options.preserve_argv0, true),
    })
}

fn tell(context: &Context, order: &Order, done: Done) -> Option<Error> {
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
            Outcome::Kept { rule, .. } => say(&format!(
                "{cpu} programs run by the rule {rule} already, which is kept (--reset replaces it)"
            )),
            Outcome::InPlace => say(&format!("the rule for {cpu} was in place already")),
            Outcome::Registered {
                rules,
                interpreter,
                behind,
                ..
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
    for unknown in &order.unknown {
        say(&unknown.to_string());
    }
    done.warnings.iter().for_each(|text| say(text));
    done.failure
}

#[cfg(test)]
mod tests {
    use super::options::tests::options;
    use super::*;

    #[test]
    fn every_emulator_is_asked_for_unless_some_are_named() {
        let order_of = |line: &str| {
            let options = options(line);
            order(&Variables::default(), &options).unwrap()
        };
        let all = order_of("--reset -p yes");
        assert_eq!(all.remove.len(), 1);
        assert_eq!(all.every.map(|every| every.of), Some(Request::AllTargets));
        assert_eq!(all.credentials, Wish::new(false));
        let some = order_of("-c yes aarch64 arm");
        assert!(some.remove.is_empty() && some.every.is_none());
        assert_eq!(some.credentials, Wish::required(true));
        assert_eq!(some.named.len(), 2);
        assert_eq!(order_of("nonsense").every, None);
        let paths: Vec<_> = some.directory.candidates(some.named[0]).collect();
        assert_eq!(
            paths,
            ["/usr/bin/qemu-aarch64-static", "/usr/bin/qemu-aarch64"].map(std::path::PathBuf::from)
        );
    }
}
