//! Servers that lie, stall and break off, and what becomes of the fetch.

mod several;
mod surroundings;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustls::RootCertStore;

use super::super::client::Settings;
use super::super::tests::{fetched, release};
use super::super::testserver::{Reply, Request, Server, Then};
use super::*;
use crate::error::{Error, Status};

/// 256 KiB in which no two bytes in a row are alike.
fn body() -> Vec<u8> {
    (0..1 << 18).map(|i: u32| (i % 251) as u8).collect()
}

/// Blocks 0 and 1 are adjacent, 2 and 3 stand alone.
fn pinned() -> Release {
    let places = [
        100..70_000,
        70_000..150_000,
        160_000..160_100,
        200_000..262_144,
    ];
    release(&body(), places)
}

fn impatient() -> Client {
    Client::with(Settings {
        connect: Duration::from_secs(2),
        idle: Duration::from_millis(300),
        rate: 13_000,
        back_off: Duration::from_millis(2),
        tries: 4,
        proxies: false,
        roots: || Ok(RootCertStore::empty()),
    })
}

fn fetch(server: &Server, wanted: &[usize]) -> Result<(), Error> {
    let source = Https::new(&impatient(), server.url("/x.deb"));
    let release = pinned();
    let got = fetched(&source, &release, wanted).map_err(Failure::into_error)?;
    // Their digests were verified on the way; here it is that each came once.
    let indices: Vec<_> = got.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, wanted);
    Ok(())
}

fn fetch_error(server: &Server, wanted: &[usize]) -> Error {
    fetch(server, wanted).expect_err("the fetch succeeded")
}

#[track_caller]
fn assert_told(error: &Error, status: Status, words: &str) {
    let line = error.line().to_string();
    assert!(line.contains(words), "{line}");
    assert_eq!(error.status(), status, "{line}");
}

