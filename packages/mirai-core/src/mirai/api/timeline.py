"""MiraiMap.timeline(): when each task was evaluated, and where, as a picture that needs nothing else."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mirai.api.report import report
from mirai.protocol.advice import seconds

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from mirai.api.future import Mirai
    from mirai.protocol.journal import Done, Journal

WIDTH, LEFT, TOP, ROW, BAR = 1000, 80, 30, 24, 18  # pixels
FINEST = 1.0  # pixels: tasks that are nearer to each other than that are drawn as one
COLOURS = {False: "#4c78a8", True: "#d62728"}  # failed or not; told apart by those who see red and green alike, too


class Bar(NamedTuple):
    """Tasks of one daemon, one after the other without a gap that could be seen."""

    row: int
    began: float  # seconds, as in `Done`
    ended: float
    tasks: int
    computed: float
    failed: int
    name: object  # of the first one


def timeline(
    path: str | os.PathLike[str], mirais: Sequence[Mirai[Any]], journal: Journal, keys: Sequence[Any] | None
) -> None:
    """Write that of a map."""
    target = Path(path)
    if target.suffix.lower() not in (".svg", ".html"):
        raise ValueError(f"path={str(path)!r}: give one that ends in .svg, or in .html")
    names = range(len(mirais)) if keys is None else keys
    failed = [m.done() and m.failed() for m in mirais]
    history = journal.history([m.id for m in mirais])
    picture = svg(bars(history, failed, names, journal.ended - journal.begun), journal.ended - journal.begun)
    if target.suffix.lower() == ".html":
        table = report(mirais, journal, keys)._repr_html_()
        picture = (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>A map</title></head>'
            f'<body style="font-family: sans-serif">\n{table}\n{picture}</body></html>\n'
        )
    target.write_text(picture, encoding="utf-8")


def bars(history: Iterable[Done], failed: Sequence[bool], names: Sequence[Any], wall: float) -> list[Bar]:
    """What to draw for tasks, which come by row and time."""
    finest = FINEST * wall / (WIDTH - LEFT)
    drawn: list[Bar] = []
    for task in history:
        last = drawn[-1] if drawn else None
        computed, is_failed = task.ended - task.began, int(failed[task.place])
        if (
            last is not None
            and last.row == task.row
            and task.began - last.ended < finest
            and computed < 2 * finest
            and (last.tasks > 1 or last.computed < 2 * finest)
        ):
            drawn[-1] = Bar(
                task.row,
                last.began,
                task.ended,
                last.tasks + 1,
                last.computed + computed,
                last.failed + is_failed,
                last.name,
            )
        else:
            drawn.append(Bar(task.row, task.began, task.ended, 1, computed, is_failed, names[task.place]))
    return drawn


def svg(drawn: Sequence[Bar], wall: float) -> str:
    """The picture: a line for each daemon, time from left to right."""
    rows = sorted({bar.row for bar in drawn})
    height = TOP + ROW * max(1, len(rows)) + 10
    scale = (WIDTH - LEFT - 10) / wall if wall > 0 else 0.0
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for time in _ticks(wall):
        x = LEFT + time * scale
        lines.append(f'<path d="M{x:.1f} {TOP - 6}V{height - 6}" stroke="#ddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle">{seconds(time)}</text>')
    for n, row in enumerate(rows):
        lines.append(f'<text x="4" y="{TOP + ROW * n + BAR - 4}">{f"daemon {row}" if row else "here"}</text>')
    for bar in drawn:
        x, width = LEFT + max(0.0, bar.began) * scale, max(0.5, (bar.ended - max(0.0, bar.began)) * scale)
        y = TOP + ROW * rows.index(bar.row)
        lines.append(
            f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{BAR}" fill="{COLOURS[bar.failed > 0]}" '
            f'stroke="white" stroke-width="{0.5 if width > 2 else 0}"><title>{html.escape(_said(bar))}</title></rect>'
        )
    return "\n".join([*lines, "</svg>\n"])


def _said(bar: Bar) -> str:
    what = f"task {bar.name!r:.60}" if bar.tasks == 1 else f"{bar.tasks} tasks, the first of which is {bar.name!r:.60}"
    failed = "" if not bar.failed else ", failed" if bar.tasks == 1 else f", {bar.failed} failed"
    return f"{what}: {seconds(bar.computed)}, begun at {seconds(max(0.0, bar.began))}{failed}"


def _ticks(wall: float) -> Iterator[float]:
    """Round times, some ten of them."""
    if wall <= 0:
        return
    step = 10.0**-9
    while wall / step > 12:
        for factor in (1, 2, 5):
            if wall / (factor * step) <= 12:
                step *= factor
                break
        else:
            step *= 10
    for i in range(int(wall / step) + 1):
        yield i * step
