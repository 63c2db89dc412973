//! Sources -> decoders -> finisher, at the same time.
//!
//! Verified blocks go through a short queue to whichever decoder is free;
//! each is decoded once, whichever emulators lie in it, and only as far as
//! somebody needs it. An emulator whose last block is decoded goes to the
//! finisher, which makes it last while others are still on their way. Who
//! stops takes its end of a queue along, and the others notice.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::work::Work;
use super::{Event, drop_capabilities, graver, no_thread, panicked};
use crate::emulator::decode::decode;
use crate::emulator::manifest::Release;
use crate::emulator::source::{Deliver, Failure, Source};
use crate::error::{Error, Result, Status};

/// What blocks and decoders may take of the memory where nobody said how many
/// there are to be.
const ROOM: u64 = 76 << 20;

/// What a decoder takes for the dictionary of Debian's packages, 8 MiB, and
/// for itself.
const DECODER: u64 = 9 << 20;

/// So many ranges of one server are enough: what limits each connection is
/// made up for, and no server takes offence.
const RANGES: usize = 4;

/// A block on its way to a decoder, by its index.
type Block = (usize, Vec<u8>);

/// How much happens at once.
#[derive(Debug, PartialEq, Eq)]
struct Pace {
    decoders: usize,
    ranges: usize,
}

impl Pace {
    /// As many of each as was said, or as there is room for: each range in
    /// flight, each decoder and the queue between them holds a block, each
    /// decoder its dictionary besides.
    fn new(
        release: &Release,
        wanted: &BTreeSet<usize>,
        jobs: Option<usize>,
        processors: usize,
    ) -> Self {
        let ranges = jobs.unwrap_or(RANGES).min(RANGES);
        let lengths = wanted.iter().map(|index| release.blocks[*index].length);
        let block = lengths.max().unwrap_or(0);
        let left = ROOM.saturating_sub(block.saturating_mul(ranges as u64 + 1));
        let fit = (left / (DECODER + block)).max(1);
        let decoders = jobs.unwrap_or(processors.min(fit as usize));
        Self {
            decoders: decoders.min(wanted.len()),
            ranges,
        }
    }
}

