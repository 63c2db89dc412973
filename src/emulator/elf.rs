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
