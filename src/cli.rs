//! The command line: types only. What they mean is said in the help texts,
//! what they do in `commands`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anstream::ColorChoice;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::binfmt::boot::CONF;
use crate::binfmt::instance::DEFAULT_MOUNT;
use crate::emulator::store::DEFAULT_PREFIX;

const EXIT_STATUS: &str = "\
Exit status:
  0  the asked state holds     5  this kernel or host can't
  1  it doesn't, or doctor     6  manifest or conf file invalid
     found a problem           7  bytes aren't the pinned ones
  2  wrong usage               8  no source reachable
  3  check: doesn't run       75  another run holds the lock
  4  permission missing";

/// Make this Linux host run every platform's programs and containers.
#[derive(Debug, Parser)]
#[command(name = "binfmtctl", version, after_help = EXIT_STATUS, propagate_version = true)]
pub struct Cli {
    /// What every command has.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The definition without what is hidden: what pages and completion scripts
    /// are made from.
    pub fn visible() -> clap::Command {
        let whole = Self::command();
        let about = whole.get_about().cloned().unwrap_or_default();
        let shown = whole.get_subcommands().filter(|verb| !verb.is_hide_set());
        clap::Command::new("binfmtctl")
            .version(env!("CARGO_PKG_VERSION"))
            .propagate_version(true)
            .about(about)
            .args(whole.get_arguments())
            .subcommands(shown.cloned())
            .disable_help_subcommand(true)
            .mut_subcommands(|verb| verb.disable_help_subcommand(true))
    }
}

/// Options that every command has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print exactly one JSON document to stdout
    #[arg(long, global = true, env = "BINFMTCTL_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    pub json: bool,
    /// Print nothing but errors
    #[arg(short, long, global = true, env = "BINFMTCTL_QUIET", conflicts_with = "verbose", value_parser = clap::builder::FalseyValueParser::new())]
    pub quiet: bool,
    /// Say more about each step
    #[arg(short, long, global = true, env = "BINFMTCTL_VERBOSE", value_parser = clap::builder::FalseyValueParser::new())]
    pub verbose: bool,
    /// When to use colours
    #[arg(
        long,
        global = true,
        env = "BINFMTCTL_COLOR",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub color: Color,
    /// Where binfmt_misc is mounted
    #[arg(long, global = true, env = "BINFMTCTL_MOUNT", value_name = "DIR", default_value = DEFAULT_MOUNT)]
    pub mount: PathBuf,
    /// Where emulators are kept
    #[arg(long, global = true, env = "BINFMTCTL_PREFIX", value_name = "DIR", default_value = DEFAULT_PREFIX)]
    pub prefix: PathBuf,
    /// The file that says what is registered at boot
    #[arg(
        long,
        global = true,
        env = "BINFMTCTL_CONF",
        value_name = "FILE",
        default_value = CONF
    )]
    pub conf: PathBuf,
    /// How many blocks are decoded, ranges fetched and platforms tried at once, 1 to 64 [default:
    /// what this machine has processors and memory for]
    #[arg(long, global = true, env = "BINFMTCTL_JOBS", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: Option<u8>,
    /// From a container, work on the host: enter the mount namespace of PID 1. It takes `docker run
    /// --privileged --pid=host`. Every path is then the host's
    #[arg(long, global = true, env = "BINFMTCTL_HOST", value_parser = clap::builder::FalseyValueParser::new())]
    pub host: bool,
    /// Work on the rules of the current user namespace (Linux 6.7 or later), not on the host's
    #[arg(long, global = true, env = "BINFMTCTL_USERNS", value_parser = clap::builder::FalseyValueParser::new())]
    pub userns: bool,
}

impl Global {
    /// When to use colours, as the console is told.
    pub fn colors(&self) -> ColorChoice {
        match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }

    /// How much to do at once, where it was said.
    pub fn jobs(&self) -> Option<usize> {
        self.jobs.map(usize::from)
    }
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Get emulators, register them, prove that they run, and make it last
    Install(Install),
    /// Take back what install did; other people's rules stay
    Uninstall(Uninstall),
    /// Register what the file of /etc/binfmt.d says and the kernel lacks, offline and without a gap:
    /// what a boot runs
    Apply,
    /// Show which platforms run, on what, and why not
    Status(StatusArgs),
    /// Say by the exit status alone whether platforms run: 0, or 3; 4 if it can't be tried
    Check(CheckArgs),
    /// Find out why something doesn't run, or won't for long, and how to mend it
    Doctor(DoctorArgs),
    /// The other side of a rehearsal, for binfmtctl's own use
    #[command(hide = true)]
    Rehearse,
    /// What handles outside bytes, for binfmtctl's own use
    #[command(hide = true)]
    Errand,
    /// What clears up after a rehearsal, for binfmtctl's own use
    #[command(hide = true)]
    ClearUp {
        /// The rehearsal's directory
        #[arg(hide = true)]
        dir: PathBuf,
    },
    /// What is pinned
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
    /// Print a manual page, for `man -l`
    Man(ManArgs),
}

/// Which manifest to use.
#[derive(Debug, Args)]
pub struct ManifestFile {
    /// Use this manifest instead of the built-in one
    #[arg(long, env = "BINFMTCTL_MANIFEST", value_name = "FILE")]
    pub manifest: Option<PathBuf>,
}

