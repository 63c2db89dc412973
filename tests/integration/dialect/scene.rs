//! A host with emulators in directories, and rows that are played on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use binfmtctl::binfmt::switch::Wanted;
use binfmtctl::binfmt::{Entry, Flags, Rule};
use serde_json::Value;

use crate::world::cache::{PROGRAMS, busybox, emulators};
use crate::world::{Output, World, host, target};

/// What engines' names are sorted by: what scripts have always got.
const ORDER: [&str; 16] = [
    "amd64", "amd64/v2", "amd64/v3", "amd64/v4", "arm64", "riscv64", "ppc64", "ppc64le", "s390x",
    "386", "mips64le", "mips64", "loong64", "arm/v7", "arm/v6", "arm/v5",
];

/// Rules that aren't emulators'.
const OTHERS: [(&str, &str); 5] = [
    ("WSLInterop", ":WSLInterop:M::MZ::/bin/sh:PF"),
    (
        "appimage",
        r":appimage:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x41\x49\x02::/bin/sh:F",
    ),
    ("jar", ":jar:M:30:mimetype::/usr/bin/jexec:O"),
    (
        "python3.11",
        r":python3.11:M::\xa7\x0d\x0d\x0a::/usr/bin/python3.11:",
    ),
    ("wine", ":wine:E::exe::/usr/bin/wine:"),
];

/// Said of every change in a user namespace, where all of this is played.
const OWN: &str = "these rules are this user namespace's own, and go when it goes";

/// One line, and what comes of it. `{here}` and its like stand for directories.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Rules before it, the oldest first: `NAME=TARGET@PLACE FLAGS [off]`, or
    /// the name alone of one that isn't an emulator's.
    pub before: &'a [&'a str],
    /// Variables besides.
    pub env: &'a str,
    /// The line.
    pub line: &'a str,
    /// Its exit status.
    pub status: i32,
    /// Every line of stderr.
    pub says: &'a [&'a str],
    /// stdout.
    pub out: Out<'a>,
    /// The rules after it, sorted: `NAME@PLACE FLAGS [off]`.
    pub after: &'a [&'a str],
}

/// What is on stdout.
#[derive(Debug, Clone, Copy)]
pub enum Out<'a> {
    /// The state, with these foreign platforms running.
    State(&'a [&'a str]),
    /// Nothing.
    Nothing,
    /// Something for people, with these words.
    Help(&'a str),
}

/// Nothing there, nothing done.
pub const ROW: Row<'static> = Row {
    before: &[],
    env: "",
    line: "binfmt",
    status: 0,
    says: &[],
    out: Out::State(&[]),
    after: &[],
};

/// A world with emulators in these directories:
///
/// - `here`: riscv64, s390x, mips64el, alpha; where the dialects look
/// - `elsewhere`: the same, somebody else's
/// - `static`: the same with `-static`, and none without
/// - `prefixed`: the same with `my-`
/// - `arms`: aarch64, arm
/// - `half`: riscv64, and an s390x that doesn't work
/// - `broken`: riscv64 and s390x that don't work
/// - `dynamic`: an s390x that needs a loader
/// - `empty`
pub struct Scene {
    pub world: World,
    native: Vec<String>,
}

impl Scene {
    pub fn new() -> Option<Self> {
        World::new().map(Self::of)
    }

