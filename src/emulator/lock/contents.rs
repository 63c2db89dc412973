//! What a package's tar files hold, read as streams and never unpacked.
//!
//! Headers are read one by one, so that a long name or an extension can't ask
//! for memory; what would make two readers see different files (sparse files,
//! sizes outside the header) is refused.

use std::io::{self, Read};

use tar::{Archive, EntryType, PaxExtensions};

use super::super::decode;
use super::super::elf::{self, Unfit};
use super::super::manifest::{Emulator, Encoding, MAX_LENGTH};
use super::LockError;
use super::deb::DebError;
use crate::digest::Digest;
use crate::platform::Platform;

/// The most that the blocks of a package may decode to.
pub(super) const MAX_STREAM: u64 = 4 << 30;

/// The most that a control file or a tar extension may measure.
const MAX_TEXT: u64 = 1 << 20;

/// A block's bytes and what they have to decode to, where that is known before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub bytes: &'a [u8],
    pub decoded: Option<u64>,
}

/// The decoded stream of a member's blocks.
pub(super) struct Stream<'a> {
    encoding: Encoding,
    pieces: std::slice::Iter<'a, Piece<'a>>,
    current: Option<(Box<dyn Read + 'a>, Piece<'a>)>,
    /// What the blocks so far decoded to, the current one last.
    decoded: Vec<u64>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(encoding: Encoding, pieces: &'a [Piece<'a>]) -> Self {
        Self {
            encoding,
            pieces: pieces.iter(),
            current: None,
            decoded: Vec::new(),
        }
    }

    /// One that isn't compressed.
    #[cfg(fuzzing)]
    pub(super) fn plain(bytes: &'a [u8]) -> Self {
        let decoded = None;
        Self {
            current: Some((Box::new(bytes), Piece { bytes, decoded })),
            decoded: vec![0],
            ..Self::new(Encoding::Zstd, &[])
        }
    }

    /// Decodes what is left; says what each block decoded to.
    pub(super) fn finish(mut self) -> Result<Vec<u64>, LockError> {
        io::copy(&mut self, &mut io::sink()).map_err(LockError::Content)?;
        Ok(self.decoded)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let (Some((reader, piece)), Some(decoded)) =
                (&mut self.current, self.decoded.last_mut())
            else {
                let Some(piece) = self.pieces.next() else {
                    return Ok(0);
                };
                let reader = decode::reader(self.encoding, piece.bytes)?;
                self.current = Some((reader, *piece));
                self.decoded.push(0);
                continue;
            };
            let n = reader.read(buffer)?;
            *decoded += n as u64;
            let limit = piece.decoded.unwrap_or(MAX_LENGTH);
            if *decoded > limit {
                return Err(odd(format!("a block decodes to more than {limit} bytes")));
            }
            if n > 0 {
                return Ok(n);
            }
            if piece.decoded.is_some() && *decoded < limit {
                let what = format!("a block decodes to {decoded} bytes instead of {limit}");
                return Err(odd(what));
            }
            self.current = None;
        }
    }
}

fn odd(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A regular file in a tar stream: name without `./`, where its bytes start in
/// the stream, how many they are, and the bytes.
struct Regular<'a> {
    name: String,
    offset: u64,
    size: u64,
    bytes: &'a mut dyn Read,
}

/// Shows every regular file to `visit`, in stream order.
fn regular_files(
    stream: &mut Stream<'_>,
    visit: &mut dyn FnMut(Regular<'_>) -> Result<(), LockError>,
) -> Result<(), LockError> {
    // What the tar reader says by itself may quote the package's bytes.
    let content = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => LockError::Content(error),
        _ => LockError::Content(odd("its tar headers are damaged")),
    };
    let mut archive = Archive::new(stream);
    // The name that an extension gives to the next entry.
    let mut renamed = None;
    for entry in archive.entries().map_err(content)?.raw(true) {
        let mut entry = entry.map_err(content)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let name = text(&mut entry).map_err(content)?;
                renamed = Some(name.trim_end_matches('\0').to_owned());
                continue;
            }
            EntryType::GNULongLink => continue,
            EntryType::XHeader => {
                renamed = extension(&mut entry).map_err(content)?.or(renamed);
                continue;
            }
            EntryType::XGlobalHeader => match extension(&mut entry).map_err(content)? {
                // The next one's, by some readers, and every one's by others.
                Some(_) => return Err(content(odd("it has one name for several files"))),
                None => continue,
            },
            // Its data aren't contiguous, and neither is what follows.
            EntryType::GNUSparse => return Err(content(odd("it holds a sparse file"))),
            EntryType::Regular => {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let name = renamed.take().unwrap_or(name);
                visit(Regular {
                    name: name.strip_prefix("./").unwrap_or(&name).to_owned(),
                    offset: entry.raw_file_position(),
                    size: entry.size(),
                    bytes: &mut entry,
                })?;
            }
            _ => renamed = None,
        }
    }
    Ok(())
}

