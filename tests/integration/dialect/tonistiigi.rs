//! tonistiigi/binfmt's flags, names and sets.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use super::scene::{Out, ROW, Row, Scene, by_platform, strings};
use crate::world::{Output, World, host, text};

const RISCV64: Row<'static> = Row {
    says: &["installing: riscv64 OK"],
    out: Out::State(&["riscv64"]),
    after: &["qemu-riscv64@here POCF"],
    ..ROW
};

const S390X: Row<'static> = Row {
    says: &["installing: s390x OK"],
    out: Out::State(&["s390x"]),
    after: &["qemu-s390x@here POCF"],
    ..ROW
};

const USAGE: [&str; 9] = [
    "Usage of {binfmt}:",
    "  -install string",
    "    \tarchitectures to install",
    "  -mount string",
    "    \tbinfmt_misc mount point (default \"/proc/sys/fs/binfmt_misc\")",
    "  -uninstall string",
    "    \tarchitectures to uninstall",
    "  -version",
    "    \tdisplay version",
];

#[test]
fn flags_are_gos() {
    let Some(scene) = Scene::new() else { return };
    let forms = [
        "binfmt -install riscv64",
        "binfmt --install riscv64",
        "binfmt -install=riscv64",
        "binfmt --install=riscv64",
        "binfmt --install riscv64 --",
        "binfmt --install riscv64 --version=false",
        "binfmt --install s390x --install riscv64",
        "binfmt --uninstall qemu-s390x --uninstall= --install riscv64",
        "binfmt --mount /proc/sys/fs/binfmt_misc --install riscv64",
        "binfmtctl --install riscv64",
        "binfmtctl -mount=/proc/sys/fs/binfmt_misc -install=riscv64",
    ];
    scene.play(&forms.map(|line| Row { line, ..RISCV64 }));
    let nothing = [
        "binfmt",
        "binfmt --",
        "binfmt --install=",
        "binfmt --install ,",
        "binfmt -uninstall= -install=",
        "binfmt --mount /proc/sys/fs/binfmt_misc",
    ];
    scene.play(&nothing.map(|line| Row { line, ..ROW }));
}

#[test]
fn a_wrong_line_is_told_as_go_does_and_last() {
    let Some(scene) = Scene::new() else { return };
    let program = scene.world.path("binfmt").display().to_string();
    let usage = USAGE.map(|line| line.replace("{binfmt}", &program));
    for (line, wrong) in [
        ("binfmt --foo", "flag provided but not defined: -foo"),
        ("binfmt -v", "flag provided but not defined: -v"),
        ("binfmt --json", "flag provided but not defined: -json"),
        ("binfmt --install", "flag needs an argument: -install"),
        ("binfmt ---install riscv64", "bad flag syntax: ---install"),
        (
            "binfmt --version=maybe --install riscv64",
            "invalid boolean value \"maybe\" for -version: parse error",
        ),
    ] {
        let wrong = format!("binfmtctl: {wrong} (see the flags above)");
        let mut says: Vec<&str> = usage.iter().map(String::as_str).collect();
        says.push(&wrong);
        scene.play(&[Row {
            line,
            status: 2,
            says: &says,
            out: Out::Nothing,
            ..ROW
        }]);
    }
    // The original ignores such words, and installs riscv64 or nothing.
    for (line, word) in [
        ("binfmt --install riscv64 s390x", "s390x"),
        ("binfmt riscv64", "riscv64"),
        ("binfmt --uninstall qemu-a qemu-b", "qemu-b"),
        ("binfmt --install riscv64 status", "status"),
    ] {
        let wrong = format!(
            "nothing is known of '{word}' (a list is one word, as in --install arm64,riscv64)"
        );
        let says = format!("binfmtctl: {wrong}");
        scene.play(&[Row {
            line,
            status: 2,
            says: &[&says],
            out: Out::Nothing,
            ..ROW
        }]);
    }
}

