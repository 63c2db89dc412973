//! The catalogue of everything that a server, or somebody between, does wrong:
//! no byte that isn't the pinned one is handed on, the end comes in bounded
//! time with bounded memory, nothing is stored, and the next source is asked.
//!
//! Each row is played to the client alone, with limits that are short enough
//! to wait for, and where it ends quickly, to the whole program.

mod cases;
mod garbled;
mod names;

use std::collections::BTreeSet;
use std::env;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use binfmtctl::digest::Digest;
use binfmtctl::emulator::manifest::{Block, Encoding, Release};
use binfmtctl::emulator::source::{Client, Failure, Https, Settings, Source};
use binfmtctl::error::{Error, Status};
use nix::sys::resource::{UsageWho, getrusage};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::world::artifact::manifest_of;
use crate::world::cache::{self, busybox};
use crate::world::liar::{Artifact, Liar, certificate};
use crate::world::{Output, World, changes};
use cases::{Ends, ROWS, Row, honest};

/// No row takes longer than this, even where the machine is busy with others.
const LIMIT: Duration = Duration::from_secs(60);

/// Nor do those that take the program to its limits: four tries, each of which
/// may wait for half a minute three times, and as much again for the machine.
const SLOW_LIMIT: Duration = Duration::from_secs(2 * 360);

/// What a refusal may take of the memory, in KiB; most of it is the program.
const MEMORY: i64 = 48 * 1024;

/// Runs it for each of the rows, some at a time; what failed is told with the
/// row's name.
fn for_each<T: Sync>(rows: &[T], at_once: usize, name: fn(&T) -> &str, run: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let run = std::panic::AssertUnwindSafe(|| run(row));
                    if std::panic::catch_unwind(run).is_err() {
                        failed.lock().unwrap().push(name(row));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "these rows failed: {failed:?}");
}

/// What is pinned for the client alone: blocks with gaps, one of them large
/// enough for parts.
fn pinned() -> (Arc<Artifact>, Release) {
    let places = [
        100..70_000,
        70_000..150_000,
        160_000..160_100,
        200_000..1_399_000,
    ];
    artifact(1_400_000, &places)
}

/// So many bytes, of which no two places are alike, with blocks at these.
fn artifact(size: usize, places: &[Range<usize>]) -> (Arc<Artifact>, Release) {
    let mut state = 1_u32;
    let bytes: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let release = Release {
        size: bytes.len() as u64,
        sha256: Digest::of(&bytes),
        encoding: Encoding::Zstd,
        blocks: places
            .iter()
            .map(|place| Block {
                offset: place.start as u64,
                length: place.len() as u64,
                decoded: 0,
                sha256: Digest::of(&bytes[place.clone()]),
            })
            .collect(),
        emulators: Vec::new(),
        ..cache::release()
    };
    (Arc::new(Artifact::Made(bytes)), release)
}

/// Whom the tests' servers are certified by.
fn authority() -> binfmtctl::error::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate("authority.crt"));
    roots.add(certificate.unwrap()).unwrap();
    Ok(roots)
}

fn impatient() -> Client {
    Client::with(Settings {
        connect: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        rate: 1024,
        back_off: Duration::from_millis(2),
        tries: 2,
        proxies: false,
        roots: authority,
    })
}

/// What a decoder would get: every byte of it is compared with what is pinned.
struct Recorder<'a> {
    release: &'a Release,
    came: BTreeSet<usize>,
}

impl<'a> Recorder<'a> {
    fn of(release: &'a Release) -> Self {
        let came = BTreeSet::new();
        Self { release, came }
    }

    /// Asks a source for these blocks.
    fn fetch(&mut self, source: &Https, wanted: &[usize], ranges: usize) -> Result<(), Error> {
        let release = self.release;
        let mut deliver = |index: usize, bytes: Vec<u8>| {
            let pinned = &release.blocks[index];
            assert_eq!(
                Digest::of(&bytes),
                pinned.sha256,
                "block {index} isn't the pinned one"
            );
            assert!(wanted.contains(&index), "nobody wanted block {index}");
            assert!(self.came.insert(index), "block {index} came twice");
            Ok(())
        };
        source
            .fetch(release, wanted, ranges, &mut deliver)
            .map_err(Failure::into_error)
    }

    fn missing(&self, wanted: &[usize]) -> Vec<usize> {
        wanted
            .iter()
            .copied()
            .filter(|index| !self.came.contains(index))
            .collect()
    }
}

