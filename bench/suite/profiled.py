"""Runs one command again and again, while perf, which has started this, looks
on; and says what the rest of the time was: in system calls, by strace.

perf is switched on for the command alone, by way of the fifos that it has.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from measure import CommandFailed, Sample, cpus, repeat, run, walls
from rows import Bench, Plan
from tables import stat
from world import Tools, World, WorldError

TIMES = 10


class Perf:
    """The perf that looks on, through its two fifos."""

    def __init__(self, control: Path, answer: Path) -> None:
        self.control = control.open("w")
        self.answer = answer.open()

    def say(self, word: str) -> None:
        self.control.write(word + "\n")
        self.control.flush()
        self.answer.readline()

    def during(self, action: Callable[[], Sample]) -> Sample:
        self.say("enable")
        try:
            return action()
        finally:
            self.say("disable")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("binary", "package", "rules-package", "foreign", "systemd-binfmt", "work", "control",
                 "answer", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("words", nargs="+")
    return parser.parse_args()


def system_calls(world: World, command: list) -> str:
    """A table of strace's: time on the wall in each call, of all threads and children."""
    said = world.work / "calls"
    run(["strace", "-f", "-c", "-w", "-S", "time", "-o", said, *command], world.env)
    return "\n".join(said.read_text().splitlines()[:16])


def main() -> int:
    options = arguments()
    tools = Tools(options.binary, options.package, options.rules_package, options.foreign,
                  options.systemd_binfmt, None)
    perf = Perf(options.control, options.answer)
    try:
        world = World(options.work, tools)
        with world.mirror() as mirror:
            bench = Bench(world, Plan.of(False), mirror, [])
            options.out.write_text(look(bench, perf, options.words))
    except (WorldError, CommandFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def look(bench: Bench, perf: Perf, words: list[str]) -> str:
    world = bench.world
    installs = words[0] == "install"
    full = bench.install(*words[1:]) if installs else tuple(words)
    before = world.reset if installs else lambda: None
    if not installs:
        bench.installed()
    action = world.ours(*full)
    samples = repeat(TIMES, action, before)
    repeat(TIMES, lambda: perf.during(action), before)
    before()
    calls = system_calls(world, [world.tools.binary, *full])
    return (f"\n## `{' '.join(words)}`\n\nWall {stat(walls(samples), 's')}, cpu {stat(cpus(samples), 's')}.\n\n"
            "Time on the wall inside system calls, of all threads and children together (strace -f -c -w, "
            f"which slows each of them):\n\n```\n{calls}\n```\n")


if __name__ == "__main__":
    sys.exit(main())
