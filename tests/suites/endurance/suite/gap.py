"""Upgrades while foreign programs are executed without pause: not one may fail."""
from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from pathlib import Path

from trials import Bench
from verbs import NEW, OLD, clear
from world import PLATFORMS, Tools, World, Wrong, finish

PLATFORM = "arm64"
LOOPS = 2


@dataclass(frozen=True)
class Gap:
    """What was seen."""

    upgrades: int
    runs: int
    failures: int
    seconds: float


def gap(bench: Bench, tools: Tools, loop: Path, upgrades: int, runs: int) -> Gap:
    """So many upgrades, each there and back, spread over so many runs."""
    clear(bench.root)
    stop, counts = bench.root / "stop", [bench.root / f"count{n}" for n in range(LOOPS)]
    with World(tools, bench.root) as world:
        world.ctl(f"install {PLATFORM} --qemu {OLD}")
        start = time.monotonic()
        loops = [world.start(loop, stop, count, tools.programs / PLATFORM) for count in counts]
        try:
            for made in range(upgrades):
                wait_for(counts, loops, runs * made // upgrades)
                for qemu in (NEW, OLD):
                    world.ctl(f"install {PLATFORM} --qemu {qemu}")
            wait_for(counts, loops, runs)
        finally:
            stop.touch()
            said = "".join(finish(one, "the loop") for one in loops)
        seconds = time.monotonic() - start
        if list(world.rules()) != [f"qemu-{PLATFORMS[PLATFORM][0]}"]:
            raise Wrong(f"rules are left: {sorted(world.rules())}")
        total, failures = counted(counts)
        if failures or any(one.returncode for one in loops):
            raise Wrong(f"{failures} of {total} runs failed:\n{said[:2000]}")
    return Gap(upgrades, total, failures, seconds)


def counted(counts: list[Path]) -> tuple[int, int]:
    """How many runs there were, and how many failed."""
    read = [struct.unpack("QQ", count.read_bytes()) for count in counts if count.exists() and count.stat().st_size]
    return sum(ran for ran, _ in read), sum(failed for _, failed in read)


def wait_for(counts: list[Path], loops: list, runs: int) -> None:
    while counted(counts)[0] < runs:
        if any(one.poll() is not None for one in loops):
            return
        time.sleep(0.02)
