//! A `.deb` taken apart: its `ar` members, and the fields of its control file.
//!
//! Strict: the members of format 2.0 in their order, sizes that fit the file,
//! compressions by name. Nothing is decoded here.

/// Why a file isn't a package that can be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DebError {
    /// It doesn't begin like one.
    #[error("it isn't a Debian package")]
    NotADeb,
    /// A member leaves the file.
    #[error("it is cut short")]
    CutShort,
    /// A member's header isn't one.
    #[error("the archive member at byte {0} is damaged")]
    BadMember(usize),
    /// A format that came after 2.0, or before.
    #[error("its package format {0:?} isn't known")]
    Format(String),
    /// A member that every package has.
    #[error("it has no {0} where one belongs")]
    Missing(&'static str),
    /// A compression other than xz and zstd.
    #[error("{0} isn't compressed with xz or zstd")]
    Compression(String),
    /// A control file that isn't one.
    #[error("its control file has no proper {0} field")]
    Control(&'static str),
}

/// How a member is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// One xz stream.
    Xz,
    /// zstd frames.
    Zstd,
}

/// A compressed tar within the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// Where its bytes start in the package.
    pub offset: usize,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// How they are compressed.
    pub compression: Compression,
}

/// The two members that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deb<'a> {
    /// `control.tar`.
    pub control: Member<'a>,
    /// `data.tar`.
    pub data: Member<'a>,
}

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// Finds the members of a package.
pub(super) fn members(package: &[u8]) -> Result<Deb<'_>, DebError> {
    if package.is_empty() || !package.starts_with(&MAGIC[..MAGIC.len().min(package.len())]) {
        return Err(DebError::NotADeb);
    }
    let mut rest = Members {
        package,
        at: MAGIC.len(),
    };
    let first = rest.next()?.filter(|first| first.name == "debian-binary");
    let format = first.ok_or(DebError::NotADeb)?.bytes;
    if format != b"2.0\n" {
        let format = String::from_utf8_lossy(&format[..format.len().min(16)]);
        return Err(DebError::Format(format.trim_end().to_owned()));
    }
    Ok(Deb {
        control: rest.tar("control.tar")?,
        data: rest.tar("data.tar")?,
    })
}

/// A member of any kind.
struct Raw<'a> {
    name: &'a str,
    offset: usize,
    bytes: &'a [u8],
}

struct Members<'a> {
    package: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    /// The next member; `None` at the end.
    fn next(&mut self) -> Result<Option<Raw<'a>>, DebError> {
        if self.at >= self.package.len() {
            return Ok(None);
        }
        let bad = DebError::BadMember(self.at);
        let bytes = |start: usize, length: usize| {
            let end = start.checked_add(length).ok_or(DebError::CutShort)?;
            self.package.get(start..end).ok_or(DebError::CutShort)
        };
        let header = bytes(self.at, HEADER)?;
        let field = |range: std::ops::Range<usize>| {
            let text = std::str::from_utf8(&header[range]).ok();
            text.map(|text| text.trim_end_matches(' '))
        };
        let name = field(0..16).map(|name| name.strip_suffix('/').unwrap_or(name));
        let size = field(48..58).filter(|size| size.bytes().all(|c| c.is_ascii_digit()));
        let size = size.and_then(|size| size.parse::<usize>().ok());
        let (Some(name), Some(size), b"`\n") = (name, size, &header[58..]) else {
            return Err(bad);
        };
        let start = self.at + HEADER;
        let content = bytes(start, size)?;
        // Members begin at even offsets.
        self.at = start + size + size % 2;
        Ok(Some(Raw {
            name,
            offset: start,
            bytes: content,
        }))
    }

    /// The next member, which has to be this tar; members whose names begin
    /// with `_` are for others.
    fn tar(&mut self, stem: &'static str) -> Result<Member<'a>, DebError> {
        loop {
            let Some(Raw {
                name,
                offset,
                bytes,
            }) = self.next()?
            else {
                return Err(DebError::Missing(stem));
            };
            if name.starts_with('_') {
                continue;
            }
            let suffix = name.strip_prefix(stem).ok_or(DebError::Missing(stem))?;
            let compression = match suffix {
                ".xz" => Compression::Xz,
                ".zst" => Compression::Zstd,
                _ => return Err(DebError::Compression(name.escape_debug().to_string())),
            };
            return Ok(Member {
                offset,
                bytes,
                compression,
            });
        }
    }
}

