//! Register lines as anybody might write them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::target;

/// A register line in the making. From the start it is what QEMU's script
/// writes, but for the interpreter.
pub struct Line {
    name: &'static [u8],
    /// QEMU's name for the emulator that it takes.
    pub emulator: &'static str,
    /// Where the magic lies.
    pub offset: usize,
    /// What is looked for.
    pub magic: Vec<u8>,
    /// Which bits of it count.
    pub mask: Vec<u8>,
    /// What is started; nothing yet.
    pub interpreter: Option<OsString>,
    flags: &'static str,
}

/// A rule for a target of QEMU's.
pub fn rule<N: AsRef<[u8]> + ?Sized>(name: &'static N, of: &str) -> Line {
    let target = target(of);
    Line {
        name: name.as_ref(),
        emulator: target.emulator,
        offset: 0,
        magic: target.magic.to_vec(),
        mask: target.mask.to_vec(),
        interpreter: None,
        flags: "POF",
    }
}

impl Line {
    /// With this interpreter.
    pub fn at(mut self, interpreter: impl AsRef<OsStr>) -> Self {
        self.interpreter = Some(interpreter.as_ref().to_owned());
        self
    }

    /// With these flags alone.
    pub fn flags(mut self, flags: &'static str) -> Self {
        self.flags = flags;
        self
    }

    /// With this mask for one byte.
    pub fn mask(mut self, index: usize, mask: u8) -> Self {
        self.mask[index] = mask;
        self
    }

    /// The line.
    pub fn text(&self) -> OsString {
        let mut line = OsString::from(":");
        line.push(OsStr::from_bytes(self.name));
        line.push(format!(":M:{}:", self.offset));
        for bytes in [&self.magic, &self.mask] {
            let escaped: Vec<String> = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
            line.push(escaped.concat());
            line.push(":");
        }
        line.push(self.interpreter.as_deref().expect("an interpreter"));
        line.push(":");
        line.push(self.flags);
        line
    }
}