    pub fn of(world: World) -> Self {
        let fill = |dir: &str, names: &[(&str, String)]| {
            fs::create_dir(world.path(dir)).unwrap();
            for (target, name) in names {
                let from = emulators().join(format!("qemu-{target}"));
                fs::hard_link(from, world.path(dir).join(name)).unwrap();
            }
        };
        let named = |targets: &[&'static str], before: &str, after: &str| -> Vec<_> {
            let name = |target: &&'static str| (*target, format!("{before}qemu-{target}{after}"));
            targets.iter().map(name).collect()
        };
        let usual = ["riscv64", "s390x", "mips64el", "alpha"];
        fill("here", &named(&usual, "", ""));
        fill("elsewhere", &named(&usual, "", ""));
        fill("static", &named(&usual, "", "-static"));
        fill("prefixed", &named(&usual, "my-", ""));
        fill("arms", &named(&["aarch64", "arm"], "", ""));
        fill("half", &named(&["riscv64"], "", ""));
        fill("broken", &[]);
        fill("dynamic", &[]);
        fill("empty", &[]);
        let native = busybox(host().debian.unwrap());
        for path in [
            "half/qemu-s390x",
            "broken/qemu-s390x",
            "broken/qemu-riscv64",
        ] {
            fs::copy(&native, world.path(path)).unwrap();
        }
        fs::copy("/bin/sh", world.path("dynamic/qemu-s390x")).unwrap();
        for name in ["binfmt", "register"] {
            let program = env!("CARGO_BIN_EXE_binfmtctl");
            std::os::unix::fs::symlink(program, world.path(name)).unwrap();
        }
        let mut scene = Self {
            world,
            native: Vec::new(),
        };
        scene.native = strings(&scene.run("", "binfmt").json()["supported"]);
        scene
    }

    /// A path below one of the directories.
    fn place(&self, place: &str) -> PathBuf {
        self.world.path(place)
    }

    fn fill_in(&self, text: &str) -> String {
        let mut text = text
            .replace("{host}", host().name.trim_start_matches("linux/"))
            .replace("{emulator}", host().emulator);
        for place in [
            "here",
            "elsewhere",
            "static",
            "prefixed",
            "arms",
            "half",
            "broken",
            "dynamic",
            "empty",
        ] {
            let path = self.place(place).display().to_string();
            text = text.replace(&format!("{{{place}}}"), &path);
        }
        text
    }

    /// Runs a line whose first word is one of the program's names.
    pub fn run(&self, env: &str, line: &str) -> Output {
        let line = self.fill_in(line);
        let mut words = line.split_whitespace();
        let program = match words.next().unwrap() {
            "binfmtctl" => PathBuf::from(env!("CARGO_BIN_EXE_binfmtctl")),
            name => self.world.path(name),
        };
        let mut command = self.world.command(program.to_str().unwrap());
        command.args(words);
        command.env("QEMU_BINARY_PATH", self.place("here"));
        for variable in self.fill_in(env).split_whitespace() {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(name, value);
        }
        Output::of(&mut command)
    }

    /// Registers a rule as somebody else would.
    pub fn register(&self, text: &str) {
        if let Some((_, line)) = OTHERS.iter().find(|(name, _)| *name == text) {
            return self.world.register(line);
        }
        let rule = self.rule(text);
        let (line, interpreter) = (rule.line().unwrap(), Path::new(&rule.interpreter));
        match text.contains("@older ") {
            true => {
                let aside = self.world.path("aside");
                fs::rename(interpreter, &aside).unwrap();
                let mut bytes = fs::read(&aside).unwrap();
                bytes.extend(b"older");
                crate::world::write_program(interpreter, &bytes);
                self.world.register(&line);
                fs::rename(&aside, interpreter).unwrap();
            }
            false => self.world.register(&line),
        }
        if text.ends_with(" off") {
            self.world.write(&rule.name, "0");
        }
    }

    /// A rule's line, as files have it.
    pub fn line(&self, text: &str) -> String {
        self.rule(text).line().unwrap()
    }

    fn rule(&self, text: &str) -> Rule {
        let (name, rest) = text.split_once('=').unwrap();
        let (of, rest) = rest.split_once('@').unwrap();
        let (place, rest) = rest.split_once(' ').unwrap();
        let flags = rest.split(' ').next().unwrap();
        let dir = match place {
            // The same path, and other bytes that work as well.
            "older" => "here",
            place => place,
        };
        let interpreter = self.place(dir).join(format!("qemu-{of}"));
        let wanted = Wanted {
            target: target(of),
            interpreter: interpreter.display().to_string(),
            flags: Flags::from_letters(flags),
            prefix: String::new(),
            given: None,
        };
        wanted.named(name)
    }

