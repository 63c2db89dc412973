//! Answers without fault, spoiled at random places: cut, flipped, with
//! something taken away, put in, or in another's place.

use std::sync::Mutex;

use super::*;
use crate::world::liar::{Asked, Lie, Part};
use crate::world::space::Dice;

const CASES: usize = 6000;

/// Spoils two answers of three, as the path says, which is a number.
fn spoiled(asked: &Asked) -> Vec<Part> {
    let seed: u64 = asked
        .path
        .trim_start_matches('/')
        .parse()
        .expect("a number");
    let mut dice = Dice::of(seed ^ asked.start << 20);
    let mut bytes = asked.honest();
    let head = bytes.len() - asked.length() as usize;
    for _ in 0..dice.below(3) {
        let end = match dice.below(2) {
            0 => head,
            _ => bytes.len(),
        };
        let at = dice.below(end.min(bytes.len()).max(1)).min(bytes.len());
        let to = (at + dice.below(30)).min(bytes.len());
        match dice.below(9) {
            0 | 1 => bytes.truncate(at),
            2 | 3 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            4 => drop(bytes.drain(at..to)),
            5 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(to..to, again);
            }
            6 => bytes.insert(at, dice.bits() as u8),
            7 => bytes[at..to].fill(b'0'),
            _ => bytes[at..to].reverse(),
        }
    }
    match dice.below(300) {
        0 => vec![Part::Send(bytes), Part::Stall],
        _ => vec![Part::Send(bytes)],
    }
}

#[test]
fn however_an_answer_is_spoiled_nothing_but_the_pinned_bytes_is_handed_on() {
    let places = [10..1500, 1500..2000, 2500..2600, 4000..5990];
    let (artifact, release) = artifact(6000, &places);
    let liar = Liar::start(Lie::Answers(spoiled), artifact);
    let client = impatient();
    // Pinned bytes that came all the same, others, none.
    let ended = Mutex::new([0; 3]);
    let cases: Vec<(usize, String)> = (0..CASES).map(|i| (i, format!("/{i}"))).collect();
    for_each(
        &cases,
        8,
        |(_, path)| path,
        |(i, path)| {
            let wanted: &[usize] = [&[0, 1, 2, 3][..], &[0, 1], &[3], &[1, 3]][i % 4];
            let mut recorder = Recorder::of(&release);
            let source = Https::new(&client, liar.url_of(path));
            let start = Instant::now();
            let end = match recorder.fetch(&source, wanted, 1 + i % 3) {
                Ok(()) => {
                    assert!(recorder.missing(wanted).is_empty(), "{path}");
                    0
                }
                Err(error) if is(&error, Ends::Wrong) => 1,
                Err(error) if is(&error, Ends::Unreachable) => 2,
                Err(error) => panic!("{path}: {}", error.line()),
            };
            assert!(start.elapsed() < LIMIT, "{path}");
            ended.lock().unwrap()[end] += 1;
        },
    );
    let ended = ended.into_inner().unwrap();
    println!("{CASES} answers spoiled: served, wrong, unreachable: {ended:?}");
    assert!(ended.iter().all(|count| *count > CASES / 20), "{ended:?}");
}