fn is(error: &Error, ends: Ends) -> bool {
    match ends {
        Ends::Wrong => error.status() == Status::Integrity,
        Ends::Unreachable => error.status() == Status::Unreachable,
        Ends::Served => false,
    }
}

#[test]
fn no_byte_that_isnt_pinned_is_handed_on_and_the_next_source_makes_up_for_it() {
    let (artifact, release) = pinned();
    let good = Liar::start(honest().lie, artifact.clone());
    let patient = Client::with(Settings {
        proxies: false,
        ..Settings::default()
    });
    let good = Https::new(&patient, good.url());
    // Over one connection, over several, and one block in several parts.
    for (wanted, ranges) in [(&[0, 1, 2, 3][..], 1), (&[0, 1, 2, 3], 4), (&[3], 4)] {
        let play = |row: &Row| {
            let mut recorder = Recorder::of(&release);
            let liar = Liar::start(row.lie, artifact.clone());
            play_to_client(row, &mut recorder, &liar, wanted, ranges);
            let missing = recorder.missing(wanted);
            if !missing.is_empty() {
                recorder.fetch(&good, &missing, ranges).unwrap();
                assert_eq!(recorder.missing(wanted), [] as [usize; 0]);
            }
        };
        for_each(ROWS, 24, |row| row.name, play);
    }
}

fn play_to_client(
    row: &Row,
    recorder: &mut Recorder<'_>,
    liar: &Liar,
    wanted: &[usize],
    ranges: usize,
) {
    let start = Instant::now();
    let source = Https::new(&impatient(), liar.url());
    let ended = recorder.fetch(&source, wanted, ranges);
    let took = start.elapsed();
    assert!(took < LIMIT, "{}: {took:?}", row.name);
    let is_complete = recorder.missing(wanted).is_empty();
    assert_eq!(is_complete, row.ends == Ends::Served, "{}", row.name);
    match ended {
        Ok(()) => assert_eq!(row.ends, Ends::Served, "{}", row.name),
        Err(error) => {
            let line = error.line().to_string();
            assert!(is(&error, row.ends), "{}: {line}", row.name);
            let is_tame = line.len() < 600 && !line.contains(char::is_control);
            assert!(is_tame, "{}: {line}", row.name);
        }
    }
}

#[test]
#[ignore = "the other tests start it, for each program that they measure"]
fn measured() {
    let words = env::var("MEASURED").expect("a command");
    let mut words = words.split('\n');
    let mut command = Command::new(words.next().expect("a program"));
    let status = command.args(words).status().expect("a program");
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN)
        .expect("usage")
        .max_rss();
    eprintln!("peak: {peak} KiB");
    std::process::exit(status.code().unwrap_or(1));
}

/// Runs a command; its end, and how much memory it took at most, in KiB.
fn measure(command: &Command) -> (Output, i64) {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().expect("text")).collect();
    let mut measuring = Command::new(env::current_exe().expect("the tests"));
    measuring.args(["catalogue::measured", "--exact", "--ignored", "--nocapture"]);
    measuring.env_clear().env("MEASURED", words.join("\n"));
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let mut output = Output::of(measuring.envs(variables));
    let (said, peak) = output.stderr.rsplit_once("peak: ").expect("a measurement");
    let peak = peak.trim_end_matches(" KiB\n").parse().expect("a number");
    output.stderr = said.to_owned();
    (output, peak)
}

/// A manifest whose only sources are these.
fn manifest(world: &World, urls: Vec<String>) -> PathBuf {
    let mut release = cache::release();
    release.urls = urls;
    world.file("liars.toml", manifest_of(release))
}

/// `install riscv64` from these addresses.
fn install(world: &World, urls: Vec<String>, source: &str) -> Command {
    let manifest = manifest(world, urls);
    let seconds = SLOW_LIMIT.as_secs() as u32;
    let mut command = world.command_within(seconds, env!("CARGO_BIN_EXE_binfmtctl"));
    command
        .args(["install", "riscv64", "--source", source])
        .env("BINFMTCTL_MANIFEST", manifest)
        .env("SSL_CERT_FILE", certificate("authority.crt"));
    command
}

fn package() -> Arc<Artifact> {
    Arc::new(Artifact::package(&cache::package()))
}

/// The rows that the program can be shown.
fn quick() -> Vec<&'static Row> {
    let fails_quickly = |row: &&Row| !row.slow && row.ends != Ends::Served;
    ROWS.iter().filter(fails_quickly).collect()
}

