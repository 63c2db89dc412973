//! The blocks of one artifact over several connections at once.
//!
//! One connection has to work, and has all the patience. What it is answered
//! first decides: a server that sends the whole file instead of a range is read
//! as one stream. To any other, more connections are made that help. Each takes
//! a few adjacent blocks at a time as one request, or a part of one where there
//! are few blocks. One that gets into trouble gives back what it hasn't
//! finished, and ends: a server that takes only so many connections costs
//! nothing but the help. Wrong bytes end all of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::client::Client;
use super::stream::{Answer, Stream};
use super::{Deliver, Failure, buffer_size, hand_over};
use crate::emulator::manifest::Release;
use crate::error::{Result, Status};

/// A part of a block isn't worth a connection below this size.
const PART: u64 = 512 * 1024;

/// A block, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    /// Where it lies in the artifact.
    start: u64,
    end: u64,
    /// The block.
    index: usize,
}

/// A block of which parts have come.
struct Begun {
    bytes: Vec<u8>,
    missing: u64,
}

/// One fetch, shared by its connections.
pub(super) struct Ranges<'a, 'd> {
    client: &'a Client,
    url: &'a str,
    /// What errors call the URL.
    name: String,
    release: &'a Release,
    connections: usize,
    /// What nobody has asked for, ascending.
    left: Mutex<VecDeque<Piece>>,
    begun: Mutex<BTreeMap<usize, Begun>>,
    deliver: Mutex<&'a mut Deliver<'d>>,
    /// Whether something happened that ends it all.
    over: AtomicBool,
}

impl<'a, 'd> Ranges<'a, 'd> {
    pub(super) fn new(
        (client, url): (&'a Client, &'a str),
        name: String,
        release: &'a Release,
        wanted: &[usize],
        connections: usize,
        deliver: &'a mut Deliver<'d>,
    ) -> Self {
        let parts = connections.div_ceil(wanted.len().max(1)) as u64;
        let pieces = wanted
            .iter()
            .flat_map(|index| split(release, *index, parts));
        let left: VecDeque<Piece> = pieces.collect();
        Self {
            client,
            url,
            name,
            release,
            connections: connections.min(left.len()),
            left: Mutex::new(left),
            begun: Mutex::default(),
            deliver: Mutex::new(deliver),
            over: AtomicBool::new(false),
        }
    }

    /// Gets all of them.
    pub(super) fn fetch(&self) -> Result<(), Failure> {
        let mut stream = self.stream(self.client);
        let first = thread::scope(|scope| {
            let mut helpers = None;
            let first = self.read(&mut stream, &mut |answer| {
                helpers.get_or_insert_with(|| {
                    let wanted = match answer {
                        Answer::Range => 1..self.connections,
                        Answer::WholeFile => 0..0,
                    };
                    let client = self.client.for_help();
                    let help = move || self.help(&client);
                    // Fewer do as well.
                    let start = |_| {
                        let help = help.clone();
                        thread::Builder::new().spawn_scoped(scope, help).ok()
                    };
                    wanted.map_while(start).collect::<Vec<_>>()
                });
                true
            });
            let helped = helpers.into_iter().flatten();
            let helped = helped.map(|helper| helper.join().unwrap_or(Ok(())));
            helped.collect::<Result<(), _>>().and(first)
        });
        match first {
            // What helpers gave back after it had done its own.
            Ok(()) => self.read(&mut stream, &mut |_| true),
            Err(failure) if is_final(&failure) || !self.left().is_empty() => Err(failure),
            // They have made up for it.
            Err(_) => Ok(()),
        }
    }

    /// What a connection does that only helps. Its own troubles are no failure.
    fn help(&self, client: &Client) -> Result<(), Failure> {
        let mut stream = self.stream(client);
        let only_ranges = &mut |answer| matches!(answer, Answer::Range);
        match self.read(&mut stream, only_ranges) {
            Err(failure) if is_final(&failure) => Err(failure),
            _ => Ok(()),
        }
    }

