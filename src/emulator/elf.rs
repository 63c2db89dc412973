//! What an emulator's own bytes say: whether the host can run it where nothing
//! else is, and which QEMU it is.
//!
//! The kernel runs a handler with the F flag in every root file system, so an
//! emulator that needs an interpreter or libraries is refused: it would work on
//! the host and fail in every container. Offsets in the file aren't trusted.

use elf::abi;
use elf::endian::AnyEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::SegmentTable;
use memchr::memmem;

use crate::platform::{CLASS_64, Platform, TARGETS};

/// So many first bytes of a file are enough for [`check`]; a shorter file is
/// given whole.
pub const HEAD: usize = 64 * 1024;

/// Why a file can't be an emulator on a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Something else than ELF.
    #[error("it isn't an ELF file")]
    NotElf,
    /// Headers that lie beyond the file's end, or are none.
    #[error("it is cut short or damaged")]
    CutShort,
    /// An object file, a core dump, a plain library.
    #[error("it isn't a program")]
    NotAProgram,
    /// A program that needs a dynamic linker.
    #[error("it isn't static: it needs the interpreter {0}")]
    Dynamic(String),
    /// A program for another machine.
    #[error("it is for {found}, not for {expected}")]
    OtherMachine {
        /// The machine's platform, or what its header says.
        found: String,
        /// The host's platform.
        expected: &'static str,
    },
}

/// Checks that a file is a static program for the host. Takes the whole file or
/// its first [`HEAD`] bytes.
pub fn check(file: &[u8], host: &'static Platform) -> Result<(), Unfit> {
    if !file.starts_with(&abi::ELFMAGIC) {
        return Err(Unfit::NotElf);
    }
    let cut = |_| Unfit::CutShort;
    let (ident, tail) = file
        .split_at_checked(abi::EI_NIDENT)
        .ok_or(Unfit::CutShort)?;
    let ident = parse_ident::<AnyEndian>(ident).map_err(cut)?;
    let header = FileHeader::parse_tail(ident, tail).map_err(cut)?;
    check_machine(file, &header, host)?;
    if !matches!(header.e_type, abi::ET_EXEC | abi::ET_DYN) || header.e_entry == 0 {
        return Err(Unfit::NotAProgram);
    }
    let size = match header.class {
        Class::ELF32 => 32,
        Class::ELF64 => 56,
    };
    if header.e_phentsize != size {
        return Err(Unfit::CutShort);
    }
    let length = u64::from(header.e_phnum) * u64::from(size);
    let table = slice(file, header.e_phoff, length).ok_or(Unfit::CutShort)?;
    let segments = SegmentTable::new(header.endianness, header.class, table);
    if let Some(interpreter) = segments.iter().find(|s| s.p_type == abi::PT_INTERP) {
        let path = slice(file, interpreter.p_offset, interpreter.p_filesz).unwrap_or_default();
        let path = String::from_utf8_lossy(path);
        return Err(Unfit::Dynamic(match path.trim_end_matches('\0') {
            "" => "that it names further on".to_owned(),
            path => path.escape_debug().to_string(),
        }));
    }
    match segments
        .iter()
        .any(|segment| segment.p_type == abi::PT_LOAD)
    {
        true => Ok(()),
        false => Err(Unfit::NotAProgram),
    }
}

fn slice(file: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    file.get(start..end)
}

fn check_machine(
    file: &[u8],
    header: &FileHeader<AnyEndian>,
    host: &'static Platform,
) -> Result<(), Unfit> {
    let (class, data, machine) = (file[abi::EI_CLASS], file[abi::EI_DATA], header.e_machine);
    let mut same = TARGETS.iter().filter(|target| {
        (target.class(), target.data(), target.machine()) == (class, data, machine)
    });
    if same.clone().any(|target| target.emulator == host.emulator) {
        return Ok(());
    }
    let found = match same.next() {
        Some(target) => target.platform().name.to_owned(),
        None => {
            let bits = if class == CLASS_64 { 64 } else { 32 };
            format!("a {bits}-bit machine of number {machine}")
        }
    };
    let expected = host.name;
    Err(Unfit::OtherMachine { found, expected })
}

