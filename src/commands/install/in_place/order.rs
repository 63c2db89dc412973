//! What is to be done with emulators in a directory, and what became of it.

use std::path::PathBuf;

use super::{Removal, Removed};
use crate::emulator::directory::Directory;
use crate::error::Error;
use crate::platform::{Platform, Request, UnknownName};
use crate::report::{Action, Document};

/// What is to be done.
#[derive(Debug)]
pub struct Order {
    /// Where the emulators lie.
    pub directory: Directory,
    /// Rules to remove.
    pub remove: Vec<Removal>,
    /// Platforms to install, each of which has to run afterwards.
    pub named: Vec<&'static Platform>,
    /// Further platforms to install, as far as there are emulators.
    pub every: Option<Every>,
    /// Names that were asked for and that no platform has.
    pub unknown: Vec<UnknownName>,
    /// Whether set-user-id programs get their rights (flag C).
    pub credentials: Wish,
    /// Whether `argv[0]` is kept where kernel and emulator understand it (flag P).
    pub argv0: Wish,
}

/// A set of platforms that nobody wrote down one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Every {
    /// The set.
    pub of: Request,
    /// Whether each of them that has an emulator has to run afterwards; else
    /// any one will do.
    pub must_run: bool,
}

/// Whether rules are to have a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Whether those that are registered get it.
    pub on: bool,
    /// What it means that one which is kept is otherwise.
    pub otherwise: Otherwise,
}

/// What it means that a wish isn't fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// Nothing: nobody said anything.
    Fine,
    /// A person wants to know.
    Told,
    /// What was asked for isn't so.
    Failed,
}

impl Wish {
    /// What counts where nobody said anything.
    pub fn new(on: bool) -> Self {
        let otherwise = Otherwise::Fine;
        Self { on, otherwise }
    }

    /// What people rely on without having asked for it one by one.
    pub fn told(on: bool) -> Self {
        let otherwise = Otherwise::Told;
        Self { on, otherwise }
    }

    /// What was asked for.
    pub fn required(on: bool) -> Self {
        let otherwise = Otherwise::Failed;
        Self { on, otherwise }
    }
}

/// What was done.
#[derive(Debug)]
pub struct Done {
    /// The state of the host afterwards.
    pub document: Document,
    /// What became of the rules that were to go.
    pub removed: Vec<Removed>,
    /// What became of the platforms that were to run.
    pub installed: Vec<Installed>,
    /// What a person should know besides.
    pub warnings: Vec<String>,
    /// Why the asked state doesn't hold, when it doesn't.
    pub failure: Option<Error>,
}

/// What became of a platform.
#[derive(Debug)]
pub struct Installed {
    /// The platform.
    pub platform: &'static Platform,
    /// Whether it was one of a set.
    pub of_set: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a platform that was to run.
#[derive(Debug)]
pub enum Outcome {
    /// It needs no emulator.
    Native,
    /// A rule runs it already, and isn't to be replaced.
    Kept {
        /// Its name.
        rule: String,
        /// What a person wants to know of it.
        but: Vec<&'static str>,
    },
    /// Its rules are there already.
    InPlace,
    /// These rules were registered, for this emulator.
    Registered {
        /// Whether others went for them.
        replaced: bool,
        /// Their names.
        rules: Vec<String>,
        /// The emulator's path.
        interpreter: PathBuf,
        /// Others' rules that are behind them now.
        behind: Vec<String>,
    },
    /// It couldn't be made to run; why.
    Failed(String),
}

impl Order {
    /// Whether it is about more than a look.
    pub(super) fn changes(&self) -> bool {
        !self.remove.is_empty() || !self.named.is_empty() || self.every.is_some()
    }
}

impl Outcome {
    /// The same for the document.
    pub(super) fn action(&self) -> Action {
        match self {
            Self::Native => Action::Native,
            Self::Kept { .. } | Self::InPlace => Action::Kept,
            Self::Registered { replaced: true, .. } => Action::Replaced,
            Self::Registered { .. } => Action::Installed,
            Self::Failed(_) => Action::Failed,
        }
    }
}