/// Which pinned emulators to get, and where from.
#[derive(Debug, Args)]
pub struct Fetch {
    /// The QEMU version [default: the manifest's]
    #[arg(long, env = "BINFMTCTL_QEMU", value_name = "VERSION")]
    pub qemu: Option<String>,
    /// Where the bytes come from: auto, https, apt, distro, a package file, or a directory with one
    /// or with its emulators (qemu-TARGET)
    #[arg(
        long,
        env = "BINFMTCTL_SOURCE",
        value_name = "SOURCE",
        default_value = "auto"
    )]
    pub source: String,
    /// A mirror to try first, http or https
    #[arg(long, env = "BINFMTCTL_MIRROR", value_name = "URL")]
    pub mirror: Option<String>,
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestFile,
}

/// `install`.
#[derive(Debug, Args)]
pub struct Install {
    /// Platforms (arm64, linux/arm/v7, riscv64, ...), all-targets for everything that QEMU runs;
    /// none: every platform that container engines know and this host can't run natively
    #[arg(value_name = "PLATFORM")]
    pub platforms: Vec<String>,
    /// Which bytes, and where from.
    #[command(flatten)]
    pub fetch: Fetch,
    /// A directory of emulators (qemu-TARGET) that --source auto looks into first, as a container
    /// image has one; with --host too it is the container's
    #[arg(long, env = "BINFMTCTL_EMULATORS", value_name = "DIR")]
    pub emulators: Option<OsString>,
    /// Let set-user-id programs get their rights (flag C). The emulator then runs as root on behalf
    /// of any user of such a program, and obeys that user's QEMU_* variables
    #[arg(long, env = "BINFMTCTL_CREDENTIALS", value_parser = clap::builder::FalseyValueParser::new())]
    pub credentials: bool,
    /// Don't write the file that makes it last over reboots
    #[arg(long, env = "BINFMTCTL_NO_PERSIST", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_persist: bool,
    /// Take over platforms that somebody else's rule runs, and remove that rule
    #[arg(long, env = "BINFMTCTL_REPLACE", value_parser = clap::builder::FalseyValueParser::new())]
    pub replace: bool,
    /// Get the emulators, rehearse the rules in a throw-away user namespace, say what would be done,
    /// and change nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    pub dry_run: bool,
}

impl Install {
    /// The directory to look into first. An image's variable is unset by an
    /// empty one, and counts only where no other source was chosen.
    pub fn at_hand(&self) -> Option<&Path> {
        let dir = self.emulators.as_deref().filter(|dir| !dir.is_empty());
        dir.filter(|_| self.fetch.source == "auto").map(Path::new)
    }
}

/// `uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// Platforms; none: everything that binfmtctl installed
    #[arg(value_name = "PLATFORM")]
    pub platforms: Vec<String>,
    /// Remove somebody else's rule, by its exact name
    #[arg(long, value_name = "NAME")]
    pub foreign: Vec<String>,
    /// Say what would be done, and change nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    pub dry_run: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Platforms, to see everything that is known of each; none: a line for each one that container
    /// engines know or that has a rule
    #[arg(value_name = "PLATFORM")]
    pub platforms: Vec<String>,
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestFile,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Platforms, all of which have to run; variants (linux/arm/v6, linux/amd64/v3) are measured
    #[arg(value_name = "PLATFORM", required = true)]
    pub platforms: Vec<String>,
    /// Wait so long for platforms that don't run yet
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u32,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestFile,
}

/// `manifest ...`.
#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Show the pinned releases
    Show {
        /// Which manifest.
        #[command(flatten)]
        manifest: ManifestFile,
    },
    /// Hold the emulators on disk, and package files, against the manifest
    Verify {
        /// Package files, or directories with some
        #[arg(value_name = "PACKAGE")]
        packages: Vec<PathBuf>,
        /// Which manifest.
        #[command(flatten)]
        manifest: ManifestFile,
    },
    /// Write verified emulators into a directory, each as qemu-TARGET; register nothing
    Extract(Extract),
    /// Write a manifest for these .deb packages to stdout
    Lock {
        /// Package files
        #[arg(value_name = "PACKAGE", required = true)]
        packages: Vec<PathBuf>,
        /// Where the package can be had; {file} and {path} stand for its names. Repeatable
        #[arg(long, value_name = "URL")]
        url: Vec<String>,
        /// The suite that apt finds it in
        #[arg(long, value_name = "SUITE")]
        suite: Option<String>,
        /// The version that is installed when none is named [default: the first package's]
        #[arg(long, value_name = "VERSION")]
        default: Option<String>,
    },
}

/// `manifest extract`.
#[derive(Debug, Args)]
pub struct Extract {
    /// Platforms; none: every platform that container engines know, but for the host's own
    #[arg(value_name = "PLATFORM")]
    pub platforms: Vec<String>,
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// The platform that the emulators are to run on [default: this host's]
    #[arg(long = "for", value_name = "PLATFORM")]
    pub runs_on: Option<String>,
    /// Which bytes, and where from; the distribution's own aren't pinned.
    #[command(flatten)]
    pub fetch: Fetch,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The shells that there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

/// `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The page
    #[arg(value_name = "PAGE", default_value = "binfmtctl")]
    pub page: Page,
}

/// The manual pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// The command, binfmtctl(1)
    Binfmtctl,
    /// The format of manifests, binfmtctl-manifest(5)
    Manifest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
