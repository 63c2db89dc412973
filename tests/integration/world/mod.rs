//! A small world for each test: a user and mount namespace of its own with an
//! empty binfmt_misc instance, and directories for the store and the conf file.
//!
//! A process holds the namespaces and ends when the test does, however that
//! ends: it reads from a pipe whose other end the test has. Nothing in here
//! reaches the host's own rules.

pub mod artifact;
pub mod cache;
pub mod deb;
mod holder;
pub mod liar;
pub mod output;
pub mod packages;
pub mod rule;
pub mod server;
pub mod space;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use binfmtctl::binfmt::Rule;
use binfmtctl::host::{Host, Kernel};
use binfmtctl::platform::{Platform, TARGETS, Target};
use serde_json::Value;
use tempfile::TempDir;

use holder::{hold, hold_inside, hold_with_users};
pub use output::Output;

const BINARY: &str = env!("CARGO_BIN_EXE_binfmtctl");
const MOUNT: &str = "/proc/sys/fs/binfmt_misc";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes an ordinary user, in a world with users.
pub const AS_USER: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all";

/// A test's world. Everything of it goes when it is dropped.
pub struct World {
    holder: Child,
    dir: TempDir,
}

/// Files by path, each with what changes when it is written.
pub type Snapshot = BTreeMap<PathBuf, (u64, i64, i64, Vec<u8>)>;

impl World {
    /// A world with an empty instance; `None`, with the reason on stderr,
    /// where this machine can't have one. Under `CI=true` that is a failure.
    pub fn new() -> Option<Self> {
        Self::unmounted().map(Self::mounted)
    }

    /// Hides the host's own instance, so that none is seen where the world's
    /// is unmounted.
    pub fn alone(self) -> Self {
        let hide = format!(
            "umount {MOUNT} 2>/dev/null || true
            mount -t tmpfs tmpfs {MOUNT}
            mount -t binfmt_misc binfmt_misc {MOUNT}"
        );
        self.sh(&hide).assert_exit(0);
        self
    }

    fn mounted(self) -> Self {
        self.sh(&format!("mount -t binfmt_misc binfmt_misc {MOUNT}"))
            .assert_exit(0);
        self
    }

    /// A world whose user namespace has no instance yet.
    pub fn unmounted() -> Option<Self> {
        static CLOSED: OnceLock<Option<String>> = OnceLock::new();
        if let Some(reason) = CLOSED.get_or_init(closed) {
            skip(reason);
            return None;
        }
        Some(Self {
            holder: hold().expect("a namespace could be made a moment ago"),
            dir: directory(),
        })
    }

    /// A world with an empty instance that has other users than root.
    pub fn with_users() -> Option<Self> {
        Self::unmounted()?;
        match hold_with_users() {
            Ok(holder) => Some(Self::mounted(Self {
                holder,
                dir: directory(),
            })),
            Err(reason) => {
                skip(&format!("only root can make users: {reason}"));
                None
            }
        }
    }

    /// A user and mount namespace in this world, without an instance of its
    /// own yet.
    pub fn inner(&self) -> Self {
        Self {
            holder: hold_inside(&self.holder).expect("a namespace in a namespace"),
            dir: directory(),
        }
    }

    /// The process that holds the namespaces.
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// A path in the world's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the store is.
    pub fn prefix(&self) -> PathBuf {
        self.path("store")
    }

    /// Where the conf file is.
    pub fn conf_path(&self) -> PathBuf {
        self.path("etc/binfmt.d/zz-binfmtctl.conf")
    }

    /// What the conf file says; nothing where there is none.
    pub fn conf(&self) -> String {
        fs::read_to_string(self.conf_path()).unwrap_or_default()
    }

    /// The rules in the conf file.
    pub fn conf_rules(&self) -> Vec<Rule> {
        binfmtctl::binfmt::conf::parse(&self.conf()).expect("a valid conf file")
    }

    /// The names of the rules in the conf file.
    pub fn conf_names(&self) -> Vec<String> {
        self.conf_rules()
            .into_iter()
            .map(|rule| rule.name)
            .collect()
    }

    /// A command that starts in this world, with binfmtctl's environment.
    pub fn command(&self, program: &str) -> Command {
        self.command_within(120, program)
    }

