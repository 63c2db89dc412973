//! What rules match: too much, too little, or another platform.

use super::{Row, emulated, native, no, row};
use crate::world::cache::busybox;
use crate::world::rule::{Line, rule};
use crate::world::{host, target};

pub fn rows() -> Vec<Row> {
    let mut rows = patterns();
    rows.extend(families());
    rows
}

/// The bits that two bytes have in common.
fn common(one: u8, other: u8) -> u8 {
    !(one ^ other)
}

/// One rule for riscv64's emulator that takes arm64's programs too.
fn wide() -> Line {
    let [riscv64, arm64] = ["riscv64", "aarch64"].map(|name| target(name).magic[18]);
    rule("wide", "riscv64").mask(18, common(riscv64, arm64))
}

fn patterns() -> Vec<Row> {
    vec![
        row(
            "a rule that takes no position-independent programs",
            "riscv64",
            |s| s.add(rule("narrow", "riscv64").mask(16, 0xff)),
            no("not-registered"),
        ),
        row(
            "a rule that takes no programs with GNU's extensions",
            "riscv64",
            |s| s.add(rule("narrow", "riscv64").mask(7, 0xff)),
            no("not-registered"),
        ),
        row(
            "a rule that takes no position-independent programs, and another one behind it",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64"));
                s.add(rule("narrow", "riscv64").mask(16, 0xff));
            },
            emulated().by("narrow"),
        ),
        row(
            "a narrow rule that works in front of a broken one",
            "riscv64",
            |s| {
                s.add(rule("theirs", "riscv64").flags("PO"));
                s.add(rule("narrow", "riscv64").mask(16, 0xff));
            },
            no("no-fix-binary"),
        ),
        row(
            "a rule for two platforms has the emulator of this one",
            "riscv64",
            |s| s.add(wide()),
            emulated().by("wide"),
        )
        .on("linux/amd64"),
        row(
            "a rule for two platforms has the emulator of the other one",
            "arm64",
            |s| s.add(wide()),
            no("emulator-failed").by("wide"),
        )
        .on("linux/amd64"),
        row(
            "a rule that looks at the machine's number alone",
            "riscv64",
            |s| {
                let mut line = rule("offset", "riscv64");
                line.offset = 18;
                line.magic.drain(..18);
                line.mask.drain(..18);
                s.add(line);
            },
            emulated().by("offset"),
        ),
        row(
            "a rule that takes one program and no other",
            "riscv64",
            |s| {
                let program = std::fs::read(busybox("riscv64")).unwrap();
                let mut line = rule("narrow", "riscv64");
                line.magic = program[..160].to_vec();
                line.mask = vec![0xff; 160];
                s.add(line);
            },
            no("not-registered"),
        ),
        row(
            "a rule that takes only programs shorter than any real one",
            "riscv64",
            |s| {
                let mut line = rule("narrow", "riscv64");
                line.magic.resize(200, 0);
                line.mask.resize(150, 0);
                line.mask.resize(200, 0xff);
                s.add(line);
            },
            no("not-registered"),
        ),
        row(
            "a rule that takes position-independent programs alone",
            "riscv64",
            |s| {
                let mut line = rule("narrow", "riscv64").mask(16, 0xff);
                line.magic[16] = 3;
                s.add(line);
            },
            no("not-registered"),
        ),
        row(
            "rules for other kinds of files",
            "riscv64",
            |s| {
                s.world.register(":wine:E::exe::/usr/bin/wine:");
                s.world
                    .register(r":python3.11:M::\xa7\x0d\x0d\x0a::/usr/bin/python3.11:");
                s.world.register(":jar:M:30:mimetype::/usr/bin/jexec:O");
            },
            no("not-registered"),
        ),
        row(
            "a rule for files by their ending",
            "riscv64",
            |s| s.world.register(":qemu-riscv64:E::riscv64::/bin/sh:F"),
            no("not-registered"),
        ),
        row(
            "a rule for another platform has this one's name",
            "riscv64",
            |s| s.add(rule("qemu-riscv64", "s390x")),
            no("not-registered"),
        ),
        row(
            "a rule for this platform has another one's name",
            "riscv64",
            |s| s.add(rule("qemu-loongarch", "riscv64")),
            emulated().by("qemu-loongarch"),
        ),
        row(
            "a rule for native programs is switched off",
            "linux/amd64",
            |s| {
                s.world.write("status", "0");
                s.world.register(&native_line());
                s.world.write("native", "0");
                s.world.write("status", "1");
            },
            native()
                .with("shadowed", Vec::<String>::new())
                .finding("native-rule", "warning"),
        )
        .on("linux/amd64"),
    ]
}

/// A rule that would take every program of this host.
fn native_line() -> String {
    let target = host().target();
    let escape = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|b| format!("\\x{b:02x}"))
            .collect::<String>()
    };
    let [magic, mask] = [target.magic, target.mask].map(escape);
    format!(":native:M::{magic}:{mask}:/nowhere:")
}

fn families() -> Vec<Row> {
    vec![
        row("a native 32-bit platform", "386", |_| {}, native()).on("linux/amd64"),
        row(
            "a native platform is registered nevertheless",
            "386",
            |s| s.add(rule("qemu-i386", "i386")),
            emulated()
                .by("qemu-i386")
                .finding("native-registered", "warning"),
        )
        .on("linux/amd64"),
        row(
            "a broken rule takes a native platform's programs",
            "386",
            |s| s.add(rule("qemu-i386", "i386").at("/nowhere").flags("")),
            no("no-fix-binary").by("qemu-i386"),
        )
        .on("linux/amd64"),
        row(
            "arm64 without arm: arm64",
            "arm64",
            |s| s.add(rule("qemu-aarch64", "aarch64")),
            emulated()
                .by("qemu-aarch64")
                .finding("arm64-without-arm", "warning"),
        )
        .on("linux/amd64"),
        row(
            "arm64 without arm: arm",
            "linux/arm/v7",
            |s| s.add(rule("qemu-aarch64", "aarch64")),
            no("not-registered"),
        )
        .on("linux/amd64"),
        row(
            "arm without arm64: arm",
            "linux/arm/v7",
            |s| s.add(rule("qemu-arm", "arm")),
            emulated().by("qemu-arm"),
        )
        .on("linux/amd64"),
        row(
            "arm without arm64: an old variant of arm",
            "linux/arm/v5",
            |s| s.add(rule("qemu-arm", "arm")),
            emulated().by("qemu-arm"),
        )
        .on("linux/amd64"),
        row(
            "arm without arm64: arm64",
            "arm64",
            |s| s.add(rule("qemu-arm", "arm")),
            no("not-registered"),
        )
        .on("linux/amd64"),
    ]
}