#[test]
fn help_and_version_go_to_stderr() {
    let Some(scene) = Scene::new() else { return };
    for line in [
        "binfmt -h",
        "binfmt --help",
        "binfmt --install riscv64 -help",
    ] {
        let help = scene.run("", line).assert_exit(0);
        assert_eq!(help.stdout, "");
        assert!(help.stderr.contains("  -install string\n"), "{help}");
        for word in [
            "QEMU_BINARY_PATH",
            "sudo",
            "--credentials",
            "BINFMTCTL_LENIENT",
        ] {
            assert!(help.stderr.contains(word), "{help}");
        }
    }
    for (env, line) in [
        ("BINFMTCTL_PREFIX=", "binfmt -h"),
        ("BINFMTCTL_HOST=1", "register --help"),
        ("BINFMTCTL_HOST=1", "binfmt --version"),
        ("BINFMTCTL_PREFIX=", "binfmt --version"),
        ("QEMU_BINARY_PREFIX=/", "binfmt --version"),
    ] {
        scene.run(env, line).assert_exit(0);
    }
    let own = env!("CARGO_PKG_VERSION");
    let version = format!(
        "binfmt/{own} qemu/v{} binfmtctl/{own}",
        crate::world::cache::OLD
    );
    let says = [version.as_str()];
    let lines = [
        "binfmt --version",
        "binfmt -version --install riscv64",
        "binfmt --version=1 --uninstall qemu-*",
    ];
    scene.play(&lines.map(|line| Row {
        line,
        says: &says,
        out: Out::Nothing,
        ..ROW
    }));
    assert!(scene.rules().is_empty());
}

#[test]
fn uninstalling_comes_before_installing() {
    let Some(scene) = Scene::new() else { return };
    let exchanged = Row {
        before: &["qemu-riscv64=riscv64@elsewhere POF"],
        says: &["uninstalling: qemu-riscv64 OK", "installing: s390x OK"],
        ..S390X
    };
    scene.play(&[
        Row {
            line: "binfmt --install s390x --uninstall qemu-riscv64",
            ..exchanged
        },
        Row {
            line: "binfmt --uninstall qemu-* --install s390x",
            ..exchanged
        },
        Row {
            before: &["qemu-s390x=riscv64@elsewhere POF"],
            line: "binfmt --uninstall qemu-s390x --install s390x",
            says: &["uninstalling: qemu-s390x OK", "installing: s390x OK"],
            ..S390X
        },
        Row {
            before: &["qemu-s390x=riscv64@elsewhere POF"],
            line: "binfmt --install s390x",
            says: &["installing: s390x OK as binfmtctl-s390x"],
            out: Out::State(&["riscv64", "s390x"]),
            after: &["binfmtctl-s390x@here POCF", "qemu-s390x@elsewhere POF"],
            ..S390X
        },
    ]);
}

