"""Runs the trials, inside the mount namespace that tests/suites/endurance/run made."""
from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from disk import DISKS
from trials import Bench
from verbs import VERBS
from world import Tools, Wrong


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("debug", "binary", "packages", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--point", default="")
    parser.add_argument("--verb", default="")
    parser.add_argument("--disk", default="")
    parser.add_argument("--instants", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    tools = Tools(options.debug, options.packages, options.work / "programs")
    tools.make_programs()
    bench = Bench(tools, options.work)
    failed = 0
    for verb in VERBS:
        if options.verb and verb.name != options.verb:
            continue
        reference = bench.reference(verb, tools)
        start, trials = time.monotonic(), 0
        print(verb.name, len(reference.points), " ".join(reference.points), f"{reference.seconds:.2f}s", flush=True)
        for number, end in enumerate(reference.points):
            if options.point and not end.startswith(options.point):
                continue
            for instead in (False, True):
                try:
                    if options.only in ("", "kill"):
                        bench.kill_at(verb, end, instead=instead)
                        trials += 1
                    if options.only in ("", "cut"):
                        for kind in DISKS:
                            if options.disk in kind:
                                bench.cut_at(verb, end, kind, instead=instead)
                                trials += 1
                except Wrong as wrong:
                    failed += 1
                    print(f"FAIL {verb.name} {end} instead={instead}: {wrong}", flush=True)
        print(f"{trials} trials in {time.monotonic() - start:.1f} s", flush=True)
    return failed > 0


sys.exit(main())
