//! Small packages made here, in the shape of Debian's.

use tar::{Builder, EntryType, Header};

use super::host;

/// What a package holds.
pub enum Member<'a> {
    /// A regular file with these bytes.
    File(&'a [u8]),
    /// A symbolic link to this.
    Link(&'a str),
    /// A directory.
    Directory,
}

/// A package with these members, names taken literally.
pub fn deb(members: &[(&str, Member<'_>)]) -> Vec<u8> {
    let control = format!(
        "Package: qemu-user\nVersion: 1:10.0.13+ds-0+deb13u1\nArchitecture: {}\n",
        host().debian.unwrap_or("amd64")
    );
    let control = tar(&[("./control", Member::File(control.as_bytes()))]);
    let mut package = b"!<arch>\n".to_vec();
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.zst", zstd(&control)),
        ("data.tar.zst", zstd(&tar(members))),
    ] {
        let head = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            0,
            0,
            0,
            100644,
            bytes.len()
        );
        package.extend(head.as_bytes());
        package.extend(&bytes);
        package.resize(package.len().next_multiple_of(2), b'\n');
    }
    package
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn tar(members: &[(&str, Member<'_>)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, member) in members {
        let mut header = Header::new_gnu();
        // The builder's own way would tidy the name up.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o755);
        let bytes = match member {
            Member::File(bytes) => *bytes,
            Member::Link(_) | Member::Directory => b"",
        };
        header.set_size(bytes.len() as u64);
        header.set_entry_type(match member {
            Member::File(_) => EntryType::Regular,
            Member::Link(_) => EntryType::Symlink,
            Member::Directory => EntryType::Directory,
        });
        if let Member::Link(to) = member {
            header.set_link_name(to).expect("a short name");
        }
        header.set_cksum();
        tar.append(&header, bytes).expect("memory");
    }
    tar.into_inner().expect("memory")
}
