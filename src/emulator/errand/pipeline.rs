//! Sources -> decoders, at the same time.
//!
//! Sources hand over verified blocks, which go through a short queue to
//! whichever decoder is free: a slow disk slows the download, not memory. Each
//! block is decoded once, whichever emulators lie in it, and only as far as
//! somebody needs it. An emulator whose last block is decoded is told, so that
//! it is made to last while others are still on their way. Who stops takes its
//! end of the queue along, and the others notice.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::output::Output;
use super::{Ended, Told};
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
pub(in crate::emulator) fn run(
    release: &Release,
    outputs: &[Output<'_>],
    sources: &[Box<dyn Source>],
    jobs: Option<usize>,
    tell: &(dyn Fn(Told) + Sync),
) -> Result<(), Ended> {
    let mut missing: BTreeSet<usize> = outputs
        .iter()
        .flat_map(|output| release.blocks_of(output.emulator))
        .collect();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let pace = Pace::new(release, &missing, jobs, processors);
    let (send, receive) = sync_channel::<Block>(1);
    // The decoders own the receiving end: when the last one stops, the
    // fetcher notices.
    let receive = Arc::new(Mutex::new(receive));
    thread::scope(|scope| {
        // Fewer than wanted do as well.
        let decoders: Vec<_> = (0..pace.decoders)
            .map_while(|_| {
                let receive = Arc::clone(&receive);
                let decode = move || decode_all(release, outputs, &receive, tell);
                thread::Builder::new().spawn_scoped(scope, decode).ok()
            })
            .collect();
        drop(receive);
        if decoders.is_empty() {
            return Err(no_thread().into());
        }
        let mut deliver = move |index, bytes| {
            // Nobody receives any more: who stopped has the error to tell.
            send.send((index, bytes))
                .map_err(|_| Error::new(Status::Failed, "decoding stopped"))
        };
        let ranges = pace.ranges;
        let fetched = fetch(release, &mut missing, sources, ranges, tell, &mut deliver);
        // With the sender the decoders end.
        drop(deliver);
        let mut ended = Vec::new();
        for decoder in decoders {
            ended.push(decoder.join().unwrap_or_else(|_| Err(bug("decoding"))));
        }
        ended.into_iter().collect::<Result<()>>()?;
        fetched?;
        // A source that says so has to have delivered everything.
        match outputs.iter().all(Output::is_whole) {
            true => Ok(()),
            false => Err(bug("fetching").into()),
        }
    })
}

/// Asks one source after the other for what is still missing.
fn fetch(
    release: &Release,
    missing: &mut BTreeSet<usize>,
    sources: &[Box<dyn Source>],
    ranges: usize,
    tell: &(dyn Fn(Told) + Sync),
    deliver: &mut Deliver<'_>,
) -> Result<(), Ended> {
    let mut failed: Option<Error> = None;
    for source in sources {
        let wanted: Vec<usize> = missing.iter().copied().collect();
        tell(Told::Asking {
            source: source.name(),
            bytes: wanted.iter().map(|i| release.blocks[*i].length).sum(),
        });
        let mut take = |index: usize, bytes: Vec<u8>| {
            tell(Told::Verified {
                bytes: bytes.len() as u64,
            });
            missing.remove(&index);
            deliver(index, bytes)
        };
        match source.fetch(release, &wanted, ranges, &mut take) {
            Ok(()) => return Ok(()),
            Err(Failure::Deliver(error)) => return Err(error.into()),
            Err(Failure::Source(error)) => {
                tell(Told::SourceFailed {
                    source: source.name(),
                    why: (&error).into(),
                });
                failed = Some(match failed {
                    Some(before) => before.or_graver(error),
                    None => error,
                });
            }
        }
    }
    Err(Ended {
        error: failed.unwrap_or_else(|| bug("fetching")),
        elsewhere: true,
    })
}

/// A decoder: decodes blocks until there are no more, or one is bad.
fn decode_all(
    release: &Release,
    outputs: &[Output<'_>],
    receive: &Mutex<Receiver<Block>>,
    tell: &(dyn Fn(Told) + Sync),
) -> Result<()> {
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
        let lies_there = |output: &Output<'_>| release.blocks_of(output.emulator).contains(&index);
        let numbered = outputs.iter().enumerate();
        let in_it: Vec<_> = numbered.filter(|(_, output)| lies_there(output)).collect();
        let needed = in_it.iter().map(|(_, output)| output.end() - start).max();
        let mut position = start;
        decode(
            release.encoding,
            block,
            &bytes,
            needed.unwrap_or(0),
            &mut |decoded| {
                let from = position;
                position += decoded.len() as u64;
                in_it
                    .iter()
                    .try_for_each(|(_, output)| output.take(from, decoded))
            },
        )?;
        drop(bytes);
        for (number, output) in in_it {
            if output.is_whole_now() {
                tell(Told::Whole(number));
            }
        }
    }
}

fn no_thread() -> Error {
    Error::new(Status::Failed, "cannot start a thread to decode emulators")
        .hint("let this user have more processes (ulimit -u)")
}

fn bug(what: &str) -> Error {
    Error::new(
        Status::Failed,
        format!("{what} stopped because of a bug in binfmtctl"),
    )
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
