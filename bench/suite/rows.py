"""What binfmtctl has to reach, row by row, each side by side with what people
do today. A target is what was set, whatever comes out.
"""
from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import quiet
from machine import their_version
from measure import CommandFailed, Sample, Stat, cpus, duel, output, peak, repeat, run, walls
from row import Row, exactly
from world import Mirror, World

MIB = 1 << 20
BY_HAND = "curl of the package + dpkg-deb -x + sync -f + one register line"
BY_HAND_SET = "curl of the package + tar -x of the same members + sync -f + their register lines"
BY_HAND_ALL = "curl of the package + dpkg-deb -x + sync -f + systemd-binfmt with the package's files"


@dataclass(frozen=True)
class Plan:
    """How often each thing is done."""

    installs: int
    large: int
    starts: int
    slow: int
    rate: float
    worst: bool

    @classmethod
    def of(cls, quick: bool) -> Plan:
        return cls(2, 1, 5, 1, 16e6, False) if quick else cls(15, 7, 31, 2, 2e6, True)


@dataclass
class Bench:
    """Everything that a row needs."""

    world: World
    plan: Plan
    mirror: Mirror
    targets: list[str]

    def install(self, *platforms: str, mirror: Mirror | None = None) -> tuple[str, ...]:
        return ("install", *platforms, "--source", "https", "--mirror", (mirror or self.mirror).base)

    def installed(self, *platforms: str) -> None:
        """A world where these are, and everything is written."""
        self.world.reset()
        self.world.ours(*self.install(*platforms))()
        self.world.settle()


def fetched(bench: Bench) -> list[Row]:
    world, size = bench.world, bench.world.release["size"]
    world.reset()
    bench.mirror.counted()
    world.ours(*bench.install("arm64"))()
    sent = bench.mirror.counted()
    rows = [Row(1, "`install arm64`: bytes over HTTP", "the whole package", "bytes", "bytes",
                exactly(sent["total"]), exactly(size), 0.10,
                f"requests: {sent['requests']}; headers count")]
    most, worst, requests = 0, "", 0
    to = world.work / "extracted"
    for emulator in world.emulators if bench.plan.worst else world.emulators[:3]:
        bench.mirror.counted()
        world.ours("manifest", "extract", "--to", str(to), *bench.install(emulator.target)[2:], emulator.target)()
        sent = bench.mirror.counted()
        output("rm", "-r", to)
        if sent["total"] > most:
            most, worst, requests = sent["total"], emulator.target, sent["requests"]
    count = len(world.emulators) if bench.plan.worst else 3
    rows.append(Row(1, f"the worst of {count} emulators: bytes over HTTP", "the whole package", "bytes", "bytes",
                    exactly(most), exactly(size), 0.13, f"{worst}; requests: {requests}"))
    return rows


def one(bench: Bench) -> list[Row]:
    world = bench.world
    ours, theirs = duel(bench.plan.installs, world.ours(*bench.install("arm64")),
                        world.their_one(bench.mirror, "aarch64"), world.reset)
    what = "`install arm64`, nothing cached"
    return [Row(2, what, BY_HAND, "wall", "s", walls(ours), walls(theirs), 0.10),
            Row(2, what, BY_HAND, "cpu", "s", cpus(ours), cpus(theirs))]


def engine_set(bench: Bench) -> list[Row]:
    world = bench.world
    ours, theirs = duel(bench.plan.large, world.ours(*bench.install()),
                        world.their_members(bench.mirror, bench.targets), world.reset)
    what = f"`install` (the {len(bench.targets)} emulators that container engines know)"
    return [Row(3, what, BY_HAND_SET, "wall", "s", walls(ours), walls(theirs), 0.6),
            Row(3, what, BY_HAND_SET, "cpu", "s", cpus(ours), cpus(theirs), 1.0)]


def all_targets(bench: Bench) -> list[Row]:
    world = bench.world
    counts: set[tuple[str, int]] = set()

    def counted(side: str, action: Callable[[], Sample]) -> Callable[[], Sample]:
        def act() -> Sample:
            sample = action()
            counts.add((side, world.rules()))
            return sample
        return act

    ours, theirs = duel(bench.plan.large, counted("ours", world.ours(*bench.install("all-targets"))),
                        counted("theirs", world.their_all(bench.mirror)), world.reset)
    note = "rules at the end: " + ", ".join(f"{side} {count}" for side, count in sorted(counts))
    what = "`install all-targets`"
    return [Row(4, what, BY_HAND_ALL, "wall", "s", walls(ours), walls(theirs), 0.8, note),
            Row(4, what, BY_HAND_ALL, "cpu", "s", cpus(ours), cpus(theirs))]


def again(bench: Bench) -> list[Row]:
    world = bench.world
    bench.installed()
    rows = []
    for what, words in (("second `install`", bench.install()), ("`apply` when all is right", ("apply",))):
        ours, theirs = duel(bench.plan.starts, world.ours(*words), true_times(world, 10), lambda: None)
        rows.append(Row(5, what, "/bin/true started 10 times", "wall", "s", walls(ours), walls(theirs), 3.0))
        rows.append(Row(5, what, "/bin/true started 10 times", "cpu", "s", cpus(ours), cpus(theirs)))
        writes = quiet.writes(world, words)
        rows.append(Row(5, f"{what}: writes to the kernel's rules, the store and the conf file", "none",
                        "strace -f, and time stamps before and after", "", exactly(len(writes)), None, 0,
                        "; ".join(writes[:3])))
    return rows


