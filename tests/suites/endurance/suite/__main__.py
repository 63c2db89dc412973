"""Runs the trials, inside the mount namespace that tests/suites/endurance/run made."""
from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import platform
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

from crowd import SIZE, crowd
from disk import DISKS
from gap import gap
from trials import Bench
from verbs import VERBS
from world import Tools, Wrong

# What it is, a method of Bench, and what that is given.
Trial = tuple[str, str, tuple, dict]

# linux/sched.h
CLONE_NEWNS = 0x20000
# How many trials at a time.
LANES = 4
# Nothing may be silent for longer, in seconds.
LONGEST = 7200

TITLES = {
    "kill": "kill -9 at every point of every verb",
    **{f"cut-{kind}": f"power cut at every point of every verb, {kind}" for kind in DISKS},
    "instants": "kill -9 and power cut at any instant",
    "gap": "upgrade under programs that are executed without pause",
    "crowd": "mixed verbs at once",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("debug", "binary", "packages", "loop", "points", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    return parser.parse_args()


class Run:
    """Counts what held and what didn't."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        # The points are those of a build for tests; all else is what is shipped.
        self.pointed = Tools(options.debug, options.packages, options.work / "programs")
        self.shipped = Tools(options.binary, options.packages, options.work / "programs")
        self.pointed.make_programs()
        self.bench = Bench(self.pointed, options.work)
        self.passed, self.failed, self.spreads = 0, 0, 0
        self.rows: list[tuple[str, str, int]] = []

    def part(self, name: str, what: Callable[[], str]) -> None:
        if self.options.only and not any(name.startswith(only) for only in self.options.only):
            return
        start, failed = time.monotonic(), self.failed
        try:
            said = what()
        except Wrong as wrong:
            self.fail(name, wrong)
            return
        seconds = round(time.monotonic() - start)
        if self.failed == failed:
            self.passed += 1
            print(f"ok    {name}: {said} ({seconds} s)", flush=True)
            self.rows.append((name, said, seconds))

    def trial(self, name: str, what: Callable[[], object]) -> None:
        try:
            what()
        except Wrong as wrong:
            self.fail(name, wrong)

    def fail(self, name: str, wrong: Wrong) -> None:
        self.failed += 1
        lines = str(wrong).strip().splitlines()
        print("\n      ".join([f"FAIL  {name}", *lines[:20]]), flush=True)

    # The parts.

    def kill(self) -> str:
        """Every point of every verb; then the same verb again, or another one."""
        reached: Counter[str] = Counter()
        trials = []
        for verb in VERBS:
            ends = self.bench.reference(verb, self.pointed).points
            reached.update(end.split(":")[0] for end in ends)
            for number, end in enumerate(ends):
                for instead in (False, True):
                    if not self.options.quick or instead == bool(number % 2):
                        what = f"{verb.name}, killed at {end}" + ", then something else" * instead
                        trials.append((what, "kill_at", (verb, end), {"instead": instead}))
        self.require_all(set(reached))
        self.spread(trials)
        return f"{len(trials)} times, at {len(reached)} points of {len(VERBS)} verbs"

    def require_all(self, reached: set[str]) -> None:
        """A point that nothing reaches tests nothing. Those of the service are
        reached where a host is played: tests/integration/crash.rs."""
        text = self.options.points.read_text()
        body = text.split("points! {", 1)[1].split("\n}\n", 1)[0]
        known = {p for p in re.findall(r"^    (\w+),$", body, re.M)}
        missing = {p for p in known - reached if not p.startswith("Service") and p != "Linked"}
        if not known or missing:
            raise Wrong(f"no verb reaches {sorted(missing)}")

    def cut(self, kind: str) -> str:
        """Every point of every verb, on one kind of disk; or a sample of them."""
        shift = list(DISKS).index(kind)
        every = [
            (verb, end, bool((number + shift) % 2))
            for verb in VERBS
            for number, end in enumerate(self.bench.reference(verb, self.pointed).points)
        ]
        if self.options.quick:
            every = random.Random(self.options.seed + shift).sample(every, 8)
        trials = []
        for verb, end, instead in every:
            what = f"{verb.name}, cut at {end}, {kind}" + ", then something else" * instead
            trials.append((what, "cut_at", (verb, end, kind), {"instead": instead}))
        self.spread(trials)
        return f"{len(every)} times, of {len({v.name for v, *_ in every})} verbs"

    def instants(self) -> str:
        """Any instant of any verb, by kill and by cut in turn."""
        count = 16 if self.options.quick else 500
        pick, trials = random.Random(self.options.seed), []
        for number in range(count):
            verb, kind = VERBS[number // 2 % len(VERBS)], pick.choice(list(DISKS))
            # A machine that is busy with other things takes longer.
            part, instead = pick.random() * 1.2, pick.random() < 0.5
            how, where = [("kill", ()), ("cut", (kind,))][number % 2]
            what = f"{number}: {verb.name}, {how} after {part:.3f} of it, {kind}, seed {self.options.seed}"
            trials.append((what, f"{how}_after", (verb, self.shipped, part, *where), {"instead": instead}))
        self.spread(trials)
        return f"{count} times, seed {self.options.seed}"

    def spread(self, trials: list[Trial]) -> None:
        """Several at a time: they wait more than they compute."""
        self.spreads += 1
        said: multiprocessing.Queue[tuple[str, str] | None] = multiprocessing.Queue()
        lanes = [
            multiprocessing.Process(target=self.lane, args=(trials[first::LANES], first, said))
            for first in range(LANES)
        ]
        for lane in lanes:
            lane.start()
        ended = 0
        while ended < LANES:
            told = said.get(timeout=LONGEST)
            if told is None:
                ended += 1
            else:
                self.fail(told[0], Wrong(told[1]))
        for lane in lanes:
            lane.join()

    def lane(self, trials: list[Trial], number: int, said: multiprocessing.Queue) -> None:
        """A part of the trials, with mounts that no other part sees."""
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
                raise Wrong("no mount namespace can be had here")
            work = self.options.work / f"lane{self.spreads}.{number}"
            work.mkdir()
            bench = Bench(self.pointed, work)
            for what, how, where, options in trials:
                try:
                    getattr(bench, how)(*where, **options)
                except Wrong as wrong:
                    said.put((what, str(wrong)))
            shutil.rmtree(work)
        except (OSError, Wrong) as error:
            said.put((f"part {number}", str(error)))
        finally:
            said.put(None)

    def gap(self) -> str:
        upgrades, runs = (2, 500) if self.options.quick else (50, 100_000)
        seen = gap(self.bench, self.shipped, self.options.loop, upgrades, runs)
        return f"{seen.upgrades} upgrades there and back, {seen.runs} runs, {seen.failures} failed"

    def crowd(self) -> str:
        rounds = 3 if self.options.quick else 50
        ended: Counter[int] = Counter()
        foreign, slowest = 0, 0.0
        for seed in range(self.options.seed, self.options.seed + rounds):
            def one() -> None:
                nonlocal foreign, slowest
                seen = crowd(self.bench, self.shipped, seed)
                ended.update(seen.ended)
                foreign, slowest = foreign + seen.foreign, max(slowest, seen.slowest)

            self.trial(f"{SIZE} runs at once, seed {seed}", one)
        exits = ", ".join(f"{times} with {status}" for status, times in sorted(ended.items()))
        return (
            f"{rounds} times {SIZE} runs, which ended {exits}; "
            f"{foreign} changes by somebody else; nobody took more than {slowest:.1f} s"
        )

    def report(self) -> None:
        """Writes down how each part went, beside what stands there of others."""
        path, rows = self.options.report, {}
        for line in path.read_text().splitlines() if path.exists() else []:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if cells[0] in TITLES.values():
                rows[cells[0]] = line
        for name, said, seconds in self.rows:
            cells = (TITLES[name], said, seconds, date.today(), self.options.commit)
            rows[TITLES[name]] = f"| {' | '.join(map(str, cells))} |"
        lines = [
            "# The last run of each part",
            "",
            f"Made by `tests/suites/endurance/run --report FILE` on {os.cpu_count()} processors "
            f"({platform.machine()}), Linux {platform.release()}, in as many goes as it took: each",
            "row says when and with which commit. Only what passed stands here.",
            "",
            "| what | how often | seconds | on | commit |",
            "|---|---|---|---|---|",
            *(rows[title] for title in TITLES.values() if title in rows),
            "",
        ]
        path.write_text("\n".join(lines))


def main() -> int:
    options = arguments()
    run = Run(options)
    print(f"seed {options.seed}", flush=True)
    run.part("kill", run.kill)
    for kind in DISKS:
        run.part(f"cut-{kind}", lambda: run.cut(kind))
    run.part("instants", run.instants)
    run.part("gap", run.gap)
    run.part("crowd", run.crowd)
    if options.report:
        run.report()
    print(f"{run.passed} passed, {run.failed} failed, 0 skipped", flush=True)
    return int(run.failed > 0)


sys.exit(main())
