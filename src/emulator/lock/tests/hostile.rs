//! Packages that were made to do harm: what decodes to far more than it says,
//! what lies in something else, and what two readers see differently.

use super::super::super::decode::{crc32, xz_header};
use super::*;

const DATA_XZ: &str = "data.tar.xz";
const DATA_ZST: &str = "data.tar.zst";

/// The number in xz's own form.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An xz stream that begins with these blocks and has these records, whatever
/// the blocks are; every checksum is right.
fn indexed(blocks: &[u8], count: u64, records: &[u8]) -> Vec<u8> {
    let header = xz_header(4);
    let mut index = [&[0], &number(count)[..], records].concat();
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc32(&index).to_le_bytes());
    let backward = (index.len() / 4 - 1) as u32;
    let tail = [&backward.to_le_bytes(), &header[6..8]].concat();
    let crc = crc32(&tail).to_le_bytes();
    [&header, blocks, &index, &crc, &tail, b"YZ"].concat()
}

/// `content` as a stream of one block whose record claims that it decodes to
/// `claimed` bytes.
fn claiming(content: &[u8], claimed: u64) -> Vec<u8> {
    let stream = xz(&[content]);
    let block = xz::index(&stream).unwrap().blocks[0];
    let bytes = &stream[block.offset..][..block.length];
    let record = [number(block.length as u64), number(claimed)].concat();
    indexed(bytes, 1, &record)
}

#[test]
fn an_xz_bomb_is_stopped_at_what_its_index_claims() {
    let bomb = claiming(&vec![0; 256 << 20], 1024);
    assert!(bomb.len() < 256 * 1024);
    let reason = refused(&package(CONTROL, (DATA_XZ, &bomb)));
    assert!(
        reason.ends_with("a block decodes to more than 1024 bytes"),
        "{reason}"
    );
    let short = claiming(&[0; 1024], 1 << 30);
    let reason = refused(&package(CONTROL, (DATA_XZ, &short)));
    assert!(
        reason.ends_with("decodes to 1024 bytes instead of 1073741824"),
        "{reason}"
    );
}

#[test]
fn blocks_that_claim_too_much_are_not_even_decoded() {
    let record = |decoded: u64| [number(8), number(decoded)].concat();
    for records in [
        vec![record(MAX_LENGTH + 1)],
        vec![record(u64::MAX >> 1)],
        vec![record(u64::MAX >> 1); 4],
        vec![record(MAX_LENGTH); 5],
        vec![record(0)],
    ] {
        let blocks = vec![0xff; 8 * records.len()];
        let stream = indexed(&blocks, records.len() as u64, &records.concat());
        let reason = refused(&package(CONTROL, (DATA_XZ, &stream)));
        assert_eq!(reason, LockError::TooLarge.to_string());
    }
}

#[test]
fn blocks_without_number_are_refused_before_memory_is_asked_for_them() {
    let many = 2_000_000;
    let records = [number(5), number(1)].concat().repeat(many);
    let stream = indexed(&vec![0; 8 * many], many as u64, &records);
    let reason = refused(&package(CONTROL, (DATA_XZ, &stream)));
    assert_eq!(reason, "the xz stream has more blocks than any package");
    // A count without the blocks.
    let stream = indexed(&[0; 8], u64::MAX >> 1, &[5, 1]);
    let reason = refused(&package(CONTROL, (DATA_XZ, &stream)));
    assert_eq!(reason, "the xz stream's index is damaged");
}

/// A zstd frame of these blocks, each with its type, its size field and its bytes.
fn frame(window: u8, blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd\0".to_vec();
    frame.push(window);
    for (at, (kind, size, bytes)) in blocks.iter().enumerate() {
        let last = u32::from(at + 1 == blocks.len());
        frame.extend(&(size << 3 | kind << 1 | last).to_le_bytes()[..3]);
        frame.extend(*bytes);
    }
    frame
}

/// 1 KiB of window, twice as often as it says.
fn window(doublings: u8) -> u8 {
    doublings << 3
}

#[test]
fn a_zstd_block_that_decodes_to_more_than_any_block_may_is_refused() {
    // Three sequences, each of which repeats 131074 bytes of what is there: in
    // a block of full size they would be 8 GiB.
    let repeats = [&[0, 3, 0x54, 0, 0, 52], &[0xff; 6][..], &[1]].concat();
    let bomb = frame(
        window(10),
        &[
            (0, 16, b"sixteen of these"),
            (2, repeats.len() as u32, &repeats),
        ],
    );
    let reason = refused(&package(CONTROL, (DATA_ZST, &bomb)));
    assert!(
        reason.contains("its zstd data can't be decoded"),
        "{reason}"
    );
}

