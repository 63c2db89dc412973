//! Several ranges in flight: who gets what, and what becomes of it when one of
//! the connections isn't served like the others.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

/// 16,000 bytes each, in two runs: 0 to 11, and 12 to 15.
fn many() -> Release {
    let place = |start: usize| start..start + 16_000;
    let places = (0..16).map(|i| place(100 + 16_000 * i + if i < 12 { 0 } else { 500 }));
    release(&body(), places)
}

/// A source that waits longer than a busy machine takes to answer.
fn source(server: &Server) -> Https {
    let client = Client::with(Settings {
        idle: Duration::from_secs(3),
        ..impatient().settings().clone()
    });
    Https::new(&client, server.url("/x.deb"))
}

/// Fetches all blocks with so many ranges in flight; their order.
fn fetch_all(server: &Server, ranges: usize) -> Result<Vec<usize>, Failure> {
    let source = source(server);
    let wanted: Vec<usize> = (0..16).collect();
    let mut got = Vec::new();
    source.fetch(&many(), &wanted, ranges, &mut |index, _| {
        got.push(index);
        Ok(())
    })?;
    let mut once = got.clone();
    once.sort_unstable();
    assert_eq!(once, wanted);
    Ok(got)
}

/// An answer that others can overtake.
fn slow(request: &Request) -> Reply {
    thread::sleep(Duration::from_millis(20));
    Reply::honest(&body(), request)
}

