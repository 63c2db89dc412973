//! What goes, and what doesn't: a platform's name means the rules of this
//! tool's making, an entry's name or a pattern whoever's emulator it is.

use super::scene::{Out, ROW, Row, Scene, by_platform};

/// This tool's, somebody else's, and rules that aren't emulators'.
const BEFORE: [&str; 8] = [
    "wine",
    "jar",
    "python3.11",
    "appimage",
    "WSLInterop",
    "qemu-s390x=s390x@elsewhere POF",
    "my-riscv64=riscv64@elsewhere POCF off",
    "qemu-riscv64=riscv64@here POCF",
];

const UNTOUCHED: Row<'static> = Row {
    before: &BEFORE,
    out: Out::State(&["riscv64", "s390x"]),
    after: &[
        "WSLInterop",
        "appimage",
        "jar",
        "my-riscv64@elsewhere POCF off",
        "python3.11",
        "qemu-riscv64@here POCF",
        "qemu-s390x@elsewhere POF",
        "wine",
    ],
    ..ROW
};

/// This tool's rule alone is gone.
const OWN_GONE: Row<'static> = Row {
    out: Out::State(&["s390x"]),
    after: &[
        "WSLInterop",
        "appimage",
        "jar",
        "my-riscv64@elsewhere POCF off",
        "python3.11",
        "qemu-s390x@elsewhere POF",
        "wine",
    ],
    ..UNTOUCHED
};

/// Both rules qemu-* are gone.
const QEMU_GONE: Row<'static> = Row {
    out: Out::State(&[]),
    after: &[
        "WSLInterop",
        "appimage",
        "jar",
        "my-riscv64@elsewhere POCF off",
        "python3.11",
        "wine",
    ],
    says: &[
        "uninstalling: qemu-s390x OK",
        "uninstalling: qemu-riscv64 OK",
    ],
    ..UNTOUCHED
};

#[test]
fn a_platforms_name_means_this_tools_rules() {
    let Some(scene) = Scene::new() else { return };
    let riscv64 = Row {
        says: &[
            "uninstalling: my-riscv64 kept: it isn't of this tool's making; name the rule itself to remove it all the same",
            "uninstalling: qemu-riscv64 OK",
        ],
        ..OWN_GONE
    };
    let s390x = Row {
        says: &[
            "uninstalling: qemu-s390x kept: it isn't of this tool's making; name the rule itself to remove it all the same",
        ],
        ..UNTOUCHED
    };
    // Also one that the other command line has made.
    scene.play(&[Row {
        before: &["qemu-riscv64=riscv64@here POF"],
        line: "binfmt --uninstall riscv64",
        says: &["uninstalling: qemu-riscv64 OK"],
        ..ROW
    }]);
    let lines = [
        "binfmt --uninstall riscv64",
        "binfmt -uninstall linux/riscv64",
        "binfmt --uninstall=RV64",
        "binfmtctl -uninstall=riscv64",
    ];
    scene.play(&lines.map(|line| Row { line, ..riscv64 }));
    scene.play(&[Row {
        line: "binfmt --uninstall s390x",
        ..s390x
    }]);
    scene.play(&[
        Row {
            line: "binfmt --uninstall all",
            says: &[
                "uninstalling: my-riscv64 kept: it isn't of this tool's making; name the rule itself to remove it all the same",
                "uninstalling: qemu-s390x kept: it isn't of this tool's making; name the rule itself to remove it all the same",
                "uninstalling: qemu-riscv64 OK",
            ],
            ..OWN_GONE
        },
        Row {
            before: &["my-qemu-riscv64=riscv64@here POCF"],
            line: "binfmt --uninstall riscv64",
            says: &[
                "uninstalling: my-qemu-riscv64 kept: it isn't of this tool's making; name the rule itself to remove it all the same",
            ],
            out: Out::State(&["riscv64"]),
            after: &["my-qemu-riscv64@here POCF"],
            ..ROW
        },
    ]);
}

#[test]
fn the_document_says_what_went() {
    let Some(scene) = Scene::new() else { return };
    BEFORE.iter().for_each(|rule| scene.register(rule));
    let done = scene
        .run("", "binfmt --uninstall qemu-*")
        .assert_exit(0)
        .json();
    let actions = by_platform(&done, "action");
    assert_eq!(actions["linux/riscv64"], "removed");
    assert_eq!(actions["linux/s390x"], "removed");
    assert!(actions["linux/arm64"].is_null());
    assert_eq!(done["changed"], true);
    let again = scene
        .run("", "binfmt --uninstall qemu-*")
        .assert_exit(0)
        .json();
    assert_eq!(again["changed"], false);
}