/// A small file's text.
fn text(bytes: &mut dyn Read) -> io::Result<String> {
    let mut text = Vec::new();
    bytes.take(MAX_TEXT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_TEXT {
        return Err(odd("a name or a control file is far too large"));
    }
    String::from_utf8(text).map_err(|_| odd("a name or a control file isn't UTF-8"))
}

/// The name that a pax extension gives to the next entry, if it does.
fn extension(entry: &mut dyn Read) -> io::Result<Option<String>> {
    let text = text(entry)?;
    // To the reader of records, an empty one is the end; to others it isn't.
    if text.starts_with('\n') || text.contains("\n\n") {
        return Err(odd("a pax record is empty"));
    }
    let mut path = None;
    for record in PaxExtensions::new(text.as_bytes()) {
        let record = record?;
        match record.key().map_err(|_| odd("a pax key isn't UTF-8"))? {
            "path" => path = record.value().ok().map(str::to_owned),
            "size" => return Err(odd("it holds a file whose size isn't in its header")),
            key if key.starts_with("GNU.sparse") => return Err(odd("it holds a sparse file")),
            _ => {}
        }
    }
    Ok(path)
}

/// The control file's text, out of `control.tar`.
pub(super) fn control_file(mut stream: Stream<'_>) -> Result<String, LockError> {
    let mut found = None;
    regular_files(&mut stream, &mut |file| {
        if file.name != "control" {
            return Ok(());
        }
        let text = text(file.bytes).map_err(LockError::Content)?;
        match found.replace(text) {
            // Some readers take the first, some the last.
            Some(_) => Err(LockError::Content(odd("it has two control files"))),
            None => Ok(()),
        }
    })?;
    stream.finish()?;
    found.ok_or(LockError::Deb(DebError::Missing("control file")))
}

/// The emulators in `data.tar`, and what each of its blocks decodes to.
pub(super) fn emulators(
    mut stream: Stream<'_>,
    host: &'static Platform,
) -> Result<(Vec<Emulator>, Vec<u64>), LockError> {
    let mut emulators: Vec<Emulator> = Vec::new();
    regular_files(&mut stream, &mut |file| {
        let Some(target) = target(&file.name) else {
            return Ok(());
        };
        if emulators.iter().any(|known| known.target == target) {
            return Err(LockError::Twice(target.to_owned()));
        }
        let unfit = |reason| LockError::Unfit {
            name: format!("qemu-{target}"),
            reason,
        };
        if file.size > MAX_LENGTH {
            return Err(LockError::Content(odd("an emulator is far too large")));
        }
        let mut head = Vec::new();
        let limit = elf::HEAD as u64;
        let mut bytes = file.bytes;
        let read = Read::by_ref(&mut bytes).take(limit).read_to_end(&mut head);
        read.map_err(LockError::Content)?;
        let all = head.as_slice().chain(bytes);
        let (sha256, size) = Digest::of_reader(all).map_err(LockError::Content)?;
        if size != file.size {
            return Err(unfit(Unfit::CutShort));
        }
        elf::check(&head, host).map_err(unfit)?;
        emulators.push(Emulator {
            target: target.to_owned(),
            offset: file.offset,
            size,
            sha256,
        });
        Ok(())
    })?;
    let decoded = stream.finish()?;
    match emulators.is_empty() {
        true => Err(LockError::NoEmulator),
        false => Ok((emulators, decoded)),
    }
}

/// QEMU's name of what a file emulates, where the file is an emulator.
fn target(name: &str) -> Option<&str> {
    let name = name.strip_prefix("usr/bin/qemu-")?;
    let name = name.strip_suffix("-static").unwrap_or(name);
    Platform::by_emulator(name).map(|platform| platform.emulator)
}
