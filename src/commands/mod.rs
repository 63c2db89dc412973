//! The verbs, one file each. A verb is one function that reads as its story;
//! what it needs of the outside world comes in a [`Context`].

pub mod apply;
pub mod check;
pub mod completions;
pub mod doctor;
pub mod host_paths;
pub mod install;
pub mod man;
pub mod manifest;
pub mod status;
pub mod uninstall;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::binfmt::boot::CONF;
use crate::binfmt::instance::Lock;
use crate::binfmt::{Instance, Lifetime, instance, mount};
use crate::emulator::directory::Directory;
use crate::emulator::manifest::Manifest;
use crate::emulator::store::{DEFAULT_PREFIX, Store};
use crate::error::{Error, Result, Status};
use crate::host::Host;
use crate::platform::{self, Request, UnknownName};
use crate::report::Document;
use crate::report::console::Console;
use crate::report::survey::Scope;

/// How long to wait for another run; while a host boots, several may do the
/// same at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every verb works with.
#[derive(Debug)]
pub struct Context {
    /// The host.
    pub host: Host,
    /// The mount point of the instance.
    pub mount: PathBuf,
    /// Whether to work on the user namespace's own instance.
    pub userns: bool,
    /// Whether this process came from a container, and is on the host by now.
    pub from_container: bool,
    /// Our emulators.
    pub store: Store,
    /// Emulators that somebody else put somewhere, to be looked at first.
    pub emulators: Option<Arc<Directory>>,
    /// Our conf file.
    pub conf: PathBuf,
    /// What this run has found out about how long its rules live.
    pub lifetime: OnceLock<Lifetime>,
    /// How much to do at once, where it was said.
    pub jobs: Option<usize>,
    /// How to talk.
    pub console: Console,
}

/// A verb's answer.
#[derive(Debug, Default)]
pub struct Reply {
    /// The document, for the commands that have one.
    pub document: Option<Document>,
    /// Plain data, for those that haven't.
    pub text: Option<String>,
    /// Why the asked state doesn't hold, when it doesn't.
    pub failure: Option<Error>,
}

impl Reply {
    /// A document, and nothing to complain of.
    pub fn document(document: Document) -> Self {
        Self {
            document: Some(document),
            ..Self::default()
        }
    }
}

/// A value as a JSON document, for the commands whose document is their own.
fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Error::new(Status::Failed, "cannot write the document").because(error))
}

impl Context {
    /// Where a survey looks.
    pub fn scope<'a>(&'a self, manifest: impl Into<Option<&'a Manifest>>) -> Scope<'a> {
        Scope {
            host: &self.host,
            mount: &self.mount,
            store: &self.store,
            conf: &self.conf,
            manifest: manifest.into(),
            everything: true,
            rereads: false,
            jobs: self.jobs,
        }
    }

    /// Whether instance, store and file are where a boot looks for them.
    pub fn has_usual_places(&self) -> bool {
        self.mount == Path::new(instance::DEFAULT_MOUNT)
            && self.store.prefix() == Path::new(DEFAULT_PREFIX)
            && self.conf == Path::new(CONF)
    }

    /// The instance that this run may change, mounted if need be.
    pub fn instance(&self) -> Result<Instance> {
        if self.userns && !self.host.initial_user_ns {
            return Instance::of_user_namespace(&self.mount, &self.host);
        }
        let (instance, lifetime) = Instance::find_or_mount(&self.mount, &self.host)?;
        if let Some(lifetime) = lifetime {
            self.learn(lifetime);
        }
        Ok(instance)
    }

    /// The same to remove rules from. What has some is mounted, and who only
    /// takes away needn't have PID 1 hold it.
    pub fn instance_with_rules(&self) -> Result<Instance> {
        match Instance::find(&self.mount) {
            Some(instance) if !self.userns => Ok(instance),
            _ => self.instance(),
        }
    }

    /// Lets this run see the rules that the host has, in a container that
    /// hasn't mounted them.
    pub fn show(&self) -> Result<()> {
        if !self.userns && Instance::show(&self.mount, &self.host)? {
            self.learn(Lifetime::Elsewhere);
        }
        Ok(())
    }

    /// Keeps what was found out about how long the rules live.
    pub fn learn(&self, lifetime: Lifetime) {
        // What was seen first was seen without any rule of this run's.
        let _ = self.lifetime.set(lifetime);
    }

    /// The right to change the instance's rules. Another run is waited for, but
    /// not for ever.
    pub fn lock(&self, instance: &Instance) -> Result<Lock> {
        let deadline = Instant::now() + PATIENCE;
        let mut told = false;
        loop {
            match instance.lock() {
                Err(error) if error.status() == Status::Locked && Instant::now() < deadline => {
                    if !told {
                        let (why, seconds) = (error.reason(), PATIENCE.as_secs());
                        let text = format!("{why}; waiting up to {seconds} s for it to end");
                        self.console.note(&text);
                        told = true;
                    }
                    thread::sleep(Duration::from_millis(100));
                }
                locked => return locked,
            }
        }
    }

    /// Refuses to start what couldn't be finished: here, without rights, or
    /// beside another run.
    pub fn require_rights(&self) -> Result<()> {
        self.could_change()?;
        match Instance::find(&self.mount) {
            Some(instance) if !self.userns => instance.lock().map(drop),
            _ => Ok(()),
        }
    }

    /// Whether this process could change the instance at all; nobody else
    /// is held up meanwhile.
    pub fn could_change(&self) -> Result<()> {
        if let Some(own) = self.host.emulated {
            return Err(Error::new(
                Status::Unsupported,
                format!(
                    "this binfmtctl is for {} and itself runs emulated on a {} host",
                    own.name, self.host.platform.name
                ),
            )
            .hint(format!("use the binfmtctl for {}", self.host.platform.name)));
        }
        if !self.host.kernel.fixes_binaries() {
            return Err(Error::new(
                Status::Unsupported,
                format!(
                    "Linux {} can't open an emulator ahead (flag F), so containers wouldn't find it",
                    self.host.kernel
                ),
            )
            .hint("it takes Linux 4.8 or later"));
        }
        if !self.host.initial_user_ns && !self.userns {
            return Err(Error::new(
                Status::Permission,
                "this is a user namespace, from which the host's rules can't be changed",
            )
            .hint("run it on the host, or give this namespace rules of its own with --userns or BINFMTCTL_USERNS=1 (Linux 6.7 or later)"));
        }
        match Instance::find(&self.mount) {
            // Already mounted, it takes the file's rights, not a capability.
            Some(instance) if !self.userns => instance.open_register().map(drop),
            None if !self.userns => Instance::require_mountable(&self.mount, &self.host),
            _ if self.mount != Path::new(instance::DEFAULT_MOUNT) => self.instance().map(drop),
            _ => mount::require_capability(&self.mount),
        }
    }
}

/// The manifest to use.
pub fn load_manifest(path: Option<&Path>) -> Result<Manifest> {
    match path {
        Some(path) => Manifest::read(path),
        None => Manifest::builtin(),
    }
}

/// The platforms that the words ask for.
pub fn parse_platforms(words: &[String]) -> Result<Request> {
    platform::parse(words).map_err(unknown)
}

fn unknown(name: UnknownName) -> Error {
    Error::new(Status::Usage, name.to_string())
        .hint("`binfmtctl status all-targets` lists every name")
}