/// Lets the first connection wait for its second answer until there is another.
fn company(alone: bool) -> impl Fn(usize, &Request) + Send + Sync {
    let came = AtomicBool::new(alone);
    move |nth, request| {
        came.fetch_or(request.connection > 0, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(2);
        while nth > 0 && !came.load(Ordering::SeqCst) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A server that has at least two connections.
fn start(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    let wait = company(false);
    Server::start(move |nth, request| {
        wait(nth, request);
        reply(request)
    })
}

/// How often a byte was asked for.
fn times_asked(server: &Server, byte: usize) -> usize {
    let ranges = server.ranges().into_iter();
    let asked = ranges.filter(|(start, end)| (*start..*end).contains(&byte));
    asked.count()
}

#[test]
fn no_more_connections_are_open_than_ranges_are_allowed() {
    for ranges in 1..=4 {
        let wait = company(ranges == 1);
        let server = Server::start(move |nth, request| {
            wait(nth, request);
            slow(request)
        });
        fetch_all(&server, ranges).unwrap();
        let most = server.most_connections();
        assert!(
            (ranges.min(2)..=ranges).contains(&most),
            "{most}, not {ranges}"
        );
    }
}

#[test]
fn a_single_range_at_a_time_is_one_request_for_each_run() {
    let server = Server::start(|_, request| slow(request));
    assert!(fetch_all(&server, 1).unwrap().is_sorted());
    assert_eq!(server.ranges(), [(100, 192_100), (192_600, 256_600)]);
}

/// A block of 3 MiB and a byte, behind 100 others.
fn large() -> (Vec<u8>, Release) {
    let body: Vec<u8> = (0..(3 << 20) + 101).map(|i: u32| (i % 251) as u8).collect();
    let place = 100..body.len();
    let release = release(&body, [place]);
    (body, release)
}

/// How often its only block comes.
fn count(server: &Server, release: &Release, ranges: usize) -> usize {
    let mut count = 0;
    let fetched = source(server).fetch(release, &[0], ranges, &mut |_, _| {
        count += 1;
        Ok(())
    });
    fetched.map_err(Failure::into_error).unwrap();
    count
}

#[test]
fn the_only_block_comes_in_parts() {
    let (body, release) = large();
    // Of two parts the first connection may well get both.
    for (ranges, least) in [(1, 1), (2, 1), (4, 2)] {
        let (body, wait) = (body.clone(), company(least == 1));
        let server = Server::start(move |nth, request| {
            wait(nth, request);
            Reply::honest(&body, request)
        });
        assert_eq!(count(&server, &release, ranges), 1);
        let most = server.most_connections();
        assert!((least..=ranges).contains(&most), "{most}, not {ranges}");
        let mut asked = server.ranges();
        asked.sort_unstable();
        assert_eq!(asked.len(), ranges);
        assert_eq!((asked[0].0, asked[ranges - 1].1), (100, (3 << 20) + 101));
        assert!(
            asked.windows(2).all(|pair| pair[0].1 == pair[1].0),
            "{asked:?}"
        );
    }
}

#[test]
fn a_part_that_breaks_off_is_asked_for_again_and_no_other() {
    let (body, release) = large();
    let server = start(move |request| match request.connection {
        1 => Reply::honest(&body, request).cut(1000, Then::Close),
        _ => Reply::honest(&body, request),
    });
    assert_eq!(count(&server, &release, 4), 1);
    let asked = server.ranges();
    assert_eq!(asked.len(), 5);
    let twice = asked
        .iter()
        .filter(|range| asked.iter().filter(|r| r == range).count() == 2);
    assert_eq!(twice.count(), 2);
}

#[test]
fn the_only_block_of_a_server_without_ranges_is_read_once() {
    let (body, release) = large();
    let server = Server::start(move |_, _| Reply::whole(&body));
    assert_eq!(count(&server, &release, 4), 1);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn one_small_block_takes_one_connection() {
    let server = Server::start(|_, request| slow(request));
    let failed = source(&server).fetch(&many(), &[3], 4, &mut |_, _| Ok(()));
    failed.map_err(Failure::into_error).unwrap();
    assert_eq!(server.most_connections(), 1);
}

#[test]
fn a_slow_range_holds_up_no_other() {
    let server = start(|request| {
        if request.connection == 1 {
            thread::sleep(Duration::from_millis(200));
        }
        slow(request)
    });
    let got = fetch_all(&server, 4).unwrap();
    assert!(!got.is_sorted());
    for block in 0..16 {
        let first = many().blocks[block].offset as usize;
        assert_eq!(times_asked(&server, first), 1, "block {block}");
    }
}

#[test]
fn what_breaks_off_on_one_connection_comes_over_another() {
    let server = start(|request| match request.connection {
        1 => slow(request).cut(20_000.min(asked(request) - 1), Then::Close),
        _ => slow(request),
    });
    fetch_all(&server, 4).unwrap();
}

#[test]
fn a_server_that_serves_one_at_a_time_costs_only_the_help() {
    let refuse = || Reply::status("503 Too Many Connections\r\nretry-after: 30");
    let hang = || Reply {
        bytes: Vec::new(),
        then: Then::Hang,
    };
    for refusal in [refuse as fn() -> Reply, hang] {
        let server = start(move |request| match request.connection {
            0 => slow(request),
            _ => refusal(),
        });
        let start = Instant::now();
        fetch_all(&server, 4).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        let requests = server.requests();
        let in_vain = requests.iter().filter(|request| request.connection > 0);
        assert!(in_vain.count() <= 3);
    }
}

#[test]
fn a_first_connection_that_breaks_is_taken_up_again() {
    let broke = Mutex::new(false);
    let server = start(move |request| match request.connection {
        0 if !std::mem::replace(&mut *broke.lock().unwrap(), true) => {
            slow(request).cut(10_000, Then::Close)
        }
        _ => slow(request),
    });
    fetch_all(&server, 4).unwrap();
    // From where it stopped: 22,000 of its first 32,000 bytes had come.
    assert!(
        server.ranges().contains(&(22_100, 32_100)),
        "{:?}",
        server.ranges()
    );
}

#[test]
fn a_whole_file_is_read_once_and_alone() {
    let server = Server::start(|_, _| Reply::whole(&body()));
    assert!(fetch_all(&server, 4).unwrap().is_sorted());
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.most_connections(), 1);
}

#[test]
fn nobody_reads_the_whole_file_only_to_help() {
    let server = start(|request| match request.connection {
        0 => slow(request),
        _ => Reply::whole(&body()),
    });
    fetch_all(&server, 4).unwrap();
    let requests = server.requests();
    let in_vain = requests.iter().filter(|request| request.connection > 0);
    assert!(in_vain.count() <= 3);
}

#[test]
fn an_answer_about_other_bytes_is_nobodys_help() {
    let server = start(|request| match request.connection {
        1 => {
            let Range { start, end } = 0..asked(request);
            let head = Reply::partial_head(start, end, body().len());
            Reply::new(&head, &body()[start..end], Then::Next)
        }
        _ => slow(request),
    });
    fetch_all(&server, 4).unwrap();
}

#[test]
fn wrong_bytes_on_one_connection_end_all() {
    let lied_about = Mutex::new(Vec::new());
    let lied_about = std::sync::Arc::new(lied_about);
    let lies = lied_about.clone();
    let server = start(move |request| match request.connection {
        1 => {
            lies.lock().unwrap().push(request.range().unwrap().0);
            let mut body = body();
            body.iter_mut().for_each(|byte| *byte ^= 1);
            Reply::honest(&body, request)
        }
        _ => slow(request),
    });
    let error = fetch_all(&server, 4).unwrap_err().into_error();
    assert_told(&error, Status::Integrity, &server.url("/x.deb"));
    let lied_about = lied_about.lock().unwrap();
    assert_eq!(lied_about.len(), 1);
    assert_eq!(times_asked(&server, lied_about[0]), 1);
}

#[test]
fn a_file_of_another_size_on_one_connection_ends_all() {
    let server = start(|request| match request.connection {
        1 => {
            let (start, end) = request.range().unwrap();
            let head = Reply::partial_head(start, end, body().len() + 1);
            Reply::new(&head, &body()[start..end], Then::Next)
        }
        _ => slow(request),
    });
    let error = fetch_all(&server, 4).unwrap_err().into_error();
    assert_told(&error, Status::Integrity, "isn't the pinned file");
}

#[test]
fn a_receiver_that_fails_ends_all() {
    let server = Server::start(|_, request| slow(request));
    let wanted: Vec<usize> = (0..16).collect();
    let failure = source(&server).fetch(&many(), &wanted, 4, &mut |_, _| {
        Err(Error::new(Status::Failed, "the disk is full"))
    });
    let Err(Failure::Deliver(error)) = failure else {
        panic!("{failure:?}")
    };
    assert_eq!(error.reason(), "the disk is full");
    assert!(server.requests().len() <= 8, "{:?}", server.ranges());
}
