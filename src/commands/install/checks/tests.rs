//! What the guard refuses on every host, against headers of real programs and
//! the kernel's way of matching.

use super::*;
use crate::binfmt::rule::{Flags, Pattern};
use crate::platform::{PLATFORMS, TARGETS, Target};

#[allow(clippy::expect_used, missing_docs, reason = "tests")]
#[path = "../../../../tests/integration/world/space.rs"]
mod space;

use space::{Dice, Header, Line, kernel_matches, programs};

const SCRIPT: &[u8] = b"#!/bin/sh\n";
const SHAPES: [Shape; 3] = [Shape::Usual, Shape::Pie, Shape::Gnu];

fn rule(line: &Line) -> Rule {
    Rule {
        name: "test".to_owned(),
        pattern: Pattern {
            offset: line.offset,
            magic: line.magic.clone(),
            mask: line.mask.clone(),
        },
        interpreter: "/emulator".to_owned(),
        flags: Flags::default(),
    }
}

fn row(target: &Target) -> Line {
    Line {
        offset: 0,
        magic: target.magic.to_vec(),
        mask: Some(target.mask.to_vec()),
    }
}

/// A host of this platform: its real programs, where Debian has it, and what
/// the guard makes of them.
fn host(platform: &'static Platform) -> (Vec<Vec<u8>>, Guard) {
    let is_its = |program: &Header| program.emulator == platform.emulator;
    let real = programs().into_iter().filter(is_its);
    let mut headers: Vec<Vec<u8>> = real.map(|program| program.bytes).collect();
    let mut guard = Guard::default();
    for header in &headers {
        guard.protect("a program of this host", header.clone());
    }
    protect_platform(&mut guard, platform);
    let native = platform.targets().flat_map(|target| {
        SHAPES.map(|shape| {
            let probe = Probe::of(target);
            Probe { shape, ..probe }.image()
        })
    });
    headers.extend(native);
    guard.protect("scripts", SCRIPT.to_vec());
    headers.push(SCRIPT.to_vec());
    (headers, guard)
}

#[test]
fn a_rule_is_refused_where_it_would_match_what_has_to_stay_native_and_nowhere_else() {
    let programs = programs();
    let foreign: Vec<&[u8]> = programs.iter().map(|program| &*program.bytes).collect();
    let mut dice = Dice::of(7);
    let (mut tried, mut refused) = (0, 0);
    for platform in &PLATFORMS {
        let (native, guard) = host(platform);
        let native: Vec<&[u8]> = native.iter().map(Vec::as_slice).collect();
        // What is cut out of others' programs should mostly pass.
        let near: Vec<&[u8]> = [&native[..], &native, &foreign].concat();
        for _ in 0..6000 {
            let line = dice.line(&near);
            let interpreter = match dice.below(4) {
                0 => None,
                1 => Some(*dice.one(&native)),
                2 => Some(*dice.one(&foreign)),
                _ => Some(SCRIPT),
            };
            let matched = native
                .iter()
                .chain(&interpreter)
                .any(|header| kernel_matches(&line, header));
            let verdict = guard.check_with(&rule(&line), interpreter);
            assert_eq!(verdict.is_err(), matched, "{}: {line}", platform.name);
            tried += 1;
            refused += usize::from(matched);
        }
    }
    println!("{tried} rules, {refused} refused");
    assert!(tried >= 100_000);
    // Both happen often enough to mean something.
    assert!(
        refused > tried / 10 && refused < tried * 9 / 10,
        "{refused}"
    );
}

#[test]
fn no_row_of_the_table_is_refused_but_on_its_own_host() {
    for platform in &PLATFORMS {
        let (native, guard) = host(platform);
        for target in &TARGETS {
            for interpreter in &native {
                let verdict = guard.check_with(&rule(&row(target)), Some(interpreter));
                let is_own = target.platform() == platform;
                assert_eq!(
                    verdict.is_err(),
                    is_own,
                    "{} on {}",
                    target.name,
                    platform.name
                );
            }
        }
    }
}

#[test]
fn every_host_that_qemu_is_packaged_for_has_real_programs_here() {
    let programs = programs();
    for platform in PLATFORMS.iter().filter(|p| p.debian.is_some()) {
        for what in ["loader", "shell", "init", "static"] {
            let is_it =
                |program: &&Header| program.emulator == platform.emulator && program.what == what;
            assert!(
                programs.iter().any(|program| is_it(&program)),
                "{what} of {}",
                platform.name
            );
        }
    }
}

#[test]
fn real_programs_are_taken_by_their_own_row_alone() {
    for program in programs() {
        let takes = |target: &&Target| kernel_matches(&row(target), &program.bytes);
        let rows: Vec<_> = TARGETS.iter().filter(takes).map(|t| t.emulator).collect();
        assert_eq!(
            rows,
            [&program.emulator],
            "{} {}",
            program.origin,
            program.what
        );
    }
}

#[test]
fn programs_of_another_shape_than_the_hosts_own_are_native_too() {
    // A host whose own programs are all position-independent, for any system.
    for platform in &PLATFORMS {
        let mut guard = Guard::default();
        protect_platform(&mut guard, platform);
        for target in platform.targets() {
            for (at, values) in [(7, &[0, 3][..]), (16, &[2, 3])] {
                for value in values {
                    let mut narrow = row(target);
                    let at = match (at, target.data()) {
                        (16, crate::platform::DATA_BE) => 17,
                        (at, _) => at,
                    };
                    narrow.magic[at] = *value;
                    narrow.mask.as_mut().unwrap()[at] = 0xff;
                    let verdict = guard.check_with(&rule(&narrow), None);
                    assert!(verdict.is_err(), "{} {at} {value}", target.name);
                }
            }
        }
    }
}
