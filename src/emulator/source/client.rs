//! The HTTP client: one policy for time limits, redirects, proxies and trust,
//! and its failures in plain words.
//!
//! The client is built at the first request, not before: building it starts
//! a thread, and a thread keeps the rights that its parent had then.
//! Proxies come from the environment as they do for curl (`https_proxy`,
//! `http_proxy`, `all_proxy`, `no_proxy`, either case). What is refused: more
//! than five redirects, any from https to http, and other schemes.

use std::env;
use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Url;
use reqwest::blocking::{Client as Http, Response};
use reqwest::header::{ACCEPT_ENCODING, RANGE};
use reqwest::redirect::{Attempt, Policy};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::tls;
use crate::error::{Error, Result, Status};

const MAX_REDIRECTS: usize = 5;

/// A server's words take no more of a message than this, in characters.
const LONGEST_CAUSE: usize = 300;

/// How long a connection that only helps waits for a server.
const HELPERS_PATIENCE: Duration = Duration::from_secs(5);

/// How patient a client is, and what it takes from its surroundings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a connection may take to come about.
    pub connect: Duration,
    /// How long a server may take to answer, how long it may then be silent, and
    /// how long it may ask to be left alone.
    pub idle: Duration,
    /// So many bytes a second have to come at least, over each such time; more
    /// would leave slow lines out.
    pub rate: u64,
    /// The wait before the second try; it doubles from try to try.
    pub back_off: Duration,
    /// How often in a row a request may fail.
    pub tries: u32,
    /// Whether the proxies of the environment are used.
    pub proxies: bool,
    /// Where the trusted authorities come from.
    pub roots: fn() -> Result<RootCertStore>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            rate: 1024,
            back_off: Duration::from_millis(250),
            tries: 4,
            proxies: true,
            roots: tls::roots,
        }
    }
}

/// An HTTP client that comes into being at its first request. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Client {
    settings: Settings,
    tls: Arc<OnceLock<ClientConfig>>,
    http: Arc<OnceLock<Http>>,
}

impl Client {
    /// A client with the usual limits and the environment's proxies.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client with other settings.
    pub fn with(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Looks up whom to trust, while that can still be read. What is wrong
    /// with it is told at the first request.
    pub fn prepare(&self) {
        let _ = self.tls();
    }

    /// The same for connections that others can do without: at the first
    /// trouble it gives up.
    pub(super) fn for_help(&self) -> Self {
        let settings = &self.settings;
        Self {
            settings: Settings {
                connect: settings.connect.min(HELPERS_PATIENCE),
                idle: settings.idle.min(HELPERS_PATIENCE),
                tries: 1,
                ..settings.clone()
            },
            tls: Arc::clone(&self.tls),
            http: Arc::default(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks for the bytes from `start` up to, not including, `end`.
    pub(super) fn get(&self, url: &str, start: u64, end: u64) -> Result<Response, Trouble> {
        self.http()?
            .get(url)
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1)))
            .send()
            .map_err(|error| self.explain(url, &error))
    }

    fn http(&self) -> Result<&Http, Trouble> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let http = self.build().map_err(Trouble::Lasting)?;
        Ok(self.http.get_or_init(|| http))
    }

