//! A catalogue server that does everything wrong, one thing at a time: it says
//! what it is told to say, in the pieces and at the pace that it is told.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What is served.
pub enum Artifact {
    /// These bytes.
    Made(Vec<u8>),
    /// A file, and its size.
    Package(File, u64),
}

impl Artifact {
    /// The file at this path.
    pub fn package(path: &Path) -> Self {
        let file = File::open(path).expect("the package");
        let size = file.metadata().expect("the package").len();
        Self::Package(file, size)
    }

    fn size(&self) -> u64 {
        match self {
            Self::Made(bytes) => bytes.len() as u64,
            Self::Package(_, size) => *size,
        }
    }
}

/// A request.
pub struct Asked {
    /// What for.
    pub path: String,
    /// How many there were before it.
    pub nth: usize,
    /// The first asked byte.
    pub start: u64,
    /// The one after the last.
    pub end: u64,
    artifact: Arc<Artifact>,
}

impl Asked {
    /// The size of the artifact.
    pub fn size(&self) -> u64 {
        self.artifact.size()
    }

    /// Bytes of the artifact.
    pub fn bytes(&self, start: u64, end: u64) -> Vec<u8> {
        match &*self.artifact {
            Artifact::Made(bytes) => bytes[start as usize..end as usize].to_vec(),
            Artifact::Package(file, _) => {
                let mut bytes = vec![0; (end - start) as usize];
                file.read_exact_at(&mut bytes, start).expect("the package");
                bytes
            }
        }
    }

    /// The bytes that were asked for.
    pub fn body(&self) -> Vec<u8> {
        self.bytes(self.start, self.end)
    }

    /// So many.
    pub fn length(&self) -> u64 {
        self.end - self.start
    }

    /// The head of an answer about this range of it.
    pub fn head_of(&self, start: u64, end: u64, more: &str) -> String {
        let (last, size) = (end - 1, self.size());
        format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{last}/{size}\r\n{more}\r\n"
        )
    }

    /// The head of an answer about the asked range, with further lines.
    pub fn head(&self, more: &str) -> String {
        self.head_of(self.start, self.end, more)
    }

    /// An answer without fault.
    pub fn honest(&self) -> Vec<u8> {
        let mut bytes = self
            .head(&format!("content-length: {}\r\n", self.length()))
            .into_bytes();
        bytes.extend(self.body());
        bytes
    }
}

/// A piece of what goes over the wire.
pub enum Part {
    /// These bytes, at once.
    Send(Vec<u8>),
    /// These bytes, one now and then.
    Drip(Vec<u8>),
    /// These bytes again and again.
    Endless(&'static [u8]),
    /// Nothing, until the other side goes.
    Stall,
}

/// The pause between two bytes of a drip.
const PAUSE: Duration = Duration::from_millis(30);

/// What a server answers to a request; then the connection ends.
pub type Answer = fn(&Asked) -> Vec<Part>;

/// What is wrong.
#[derive(Clone, Copy)]
pub enum Lie {
    /// The answer.
    Answers(Answer),
    /// What comes before TLS could begin.
    Instead(fn() -> Vec<Part>),
    /// The certificate, of this name in tests/fixtures/tls; or the answer
    /// behind it.
    Over(&'static str, Answer),
}

/// A file of tests/fixtures/tls.
pub fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

fn tls(name: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate(&format!("{name}.crt")));
    let chain: Result<Vec<_>, _> = chain.expect("a chain").collect();
    let key = PrivateKeyDer::from_pem_file(certificate("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a chain"), key);
    Arc::new(config.expect("a certificate and its key"))
}

/// Such a server, on a port of its own.
pub struct Liar {
    address: SocketAddr,
    secure: bool,
    asked: Arc<AtomicUsize>,
}

impl Liar {
    /// Starts it.
    pub fn start(lie: Lie, artifact: Arc<Artifact>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let config = match lie {
            Lie::Over(name, _) => Some(tls(name)),
            _ => None,
        };
        let count = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, artifact, config) = (count.clone(), artifact.clone(), config.clone());
                // A client that goes away ends its connection, and nothing else.
                thread::spawn(move || connected(stream, lie, config, &count, artifact));
            }
        });
        Self {
            address,
            secure: !matches!(lie, Lie::Answers(_)),
            asked,
        }
    }

    /// Where it has the artifact.
    pub fn url(&self) -> String {
        self.url_of("/x.deb")
    }

    /// The same by another path.
    pub fn url_of(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn connected(
    mut stream: TcpStream,
    lie: Lie,
    config: Option<Arc<ServerConfig>>,
    count: &AtomicUsize,
    artifact: Arc<Artifact>,
) -> Option<()> {
    match (lie, config) {
        (Lie::Answers(answer) | Lie::Over(_, answer), None) => {
            serve(stream, answer, count, artifact)
        }
        (Lie::Over(_, answer), Some(config)) => {
            let connection = ServerConnection::new(config).ok()?;
            serve(
                StreamOwned::new(connection, stream),
                answer,
                count,
                artifact,
            )
        }
        (Lie::Instead(parts), _) => {
            // Somebody has begun to speak.
            let read = stream.read(&mut [0; 4096]).ok()?;
            (read > 0).then(|| say(&mut stream, parts()))?
        }
        (Lie::Answers(_), Some(_)) => None,
    }
}

fn serve(
    stream: impl Read + Write,
    answer: Answer,
    count: &AtomicUsize,
    artifact: Arc<Artifact>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let lines = stream.by_ref().lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let (start, end) = lines.iter().find_map(|line| {
        let line = line.to_ascii_lowercase();
        let (first, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<u64>().ok()? + 1))
    })?;
    let asked = Asked {
        path: lines.first()?.split(' ').nth(1)?.to_owned(),
        nth: count.fetch_add(1, Ordering::SeqCst),
        start,
        end,
        artifact,
    };
    say(stream.get_mut(), answer(&asked))
}

fn say(stream: &mut (impl Read + Write), parts: Vec<Part>) -> Option<()> {
    for part in parts {
        match part {
            Part::Send(bytes) => stream.write_all(&bytes).ok()?,
            Part::Drip(bytes) => {
                for byte in bytes {
                    stream.write_all(&[byte]).ok()?;
                    stream.flush().ok()?;
                    thread::sleep(PAUSE);
                }
            }
            Part::Endless(bytes) => loop {
                stream.write_all(bytes).ok()?;
            },
            Part::Stall => {
                stream.flush().ok()?;
                while stream.read(&mut [0; 4096]).ok()? > 0 {}
            }
        }
    }
    stream.flush().ok()
}