#[test]
fn every_name_that_people_type_is_understood() {
    let Some(scene) = Scene::new() else { return };
    let names = [
        "binfmt --install linux/riscv64",
        "binfmt --install RISCV64",
        "binfmt --install qemu-riscv64-static",
        "binfmt --install riscv64-linux-gnu,rv64",
    ];
    scene.play(&names.map(|line| Row { line, ..RISCV64 }));
    scene.play(&[
        Row {
            line: "binfmt --install mips64el",
            says: &["installing: mips64le OK"],
            out: Out::State(&["mips64le"]),
            after: &["qemu-mips64el@here POCF"],
            ..ROW
        },
        Row {
            line: "binfmt --install alpha",
            says: &["installing: alpha OK"],
            out: Out::State(&["alpha"]),
            after: &["qemu-alpha@here POCF"],
            ..ROW
        },
        Row {
            line: "binfmt --install s390x,linux/riscv64,",
            says: &["installing: riscv64 OK", "installing: s390x OK"],
            out: Out::State(&["riscv64", "s390x"]),
            after: &["qemu-riscv64@here POCF", "qemu-s390x@here POCF"],
            ..ROW
        },
        Row {
            line: "binfmt --install {host}",
            says: &["installing: {host} OK: this host runs it natively, so nothing was registered"],
            ..ROW
        },
        Row {
            line: "binfmt --install {host},riscv64",
            says: &[
                "installing: {host} OK: this host runs it natively, so nothing was registered",
                "installing: riscv64 OK",
            ],
            ..RISCV64
        },
    ]);
    if host().emulator != "x86_64" {
        return;
    }
    let arm = Row {
        env: "QEMU_BINARY_PATH={arms}",
        says: &["installing: arm OK"],
        out: Out::State(&["arm/v7", "arm/v6", "arm/v5"]),
        after: &["qemu-arm@arms POCF"],
        ..ROW
    };
    scene.play(&[
        Row {
            line: "binfmt --install amd64/v2",
            says: &["installing: amd64 OK: this host runs it natively, so nothing was registered"],
            ..ROW
        },
        Row {
            line: "binfmt --install arm/v7",
            ..arm
        },
        Row {
            line: "binfmt --install linux/arm/v6,armhf",
            ..arm
        },
        Row {
            line: "binfmt --install linux/arm64/v8",
            says: &[
                "installing: arm64 OK",
                "warning: linux/arm64 runs and linux/arm doesn't, but container engines take one for the other; install arm too",
            ],
            out: Out::State(&["arm64"]),
            after: &["qemu-aarch64@arms POCF"],
            ..arm
        },
        Row {
            line: "binfmt --install all",
            says: &["installing: arm64 OK", "installing: arm OK"],
            out: Out::State(&["arm64", "arm/v7", "arm/v6", "arm/v5"]),
            after: &["qemu-aarch64@arms POCF", "qemu-arm@arms POCF"],
            ..arm
        },
    ]);
}

#[test]
fn a_named_platform_runs_or_the_run_has_failed() {
    let Some(scene) = Scene::new() else { return };
    let failed = Row { status: 1, ..ROW };
    scene.play(&[
        Row {
            line: "binfmt --install risv64",
            says: &[
                "installing: risv64 failed: unknown platform 'risv64'; did you mean 'linux/riscv64'?",
                "binfmtctl: cannot install risv64: unknown platform 'risv64'; did you mean 'linux/riscv64'? (`binfmtctl status all-targets` lists every name)",
            ],
            ..failed
        },
        Row {
            line: "binfmt --install solaris/sparc,riscv64",
            status: 1,
            says: &[
                "installing: riscv64 OK",
                "installing: solaris/sparc failed: unknown platform 'solaris/sparc'",
                "binfmtctl: cannot install solaris/sparc: unknown platform 'solaris/sparc' (`binfmtctl status all-targets` lists every name)",
            ],
            ..RISCV64
        },
        // No emulator there.
        Row {
            line: "binfmt --install ppc64,riscv64",
            status: 1,
            says: &[
                "installing: riscv64 OK",
                "installing: ppc64 failed: cannot install linux/ppc64: there is no {here}/qemu-ppc64",
                "binfmtctl: cannot install linux/ppc64: there is no {here}/qemu-ppc64 (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install ppc64` get one)",
            ],
            ..RISCV64
        },
        // Something that is none.
        Row {
            line: "binfmt --install s390x",
            env: "QEMU_BINARY_PATH={broken}",
            says: &[
                "installing: s390x failed: {broken}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
                "binfmtctl: {broken}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
            ],
            ..failed
        },
        Row {
            line: "binfmt --install s390x,riscv64",
            env: "QEMU_BINARY_PATH={broken}",
            says: &[
                "installing: riscv64 failed: {broken}/qemu-riscv64 doesn't run a riscv64 program: it ended with exit status: 127 instead of running the program",
                "installing: s390x failed: {broken}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
                "binfmtctl: linux/riscv64 and 1 more platforms can't run: {broken}/qemu-riscv64 doesn't run a riscv64 program: it ended with exit status: 127 instead of running the program",
            ],
            ..failed
        },
        // What it was told as before: 0 whatever fails.
        Row {
            line: "binfmt --install risv64",
            env: "BINFMTCTL_LENIENT=1",
            status: 0,
            says: &[
                "installing: risv64 failed: unknown platform 'risv64'; did you mean 'linux/riscv64'?",
                "binfmtctl: cannot install risv64: unknown platform 'risv64'; did you mean 'linux/riscv64'? (`binfmtctl status all-targets` lists every name)",
            ],
            ..failed
        },
        Row {
            line: "binfmt --install riscv64 s390x",
            env: "BINFMTCTL_LENIENT=yes",
            status: 0,
            says: &[
                "nothing is known of 's390x' (a list is one word, as in --install arm64,riscv64)",
                "installing: riscv64 OK",
            ],
            ..RISCV64
        },
    ]);
    scene.clear();
    let dynamic = scene.run("QEMU_BINARY_PATH={dynamic}", "binfmt --install s390x");
    let dynamic = dynamic.assert_exit(1).assert_says(&[
        "it isn't static",
        "s390x",
        "`binfmtctl install` gets one",
    ]);
    assert!(!dynamic.stderr.contains("not pinned"), "{dynamic}");
    // Neither is one that can't be read, whoever runs another platform.
    scene.register("theirs=riscv64@elsewhere F");
    fs::create_dir(scene.world.path("empty/qemu-s390x")).unwrap();
    scene
        .run("QEMU_BINARY_PATH={empty}", "binfmt --install all")
        .assert_exit(1)
        .assert_says(&["/empty/qemu-s390x", "it isn't a file"]);
    scene.clear();
    assert!(scene.rules().is_empty());
}

