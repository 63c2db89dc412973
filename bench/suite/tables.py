"""The result for people: tables in Markdown, and a plot."""
from __future__ import annotations

from collections.abc import Sequence

from measure import Stat
from row import Row

COLUMNS = ("what", "against", "measure", "ours", "theirs", "ratio", "at most", "verdict")


def number(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms" if value < 0.1 else f"{value * 1000:.0f} ms"
    if unit == "bytes":
        return f"{value / (1 << 20):.2f} MiB"
    return f"{value:g}"


def stat(value: Stat | None, unit: str) -> str:
    """The median, and from where to where."""
    if value is None:
        return "-"
    text = number(value.median, unit)
    if value.runs > 1:
        text += f" ({number(value.low, unit)} to {number(value.high, unit)}, {value.runs})"
    return text


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def cells(row: Row) -> tuple[str, ...]:
    target = "-"
    if row.target is not None:
        relative = row.theirs is not None or (row.ours is None and row.unit == "s")
        target = f"{row.target:g}" if relative else number(row.target, row.unit)
    ratio = "-" if row.ratio is None else f"{row.ratio:.3f}" if row.ratio < 0.1 else f"{row.ratio:.2f}"
    return (row.what, row.against or "-", row.measure, stat(row.ours, row.unit), stat(row.theirs, row.unit),
            ratio, target, row.verdict or "-")


def render(result: dict, rows: list[Row]) -> str:
    parts = ["# The last run of bench/run\n\n", heading(result),
             ("Ours is binfmtctl, theirs is what stands under \"against\"; both in turns, in one run. Figures are "
             "medians (from the least to the most, how many). The ratio is ours / theirs.\n\n")]
    parts.append(table(COLUMNS, [cells(row) for row in rows if row.number != 12]))
    notes = [f"- {row.what}: {row.note}\n" for row in rows if row.note and row.number != 12]
    parts.append("\n" + "".join(notes) if notes else "")
    slow = [row for row in rows if row.number == 12]
    if slow:
        parts.append("\n## A slow or far server\n\n" + table(COLUMNS, [cells(row) for row in slow]))
        parts.append("\n" + "".join(sorted({f"- {row.what.partition(', ')[2]}: {row.note}\n"
                                            for row in slow if row.note})))
    if result.get("growth"):
        parts.append(growth(result["growth"]))
    if result.get("limits"):
        parts.append(limits(result["limits"]))
    return "".join(parts)


def heading(result: dict) -> str:
    machine = result["machine"]
    lines = [f"{result['date']}, commit {result['commit']}" + (
        ", **quick: too few repetitions for a verdict**" if result["quick"] else ""),
        (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, virtualization: "
        f"{machine['virtualization']}; Linux {machine['kernel']}; {machine['system']}"),
        f"work directory on {machine['file_system']}",
        f"load before {result['load'][0]}, after {result['load'][1]}" + (
            ": **something else was running; the figures are worth little**" if busy(result) else ""),
        *(f"{name}: {version}" for name, version in result["versions"].items())]
    return "".join(f"- {line}\n" for line in lines) + "\n"


def busy(result: dict) -> bool:
    return float(result["load"][0].split()[0]) > 0.5


def growth(found: dict) -> str:
    steps, rows, before = found["targets"], [], None
    for step in steps:
        more = "-"
        if before is not None and step["count"] > before["count"]:
            apart = step["count"] - before["count"]
            more = number((step["wall"].median - before["wall"].median) / apart, "s")
        rows.append((str(step["count"]), number(step["bytes"], "bytes"), stat(step["wall"], "s"),
                     stat(step["cpu"], "s"), number(step["peak"], "bytes"), more))
        before = step
    text = ("\n## The more targets\n\n`install` of the first so many in alphabetical order, nothing cached; "
            "the last line is `all-targets`, all but those of what this host runs itself. "
            "![The same as a plot](targets.svg)\n\n")
    text += table(("emulators", "fetched", "wall", "cpu", "peak memory", "wall for each one more"), rows)
    first, last = steps[0], steps[-1]
    text += (f"\nFrom {first['count']} to {last['count']}: time times "
             f"{last['wall'].median / first['wall'].median:.1f}, memory times {last['peak'] / first['peak']:.1f}.\n")
    steps = found["status"]
    text += "\n## The more rules of others\n\n`status` of the engine set, with so many rules of others present.\n\n"
    text += table(("rules of others", "wall", "cpu", "peak memory", "/bin/true 10 times"),
                  [(str(step["count"]), stat(step["wall"], "s"), stat(step["cpu"], "s"),
                    number(step["peak"], "bytes"), stat(step["true"], "s")) for step in steps])
    each = (steps[-1]["wall"].median - steps[0]["wall"].median) / (steps[-1]["count"] - steps[0]["count"])
    return text + f"\nEach rule more: {each * 1e6:.1f} µs.\n"


def limits(found: list[dict]) -> str:
    text = "\n## What the work consists of\n\nEach part done alone, by the tool that does it well, on one core.\n\n"
    return text + table(("part", "by", "wall", "cpu"), [
        (part["what"], part["how"], stat(part["wall"], "s"), stat(part["cpu"], "s")) for part in found])
