//! The blocks of one artifact over several connections at once.
//!
//! One connection has to work, and has all the patience. What it is answered
//! first decides: a server that sends the whole file instead of a range is read
//! as one stream. To any other, more connections are made that help. Each takes
//! a few adjacent blocks at a time as one request. One that gets into trouble
//! gives back what it hasn't finished, and ends: a server that takes only so
//! many connections costs nothing but the help. Wrong bytes end all of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::client::Client;
use super::stream::{Answer, Stream};
use super::{Deliver, Failure, buffer_size, hand_over};
use crate::emulator::manifest::Release;
use crate::error::{Result, Status};

/// One fetch, shared by its connections.
pub(super) struct Ranges<'a, 'd> {
    client: &'a Client,
    url: &'a str,
    /// What errors call the URL.
    name: String,
    release: &'a Release,
    connections: usize,
    /// The blocks that nobody has asked for, ascending.
    left: Mutex<VecDeque<usize>>,
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
        Self {
            client,
            url,
            name,
            release,
            connections: connections.min(wanted.len()),
            left: Mutex::new(wanted.iter().copied().collect()),
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

    /// Reads what is left, a few blocks at a time, as long as the answers suit.
    fn read(
        &self,
        stream: &mut Stream<'_>,
        suits: &mut dyn FnMut(Answer) -> bool,
    ) -> Result<(), Failure> {
        loop {
            let mut run = self.take();
            let (Some(&first), Some(&last)) = (run.front(), run.back()) else {
                return Ok(());
            };
            stream.seek(self.release.blocks[first].offset, self.end(last));
            let answer = stream.begin().map_err(Failure::Source);
            let answer = answer.map_err(|failure| self.give_up(failure, &run))?;
            if !suits(answer) {
                self.give_back(&run);
                return Ok(());
            }
            while let Some(&index) = run.front() {
                let read = self.read_block(stream, index);
                read.map_err(|failure| self.give_up(failure, &run))?;
                run.pop_front();
            }
        }
    }

    fn read_block(&self, stream: &mut Stream<'_>, index: usize) -> Result<(), Failure> {
        let mut bytes = vec![0; buffer_size(self.release, index)?];
        stream.fill(&mut bytes).map_err(Failure::Source)?;
        hand_over(
            &self.name,
            self.release,
            index,
            bytes,
            &mut |index, bytes| {
                let mut deliver = self.deliver.lock().unwrap_or_else(PoisonError::into_inner);
                deliver(index, bytes)
            },
        )
    }

    /// The next adjacent blocks: all of them for one that is alone; for several
    /// ever fewer, so that none has much to do when the others have nothing left.
    fn take(&self) -> VecDeque<usize> {
        let mut left = self.left();
        let most = match self.connections {
            _ if self.over.load(Ordering::Relaxed) => 0,
            0 | 1 => left.len(),
            several => left.len().div_ceil(2 * several),
        };
        let pairs = left.iter().zip(left.iter().skip(1));
        let adjacent = pairs.take_while(|(a, b)| self.end(**a) == self.release.blocks[**b].offset);
        let run = (adjacent.count() + 1).min(most);
        left.drain(..run).collect()
    }

    fn give_back(&self, run: &VecDeque<usize>) {
        let mut left = self.left();
        left.extend(run);
        left.make_contiguous().sort_unstable();
    }

    /// Leaves these blocks to the others, or ends it for all.
    fn give_up(&self, failure: Failure, run: &VecDeque<usize>) -> Failure {
        match is_final(&failure) {
            true => self.over.store(true, Ordering::Relaxed),
            false => self.give_back(run),
        }
        failure
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The byte behind a block.
    fn end(&self, index: usize) -> u64 {
        self.release.blocks[index].offset + self.release.blocks[index].length
    }
}

/// Whether no other connection would do better.
fn is_final(failure: &Failure) -> bool {
    !matches!(failure, Failure::Source(error) if error.status() == Status::Unreachable)
}