#[test]
fn of_all_those_are_installed_that_are_there() {
    let Some(scene) = Scene::new() else { return };
    let all = Row {
        line: "binfmt --install all",
        ..ROW
    };
    scene.play(&[
        Row {
            says: &[
                "installing: riscv64 OK",
                "installing: s390x OK",
                "installing: mips64le OK",
            ],
            out: Out::State(&["riscv64", "s390x", "mips64le"]),
            after: &[
                "qemu-mips64el@here POCF",
                "qemu-riscv64@here POCF",
                "qemu-s390x@here POCF",
            ],
            ..all
        },
        // Those that fail are warned of.
        Row {
            env: "QEMU_BINARY_PATH={half}",
            says: &[
                "installing: riscv64 OK",
                "installing: s390x failed: {half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
            ],
            out: Out::State(&["riscv64"]),
            after: &["qemu-riscv64@half POCF"],
            ..all
        },
        // Unless the old one was to go, which then stays.
        Row {
            before: &["qemu-s390x=s390x@elsewhere F"],
            line: "binfmt --uninstall qemu-* --install all",
            env: "QEMU_BINARY_PATH={half}",
            status: 1,
            says: &[
                "uninstalling: qemu-s390x kept: linux/s390x can't be replaced",
                "installing: riscv64 OK",
                "installing: s390x failed: {half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
                "binfmtctl: {half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
            ],
            out: Out::State(&["riscv64", "s390x"]),
            after: &["qemu-riscv64@half POCF", "qemu-s390x@elsewhere F"],
        },
        // Unless one of them was named.
        Row {
            line: "binfmt --install all,s390x",
            env: "QEMU_BINARY_PATH={half}",
            status: 1,
            says: &[
                "installing: riscv64 OK",
                "installing: s390x failed: {half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
                "binfmtctl: {half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
            ],
            out: Out::State(&["riscv64"]),
            after: &["qemu-riscv64@half POCF"],
            ..all
        },
        // Nothing at all.
        Row {
            env: "QEMU_BINARY_PATH={empty}",
            status: 1,
            says: &[
                "binfmtctl: there is no emulator qemu-* for another platform in {empty} (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them)",
            ],
            ..all
        },
        Row {
            env: "QEMU_BINARY_PATH={empty} BINFMTCTL_LENIENT=1",
            says: &[
                "binfmtctl: there is no emulator qemu-* for another platform in {empty} (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them)",
            ],
            ..all
        },
        // That others did it says nothing of what was asked for.
        Row {
            before: &["rosetta=riscv64@elsewhere POF"],
            env: "QEMU_BINARY_PATH={empty}",
            status: 1,
            says: &[
                "binfmtctl: there is no emulator qemu-* for another platform in {empty} (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them)",
            ],
            out: Out::State(&["riscv64"]),
            after: &["rosetta@elsewhere POF"],
            ..all
        },
        // Nor does anything go for it.
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere F"],
            line: "binfmt --uninstall qemu-* --install all",
            env: "QEMU_BINARY_PATH={empty}",
            status: 1,
            says: &[
                "uninstalling: qemu-riscv64 kept: nothing can come in its place",
                "binfmtctl: there is no emulator qemu-* for another platform in {empty} (say where the emulators are with QEMU_BINARY_PATH, or let `binfmtctl install` get them)",
            ],
            out: Out::State(&["riscv64"]),
            after: &["qemu-riscv64@elsewhere F"],
        },
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere F"],
            line: "binfmt --uninstall qemu-* --install risv64",
            status: 1,
            says: &[
                "uninstalling: qemu-riscv64 kept: nothing can come in its place",
                "installing: risv64 failed: unknown platform 'risv64'; did you mean 'linux/riscv64'?",
                "binfmtctl: cannot install risv64: unknown platform 'risv64'; did you mean 'linux/riscv64'? (`binfmtctl status all-targets` lists every name)",
            ],
            out: Out::State(&["riscv64"]),
            after: &["qemu-riscv64@elsewhere F"],
            ..all
        },
        Row {
            line: "binfmt --install all-targets",
            says: &[
                "installing: riscv64 OK",
                "installing: s390x OK",
                "installing: mips64le OK",
                "installing: alpha OK",
            ],
            out: Out::State(&["riscv64", "s390x", "mips64le", "alpha"]),
            after: &[
                "qemu-alpha@here POCF",
                "qemu-mips64el@here POCF",
                "qemu-riscv64@here POCF",
                "qemu-s390x@here POCF",
            ],
            ..all
        },
    ]);
}

