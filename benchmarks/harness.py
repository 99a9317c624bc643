"""What every benchmark shares: contenders side by side in one run, medians of interleaved repetitions, one table.

A contender is a generator function: it sets itself up, yields what is to be measured (called once a repetition,
returns a figure), and cleans up. One whose library is not installed raises `ImportError` and is left out, and
the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Contender = Callable[[], Iterator[Callable[[], float]]]


def main(title: str, tables: Mapping[str, tuple[str, Mapping[str, Contender]]], *, repetitions: int = 5) -> None:
    """Measure `tables` (by name: the unit, then the contenders, ours first) as the command line says."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="3 repetitions")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--only", metavar="NAME", help="contenders whose name contains this, and ours")
    options = parser.parse_args()
    print(f"{title}\n{machine()}")
    figures = {}
    for name, (unit, contenders) in tables.items():
        chosen = {
            who: contender
            for i, (who, contender) in enumerate(contenders.items())
            if not i or not options.only or options.only in who
        }
        figures[name] = measure(chosen, 3 if options.quick else repetitions)
        show(name, unit, figures[name])
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": machine(), "figures": figures}, file, indent=1)


def machine() -> str:
    """What this was measured on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"


def measure(contenders: Mapping[str, Contender], repetitions: int) -> dict[str, list[float]]:
    """The figures of each contender; one round before that counts for nothing. All are set up throughout."""
    ready: dict[str, tuple[Iterator[Callable[[], float]], Callable[[], float]]] = {}
    figures: dict[str, list[float]] = {}
    try:
        for who, contender in contenders.items():
            steps = contender()
            try:
                ready[who] = (steps, next(steps))
            except ImportError as error:
                print(f"  {who} is left out: {error}")
        for repetition in range(repetitions + 1):
            for who, (_, once) in ready.items():
                figure = once()
                if repetition:
                    figures.setdefault(who, []).append(figure)
    finally:
        for steps, _ in ready.values():
            next(steps, None)
    return figures


def show(name: str, unit: str, figures: Mapping[str, list[float]]) -> None:
    """A table: the median of each, how far its repetitions lie apart, and what ours is as a multiple of it."""
    print(f"\n{name}, {unit}\n{'':34}{'median':>12}{'lowest':>12}{'highest':>12}{'ours is':>10}")
    ours = statistics.median(next(iter(figures.values())))
    for who, values in figures.items():
        median = statistics.median(values)
        print(f"{who:34}{median:12,.4g}{min(values):12,.4g}{max(values):12,.4g}{ours / median:9.2f} x")
    sys.stdout.flush()