/// The fields of a control file that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    pub package: String,
    pub version: String,
    pub architecture: String,
    /// The source package's name; the package's own where none is named.
    pub source: String,
}

/// Reads a control file.
pub(super) fn control(text: &str) -> Result<Control, DebError> {
    let field = |name: &'static str| {
        let mut values = text.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        match (values.next(), values.next()) {
            (Some(""), _) | (Some(_), Some(_)) => Err(DebError::Control(name)),
            (value, _) => Ok(value),
        }
    };
    let needed = |name| field(name)?.ok_or(DebError::Control(name));
    let package = needed("Package")?;
    // `Source: qemu (1:10.0.13+ds-0+deb13u1)` where the versions differ.
    let source = field("Source")?.unwrap_or(package);
    let source = source.split(' ').next().unwrap_or(source);
    Ok(Control {
        package: package.to_owned(),
        version: needed("Version")?.to_owned(),
        architecture: needed("Architecture")?.to_owned(),
        source: source.to_owned(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An `ar` archive of these members.
    pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in members {
            let size = content.len();
            let header = format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
                0, 0, 0, 100644
            );
            bytes.extend(header.as_bytes());
            bytes.extend(*content);
            if size % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    const FORMAT: (&str, &[u8]) = ("debian-binary", b"2.0\n");

    #[test]
    fn a_package_is_format_control_and_data() {
        let package = ar(&[
            FORMAT,
            ("_note", b"x"),
            ("control.tar.xz/", b"odd"),
            ("data.tar.zst", b"data"),
            ("_gpgorigin", b"x"),
        ]);
        let deb = members(&package).unwrap();
        assert_eq!(deb.control.bytes, b"odd");
        assert_eq!(deb.control.compression, Compression::Xz);
        assert_eq!(deb.data.compression, Compression::Zstd);
        assert_eq!(&package[deb.data.offset..][..4], deb.data.bytes);
    }

    #[test]
    fn what_is_no_package_is_refused_with_its_reason() {
        type Content<'a> = &'a [(&'a str, &'a [u8])];
        let table: [(Content<'_>, DebError); 7] = [
            (&[], DebError::NotADeb),
            (&[("other", b"2.0\n")], DebError::NotADeb),
            (
                &[("debian-binary", b"3.0\n")],
                DebError::Format("3.0".to_owned()),
            ),
            (&[FORMAT], DebError::Missing("control.tar")),
            (
                &[FORMAT, ("control.tar.xz", b"")],
                DebError::Missing("data.tar"),
            ),
            (
                &[FORMAT, ("data.tar.xz", b"")],
                DebError::Missing("control.tar"),
            ),
            (
                &[FORMAT, ("control.tar.gz", b"")],
                DebError::Compression("control.tar.gz".to_owned()),
            ),
        ];
        for (content, error) in table {
            assert_eq!(members(&ar(content)), Err(error));
        }
        assert_eq!(members(b""), Err(DebError::NotADeb));
        assert_eq!(members(b"\x7fELF"), Err(DebError::NotADeb));
    }

    #[test]
    fn a_package_that_is_cut_anywhere_is_refused() {
        let package = ar(&[
            FORMAT,
            ("control.tar.xz", b"control"),
            ("data.tar.xz", b"data"),
        ]);
        for length in 0..package.len() {
            assert!(members(&package[..length]).is_err(), "{length}");
        }
        let mut package = package;
        package[8 + 48] = b'-';
        assert_eq!(members(&package), Err(DebError::BadMember(8)));
    }

    #[test]
    fn the_control_file_names_package_source_version_and_architecture() {
        let text = "Package: qemu-user\nSource: qemu (1:10)\nversion: 1:10+b1\n\
                    Architecture: arm64\nDescription: x\n Source: not this\n";
        let control = control(text).unwrap();
        assert_eq!(control.source, "qemu");
        assert_eq!(control.package, "qemu-user");
        assert_eq!(control.version, "1:10+b1");
        assert_eq!(control.architecture, "arm64");
    }

    #[test]
    fn a_control_file_without_a_field_or_with_two_is_refused() {
        let error = control("Package: p\nVersion: 1\n").unwrap_err();
        assert_eq!(error, DebError::Control("Architecture"));
        let error = control("Package: p\nPackage: q\n").unwrap_err();
        assert_eq!(error, DebError::Control("Package"));
    }
}
