//! What other installers left behind, or this one's earlier versions: the
//! platform runs afterwards, and what worked or isn't ours is still there.

use super::scene::{Out, ROW, Row, Scene};
use crate::world::text;
use binfmtctl::digest::Digest;

const INSTALL: Row<'static> = Row {
    line: "binfmt --install riscv64",
    says: &["installing: riscv64 OK"],
    out: Out::State(&["riscv64"]),
    after: &["qemu-riscv64@here POCF"],
    ..ROW
};

#[test]
fn a_rule_that_works_is_kept_and_named() {
    let Some(scene) = Scene::new() else { return };
    let kept = Row {
        says: &[
            "installing: riscv64 OK: the rule qemu-riscv64 runs it already, and is kept; it lacks the flag C, so sudo won't work in containers",
        ],
        ..INSTALL
    };
    scene.play(&[
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere POF"],
            after: &["qemu-riscv64@elsewhere POF"],
            ..kept
        },
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere POCF"],
            after: &["qemu-riscv64@elsewhere POCF"],
            says: &["installing: riscv64 OK: the rule qemu-riscv64 runs it already, and is kept"],
            ..kept
        },
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere F"],
            env: "QEMU_PRESERVE_ARGV0=1",
            after: &["qemu-riscv64@elsewhere F"],
            says: &[
                "installing: riscv64 OK: the rule qemu-riscv64 runs it already, and is kept; it lacks the flag P, so programs get their path as argv[0]; it lacks the flag C, so sudo won't work in containers",
            ],
            ..kept
        },
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere F"],
            line: "binfmt --install all",
            env: "QEMU_BINARY_PATH={half}",
            after: &["qemu-riscv64@elsewhere F"],
            says: &[
                "installing: riscv64 OK: the rule qemu-riscv64 runs it already, and is kept; it lacks the flag C, so sudo won't work in containers",
                "installing: s390x failed: {half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
            ],
            ..kept
        },
        Row {
            before: &["riscv64-linux=riscv64@elsewhere F"],
            after: &["riscv64-linux@elsewhere F"],
            says: &["installing: riscv64 OK: the rule riscv64-linux runs it already, and is kept; it lacks the flag C, so sudo won't work in containers"],
            ..kept
        },
        // multiarch's, the same command line without and with a reset.
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere F"],
            line: "binfmt -p yes riscv64",
            after: &["qemu-riscv64@elsewhere F"],
            says: &["riscv64 programs run by the rule qemu-riscv64 already, which is kept (--reset replaces it)"],
            out: Out::Nothing,
            ..kept
        },
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere F"],
            line: "binfmt --reset -p yes riscv64",
            after: &["qemu-riscv64@here POF"],
            says: &[
                "removed the rule qemu-riscv64",
                "Setting {here}/qemu-riscv64 as binfmt interpreter for riscv64",
            ],
            out: Out::Nothing,
            ..kept
        },
    ]);
}

#[test]
fn a_rule_that_a_file_brings_back_is_a_distributions() {
    let Some(scene) = Scene::new() else { return };
    let rule = "qemu-riscv64=riscv64@here OCF";
    let kept = Row {
        before: &[rule],
        line: "register riscv64",
        says: &[
            "riscv64 programs run by the rule qemu-riscv64 already, which is kept (--reset replaces it)",
        ],
        out: Out::Nothing,
        after: &["qemu-riscv64@here OCF"],
        ..ROW
    };
    // Without a file it is this tool's.
    scene.play(&[Row {
        says: &["Setting {here}/qemu-riscv64 as binfmt interpreter for riscv64"],
        after: &["qemu-riscv64@here POF"],
        ..kept
    }]);
    scene.world.sh("mount -t tmpfs tmpfs /run").assert_exit(0);
    let file = format!(
        "mkdir /run/binfmt.d\ncat >/run/binfmt.d/qemu.conf <<'END'\n{}\nEND\n",
        scene.line(rule)
    );
    scene.world.sh(&file).assert_exit(0);
    scene.play(&[
        kept,
        Row {
            line: "binfmt --uninstall riscv64",
            says: &[
                "uninstalling: qemu-riscv64 kept: it isn't of this tool's making; name the rule itself to remove it all the same",
            ],
            out: Out::State(&["riscv64"]),
            ..kept
        },
        Row {
            line: "binfmt --uninstall qemu-riscv64",
            says: &["uninstalling: qemu-riscv64 OK"],
            out: Out::State(&[]),
            after: &[],
            ..kept
        },
    ]);
}

