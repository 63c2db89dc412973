//! The document that every command answers with, as data. Its keys are part
//! of the interface, a superset of what scripts parse today.

pub mod console;
pub mod details;
pub mod finding;
pub mod plain;
pub mod survey;
pub mod table;

use serde::Serialize;

use crate::error::Error;
pub use finding::{Finding, Level};

/// The whole answer of a run.
#[derive(Debug, Default, Serialize)]
pub struct Document {
    /// The version of this shape.
    pub schema: u32,
    /// What runs, by the names that container engines use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supported: Option<Vec<String>>,
    /// The names of all enabled entries, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulators: Option<Vec<String>>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostReport>,
    /// One per platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<PlatformReport>>,
    /// What `doctor` looked at, one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<Finding>>,
    /// Whether this run changed anything, or would with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
    /// Whether a person wants to know everything of each platform.
    #[serde(skip)]
    pub details: bool,
    /// Present and true when nothing was really done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Whether the rules of a dry run were tried in a throw-away user
    /// namespace; absent where there was nothing to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<bool>,
    /// Why they weren't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_rehearsed: Option<String>,
    /// Present when the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

impl Document {
    /// An empty document of the current shape.
    pub fn new() -> Self {
        Self {
            schema: 1,
            ..Self::default()
        }
    }
}

/// The host's part of the document.
#[derive(Debug, Clone, Serialize)]
pub struct HostReport {
    /// Its native platform.
    pub platform: &'static str,
    /// `uname -r`.
    pub kernel: String,
    /// Its init system.
    pub init: String,
    /// Whose rules these are: `host`, or `userns` for a user namespace's own.
    pub instance: &'static str,
    /// Whether binfmt_misc is mounted where it was looked for; in a container,
    /// whether it could be seen.
    pub mounted: bool,
    /// Whether it is switched on as a whole.
    pub enabled: bool,
    /// Whether PID 1 holds the mount; null where that can't be seen.
    pub held: Option<bool>,
}

/// Whether a platform's programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Runs {
    /// By the kernel itself.
    Native,
    /// By an emulator.
    Emulated,
    /// Not at all.
    No,
}

/// Why a platform doesn't run: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Cause {
    NotRegistered,
    Disabled,
    NoFixBinary,
    InterpreterMissing,
    EmulatorFailed,
    Timeout,
    Shadowed,
    NotPermitted,
    Unmounted,
}

/// Who wrote a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Owner {
    Binfmtctl,
    Distribution,
    Tonistiigi,
    Rosetta,
    Other,
}

/// Whether the running bytes are those of the file at the rule's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pinned {
    /// They are.
    Match,
    /// The file is gone, or has other bytes.
    Stale,
    /// It can't be seen.
    Unknown,
}

/// A comparison of the running bytes with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compared {
    /// They are the same.
    Same,
    /// They differ.
    Other,
    /// There are no others.
    Missing,
    /// The others can't be read.
    Unknown,
}

/// What the running bytes were held against.
#[derive(Debug, Clone, Serialize)]
pub struct BytesReport {
    /// The file that is at the rule's path now.
    pub file: Compared,
    /// The digest that its path in our store stands for; null where it isn't ours.
    pub store: Option<Compared>,
    /// The manifest's QEMU version that has these bytes; null where none has.
    pub manifest: Option<String>,
}

/// What brings a rule back at boot.
#[derive(Debug, Clone, Serialize)]
pub struct BootReport {
    /// The file that it is in.
    pub file: String,
    /// The service that applies that file.
    pub unit: &'static str,
}

/// What a run did with a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    Installed,
    Replaced,
    Kept,
    Native,
    Removed,
    Failed,
}

/// A platform's part of the document.
#[derive(Debug, Clone, Serialize)]
pub struct PlatformReport {
    /// The engine's name.
    pub platform: &'static str,
    /// QEMU's name.
    pub target: &'static str,
    /// Whether it runs.
    pub runs: Runs,
    /// The finer platforms that run, each measured.
    pub variants: Vec<&'static str>,
    /// Why it doesn't run.
    pub cause: Option<Cause>,
    /// The same in words, with the object's name.
    pub detail: Option<String>,
    /// The entry that the kernel uses for it.
    pub handler: Option<String>,
    /// That entry's interpreter.
    pub interpreter: Option<String>,
    /// That entry's flags.
    pub flags: Option<String>,
    /// Whose entry it is.
    pub owner: Option<Owner>,
    /// The version of the running QEMU.
    pub qemu: Option<String>,
    /// The digest of the running bytes.
    pub sha256: Option<String>,
    /// Whether those are the bytes of the file.
    pub pinned: Option<Pinned>,
    /// What those bytes were held against.
    pub bytes: Option<BytesReport>,
    /// Entries in front of that one that take some programs of the platform,
    /// though not those that were tried.
    pub in_front: Vec<String>,
    /// Other entries that match too, in the kernel's order.
    pub shadowed: Vec<String>,
    /// Whether it runs again after a reboot; null in a container, where the
    /// files that a boot reads can't be seen.
    pub persistent: Option<bool>,
    /// What brings its rule back then; null where it needs none, or nothing does.
    pub boot: Option<BootReport>,
    /// What this run did with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The rules that a dry run would have registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Vec<RehearsedRule>>,
}

/// A rule's part of a dry run.
#[derive(Debug, Clone, Serialize)]
pub struct RehearsedRule {
    /// The line as it would be written to the kernel, and to the conf file.
    pub line: String,
    /// Whether a program ran by it; null where it couldn't be tried.
    pub ran: Option<bool>,
    /// Why it didn't, or couldn't be tried.
    pub detail: Option<String>,
}

/// A failure's part of the document.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorReport {
    /// What failed, on what, and why.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The exit status.
    pub status: u8,
}

impl From<&Error> for ErrorReport {
    fn from(error: &Error) -> Self {
        Self {
            message: error.reason(),
            hint: error.advice().map(str::to_owned),
            status: error.status() as u8,
        }
    }
}
