//! Servers as they are: what passes is borne, what doesn't is told, and what
//! a failed download leaves behind is nothing.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::cache::{self, busybox};
use crate::world::server::{Answer, Request, Server};
use crate::world::{Output, World};

const INSTALL: &str = "install riscv64 --source https";

/// Installs from a mirror, and from nowhere else.
fn install_from(world: &World, mirror: &str, options: &str) -> Output {
    let manifest = world.manifest_without_urls();
    world.ctl_with(
        &format!("{INSTALL} --mirror {mirror} {options}"),
        &[("BINFMTCTL_MANIFEST", &manifest)],
    )
}

/// Such a server is good enough, over one connection.
#[track_caller]
fn serves(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Option<Server> {
    serves_over(1, answer)
}

#[track_caller]
fn serves_over(
    connections: u32,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Option<Server> {
    let world = World::new()?;
    let server = Server::start(answer);
    let options = format!("--jobs {connections}");
    install_from(&world, &server.url(), &options).assert_exit(0);
    assert_eq!(world.stored().len(), 1);
    world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
    Some(server)
}

/// Such a mirror isn't, and the last line says why.
#[track_caller]
fn fails(world: &World, mirror: &str, status: i32, words: &[&str]) {
    let manifest = world.manifest_without_urls();
    let variables: [(&str, &Path); 1] = [("BINFMTCTL_MANIFEST", &manifest)];
    let line = format!("{INSTALL} --mirror {mirror}");
    world.refuses_with(&line, &variables, status, words);
    assert!(!world.prefix().exists() && !world.conf_path().exists());
    assert!(world.names().is_empty());
}

/// Such a server isn't good enough; how often it was asked.
#[track_caller]
fn refused(
    status: i32,
    word: &str,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Option<usize> {
    let world = World::new()?;
    let server = Server::start(answer);
    fails(&world, &server.url(), status, &[word, &server.url()]);
    Some(server.asked())
}

/// An answer with these lines in its head, and this body.
fn answer(head: &str, body: &[u8]) -> Answer {
    let mut bytes = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").into_bytes();
    bytes.extend(body);
    Answer(bytes)
}

#[test]
fn only_the_needed_bytes_travel_and_each_once() {
    let mut all = Vec::new();
    for connections in [1, 4] {
        let served = Arc::new(AtomicU64::new(0));
        let count = served.clone();
        let answer = move |request: &Request| {
            let (start, end) = request.range;
            count.fetch_add(end - start, Ordering::SeqCst);
            Answer::honest(request)
        };
        let Some(server) = serves_over(connections, answer) else {
            return;
        };
        let (served, size) = (served.load(Ordering::SeqCst), cache::release().size);
        assert!(served * 100 < size * 13, "{served} of {size} bytes");
        all.push(served);
        match connections {
            1 => assert_eq!(server.asked(), 1, "adjacent blocks are one request"),
            _ => assert!(server.asked() > 1, "parts of them are several"),
        }
    }
    assert_eq!(all[0], all[1]);
}

#[test]
fn a_second_install_asks_nobody() {
    let Some(world) = World::new() else { return };
    let server = Server::start(Answer::honest);
    install_from(&world, &server.url(), "").assert_exit(0);
    let asked = server.asked();
    install_from(&world, &server.url(), "").assert_exit(0);
    assert_eq!(server.asked(), asked);
}

#[test]
fn a_server_without_ranges_will_do() {
    serves(|_| {
        let package = fs::read(cache::package()).unwrap();
        answer(
            &format!("200 OK\r\ncontent-length: {}", package.len()),
            &package,
        )
    });
}

#[test]
fn a_server_that_is_overloaded_for_a_moment_is_asked_again() {
    let server = serves(|request| match request.nth {
        0 | 1 => Answer::status("500 Internal Server Error"),
        _ => Answer::honest(request),
    });
    assert!(server.is_none_or(|server| server.asked() == 3));
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
    let server = serves(|request| match request.nth {
        0 => Answer::honest(request).cut(100_000),
        _ => {
            let (start, end) = request.range;
            assert_eq!(end - start, 100_000);
            Answer::honest(request)
        }
    });
    assert!(server.is_none_or(|server| server.asked() == 2));
}

#[test]
fn bytes_after_the_announced_ones_are_never_looked_at() {
    serves(|request| Answer::honest(request).followed_by(b"more"));
}

#[test]
fn a_redirect_to_another_path_is_followed() {
    let server = serves(|request| match request.path.as_str() {
        "/elsewhere" => Answer::honest(request),
        _ => Answer::redirect("/elsewhere"),
    });
    assert!(server.is_none_or(|server| server.asked() == 2));
}

#[test]
fn the_flat_layout_is_tried_after_the_archives() {
    let flat = format!("/{}", cache::release().file);
    let server = serves(move |request| match request.path == flat {
        true => Answer::honest(request),
        false => Answer::status("404 Not Found"),
    });
    assert!(server.is_none_or(|server| server.asked() == 2));
}

#[test]
fn what_a_server_refuses_is_not_asked_again() {
    for status in ["404 Not Found", "403 Forbidden", "410 Gone"] {
        let asked = refused(8, status, move |_| Answer::status(status));
        assert!(asked.is_none_or(|asked| asked == 2), "{status}: {asked:?}");
    }
}

#[test]
fn a_server_that_stays_overloaded_is_given_up() {
    let asked = refused(8, "503", |_| Answer::status("503 Service Unavailable"));
    assert!(asked.is_none_or(|asked| asked == 8), "four times each URL");
}

#[test]
fn a_server_that_always_closes_in_the_middle_is_given_up() {
    let closing = |request: &Request| {
        let (start, end) = request.range;
        Answer::honest(request).cut((end - start) as usize)
    };
    refused(8, "byte", closing);
}

#[test]
fn a_server_that_sends_without_end_is_given_up() {
    let endless = |request: &Request| {
        let ((start, end), size) = (request.range, cache::release().size);
        let head = format!(
            "206 Partial Content\r\ncontent-range: bytes {start}-{}/{size}",
            end - 1
        );
        let body = Answer::honest(request).0;
        let body = &body[body.len() - (end - start) as usize..];
        answer(&head, body).followed_by(b"more")
    };
    refused(8, "more than it was asked for", endless);
}

#[test]
fn redirects_that_never_end_are_given_up() {
    refused(8, "redirects", |_| Answer::redirect("/again"));
}

#[test]
fn answers_about_other_bytes_are_refused() {
    let other = |request: &Request| {
        let (start, end) = request.range;
        let (start, end) = (start + 1, end + 1);
        Answer::honest(&Request {
            range: (start, end),
            ..request.clone()
        })
    };
    refused(8, "asked for bytes", other);
}

#[test]
fn wrong_bytes_of_the_right_length_are_an_integrity_failure() {
    refused(7, "isn't the pinned one", |request| {
        Answer::honest(request).damaged()
    });
}

#[test]
fn a_file_of_another_size_is_an_integrity_failure() {
    refused(7, "isn't the pinned file", |_| {
        answer("200 OK\r\ncontent-length: 9", b"<html></>")
    });
}

#[test]
fn an_address_where_nothing_listens_is_named() {
    let Some(world) = World::new() else { return };
    // The port was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    fails(&world, &mirror, 8, &["cannot connect", &mirror]);
}

#[test]
fn a_mirror_that_is_none_is_wrong_usage() {
    let Some(world) = World::new() else { return };
    for mirror in [
        "ftp://127.0.0.1/",
        "127.0.0.1",
        "http://127.0.0.1/?a",
        "http://",
    ] {
        fails(&world, mirror, 2, &[mirror]);
    }
}

#[test]
fn a_manifest_without_urls_asks_for_a_mirror() {
    let Some(world) = World::new() else { return };
    let manifest = world.manifest_without_urls();
    let words = [cache::release().file, "--mirror".to_owned()];
    let words = words.each_ref().map(String::as_str);
    world.refuses_with(INSTALL, &[("BINFMTCTL_MANIFEST", &manifest)], 8, &words);
}