#[test]
fn a_rule_that_doesnt_work_is_shadowed_and_named() {
    let Some(scene) = Scene::new() else { return };
    let shadowed = Row {
        says: &[
            "installing: riscv64 OK as binfmtctl-riscv64, in front of qemu-riscv64, by which it didn't run",
        ],
        ..INSTALL
    };
    scene.play(&[
        // Without F, at a path that containers lack, or at the very same one.
        Row {
            before: &["qemu-riscv64=riscv64@nowhere -"],
            after: &["binfmtctl-riscv64@here POCF", "qemu-riscv64@nowhere -"],
            ..shadowed
        },
        Row {
            before: &["qemu-riscv64=riscv64@nowhere OC"],
            after: &["binfmtctl-riscv64@here POCF", "qemu-riscv64@nowhere OC"],
            ..shadowed
        },
        Row {
            before: &["qemu-riscv64=riscv64@here -"],
            after: &["binfmtctl-riscv64@here POCF", "qemu-riscv64@here -"],
            ..shadowed
        },
        // Switched off.
        Row {
            before: &["qemu-riscv64=riscv64@elsewhere POF off"],
            after: &["binfmtctl-riscv64@here POCF", "qemu-riscv64@elsewhere POF off"],
            ..shadowed
        },
        // With an emulator that is none.
        Row {
            before: &["qemu-riscv64=riscv64@broken POCF"],
            after: &["binfmtctl-riscv64@here POCF", "qemu-riscv64@broken POCF"],
            ..shadowed
        },
        // Under another name.
        Row {
            before: &["riscv64-linux=riscv64@nowhere -"],
            after: &["qemu-riscv64@here POCF", "riscv64-linux@nowhere -"],
            says: &[
                "installing: riscv64 OK as qemu-riscv64, in front of riscv64-linux, by which it didn't run",
            ],
            ..shadowed
        },
        // Under both names that would be taken.
        Row {
            before: &[
                "qemu-riscv64=riscv64@nowhere -",
                "binfmtctl-riscv64=riscv64@elsewhere POF off",
            ],
            after: &[
                "binfmtctl-riscv64@elsewhere POF off",
                "binfmtctl-riscv64-2@here POCF",
                "qemu-riscv64@nowhere -",
            ],
            says: &[
                "installing: riscv64 OK as binfmtctl-riscv64-2, in front of binfmtctl-riscv64, qemu-riscv64, by which it didn't run",
            ],
            ..shadowed
        },
        // The newest of several that don't work, and one that does behind it.
        Row {
            before: &[
                "qemu-riscv64=riscv64@elsewhere POF",
                "newer=riscv64@nowhere -",
            ],
            after: &[
                "binfmtctl-riscv64@here POCF",
                "newer@nowhere -",
                "qemu-riscv64@elsewhere POF",
            ],
            says: &[
                "installing: riscv64 OK as binfmtctl-riscv64, in front of newer, qemu-riscv64, by which it didn't run",
            ],
            ..shadowed
        },
    ]);
}

#[test]
fn a_rule_of_this_tools_making_is_replaced_where_it_isnt_right() {
    let Some(scene) = Scene::new() else { return };
    scene.play(&[
        // Of an earlier version of the image, and by the other command line.
        Row {
            before: &["qemu-riscv64=riscv64@older POCF"],
            ..INSTALL
        },
        Row {
            before: &["qemu-riscv64=riscv64@older POF"],
            ..INSTALL
        },
        Row {
            before: &["qemu-riscv64=riscv64@here POF"],
            ..INSTALL
        },
        Row {
            before: &["qemu-riscv64=riscv64@older OCF"],
            ..INSTALL
        },
        // Switched off.
        Row {
            before: &["qemu-riscv64=riscv64@here POCF off"],
            ..INSTALL
        },
        // Behind somebody's that doesn't work.
        Row {
            before: &["qemu-riscv64=riscv64@here POCF", "newer=riscv64@nowhere -"],
            after: &["newer@nowhere -", "qemu-riscv64@here POCF"],
            says: &[
                "installing: riscv64 OK as qemu-riscv64, in front of newer, by which it didn't run",
            ],
            ..INSTALL
        },
        // Left by a run that was killed.
        Row {
            before: &["binfmtctl-riscv64.new1=riscv64@here POCF"],
            ..INSTALL
        },
        Row {
            before: &[
                "qemu-riscv64=riscv64@older POCF",
                "binfmtctl-riscv64.new1=riscv64@here POCF",
            ],
            ..INSTALL
        },
        // Right as it is.
        Row {
            before: &["qemu-riscv64=riscv64@here POCF"],
            says: &["installing: riscv64 OK: it was in place already"],
            ..INSTALL
        },
        Row {
            before: &["qemu-riscv64=riscv64@here POCF"],
            line: "binfmt --uninstall riscv64 --install riscv64",
            says: &[
                "uninstalling: qemu-riscv64 kept: it is what would be registered",
                "installing: riscv64 OK: it was in place already",
            ],
            ..INSTALL
        },
    ]);
}

