"""Many runs of mixed verbs at once, beside somebody else who registers rules."""
from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass

from disk import tree
from trials import Bench
from verbs import BOTH, NEW, OLD, clear
from world import Tools, World, Wrong, finish, rules_of

SIZE = 32
# Each verb, and how it may end: what another run holds up says 75; what is only
# looked at is what it is.
MIX = {
    "install riscv64": (0, 75),
    "install s390x": (0, 75),
    "install riscv64 s390x": (0, 75),
    f"install riscv64 --qemu {NEW}": (0, 75),
    f"install riscv64 s390x --qemu {NEW}": (0, 75),
    f"install s390x --qemu {OLD}": (0, 75),
    "uninstall riscv64": (0, 75),
    "uninstall": (0, 75),
    "apply": (0, 75),
    "status": (0,),
    "status riscv64 --json": (0,),
    "check riscv64": (0, 3),
    "check riscv64 s390x": (0, 3),
}
# Nobody may take longer; apply alone waits, for 60 s.
LIMIT = 170


@dataclass(frozen=True)
class Crowd:
    """What was seen."""

    runs: int
    ended: dict[int, int]
    foreign: int
    seconds: float
    slowest: float


class Registrar(threading.Thread):
    """Somebody else, who registers rules and removes them without asking anybody."""

    def __init__(self, world: World, lines: list[str]) -> None:
        super().__init__()
        self.world, self.lines = world, lines
        self.changes, self.over = 0, threading.Event()
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                for line in self.lines:
                    self.world.register(line)
                    self.changes += 1
                    self.over.wait(0.002)
                for line in self.lines:
                    (self.world.instance / line.split(":")[1]).write_bytes(b"-1")
                    self.changes += 1
        except OSError as error:
            self.failed = error

    def end(self) -> None:
        self.over.set()
        self.join()
        if self.failed:
            raise Wrong(f"the other registrar: {self.failed}")


def crowd(bench: Bench, tools: Tools, seed: int) -> Crowd:
    """One round."""
    pick = random.Random(seed)
    lines = pick.choices(list(MIX), k=SIZE)
    clear(bench.root)
    with World(tools, bench.root) as world:
        if pick.random() < 0.5:
            world.ctl(f"install {' '.join(BOTH)}")
        carried = world.root / "foreign"
        world.ctl(f"manifest extract --to {carried} s390x")
        theirs = [r":theirs-by-name:E::theirs::/bin/true:", r":theirs-by-magic:M::theirs\x20::/bin/true:F"]
        if seed % 2:
            # One that runs what ours run, and comes and goes.
            theirs.append(bench.stage.foreign_rule("s390x"))
        registrar = Registrar(world, theirs)
        registrar.start()
        start = time.monotonic()
        ended: Counter[int] = Counter()
        slowest, wrong = 0.0, []
        try:
            runs = []
            for line in lines:
                runs.append((line, world.start(tools.binary, *line.split())))
                # At once, or into the middle of others.
                time.sleep(pick.choice((0, 0, 0.01, 0.1)))
            for line, run in runs:
                left = max(1.0, LIMIT - (time.monotonic() - start))
                said = finish(run, line, left)
                slowest = max(slowest, time.monotonic() - start)
                ended[run.returncode] += 1
                if run.returncode not in MIX[line]:
                    wrong.append(f"{line}: exit {run.returncode}: {said.strip().splitlines()[-1:]}")
        finally:
            registrar.end()
        seconds = time.monotonic() - start
        if wrong:
            raise Wrong("; ".join(wrong))
        agree(world)
        world.ctl(f"install {' '.join(BOTH)}")
        agree(world)
        for platform in BOTH:
            if not world.runs(platform):
                raise Wrong(f"{platform} doesn't run after the next install")
        said = world.ctl(f"install {' '.join(BOTH)} --json")
        if not re.search(r'"changed": ?false', said):
            raise Wrong("a second install changes something")
    return Crowd(SIZE, dict(ended), registrar.changes, seconds, slowest)


def agree(world: World) -> None:
    """Kernel, conf file and store say the same, and nothing else is there."""
    text = world.conf.read_text() if world.conf.exists() else ""
    written = {line.split(":")[1]: line.split(":")[-2] for line in rules_of(text)}
    rules = {name: re.search(r"^interpreter (.*)$", rule, re.M)[1] for name, rule in world.rules().items()}
    if written != rules:
        raise Wrong(f"the kernel has {rules}, the file {written}")
    stored = {str(world.root / path.split()[0]) for path in tree(world.root) if path.startswith("store/") and "/qemu-" in path}
    if stored != set(written.values()):
        raise Wrong(f"the store has {stored}, the file {written}")
    left = [path for path in tree(world.root) if ".binfmtctl-" in path]
    if left:
        raise Wrong(f"left behind: {left}")
