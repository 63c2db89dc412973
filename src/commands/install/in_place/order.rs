//! What is to be done with emulators in a directory, and what became of it.

use std::path::PathBuf;

use super::{Removal, Removed};
use crate::emulator::directory::Directory;
use crate::error::Error;
use crate::platform::{Platform, Request};
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
    /// Whether set-user-id programs get their rights (flag C).
    pub credentials: bool,
    /// Whether `argv[0]` is kept (flag P).
    pub argv0: Argv0,
    /// The manifest that known bytes are in; `None` means the built-in one.
    pub manifest: Option<PathBuf>,
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

/// Whether a rule keeps `argv[0]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argv0 {
    /// Where kernel and emulator understand it.
    WhereUnderstood,
    /// In any case.
    Kept,
    /// Never.
    NotKept,
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
    /// The rule of this name runs it already, and isn't to be replaced.
    Kept(String),
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
            Self::Kept(_) | Self::InPlace => Action::Kept,
            Self::Registered { replaced: true, .. } => Action::Replaced,
            Self::Registered { .. } => Action::Installed,
            Self::Failed(_) => Action::Failed,
        }
    }
}