#[test]
fn variables_say_where_emulators_are_and_what_they_are_called() {
    let Some(scene) = Scene::new() else { return };
    scene.play(&[
        Row {
            line: "binfmt --install riscv64",
            env: "QEMU_BINARY_PATH={elsewhere}/../here/",
            ..RISCV64
        },
        Row {
            line: "binfmt --install riscv64",
            env: "QEMU_BINARY_PATH={prefixed} QEMU_BINARY_PREFIX=my-",
            after: &["my-qemu-riscv64@prefixed POCF"],
            ..RISCV64
        },
        Row {
            before: &["qemu-riscv64=riscv64@nowhere -"],
            line: "binfmt --install riscv64",
            env: "QEMU_BINARY_PATH={prefixed} QEMU_BINARY_PREFIX=my-",
            says: &[
                "installing: riscv64 OK as my-qemu-riscv64, in front of qemu-riscv64, by which it didn't run",
            ],
            after: &["my-qemu-riscv64@prefixed POCF", "qemu-riscv64@nowhere -"],
            ..RISCV64
        },
        Row {
            line: "binfmt --install riscv64",
            env: "QEMU_BINARY_PREFIX=bin/",
            status: 1,
            says: &[
                "binfmtctl: cannot use emulators {here}/bin/qemu-*: what comes before or after a name can't have a slash (the directory is said by QEMU_BINARY_PATH or --qemu-path)",
            ],
            before: &["qemu-s390x=s390x@elsewhere F"],
            out: Out::State(&["s390x"]),
            after: &["qemu-s390x@elsewhere F"],
        },
        Row {
            line: "binfmt --install riscv64",
            env: "QEMU_PRESERVE_ARGV0=1",
            ..RISCV64
        },
        Row {
            line: "binfmt --install riscv64",
            env: "BINFMTCTL_QUIET=1",
            says: &[],
            ..RISCV64
        },
        // Of no matter for this.
        Row {
            line: "binfmt --install riscv64",
            env: "BINFMTCTL_COLOR=sometimes",
            ..RISCV64
        },
        Row {
            line: "binfmt --install riscv64",
            env: "BINFMTCTL_MANIFEST=/nowhere",
            says: &[
                "cannot read the manifest /nowhere: No such file or directory (os error 2)",
                "not pinned, as binfmtctl's manifest doesn't know these bytes; used as they are: {here}/qemu-riscv64",
                "installing: riscv64 OK",
            ],
            ..RISCV64
        },
        Row {
            line: "binfmt",
            env: "BINFMTCTL_PREFIX=",
            status: 2,
            says: &[
                "binfmtctl: a value is required for '--prefix <DIR>' but none was supplied (a variable BINFMTCTL_... says so)",
            ],
            out: Out::Nothing,
            ..ROW
        },
    ]);
    // -v, of which the dialect has none.
    scene.clear();
    let said = scene.run("BINFMTCTL_VERBOSE=1", "binfmt --install riscv64");
    let pinned = format!(
        "{} has the pinned bytes of QEMU {} (sha256 ",
        scene.world.path("here/qemu-riscv64").display(),
        crate::world::cache::OLD
    );
    assert!(said.stderr.contains(&pinned), "{said}");
}

