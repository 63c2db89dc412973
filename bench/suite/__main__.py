"""Measures, inside the namespaces that bench/run has made, and writes the result."""
from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from growth import growth
from limits import limits
from machine import machine, versions
from measure import CommandFailed
from plot import plot
from row import MISSED, Row
from rows import GROWTH, ROWS, Bench, Plan, measured
from tables import busy, cells, render
from world import Tools, World, WorldError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("binary", "package", "rules-package", "foreign", "systemd-binfmt", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--binfmt", type=Path)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--strict", action="store_true")
    return parser.parse_args()


def load() -> str:
    return " ".join(Path("/proc/loadavg").read_text().split()[:3])


def measure_all(bench: Bench, only: set[int]) -> tuple[list[Row], dict]:
    rows: list[Row] = []
    more: dict = {}
    for number in sorted({*ROWS, GROWTH}):
        if only and number not in only:
            continue
        print(f"-- {number} of 12", flush=True)
        if number == GROWTH:
            more["growth"] = asdict_deep(growth(bench))
            more["limits"] = [asdict_deep(limit) for limit in limits(bench)]
            continue
        for row in measured(number, bench):
            rows.append(row)
            print("   " + "  ".join(cell for cell in cells(row) if cell != "-"), flush=True)
    return rows, more


def asdict_deep(value: object) -> dict:
    """As a dictionary, but for the figures."""
    return {name: [asdict_deep(item) for item in found] if isinstance(found, list) else found
            for name, found in vars(value).items()}


def draw(result: dict, rows: list[Row]) -> str:
    steps = result["growth"]["targets"]
    other = next((row.theirs.median for row in rows if row.number == 4 and row.measure == "wall" and row.theirs), None)
    return plot([(step["count"], step["wall"].median) for step in steps],
                [(step["wall"].low, step["wall"].high) for step in steps],
                None if other is None else ("curl + dpkg-deb -x + sync -f + systemd-binfmt: the whole package", other))


def write(options: argparse.Namespace, result: dict, rows: list[Row]) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**result, "rows": [asdict(row) for row in rows]}, indent=1, default=asdict)
    (options.out / "LAST-RUN.json").write_text(text + "\n")
    (options.out / "LAST-RUN.md").write_text(render(result, rows))
    if "growth" in result:
        (options.out / "targets.svg").write_text(draw(result, rows))


def main() -> int:
    options = arguments()
    tools = Tools(options.binary, options.package, options.rules_package, options.foreign,
                  options.systemd_binfmt, options.binfmt)
    only = {int(number) for number in options.only.split(",") if number}
    before = load()
    try:
        world = World(options.work, tools)
        with world.mirror() as mirror:
            bench = Bench(world, Plan.of(options.quick), mirror, world.engine_set(mirror))
            rows, more = measure_all(bench, only)
    except (WorldError, CommandFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    result = {"schema": 1, "date": time.strftime("%Y-%m-%d"), "commit": options.commit, "quick": options.quick,
              "load": [before, load()], "machine": machine(world), "versions": versions(world), **more}
    write(options, result, rows)
    return conclude(options, result, rows)


def conclude(options: argparse.Namespace, result: dict, rows: list[Row]) -> int:
    judged = [row for row in rows if row.target is not None]
    missed = [row for row in judged if row.verdict == MISSED]
    absent = [row for row in rows if row.missing]
    print(f"{len(judged) - len(missed) - len([row for row in judged if row.missing])} reached, "
          f"{len(missed)} not reached, {len(absent)} not measured; {options.out}/LAST-RUN.md")
    if busy(result):
        print(f"warning: something else was running (load {result['load'][0]}); the figures are worth little")
    if any(row.missing.startswith("failed") for row in rows):
        return 1
    return 1 if options.strict and (missed or absent) else 0


if __name__ == "__main__":
    sys.exit(main())