    fn build(&self) -> Result<Http> {
        let settings = &self.settings;
        let builder = Http::builder()
            .tls_backend_preconfigured(self.tls()?.clone())
            .user_agent(concat!("binfmtctl/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            .redirect(Policy::custom(redirect))
            .connect_timeout(settings.connect)
            // In the blocking client this limits the wait for the answer's head,
            // and then each single read of its body, not the whole of it.
            .timeout(settings.idle);
        let builder = match settings.proxies {
            true => builder,
            false => builder.no_proxy(),
        };
        builder.build().map_err(|cause| {
            Error::new(Status::Unreachable, "cannot set up the HTTP client").because(cause)
        })
    }

    fn tls(&self) -> Result<&ClientConfig> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let tls = tls::config((self.settings.roots)()?)?;
        Ok(self.tls.get_or_init(|| tls))
    }

    /// What a failed request means, and whether to try again.
    fn explain(&self, url: &str, error: &reqwest::Error) -> Trouble {
        let cause = root_cause(error);
        let parsed = Url::parse(url).ok();
        let host = parsed.as_ref().and_then(Url::host_str).unwrap_or(url);
        let proxy = parsed
            .as_ref()
            .filter(|_| self.settings.proxies)
            .and_then(|url| proxy_for(url.scheme(), |name| env::var(name).ok()));
        let ours = |text: String| {
            let error = unreachable(url, text);
            match &proxy {
                Some(proxy) => error.hint(format!("is {proxy} right?")),
                None => error,
            }
        };

        if error.is_redirect() || error.is_builder() {
            return Trouble::Lasting(unreachable(url, cause.to_string()));
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = cause.downcast_ref() {
            let error = unreachable(url, format!("its certificate isn't valid here: {cause}"));
            return Trouble::Lasting(error.hint(match why {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => "is this host's clock right?",
                _ => "if a proxy here re-signs TLS, name its authority's file in SSL_CERT_FILE",
            }));
        }
        if error.is_timeout() && error.is_connect() {
            let limit = self.settings.connect.as_secs_f32();
            // Not tried again: the kernel has repeated itself for all that time.
            return Trouble::Lasting(ours(format!("no connection to {host} within {limit} s")));
        }
        if error.is_timeout() {
            let limit = self.settings.idle.as_secs_f32();
            return Trouble::Passing(
                ours(format!("no answer from {host} within {limit} s")),
                None,
            );
        }
        let text = match () {
            () if error.is_dns() => match &proxy {
                Some(_) => format!("the name of the host or of the proxy isn't known: {cause}"),
                None => format!("the name {host} isn't known: {cause}"),
            },
            () if error.is_connect() => format!("cannot connect to {host}: {cause}"),
            () => format!("{host} broke off: {cause}"),
        };
        Trouble::Passing(ours(text), None)
    }
}

/// A request that failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Trying again may help, not before the given wait.
    Passing(Error, Option<Duration>),
    /// Trying again won't help.
    Lasting(Error),
}

/// The failure to read this URL. Names and passwords in it aren't shown, and
/// what a server has put into the cause does no harm to a terminal.
pub(super) fn unreachable(url: &str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    let what = format!("cannot read {}", shown(url));
    let cause = cause.into().to_string();
    let tame = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut tamed: String = cause.chars().take(LONGEST_CAUSE).map(tame).collect();
    if cause.chars().nth(LONGEST_CAUSE).is_some() {
        tamed.push_str("...");
    }
    Error::new(Status::Unreachable, what).because(tamed)
}

/// A URL as it may be shown: without user name and password.
pub(super) fn shown(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return url.to_owned();
    };
    if parsed.username().is_empty() && parsed.password().is_none() {
        return url.to_owned();
    }
    // Neither fails for a URL that has a host, and only such a one has them.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.into()
}

