//! What the tests need from outside, fetched once per machine: the pinned
//! packages of QEMU, and a static busybox for every architecture that Debian
//! has one for. apt fetches them, through roots of its own, from the host's
//! own archive; a package that apt no longer has comes from the manifest's
//! addresses. A lock lets parallel tests fetch once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use binfmtctl::digest::Digest;
use binfmtctl::emulator::manifest::{Manifest, Release};
use nix::fcntl::{Flock, FlockArg};

use super::host;

/// The QEMU versions that the tests move between.
pub const OLD: &str = "10.0.13";
/// The newer one.
pub const NEW: &str = "11.1.3";

/// Debian's architectures with a static busybox: its name, QEMU's name.
pub const PROGRAMS: [(&str, &str); 9] = [
    ("amd64", "x86_64"),
    ("arm64", "aarch64"),
    ("armel", "arm"),
    ("armhf", "arm"),
    ("i386", "i386"),
    ("ppc64el", "ppc64le"),
    ("riscv64", "riscv64"),
    ("s390x", "s390x"),
    ("mips64el", "mips64el"),
];

/// Where to look for a program: not every suite has every architecture, and a
/// mirror that is being updated is out of step with itself for a while.
pub(super) const SUITES: [&str; 3] = ["trixie", "bookworm", "sid"];

/// The pinned releases for this host that the tests use.
pub fn releases() -> Vec<Release> {
    let manifest = Manifest::builtin().expect("the built-in manifest");
    let host = host().debian.expect("a host that QEMU is packaged for");
    [OLD, NEW]
        .iter()
        .filter_map(|version| manifest.release(host, Some(version)).ok().cloned())
        .collect()
}

/// The release that is installed by default.
pub fn release() -> Release {
    releases().swap_remove(0)
}

/// The directory with the packages of [`releases`].
pub fn packages() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = cached("packages");
        let _lock = lock("packages");
        for release in releases() {
            let path = dir.join(&release.file);
            if is_pinned(&path, &release) {
                continue;
            }
            let by_apt = fetch_with_apt(&release, &path);
            let fetched = by_apt.or_else(|error| fetch_by_address(&release, &path, error));
            fetched.unwrap_or_else(|error| panic!("cannot get {}: {error}", release.file));
            assert!(
                is_pinned(&path, &release),
                "{} isn't the pinned one",
                path.display()
            );
        }
        dir
    })
}

/// The package of [`release`].
pub fn package() -> PathBuf {
    packages().join(release().file)
}

/// A directory with the emulators of [`release`], `qemu-<target>`.
pub fn emulators() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let release = release();
        let package = package();
        let dir = cached("emulators").join(release.sha256.to_string());
        let _lock = lock("emulators");
        if dir.exists() {
            return dir;
        }
        let unpacked = super::directory();
        let ready = unpacked.path().join("ready");
        let extracted = Command::new(env!("CARGO_BIN_EXE_binfmtctl"))
            .args(["manifest", "extract", "all-targets", "--to"])
            .arg(&ready)
            .arg("--source")
            .arg(package)
            .output()
            .expect("the program");
        assert!(extracted.status.success(), "{extracted:?}");
        fs::rename(&ready, &dir).expect("a directory with emulators");
        dir
    })
}

/// A static busybox for an architecture by Debian's name.
pub fn busybox(architecture: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = cached("programs");
        let _lock = lock("programs");
        for (architecture, _) in PROGRAMS {
            if dir.join(architecture).exists() {
                continue;
            }
            let fetch = |suite: &&str| fetch_program(suite, architecture, &dir);
            let failed: Vec<String> = SUITES.iter().map_while(|s| fetch(s).err()).collect();
            assert!(
                failed.len() < SUITES.len(),
                "no busybox for {architecture}: {failed:?}"
            );
        }
        dir
    });
    dir.join(architecture).join("busybox")
}

/// Debian's binfmt-support and the library that it needs, unpacked.
pub fn binfmt_support() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = cached("support").join("files");
        let _lock = lock("support");
        if !dir.exists() {
            let host = host().debian.expect("a host that QEMU is packaged for");
            let fetched = fetch_support(host, &dir);
            fetched.unwrap_or_else(|error| panic!("cannot get binfmt-support: {error}"));
        }
        dir
    })
}

pub(super) fn cached(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).expect("a directory in target/tmp");
    dir
}

pub(super) fn lock(name: &str) -> Flock<File> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.lock"));
    let file = File::create(path).expect("a lock file");
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .expect("a lock")
}

fn is_pinned(path: &Path, release: &Release) -> bool {
    let found = File::open(path).and_then(Digest::of_reader);
    found.is_ok_and(|found| found == (release.sha256, release.size))
}