#[test]
fn a_zstd_bomb_is_stopped_at_what_a_block_may_decode_to() {
    // A block of 128 KiB out of four bytes, ten thousand times.
    let run: (u32, u32, &[u8]) = (1, 128 * 1024, b"a");
    let bomb = frame(window(7), &vec![run; 10_000]);
    assert!(bomb.len() < 64 * 1024);
    let reason = refused(&package(CONTROL, (DATA_ZST, &bomb)));
    // It isn't a tar file either, which is seen first.
    assert!(reason.starts_with("cannot read what it holds"), "{reason}");
    let zeros: (u32, u32, &[u8]) = (1, 128 * 1024, &[0]);
    let bomb = frame(window(7), &vec![zeros; 10_000]);
    let reason = refused(&package(CONTROL, (DATA_ZST, &bomb)));
    assert!(
        reason.ends_with("a block decodes to more than 1073741824 bytes"),
        "{reason}"
    );
}

#[test]
fn a_zstd_frame_that_asks_for_a_window_without_bounds_is_refused() {
    for doublings in [18, 31] {
        let frame = frame(window(doublings), &[(0, 1, b"x")]);
        let reason = refused(&package(CONTROL, (DATA_ZST, &frame)));
        assert!(reason.contains("too much memory"), "{reason}");
    }
    // One that is its own window: 2^63 bytes. No more is asked for than is there.
    let own = b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\0\x80\x09\0\0x";
    let reason = refused(&package(CONTROL, (DATA_ZST, own)));
    assert!(
        reason.contains("its zstd data can't be decoded"),
        "{reason}"
    );
}

#[test]
fn a_member_that_claims_more_than_the_file_or_no_number_is_refused() {
    let whole = package_of(&data());
    for size in ["9999999999", "-1", "+4", "0x4", "4 4", "", "4\0", "\u{664}"] {
        let mut package = whole.clone();
        let field = format!("{size:<10}");
        package[8 + 48..8 + 58].copy_from_slice(&field.as_bytes()[..10]);
        assert!(pin(&package).is_err(), "{size}");
    }
}

#[test]
fn members_in_the_place_of_others_are_refused() {
    let control = xz(&[&control(CONTROL)]);
    let data = xz(&[&data()]);
    let format: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let table: [&[(&str, &[u8])]; 5] = [
        &[
            format,
            ("control.tar.xz", &control),
            ("control.tar.xz", &control),
        ],
        &[format, (DATA_XZ, &data), ("control.tar.xz", &control)],
        &[
            format,
            ("//", b"control.tar.xz/\n"),
            ("/0", &control),
            (DATA_XZ, &data),
        ],
        &[format, ("../control.tar.xz", &control), (DATA_XZ, &data)],
        &[("control.tar.xz", &control), format, (DATA_XZ, &data)],
    ];
    for members in table {
        assert!(pin(&ar(members)).is_err(), "{members:?}");
    }
}

#[test]
fn a_file_in_a_file_is_the_outer_files_content() {
    let inner = tar(|tar| file(tar, "./usr/bin/qemu-ppc", &named("ppc")));
    let outer = [emulator(None, "amd64"), vec![0; 512], inner].concat();
    let mut outer = outer;
    outer.resize(outer.len().next_multiple_of(512), 0);
    let data = tar(|tar| {
        file(tar, "./usr/bin/qemu-arm", &outer);
        file(tar, "./usr/bin/qemu-s390x", &named("s390x"));
    });
    let release = pin(&package_of(&data)).unwrap();
    let targets: Vec<&str> = release.emulators.iter().map(|e| &*e.target).collect();
    assert_eq!(targets, ["arm", "s390x"]);
    let [first, second] = &release.emulators[..] else {
        panic!("{targets:?}")
    };
    assert!(first.offset + first.size <= second.offset);
}

/// A tar file of one emulator whose header says this of its size.
fn sized(field: &[u8; 12]) -> Vec<u8> {
    let mut header = header("./usr/bin/qemu-arm", EntryType::Regular, 0);
    header.as_mut_bytes()[124..136].copy_from_slice(field);
    header.set_cksum();
    let mut content = named("arm");
    content.resize(content.len().next_multiple_of(512), 0);
    [header.as_bytes().as_slice(), &content, &[0; 1024]].concat()
}

#[test]
fn sizes_that_no_file_has_are_refused() {
    for field in [
        b"77777777777\0",
        b"-0000000010\0",
        b"000000x0010\0",
        b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xfe\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\0",
    ] {
        assert!(pin(&package_of(&sized(field))).is_err(), "{field:?}");
    }
}