#[test]
fn a_reset_takes_away_what_there_is_and_no_more() {
    let Some(scene) = Scene::new() else { return };
    const ALL: [&str; 8] = [
        "wine",
        "jar",
        "python3.11",
        "appimage",
        "WSLInterop",
        "qemu-cris=s390x@elsewhere F",
        "qemu-riscv64=riscv64@nowhere -",
        "aarch64-linux=aarch64@nowhere -",
    ];
    scene.play(&[
        Row {
            before: &ALL,
            line: "binfmt --uninstall qemu-* --install riscv64",
            after: &[
                "WSLInterop", "aarch64-linux@nowhere -", "appimage", "jar", "python3.11",
                "qemu-riscv64@here POCF", "wine",
            ],
            says: &[
                "uninstalling: qemu-cris OK",
                "uninstalling: qemu-riscv64 OK",
                "installing: riscv64 OK",
            ],
            ..INSTALL
        },
        Row {
            before: &ALL,
            line: "binfmt --reset -p yes",
            env: "QEMU_BIN_DIR={half}",
            status: 1,
            // The one that can't be replaced runs as before.
            after: &[
                "WSLInterop", "aarch64-linux@nowhere -", "appimage", "jar", "python3.11",
                "qemu-cris@elsewhere F", "qemu-riscv64@half POF", "wine",
            ],
            says: &[
                "removed the rule qemu-riscv64",
                "kept the rule qemu-cris: linux/s390x can't be replaced",
                "Setting {half}/qemu-riscv64 as binfmt interpreter for riscv64",
                "{half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
                "binfmtctl: {half}/qemu-s390x doesn't run a s390x program: it ended with exit status: 127 instead of running the program",
            ],
            out: Out::Nothing,
        },
    ]);
}

#[test]
fn the_newer_bytes_run_after_an_upgrade() {
    let Some(scene) = Scene::new() else { return };
    scene.register("qemu-riscv64=riscv64@older POCF");
    let running = || text(&scene.world.status("riscv64")["sha256"]);
    let file = std::fs::File::open(scene.world.path("here/qemu-riscv64")).unwrap();
    let here = Digest::of_reader(file).unwrap().0.to_string();
    assert_ne!(running(), here);
    scene.run("", "binfmt --install riscv64").assert_exit(0);
    assert_eq!(running(), here);
}

#[test]
fn a_rule_of_our_own_store_works_and_is_kept() {
    let Some(scene) = Scene::new() else { return };
    scene.world.install("riscv64");
    let before = scene.world.entries();
    let done = scene.run("", "binfmt --uninstall riscv64 --install riscv64");
    let done = done
        .assert_exit(0)
        .assert_says(&["OK: the rule qemu-riscv64 runs it already"]);
    let kept = "uninstalling: qemu-riscv64 kept: it is binfmtctl's own; `binfmtctl uninstall riscv64` removes it\n";
    assert!(done.stderr.starts_with(kept), "{done}");
    assert_eq!(scene.world.entries(), before);
    // By its name it goes, and who removed it is told that it comes back.
    let done = scene.run("", "binfmt --uninstall qemu-riscv64");
    done.assert_exit(0)
        .assert_says(&["comes back at boot", "binfmtctl uninstall"]);
    assert!(scene.world.entries().is_empty());
    assert_eq!(scene.world.conf_names(), ["qemu-riscv64"]);
}

#[test]
fn nothing_stops_while_rules_are_exchanged() {
    let Some(scene) = Scene::new() else { return };
    scene.register("qemu-riscv64=riscv64@elsewhere POF");
    let stop = scene.world.path("stop");
    let script = format!(
        "n=0; until [ -e '{}' ]; do '{}' true; n=$((n + 1)); done; echo $n",
        stop.display(),
        crate::world::cache::busybox("riscv64").display(),
    );
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| scene.world.sh(&script));
        for line in [
            "binfmt --uninstall qemu-* --install riscv64",
            "binfmt --reset -p yes riscv64",
            "binfmt --reset -p yes -c yes riscv64",
            "binfmt --uninstall all --install all",
        ] {
            let done = scene.run("", line);
            assert_eq!(done.status, 0, "{done}");
        }
        std::fs::write(&stop, "").unwrap();
        running.join().unwrap().assert_exit(0)
    });
    let count: usize = ran.stdout.trim().parse().unwrap();
    assert!(count >= 20, "only {count} programs ran meanwhile");
    assert_eq!(scene.rules()[1], "qemu-riscv64@here POCF");
}
