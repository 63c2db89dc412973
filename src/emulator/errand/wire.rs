//! Messages between two processes of this program, with open files beside them.
//!
//! A message is its length and JSON. Lengths are bounded, so that neither side
//! can fill the other's memory.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Far more than a release with all its blocks and emulators takes.
const MAX_LENGTH: u32 = 4 << 20;

/// All emulators of a release and a package or two.
const MAX_FILES: usize = 64;

/// Sends a message, and files with it.
pub fn send(to: &UnixStream, message: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let head = length.to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let room = files.is_empty() || control.push(SendAncillaryMessage::ScmRights(files));
    if !room || length > MAX_LENGTH {
        return Err(io::Error::other("too much for one message"));
    }
    // A stream takes this little in one go.
    sendmsg(
        to,
        &[IoSlice::new(&head)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    let mut to = to;
    to.write_all(&text)
}

/// Waits for a message, and the files that come with it. An end of the stream
/// is an error: whoever is done says so.
pub fn receive<T: DeserializeOwned>(from: &UnixStream) -> io::Result<(T, Vec<File>)> {
    let mut head = [0; 4];
    let mut files = Vec::new();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut into = [IoSliceMut::new(&mut head)];
        match recvmsg(from, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(handed) = message {
            files.extend(handed.map(File::from));
        }
    }
    let mut from = from;
    if received == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    from.read_exact(&mut head[received..])?;
    let length = u32::from_le_bytes(head);
    if length > MAX_LENGTH {
        return Err(io::Error::other("a message that is far too long"));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, files))
}

#[cfg(test)]
mod tests {
    use std::io::Seek;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_files() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        send(&here, &vec!["a", "b"], &[file.as_fd(), file.as_fd()]).unwrap();
        let (message, mut files): (Vec<String>, _) = receive(&there).unwrap();
        assert_eq!((message, files.len()), (vec!["a".into(), "b".into()], 2));
        files[1].write_all(b"written there").unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "written there");
    }

    #[test]
    fn silence_nonsense_and_length_are_errors() {
        let told = |bytes: &[u8]| {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(bytes).unwrap();
            drop(here);
            receive::<u32>(&there).map(|(message, _)| message)
        };
        assert_eq!(told(b"\x01\0\0\x007").unwrap(), 7);
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x02\0\0\x007",
            b"\x01\0\0\0x",
            b"\xff\xff\xff\xff7",
        ] {
            assert!(told(bytes).is_err(), "{bytes:?}");
        }
    }
}
