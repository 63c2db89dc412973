#![no_main]
//! The headers of emulators, and of the programs that the kernel runs.

use std::sync::LazyLock;

use binfmtctl::emulator::elf;
use binfmtctl::host::platform_of_header;
use binfmtctl::platform::{PLATFORMS, Platform, TARGETS};
use binfmtctl::probe::{Shape, elf::image};
use binfmtctl_fuzz::{choice, memory};
use libfuzzer_sys::fuzz_target;

static HOSTS: LazyLock<Vec<&Platform>> = LazyLock::new(|| {
    PLATFORMS
        .iter()
        .filter(|platform| platform.debian.is_some())
        .collect()
});

fuzz_target!(|bytes: &[u8]| {
    let (host, rest) = choice(bytes);
    let host: &'static Platform = HOSTS[usize::from(host) % HOSTS.len()];
    memory::within(4096 + 8 * bytes.len(), || {
        if let Ok(()) = elf::check(rest, host) {
            assert_eq!(
                platform_of_header(rest).map(|found| found.emulator),
                Some(host.emulator)
            );
            // What lies behind the headers isn't looked at.
            let longer = [rest, b"more"].concat();
            assert_eq!(elf::check(&longer, host), Ok(()));
        }
        if let Some(version) = elf::version(rest) {
            assert!(version.starts_with(|c: char| c.is_ascii_digit()) && version.len() < 256);
            assert!(version.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        platform_of_header(rest);
    });
    let (row, code) = choice(rest);
    let (shape, code) = choice(code);
    let shape = [Shape::Usual, Shape::Pie, Shape::Gnu][usize::from(shape) % 3];
    let target = &TARGETS[usize::from(row) % TARGETS.len()];
    let program = image(target, code, shape);
    assert!(program.windows(code.len().max(1)).any(|part| part == code) || code.is_empty());
    let runs = elf::check(&program, target.platform());
    assert_eq!(runs, Ok(()), "{}", target.name);
});
