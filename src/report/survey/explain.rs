//! Why a platform doesn't run: one cause out of the closed set, and the same
//! in words with the object's name.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Survey;
use crate::binfmt::Entry;
use crate::emulator::elf;
use crate::platform::Target;
use crate::probe::{self, Failure, Shape, address_space};
use crate::report::Cause;

impl Survey<'_> {
    /// The cause, in a word and in words; `None` for what runs.
    pub fn explain(&self, target: &'static Target) -> Option<(Cause, String)> {
        if let Some((shape, outcome)) = self.missed.get(target.name) {
            let failure = outcome.verdict.as_ref().err()?;
            let winner = self.first_enabled(&probe::Probe {
                shape: *shape,
                ..probe::Probe::of(target)
            });
            let (cause, detail) = self.explain_failure(failure, winner);
            let programs = match shape {
                Shape::Usual | Shape::Pie => "position-independent programs (PIE) don't run",
                Shape::Gnu => "programs with GNU's extensions (OSABI 3) don't run",
            };
            return Some((cause, format!("{programs}: {detail}")));
        }
        let failure = self.outcome(target)?.verdict.as_ref().err()?;
        let winner = self.winner(target);
        let (cause, mut detail) = self.explain_failure(failure, winner);
        if let (Cause::EmulatorFailed | Cause::Timeout, Some(bytes)) = (cause, address_space()) {
            detail = format!("{detail}, where address space is limited to {bytes} bytes");
        }
        match winner {
            Some(entry)
                if entry.enabled
                    && !self.is_ours(entry)
                    && self.is_in_front_of_ours(target, entry) =>
            {
                let name = &entry.name;
                Some((
                    Cause::Shadowed,
                    format!("rule {name} is newer than ours and doesn't work: {detail}"),
                ))
            }
            _ => Some((cause, detail)),
        }
    }

    /// Whether a rule of ours would run the target, were this entry not there.
    fn is_in_front_of_ours(&self, target: &'static Target, entry: &Entry) -> bool {
        self.matching(target)
            .skip_while(|other| other.name != entry.name)
            .skip(1)
            .any(|other| other.enabled && self.is_ours(other))
    }

    fn explain_failure(&self, failure: &Failure, winner: Option<&Entry>) -> (Cause, String) {
        let rule = winner.map_or_else(
            || "what runs it, which isn't among the rules,".to_owned(),
            |entry| format!("rule {}, {}", entry.name, entry.interpreter),
        );
        match failure {
            Failure::NotPermitted(why) => (Cause::NotPermitted, why.clone()),
            Failure::TimedOut => (
                Cause::Timeout,
                format!("{rule} didn't end within {} s", probe::LIMIT.as_secs()),
            ),
            Failure::NotTaken => self.explain_refusal(winner),
            Failure::InterpreterNotFound => match winner {
                Some(entry) if !entry.known_flags().fix_binary => (
                    Cause::NoFixBinary,
                    format!(
                        "rule {} has no flag F, so containers don't find {}",
                        entry.name, entry.interpreter
                    ),
                ),
                _ => (
                    Cause::InterpreterMissing,
                    format!("{rule} needs files that an empty root lacks"),
                ),
            },
            Failure::EmulatorFailed(how) => (Cause::EmulatorFailed, format!("{rule}: {how}")),
            Failure::ArgumentsShifted { .. } => {
                let preserves = winner.is_some_and(|entry| entry.known_flags().preserve_argv0);
                let flag = if preserves { "set" } else { "not set" };
                (
                    Cause::EmulatorFailed,
                    format!(
                        "{rule}: {failure}; flag P, which is {flag}, and this emulator don't agree"
                    ),
                )
            }
        }
    }

    /// Why the kernel took the program for nothing that it knows (ENOEXEC).
    fn explain_refusal(&self, winner: Option<&Entry>) -> (Cause, String) {
        let Some(instance) = &self.instance else {
            return (
                Cause::Unmounted,
                format!(
                    "binfmt_misc isn't mounted at {}",
                    self.scope.mount.display()
                ),
            );
        };
        let dir = instance.dir().display();
        let Some(entry) = winner else {
            return (Cause::NotRegistered, "no rule is for it".to_owned());
        };
        let (name, interpreter) = (&entry.name, &entry.interpreter);
        if !instance.enabled() {
            let all_off = format!("all rules are switched off ({dir}/status)");
            return (Cause::Disabled, all_off);
        }
        if !entry.enabled {
            return (Cause::Disabled, format!("rule {name} is switched off"));
        }
        // The kernel doesn't look for an interpreter in vain with ENOEXEC: it
        // looked at this rule and its interpreter is no program, or it looked
        // elsewhere.
        let elsewhere = !self.scope.host.initial_user_ns
            && (!entry.known_flags().fix_binary || self.is_program(Path::new(interpreter)));
        match elsewhere {
            true => (
                Cause::Unmounted,
                format!(
                    "rule {name} isn't asked: this user namespace has, or had, another binfmt_misc than the one at {dir}"
                ),
            ),
            false => (
                Cause::EmulatorFailed,
                format!("rule {name}: {interpreter} is no program that this host runs"),
            ),
        }
    }

    fn is_program(&self, path: &Path) -> bool {
        if !path.is_file() {
            // A pipe would be waited for, for ever.
            return false;
        }
        let mut head = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(elf::HEAD as u64).read_to_end(&mut head));
        read.is_ok() && elf::check(&head, self.scope.host.platform).is_ok()
    }
}
