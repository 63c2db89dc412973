"""How long a command takes, of what, and how often it has to be tried.

Wall time is around posix_spawn and wait4; cpu is what wait4 says of the command
and of all that it waited for. Peak memory is of the largest single process
among these; it is asked of time(1), since what wait4 says includes what the
process that spawned it had in memory.
"""
from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


class CommandFailed(Exception):
    """A command that was to be measured didn't do its work."""


@dataclass(frozen=True)
class Sample:
    """One run: seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Stat:
    """Several runs' figures."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Stat:
        return cls(statistics.median(values), min(values), max(values), len(values))


Command = Sequence[str | os.PathLike[str]]
Action = Callable[[], Sample]


def spawn(command: Command, env: dict[str, str], stderr: int) -> int:
    words = [os.fspath(word) for word in command]
    nothing = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
               (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
               (os.POSIX_SPAWN_DUP2, stderr, 2)]
    return os.posix_spawnp(words[0], words, env, file_actions=nothing)


def run(command: Command, env: dict[str, str], times: int = 1) -> Sample:
    """The command, so many times one after the other, as one sample."""
    with tempfile.TemporaryFile() as errors:
        cpu = 0.0
        start = time.perf_counter()
        for _ in range(times):
            _, status, usage = os.wait4(spawn(command, env, errors.fileno()), 0)
            cpu += usage.ru_utime + usage.ru_stime
            if status != 0:
                break
        wall = time.perf_counter() - start
        if status != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()[-3:]
            raise CommandFailed(f"{' '.join(map(str, command))}: exit {os.waitstatus_to_exitcode(status)}: "
                                + " / ".join(said))
    return Sample(wall, cpu)


def peak(command: Command, env: dict[str, str]) -> int:
    """The most memory that one process of the command had, in bytes."""
    with tempfile.NamedTemporaryFile() as said:
        run(["/usr/bin/time", "-f", "%M", "-o", said.name, *command], env)
        return int(Path(said.name).read_text().split()[-1]) * 1024


def repeat(times: int, action: Action, before: Callable[[], None]) -> list[Sample]:
    samples = []
    for _ in range(times):
        before()
        samples.append(action())
    return samples


def duel(times: int, ours: Action, theirs: Action,
         before: Callable[[], None]) -> tuple[list[Sample], list[Sample]]:
    """Both in turns, and in turns first, each after `before`."""
    samples: tuple[list[Sample], list[Sample]] = ([], [])
    for turn in range(times):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            before()
            samples[side].append((ours, theirs)[side]())
    return samples


def walls(samples: Sequence[Sample]) -> Stat:
    return Stat.of([sample.wall for sample in samples])


def cpus(samples: Sequence[Sample]) -> Stat:
    return Stat.of([sample.cpu for sample in samples])


def output(*command: str | os.PathLike[str], env: dict[str, str] | None = None) -> str:
    """What a command says on stdout; of one that fails, an error."""
    done = subprocess.run([os.fspath(word) for word in command], env=env, text=True, check=False,
                          stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
