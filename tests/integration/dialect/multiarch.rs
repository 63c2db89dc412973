//! multiarch/qemu-user-static's options, and those of QEMU's own script.

use super::scene::{Out, ROW, Row, Scene};

const ALL: Row<'static> = Row {
    says: &[
        "Setting {here}/qemu-riscv64 as binfmt interpreter for riscv64",
        "Setting {here}/qemu-s390x as binfmt interpreter for s390x",
        "Setting {here}/qemu-mips64el as binfmt interpreter for mips64el",
        "Setting {here}/qemu-alpha as binfmt interpreter for alpha",
    ],
    out: Out::Nothing,
    after: &[
        "qemu-alpha@here POF",
        "qemu-mips64el@here POF",
        "qemu-riscv64@here POF",
        "qemu-s390x@here POF",
    ],
    ..ROW
};

const RISCV64: Row<'static> = Row {
    says: &["Setting {here}/qemu-riscv64 as binfmt interpreter for riscv64"],
    after: &["qemu-riscv64@here POF"],
    ..ALL
};

#[test]
fn the_most_copied_lines_of_all() {
    let Some(scene) = Scene::new() else { return };
    let lines = [
        "binfmt --reset -p yes",
        "binfmtctl --reset -p yes",
        "binfmt --reset --persistent yes",
        "binfmt --reset -p",
        "binfmt --reset -pyes",
        "binfmt --persistent=yes",
        "binfmt -p yes",
        "binfmt --reset",
        "register",
        "register --reset --credential no",
    ];
    scene.play(&lines.map(|line| Row { line, ..ALL }));
    assert!(scene.world.status("riscv64")["runs"] == "emulated");
}

#[test]
fn options_say_how() {
    let Some(scene) = Scene::new() else { return };
    scene.play(&[
        Row {
            line: "binfmt -p yes riscv64",
            ..RISCV64
        },
        Row {
            line: "binfmt --reset -p yes -c yes riscv64",
            after: &["qemu-riscv64@here POCF"],
            ..RISCV64
        },
        Row {
            line: "binfmt --credential=yes --persistent=yes riscv64",
            after: &["qemu-riscv64@here POCF"],
            ..RISCV64
        },
        Row {
            line: "binfmt -p yes -g no riscv64",
            after: &["qemu-riscv64@here OF"],
            ..RISCV64
        },
        Row {
            line: "binfmt -p yes --preserve-argv0 yes riscv64",
            ..RISCV64
        },
        Row {
            line: "binfmt -p yes --ignore-family yes riscv64",
            ..RISCV64
        },
        Row {
            line: "binfmt -p no riscv64",
            says: &[
                "persistent no: the flag F is set all the same, since without it containers don't find the emulator",
                "Setting {here}/qemu-riscv64 as binfmt interpreter for riscv64",
            ],
            ..RISCV64
        },
        Row {
            line: "binfmt -p yes --qemu-path {elsewhere} riscv64",
            says: &["Setting {elsewhere}/qemu-riscv64 as binfmt interpreter for riscv64"],
            after: &["qemu-riscv64@elsewhere POF"],
            ..RISCV64
        },
        Row {
            line: "binfmt -p yes riscv64",
            env: "QEMU_BIN_DIR={static}",
            says: &["Setting {static}/qemu-riscv64-static as binfmt interpreter for riscv64"],
            after: &["qemu-riscv64@static POF"],
            ..RISCV64
        },
        Row {
            line: "binfmt -p yes --qemu-suffix -static -Q {static} riscv64",
            says: &["Setting {static}/qemu-riscv64-static as binfmt interpreter for riscv64"],
            after: &["qemu-riscv64@static POF"],
            ..RISCV64
        },
        Row {
            line: "binfmt -p yes {host}",
            says: &["{emulator} programs run natively; nothing was registered"],
            after: &[],
            ..RISCV64
        },
        // Again, and with another wish.
        Row {
            before: &["qemu-riscv64=riscv64@here POF"],
            line: "binfmt -p yes -c yes riscv64",
            after: &["qemu-riscv64@here POCF"],
            ..RISCV64
        },
        Row {
            before: &["qemu-riscv64=riscv64@here POF"],
            line: "binfmt -p yes -g no riscv64",
            after: &["qemu-riscv64@here OF"],
            ..RISCV64
        },
        Row {
            before: &["qemu-riscv64=riscv64@here POCF"],
            line: "binfmt -p yes -c no riscv64",
            ..RISCV64
        },
        Row {
            before: &["qemu-riscv64=riscv64@here POCF"],
            line: "binfmt -p yes -c yes riscv64",
            says: &["the rule for riscv64 was in place already"],
            after: &["qemu-riscv64@here POCF"],
            ..RISCV64
        },
        Row {
            before: &["qemu-riscv64=riscv64@here POCF"],
            line: "binfmt -p yes riscv64",
            ..RISCV64
        },
        Row {
            before: &["qemu-riscv64=riscv64@here POF"],
            line: "binfmt --reset -p yes riscv64",
            says: &[
                "kept the rule qemu-riscv64: it is what would be registered",
                "the rule for riscv64 was in place already",
            ],
            ..RISCV64
        },
        Row {
            before: &["qemu-riscv64=riscv64@nowhere -"],
            line: "binfmt -p yes riscv64",
            says: &[
                "Setting {here}/qemu-riscv64 as binfmt interpreter for riscv64",
                "its rule is binfmtctl-riscv64, in front of qemu-riscv64, by which it didn't run",
            ],
            after: &["binfmtctl-riscv64@here POF", "qemu-riscv64@nowhere -"],
            ..RISCV64
        },
    ]);
}