    fn stream<'s>(&'s self, client: &'s Client) -> Stream<'s> {
        Stream::new(client, self.url, self.release.size, &self.over)
    }

    /// Reads what is left, a few pieces at a time, as long as the answers suit.
    fn read(
        &self,
        stream: &mut Stream<'_>,
        suits: &mut dyn FnMut(Answer) -> bool,
    ) -> Result<(), Failure> {
        loop {
            let mut run = self.take();
            let (Some(first), Some(last)) = (run.front(), run.back()) else {
                return Ok(());
            };
            stream.seek(first.start, last.end);
            let answer = stream.begin().map_err(Failure::Source);
            let answer = answer.map_err(|failure| self.give_up(failure, &run))?;
            if !suits(answer) {
                self.give_back(&run);
                return Ok(());
            }
            while let Some(&piece) = run.front() {
                let read = self.read_piece(stream, piece);
                read.map_err(|failure| self.give_up(failure, &run))?;
                run.pop_front();
            }
        }
    }

    fn read_piece(&self, stream: &mut Stream<'_>, piece: Piece) -> Result<(), Failure> {
        let size = buffer_size(self.release, piece.index)?;
        // It fits, being a part of what does.
        let mut bytes = vec![0; (piece.end - piece.start) as usize];
        stream.fill(&mut bytes).map_err(Failure::Source)?;
        let Some(block) = self.put_together(piece, bytes, size) else {
            return Ok(());
        };
        hand_over(
            &self.name,
            self.release,
            piece.index,
            block,
            &mut |index, bytes| {
                let mut deliver = self.deliver.lock().unwrap_or_else(PoisonError::into_inner);
                deliver(index, bytes)
            },
        )
    }

    /// The block, if this is all that was missing of it.
    fn put_together(&self, piece: Piece, bytes: Vec<u8>, size: usize) -> Option<Vec<u8>> {
        if bytes.len() == size {
            return Some(bytes);
        }
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let block = begun.entry(piece.index).or_insert_with(|| Begun {
            bytes: vec![0; size],
            missing: size as u64,
        });
        let at = (piece.start - self.release.blocks[piece.index].offset) as usize;
        block.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
        block.missing -= bytes.len() as u64;
        match block.missing {
            0 => begun.remove(&piece.index).map(|block| block.bytes),
            _ => None,
        }
    }

    /// The next adjacent pieces: all of them for one that is alone; for several
    /// ever fewer, so that none has much to do when the others have nothing left.
    fn take(&self) -> VecDeque<Piece> {
        let mut left = self.left();
        let most = match self.connections {
            _ if self.over.load(Ordering::Relaxed) => 0,
            0 | 1 => left.len(),
            several => left.len().div_ceil(2 * several),
        };
        let pairs = left.iter().zip(left.iter().skip(1));
        let adjacent = pairs.take_while(|(a, b)| a.end == b.start);
        let run = (adjacent.count() + 1).min(most);
        left.drain(..run).collect()
    }

    fn give_back(&self, run: &VecDeque<Piece>) {
        let mut left = self.left();
        left.extend(run);
        left.make_contiguous().sort_unstable();
    }

    /// Leaves these pieces to the others, or ends it for all.
    fn give_up(&self, failure: Failure, run: &VecDeque<Piece>) -> Failure {
        match is_final(&failure) {
            true => self.over.store(true, Ordering::Relaxed),
            false => self.give_back(run),
        }
        failure
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<Piece>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block in so many parts, unless it is small.
fn split(release: &Release, index: usize, parts: u64) -> impl Iterator<Item = Piece> {
    let block = &release.blocks[index];
    let (offset, length) = (block.offset, block.length);
    let parts = parts.min(length / PART).max(1);
    let bound = move |nth: u64| offset + length / parts * nth + (length % parts).min(nth);
    (0..parts).map(move |nth| Piece {
        start: bound(nth),
        end: bound(nth + 1),
        index,
    })
}

/// Whether no other connection would do better.
fn is_final(failure: &Failure) -> bool {
    !matches!(failure, Failure::Source(error) if error.status() == Status::Unreachable)
}
