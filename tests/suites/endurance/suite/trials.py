"""One trial: a verb is ended at some instant; then what has to hold is looked at."""
from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from disk import Disk
from verbs import BOTH, Stage, State, Verb, clear, copy
from world import PATIENCE, Tools, World, Wrong, finish, rules_of

# One thing at a time, so that a point is reached in the same order each time.
IN_ORDER = {"BINFMTCTL_JOBS": "1"}


@dataclass(frozen=True)
class Reference:
    """What a verb does where nothing ends it."""

    before: State
    after: State
    instead: State
    points: list[str]
    seconds: float


class Bench:
    """Where trials are made: at one directory, which is a file system of its own
    where power is to be cut."""

    def __init__(self, tools: Tools, work: Path) -> None:
        self.tools, self.work = tools, work
        self.root = work / "root"
        self.root.mkdir()
        self.stage = Stage(tools, self.root, work / "kept")
        self.references: dict[tuple[str, Path], Reference] = {}
        self.images: set[Path] = set()

    def reset(self, verb: Verb) -> None:
        kept = self.stage.prepare(verb)
        clear(self.root)
        copy(kept, self.root)

    def world(self, verb: Verb | None = None, tools: Tools | None = None) -> World:
        world = World(tools or self.tools, self.root)
        for line in self.stage.rules_before(verb) if verb else []:
            world.register(line)
        return world

    def reference(self, verb: Verb, tools: Tools) -> Reference:
        """How it goes by itself, once."""
        key = (verb.name, tools.binary)
        if key not in self.references:
            self.reset(verb)
            log = self.work / "points"
            log.unlink(missing_ok=True)
            with self.world(verb, tools) as world:
                before = State.of(world)
                start = time.monotonic()
                world.ctl(verb.line, BINFMTCTL_CRASH_LOG=str(log), **IN_ORDER)
                seconds = time.monotonic() - start
                after = State.of(world)
                world.ctl(verb.instead)
                instead = State.of(world)
            points = log.read_text().split() if log.exists() else []
            self.references[key] = Reference(before, after, instead, points, seconds)
        return self.references[key]

    # What has to hold.

    def look(self, verb: Verb, reference: Reference, world: World, *, booted: bool) -> None:
        """Right afterwards, or after the boot that follows a cut."""
        conf = world.conf.read_text() if world.conf.exists() else None
        if conf not in (reference.before.conf, reference.after.conf):
            raise Wrong(f"the conf file is neither the old one nor the new one: {conf!r}")
        named = []
        for line in rules_of(conf or ""):
            _, name, *_, interpreter, _ = line.split(":")
            found = hashlib.sha256(Path(interpreter).read_bytes()).hexdigest()
            if found != Path(interpreter).parent.name:
                raise Wrong(f"{interpreter} has other bytes: {found}")
            named.append(name)
        if booted:
            world.ctl("apply")
            if sorted(world.rules()) != sorted(named):
                raise Wrong(f"apply brought back {sorted(world.rules())}, not {sorted(named)}")
        # A boot takes others' rules away, unless they have a file of their own.
        kept = [p for p in verb.worked if not (booted and p in verb.foreign)]
        self.require(world, kept, "ran before")
        if booted:
            self.require(world, [p for p in BOTH if f"qemu-{p}" in named], "is in the file")

    @staticmethod
    def require(world: World, platforms: Iterable[str], why: str) -> None:
        for platform in platforms:
            if not world.runs(platform):
                raise Wrong(f"{platform}, which {why}, doesn't run")

    def complete(
        self, verb: Verb, reference: Reference, world: World, *, instead: bool
    ) -> None:
        """The next run: the same once more, or what somebody might do instead."""
        line = verb.instead if instead else verb.line
        world.ctl(line)
        state = State.of(world)
        if instead:
            wanted = reference.instead
            if verb.foreign:
                # Their rule may be gone, or come to light again.
                theirs = {n: t for n, t in state.rules.items() if n.startswith("theirs-")}
                wanted = State({**theirs, **{n: t for n, t in wanted.rules.items() if not n.startswith("theirs-")}},
                               wanted.conf, wanted.paths)
        else:
            wanted = reference.after
            self.require(world, verb.wanted, "was asked for")
        state.require(wanted, f"after `{line}`")
        said = world.ctl(f"{line} --json")
        if '"changed": false' not in said and '"changed":false' not in said:
            raise Wrong(f"a second `{line}` changes something:\n{said}")

    # How it ends.

    def kill_at(self, verb: Verb, end: str, *, instead: bool) -> None:
        """kill -9 at a point."""
        reference = self.reference(verb, self.tools)
        self.reset(verb)
        with self.world(verb) as world:
            run = world.start(self.tools.binary, *verb.line.split(), BINFMTCTL_CRASH_AT=f"{end}:kill", **IN_ORDER)
            said = finish(run, verb.line)
            if run.returncode != -signal.SIGKILL:
                raise Wrong(f"it wasn't killed, but ended with {run.returncode}:\n{said}")
            self.look(verb, reference, world, booted=False)
            self.complete(verb, reference, world, instead=instead)

    def kill_after(self, verb: Verb, tools: Tools, part: float, *, instead: bool) -> None:
        """kill -9 at any instant: after this part of the time that it takes."""
        reference = self.reference(verb, tools)
        self.reset(verb)
        with self.world(verb, tools) as world:
            run = world.start(tools.binary, *verb.line.split())
            time.sleep(part * reference.seconds)
            run.kill()
            finish(run, verb.line)
            self.look(verb, reference, world, booted=False)
            self.complete(verb, reference, world, instead=instead)

    def disk(self, kind: str, verb: Verb) -> Disk:
        """A disk with what is there before the verb."""
        self.reset(verb)
        name = "".join(c for c in f"{kind}-{verb.name}" if c.isalnum() or c == "-")
        base = Disk(kind, self.work / f"{name}.base", self.root)
        if base.image not in self.images:
            base.make()
            base.mount()
            try:
                copy(self.stage.prepare(verb), self.root)
            finally:
                base.unmount()
            self.images.add(base.image)
        disk = Disk(kind, self.work / "disk", self.root)
        disk.take(base.image)
        return disk

    def cut_at(self, verb: Verb, end: str, kind: str, *, instead: bool) -> None:
        """The power fails at a point."""

        def until(world: World) -> subprocess.Popen[bytes]:
            run = world.start(self.tools.binary, *verb.line.split(), BINFMTCTL_CRASH_AT=f"{end}:stop", **IN_ORDER)
            deadline = time.monotonic() + PATIENCE
            while True:
                ended, status = os.waitpid(run.pid, os.WUNTRACED | os.WNOHANG)
                if ended and os.WIFSTOPPED(status):
                    return run
                if ended:
                    run.returncode = os.waitstatus_to_exitcode(status)
                    raise Wrong(f"it didn't stop, but ended with {run.returncode}:\n{run.stdout.read().decode()}")
                if time.monotonic() > deadline:
                    raise Wrong("it didn't stop")
                time.sleep(0.003)

        self.cut(verb, self.tools, kind, until, instead=instead)

    def cut_after(self, verb: Verb, tools: Tools, part: float, kind: str, *, instead: bool) -> None:
        """The power fails at any instant."""
        seconds = part * self.reference(verb, tools).seconds

        def until(world: World) -> subprocess.Popen[bytes]:
            run = world.start(tools.binary, *verb.line.split())
            time.sleep(seconds)
            return run

        self.cut(verb, tools, kind, until, instead=instead)

    def cut(
        self, verb: Verb, tools: Tools, kind: str, until: Callable[[World], subprocess.Popen[bytes]],
        *, instead: bool,
    ) -> None:
        reference = self.reference(verb, tools)
        disk = self.disk(kind, verb)
        disk.mount()
        try:
            with self.world(verb, tools) as world:
                run = None
                try:
                    run = until(world)
                finally:
                    disk.cut()
                    if run:
                        run.kill()
                        finish(run, verb.line)
        finally:
            disk.unmount()
        disk.mount()
        try:
            with self.world(tools=tools) as world:
                self.look(verb, reference, world, booted=True)
                self.complete(verb, reference, world, instead=instead)
        finally:
            disk.unmount()
