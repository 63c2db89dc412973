//! A manifest as text: what `parse` reads back as the same value.
//!
//! One line per block and per emulator, so that a change of one is a change of
//! one line.

use std::fmt::{self, Write as _};

use super::{Encoding, Manifest, Release, SCHEMA};

const HEAD: &str = "\
# Which bytes are the right ones: an index of packages of static QEMU user
# emulators, down to the compressed block and the single emulator.
# Written by `binfmtctl manifest lock PACKAGE...`, which reads the packages;
# run it again rather than edit by hand.
";

impl Encoding {
    /// The name of an xz check by its id in the stream's flags.
    fn check_name(id: u8) -> &'static str {
        match id {
            1 => "crc32",
            4 => "crc64",
            10 => "sha256",
            _ => "none",
        }
    }

    /// The id of an xz check by its name.
    pub(super) fn check_id(name: &str) -> Option<u8> {
        [0, 1, 4, 10]
            .into_iter()
            .find(|id| Self::check_name(*id) == name)
    }
}

impl Manifest {
    /// The whole manifest as text.
    pub fn to_toml(&self) -> String {
        let default = Quoted(&self.default);
        let mut text = format!("{HEAD}schema = {SCHEMA}\ndefault = {default}\n");
        for release in &self.releases {
            text.push('\n');
            text.push_str(&release.to_toml());
        }
        text
    }
}

impl Release {
    /// The release as one `[[release]]` table.
    pub fn to_toml(&self) -> String {
        let mut text = String::from("[[release]]\n");
        let mut line = |key: &str, value: &dyn fmt::Display| {
            text.push_str(&format!("{key} = {value}\n"));
        };
        line("qemu", &Quoted(&self.qemu));
        line("host", &Quoted(&self.host));
        line("package", &Quoted(&self.package));
        line("version", &Quoted(&self.version));
        if let Some(suite) = &self.suite {
            line("suite", &Quoted(suite));
        }
        line("file", &Quoted(&self.file));
        if let Some(path) = &self.path {
            line("path", &Quoted(path));
        }
        line("size", &self.size);
        line("sha256", &Quoted(&self.sha256.to_string()));
        let urls = self.urls.iter().map(|url| Quoted(url).to_string());
        line("urls", &List(urls.collect()));
        match self.encoding {
            Encoding::Xz { check } => {
                line("encoding", &Quoted("xz"));
                line("check", &Quoted(Encoding::check_name(check)));
            }
            Encoding::Zstd => line("encoding", &Quoted("zstd")),
        }
        let blocks = self.blocks.iter().map(|block| {
            format!(
                "{{ offset = {}, length = {}, decoded = {}, sha256 = \"{}\" }}",
                block.offset, block.length, block.decoded, block.sha256
            )
        });
        line("blocks", &List(blocks.collect()));
        let emulators = self.emulators.iter().map(|emulator| {
            let blocks: Vec<usize> = self.blocks_of(emulator).collect();
            format!(
                "{{ target = {}, offset = {}, size = {}, sha256 = \"{}\", blocks = {blocks:?} }}",
                Quoted(&emulator.target),
                emulator.offset,
                emulator.size,
                emulator.sha256
            )
        });
        line("emulators", &List(emulators.collect()));
        text
    }
}

/// A basic string of TOML.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// An array with a line per value.
struct List(Vec<String>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[\n")?;
        for value in &self.0 {
            writeln!(f, "    {value},")?;
        }
        f.write_char(']')
    }
}
