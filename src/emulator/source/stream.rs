//! Reads byte ranges of one URL one after the other, over a new connection
//! whenever one breaks.
//!
//! A range is asked for and must be answered exactly; a server that sends the
//! whole file instead is read once, past what isn't wanted. What passes
//! (overload, broken connections) is tried again from the byte where it
//! stopped. What is refused: answers about other bytes, a file of another
//! size, more bytes than asked for, and servers that keep one waiting.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName, RETRY_AFTER};

use super::client::{Client, Trouble, root_cause, unreachable};
use crate::error::{Error, Result, Status};

/// So many new bytes make up for earlier failures; less would let a server
/// keep one busy for ever, byte by byte.
const PROGRESS: u64 = 64 * 1024;

pub(super) struct Stream<'a> {
    client: &'a Client,
    url: &'a str,
    /// The size that the file must have.
    size: u64,
    /// The next byte to give out, and the end of what is wanted in a row.
    at: u64,
    end: u64,
    body: Option<Body>,
    failures: u32,
    progress: u64,
    /// How long was waited for the server in all, and for how many bytes.
    waited: Duration,
    came: u64,
    /// Whether nobody waits for the bytes any more.
    over: &'a AtomicBool,
}

/// What a server answers to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The range.
    Range,
    /// Everything, from the file's first byte on.
    WholeFile,
}

impl<'a> Stream<'a> {
    pub(super) fn new(client: &'a Client, url: &'a str, size: u64, over: &'a AtomicBool) -> Self {
        Self {
            client,
            url,
            size,
            at: 0,
            end: 0,
            body: None,
            failures: 0,
            progress: 0,
            waited: Duration::ZERO,
            came: 0,
            over,
        }
    }

    /// Goes to the bytes from `start` up to, not including, `end`.
    pub(super) fn seek(&mut self, start: u64, end: u64) {
        (self.at, self.end) = (start, end);
        // A body that holds the whole file passes by here anyway.
        self.body = self
            .body
            .take()
            .filter(|body| body.end == self.size && body.at <= start);
    }

    /// Waits for the answer to what was asked for.
    pub(super) fn begin(&mut self) -> Result<Answer> {
        self.persist(|stream| stream.body().map(|body| body.answer))
    }

    /// Fills the buffer with the bytes that come next.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            filled += self.persist(|stream| stream.advance(&mut buffer[filled..]))?;
        }
        Ok(())
    }

    /// Tries again what may pass.
    fn persist<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, Trouble>) -> Result<T> {
        loop {
            if self.over.load(Ordering::Relaxed) {
                return Err(unreachable(self.url, "another range failed"));
            }
            let before = Instant::now();
            let worked = work(self);
            self.waited += before.elapsed();
            match worked {
                Ok(done) => return Ok(done),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing(error, wait)) => {
                    self.body = None;
                    self.failures += 1;
                    self.progress = 0;
                    if self.failures >= self.client.settings().tries || self.is_too_slow() {
                        return Err(error);
                    }
                    let usual = back_off(self.client.settings().back_off, self.failures);
                    let wait = wait.unwrap_or(usual);
                    self.waited += wait;
                    thread::sleep(wait);
                }
            }
        }
    }

    /// Whether all the failures that progress made up for took more time than
    /// the bytes were worth.
    fn is_too_slow(&self) -> bool {
        let settings = self.client.settings();
        let worth = Duration::from_secs(self.came / settings.rate.max(1));
        // A try may wait for the answer, then for bytes, and then for the next.
        self.waited > settings.idle * settings.tries * 3 + worth
    }

    fn body(&mut self) -> Result<&mut Body, Trouble> {
        let asked = self.at..self.end;
        match self.body.take() {
            Some(body) => Ok(self.body.insert(body)),
            None => Ok(self
                .body
                .insert(open(self.client, self.url, asked, self.size)?)),
        }
    }

    /// Reads once, towards or into what is wanted; how much of that it got.
    fn advance(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        let (client, url, at) = (self.client, self.url, self.at);
        let body = self.body()?;
        if body.at < at {
            let mut passing = [0; 16 * 1024];
            let most = (at - body.at).min(passing.len() as u64) as usize;
            body.read(client, url, &mut passing[..most])?;
            return Ok(0);
        }
        let n = body.read(client, url, buffer)?;
        if body.at == body.end && body.goes_on() {
            let error = unreachable(url, "it sends more than it was asked for");
            return Err(Trouble::Lasting(error));
        }
        self.at += n as u64;
        self.progress += n as u64;
        self.came += n as u64;
        if self.progress >= PROGRESS {
            self.failures = 0;
        }
        Ok(n)
    }
}

/// The body of an answer, and which bytes of the file it brings.
struct Body {
    response: Response,
    answer: Answer,
    at: u64,
    end: u64,
    waited: Duration,
    came: u64,
}

