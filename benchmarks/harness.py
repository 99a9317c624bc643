"""What every benchmark shares: contenders side by side in one run, medians of interleaved repetitions, one table.

A contender is a generator function: it sets itself up, yields what is to be measured (called once a repetition,
returns a figure), and cleans up. One that cannot be set up, as its library is not installed, is left out, and the
table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Contender = Callable[[], Iterator[Callable[[], float]]]

_quick = False


class Bar(NamedTuple):
    """What ours is to be, as a multiple of a contender's figure; of the unit itself where none is named."""

    least: float | None = None
    most: float | None = None
    of: str = ""
    who: str = ""  # of ours, where there are several; else the first


class Question(NamedTuple):
    """What is asked: contenders answer in `unit`, ours first."""

    unit: str
    contenders: Mapping[str, Contender]
    bars: Sequence[Bar] = ()


def main(title: str, questions: Mapping[str, Question], *, repetitions: int = 5) -> None:
    """Ask `questions` as the command line says."""
    global _quick
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="a fifth of the work in each repetition")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--only", metavar="NAME", help="contenders whose name contains this, and ours")
    parser.add_argument("--question", metavar="TEXT", default="", help="questions that contain this")
    parser.add_argument("--repetitions", type=int, default=repetitions, help=f"{repetitions} unless given")
    options = parser.parse_args()
    _quick = options.quick
    print(f"{title}\n{machine()}")
    figures: dict[str, dict[str, list[float]]] = {}
    left_out: dict[str, str] = {}
    for name, question in questions.items():
        if options.question not in name:
            continue
        chosen = {
            who: contender
            for i, (who, contender) in enumerate(question.contenders.items())
            if not i or not options.only or options.only in who
        }
        figures[name] = measure(chosen, options.repetitions, left_out)
        show(name, question, figures[name])
    for who, why in left_out.items():
        print(f"left out: {who}: {why}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": machine(), "figures": figures, "left out": left_out}, file, indent=1)


def scaled(work: int) -> int:
    """How much of that work a repetition does."""
    return work // 5 if _quick else work


def machine() -> str:
    """What this was measured on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"{system}, {cores} cores, Python {platform.python_version()}{load}"


def measure(contenders: Mapping[str, Contender], repetitions: int, left_out: dict[str, str]) -> dict[str, list[float]]:
    """The figures of each contender; one round before that counts for nothing. All are set up throughout."""
    ready: dict[str, tuple[Iterator[Callable[[], float]], Callable[[], float]]] = {}
    figures: dict[str, list[float]] = {}
    try:
        for who, contender in contenders.items():
            steps = contender()
            try:
                ready[who] = (steps, next(steps))
            except Exception as error:  # not installed, or it cannot be set up here
                left_out[who] = f"{type(error).__name__}: {error}"
        for repetition in range(repetitions + 1):
            for who, (_, once) in ready.items():
                figure = once()
                if repetition:
                    figures.setdefault(who, []).append(figure)
    finally:
        for steps, _ in ready.values():
            next(steps, None)
    return figures


def show(name: str, question: Question, figures: Mapping[str, Sequence[float]]) -> None:
    """A table: the median of each, how far its repetitions lie apart, and what ours is as a multiple of it."""
    print(f"\n{name}, {question.unit}\n{'':38}{'median':>12}{'lowest':>12}{'highest':>12}{'ours is':>10}")
    if not figures:
        print("  nobody is here to be measured")
        return
    ours = statistics.median(next(iter(figures.values())))
    for who, values in figures.items():
        median = statistics.median(values)
        multiple = f"{ours / median:9.2f} x" if median else ""
        print(f"{who:38}{median:12,.4g}{min(values):12,.4g}{max(values):12,.4g}{multiple}")
    for bar in question.bars:
        print(verdict(bar, question.unit, figures))
    sys.stdout.flush()


def verdict(bar: Bar, unit: str, figures: Mapping[str, Sequence[float]]) -> str:
    """Whether a bar is met."""
    who = bar.who or next(iter(figures))
    if bar.of and bar.of not in figures:
        return f"  {who}: {bar.of} is not here to be compared with"
    figure = statistics.median(figures[who]) / (statistics.median(figures[bar.of]) if bar.of else 1)
    met = (bar.least is None or figure >= bar.least) and (bar.most is None or figure <= bar.most)
    wanted = f"at least {bar.least:,g}" if bar.least is not None else f"at most {bar.most:,g}"
    what = f"x {bar.of}" if bar.of else unit
    return f"  {'met   ' if met else 'MISSED'} {who}: {figure:,.3g} {what}, {wanted} wanted"
