//! What this host is: its platform, kernel, init system and namespaces.
//!
//! Texts are parsed purely; reading stands beside it. The platform is that of
//! PID 1's program, not of this one, which may itself run emulated, and not
//! `uname -m`, which lies under a 32-bit personality.

pub mod confinement;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod init_mounts;
pub mod program;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use procfs::FromBufRead;
use procfs::process::MountInfos;

use crate::error::{Error, Result, Status};
use crate::platform::{PLATFORMS, Platform, TARGETS};

/// Inode numbers that the initial namespaces have had since Linux 3.8
/// (`PROC_USER_INIT_INO`, `PROC_PID_INIT_INO` in include/linux/proc_ns.h).
const INITIAL_USER_NS: u64 = 0xEFFF_FFFD;
const INITIAL_PID_NS: u64 = 0xEFFF_FFFC;

/// A kernel release, compared by its numbers: `6.12.107-cloud-amd64` is (6, 12, 107).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    version: (u32, u32, u32),
}

impl Kernel {
    /// The running one.
    pub fn running() -> Self {
        let names = nix::sys::utsname::uname();
        Self::parse(&names.map_or_else(
            |_| String::new(),
            |names| names.release().to_string_lossy().into_owned(),
        ))
    }

    /// Reads a release; numbers that aren't there are 0.
    pub fn parse(release: &str) -> Self {
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            version: (next(), next(), next()),
            release: release.to_owned(),
        }
    }

    /// Whether it is at least major.minor.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.version.0, self.version.1) >= (major, minor)
    }

    /// F, from 4.8.
    pub fn fixes_binaries(&self) -> bool {
        self.at_least(4, 8)
    }

    /// Tells the emulator about P through AT_FLAGS, from 5.12.
    pub fn announces_argv0(&self) -> bool {
        self.at_least(5, 12)
    }

    /// An instance of binfmt_misc for each user namespace, from 6.7.
    pub fn has_instances(&self) -> bool {
        self.at_least(6, 7)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.release)
    }
}

/// Who starts this host's services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// systemd, which applies binfmt.d at boot.
    Systemd,
    /// OpenRC.
    OpenRc,
    /// Something else, by the name of PID 1.
    Other(String),
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd => "systemd",
            Self::OpenRc => "openrc",
            Self::Other(name) => name,
        })
    }
}

/// What was found out about the host.
#[derive(Debug, Clone)]
pub struct Host {
    /// The platform that its kernel runs natively.
    pub platform: &'static Platform,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its init system.
    pub init: Init,
    /// Whether PID 1 here starts a whole system, by its own name.
    pub of_system: bool,
    /// Whether this process is in the user namespace of the boot.
    pub initial_user_ns: bool,
    /// Whether PID 1 here is the host's.
    pub initial_pid_ns: bool,
    /// The platform of this program, where that isn't the host's: it runs emulated.
    pub emulated: Option<&'static Platform>,
}

impl Host {
    /// Looks at the host.
    pub fn read() -> Result<Self> {
        let own = platform_of(Path::new("/proc/self/exe"));
        // To a program that it runs QEMU shows that program as /proc/self/exe
        // and as /proc/PID/exe, where PID is its own: 1, in a container. The
        // same links by these paths are the kernel's.
        let running = platform_of(Path::new("/proc/thread-self/exe"));
        let init = platform_of(Path::new("/proc/1/task/1/exe"));
        let Some(platform) = init.or(running).or(own) else {
            return Err(Error::new(
                Status::Unsupported,
                "cannot tell this host's platform from /proc/1/exe or /proc/self/exe",
            )
            .hint("mount /proc, or run it on an architecture that QEMU knows"));
        };
        Ok(Self {
            platform,
            kernel: Kernel::running(),
            init: read_init(),
            of_system: is_of_system(&read_comm()),
            initial_user_ns: is_initial("/proc/self/ns/user", INITIAL_USER_NS),
            initial_pid_ns: is_initial("/proc/self/ns/pid", INITIAL_PID_NS),
            emulated: own.filter(|own| *own != platform),
        })
    }