impl Body {
    /// Reads at least one byte, and none beyond the end.
    fn read(&mut self, client: &Client, url: &str, buffer: &mut [u8]) -> Result<usize, Trouble> {
        let idle = client.settings().idle;
        let seconds = idle.as_secs_f32();
        let most = (self.end - self.at).min(buffer.len() as u64) as usize;
        let before = Instant::now();
        let result = self.response.read(&mut buffer[..most]);
        // Only time spent waiting counts: the receiver may take its own between reads.
        self.waited += before.elapsed();
        let n = match result {
            Ok(0) => {
                let text = format!("it stopped at byte {} of {}", self.at, self.end);
                return Err(Trouble::Passing(unreachable(url, text), None));
            }
            Ok(n) => n as u64,
            Err(error) if self.waited >= idle => {
                let text = format!("nothing came for {seconds} s: {}", root_cause(&error));
                return Err(Trouble::Passing(unreachable(url, text), None));
            }
            Err(error) => {
                let text = format!("it broke off at byte {}: {}", self.at, root_cause(&error));
                return Err(Trouble::Passing(unreachable(url, text), None));
            }
        };
        self.at += n;
        self.came += n;
        if self.waited >= idle {
            let least = client.settings().rate as f64 * idle.as_secs_f64();
            if (self.came as f64) < least && self.at < self.end {
                let text = format!("no more than {} bytes came in {seconds} s", self.came);
                return Err(Trouble::Passing(unreachable(url, text), None));
            }
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        Ok(n as usize)
    }

    /// Whether more comes after the end. A broken connection doesn't matter
    /// any more there.
    fn goes_on(&mut self) -> bool {
        matches!(self.response.read(&mut [0]), Ok(1))
    }
}

/// Asks for a range of the file, and checks what the answer says that it is.
fn open(
    client: &Client,
    url: &str,
    range: std::ops::Range<u64>,
    size: u64,
) -> Result<Body, Trouble> {
    let response = client.get(url, range.start, range.end)?;
    let lasting = |text: String| Err(Trouble::Lasting(unreachable(url, text)));
    if let Some(coding) = header(&response, &CONTENT_ENCODING).filter(|it| it != "identity") {
        return lasting(format!("it answered with content encoding {coding}"));
    }
    let announced = header(&response, &CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let (answer, at, end) = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let told = header(&response, &CONTENT_RANGE).unwrap_or_default();
            let Some((start, end, total)) = content_range(&told) else {
                return lasting(format!("it answered 206 with content range {told:?}"));
            };
            if total.is_some_and(|total| total != size) {
                return Err(Trouble::Lasting(other_size(url, total.unwrap_or(0), size)));
            }
            if start != range.start || end != range.end {
                return lasting(format!(
                    "asked for bytes {}-{}, it answered with {start}-{}",
                    range.start,
                    range.end - 1,
                    end - 1
                ));
            }
            (Answer::Range, start, end)
        }
        StatusCode::OK if announced.is_some_and(|length: u64| length != size) => {
            return Err(Trouble::Lasting(other_size(
                url,
                announced.unwrap_or(0),
                size,
            )));
        }
        StatusCode::OK => (Answer::WholeFile, 0, size),
        status => {
            let longest = client.settings().idle;
            return Err(refusal(url, &response, status, longest));
        }
    };
    if announced.is_some_and(|length| length != end - at) {
        return lasting("its answer's length contradicts its content range".into());
    }
    Ok(Body {
        response,
        answer,
        at,
        end,
        waited: Duration::ZERO,
        came: 0,
    })
}

/// `longest` is the longest wait that a server may ask for.
fn refusal(url: &str, response: &Response, status: StatusCode, longest: Duration) -> Trouble {
    let asked_wait = || retry_after(&header(response, &RETRY_AFTER)?, longest);
    let error = unreachable(url, format!("it answered {status}"));
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Trouble::Lasting(
            error.hint("put the proxy's user and password into the proxy variable"),
        ),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Trouble::Passing(error, asked_wait())
        }
        status if status.is_server_error() => Trouble::Passing(error, asked_wait()),
        _ => Trouble::Lasting(error),
    }
}

fn other_size(url: &str, found: u64, size: u64) -> Error {
    let what = format!("{} isn't the pinned file", super::client::shown(url));
    Error::new(Status::Integrity, what).because(format!("it has {found} bytes, not {size}"))
}

fn header(response: &Response, name: &HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// `Retry-After` in seconds, cut to what is bearable. Dates are left aside:
/// they need a clock that is right.
fn retry_after(text: &str, longest: Duration) -> Option<Duration> {
    let seconds = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(longest))
}

/// `bytes 0-99/1000` as start, exclusive end, and total where it is told.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<u64>().ok()?);
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    let end = last.checked_add(1)?;
    (first < end).then_some((first, end, total))
}

/// The wait after so many failures: doubled each time, up to a quarter off
/// either way, so that a fleet doesn't come back all at once.
fn back_off(base: Duration, failures: u32) -> Duration {
    // The keys of a hasher are random, which is all the randomness needed.
    let random = RandomState::new().hash_one(failures) % 512;
    let doubled = base.saturating_mul(1 << (failures - 1).min(16));
    doubled.mul_f64(0.75 + random as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_strictly() {
        assert_eq!(content_range("bytes 5-9/20"), Some((5, 10, Some(20))));
        assert_eq!(content_range("bytes 5-5/*"), Some((5, 6, None)));
        for text in [
            "",
            "bytes 9-5/20",
            "5-9/20",
            "bytes */20",
            "bytes 5-9",
            "bytes -5-9/20",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
        assert_eq!(content_range(&format!("bytes 0-{}/1", u64::MAX)), None);
    }

    #[test]
    fn a_server_may_ask_for_as_long_as_it_may_be_silent_and_no_more() {
        let longest = Duration::from_secs(30);
        let wait = |text| retry_after(text, longest);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("86400"), Some(longest));
        assert_eq!(wait("Mon, 23 Nov 2026 09:00:00 GMT"), None);
        assert_eq!(wait("-1"), None);
    }

    #[test]
    fn each_wait_is_about_twice_the_one_before() {
        let base = Duration::from_secs(1);
        for failures in 1..=4 {
            let doubled = f64::from(1 << (failures - 1));
            let wait = back_off(base, failures).as_secs_f64();
            assert!((0.75 * doubled..1.25 * doubled).contains(&wait), "{wait}");
        }
    }
}
