//! A web server that serves the real package, and can be told not to.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::cache;

/// A request: its path, and the asked range, end exclusive.
#[derive(Debug, Clone)]
pub struct Request {
    /// `/pool/main/...`.
    pub path: String,
    /// Which request to this server it is, from 0.
    pub nth: usize,
    /// The first asked byte and the one after the last.
    pub range: (u64, u64),
}

/// An answer as raw bytes; the connection ends after it.
pub struct Answer(pub Vec<u8>);

impl Answer {
    /// A status without a body: `404 Not Found`.
    pub fn status(status: &str) -> Self {
        Self(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into())
    }

    /// A redirect.
    pub fn redirect(to: &str) -> Self {
        Self::status(&format!("302 Found\r\nlocation: {to}"))
    }

    /// What was asked for, of the real package.
    pub fn honest(request: &Request) -> Self {
        let (start, end) = request.range;
        let package = File::open(cache::package()).expect("the package");
        let size = package.metadata().expect("the package").len();
        let mut body = vec![0; (end - start) as usize];
        package
            .read_exact_at(&mut body, start)
            .expect("the package");
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\n\
             content-range: bytes {start}-{}/{size}\r\nconnection: close\r\n\r\n",
            end - start,
            end - 1
        );
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        Self(bytes)
    }

    /// Without its last bytes.
    pub fn cut(mut self, missing: usize) -> Self {
        self.0.truncate(self.0.len() - missing);
        self
    }

    /// With further bytes that nobody announced.
    pub fn followed_by(mut self, more: &[u8]) -> Self {
        self.0.extend(more);
        self
    }

    /// With one bit of its last byte flipped.
    pub fn damaged(mut self) -> Self {
        if let Some(last) = self.0.last_mut() {
            *last ^= 1;
        }
        self
    }
}

/// A server on a port of its own.
pub struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// Serves what `answer` says.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (asked.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, answer) = (count.clone(), answer.clone());
                // A client that goes away ends its connection, and nothing else.
                thread::spawn(move || serve(stream, &count, &*answer));
            }
        });
        Self { address, asked }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(
    stream: TcpStream,
    count: &AtomicUsize,
    answer: &dyn Fn(&Request) -> Answer,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let lines = stream.by_ref().lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let range = lines.iter().find_map(|line| {
        let line = line.to_ascii_lowercase();
        let (first, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<u64>().ok()? + 1))
    })?;
    let nth = count.fetch_add(1, Ordering::SeqCst);
    let answer = answer(&Request { path, nth, range });
    stream.get_mut().write_all(&answer.0).ok()
}
