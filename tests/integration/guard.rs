//! Rules that would stop a host: the real kernel, in a user namespace that is
//! thrown away, holds against what the guard says of them; and none gets in.

use std::fs;
use std::path::PathBuf;

use binfmtctl::binfmt::{Guard, Rule};
use binfmtctl::platform::Target;

use crate::world::artifact::native_program;
use crate::world::space::{Dice, Header, Line, kernel_matches, programs};
use crate::world::{Output, World, changes, host};

/// A rule of this line, with an interpreter.
fn rule(line: &Line, interpreter: &str) -> Rule {
    let text = format!(":sample:M:{line}:{interpreter}:");
    text.parse().expect("a rule")
}

/// What the kernel does with a program while a rule is there.
fn under(world: &World, rule: &Rule, program: &str, args: &[&str]) -> Output {
    world.register(&rule.line().expect("a line"));
    let output = Output::of(world.command(program).args(args));
    world.write(&rule.name, "-1");
    output
}

/// Whether the program was given to the interpreter, which ends with 40 and
/// the number of its arguments. What nothing takes, a shell tries to read: then
/// there are three.
fn was_taken(output: &Output) -> bool {
    output.status == 42
}

fn is_short_enough(rule: &Rule) -> bool {
    rule.line().is_ok()
}

#[test]
fn the_kernel_matches_as_it_is_written_down_here() {
    let Some(world) = World::new() else { return };
    let emulator = native_program(host().target().exit_argc);
    let interpreter = world.program("interpreter", &emulator);
    let mut files: Vec<Header> = programs();
    files.push(Header {
        emulator: String::new(),
        what: "script".to_owned(),
        origin: "a short file".to_owned(),
        bytes: b"#!/bin/sh\nexit 7\n".to_vec(),
    });
    let headers: Vec<&[u8]> = files.iter().map(|file| &*file.bytes).collect();
    let paths: Vec<PathBuf> = (0..files.len())
        .map(|i| world.program(&format!("program{i}"), headers[i]))
        .collect();
    let mut dice = Dice::of(11);
    let (mut tried, mut taken) = (0, 0);
    while tried < 400 {
        let i = dice.below(files.len());
        let line = dice.line(&headers[i..=i]);
        let rule = rule(&line, interpreter.to_str().unwrap());
        // One that takes its own interpreter runs nothing at all.
        if !is_short_enough(&rule) || kernel_matches(&line, &emulator) {
            continue;
        }
        let near = [i, dice.below(files.len())];
        for i in near {
            let output = under(&world, &rule, paths[i].to_str().unwrap(), &[]);
            let matches = kernel_matches(&line, headers[i]);
            let told = format!(
                "{line} on {} of {}: {output}",
                files[i].what, files[i].origin
            );
            assert_eq!(was_taken(&output), matches, "{told}");
            assert_eq!(rule.pattern.matches(headers[i]), matches, "{told}");
            tried += 1;
            taken += usize::from(matches);
        }
    }
    assert!(taken > tried / 8 && taken < tried * 7 / 8, "{taken}");
}

#[test]
fn what_stops_native_programs_is_what_the_guard_refuses() {
    let Some(world) = World::new() else { return };
    let interpreter = world.program("interpreter", native_program(host().target().exit_argc));
    let guard = Guard::of_host(None);
    let shell = fs::read("/bin/sh").unwrap();
    let of_host = |program: &Header| program.emulator == host().emulator;
    let foreign = programs().into_iter().filter(|program| !of_host(program));
    let foreign: Vec<Vec<u8>> = foreign.map(|program| program.bytes).collect();
    let mut headers: Vec<&[u8]> = foreign.iter().map(Vec::as_slice).collect();
    // As often as all the others.
    headers.resize(headers.len() * 2, &shell[..256]);
    let mut dice = Dice::of(13);
    let (mut stopped, mut lived) = (0, 0);
    while stopped + lived < 200 {
        let line = dice.line(&headers);
        let rule = rule(&line, interpreter.to_str().unwrap());
        if !is_short_enough(&rule) {
            continue;
        }
        let output = under(&world, &rule, "/bin/sh", &["-c", "exit 7"]);
        match (output.status, guard.check(&rule)) {
            (7, Ok(())) => lived += 1,
            // Other programs than the shell are protected too.
            (7, Err(_)) => assert!(!kernel_matches(&line, &shell), "{line}"),
            (_, Err(_)) => stopped += 1,
            (_, Ok(())) => panic!("{line} stops the shell: {output}"),
        }
    }
    assert!(
        stopped > 30 && lived > 30,
        "{stopped} stopped, {lived} lived"
    );
    // Nothing of it stays.
    world.sh("exit 0").assert_exit(0);
}

