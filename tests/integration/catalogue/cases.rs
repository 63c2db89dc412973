//! The rows: what a server does, and how that ends. `slow` ones only end when
//! a limit is reached, which takes the program longer than a test may wait.

use crate::world::liar::Part::{Drip, Endless, Send, Stall};
use crate::world::liar::{Answer, Asked, Lie, Part};

/// How a fetch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// The bytes aren't the pinned ones: status 7.
    Wrong,
    /// There are none: status 8.
    Unreachable,
    /// They came all the same.
    Served,
}
use Ends::{Served, Unreachable, Wrong};

/// One thing that is wrong.
pub struct Row {
    /// What.
    pub name: &'static str,
    /// How it is done.
    pub lie: Lie,
    /// What comes of it.
    pub ends: Ends,
    /// Whether that takes as long as the limits are.
    pub slow: bool,
}

const fn row(name: &'static str, ends: Ends, answer: Answer) -> Row {
    let (lie, slow) = (Lie::Answers(answer), false);
    Row {
        name,
        lie,
        ends,
        slow,
    }
}

const fn slow(name: &'static str, ends: Ends, answer: Answer) -> Row {
    Row {
        slow: true,
        ..row(name, ends, answer)
    }
}

/// With this certificate, an answer without fault behind it.
const fn certified(name: &'static str) -> Row {
    over(name, name, |asked| vec![Send(asked.honest())])
}

const fn over(name: &'static str, certificate: &'static str, answer: Answer) -> Row {
    Row {
        lie: Lie::Over(certificate, answer),
        ..row(name, Unreachable, answer)
    }
}

const fn instead(name: &'static str, parts: fn() -> Vec<Part>) -> Row {
    Row {
        lie: Lie::Instead(parts),
        ..row(name, Unreachable, |_| Vec::new())
    }
}

/// No lie.
pub fn honest() -> Row {
    row("nothing is wrong", Served, |asked| {
        vec![Send(asked.honest())]
    })
}

fn text(text: &str) -> Part {
    Send(text.into())
}

/// The head of a 206 with further lines, and this behind it.
fn with(asked: &Asked, lines: &str, then: Part) -> Vec<Part> {
    vec![text(&asked.head(lines)), then]
}

/// An answer about another range, with as many bytes.
fn about(asked: &Asked, range: &str) -> Vec<Part> {
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\n{range}\r\n\r\n",
        asked.length()
    );
    vec![text(&head), Send(asked.body())]
}

/// Other bytes under the right head.
fn other(asked: &Asked, bytes: Vec<u8>) -> Vec<Part> {
    with(asked, &length(asked), Send(bytes))
}

fn length(asked: &Asked) -> String {
    format!("content-length: {}\r\n", asked.length())
}

/// The honest answer up to so many bytes of the body, and then this.
fn until(asked: &Asked, bytes: u64, then: Option<Part>) -> Vec<Part> {
    let mut parts = with(
        asked,
        &length(asked),
        Send(asked.bytes(asked.start, asked.start + bytes)),
    );
    parts.extend(then);
    parts
}

/// Bytes that take longer to come than any fetch may.
fn drip(mut bytes: Vec<u8>) -> Part {
    bytes.truncate(3000);
    Drip(bytes)
}

fn status(line: &str) -> Vec<Part> {
    vec![text(&format!(
        "HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n"
    ))]
}

fn redirect(to: &str) -> Vec<Part> {
    status(&format!("302 Found\r\nlocation: {to}"))
}

const CHUNKED: &str = "transfer-encoding: chunked\r\n";

/// The body in one chunk, and what is to be its end.
fn chunk(asked: &Asked, end: Part) -> Vec<Part> {
    let mut bytes = format!("{:x}\r\n", asked.length()).into_bytes();
    bytes.extend(asked.body());
    bytes.extend(b"\r\n");
    vec![text(&asked.head(CHUNKED)), Send(bytes), end]
}

/// Something that begins as gzip does.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xed\xc1\x01\x0d\0\0\0\xc2\xa0\xf7Om\x0e7\xa0";

