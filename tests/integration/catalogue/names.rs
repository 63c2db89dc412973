//! Name servers that do everything wrong: rows of the catalogue that only the
//! whole program can be shown.

use std::net::{ToSocketAddrs, UdpSocket};

use super::*;

/// What a name server does with a question.
type Reply = fn(&[u8]) -> Option<Vec<u8>>;

/// The question with this in its flags.
fn answered(question: &[u8], flags: [u8; 2]) -> Option<Vec<u8>> {
    let mut answer = question.to_vec();
    answer.get_mut(2..4)?.copy_from_slice(&flags);
    Some(answer)
}

/// What is wrong, the address of the name server, and what it answers; none
/// where nobody is there.
const ROWS: [(&str, &str, Option<Reply>); 6] = [
    (
        "there is no such name",
        "127.0.0.201",
        Some(|question| answered(question, [0x81, 0x83])),
    ),
    (
        "the server fails",
        "127.0.0.202",
        Some(|question| answered(question, [0x81, 0x82])),
    ),
    (
        "an answer without an address",
        "127.0.0.203",
        Some(|question| answered(question, [0x81, 0x80])),
    ),
    (
        "an answer that is none",
        "127.0.0.204",
        Some(|_| Some(vec![0xff; 512])),
    ),
    ("no answer", "127.0.0.205", Some(|_| None)),
    ("no server", "127.0.0.206", None),
];

/// Answers questions there, as long as the tests run.
fn serve(address: &str, reply: Reply) -> std::io::Result<()> {
    let socket = UdpSocket::bind((address, 53))?;
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = reply(&question[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    Ok(())
}

#[test]
fn a_name_that_cant_be_resolved_ends_in_time_and_the_next_source_is_asked() {
    let Some(_) = World::new() else { return };
    let good = Liar::start(honest().lie, package());
    for_each(
        &ROWS,
        ROWS.len(),
        |(name, ..)| name,
        |(name, address, reply)| {
            let world = World::new().expect("a world");
            if let Some(Err(error)) = reply.map(|reply| serve(address, reply)) {
                return crate::world::skip(&format!("no name server can be had: {error}"));
            }
            let hosts = world.file("nsswitch.conf", "hosts: files dns\n");
            let text = format!("nameserver {address}\noptions timeout:1 attempts:2\n");
            let resolver = world.file("resolv.conf", text);
            for (file, place) in [
                (hosts, "/etc/nsswitch.conf"),
                (resolver, "/etc/resolv.conf"),
            ] {
                let mount = format!("mount --bind {} $(readlink -m {place})", file.display());
                world.sh(&mount).assert_exit(0);
            }
            let nowhere = "http://archive.example/x.deb".to_owned();
            let before = world.settled();
            let start = Instant::now();
            let (output, peak) = measure(&install(&world, vec![nowhere.clone()], "https"));
            output
                .assert_exit(8)
                .assert_says(&["archive.example isn't known"]);
            assert!(start.elapsed() < LIMIT, "{name}");
            assert!(peak < MEMORY, "{name}: {peak} KiB");
            assert!(
                !world.prefix().exists() && world.names().is_empty(),
                "{name}"
            );
            assert_eq!(
                before.len(),
                world.settled().len() - 1,
                "only the manifest came"
            );
            let urls = vec![nowhere, good.url()];
            Output::of(&mut install(&world, urls, "auto")).assert_exit(0);
            assert_eq!(world.runs("riscv64"), "emulated");
        },
    );
    assert!(("localhost", 0).to_socket_addrs().is_ok());
}