    /// The rules that are there, as rows write them.
    pub fn rules(&self) -> Vec<String> {
        let show = |(name, text): (String, String)| {
            let entry = Entry::parse(&name, &text).unwrap();
            if OTHERS.iter().any(|(other, _)| *other == name) {
                return name;
            }
            let dir = Path::new(&entry.interpreter).parent().unwrap();
            let place = dir.file_name().unwrap().to_string_lossy().into_owned();
            let flags = match entry.flags.as_str() {
                "" => "-",
                flags => flags,
            };
            let off = if entry.enabled { "" } else { " off" };
            format!("{name}@{place} {flags}{off}")
        };
        self.world.entries().into_iter().map(show).collect()
    }

    /// Removes all rules.
    pub fn clear(&self) {
        for name in self.world.names() {
            self.world.write(&name, "-1");
        }
    }

    /// Plays one row after the other, each on a host of its own.
    pub fn play(&self, rows: &[Row<'_>]) {
        for row in rows {
            self.clear();
            row.before.iter().for_each(|rule| self.register(rule));
            let output = self.run(row.env, row.line);
            self.compare(row, &output);
        }
    }

    fn compare(&self, row: &Row<'_>, output: &Output) {
        let context = || format!("{row:#?}\n{output}");
        assert_eq!(self.rules(), row.after, "{}", context());
        assert_eq!(output.status, row.status, "{}", context());
        let says: Vec<String> = row.says.iter().map(|line| self.fill_in(line)).collect();
        let said: Vec<&str> = output.stderr.lines().filter(|line| *line != OWN).collect();
        assert_eq!(said, says, "{}", context());
        match row.out {
            Out::Nothing => assert_eq!(output.stdout, "", "{}", context()),
            Out::Help(words) => assert!(output.stdout.contains(words), "{}", context()),
            Out::State(foreign) => self.compare_state(foreign, output, &context),
        }
        if let Out::State(foreign) = row.out {
            self.run_programs(foreign, &context);
        }
    }

    /// stdout is one document, and begins with what scripts have always got,
    /// byte by byte.
    fn compare_state(&self, foreign: &[&str], output: &Output, context: &dyn Fn() -> String) {
        let foreign = foreign.iter().map(|name| format!("linux/{name}"));
        let mut supported: Vec<String> = self.native.iter().cloned().chain(foreign).collect();
        supported.sort_by_key(|name| {
            let name = name.trim_start_matches("linux/");
            ORDER
                .iter()
                .position(|known| *known == name)
                .unwrap_or(ORDER.len())
        });
        let enabled = self.world.entries().into_iter();
        let enabled = enabled.filter(|(_, text)| text.starts_with("enabled"));
        let emulators: Vec<String> = enabled.map(|(name, _)| name).collect();
        let lines = |names: &[String]| match names {
            [] => "null".to_owned(),
            names => format!("[\n    \"{}\"\n  ]", names.join("\",\n    \"")),
        };
        let start = format!(
            "{{\n  \"supported\": {},\n  \"emulators\": {},\n",
            lines(&supported),
            lines(&emulators)
        );
        assert!(output.stdout.starts_with(&start), "{start}\n{}", context());
        let state = output.json();
        assert_eq!(state["schema"], 1);
        assert_eq!(
            state["error"].is_object(),
            output.status != 0,
            "{}",
            context()
        );
    }

    /// What is said to run, runs, and nothing else.
    fn run_programs(&self, foreign: &[&str], context: &dyn Fn() -> String) {
        for (debian, emulator) in PROGRAMS {
            if !["riscv64", "s390x", "mips64el"].contains(&emulator) {
                continue;
            }
            let name = emulator.replace("mips64el", "mips64le");
            let ran = self.world.exec(&busybox(debian), &["true"]).status == 0;
            assert_eq!(
                ran,
                foreign.contains(&name.as_str()),
                "{name}: {}",
                context()
            );
        }
    }
}

/// The strings of an array.
pub fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values.map(crate::world::text).collect()
}

/// What the document says of each platform: its name and a key's value.
pub fn by_platform(document: &Value, key: &str) -> BTreeMap<String, Value> {
    let platforms = document["platforms"].as_array().into_iter().flatten();
    platforms
        .map(|platform| {
            (
                crate::world::text(&platform["platform"]),
                platform[key].clone(),
            )
        })
        .collect()
}
