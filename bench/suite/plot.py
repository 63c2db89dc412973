"""Install time against the number of targets, as a small SVG."""
from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 300, 52, 40, 30, 20
Point = tuple[float, float]


def nice(most: float) -> float:
    """The next round number."""
    step = 1.0
    while step > most:
        step /= 10
    while step * 10 <= most:
        step *= 10
    return next(step * factor for factor in (1, 2, 4, 6, 8, 10) if step * factor >= most)


def plot(points: Sequence[Point], spread: Sequence[tuple[float, float]],
         other: tuple[str, float] | None) -> str:
    """Points of (targets, seconds), their spread, and a level to compare with."""
    most_x = max(x for x, _ in points)
    most_y = nice(max([high for _, high in spread] + ([other[1]] if other else [])))

    def place(x: float, y: float) -> Point:
        return (LEFT + x / most_x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / most_y * (HEIGHT - BOTTOM - TOP))

    out = [(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
           f'height="{HEIGHT}" font-family="sans-serif" font-size="12">'),
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for part in range(5):
        left, y = place(0, most_y * part / 4)
        out.append(f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most_y * part / 4:g}</text>')
    out.append(f'<text x="{LEFT - 40}" y="{TOP - 12}">seconds</text>')
    for x, _ in points:
        across, y = place(x, 0)
        out.append(f'<text x="{across:.1f}" y="{y + 16:.1f}" text-anchor="middle">{x:g}</text>')
    out.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">emulators</text>')
    if other:
        left, y = place(0, other[1])
        out.append(f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#b45309" '
                   'stroke-dasharray="5 4"/>')
        out.append(f'<text x="{left + 8}" y="{y - 6:.1f}" fill="#b45309">{other[0]}</text>')
    for (x, _), (low, high) in zip(points, spread, strict=True):
        (across, top), (_, bottom) = place(x, high), place(x, low)
        out.append(f'<line x1="{across:.1f}" y1="{top:.1f}" x2="{across:.1f}" y2="{bottom:.1f}" stroke="#1d4ed8"/>')
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    out.append(f'<polyline points="{line}" fill="none" stroke="#1d4ed8" stroke-width="2"/>')
    for x, y in (place(*point) for point in points):
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1d4ed8"/>')
    last_x, last_y = place(*points[-1])
    out.append(f'<text x="{last_x - 8:.1f}" y="{last_y + 40:.1f}" text-anchor="end" fill="#1d4ed8">'
               'binfmtctl install</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
