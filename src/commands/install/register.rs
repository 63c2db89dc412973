//! guard -> register -> prove, for a step of a plan.
//!
//! Nothing is registered that wasn't tried, or that others than root could
//! exchange: the emulator has to be a static program for this host, and to run
//! each probe when it is started by hand; what the kernel has open then has to be
//! that file; the rule may not match anything that has to stay native.

use std::cell::Cell;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::checks::{check_emulator, check_rule, guard};
use super::plan::{Step, Terms, displaced};
use crate::binfmt::instance::Lock;
use crate::binfmt::switch::{Wanted, switch};
use crate::binfmt::{Guard, Instance, Rule};
use crate::commands::Context;
use crate::crash::{self, Point};
use crate::emulator::store::Seal;
use crate::error::{Error, Result, Status};
use crate::platform::Platform;
use crate::probe;
use crate::report::survey::Survey;

/// How often a rule is tried that somebody else's comes before, and how long
/// the pause between is.
const ATTEMPTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// What carries out the steps of a plan, also several at a time: each is about
/// another platform, and so about other rules.
pub(in crate::commands) struct Registrar<'a> {
    context: &'a Context,
    instance: &'a Instance,
    lock: &'a Lock,
    survey: &'a Survey<'a>,
    terms: &'a dyn Terms,
    guard: Guard,
}

impl<'a> Registrar<'a> {
    pub fn new(
        context: &'a Context,
        instance: &'a Instance,
        lock: &'a Lock,
        survey: &'a Survey<'a>,
        terms: &'a dyn Terms,
    ) -> Self {
        Self {
            context,
            instance,
            lock,
            survey,
            terms,
            guard: guard(survey),
        }
    }

    /// Makes the step's rules the ones that run its platform.
    pub fn carry_out(&self, step: &Step) -> Result<Vec<Rule>> {
        let seal = self.try_out(step)?;
        crash::at(Point::TriedOut);
        step.wanted
            .iter()
            .map(|wanted| self.register(step, wanted, &seal))
            .collect()
    }

    /// Refuses an emulator that couldn't work in an empty root, or that others
    /// could exchange, before any program depends on it: it has to be root's,
    /// static, for this host, and to run each probe when it is started by hand.
    fn try_out(&self, step: &Step) -> Result<Seal> {
        let host = self.context.host.platform;
        let path = step.emulator(host)?;
        let seal = self.context.store.seal(path)?;
        check_emulator(step, path, path, host, self.terms.remedy())?;
        step.wanted
            .iter()
            .try_for_each(|wanted| probe::prove_emulator(path, wanted.target))?;
        Ok(seal)
    }

    fn register(&self, step: &Step, wanted: &Wanted, seal: &Seal) -> Result<Rule> {
        check_rule(
            &self.guard,
            &wanted.named(wanted.target.name),
            step.platform,
        )?;
        let displaced = displaced(self.survey, wanted, self.terms);
        let unproved = Cell::new(false);
        let prove = || {
            let proved = probe::prove_rule(wanted.interpreter.as_ref(), wanted.target);
            unproved.set(proved.is_err());
            // The kernel has opened by its path what was looked at before.
            match proved? {
                Some(runner) => seal.require(&runner.exe),
                None => Ok(()),
            }
        };
        let switch = || switch(self.instance, self.lock, wanted, &displaced, &prove);
        let mut switched = switch();
        // An emulator that has just run a program by hand doesn't run it by a rule
        // where somebody else's came before that, who may be gone by now.
        for _ in 1..ATTEMPTS {
            if switched.is_ok() || !unproved.get() {
                break;
            }
            sleep(PAUSE);
            switched = switch();
        }
        let rule = switched?;
        self.context.console.detail(&format!(
            "registered {} for {}",
            rule.name, rule.interpreter
        ));
        Ok(rule)
    }
}

impl Step {
    /// Where its emulator lies, once it is there.
    pub(super) fn emulator(&self, host: &Platform) -> Result<&Path> {
        self.emulator.as_deref().ok_or_else(|| {
            Error::new(
                Status::Unsupported,
                format!(
                    "cannot install {}: this QEMU has no emulator of it for {} hosts",
                    self.platform.name, host.name
                ),
            )
            .hint("`binfmtctl manifest show --json` lists what there is")
        })
    }
}
