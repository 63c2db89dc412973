//! A host in the situation of one row: a world, things in it, and whoever asks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::rule::Line;
use crate::world::{Output, World, packages};

/// The host of one row.
pub struct Scene {
    /// Where whoever asks is.
    pub world: World,
    /// The worlds around it, the outermost first.
    pub outer: Vec<World>,
    /// Further words of every command line.
    pub options: Vec<String>,
    /// Shell commands before everything that is run.
    pub before: String,
    /// Shell commands before binfmtctl alone.
    pub before_asking: String,
    /// The command that makes somebody else of root.
    pub as_whom: Vec<String>,
    /// Whether programs are run by root nevertheless.
    pub contained_by_root: bool,
}

impl Scene {
    /// The usual one: root asks, in this world.
    pub fn new(world: World) -> Self {
        Self {
            world,
            outer: Vec::new(),
            options: Vec::new(),
            before: String::new(),
            before_asking: String::new(),
            as_whom: Vec::new(),
            contained_by_root: false,
        }
    }

    /// Goes into a user namespace in this one.
    pub fn enter(&mut self) {
        let inner = self.world.inner();
        self.outer.push(std::mem::replace(&mut self.world, inner));
    }

    /// Runs binfmtctl as whoever asks.
    pub fn ask(&self, words: &[&str]) -> Output {
        let mut all = vec!["timeout", "--signal=KILL", "45"];
        all.extend(self.as_whom.iter().map(String::as_str));
        all.push(env!("CARGO_BIN_EXE_binfmtctl"));
        all.extend(words);
        all.extend(self.options.iter().map(String::as_str));
        self.run(&self.before_asking, &all)
    }

    /// Has somebody else ask: the words of a command that becomes him.
    pub fn as_whom(&mut self, command: &str) {
        self.as_whom = command.split_whitespace().map(str::to_owned).collect();
    }

    /// Runs a command in a mount namespace of its own, with the rights to
    /// make a root there.
    pub fn contained(&self, words: &[&str]) -> Output {
        let root = ["unshare", "--mount"];
        let mut all: Vec<&str> = Vec::new();
        let by_root = self.contained_by_root || self.as_whom.is_empty();
        if !by_root {
            all.extend(self.as_whom.iter().map(String::as_str));
        }
        all.extend(root);
        if !by_root {
            all.extend(["--user", "--map-root-user"]);
        }
        all.extend(words);
        self.run("", &all)
    }

    fn run(&self, before: &str, words: &[&str]) -> Output {
        let script = format!("{}\n{before}\nexec \"$@\"", self.before);
        Output::of(
            self.world
                .command("sh")
                .args(["-euc", &script, "sh"])
                .args(words),
        )
    }

    /// The pinned emulator, by QEMU's name, at a path in the world. The file
    /// is everybody's: who changes it takes a copy.
    pub fn emulator(&self, name: &str) -> PathBuf {
        let path = self.world.path(&format!("qemu-{name}"));
        if !path.exists() {
            fs::hard_link(packages::emulator(name), &path).unwrap();
        }
        path
    }

    /// The world's own copy of the emulator for riscv64, at the same path.
    pub fn own_emulator(&self) -> PathBuf {
        let path = self.world.path("qemu-riscv64");
        fs::copy(packages::emulator("riscv64"), &path).unwrap();
        path
    }

    /// Registers a rule from inside the world, in front of all others.
    pub fn add(&self, rule: Line) {
        self.add_after("", rule);
    }

    /// The same after another shell command.
    pub fn add_after(&self, command: &str, rule: Line) {
        self.register(self.world.command("sh"), command, rule);
    }

    /// The same from a container's own view of the files, which is gone then.
    pub fn add_from_image(&self, tree: &Path, rule: Line) {
        let mut shell = self.world.command("unshare");
        shell.args(["--mount", "sh"]);
        self.register(shell, &over_usr(tree), rule);
    }

    fn register(&self, mut shell: Command, first: &str, rule: Line) {
        let rule = match rule.interpreter {
            Some(_) => rule,
            None => {
                let emulator = self.emulator(rule.emulator);
                rule.at(emulator)
            }
        };
        let script = format!("{first}\n{REGISTER}");
        shell.args(["-euc", &script, "sh"]).arg(rule.text());
        Output::of(&mut shell).assert_exit(0);
    }

    /// Runs a shell script in the world, which has to succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) {
        self.world.sh(script).assert_exit(0);
    }

    /// Puts a tree over the host's own `/usr`.
    pub fn put_over_usr(&self, tree: &Path) {
        self.sh(&over_usr(tree));
    }

    /// A tree with these files: where to, and from where.
    pub fn tree(&self, files: &[(&str, &Path)]) -> PathBuf {
        let tree = self.world.path("tree");
        for (to, from) in files {
            let to = tree.join(to.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
        tree
    }
}

/// Writes a line. What another thread starts at this very instant may hold an
/// emulator open that was just written, so that it is busy for a moment.
const REGISTER: &str = r#"
    register() { printf %s "$1" >/proc/sys/fs/binfmt_misc/register; }
    for _ in 1 2 3 4 5; do
        ! register "$1" 2>/dev/null || exit 0
        sleep 0.1
    done
    register "$1"
"#;

/// The command that puts a tree over the host's own `/usr`.
pub fn over_usr(tree: &Path) -> String {
    format!(
        "mount -t overlay -o lowerdir={}/usr:/usr overlay /usr",
        tree.display()
    )
}