    /// The same, killed after so many seconds.
    pub fn command_within(&self, seconds: u32, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=1", &seconds.to_string()])
            .args(["nsenter", "--preserve-credentials"])
            .args(["--user", "--mount", "--target"])
            .arg(self.holder.id().to_string())
            .arg(program)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .env("BINFMTCTL", BINARY)
            // How much happens at once must make no difference: whoever runs the
            // tests may say.
            .envs(std::env::var_os("BINFMTCTL_JOBS").map(|jobs| ("BINFMTCTL_JOBS", jobs)))
            .env("BINFMTCTL_USERNS", "1")
            .env("BINFMTCTL_PREFIX", self.prefix())
            .env("BINFMTCTL_CONF", self.conf_path())
            .env("BINFMTCTL_SOURCE", cache::packages())
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs binfmtctl.
    pub fn run<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let mut command = self.command(BINARY);
        for arg in args {
            command.arg(arg.as_ref());
        }
        Output::of(&mut command)
    }

    /// Runs binfmtctl with the words of one line.
    pub fn ctl(&self, line: &str) -> Output {
        self.run(line.split_whitespace())
    }

    /// Runs binfmtctl with the words of one line, and with these variables,
    /// each of which stands for an option.
    pub fn ctl_with(&self, line: &str, variables: &[(&str, &Path)]) -> Output {
        let mut command = self.command(BINARY);
        command.args(line.split_whitespace());
        Output::of(command.envs(variables.iter().copied()))
    }

    /// Installs these platforms from the pinned packages, which has to succeed.
    #[track_caller]
    pub fn install(&self, platforms: &str) -> Output {
        self.ctl(&format!("install {platforms}")).assert_exit(0)
    }

    /// Runs a shell script.
    pub fn sh(&self, script: &str) -> Output {
        Output::of(self.command("sh").args(["-euc", script]))
    }

    /// Runs a program, whatever platform it is for.
    pub fn exec(&self, program: &Path, args: &[&str]) -> Output {
        let program = program.to_str().expect("plain text");
        Output::of(self.command(program).args(args))
    }

    /// What status says about one platform.
    pub fn status(&self, platform: &str) -> Value {
        let json = self
            .ctl(&format!("status {platform} --json"))
            .assert_exit(0)
            .json();
        json["platforms"][0].clone()
    }

    /// Whether a platform runs, and on what: `emulated`, `native`, `no`.
    pub fn runs(&self, platform: &str) -> String {
        text(&self.status(platform)["runs"])
    }

    /// The instance's directory, as this process sees it.
    pub fn instance(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{MOUNT}", self.holder.id()))
    }

    /// All rules: name and text.
    pub fn entries(&self) -> BTreeMap<String, String> {
        let files = fs::read_dir(self.instance()).expect("the instance");
        files
            .map(|file| file.expect("the instance").path())
            .filter(|path| !path.ends_with("register") && !path.ends_with("status"))
            .map(|path| {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                (name, fs::read_to_string(&path).expect("a rule"))
            })
            .collect()
    }

    /// The names of all rules.
    pub fn names(&self) -> Vec<String> {
        self.entries().into_keys().collect()
    }

    /// One rule's text.
    #[track_caller]
    pub fn entry(&self, name: &str) -> String {
        self.entries()
            .remove(name)
            .unwrap_or_else(|| panic!("there is no rule {name}"))
    }

    /// Registers a rule as somebody else would: a line, in one write.
    #[track_caller]
    pub fn register(&self, line: &str) {
        self.write("register", line);
    }