    /// Whether PID 1 here is that of a system, and not a container's program.
    /// On WSL, and on nodes that are containers, it isn't the first one's.
    pub fn sees_init(&self) -> bool {
        self.initial_pid_ns || self.of_system
    }

    /// Whether the files seen here are those that a boot reads: not in a
    /// container that is gone by then.
    pub fn sees_boot(&self) -> bool {
        self.sees_init() && has_root_of_init() != Some(false)
    }

    /// Whether kernels of this host's platform may run that one without an
    /// emulator; whether this one does depends on how it was built, and the CPU.
    pub fn may_run_natively(&self, platform: &Platform) -> bool {
        let pair = (self.platform.emulator, platform.emulator);
        self.platform == platform || matches!(pair, ("x86_64", "i386") | ("aarch64", "arm"))
    }

    /// Debian's name for this architecture, by which releases are pinned.
    pub fn architecture(&self) -> Result<&'static str> {
        architecture_of(self.platform)
    }
}

/// Debian's name for hosts of a platform, by which releases are pinned.
pub fn architecture_of(platform: &Platform) -> Result<&'static str> {
    platform.debian.ok_or_else(|| {
        Error::new(
            Status::Unsupported,
            format!("no QEMU is packaged for {} hosts", platform.name),
        )
    })
}

/// Whether PID 1's mount namespace has the binfmt_misc with this device
/// number, or any, mounted: then it outlives us. `None` where that can't be seen.
pub fn init_mounts(device: Option<u64>) -> Option<bool> {
    let text = fs::read("/proc/1/mountinfo").ok()?;
    mounts_device(&text, device)
}

/// Whether this mountinfo text lists a binfmt_misc, if need be with this device number.
fn mounts_device(mountinfo: &[u8], device: Option<u64>) -> Option<bool> {
    let number = device.map(|device| {
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        format!("{major}:{minor}")
    });
    let mounts = MountInfos::from_buf_read(mountinfo).ok()?;
    Some(mounts.into_iter().any(|mount| {
        mount.fs_type == "binfmt_misc"
            && number.as_ref().is_none_or(|number| mount.majmin == *number)
    }))
}

/// Whether this process is in that namespace of PID 1's (`mnt`, `user`);
/// `None` where it can't be seen.
fn shares_with_init(namespace: &str) -> Option<bool> {
    let id = |process: &str| fs::metadata(format!("/proc/{process}/ns/{namespace}"));
    let (own, init) = (id("self").ok()?, id("1").ok()?);
    Some((own.dev(), own.ino()) == (init.dev(), init.ino()))
}

/// Whether this process has PID 1's mounts; `None` where that can't be seen.
pub fn has_mounts_of_init() -> Option<bool> {
    // Who may not look into PID 1 may still read the list of its mounts.
    let listed = |process: &str| mount_ids(&fs::read(format!("/proc/{process}/mountinfo")).ok()?);
    shares_with_init("mnt").or_else(|| Some(!listed("self")?.is_disjoint(&listed("1")?)))
}

/// The numbers of the mounts in this mountinfo text. No two mounts on a system
/// have the same.
fn mount_ids(mountinfo: &[u8]) -> Option<BTreeSet<i32>> {
    let mounts = MountInfos::from_buf_read(mountinfo).ok()?;
    Some(mounts.into_iter().map(|mount| mount.mnt_id).collect())
}

/// Whether PID 1's root directory is this process's too; `None` where it
/// can't be seen.
fn has_root_of_init() -> Option<bool> {
    let id = |dir: &str| fs::metadata(dir).map(|found| (found.dev(), found.ino()));
    Some(id("/").ok()? == id("/proc/1/root/").ok()?)
}

/// The platform whose programs have this ELF header.
pub fn platform_of_header(header: &[u8]) -> Option<&'static Platform> {
    let [class, data] = [*header.get(4)?, *header.get(5)?];
    let machine = [*header.get(18)?, *header.get(19)?];
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    TARGETS
        .iter()
        .find(|target| {
            (target.class(), target.data()) == (class, data) && target.magic[18..20] == machine
        })
        .map(|target| target.platform())
}

fn platform_of(program: &Path) -> Option<&'static Platform> {
    let mut header = [0; 64];
    File::open(program).ok()?.read_exact(&mut header).ok()?;
    let platform = platform_of_header(&header)?;
    PLATFORMS.iter().find(|known| *known == platform)
}

