//! Tar files out of few bytes, and with the right checksums.

use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// Sets the checksum of every header, found as a reader finds them.
pub fn mend(tar: &mut [u8]) {
    let mut at = Some(0);
    while let Some(block) = at.and_then(|at| tar.get_mut(at..)?.get_mut(..BLOCK)) {
        let mut size = 0;
        if block.iter().any(|byte| *byte != 0) {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
            size = header.entry_size().unwrap_or(0);
        }
        let padded = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_next_multiple_of(BLOCK));
        at = at.and_then(|at| at.checked_add(BLOCK)?.checked_add(padded?));
    }
}

/// A tar file by a recipe: of each entry a byte for its kind, one for its name,
/// one for what is odd about its size, one for how long its content is, and
/// the content. `program` is what an emulator would be.
pub fn make(recipe: &[u8], program: &[u8]) -> Vec<u8> {
    const KINDS: &[u8] = b"000000LKxxg57S12";
    const NAMES: [&str; 8] = [
        "./usr/bin/qemu-arm",
        "./usr/bin/qemu-arm-static",
        "./usr/bin/qemu-aarch64",
        "./control",
        "usr/bin/qemu-ppc",
        "././@LongLink",
        "./usr/bin/../qemu-arm",
        "",
    ];
    let mut tar = Vec::new();
    let mut rest = recipe;
    while let [kind, name, size, length, tail @ ..] = rest {
        let (content, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        let content = match size & 0x80 {
            0 => content.to_vec(),
            _ => [program, content].concat(),
        };
        let mut header = match size & 0x40 {
            0 => Header::new_gnu(),
            _ => Header::new_ustar(),
        };
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        header.set_entry_type(EntryType::new(kind));
        let name = NAMES[usize::from(*name) % NAMES.len()].as_bytes();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_size(match size & 0x0f {
            1 => content.len() as u64 + 1,
            2 => content.len().saturating_sub(1) as u64,
            3 => 512,
            4 => u64::MAX,
            5 => u64::MAX - 511,
            6 => 1 << 63,
            7 => 0o77_777_777_777,
            8 => 0,
            _ => content.len() as u64,
        });
        if size & 0x10 != 0 {
            // A number that isn't one.
            header.as_mut_bytes()[124..130].copy_from_slice(b"-9 x\0\xff");
        }
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar
}
