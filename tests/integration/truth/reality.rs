//! What really happens to real programs: they are run as a container runs
//! them, in a mount namespace of their own, in a root with nothing but what
//! they bring along, with arguments, and with a time limit.

use std::fmt;
use std::path::PathBuf;

use super::scene::Scene;
use crate::world::Output;
use crate::world::cache::busybox;
use crate::world::packages::shell_root;

/// What the shell is told: to repeat its arguments, one of them from a fork.
const SCRIPT: &str = r#"echo "$0" "$(echo "$1")"; exit 7"#;
const ARGUMENTS: [&str; 2] = ["a  b", "c"];
/// The status of what took too long.
const KILLED: i32 = 128 + 9;
const SAYS: (&str, i32) = ("a  b c\n", 7);

/// Makes the root and starts the shell in it.
const RUN: &str = r#"
    mount -t tmpfs -o mode=755 tmpfs "$1"
    cp -R --preserve=mode "$2"/. "$1"
    cd "$1"
    shift 2
    exec timeout --signal KILL 10 chroot . /sh -c "$@"
"#;

/// What happened to each program.
pub struct Reality {
    programs: Vec<(&'static str, Output)>,
}

impl Reality {
    /// Runs a platform's programs as whoever asks in this scene.
    pub fn of(scene: &Scene, platform: &str) -> Self {
        let static_root = |architecture| {
            let root = scene.world.path("static");
            std::fs::create_dir_all(&root).unwrap();
            std::fs::copy(busybox(architecture), root.join("sh")).unwrap();
            root
        };
        let roots: Vec<(&'static str, PathBuf)> = match platform {
            "riscv64" => vec![
                ("static", static_root("riscv64")),
                ("dynamic PIE", shell_root("riscv64")),
            ],
            "linux/amd64" => vec![("static", static_root("amd64"))],
            "arm64" => vec![("static", static_root("arm64"))],
            "linux/arm/v5" => vec![("static", static_root("armel"))],
            "linux/arm/v7" => vec![("static", static_root("armhf"))],
            "386" => vec![("static", static_root("i386"))],
            "mips64le" => vec![("static", static_root("mips64el"))],
            "s390x" => vec![("static", static_root("s390x"))],
            other => panic!("no program for {other}"),
        };
        let place = scene.world.path("root");
        std::fs::create_dir_all(&place).unwrap();
        let run = |root: PathBuf| {
            let mut words = vec!["sh", "-euc", RUN, "sh"];
            words.extend([place.to_str().unwrap(), root.to_str().unwrap(), SCRIPT]);
            words.extend(ARGUMENTS);
            scene.contained(&words)
        };
        let mut programs: Vec<(&'static str, Output)> = Vec::new();
        for (what, root) in roots {
            programs.push((what, run(root)));
            if programs.iter().any(|(_, output)| output.status == KILLED) {
                // The others would hang as well.
                break;
            }
        }
        Self { programs }
    }

    /// Whether every program did what it was told.
    pub fn works(&self) -> bool {
        self.programs.iter().all(|(_, output)| works(output))
    }
}

fn works(output: &Output) -> bool {
    (output.stdout.as_str(), output.status) == SAYS
}

impl fmt::Display for Reality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (what, output)) in self.programs.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            match works(output) {
                true => write!(f, "{separator}{what} runs")?,
                false => write!(
                    f,
                    "{separator}{what} fails: {} {:?} {:?}",
                    output.status, output.stdout, output.stderr
                )?,
            }
        }
        Ok(())
    }
}