#[test]
fn usr_bin_is_where_emulators_are_if_nothing_else_is_said() {
    let Some(scene) = Scene::new() else { return };
    let world: &World = &scene.world;
    let over = format!(
        "mount -t overlay overlay -o lowerdir={}:/usr/bin /usr/bin",
        world.path("here").display()
    );
    world.sh(&over).assert_exit(0);
    scene
        .run("QEMU_BINARY_PATH=", "binfmt --install riscv64")
        .assert_exit(0);
    let entry = world.entry("qemu-riscv64");
    assert!(
        entry.starts_with("enabled\ninterpreter /usr/bin/qemu-riscv64\nflags: POCF\n"),
        "{entry}"
    );
    world
        .exec(&crate::world::cache::busybox("riscv64"), &["true"])
        .assert_exit(0);
}

#[test]
fn bytes_that_nobody_answers_for_are_used_and_said() {
    let Some(scene) = Scene::new() else { return };
    let own = scene.world.path("empty/qemu-riscv64");
    let mut bytes = fs::read(scene.world.path("here/qemu-riscv64")).unwrap();
    bytes.extend(b"\0");
    crate::world::write_program(&own, &bytes);
    scene.play(&[Row {
        line: "binfmt --install riscv64",
        env: "QEMU_BINARY_PATH={empty}",
        says: &[
            "not pinned, as binfmtctl's manifest doesn't know these bytes; used as they are: {empty}/qemu-riscv64",
            "installing: riscv64 OK",
        ],
        after: &["qemu-riscv64@empty POCF"],
        ..RISCV64
    }]);
}

#[test]
fn the_document_says_everything_that_ours_says() {
    let Some(scene) = Scene::new() else { return };
    let done = scene.run("", "binfmt --install riscv64,s390x,risc").json();
    assert_eq!(done["changed"], true);
    assert_eq!(done["error"]["status"], 1);
    assert_eq!(by_platform(&done, "action")["linux/riscv64"], "installed");
    assert_eq!(by_platform(&done, "owner")["linux/riscv64"], "other");
    scene.register("qemu-alpha=alpha@elsewhere F");
    let line = "binfmt --uninstall qemu-alpha,qemu-s390x --install s390x";
    let done = scene.run("", line).assert_exit(0).json();
    let actions = by_platform(&done, "action");
    assert_eq!(actions["linux/s390x"], "kept");
    assert!(actions["linux/riscv64"].is_null());
    scene.register("qemu-alpha=alpha@elsewhere F");
    let done = scene
        .run("", "binfmt --reset -p yes riscv64")
        .assert_exit(0);
    assert_eq!(done.stdout, "");
    let done = scene.run("", "binfmt --uninstall qemu-* --install riscv64,s390x");
    let actions = by_platform(&done.assert_exit(0).json(), "action");
    assert_eq!(actions["linux/riscv64"], "replaced");
    assert_eq!(actions["linux/s390x"], "installed");
    let ours = scene.world.ctl("status --json").assert_exit(0).json();
    let theirs = scene.run("", "binfmt").assert_exit(0).json();
    assert_eq!(ours, theirs);
    // What docker/setup-qemu-action does with it.
    let joined = strings(&theirs["supported"]).join(",");
    assert!(joined.contains("linux/riscv64,linux/s390x"), "{joined}");
    assert_eq!(text(&theirs["host"]["platform"]), host().name);
}