def status(bench: Bench) -> list[Row]:
    world, what = bench.world, "`status` of the engine set"
    against = "status of tonistiigi/binfmt, of its ten"
    binfmt = world.tools.binfmt
    if binfmt is None:
        return [Row(6, what, against, "wall", "s", target=0.5, missing="not measured: give --binfmt PATH")]
    bench.installed()
    ours, theirs = duel(bench.plan.starts, world.ours("status"),
                        lambda: run([binfmt], world.env), lambda: None)
    note = (f"theirs is {their_version(binfmt)}, and works with the same rules; it says "
            + ", ".join(json.loads(output(binfmt, env=world.env))["supported"]))
    return [Row(6, what, against, "wall", "s", walls(ours), walls(theirs), 0.5, note),
            Row(6, what, against, "cpu", "s", cpus(ours), cpus(theirs))]


def check(bench: Bench) -> list[Row]:
    world = bench.world
    bench.installed()
    ours, theirs = duel(bench.plan.starts, world.ours("check", "linux/arm64"),
                        world.foreign_true(), lambda: None)
    what, against = "`check linux/arm64`", "one exec of an arm64 `true`"
    return [Row(7, what, against, "wall", "s", walls(ours), walls(theirs), 2.5,
                "its `true` is Debian's static busybox"),
            Row(7, what, against, "cpu", "s", cpus(ours), cpus(theirs))]


def memory(bench: Bench) -> list[Row]:
    world = bench.world
    rows = []
    for words, limit in (((), 96 * MIB), (("--jobs", "1"), 48 * MIB)):
        what = " ".join(["`install all-targets", *words]) + "`: peak memory"
        if words and "--jobs" not in output(world.tools.binary, "install", "--help", env=world.env):
            rows.append(Row(8, what, "", "RSS of the largest process", "bytes", target=limit,
                            missing="not measured: this binary has no --jobs"))
            continue
        values = []
        for _ in range(3 if bench.plan.large > 1 else 1):
            world.reset()
            values.append(peak([world.tools.binary, *bench.install("all-targets"), *words], world.env))
        rows.append(Row(8, what, "", "RSS of the largest process", "bytes", Stat.of(values), None, limit,
                        f"on {os.cpu_count()} cores"))
    return rows


def binary_size(bench: Bench) -> list[Row]:
    size = bench.world.tools.binary.stat().st_size
    return [Row(9, "release binary", "", "size", "bytes", exactly(size), None, 6 * MIB)]


def hashing(bench: Bench) -> list[Row]:
    world = bench.world
    world.reset()  # without a store nothing else is hashed
    package = str(world.tools.package)
    ours, theirs = duel(bench.plan.large * 2 + 1, world.ours("manifest", "verify", package),
                        lambda: run(["sha256sum", package], world.env), lambda: None)
    what, against = "`manifest verify PACKAGE`", "sha256sum of the same file"
    return [Row(10, what, against, "wall", "s", walls(ours), walls(theirs), 0.5),
            Row(10, what, against, "cpu", "s", cpus(ours), cpus(theirs))]


def far_or_slow(bench: Bench) -> list[Row]:
    world, rate = bench.world, bench.plan.rate
    size = world.release["size"]
    rows = []
    servers = (
        ("100 ms before each answer", ("--latency", "0.1"), None),
        (f"{rate / 1e6:.0f} MB/s for each connection", ("--connection-rate", str(rate)), rate),
        (f"{rate / 5e5:.0f} MB/s in total", ("--total-rate", str(rate * 2)), rate * 2),
        ("no ranges", ("--no-ranges",), None),
        (f"no ranges, {rate / 5e5:.0f} MB/s in total", ("--no-ranges", "--total-rate", str(rate * 2)), rate * 2),
    )
    for (name, options, limit), platforms in itertools.product(servers, (("arm64",), ())):
        with world.mirror(*options) as mirror:
            what = f"`{' '.join(['install', *platforms])}`, {name}"
            times = bench.plan.slow if limit else max(3 if bench.plan.large > 1 else 1, bench.plan.slow)
            ours, plain = duel(times, world.ours(*bench.install(*platforms, mirror=mirror)),
                               world.download(mirror), world.reset)
            note = (f"the server alone takes {size / limit:.1f} s for the package" if limit else
                    "a download that nothing slows is over before anything can be decoded; see the parts below")
            rows.append(Row(12, what, "one curl of the package, not unpacked", "wall", "s",
                            walls(ours), walls(plain), 1.0, note))
            if limit is None:
                theirs = (world.their_one(mirror, "aarch64") if platforms
                          else world.their_members(mirror, bench.targets))
                whole = repeat(times, theirs, world.reset)
                rows.append(Row(12, what, BY_HAND if platforms else BY_HAND_SET, "wall", "s",
                                walls(ours), walls(whole), 1.0))
    return rows


def true_times(world: World, times: int) -> Callable[[], Sample]:
    return lambda: run(["/bin/true"], world.env, times)


ROWS: dict[int, Callable[[Bench], list[Row]]] = {
    1: fetched, 2: one, 3: engine_set, 4: all_targets, 5: again, 6: status,
    7: check, 8: memory, 9: binary_size, 10: hashing, 12: far_or_slow,
}
GROWTH = 11


def measured(number: int, bench: Bench) -> list[Row]:
    """The rows of that number; where a command failed, one that says so."""
    try:
        return ROWS[number](bench)
    except CommandFailed as error:
        return [Row(number, ROWS[number].__name__.replace("_", " "), "", "", "", missing=f"failed: {error}")]