/// QEMU's own version, `10.0.13`, as an emulator's bytes have it.
///
/// Every user emulator holds the text that `--version` prints, in one piece:
/// `qemu-<target> version <version> (<package>)` and the copyright line.
pub fn version(emulator: &[u8]) -> Option<String> {
    const LINE: usize = 256;
    let mut copyrights = memmem::find_iter(emulator, b"\nCopyright (c) 2003-");
    copyrights.find_map(|end| {
        let line = &emulator[end.saturating_sub(LINE)..end];
        let line = line.rsplit(|byte| !(b' '..=b'~').contains(byte)).next()?;
        let line = std::str::from_utf8(line).ok()?;
        let (name, rest) = line.split_once(" version ")?;
        let version = rest.split(' ').next()?;
        let is_version = version.starts_with(|c: char| c.is_ascii_digit());
        (name.starts_with("qemu-") && is_version).then(|| version.to_owned())
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::platform::{DATA_BE, Target};

    /// A program of one segment for the target's machine; with a second one
    /// that names an interpreter, if there is any.
    pub fn program(target: &Target, interpreter: Option<&str>) -> Vec<u8> {
        let wide = target.class() == CLASS_64;
        let number = |value: u64, length: usize| match target.data() {
            DATA_BE => value.to_be_bytes()[8 - length..].to_vec(),
            _ => value.to_le_bytes()[..length].to_vec(),
        };
        let word = |value: u64| number(value, if wide { 8 } else { 4 });
        let (header, segment) = if wide { (64, 56) } else { (52, 32) };
        let count = 1 + interpreter.iter().len() as u64;
        let path = format!("{}\0", interpreter.unwrap_or_default());
        let path_at = header + count * segment;

        let mut bytes = target.magic[..16].to_vec();
        let half = |value| number(value, 2);
        let ident_and_machine = [half(2), half(target.machine().into()), number(1, 4)];
        bytes.extend(ident_and_machine.concat());
        bytes.extend([word(0x1_0000), word(header), word(0), number(0, 4)].concat());
        let sizes = [header, segment, count, 0, 0, 0].map(half);
        bytes.extend(sizes.concat());
        for index in 0..count {
            let kind = if index == 0 { 1 } else { 3 };
            let size = path.len() as u64;
            let flags = number(5, 4);
            let places = [word(path_at), word(0), word(0), word(size), word(size)].concat();
            bytes.extend(number(kind, 4));
            match wide {
                true => bytes.extend([flags, places].concat()),
                false => bytes.extend([places, flags].concat()),
            }
            bytes.extend(word(1));
        }
        assert_eq!(bytes.len() as u64, path_at);
        bytes.extend(path.bytes());
        bytes
    }

    fn hosts() -> impl Iterator<Item = &'static Platform> {
        crate::platform::PLATFORMS
            .iter()
            .filter(|platform| platform.debian.is_some())
    }

    fn host(debian: &str) -> &'static Platform {
        hosts().find(|host| host.debian == Some(debian)).unwrap()
    }

    #[test]
    fn a_static_program_fits_its_own_host_and_no_other() {
        for one in hosts() {
            let program = program(one.target(), None);
            assert_eq!(check(&program, one), Ok(()));
            for other in hosts().filter(|other| other.emulator != one.emulator) {
                let refusal = check(&program, other).unwrap_err().to_string();
                assert_eq!(
                    refusal,
                    format!("it is for {}, not for {}", one.name, other.name)
                );
            }
        }
    }

    #[test]
    fn this_very_test_needs_an_interpreter_unless_it_is_static() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let same = |target: &&Target| {
            own[4..6] == target.magic[4..6] && own[18..20] == target.magic[18..20]
        };
        let host = TARGETS.iter().find(same).unwrap().platform();
        let dynamic = match check(&own, host) {
            Ok(()) => false,
            Err(Unfit::Dynamic(path)) => path.starts_with('/'),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(dynamic, !cfg!(target_feature = "crt-static"));
    }

    #[test]
    fn a_program_with_an_interpreter_is_refused_by_its_name() {
        for host in hosts() {
            let program = program(host.target(), Some("/lib/ld-linux.so.2"));
            let refusal = check(&program, host).unwrap_err();
            assert_eq!(refusal, Unfit::Dynamic("/lib/ld-linux.so.2".to_owned()));
            // The path may lie beyond the bytes at hand.
            let head = &program[..program.len() - 5];
            assert!(matches!(check(head, host), Err(Unfit::Dynamic(_))));
        }
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let amd64 = host("amd64");
        assert_eq!(check(b"", amd64), Err(Unfit::NotElf));
        assert_eq!(check(b"#!/bin/sh\n", amd64), Err(Unfit::NotElf));
        let whole = program(amd64.target(), None);
        for length in 4..whole.len() - 1 {
            assert_eq!(
                check(&whole[..length], amd64),
                Err(Unfit::CutShort),
                "{length}"
            );
        }
        for (at, value) in [(16, 1), (16, 4), (26, 0), (64, 6)] {
            let mut changed = whole.clone();
            changed[at] = value;
            assert_eq!(check(&changed, amd64), Err(Unfit::NotAProgram), "{at}");
        }
        let mut vax = whole;
        vax[18] = 75;
        let refusal = check(&vax, amd64).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "it is for a 64-bit machine of number 75, not for linux/amd64"
        );
    }

    #[test]
    fn the_version_is_the_one_that_the_emulator_prints() {
        let text = |line: &str| {
            let mut bytes = b"\0TAP version 14\nCopyright (c) 2003-\0pad\0".to_vec();
            bytes.extend(line.as_bytes());
            bytes.extend(b"\nCopyright (c) 2003-2025 Fabrice Bellard\0");
            bytes
        };
        let debian = text("qemu-aarch64 version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)");
        assert_eq!(version(&debian).as_deref(), Some("10.0.13"));
        let plain = text("qemu-arm version 9.2.0-rc1");
        assert_eq!(version(&plain).as_deref(), Some("9.2.0-rc1"));
        for other in ["qemu-arm version %s", "version 1.2", "qemu-arm 1.2", ""] {
            assert_eq!(version(&text(other)), None, "{other}");
        }
        assert_eq!(version(&debian[..debian.len() - 30]), None);
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            host in 0..7_usize,
        ) {
            let host = hosts().nth(host).unwrap();
            let mut bytes = program(host.target(), Some("/lib/ld.so"));
            for (at, value) in changes {
                *at.get_mut(&mut bytes) = value;
            }
            let _ = check(&bytes, host);
        }
    }
}