#[test]
fn what_isnt_there_is_gone_already() {
    let Some(scene) = Scene::new() else { return };
    for (line, says) in [
        (
            "binfmt --uninstall mips64le",
            "uninstalling: mips64le not found",
        ),
        (
            "binfmt --uninstall arm/v7",
            "uninstalling: arm/v7 not found",
        ),
        (
            "binfmt --uninstall nonsense",
            "uninstalling: nonsense not found",
        ),
        (
            "binfmt --uninstall qemu-alpha",
            "uninstalling: qemu-alpha not found",
        ),
        (
            "binfmt --uninstall qemu-a*",
            "uninstalling: qemu-a* not found",
        ),
        (
            "binfmt --uninstall qemu-[",
            "uninstalling: qemu-[ not found",
        ),
        (
            "binfmt --uninstall {host}",
            "uninstalling: {host} not found",
        ),
    ] {
        scene.play(&[Row {
            line,
            says: &[says],
            ..UNTOUCHED
        }]);
    }
    // A host that has just been started, and the action that resets it.
    scene.play(&[
        Row {
            line: "binfmt --uninstall qemu-*",
            says: &["uninstalling: qemu-* not found"],
            ..ROW
        },
        Row {
            line: "binfmt --uninstall all",
            says: &["uninstalling: all not found"],
            ..ROW
        },
        Row {
            line: "binfmt --uninstall=",
            ..ROW
        },
    ]);
}

#[test]
fn names_and_patterns_mean_whoevers_emulator() {
    let Some(scene) = Scene::new() else { return };
    scene.play(&[
        Row {
            line: "binfmt --uninstall qemu-*",
            ..QEMU_GONE
        },
        Row {
            line: "binfmt --uninstall qemu-[^x]*",
            ..QEMU_GONE
        },
        Row {
            line: "binfmt --uninstall qemu-s390x,qemu-riscv64",
            ..QEMU_GONE
        },
        Row {
            line: "binfmt --uninstall riscv64,qemu-s390x,nonsense",
            says: &[
                "uninstalling: my-riscv64 kept: it isn't of this tool's making; name the rule itself to remove it all the same",
                "uninstalling: nonsense not found",
                "uninstalling: qemu-s390x OK",
                "uninstalling: qemu-riscv64 OK",
            ],
            ..QEMU_GONE
        },
        Row {
            line: "binfmt --uninstall qemu-?390x",
            says: &["uninstalling: qemu-s390x OK"],
            out: Out::State(&["riscv64"]),
            after: &[
                "WSLInterop",
                "appimage",
                "jar",
                "my-riscv64@elsewhere POCF off",
                "python3.11",
                "qemu-riscv64@here POCF",
                "wine",
            ],
            ..UNTOUCHED
        },
        Row {
            line: "binfmt --uninstall my-riscv64",
            says: &["uninstalling: my-riscv64 OK"],
            after: &[
                "WSLInterop",
                "appimage",
                "jar",
                "python3.11",
                "qemu-riscv64@here POCF",
                "qemu-s390x@elsewhere POF",
                "wine",
            ],
            ..UNTOUCHED
        },
        // Go's `*`, with which the original removed Python's and WSL's rules.
        Row {
            line: "binfmt --uninstall *",
            says: &[
                "uninstalling: qemu-riscv64 OK",
                "uninstalling: my-riscv64 OK",
            ],
            before: &["qemu-riscv64=riscv64@here POCF", "my-riscv64=riscv64@elsewhere POF"],
            out: Out::State(&[]),
            after: &[],
            ..ROW
        },
    ]);
}

#[test]
fn what_isnt_an_emulators_stays() {
    let Some(scene) = Scene::new() else { return };
    let names = [
        ("python3.11", "binfmt --uninstall python3.11"),
        ("WSLInterop", "binfmt --uninstall WSLInterop"),
        ("appimage", "binfmt --uninstall appimage"),
        ("wine", "binfmt --uninstall wine"),
        ("jar", "binfmt --uninstall jar"),
    ];
    for (name, line) in names {
        let says = [
            format!(
                "uninstalling: {name} failed: cannot remove the rule {name}: it isn't an emulator's"
            ),
            format!("binfmtctl: cannot remove the rule {name}: it isn't an emulator's"),
        ];
        scene.play(&[Row {
            line,
            status: 1,
            says: &[&says[0], &says[1]],
            ..UNTOUCHED
        }]);
    }
    scene.clear();
    BEFORE.iter().for_each(|rule| scene.register(rule));
    let done = scene.run("", "binfmt --uninstall *").assert_exit(0);
    for name in ["python3.11", "WSLInterop", "appimage", "wine", "jar"] {
        let line = format!("uninstalling: {name} kept: it isn't an emulator's");
        assert!(done.stderr.lines().any(|said| said == line), "{done}");
    }
    assert_eq!(
        scene.rules(),
        ["WSLInterop", "appimage", "jar", "python3.11", "wine"]
    );
}