fn fetch_with_apt(release: &Release, to: &Path) -> Result<(), String> {
    let suite = release.suite.as_deref().unwrap_or("trixie");
    let root = AptRoot::new(suite, &release.host)?;
    let spec = format!("{}:{}={}", release.package, release.host, release.version);
    let package = root.download(&spec)?;
    fs::rename(&package, to).map_err(|error| format!("{}: {error}", package.display()))
}

fn fetch_by_address(release: &Release, to: &Path, mut failed: String) -> Result<(), String> {
    for url in &release.urls {
        let part = to.with_extension("part");
        let fetched = done(Command::new("curl").args(["-fsSL", url, "-o"]).arg(&part));
        match fetched {
            Ok(()) => return fs::rename(&part, to).map_err(|error| error.to_string()),
            Err(error) => failed = format!("{failed}; {url}: {error}"),
        }
    }
    Err(failed)
}

fn fetch_program(suite: &str, architecture: &str, dir: &Path) -> Result<(), String> {
    let root = AptRoot::new(suite, architecture)?;
    let package = root.download(&format!("busybox-static:{architecture}"))?;
    let files = root.dir.path().join(architecture);
    done(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&files))?;
    let busybox = ["usr/bin/busybox", "bin/busybox"].map(|path| files.join(path));
    let busybox = busybox
        .iter()
        .find(|path| path.is_file())
        .ok_or("no busybox in it")?;
    let to = dir.join(format!(".{architecture}"));
    fs::create_dir_all(&to).map_err(|error| error.to_string())?;
    fs::copy(busybox, to.join("busybox")).map_err(|error| error.to_string())?;
    fs::rename(&to, dir.join(architecture)).map_err(|error| error.to_string())
}

fn fetch_support(architecture: &str, dir: &Path) -> Result<(), String> {
    let root = AptRoot::new(SUITES[0], architecture)?;
    let files = root.dir.path().join("files");
    for name in ["binfmt-support", "libpipeline1"] {
        let package = root.download(&format!("{name}:{architecture}"))?;
        done(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&files))?;
    }
    fs::rename(&files, dir).map_err(|error| error.to_string())
}

/// A scratch root in which apt knows one suite for one architecture.
pub(super) struct AptRoot {
    dir: tempfile::TempDir,
    options: Vec<String>,
}

impl AptRoot {
    pub(super) fn new(suite: &str, architecture: &str) -> Result<Self, String> {
        let dir = super::directory();
        let root = dir.path().display().to_string();
        for sub in ["lists/partial", "cache/archives/partial", "download"] {
            fs::create_dir_all(dir.path().join(sub)).map_err(|error| error.to_string())?;
        }
        let source = format!("deb [signed-by={KEYRING}] {} {suite} main\n", archive());
        fs::write(dir.path().join("sources.list"), source).map_err(|error| error.to_string())?;
        let options = vec![
            format!("Dir::Etc::SourceList={root}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={root}/lists"),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={root}/cache"),
            "Acquire::Languages=none".to_owned(),
            "APT::Update::Error-Mode=any".to_owned(),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
        ];
        let root = Self { dir, options };
        root.apt(&["update"])?;
        Ok(root)
    }

    pub(super) fn download(&self, spec: &str) -> Result<PathBuf, String> {
        self.apt(&["download", spec])?;
        let files = fs::read_dir(self.dir.path().join("download"));
        let mut files = files.map_err(|error| error.to_string())?.flatten();
        let name = spec.split(':').next().unwrap_or_default();
        let arch = spec.split([':', '=']).nth(1).unwrap_or_default();
        let found = files.find(|file| {
            let file = file.file_name().to_string_lossy().into_owned();
            file.starts_with(name) && file.ends_with(&format!("_{arch}.deb"))
        });
        found
            .map(|file| file.path())
            .ok_or_else(|| format!("apt left no {spec} behind"))
    }

    fn apt(&self, words: &[&str]) -> Result<(), String> {
        let mut command = Command::new("apt-get");
        for option in &self.options {
            command.args(["-o", option]);
        }
        done(
            command
                .args(words)
                .current_dir(self.dir.path().join("download")),
        )
    }
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's archive: the host's own mirror, or on other distributions the one
/// that the manifest names.
fn archive() -> String {
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if os.lines().any(|line| line == "ID=debian") {
        let format = [
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Identifier: Packages",
        ];
        let known = Command::new("apt-get").args(format).output();
        let known = known.map(|output| output.stdout).unwrap_or_default();
        let known = String::from_utf8_lossy(&known).into_owned();
        if let Some(base) = known
            .lines()
            .find(|base| base.trim_end_matches('/').ends_with("/debian"))
        {
            return base.to_owned();
        }
    }
    let release = release();
    let path = release.path.unwrap_or_default();
    let mirrored = release.urls.iter().find_map(|url| url.strip_suffix(&path));
    mirrored.expect("a mirror in the manifest").to_owned()
}

/// Runs a command that has to succeed; on failure, its last words.
pub(super) fn done(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