fn is_initial(namespace: &str, inode: u64) -> bool {
    // Without namespaces in the kernel there is only the initial one.
    fs::metadata(namespace).map_or(true, |metadata| metadata.ino() == inode)
}

fn read_init() -> Init {
    // sd_booted(3): this directory exists where systemd is PID 1.
    if Path::new("/run/systemd/system").is_dir() {
        return Init::Systemd;
    }
    if Path::new("/run/openrc").is_dir() {
        return Init::OpenRc;
    }
    let name = read_comm();
    Init::Other(match name.is_empty() {
        true => "unknown".to_owned(),
        false => name,
    })
}

/// PID 1's name.
fn read_comm() -> String {
    let name = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    name.trim().to_owned()
}

/// Whether a PID 1 of this name starts a whole system, and not the one program
/// of a container. The directories by which an init system is known say
/// nothing of PID 1: a container may have the host's /run.
fn is_of_system(comm: &str) -> bool {
    // "init(Ubuntu)" on WSL.
    ["systemd", "init", "openrc-init"].contains(&comm) || comm.starts_with("init(")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kernels_are_compared_by_number() {
        let table = [
            ("6.12.107+deb13-cloud-amd64", (6, 12, 107)),
            ("4.8", (4, 8, 0)),
            ("5.15.167.4-microsoft-standard-WSL2", (5, 15, 167)),
            ("", (0, 0, 0)),
        ];
        for (release, version) in table {
            assert_eq!(Kernel::parse(release).version, version, "{release}");
        }
        assert!(Kernel::parse("5.12.0").announces_argv0());
        assert!(!Kernel::parse("5.9.16").announces_argv0());
        assert!(!Kernel::parse("4.7.10").fixes_binaries());
    }

    #[test]
    fn a_held_instance_is_found_by_its_device() {
        let text = b"22 1 0:21 / /proc rw - proc proc rw\n\
            40 22 0:45 / /proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw\n";
        let device = |minor| Some(nix::sys::stat::makedev(0, minor));
        assert_eq!(mounts_device(text, device(45)), Some(true));
        assert_eq!(mounts_device(text, device(21)), Some(false));
        assert_eq!(mounts_device(text, None), Some(true));
        assert_eq!(mounts_device(&text[..36], None), Some(false));
    }

    #[test]
    fn the_same_mounts_have_the_same_numbers() {
        let ids = |text: &str| mount_ids(text.as_bytes()).unwrap();
        let one = ids("22 1 0:21 / /proc rw - proc proc rw\n40 22 0:45 / /m rw - tmpfs none rw\n");
        let other = ids("41 1 0:21 / /proc rw - proc proc rw\n");
        assert_eq!(one, BTreeSet::from([22, 40]));
        assert!(one.is_disjoint(&other));
        let own = mount_ids(&fs::read("/proc/self/mountinfo").unwrap()).unwrap();
        let again = mount_ids(&fs::read("/proc/thread-self/mountinfo").unwrap()).unwrap();
        assert!(!own.is_disjoint(&again));
    }

    #[test]
    fn a_program_of_a_container_is_no_init_of_a_system() {
        for name in ["systemd", "init", "init(Ubuntu)", "openrc-init"] {
            assert!(is_of_system(name), "{name}");
        }
        for name in ["binfmtctl", "docker-init", "initd", "sh", ""] {
            assert!(!is_of_system(name), "{name}");
        }
    }

    #[test]
    fn this_host_is_what_the_compiler_says() {
        let own = platform_of(Path::new("/proc/self/exe")).unwrap();
        assert_eq!(
            own,
            Platform::by_emulator(
                std::env::consts::ARCH
                    .replace("x86", "i386")
                    .replace("i386_64", "x86_64")
                    .as_str()
            )
            .unwrap()
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(release: String, mounts in "([0-9:/ a-z-]*\n){0,4}", header: Vec<u8>) {
            Kernel::parse(&release);
            mounts_device(mounts.as_bytes(), Some(1));
            mount_ids(mounts.as_bytes());
            platform_of_header(&header);
        }
    }
}
