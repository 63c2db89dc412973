//! A web server that can be told to lie.
//!
//! It asks a function for each reply, as raw bytes and what happens after
//! them, and remembers the requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET /path HTTP/1.1`.
    pub line: String,
    /// The header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Over which connection, counted from 0.
    pub connection: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// The asked range, end exclusive.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some((first.parse().ok()?, last.parse::<usize>().ok()? + 1))
    }
}

/// What goes back over the wire.
pub(crate) struct Reply {
    pub bytes: Vec<u8>,
    pub then: Then,
}

/// What happens after a reply's bytes.
pub(crate) enum Then {
    /// The connection serves the next request.
    Next,
    /// It ends.
    Close,
    /// Nothing, until the client goes away.
    Hang,
    /// The same bytes again and again, with this pause.
    Repeat(&'static [u8], Duration),
}

impl Reply {
    pub(crate) fn new(head: &str, body: &[u8], then: Then) -> Self {
        let mut bytes = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes, then }
    }

    /// A reply without a body.
    pub(crate) fn status(status: &str) -> Self {
        Self::new(&format!("{status}\r\ncontent-length: 0"), b"", Then::Next)
    }

    /// The whole file, whatever was asked.
    pub(crate) fn whole(body: &[u8]) -> Self {
        Self::new(
            &format!("200 OK\r\ncontent-length: {}", body.len()),
            body,
            Then::Next,
        )
    }

    /// What was asked.
    pub(crate) fn honest(body: &[u8], request: &Request) -> Self {
        let (start, end) = request.range().unwrap();
        let head = Self::partial_head(start, end, body.len());
        Self::new(&head, &body[start..end], Then::Next)
    }

    pub(crate) fn partial_head(start: usize, end: usize, total: usize) -> String {
        let length = end - start;
        let last = end - 1;
        format!(
            "206 Partial\r\ncontent-length: {length}\r\ncontent-range: bytes {start}-{last}/{total}"
        )
    }

    /// Only the first bytes of another reply, and then this.
    pub(crate) fn cut(mut self, missing: usize, then: Then) -> Self {
        self.bytes.truncate(self.bytes.len() - missing);
        self.then = then;
        self
    }
}

pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Request>>>,
    most: Arc<AtomicUsize>,
}

impl Server {
    /// Serves what `reply` says to the nth request (from 0).
    pub(crate) fn start(reply: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::run("http", |stream| Some(Box::new(stream)), reply)
    }

    /// The same over TLS.
    pub(crate) fn start_tls(
        config: ServerConfig,
        reply: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        let wrap = move |stream| {
            let connection = ServerConnection::new(config.clone()).ok()?;
            Some(Box::new(StreamOwned::new(connection, stream)) as Box<dyn ReadWrite>)
        };
        Self::run("https", wrap, reply)
    }

    fn run(
        scheme: &'static str,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn ReadWrite>> + Send + Sync + 'static,
        reply: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let most = Arc::new(AtomicUsize::new(0));
        let (log, peak) = (seen.clone(), most.clone());
        let shared = Arc::new((wrap, reply, AtomicUsize::new(0)));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (shared, log) = (shared.clone(), log.clone());
                let open = shared.2.fetch_add(1, Ordering::SeqCst) + 1;
                peak.fetch_max(open, Ordering::SeqCst);
                thread::spawn(move || {
                    if let Some(stream) = shared.0(stream) {
                        serve(stream, connection, &log, &shared.1);
                    }
                    shared.2.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            scheme,
            seen,
            most,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections were open at once, at most.
    pub(crate) fn most_connections(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The ranges that were asked for, in order.
    pub(crate) fn ranges(&self) -> Vec<(usize, usize)> {
        self.requests().iter().filter_map(Request::range).collect()
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Serves one connection. A client that goes away ends it, as does one that
/// doesn't trust our certificate: no error here is one of the test's.
fn serve(
    stream: Box<dyn ReadWrite>,
    connection: usize,
    log: &Mutex<Vec<Request>>,
    reply: &impl Fn(usize, &Request) -> Reply,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = receive(&mut stream, connection) {
        let nth = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let reply = reply(nth, &request);
        let wire = stream.get_mut();
        if wire
            .write_all(&reply.bytes)
            .and_then(|()| wire.flush())
            .is_err()
        {
            return;
        }
        match reply.then {
            Then::Next => {}
            Then::Close => return,
            Then::Hang => {
                let _ = stream.read(&mut [0]);
                return;
            }
            Then::Repeat(bytes, pause) => loop {
                thread::sleep(pause);
                if wire.write_all(bytes).and_then(|()| wire.flush()).is_err() {
                    return;
                }
            },
        }
    }
}

fn receive(stream: &mut impl BufRead, connection: usize) -> Option<Request> {
    let mut lines = stream.lines().map_while(Result::ok);
    let line = lines.next()?;
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        })
        .collect();
    Some(Request {
        line,
        headers,
        connection,
    })
}