#[test]
fn links_and_devices_are_no_emulators_whatever_they_point_to() {
    use EntryType::{Block, Char, Continuous, Directory, Fifo, Link, Symlink};
    for kind in [Link, Symlink, Char, Block, Fifo, Directory, Continuous] {
        for target in ["/etc/shadow", "../../../../etc/shadow", "qemu-arm"] {
            let data = tar(|tar| {
                let mut header = header("./usr/bin/qemu-arm", kind, 0);
                header.set_link_name(target).unwrap();
                header.set_cksum();
                tar.append(&header, io::empty()).unwrap();
            });
            let reason = refused(&package_of(&data));
            assert!(reason.starts_with("it holds no emulator"), "{reason}");
        }
    }
    // A directory of that name, as a link, doesn't move what lies below it.
    let data = tar(|tar| {
        link(tar, "./usr/bin", "/etc");
        file(tar, "./usr/bin/qemu-arm", &named("arm"));
    });
    assert_eq!(pin(&package_of(&data)).unwrap().emulators.len(), 1);
}

/// A pax extension of this text before an emulator.
fn extended(kind: EntryType, text: &[u8]) -> Vec<u8> {
    tar(|tar| {
        let header = header("pax", kind, text.len());
        tar.append(&header, text).unwrap();
        file(tar, "./usr/bin/qemu-arm", &named("arm"));
    })
}

#[test]
fn pax_oddities_are_refused() {
    use EntryType::{XGlobalHeader, XHeader};
    for kind in [XHeader, XGlobalHeader] {
        for text in [
            "10 size=5\n",
            "22 GNU.sparse.major=1\n",
            "26 GNU.sparse.realsize=99\n",
            "99 path=./usr/bin/qemu-ppc\n",
            "1 path=./usr/bin/qemu-ppc\n",
            "-1 path=x\n",
            "18446744073709551616 path=x\n",
            "no number",
            "\n\n\n",
            "\n10 size=5\n",
            "11 mtime=1\n\n10 size=5\n",
            "9 noequal\n",
            "14 comment=a\n10 size=5\n",
        ] {
            let data = extended(kind, text.as_bytes());
            assert!(pin(&package_of(&data)).is_err(), "{kind:?} {text:?}");
        }
    }
    let binary = extended(XHeader, b"12 p\xffth=abc\n");
    assert!(pin(&package_of(&binary)).is_err());
}

#[test]
fn a_name_for_every_file_to_come_is_refused() {
    let text = "27 path=./usr/bin/qemu-ppc\n";
    let own = pin(&package_of(&extended(EntryType::XHeader, text.as_bytes()))).unwrap();
    assert_eq!(own.emulators[0].target, "ppc");
    // To some readers it is the next file's, to others that of all, or of none.
    let global = extended(EntryType::XGlobalHeader, text.as_bytes());
    let reason = refused(&package_of(&global));
    assert!(reason.ends_with("one name for several files"), "{reason}");
}

#[test]
fn a_name_in_pieces_stays_what_it_is() {
    for name in [
        "./usr/bin/qemu-arm\0/../qemu-ppc",
        "./usr/bin/qemu-arm\n",
        "./usr/bin//qemu-arm",
        "./usr/bin/./qemu-arm",
        ".\\usr\\bin\\qemu-arm",
        "./usr/bin/qemu-arm/",
    ] {
        let data = tar(|tar| {
            let long = header("././@LongLink", EntryType::GNULongName, name.len());
            tar.append(&long, name.as_bytes()).unwrap();
            file(tar, "harmless", &named("arm"));
        });
        let reason = refused(&package_of(&data));
        assert!(
            reason.starts_with("it holds no emulator"),
            "{name}: {reason}"
        );
    }
}

#[test]
fn extensions_without_end_are_read_one_by_one() {
    // Each is small enough; a reader that keeps them would keep 64 MiB.
    let data = tar(|tar| {
        let name = vec![b'a'; 64 * 1024];
        for _ in 0..1024 {
            let long = header("././@LongLink", EntryType::GNULongName, name.len());
            tar.append(&long, name.as_slice()).unwrap();
        }
        file(tar, "./usr/bin/qemu-arm", &named("arm"));
    });
    let reason = refused(&package_of(&data));
    assert!(reason.starts_with("it holds no emulator"), "{reason}");
}

#[test]
fn two_control_files_are_refused() {
    let other = CONTROL.replace("amd64", "arm64");
    let control = tar(|tar| {
        file(tar, "./control", CONTROL.as_bytes());
        file(tar, "./control", other.as_bytes());
    });
    let members: [(&str, &[u8]); 3] = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", &xz(&[&control])),
        (DATA_XZ, &xz(&[&data()])),
    ];
    let reason = refused(&ar(&members));
    assert!(reason.ends_with("it has two control files"), "{reason}");
}