#[test]
fn adjacent_blocks_are_one_request_and_others_are_not() {
    let server = Server::start(|_, request| Reply::honest(&body(), request));
    fetch(&server, &[0, 1, 2, 3]).unwrap();
    assert_eq!(
        server.ranges(),
        [(100, 150_000), (160_000, 160_100), (200_000, 262_144)]
    );
    let request = &server.requests()[0];
    assert_eq!(request.line, "GET /x.deb HTTP/1.1");
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    let agent = request.header("user-agent").unwrap();
    assert_eq!(agent, format!("binfmtctl/{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_server_that_ignores_ranges_is_read_once() {
    let server = Server::start(|_, _| Reply::whole(&body()));
    fetch(&server, &[0, 2, 3]).unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_whole_file_without_a_length_is_read_once_too() {
    let server = Server::start(|_, _| Reply::new("200 OK", &body(), Then::Close));
    fetch(&server, &[1, 3]).unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_whole_file_that_breaks_off_is_taken_up_again() {
    let server = Server::start(|nth, _| match nth {
        0 => Reply::whole(&body()).cut(100_000, Then::Close),
        _ => Reply::whole(&body()),
    });
    fetch(&server, &[1, 3]).unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_isnt_there_is_told_at_once() {
    for status in [
        "404 Not Found",
        "403 Forbidden",
        "416 Range Not Satisfiable",
        "204 No Content",
    ] {
        let server = Server::start(move |_, _| Reply::status(status));
        let error = fetch_error(&server, &[0]);
        assert_told(&error, Status::Unreachable, status);
        assert_told(&error, Status::Unreachable, &server.url("/x.deb"));
        assert_eq!(server.requests().len(), 1, "{status} was tried again");
    }
}

#[test]
fn overload_passes() {
    for status in [
        "500 Oops",
        "503 Service Unavailable\r\nretry-after: 0",
        "429 Slow Down",
    ] {
        let server = Server::start(move |nth, request| match nth {
            0 | 1 => Reply::status(status),
            _ => Reply::honest(&body(), request),
        });
        fetch(&server, &[0]).unwrap();
        assert_eq!(server.requests().len(), 3, "{status}");
    }
}

#[test]
fn overload_that_doesnt_pass_is_told_after_four_tries() {
    let server = Server::start(|_, _| Reply::status("502 Bad Gateway"));
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Unreachable,
        "502 Bad Gateway",
    );
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_server_may_name_the_wait() {
    let server = Server::start(|nth, request| match nth {
        0 => Reply::status("503 Busy\r\nretry-after: 1"),
        _ => Reply::honest(&body(), request),
    });
    let client = Client::with(Settings {
        idle: Duration::from_secs(30),
        ..impatient().settings().clone()
    });
    let source = Https::new(&client, server.url("/x.deb"));
    let start = Instant::now();
    fetched(&source, &pinned(), &[0]).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_that_is_busy_most_of_the_time_is_given_up() {
    // Always enough progress to make up for the failure before it.
    let body: &[u8] = &[7; 1 << 20];
    let server = Server::start(move |nth, request| match nth % 2 {
        0 => Reply::status("503 Busy\r\nretry-after: 9"),
        _ => Reply::honest(body, request).cut(asked(request).saturating_sub(70_000), Then::Close),
    });
    let client = Client::with(Settings {
        tries: 3,
        rate: 1 << 20,
        ..impatient().settings().clone()
    });
    let source = Https::new(&client, server.url("/x.deb"));
    let place = 0..body.len();
    let pinned = release(body, [place]);
    let error = fetched(&source, &pinned, &[0]).unwrap_err().into_error();
    assert_told(&error, Status::Unreachable, "cannot read");
    // 2.7 s and what the bytes are worth, at 0.3 s for each 70,000.
    let asked = server.requests().len();
    assert!((4..28).contains(&asked), "{asked} times");
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let server = Server::start(|nth, request| match nth {
        0 => Reply::honest(&body(), request).cut(50_000, Then::Close),
        _ => Reply::honest(&body(), request),
    });
    fetch(&server, &[0, 1]).unwrap();
    assert_eq!(server.ranges(), [(100, 150_000), (100_000, 150_000)]);
}

#[test]
fn progress_makes_up_for_failures() {
    // Six failures, but no more than three without 79,900 bytes between them.
    let server = Server::start(|nth, request| {
        let (start, end) = request.range().unwrap();
        match nth {
            0..3 | 4..6 => Reply::status("500 Oops"),
            3 => Reply::honest(&body(), request).cut(70_000, Then::Close),
            _ => {
                assert_eq!((start, end), (80_000, 150_000));
                Reply::honest(&body(), request)
            }
        }
    });
    fetch(&server, &[0, 1]).unwrap();
    assert_eq!(server.requests().len(), 7);
}

#[test]
fn a_download_that_never_gets_on_ends() {
    let server = Server::start(|_, request| {
        Reply::honest(&body(), request).cut(asked(request) - 1, Then::Close)
    });
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Unreachable,
        "broke off at byte 104",
    );
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn more_than_asked_is_refused() {
    let chunked = "206 Partial\r\ncontent-range: bytes 100-69999/262144\r\nconnection: close";
    let server = Server::start(move |_, _| Reply::new(chunked, &body()[100..70_001], Then::Close));
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Unreachable,
        "more than it was asked for",
    );

    let server = Server::start(|_, _| {
        let head = "206 Partial\r\ncontent-length: 80000\r\ncontent-range: bytes 100-69999/262144";
        Reply::new(head, &body()[100..80_100], Then::Next)
    });
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Unreachable,
        "contradicts",
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn endless_bodies_are_cut_off() {
    let server = Server::start(|_, _| {
        let then = Then::Repeat(&[7; 4096], Duration::ZERO);
        Reply::new("200 OK", &body(), then)
    });
    assert_told(
        &fetch_error(&server, &[3]),
        Status::Unreachable,
        "more than it was asked for",
    );
}

#[test]
fn an_answer_about_other_bytes_is_refused() {
    let ranges = [
        ("bytes 101-70000/262144", 69_900),
        ("bytes 101-69999/262144", 69_899),
        ("bytes 100-69998/262144", 69_899),
        ("bytes 100-69999/9", 69_900),
        ("lines 1-2/3", 69_900),
    ];
    for (range, length) in ranges {
        let server = Server::start(move |_, _| {
            let head = format!("206 Partial\r\ncontent-length: {length}\r\ncontent-range: {range}");
            Reply::new(&head, &body()[100..100 + length], Then::Next)
        });
        let error = fetch_error(&server, &[0]);
        let told = error.line().to_string();
        assert!(
            told.contains("answered") || told.contains("has 9 bytes, not 262144"),
            "{told}"
        );
        assert_eq!(server.requests().len(), 1);
    }
    let server =
        Server::start(|_, _| Reply::new("206 Partial\r\ncontent-length: 3", b"abc", Then::Next));
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Unreachable,
        "206 with content range \"\"",
    );
}

#[test]
fn a_login_page_isnt_the_file() {
    let server = Server::start(|_, _| Reply::whole(b"<html>Please log in"));
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Integrity,
        "19 bytes, not 262144",
    );
}

#[test]
fn encoded_answers_are_refused() {
    let server =
        Server::start(|_, _| Reply::new("200 OK\r\ncontent-encoding: gzip", b"x", Then::Close));
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Unreachable,
        "content encoding gzip",
    );
}

#[test]
fn wrong_bytes_are_an_integrity_failure_and_not_asked_for_again() {
    let server = Server::start(|_, request| {
        let mut body = body();
        body[120_000] ^= 1;
        Reply::honest(&body, request)
    });
    let error = fetch_error(&server, &[0, 1]);
    assert_told(&error, Status::Integrity, "block 1 of");
    assert_told(&error, Status::Integrity, &server.url("/x.deb"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_receiver_that_fails_ends_the_fetch_as_it_is() {
    let server = Server::start(|_, request| Reply::honest(&body(), request));
    let source = Https::new(&impatient(), server.url("/x.deb"));
    let mut calls = 0;
    let failure = source.fetch(&pinned(), &[0, 2], 1, &mut |_, _| {
        calls += 1;
        Err(Error::new(Status::Failed, "the disk is full"))
    });
    let Err(Failure::Deliver(error)) = failure else {
        panic!("{failure:?}")
    };
    assert_eq!((error.reason().as_str(), calls), ("the disk is full", 1));
}

fn asked(request: &Request) -> usize {
    let (start, end) = request.range().unwrap();
    end - start
}

#[test]
fn servers_that_keep_one_waiting_are_given_up() {
    type Script = fn(usize, &Request) -> Reply;
    let scripts: [(Script, &str); 3] = [
        (
            |_, _| Reply {
                bytes: Vec::new(),
                then: Then::Hang,
            },
            "no answer from 127.0.0.1 within 0.3 s",
        ),
        (
            |_, request| Reply::honest(&body(), request).cut(asked(request), Then::Hang),
            "nothing came for 0.3 s",
        ),
        (
            |_, request| {
                let then = Then::Repeat(b"x", Duration::from_millis(5));
                Reply::honest(&body(), request).cut(asked(request), then)
            },
            "bytes came in 0.3 s",
        ),
    ];
    for (script, words) in scripts {
        let server = Server::start(script);
        let start = Instant::now();
        assert_told(&fetch_error(&server, &[0]), Status::Unreachable, words);
        assert_eq!(server.requests().len(), 4, "{words}");
        assert!(start.elapsed() < Duration::from_secs(4), "{words}");
    }
}

#[test]
fn endless_headers_are_cut_off() {
    let server = Server::start(|_, _| Reply {
        bytes: b"HTTP/1.1 200 OK\r\nx-more: ".to_vec(),
        then: Then::Repeat(&[b'x'; 64 * 1024], Duration::ZERO),
    });
    let client = Client::with(Settings {
        idle: Duration::from_secs(5),
        tries: 1,
        ..impatient().settings().clone()
    });
    let source = Https::new(&client, server.url("/x.deb"));
    let error = fetched(&source, &pinned(), &[0]).unwrap_err().into_error();
    assert_told(&error, Status::Unreachable, "127.0.0.1 broke off: ");
}

#[test]
fn a_receiver_may_take_its_time() {
    let server = Server::start(|_, request| Reply::honest(&body(), request));
    let source = Https::new(&impatient(), server.url("/x.deb"));
    let slow = &mut |_, _| {
        std::thread::sleep(Duration::from_millis(400));
        Ok(())
    };
    source
        .fetch(&pinned(), &[0, 1], 1, slow)
        .map_err(Failure::into_error)
        .unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_redirect_is_followed_with_its_range() {
    let server = Server::start(|nth, request| match nth {
        0 => Reply::status("302 Found\r\nlocation: /pool/x.deb"),
        _ => Reply::honest(&body(), request),
    });
    fetch(&server, &[2]).unwrap();
    assert_eq!(server.requests()[1].line, "GET /pool/x.deb HTTP/1.1");
    assert_eq!(server.ranges(), [(160_000, 160_100); 2]);
}

#[test]
fn a_redirect_loop_ends_after_five() {
    let server = Server::start(|_, _| Reply::status("302 Found\r\nlocation: /x.deb"));
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Unreachable,
        "more than 5 times",
    );
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn a_redirect_out_of_the_web_is_refused() {
    let server = Server::start(|_, _| Reply::status("302 Found\r\nlocation: ftp://127.0.0.1/x"));
    assert_told(
        &fetch_error(&server, &[0]),
        Status::Unreachable,
        "redirects to ftp:",
    );
}

#[test]
fn nobody_there_is_told_in_plain_words() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://me:secret@{}/x", listener.local_addr().unwrap());
    drop(listener);
    let source = Https::new(&impatient(), url);
    let error = fetched(&source, &pinned(), &[0]).unwrap_err().into_error();
    assert_told(
        &error,
        Status::Unreachable,
        "cannot connect to 127.0.0.1: Connection refused",
    );
    assert!(!error.line().to_string().contains("secret"), "{error}");
}

#[test]
fn an_unknown_name_is_told_in_plain_words() {
    let source = Https::new(&impatient(), "http://no-such-host.invalid/x".into());
    let error = fetched(&source, &pinned(), &[0]).unwrap_err().into_error();
    assert_told(
        &error,
        Status::Unreachable,
        "the name no-such-host.invalid isn't known",
    );
}