#[test]
fn what_cant_be_done_is_told_last() {
    let Some(scene) = Scene::new() else { return };
    let wrong = Row {
        status: 2,
        out: Out::Nothing,
        ..ROW
    };
    scene.play(&[
        Row {
            line: "binfmt --reset --foo",
            says: &["binfmtctl: unrecognized option '--foo' (-h lists the options)"],
            ..wrong
        },
        Row {
            line: "binfmt --reset -p maybe",
            says: &["binfmtctl: option '-p' is yes or no, not 'maybe' (-h lists the options)"],
            ..wrong
        },
        Row {
            line: "binfmt --reset --qemu-path",
            says: &["binfmtctl: option '--qemu-path' requires an argument (-h lists the options)"],
            ..wrong
        },
        Row {
            line: "binfmt -p yes --systemd ALL",
            says: &[
                "binfmtctl: option '--systemd', which writes files for other tools, isn't supported (`binfmtctl install` writes /etc/binfmt.d, which lasts over reboots)",
            ],
            ..wrong
        },
        Row {
            line: "binfmt -p yes install riscv64",
            says: &[
                "binfmtctl: 'install' is a command of binfmtctl's own, and these options aren't (name CPUs here, or say `binfmtctl install` without these options)",
            ],
            ..wrong
        },
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere F"],
            line: "binfmtctl --reset status",
            says: &[
                "binfmtctl: 'status' is a command of binfmtctl's own, and these options aren't (name CPUs here, or say `binfmtctl status` without these options)",
            ],
            after: &["qemu-riscv64@elsewhere F"],
            ..wrong
        },
        Row {
            line: "register --qemu-path= riscv64",
            says: &["binfmtctl: option '--qemu-path=' requires an argument (-h lists the options)"],
            ..wrong
        },
        Row {
            line: "binfmt -p yes risc",
            status: 1,
            says: &[
                "unknown platform 'risc'; did you mean 'linux/riscv'?",
                "binfmtctl: cannot install risc: unknown platform 'risc'; did you mean 'linux/riscv'? (`binfmtctl status all-targets` lists every name)",
            ],
            ..wrong
        },
        Row {
            line: "binfmt --reset -p yes --qemu-suffix -none",
            before: &["wine", "qemu-riscv64=riscv64@elsewhere F"],
            status: 1,
            says: &[
                "kept the rule qemu-riscv64: nothing can come in its place",
                "binfmtctl: there is no emulator qemu-* for another platform in {here} (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them)",
            ],
            after: &["qemu-riscv64@elsewhere F", "wine"],
            ..wrong
        },
        Row {
            line: "binfmt --reset -p yes",
            env: "QEMU_BIN_DIR={half}",
            status: 1,
            says: &[
                "Setting {half}/qemu-riscv64 as binfmt interpreter for riscv64",
                "{half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
                "binfmtctl: {half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
            ],
            after: &["qemu-riscv64@half POF"],
            ..wrong
        },
        Row {
            line: "binfmt --reset -p yes",
            env: "QEMU_BIN_DIR={empty} BINFMTCTL_LENIENT=1",
            status: 0,
            says: &[
                "binfmtctl: there is no emulator qemu-* for another platform in {empty} (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them)",
            ],
            ..wrong
        },
        Row {
            line: "binfmt --reset -h",
            status: 0,
            out: Out::Help("--persistent yes|no"),
            ..wrong
        },
        Row {
            line: "register --help",
            status: 0,
            out: Out::Help("--credential yes|no"),
            ..wrong
        },
    ]);
}

