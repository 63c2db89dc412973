//! The smallest program of each ELF identity: a header, one segment, and the
//! code that exits with the number of its arguments. Pure.

use crate::platform::{CLASS_64, DATA_BE, Target};

/// Where the image is loaded: above every architecture's lowest mappable
/// address, and on a page boundary of all of them.
const BASE: u64 = 0x40_0000;

/// How much of a file the kernel and its rules look at (`BINPRM_BUF_SIZE`).
const HEADER_LEN: usize = 256;

/// What is behind the code: anything but zeros.
const FILLING: u8 = 0x5a;

/// What else a header may say of a program, and a narrow rule may miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Loaded at a fixed address, for any system (`ET_EXEC`, `ELFOSABI_NONE`).
    Usual,
    /// Loaded anywhere (`ET_DYN`), as most programs of today are.
    Pie,
    /// With GNU's extensions (`ELFOSABI_GNU`), as many static programs are.
    Gnu,
}

impl Shape {
    /// The shapes beside the usual one.
    pub const OTHERS: [Self; 2] = [Self::Pie, Self::Gnu];

    fn elf_type(self) -> u16 {
        match self {
            Self::Usual | Self::Gnu => 2,
            Self::Pie => 3,
        }
    }

    fn os_abi(self) -> Option<u8> {
        match self {
            Self::Gnu => Some(3),
            // As the target's magic has it.
            Self::Usual | Self::Pie => None,
        }
    }
}

/// The bytes of a static executable of `target` and `shape` that runs `code`.
pub fn image(target: &Target, code: &[u8], shape: Shape) -> Vec<u8> {
    let wide = target.class() == CLASS_64;
    let (header, segment): (u16, u16) = if wide { (64, 56) } else { (52, 32) };
    let start = header + segment;
    let size = u64::from(start) + code.len() as u64;

    let mut image = Image {
        bytes: Vec::with_capacity(start as usize + code.len()),
        big_endian: target.data() == DATA_BE,
        wide,
    };
    image.bytes.extend_from_slice(&target.magic[..16]);
    if let Some(os_abi) = shape.os_abi() {
        image.bytes[7] = os_abi;
    }
    image.half(shape.elf_type());
    image.half(target.machine());
    image.word(1); // EV_CURRENT
    image.address(BASE + u64::from(start));
    image.address(u64::from(header));
    image.address(0);
    image.word(target.e_flags);
    // Without sections; but every real program says how large a section's
    // header would be.
    let section = if wide { 64 } else { 40 };
    for half in [header, segment, 1, section, 0, 0] {
        image.half(half);
    }

    const READ_AND_EXECUTE: u32 = 5;
    image.word(1); // PT_LOAD
    if wide {
        image.word(READ_AND_EXECUTE);
    }
    for address in [0, BASE, BASE, size, size] {
        image.address(address);
    }
    if !wide {
        image.word(READ_AND_EXECUTE);
    }
    image.address(0x1000);

    image.bytes.extend_from_slice(code);
    // No real program is so short that a rule sees what is behind its end.
    let length = image.bytes.len().max(HEADER_LEN);
    image.bytes.resize(length, FILLING);
    image.bytes
}

struct Image {
    bytes: Vec<u8>,
    big_endian: bool,
    wide: bool,
}

impl Image {
    fn put<const N: usize>(&mut self, mut little_endian: [u8; N]) {
        if self.big_endian {
            little_endian.reverse();
        }
        self.bytes.extend_from_slice(&little_endian);
    }

    fn half(&mut self, value: u16) {
        self.put(value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.put(value.to_le_bytes());
    }

    fn address(&mut self, value: u64) {
        if self.wide {
            self.put(value.to_le_bytes());
        } else {
            self.word(value as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::TARGETS;

    fn matches(target: &Target, header: &[u8]) -> bool {
        let fields = target.magic.iter().zip(target.mask).zip(header);
        fields
            .map(|((magic, mask), byte)| (magic ^ byte) & mask)
            .all(|difference| difference == 0)
    }

    #[test]
    fn a_probe_matches_its_own_row_and_no_other() {
        for probed in &TARGETS {
            let image = image(probed, probed.exit_argc, Shape::Usual);
            let matched: Vec<_> = TARGETS
                .iter()
                .filter(|target| matches(target, &image))
                .map(|target| target.name)
                .collect();
            assert_eq!(matched, [probed.name]);
        }
    }

    #[test]
    fn a_row_takes_programs_of_every_shape() {
        for target in &TARGETS {
            for shape in Shape::OTHERS {
                let image = image(target, target.exit_argc, shape);
                assert!(matches(target, &image), "{} {shape:?}", target.name);
            }
        }
    }

    #[test]
    fn an_independent_reader_agrees_with_the_header() {
        use elf::{ElfBytes, endian::AnyEndian};
        for target in &TARGETS {
            let bytes = image(target, target.exit_argc, Shape::Usual);
            let elf = ElfBytes::<AnyEndian>::minimal_parse(&bytes).unwrap();
            assert_eq!(elf.ehdr.e_machine, target.machine(), "{}", target.name);
            let segment = elf.segments().unwrap().get(0).unwrap();
            let (from, to) = (elf.ehdr.e_entry - BASE, segment.p_filesz);
            assert_eq!(&bytes[from as usize..to as usize], target.exit_argc);
            assert_eq!(bytes.len(), HEADER_LEN);
        }
    }
}
