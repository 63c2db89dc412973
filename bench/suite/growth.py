"""What more costs more, and how much: by the number of targets, and by the
number of rules of others."""
from __future__ import annotations

from dataclasses import dataclass

from measure import Stat, cpus, peak, repeat, walls
from rows import Bench, true_times
from world import World

TARGETS = (1, 2, 4, 8, 16, 33)
FOREIGN = (0, 100, 1000)


@dataclass(frozen=True)
class Install:
    """So many targets, and what they cost."""

    count: int
    bytes: int
    wall: Stat
    cpu: Stat
    peak: int


@dataclass(frozen=True)
class Status:
    """So many rules of others, and what `status` costs; and /bin/true, ten times."""

    count: int
    wall: Stat
    cpu: Stat
    peak: int
    true: Stat


@dataclass(frozen=True)
class Growth:
    """Both tables; the last line of `targets` is of all that there are."""

    targets: list[Install]
    status: list[Status]


def growth(bench: Bench) -> Growth:
    return Growth([install(bench, count) for count in TARGETS], foreign(bench))


def needed(world: World) -> list[str]:
    """The emulators of what this host can't run itself."""
    return [emulator.target for emulator in world.emulators if world.line(emulator.target).exists()]


def names(world: World, count: int) -> list[str]:
    """The first so many of these; or all."""
    found = needed(world)
    return found[:count] if count <= len(found) else ["all-targets"]


def install(bench: Bench, count: int) -> Install:
    world = bench.world
    words = bench.install(*names(world, count))
    bench.mirror.counted()
    samples = repeat(3 if bench.plan.large > 1 else 1, world.ours(*words), world.reset)
    sent = bench.mirror.counted()["total"] // len(samples)
    world.reset()
    return Install(min(count, len(needed(world))), sent, walls(samples), cpus(samples),
                   peak([world.tools.binary, *words], world.env))


def foreign(bench: Bench) -> list[Status]:
    world, steps, there = bench.world, [], 0
    bench.installed()
    for count in FOREIGN:
        world.add_foreign_rules(range(there, count))
        there = count
        samples = repeat(bench.plan.starts, world.ours("status"), lambda: None)
        true = repeat(bench.plan.starts, true_times(world, 10), lambda: None)
        steps.append(Status(count, walls(samples), cpus(samples),
                            peak([world.tools.binary, "status"], world.env), walls(true)))
    return steps