fn zipped(asked: &Asked) -> Part {
    let bytes = GZIP.iter().cycle().take(asked.length() as usize);
    Send(bytes.copied().collect())
}

/// What a server says that knows no later version than TLS 1.1.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    let mut record = vec![0x16, 3, 2, 0, hello.len() as u8];
    record.extend(hello);
    record
}

/// A handshake message that goes on and on: 16 KiB of it at a time.
static HANDSHAKE: [u8; 16 * 1024 + 5] = {
    let mut record = [0xff; 16 * 1024 + 5];
    (record[0], record[1], record[2], record[3], record[4]) = (0x16, 3, 3, 0x40, 0);
    record[5] = 2;
    record
};

/// An answer that only announces another one, with a header of almost 64 KiB.
static INTERIM: [u8; 64 * 1024] = {
    let mut answer = [b'x'; 64 * 1024];
    let (head, end) = (b"HTTP/1.1 103 Early Hints\r\nx: ", b"\r\n\r\n");
    let mut i = 0;
    while i < head.len() {
        answer[i] = head[i];
        i += 1;
    }
    while i < head.len() + end.len() {
        answer[answer.len() - head.len() - end.len() + i] = end[i - head.len()];
        i += 1;
    }
    answer
};

/// All of them.
pub static ROWS: &[Row] = &[
    // Cuts.
    row("closes without a word", Unreachable, |_| vec![]),
    row("cut in the status line", Unreachable, |_| {
        vec![text("HTTP/1.1 20")]
    }),
    row("cut in the head", Unreachable, |_| {
        vec![text("HTTP/1.1 206 Partial Content\r\ncontent-le")]
    }),
    row("cut behind the head", Unreachable, |asked| {
        until(asked, 0, None)
    }),
    row("cut after a byte", Unreachable, |asked| {
        until(asked, 1, None)
    }),
    row("cut in the middle", Unreachable, |asked| {
        until(asked, asked.length() / 2, None)
    }),
    row("cut before the last byte", Unreachable, |asked| {
        until(asked, asked.length() - 1, None)
    }),
    over("cut in the middle, over TLS", "good", |asked| {
        until(asked, asked.length() / 2, None)
    }),
    // Stalls and drips.
    slow("never answers", Unreachable, |_| vec![Stall]),
    slow("stalls in the head", Unreachable, |_| {
        vec![text("HTTP/1.1 206 Par"), Stall]
    }),
    slow("stalls behind the head", Unreachable, |asked| {
        until(asked, 0, Some(Stall))
    }),
    slow("stalls in the middle", Unreachable, |asked| {
        until(asked, asked.length() / 2, Some(Stall))
    }),
    slow("stalls before the last byte", Unreachable, |asked| {
        until(asked, asked.length() - 1, Some(Stall))
    }),
    slow("never ends its chunks", Served, |asked| chunk(asked, Stall)),
    slow("drips the head", Unreachable, |asked| {
        vec![drip(asked.honest())]
    }),
    slow("drips the body", Unreachable, |asked| {
        with(asked, &length(asked), drip(asked.body()))
    }),
    slow("drips chunks of a byte", Unreachable, |asked| {
        with(asked, CHUNKED, drip(b"1\r\nx\r\n".repeat(1000)))
    }),
    slow("drips the size of a chunk", Unreachable, |asked| {
        with(asked, CHUNKED, drip(vec![b'0'; 4000]))
    }),
    slow("drips interim answers", Unreachable, |_| {
        vec![drip(b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(200))]
    }),
    slow("interim answers without end", Unreachable, |_| {
        vec![Endless(&INTERIM)]
    }),
    // Lengths.
    row("announces a byte less", Unreachable, |asked| {
        with(
            asked,
            &format!("content-length: {}\r\n", asked.length() - 1),
            Send(asked.body()),
        )
    }),
    row("announces a byte more", Unreachable, |asked| {
        with(
            asked,
            &format!("content-length: {}\r\n", asked.length() + 1),
            Send(asked.body()),
        )
    }),
    row("announces a length below nothing", Unreachable, |asked| {
        with(asked, "content-length: -1\r\n", Send(asked.body()))
    }),
    row(
        "announces a length that is no number",
        Unreachable,
        |asked| with(asked, "content-length: many\r\n", Send(asked.body())),
    ),
    row(
        "announces a length beyond all numbers",
        Unreachable,
        |asked| {
            with(
                asked,
                "content-length: 99999999999999999999999\r\n",
                Send(asked.body()),
            )
        },
    ),
    row("announces two lengths", Unreachable, |asked| {
        with(
            asked,
            &format!("{}content-length: 1\r\n", length(asked)),
            Send(asked.body()),
        )
    }),
    row(
        "sends more than asked for, without end",
        Unreachable,
        |asked| {
            vec![
                text(&asked.head("")),
                Send(asked.body()),
                Endless(&[7; 65536]),
            ]
        },
    ),
    // Ranges.
    row("answers about the next byte on", Unreachable, |asked| {
        let (start, end) = (asked.start + 1, asked.end + 1);
        vec![
            text(&asked.head_of(start, end, &length(asked))),
            Send(asked.bytes(start, end)),
        ]
    }),
    row("answers about a byte less", Unreachable, |asked| {
        let head = asked.head_of(
            asked.start,
            asked.end - 1,
            &format!("content-length: {}\r\n", asked.length() - 1),
        );
        vec![text(&head), Send(asked.bytes(asked.start, asked.end - 1))]
    }),
    row("answers about all the rest", Unreachable, |asked| {
        let (start, end) = (asked.start, asked.size());
        vec![
            text(&asked.head_of(start, end, "")),
            Send(asked.bytes(start, asked.end)),
            Endless(&[0; 65536]),
        ]
    }),
    row("has a file of another size", Wrong, |asked| {
        about(
            asked,
            &format!(
                "content-range: bytes {}-{}/{}",
                asked.start,
                asked.end - 1,
                asked.size() + 1
            ),
        )
    }),
    row("counts in lines", Unreachable, |asked| {
        about(
            asked,
            &format!(
                "content-range: lines {}-{}/{}",
                asked.start,
                asked.end - 1,
                asked.size()
            ),
        )
    }),
    row("doesn't say which bytes", Unreachable, |asked| {
        about(asked, "x: y")
    }),
    row("counts backwards", Unreachable, |asked| {
        about(
            asked,
            &format!(
                "content-range: bytes {}-{}/{}",
                asked.end,
                asked.start,
                asked.size()
            ),
        )
    }),
    row("counts beyond all numbers", Unreachable, |asked| {
        about(
            asked,
            "content-range: bytes 0-18446744073709551615/18446744073709551616",
        )
    }),
    row("sends several ranges", Unreachable, |asked| {
        let lines = "HTTP/1.1 206 Partial Content\r\ncontent-type: multipart/byteranges; boundary=x\r\n\r\n";
        let part = format!(
            "--x\r\ncontent-range: bytes {}-{}/9\r\n\r\n",
            asked.start,
            asked.end - 1
        );
        vec![
            text(lines),
            text(&part),
            Send(asked.body()),
            text("\r\n--x--\r\n"),
        ]
    }),
    row("sends the bytes beside", Wrong, |asked| {
        other(asked, asked.bytes(asked.start + 1, asked.end + 1))
    }),
    row("sends zeros", Wrong, |asked| {
        other(asked, vec![0; asked.length() as usize])
    }),
    row("flips the last bit", Wrong, |asked| {
        let mut bytes = asked.body();
        *bytes.last_mut().unwrap() ^= 1;
        other(asked, bytes)
    }),
    row("sends another file of that size, whole", Wrong, |asked| {
        vec![
            text(&format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                asked.size()
            )),
            Endless(&[0; 65536]),
        ]
    }),
    row("sends the whole of something, without end", Wrong, |_| {
        vec![text("HTTP/1.1 200 OK\r\n\r\n"), Endless(&[0; 65536])]
    }),
    row("sends a page to log in", Wrong, |_| {
        vec![text(
            "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>",
        )]
    }),
    row("sends nothing, and says so", Wrong, |_| status("200 OK")),
    // Status lines.
    row("says 204", Unreachable, |_| {
        vec![text("HTTP/1.1 204 No Content\r\n\r\n")]
    }),
    row("says 304", Unreachable, |_| {
        vec![text("HTTP/1.1 304 Not Modified\r\n\r\n")]
    }),
    row("says 404, with a body without end", Unreachable, |_| {
        vec![
            text("HTTP/1.1 404 Not Found\r\n\r\n"),
            Endless(&[b'x'; 65536]),
        ]
    }),
    row("says 416", Unreachable, |_| {
        status("416 Range Not Satisfiable")
    }),
    row("says 500 for ever", Unreachable, |_| {
        status("500 Internal Server Error")
    }),
    row("says 999", Unreachable, |_| status("999 What")),
    row("says 0", Unreachable, |_| status("000 Nothing")),
    row("changes the protocol", Unreachable, |_| {
        vec![
            text("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            Endless(&[0; 4096]),
        ]
    }),
    slow("asks for a day", Unreachable, |_| {
        status("503 Busy\r\nretry-after: 86400")
    }),
    // Heads.
    row("a header without end", Unreachable, |_| {
        vec![
            text("HTTP/1.1 206 Partial Content\r\nx: "),
            Endless(&[b'x'; 65536]),
        ]
    }),
    row("headers without end", Unreachable, |_| {
        vec![
            text("HTTP/1.1 206 Partial Content\r\n"),
            Endless(b"x-header: y\r\n"),
        ]
    }),
    row("a thousand headers", Unreachable, |asked| {
        with(asked, &"x-header: y\r\n".repeat(1000), Send(asked.body()))
    }),
    row("a header of 300 KB that is told", Unreachable, |asked| {
        with(
            asked,
            &format!("content-encoding: {}\r\n", "\u{9b}2J".repeat(100_000)),
            Send(asked.body()),
        )
    }),
    row("a header with a NUL", Unreachable, |asked| {
        with(asked, "x: a\0b\r\n", Send(asked.body()))
    }),
    row("a header that isn't one", Unreachable, |asked| {
        with(asked, "no colon\r\n", Send(asked.body()))
    }),
    row("only bytes, no head", Unreachable, |asked| {
        vec![Send(asked.body())]
    }),
    row("speaks HTTP/2", Unreachable, |_| {
        vec![Send(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64".to_vec())]
    }),
    row("is an SSH server", Unreachable, |_| {
        vec![text("SSH-2.0-OpenSSH_9.2\r\n")]
    }),
    row("line breaks without end", Unreachable, |_| {
        vec![Endless(b"\r\n\r\n\r\n\r\n")]
    }),
    // Encodings.
    row("sends gzip, and says so", Unreachable, |asked| {
        with(
            asked,
            &format!("{}content-encoding: gzip\r\n", length(asked)),
            zipped(asked),
        )
    }),
    row("sends gzip, and says that it doesn't", Wrong, |asked| {
        with(
            asked,
            &format!("{}content-encoding: identity\r\n", length(asked)),
            zipped(asked),
        )
    }),
    row("says brotli, without end", Unreachable, |asked| {
        with(asked, "content-encoding: br\r\n", Endless(&[0x5b; 65536]))
    }),
    row("gzip as a transfer encoding", Wrong, |asked| {
        let mut bytes = format!("{:x}\r\n", asked.length()).into_bytes();
        bytes.extend(GZIP.iter().cycle().take(asked.length() as usize));
        bytes.extend(b"\r\n0\r\n\r\n");
        with(asked, "transfer-encoding: gzip, chunked\r\n", Send(bytes))
    }),
    // Chunks.
    row("a chunk's size is no number", Unreachable, |asked| {
        with(asked, CHUNKED, text("zz\r\nxx\r\n"))
    }),
    row(
        "a chunk's size is beyond all numbers",
        Unreachable,
        |asked| with(asked, CHUNKED, text("fffffffffffffffff\r\nxx\r\n")),
    ),
    row("a chunk's size is below nothing", Unreachable, |asked| {
        with(asked, CHUNKED, text("-5\r\nxx\r\n"))
    }),
    row("a chunk is longer than it says", Unreachable, |asked| {
        with(asked, CHUNKED, text("2\r\nxxxxxx\r\n"))
    }),
    row("a chunk's extension without end", Unreachable, |asked| {
        vec![
            text(&asked.head(CHUNKED)),
            text("5;x="),
            Endless(&[b'x'; 65536]),
        ]
    }),
    row("chunks end before the bytes do", Unreachable, |asked| {
        with(asked, CHUNKED, text("0\r\n\r\n"))
    }),
    row("more chunks than asked for", Unreachable, |asked| {
        chunk(asked, Endless(b"4\r\nmore\r\n"))
    }),
    row("trailers without end", Served, |asked| {
        let mut parts = chunk(asked, text("0\r\n"));
        parts.push(Endless(b"x-trailer: y\r\n"));
        parts
    }),
    // Redirects.
    row("redirects in a circle", Unreachable, |_| redirect("/x.deb")),
    row("redirects ever on", Unreachable, |asked| {
        redirect(&format!("/{}", asked.nth))
    }),
    row("redirects to a file", Unreachable, |_| {
        redirect("file:///etc/passwd")
    }),
    row("redirects to FTP", Unreachable, |_| {
        redirect("ftp://localhost/x.deb")
    }),
    row("redirects to what it says itself", Unreachable, |_| {
        redirect("data:application/octet-stream,x")
    }),
    row(
        "redirects to another host, where nobody is",
        Unreachable,
        |_| redirect("http://127.0.0.1:1/x.deb"),
    ),
    row("redirects to a host that isn't", Unreachable, |_| {
        redirect("http://no-such-host.invalid/x.deb")
    }),
    row("redirects to no address", Unreachable, |_| {
        redirect("http://[::bad/x.deb")
    }),
    row("redirects to nowhere", Unreachable, |_| status("302 Found")),
    row("redirects to a scheme of 100 KB", Unreachable, |_| {
        redirect(&format!("{}:x", "x".repeat(100_000)))
    }),
    over("redirects from https to http", "good", |_| {
        redirect("http://localhost:1/x.deb")
    }),
    over("redirects from https to a file", "good", |_| {
        redirect("file:///etc/passwd")
    }),
    // TLS.
    Row {
        ends: Served,
        ..certified("good")
    },
    certified("expired"),
    certified("not-yet-valid"),
    certified("other-host"),
    certified("without-name"),
    certified("for-clients"),
    certified("server"),
    certified("stranger"),
    certified("missing-link"),
    certified("wrong-link"),
    certified("by-a-leaf"),
    instead("knows nothing later than TLS 1.1", || {
        vec![Send(hello_of_tls_1_1())]
    }),
    instead("no TLS: closes", Vec::new),
    instead("no TLS: plain HTTP", || {
        vec![text("HTTP/1.1 400 Bad Request\r\n\r\n")]
    }),
    instead("no TLS: anything", || vec![Endless(&[0xa5; 4096])]),
    instead("TLS refuses", || vec![Send(vec![0x15, 3, 3, 0, 2, 2, 40])]),
    instead("TLS warns without end", || {
        vec![Endless(&[0x15, 3, 3, 0, 2, 1, 90])]
    }),
    instead("a handshake without end", || vec![Endless(&HANDSHAKE)]),
    instead("a handshake that is cut", || {
        vec![Send(vec![0x16, 3, 3, 1, 0, 2, 0])]
    }),
    Row {
        slow: true,
        ..instead("a handshake that stalls", || {
            vec![Send(vec![0x16, 3, 3, 1, 0, 2, 0]), Stall]
        })
    },
    Row {
        slow: true,
        ..instead("a handshake that drips", || vec![drip(HANDSHAKE.to_vec())])
    },
];