#[test]
fn our_own_commands_work_under_the_other_name() {
    let Some(scene) = Scene::new() else { return };
    for line in [
        "binfmt install riscv64 --json",
        "binfmt --json install riscv64",
        "binfmt --color never status riscv64 --json",
        "binfmt status riscv64 --json",
    ] {
        let state = scene.run("", line).assert_exit(0).json();
        assert_eq!(
            by_platform(&state, "owner")["linux/riscv64"],
            "binfmtctl",
            "{line}"
        );
        assert_eq!(
            by_platform(&state, "flags")["linux/riscv64"],
            "POF",
            "{line}"
        );
    }
    scene.run("", "binfmt check riscv64").assert_exit(0);
    scene.run("", "binfmt uninstall").assert_exit(0);
    assert!(scene.rules().is_empty());
}

#[test]
fn an_argument_that_is_no_text_isnt_taken_for_another() {
    let Some(scene) = Scene::new() else { return };
    let odd = |before: &str| OsString::from_vec([before.as_bytes(), b"here\xff"].concat());
    for (name, args) in [
        ("binfmt", vec![odd("--uninstall=")]),
        ("binfmt", vec!["--mount".into(), odd("/")]),
        ("binfmtctl", vec!["--reset".into(), "-Q".into(), odd("/")]),
        ("register", vec![odd("")]),
    ] {
        let program = match name {
            "binfmtctl" => env!("CARGO_BIN_EXE_binfmtctl").into(),
            name => scene.world.path(name),
        };
        let mut command = scene.world.command(program.to_str().unwrap());
        Output::of(command.args(args))
            .assert_exit(2)
            .assert_says(&["here\u{fffd}", "isn't UTF-8 text"]);
    }
}

#[test]
fn p_is_set_only_where_qemu_understands_it() {
    let Some(scene) = Scene::new() else { return };
    let old = scene.world.path("empty/qemu-riscv64");
    let mut bytes = fs::read(scene.world.path("here/qemu-riscv64")).unwrap();
    let version = format!("version {}", crate::world::cache::OLD);
    let mut at = memchr::memmem::find_iter(&bytes, version.as_bytes());
    let at = at.next().expect("a version") + "version ".len();
    let older = format!("5.2.{:0>1$}", 0, version.len() - "version 5.2.".len());
    bytes[at..at + older.len()].copy_from_slice(older.as_bytes());
    crate::world::write_program(&old, &bytes);
    let unset = "the flag P isn't set for {empty}/qemu-riscv64, since arguments would be shifted: it takes QEMU 6.0";
    let unpinned = "not pinned, as binfmtctl's manifest doesn't know these bytes; used as they are: {empty}/qemu-riscv64";
    scene.play(&[
        Row {
            line: "binfmt --install riscv64",
            env: "QEMU_BINARY_PATH={empty} QEMU_PRESERVE_ARGV0=1",
            says: &[unpinned, "installing: riscv64 OK", unset],
            after: &["qemu-riscv64@empty OCF"],
            ..RISCV64
        },
        Row {
            line: "binfmt --install riscv64",
            env: "QEMU_BINARY_PATH={empty}",
            says: &[unpinned, "installing: riscv64 OK"],
            after: &["qemu-riscv64@empty OCF"],
            ..RISCV64
        },
        Row {
            line: "register -g yes riscv64",
            env: "QEMU_BIN_DIR={empty}",
            says: &[
                unpinned,
                "Setting {empty}/qemu-riscv64 as binfmt interpreter for riscv64",
                unset,
            ],
            out: Out::Nothing,
            after: &["qemu-riscv64@empty OF"],
            ..RISCV64
        },
    ]);
}
