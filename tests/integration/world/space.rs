//! Rules as anybody might write them, headers of real programs, and the
//! kernel's way of matching one against the other, written down once more in
//! the simplest way. Knows nothing of the program that is tested: its own
//! tests and these ones share it.

use std::fmt;

/// How many bytes of a file the kernel looks at.
pub const LOOKED_AT: usize = 256;

/// What a rule looks for.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where.
    pub offset: usize,
    /// What.
    pub magic: Vec<u8>,
    /// Which bits count; all of them where there is none.
    pub mask: Option<Vec<u8>>,
}

/// The first bytes of a program that a host has to run natively.
#[derive(Debug, Clone)]
pub struct Header {
    /// The host, by QEMU's name.
    pub emulator: String,
    /// What it is there.
    pub what: String,
    /// Whose it is.
    pub origin: String,
    /// They.
    pub bytes: Vec<u8>,
}

/// `search_binfmt_handler` of fs/binfmt_misc.c, for one rule by magic.
pub fn kernel_matches(line: &Line, file: &[u8]) -> bool {
    let mut buf = [0; LOOKED_AT];
    let length = file.len().min(LOOKED_AT);
    buf[..length].copy_from_slice(&file[..length]);
    let mut j = 0;
    while j < line.magic.len() {
        let difference = buf[line.offset + j] ^ line.magic[j];
        let counts = match &line.mask {
            Some(mask) => mask[j],
            None => 0xff,
        };
        if difference & counts != 0 {
            return false;
        }
        j += 1;
    }
    true
}

/// The headers of tests/fixtures/headers.
pub fn programs() -> Vec<Header> {
    let text = include_str!("../../fixtures/headers/programs.tsv");
    let of_line = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut next = || fields.next().expect("a field");
        let (emulator, what, origin, digits) = (next(), next(), next(), next());
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("a byte");
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        assert_eq!(bytes.len(), LOOKED_AT, "{origin}");
        Header {
            emulator,
            what,
            origin,
            bytes,
        }
    };
    text.lines().map(of_line).collect()
}

/// Falls the same way in every run.
pub struct Dice(u64);

impl Dice {
    /// Of this number.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits (splitmix64).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// One of them.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn byte(&mut self) -> u8 {
        self.bits() as u8
    }

    /// A rule, mostly cut out of one of these headers; now and then one that
    /// has nothing to do with them. Every one is such that the kernel takes it.
    pub fn line(&mut self, headers: &[&[u8]]) -> Line {
        let of = *self.one(headers);
        let mut padded = of.to_vec();
        padded.resize(LOOKED_AT, 0);
        let offset = match self.below(8) {
            0..=4 => 0,
            5 => self.below(20),
            6 => self.below(LOOKED_AT),
            _ => LOOKED_AT - 1 - self.below(3),
        };
        let room = LOOKED_AT - offset;
        let length = match self.below(8) {
            0 => 1,
            1..=3 => 20,
            4 => 4,
            5 => 1 + self.below(40),
            6 => 64,
            _ => room,
        };
        let length = length.min(room);
        let mut magic = padded[offset..offset + length].to_vec();
        let mut mask: Vec<u8> = match self.below(6) {
            0 | 1 => vec![0xff; length],
            // As QEMU's script has it: any OS, programs with and without a fixed address.
            2 => (offset..offset + length)
                .map(|at| match at {
                    7 => 0,
                    16 | 17 => 0xfe,
                    _ => 0xff,
                })
                .collect(),
            3 => (0..length).map(|_| self.byte()).collect(),
            4 => (0..length)
                .map(|_| [0, 0xff, 0xff, 0xff][self.below(4)])
                .collect(),
            _ => vec![0; length],
        };
        // Near misses, also where nobody looks.
        for _ in 0..[0, 0, 0, 1, 1, 2, length][self.below(7)] {
            let at = self.below(length);
            match self.below(4) {
                0 => magic[at] ^= 1 << self.below(8),
                1 => magic[at] ^= !mask[at],
                2 => magic[at] = self.byte(),
                _ => mask[at] ^= 1 << self.below(8),
            }
        }
        let unmasked = self.below(6) == 0;
        Line {
            offset,
            magic,
            mask: (!unmasked).then_some(mask),
        }
    }
}

impl fmt::Display for Line {
    /// The first fields of a register line, `offset:magic:mask`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |bytes: &[u8]| -> String {
            let escaped: Vec<String> = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            escaped.concat()
        };
        let mask = self.mask.as_deref().map(escape).unwrap_or_default();
        write!(f, "{}:{}:{mask}", self.offset, escape(&self.magic))
    }
}