#[test]
fn the_program_refuses_each_of_them_and_stores_nothing() {
    let Some(_) = World::new() else { return };
    let package = package();
    let most = Mutex::new((0, ""));
    let play = |row: &&Row| {
        let (peak, took) = play_to_program(row, &package);
        assert!(took < LIMIT, "{}: {took:?}", row.name);
        let mut most = most.lock().unwrap();
        *most = (*most).max((peak, row.name));
    };
    for_each(&quick(), 8, |row| row.name, play);
    let (peak, name) = *most.lock().unwrap();
    println!("at most {peak} KiB, where it {name}");
}

#[test]
#[ignore = "takes minutes; run by hand, which writes catalogue/LAST-RUN.md"]
fn the_program_ends_each_that_keeps_it_waiting() {
    let Some(_) = World::new() else { return };
    let package = package();
    let waits = |row: &&Row| row.slow && row.ends != Ends::Served;
    let rows: Vec<&Row> = ROWS.iter().filter(waits).collect();
    let lines = Mutex::new(Vec::new());
    let play = |row: &&Row| {
        let (peak, took) = play_to_program(row, &package);
        let line = format!("| {} | {} | {peak} |", row.name, took.as_secs());
        lines.lock().unwrap().push(line);
    };
    for_each(&rows, rows.len(), |row| row.name, play);
    let mut lines = lines.into_inner().unwrap();
    lines.sort();
    let said = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let command = command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
        Output::of(command).stdout.trim().to_owned()
    };
    let report = format!(
        "# Servers that keep the program waiting\n\n\
         Written by `cargo test --test integration catalogue::the_program_ends -- --ignored`\n\
         on {}, at commit {}, on {} processors with Linux {}; all rows at once.\n\n\
         | what the server does | seconds until `install` ends with 8 | most memory, KiB |\n\
         |---|---|---|\n{}\n",
        said("date", &["-u", "+%Y-%m-%d"]),
        said("git", &["describe", "--always"]),
        said("nproc", &[]),
        said("uname", &["-r"]),
        lines.join("\n")
    );
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/integration/catalogue/LAST-RUN.md"
    );
    std::fs::write(file, report).unwrap();
}

/// How much memory the refusal took, and how long.
fn play_to_program(row: &Row, package: &Arc<Artifact>) -> (i64, Duration) {
    let world = World::new().expect("a world");
    let liar = Liar::start(row.lie, package.clone());
    let command = install(&world, vec![liar.url()], "https");
    let before = world.settled();
    let start = Instant::now();
    let (output, peak) = measure(&command);
    let took = start.elapsed();
    let status = if row.ends == Ends::Wrong { 7 } else { 8 };
    let output = output.assert_exit(status);
    assert!(output.last_line().len() < 600, "{output}");
    assert!(took < SLOW_LIMIT, "{}: {took:?}", row.name);
    assert!(peak < MEMORY, "{}: {peak} KiB", row.name);
    assert!(changes(&before, &world.settled()).is_empty());
    assert!(!world.prefix().exists() && !world.conf_path().exists());
    assert!(world.names().is_empty());
    (peak, took)
}

#[test]
fn behind_all_of_them_a_good_one_is_enough() {
    let Some(_) = World::new() else { return };
    let package = package();
    let rows = quick();
    let parts: Vec<&[&Row]> = rows.chunks(rows.len().div_ceil(8)).collect();
    for_each(
        &parts,
        8,
        |rows| rows[0].name,
        |rows| overcome(rows, &package),
    );
}

/// Installs from the last of many.
fn overcome(rows: &[&Row], package: &Arc<Artifact>) {
    let world = World::new().expect("a world");
    let liars = rows.iter().map(|row| Liar::start(row.lie, package.clone()));
    let liars: Vec<Liar> = liars.collect();
    let good = Liar::start(honest().lie, package.clone());
    let urls: Vec<String> = liars.iter().chain([&good]).map(Liar::url).collect();
    let output = Output::of(&mut install(&world, urls.clone(), "auto")).assert_exit(0);
    for url in &urls[..liars.len()] {
        assert!(
            output.stderr.contains(url.as_str()),
            "no word of {url}: {output}"
        );
    }
    assert!(good.asked() > 0);
    assert_eq!(world.stored().len(), 1);
    world.exec(&busybox("riscv64"), &["true"]).assert_exit(0);
}