    /// Writes to a file of the instance.
    #[track_caller]
    pub fn write(&self, file: &str, text: &str) {
        let path = self.instance().join(file);
        let mut tries = 0..20;
        while let Err(error) = fs::write(&path, text) {
            // What another thread starts at this very instant may hold an
            // emulator open that was just written.
            let is_busy = error.kind() == ErrorKind::ExecutableFileBusy;
            if !is_busy || tries.next().is_none() {
                panic!("writing {text} to {file}: {error}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A file of the instance, open for writing.
    pub fn open(&self, file: &str) -> File {
        let file = File::options().write(true).open(self.instance().join(file));
        file.expect("a file of the instance")
    }

    /// Everything that a run could write: files of the world and rules.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new();
        collect(self.dir.path(), &mut snapshot);
        for (name, text) in self.entries() {
            let path = self.instance().join(name);
            let inode = fs::metadata(&path).expect("a rule").ino();
            snapshot.insert(path, (inode, 0, 0, text.into_bytes()));
        }
        snapshot
    }

    /// The same, blind to files that came and went again.
    pub fn settled(&self) -> Snapshot {
        let mut snapshot = self.snapshot();
        for (path, stamp) in &mut snapshot {
            if path.is_dir() {
                *stamp = Default::default();
            }
        }
        snapshot
    }

    /// The files in the store, the lock aside.
    pub fn stored(&self) -> Vec<PathBuf> {
        let mut snapshot = Snapshot::new();
        collect(&self.prefix(), &mut snapshot);
        let is_stored = |path: &PathBuf| !path.is_dir() && !path.ends_with("lock");
        snapshot.into_keys().filter(is_stored).collect()
    }

    /// Runs binfmtctl, which has to fail in this way and to leave everything
    /// as it was.
    #[track_caller]
    pub fn refuses(&self, line: &str, status: i32, words: &[&str]) {
        self.refuses_with(line, &[], status, words);
    }

    /// The same with variables that stand for options.
    #[track_caller]
    pub fn refuses_with(
        &self,
        line: &str,
        variables: &[(&str, &Path)],
        status: i32,
        words: &[&str],
    ) {
        let before = self.settled();
        self.ctl_with(line, variables)
            .assert_exit(status)
            .assert_says(words);
        assert_eq!(
            changes(&before, &self.settled()),
            Vec::<PathBuf>::new(),
            "{line}"
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // It has read the end of its input; whatever it says, it is gone.
        let _ = self.holder.wait();
    }
}

/// Why no world can be had on this machine.
fn closed() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = Kernel::parse(release.trim());
    if !kernel.has_instances() {
        return Some(format!(
            "Linux {kernel} has no binfmt_misc for user namespaces; it takes 6.7"
        ));
    }
    if ["riscv64", "s390x"].contains(&host().emulator) {
        return Some(format!(
            "the tests need riscv64 and s390x foreign; this is {}",
            host().name
        ));
    }
    match hold() {
        Ok(mut holder) => {
            drop(holder.stdin.take());
            let _ = holder.wait();
            None
        }
        Err(reason) => Some(format!("no user namespace can be made here: {reason}")),
    }
}

/// Says why a test doesn't test anything; on a build server that is a failure.
pub fn skip(reason: &str) {
    assert!(
        !std::env::var("CI").is_ok_and(|ci| ci == "true"),
        "can't be tested here: {reason}"
    );
    eprintln!("skipped: {reason}");
}

/// A directory of a test's own, from which programs may be executed and into
/// which other users may look.
pub fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("world-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory in target/tmp")
}

pub fn collect(dir: &Path, snapshot: &mut Snapshot) {
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = file.path();
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let content = match metadata.is_file() {
            // Emulators are large, and change their time when they change.
            true if metadata.len() < 1_000_000 => fs::read(&path).expect("a file"),
            _ => Vec::new(),
        };
        let entry = (
            metadata.ino(),
            metadata.ctime(),
            metadata.ctime_nsec(),
            content,
        );
        snapshot.insert(path.clone(), entry);
        if metadata.is_dir() {
            collect(&path, snapshot);
        }
    }
}

/// The paths that one snapshot has otherwise than the other.
pub fn changes(one: &Snapshot, other: &Snapshot) -> Vec<PathBuf> {
    let paths = one
        .keys()
        .chain(other.keys().filter(|path| !one.contains_key(*path)));
    paths
        .filter(|path| one.get(*path) != other.get(*path))
        .cloned()
        .collect()
}

/// The host's own platform.
pub fn host() -> &'static Platform {
    Host::read().expect("a host").platform
}

/// The identity of QEMU's that has this name.
pub fn target(name: &str) -> &'static Target {
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .expect("a target")
}

/// A string of a document.
#[track_caller]
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

/// Makes a program of these bytes.
pub fn write_program(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program's mode");
}