/// The last error of the chain: the one that says what happened.
pub(super) fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut last = error;
    loop {
        // The source of an io::Error skips the error that it wraps.
        let wrapped = last
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref())
            .map(|inner| inner as &(dyn StdError + 'static));
        match wrapped.or_else(|| last.source()) {
            Some(next) => last = next,
            None => return last,
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("it redirects more than {MAX_REDIRECTS} times")]
    Endless,
    #[error("it redirects from https to plain http, at {0}")]
    Downgrade(String),
    #[error("it redirects to {0}, which is neither https nor http")]
    Scheme(String),
}

fn redirect(attempt: Attempt) -> reqwest::redirect::Action {
    match check_redirect(attempt.previous(), attempt.url()) {
        Ok(()) => attempt.follow(),
        Err(refused) => attempt.error(refused),
    }
}

/// `previous` holds the URLs asked so far, the first one included.
fn check_redirect(previous: &[Url], next: &Url) -> Result<(), Refused> {
    let secure = previous.iter().any(|url| url.scheme() == "https");
    match next.scheme() {
        _ if previous.len() > MAX_REDIRECTS => Err(Refused::Endless),
        "https" => Ok(()),
        "http" if !secure => Ok(()),
        "http" => Err(Refused::Downgrade(
            next.host_str().unwrap_or_default().to_owned(),
        )),
        other => Err(Refused::Scheme(format!("{other}:"))),
    }
}

/// The variable that names the proxy for a scheme, with its value, shown
/// without user name and password: `https_proxy=http://proxy:3128/`.
fn proxy_for(scheme: &str, get: impl Fn(&str) -> Option<String>) -> Option<String> {
    let own = format!("{scheme}_proxy");
    [
        own.to_uppercase(),
        own,
        "ALL_PROXY".into(),
        "all_proxy".into(),
    ]
    .into_iter()
    .find_map(|name| {
        let value = get(&name).filter(|value| !value.is_empty())?;
        Some(format!("{name}={}", shown(&value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(texts: &[&str]) -> Vec<Url> {
        texts.iter().map(|text| Url::parse(text).unwrap()).collect()
    }

    fn after(previous: &[&str], next: &str) -> Result<(), Refused> {
        check_redirect(&urls(previous), &Url::parse(next).unwrap())
    }

    #[test]
    fn a_redirect_never_leaves_https() {
        assert_eq!(after(&["https://a/"], "https://b/"), Ok(()));
        assert_eq!(after(&["http://a/"], "http://b/"), Ok(()));
        assert_eq!(after(&["http://a/"], "https://b/"), Ok(()));
        let down = Err(Refused::Downgrade("b".into()));
        assert_eq!(after(&["https://a/"], "http://b/x?secret"), down);
        assert_eq!(after(&["http://a/", "https://a/"], "http://b/"), down);
    }

    #[test]
    fn a_redirect_goes_to_the_web_and_not_on_for_ever() {
        let file = Err(Refused::Scheme("file:".into()));
        assert_eq!(after(&["http://a/"], "file:///etc/shadow"), file);
        assert_eq!(after(&["http://a/"; 5], "http://a/"), Ok(()));
        assert_eq!(after(&["http://a/"; 6], "http://a/"), Err(Refused::Endless));
    }

    #[test]
    fn passwords_are_never_shown() {
        assert_eq!(shown("https://me:secret@host/x"), "https://host/x");
        assert_eq!(shown("https://host/x"), "https://host/x");
        let proxy = |name: &str| (name == "all_proxy").then(|| "http://me:secret@p:1".to_owned());
        assert_eq!(proxy_for("https", proxy).unwrap(), "all_proxy=http://p:1/");
    }

    #[test]
    fn a_servers_words_are_short_and_tame() {
        let error = unreachable(
            "https://a/",
            format!("\u{9b}2J\u{1b}[2J{}", "x".repeat(9999)),
        );
        let line = error.line().to_string();
        assert!(line.len() < 400 && line.ends_with("xxx..."), "{line}");
        assert!(!line.contains(char::is_control), "{line}");
        let short = unreachable("https://a/", "it answered 404").reason();
        assert_eq!(short, "cannot read https://a/: it answered 404");
    }

    #[test]
    fn the_proxy_of_the_scheme_goes_before_the_one_for_all() {
        let proxy = |name: &str| match name {
            "https_proxy" => Some("http://p:1".to_owned()),
            "ALL_PROXY" => Some("http://q:1".to_owned()),
            _ => None,
        };
        assert_eq!(proxy_for("https", proxy).unwrap(), "https_proxy=http://p:1");
        assert_eq!(proxy_for("http", proxy).unwrap(), "ALL_PROXY=http://q:1");
        assert_eq!(proxy_for("http", |_| None), None);
    }
}