#[test]
fn what_was_asked_for_of_a_rule_that_is_kept_has_to_be_so() {
    let Some(scene) = Scene::new() else { return };
    let kept = Row {
        before: &["qemu-riscv64=riscv64@elsewhere POF"],
        line: "register riscv64",
        says: &[
            "riscv64 programs run by the rule qemu-riscv64 already, which is kept (--reset replaces it)",
        ],
        after: &["qemu-riscv64@elsewhere POF"],
        ..RISCV64
    };
    scene.play(&[
        kept,
        Row {
            line: "register -c no -g yes riscv64",
            ..kept
        },
        Row {
            line: "register -c yes riscv64",
            status: 1,
            says: &[
                "linux/riscv64 runs by the rule qemu-riscv64, which is kept and lacks the flag C, so sudo won't work in containers",
                "binfmtctl: linux/riscv64 runs by the rule qemu-riscv64, which is kept and lacks the flag C, so sudo won't work in containers (--reset replaces it)",
            ],
            ..kept
        },
        Row {
            line: "register -g no riscv64",
            status: 1,
            says: &[
                "linux/riscv64 runs by the rule qemu-riscv64, which is kept and has the flag P",
                "binfmtctl: linux/riscv64 runs by the rule qemu-riscv64, which is kept and has the flag P (--reset replaces it)",
            ],
            ..kept
        },
        Row {
            before: &["theirs=riscv64@elsewhere OCF"],
            line: "register -g yes -c no riscv64",
            status: 1,
            says: &[
                "linux/riscv64 runs by the rule theirs, which is kept and lacks the flag P, so programs get their path as argv[0], and has the flag C",
                "binfmtctl: linux/riscv64 runs by the rule theirs, which is kept and lacks the flag P, so programs get their path as argv[0], and has the flag C (remove that rule first)",
            ],
            after: &["theirs@elsewhere OCF"],
            ..kept
        },
        Row {
            line: "register --reset -c yes riscv64",
            says: &[
                "removed the rule qemu-riscv64",
                "Setting {here}/qemu-riscv64 as binfmt interpreter for riscv64",
            ],
            after: &["qemu-riscv64@here POCF"],
            ..kept
        },
    ]);
}

#[test]
fn nothing_goes_for_the_sake_of_what_cant_come() {
    let Some(scene) = Scene::new() else { return };
    let before = [
        "qemu-riscv64=riscv64@elsewhere F",
        "qemu-s390x=s390x@elsewhere F",
    ];
    let kept = Row {
        before: &before,
        line: "register --reset -p yes",
        status: 1,
        out: Out::Nothing,
        after: &["qemu-riscv64@elsewhere F", "qemu-s390x@elsewhere F"],
        ..ROW
    };
    scene.play(&[
        Row {
            env: "QEMU_BIN_DIR={empty}",
            says: &[
                "kept the rule qemu-s390x: nothing can come in its place",
                "kept the rule qemu-riscv64: nothing can come in its place",
                "binfmtctl: there is no emulator qemu-* for another platform in {empty} (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them)",
            ],
            ..kept
        },
        Row {
            line: "register -Q{empty}",
            says: &[
                "binfmtctl: there is no emulator qemu-* for another platform in {empty} (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them)",
            ],
            ..kept
        },
        Row {
            line: "register --reset -p yes risv64",
            says: &[
                "kept the rule qemu-s390x: nothing can come in its place",
                "kept the rule qemu-riscv64: nothing can come in its place",
                "unknown platform 'risv64'; did you mean 'linux/riscv64'?",
                "binfmtctl: cannot install risv64: unknown platform 'risv64'; did you mean 'linux/riscv64'? (`binfmtctl status all-targets` lists every name)",
            ],
            ..kept
        },
        Row {
            line: "register --reset -p yes ppc64 riscv64",
            says: &[
                "kept the rule qemu-s390x: nothing can come in its place",
                "kept the rule qemu-riscv64: nothing can come in its place",
                "riscv64 programs run by the rule qemu-riscv64 already, which is kept (--reset replaces it)",
                "cannot install linux/ppc64: there is no {here}/qemu-ppc64-static, nor {here}/qemu-ppc64",
                "binfmtctl: cannot install linux/ppc64: there is no {here}/qemu-ppc64-static, nor {here}/qemu-ppc64 (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install ppc64` get one)",
            ],
            ..kept
        },
        // What is there comes, and the rest goes.
        Row {
            line: "register --reset -p yes riscv64",
            status: 0,
            says: &[
                "removed the rule qemu-s390x",
                "removed the rule qemu-riscv64",
                "Setting {here}/qemu-riscv64 as binfmt interpreter for riscv64",
            ],
            after: &["qemu-riscv64@here POF"],
            ..kept
        },
    ]);
}