/// Lines for the conf file that look harmless: rules of the store's own
/// emulator that take native programs. Registered, they stop everything.
fn deadly(emulator: &str) -> Vec<String> {
    let own: &Target = host().target();
    let row = Line {
        offset: 0,
        magic: own.magic.to_vec(),
        mask: Some(own.mask.to_vec()),
    };
    let elf = Line {
        offset: 0,
        magic: b"\x7fELF".to_vec(),
        mask: None,
    };
    let anything = Line {
        offset: 200,
        magic: vec![0],
        mask: Some(vec![0]),
    };
    [row, elf, anything]
        .iter()
        .map(|line| format!(":qemu-riscv64:M:{line}:{emulator}:POF"))
        .collect()
}

#[test]
fn a_line_that_would_stop_the_host_is_refused_by_all_who_read_the_file() {
    let Some(world) = World::new() else { return };
    world.install("riscv64 s390x");
    let good = world.conf();
    let emulator = world.conf_rules()[0].interpreter.clone();
    for line in deadly(&emulator) {
        // That it is no idle fear: the same line, as it is, stops a namespace.
        let inner = World::new().expect("a world");
        inner.register(&line);
        let output = inner.sh("exit 7");
        assert_ne!(output.status, 7, "{line} stops nothing");

        fs::write(world.conf_path(), format!("{good}{line}\n")).unwrap();
        let words = [
            world.conf_path().display().to_string(),
            "would match".to_owned(),
        ];
        let words = words.each_ref().map(String::as_str);
        world.refuses("apply", 6, &words);
        world.refuses("install riscv64", 6, &words);
        world.refuses("install 386 --dry-run", 6, &words);
        world.refuses("status", 6, &words);
        let document = world.ctl("doctor --json").assert_exit(1).stdout;
        assert!(
            document.contains("nothing would run any more"),
            "{document}"
        );
        // What it isn't about still works, and is applied.
        assert_eq!(world.names(), ["qemu-riscv64", "qemu-s390x"]);
        world.write("qemu-s390x", "-1");
        world.ctl("apply").assert_exit(6);
        assert!(world.names().contains(&"qemu-s390x".to_owned()));
        // To take all of it away is always right.
        let before = world.settled();
        world.ctl("uninstall --dry-run").assert_exit(0);
        assert!(changes(&before, &world.settled()).is_empty());
    }
    fs::write(
        world.conf_path(),
        format!("{good}{}\n", deadly(&emulator)[0]),
    )
    .unwrap();
    world.refuses("uninstall s390x", 6, &["would match"]);
    world.ctl("uninstall").assert_exit(0);
    assert_eq!(world.conf(), "");
}

#[test]
fn no_command_line_leads_to_a_rule_for_native_programs() {
    let Some(world) = World::new() else { return };
    let own = host().name;
    let short = own.trim_start_matches("linux/");
    for line in [
        format!("install {own} --replace"),
        format!("install {short} --replace --credentials"),
        "install all-targets --replace".to_owned(),
        format!("--install {short}"),
        "--install all".to_owned(),
    ] {
        world.ctl(&line);
        let header = fs::read("/bin/sh").unwrap();
        for (name, text) in world.entries() {
            let entry = binfmtctl::binfmt::Entry::parse(&name, &text).unwrap();
            assert!(!entry.matches(&header[..256]), "{line}: {text}");
        }
        world.sh("exit 7").assert_exit(7);
    }
}
