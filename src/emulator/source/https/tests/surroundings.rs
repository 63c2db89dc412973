//! What the client takes from its surroundings: trust, proxies.

use std::io::Write as _;
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};

use super::super::super::tests::fetched;
use super::*;

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/server.crt");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/server.key");

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_file(CERTIFICATE).unwrap()
}

fn tls(reply: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Server {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate()],
            PrivateKeyDer::from_pem_file(KEY).unwrap(),
        )
        .unwrap();
    Server::start_tls(config, reply)
}

fn trusting() -> Client {
    Client::with(Settings {
        roots: || {
            let mut roots = RootCertStore::empty();
            roots.add(certificate()).unwrap();
            Ok(roots)
        },
        ..impatient().settings().clone()
    })
}

#[test]
fn https_works_with_a_trusted_certificate() {
    let server = tls(|_, request| Reply::honest(&body(), request));
    let source = Https::new(&trusting(), server.url("/x.deb"));
    assert_eq!(fetched(&source, &pinned(), &[0, 1, 2]).unwrap().len(), 3);
}

#[test]
fn a_certificate_that_nobody_signed_is_refused_at_once() {
    let server = tls(|_, request| Reply::honest(&body(), request));
    let error = fetch_error(&server, &[0]);
    assert_told(&error, Status::Unreachable, "certificate isn't valid here");
    assert_told(&error, Status::Unreachable, "SSL_CERT_FILE");
}

#[test]
fn https_is_never_led_to_plain_http() {
    let plain = Server::start(|_, request| Reply::honest(&body(), request));
    let location = plain.url("/x.deb");
    let server = tls(move |_, _| Reply::status(&format!("302 Found\r\nlocation: {location}")));
    let source = Https::new(&trusting(), server.url("/x.deb"));
    let error = fetched(&source, &pinned(), &[0]).unwrap_err().into_error();
    assert_told(
        &error,
        Status::Unreachable,
        "from https to plain http, at 127.0.0.1",
    );
    assert!(plain.requests().is_empty());
}

/// Fetches one block in a process with other environment variables, with the
/// settings that the command has; what it says at the end.
fn in_environment(url: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for variable in ["all_proxy", "http_proxy", "https_proxy", "no_proxy"] {
        command
            .env_remove(variable)
            .env_remove(variable.to_uppercase());
    }
    let output = command
        .args([
            "--exact",
            "emulator::source::https::tests::surroundings::child",
            "--ignored",
            "--nocapture",
        ])
        .env("BINFMTCTL_TEST_URL", url)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = text
        .lines()
        .find_map(|line| line.split_once("child says: "));
    said.unwrap_or_else(|| panic!("{text}")).1.to_owned()
}

#[test]
#[ignore = "run by the tests below, each in an environment of its own"]
fn child() {
    let url = std::env::var("BINFMTCTL_TEST_URL").unwrap();
    let source = Https::new(&Client::new(), url);
    let said = match fetched(&source, &pinned(), &[2]) {
        Ok(_) => "fetched".to_owned(),
        Err(failure) => failure.into_error().line().to_string(),
    };
    writeln!(std::io::stdout(), "\nchild says: {said}").unwrap();
}

#[test]
fn the_environment_names_the_proxy_in_either_case() {
    for (variable, scheme) in [
        ("http_proxy", "http://"),
        ("HTTP_PROXY", ""),
        ("all_proxy", "http://"),
    ] {
        let proxy = Server::start(|_, request| Reply::honest(&body(), request));
        let address = proxy
            .url("")
            .replace("http://", &format!("{scheme}me:secret@"));
        let said = in_environment("http://archive.invalid/x", &[(variable, &address)]);
        assert_eq!(said, "fetched", "{variable}={address}");
        let request = &proxy.requests()[0];
        assert_eq!(request.line, "GET http://archive.invalid/x HTTP/1.1");
        assert_eq!(
            request.header("proxy-authorization"),
            Some("Basic bWU6c2VjcmV0")
        );
    }
}

#[test]
fn no_proxy_goes_past_the_proxy() {
    let server = Server::start(|_, request| Reply::honest(&body(), request));
    let proxy = Server::start(|_, _| Reply::status("403 Forbidden"));
    let variables = [
        ("http_proxy", proxy.url("")),
        ("no_proxy", "localhost,127.0.0.0/8".into()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(in_environment(&server.url("/x"), &variables), "fetched");
    assert!(proxy.requests().is_empty());
}

#[test]
fn https_goes_through_the_proxy_and_its_refusal_is_told() {
    let proxy = Server::start(|_, _| Reply::status("407 Proxy Authentication Required"));
    let address = proxy.url("").replace("http://", "http://me:secret@");
    let said = in_environment("https://archive.invalid/x", &[("https_proxy", &address)]);
    let request = &proxy.requests()[0];
    assert_eq!(request.line, "CONNECT archive.invalid:443 HTTP/1.1");
    assert_eq!(
        request.header("proxy-authorization"),
        Some("Basic bWU6c2VjcmV0")
    );
    assert!(said.contains("proxy auth"), "{said}");
    assert!(said.contains("is https_proxy=http://127.0.0.1:"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_proxy_that_cant_be_used_is_named() {
    let said = in_environment(
        "http://archive.invalid/x",
        &[("all_proxy", "socks5://127.0.0.1:1")],
    );
    assert!(
        said.contains("is all_proxy=socks5://127.0.0.1:1 right?"),
        "{said}"
    );
}

#[test]
fn ssl_cert_file_names_whom_to_trust() {
    let server = tls(|_, request| Reply::honest(&body(), request));
    let url = server.url("/x");
    assert_eq!(
        in_environment(&url, &[("SSL_CERT_FILE", CERTIFICATE)]),
        "fetched"
    );
    let said = in_environment(&url, &[("SSL_CERT_FILE", "/nonexistent.pem")]);
    assert!(
        said.contains("SSL_CERT_FILE names /nonexistent.pem"),
        "{said}"
    );
}