/// Gets the blocks, and the emulators out of them.
pub(super) fn run(
    release: &Release,
    work: &[Work<'_>],
    sources: &[Box<dyn Source>],
    jobs: Option<usize>,
    failed: Option<Error>,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let mut missing: BTreeSet<usize> = work
        .iter()
        .flat_map(|work| release.blocks_of(work.emulator))
        .collect();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let pace = Pace::new(release, &missing, jobs, processors);
    let (send, receive) = sync_channel::<Block>(1);
    let (whole, finish) = channel();
    // The decoders own the receiving end: when the last one stops, the
    // fetcher notices.
    let receive = Arc::new(Mutex::new(receive));
    thread::scope(|scope| {
        // Fewer than wanted do as well.
        let decoders: Vec<_> = (0..pace.decoders)
            .map_while(|_| {
                let (receive, whole) = (Arc::clone(&receive), whole.clone());
                let decode = move || decode_all(release, work, &receive, &whole);
                thread::Builder::new().spawn_scoped(scope, decode).ok()
            })
            .collect();
        drop((receive, whole));
        if decoders.is_empty() {
            return Err(no_thread());
        }
        // A directory of another user's takes root's rights, so this one keeps them.
        let finishing = thread::Builder::new().spawn_scoped(scope, move || finish_all(finish));
        let finisher = finishing.map_err(|error| no_thread().because(error))?;
        // The sender goes with the closure, and with it the decoders end.
        let fetched = fetch(
            release,
            &mut missing,
            sources,
            pace.ranges,
            failed,
            observe,
            &mut move |index, bytes| {
                // Nobody receives any more: who stopped has the error to tell.
                send.send((index, bytes))
                    .map_err(|_| Error::new(Status::Failed, "decoding stopped"))
            },
        );
        let mut ended = Vec::new();
        for decoder in decoders {
            ended.push(decoder.join().unwrap_or_else(|_| Err(panicked("decoding"))));
        }
        finisher
            .join()
            .unwrap_or_else(|_| Err(panicked("storing")))?;
        ended.into_iter().collect::<Result<()>>()?;
        fetched?;
        // A source that says so has to have delivered everything.
        match work.iter().all(Work::is_named) {
            true => Ok(()),
            false => Err(panicked("fetching")),
        }
    })
}

/// Asks one source after the other for what is still missing.
fn fetch(
    release: &Release,
    missing: &mut BTreeSet<usize>,
    sources: &[Box<dyn Source>],
    ranges: usize,
    mut failed: Option<Error>,
    observe: &(dyn Fn(Event<'_>) + Sync),
    deliver: &mut Deliver<'_>,
) -> Result<()> {
    for source in sources {
        let wanted: Vec<usize> = missing.iter().copied().collect();
        let name = source.name();
        observe(Event::Asking {
            source: &name,
            bytes: wanted.iter().map(|i| release.blocks[*i].length).sum(),
        });
        let mut take = |index: usize, bytes: Vec<u8>| {
            observe(Event::Verified {
                bytes: bytes.len() as u64,
            });
            missing.remove(&index);
            deliver(index, bytes)
        };
        // A thread of its own, since what a thread has given up is gone.
        let fetched = thread::scope(|scope| {
            let ask = || {
                if !source.hands_over_to_another_user() {
                    drop_capabilities();
                }
                source.fetch(release, &wanted, ranges, &mut take)
            };
            match thread::Builder::new().spawn_scoped(scope, ask) {
                Ok(asking) => asking
                    .join()
                    .unwrap_or_else(|_| Err(Failure::Deliver(panicked("fetching")))),
                Err(error) => Err(Failure::Deliver(no_thread().because(error))),
            }
        });
        match fetched {
            Ok(()) => return Ok(()),
            Err(Failure::Deliver(error)) => return Err(error),
            Err(Failure::Source(error)) => {
                observe(Event::SourceFailed {
                    source: &name,
                    error: &error,
                });
                failed = Some(graver(failed, error));
            }
        }
    }
    Err(failed.unwrap_or_else(|| {
        Error::new(
            Status::Unreachable,
            format!("there is no source for {}", release.file),
        )
    }))
}

/// A decoder: decodes blocks until there are no more, or one is bad.
fn decode_all<'w>(
    release: &Release,
    work: &'w [Work<'_>],
    receive: &Mutex<Receiver<Block>>,
    whole: &Sender<&'w Work<'w>>,
) -> Result<()> {
    drop_capabilities();
    loop {
        let received = match receive.lock() {
            Ok(receive) => receive.recv(),
            Err(_) => return Ok(()),
        };
        let Ok((index, bytes)) = received else {
            return Ok(());
        };
        let block = &release.blocks[index];
        let start = release.block_start(index);
        let lies_there = |work: &&'w Work<'_>| release.blocks_of(work.emulator).contains(&index);
        let in_it: Vec<_> = work.iter().filter(lies_there).collect();
        let needed = in_it.iter().map(|work| work.end() - start).max();
        let mut position = start;
        decode(
            release.encoding,
            block,
            &bytes,
            needed.unwrap_or(0),
            &mut |decoded| {
                let from = position;
                position += decoded.len() as u64;
                in_it.iter().try_for_each(|work| work.take(from, decoded))
            },
        )?;
        drop(bytes);
        for work in in_it.into_iter().filter(|work| work.is_whole_now()) {
            // A finisher that has stopped has the error to tell.
            if whole.send(work).is_err() {
                return Ok(());
            }
        }
    }
}

/// The finisher: names what is whole, as it comes.
fn finish_all(whole: Receiver<&Work<'_>>) -> Result<()> {
    whole.into_iter().try_for_each(Work::finish)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::manifest::Manifest;

    fn pace(release: &Release, jobs: Option<usize>, processors: usize) -> Pace {
        let all = (0..release.blocks.len()).collect();
        Pace::new(release, &all, jobs, processors)
    }

    #[test]
    fn as_many_as_was_said_and_no_more_than_there_are_blocks() {
        let release = Manifest::builtin().unwrap().releases[0].clone();
        let one = BTreeSet::from([0]);
        for processors in [1, 64] {
            let Pace { decoders, ranges } = pace(&release, Some(1), processors);
            assert_eq!((decoders, ranges), (1, 1));
            let Pace { decoders, ranges } = pace(&release, Some(16), processors);
            assert_eq!((decoders, ranges), (16, RANGES));
            let Pace { decoders, ranges } = Pace::new(&release, &one, None, processors);
            assert_eq!((decoders, ranges), (1, RANGES));
        }
    }

    #[test]
    fn however_many_processors_there_are_memory_sets_the_limit() {
        let mut releases = Manifest::builtin().unwrap().releases;
        let most = pace(&releases[0], None, 64);
        assert!(most.decoders >= 4, "{most:?}");
        // What a site pins may have larger blocks.
        let mut large = releases[0].clone();
        large.blocks.iter_mut().for_each(|block| block.length *= 3);
        assert!(pace(&large, None, 64).decoders < most.decoders);
        releases.push(large);
        for release in releases {
            let block = release
                .blocks
                .iter()
                .map(|block| block.length)
                .max()
                .unwrap();
            let Pace { decoders, ranges } = pace(&release, None, 64);
            let held = block * (decoders + ranges + 1) as u64 + DECODER * decoders as u64;
            assert!(held <= ROOM || decoders == 1, "{}", release.file);
        }
    }
}
