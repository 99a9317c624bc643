"""What to do about a map that could have been quicker: plain figures in, one sentence out."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

GOOD = 0.8  # of the daemons' time in evaluation: there is little to gain
CHUNK = 0.01  # seconds that a task should take, to be long beside its way
LARGE = 1 << 16  # bytes of one element


class Figures(NamedTuple):
    """Of one map. All times in seconds; `compute`, `transfer`, `idle` and `other` add up to all daemons' time."""

    tasks: int
    done: int = 0
    noted: int = 0  # of these: those that a daemon has had
    failed: int = 0
    first_failed: int = 0  # its index
    daemons: int = 1
    wall: float = 0.0  # from the first submission to the last answer
    submitting: float = 0.0  # of that
    wait: float = 0.0  # of a task, on average, until it began
    compute: float = 0.0
    transfer: float = 0.0
    idle: float = 0.0
    other: float = 0.0  # that daemons evaluated what is not of this map
    longest: float = 0.0  # evaluation of a task
    longest_at: object = None  # its index or key
    size: float = 0.0  # bytes of an element, on average
    cores: int | None = None  # of the machine, where all daemons are on this one


def advice(of: Figures) -> str:
    """The one thing to do next."""
    if not of.tasks:
        return "The map was over nothing."
    if of.done and not of.noted:
        return "Nothing is noted, as no daemon has had any of its tasks."
    if not of.noted:
        return f"None of its {of.tasks} tasks is done yet: ask again later."
    if of.failed:
        return f"{of.failed} of {of.tasks} tasks failed: mp[{of.first_failed}].data says why."
    total = of.compute + of.transfer + of.idle + of.other
    if of.compute >= GOOD * total:
        return _busy(of)
    if of.other > of.transfer and of.other > of.idle:
        return (
            f"The daemons had other tasks for {of.other / total:.0%} of their time: give this map a profile of its own."
        )
    return _transfer(of) if of.transfer >= of.idle else _idle(of)


def _busy(of: Figures) -> str:
    mean = of.compute / of.noted
    if of.wait < mean or of.tasks <= of.daemons:
        return "Nothing: the daemons were at work nearly all the time, and tasks hardly waited."
    if of.cores is not None and of.daemons >= of.cores:
        where = f"elsewhere (remote=), as this machine's {of.cores} cores are in use"
    else:
        most = of.tasks if of.cores is None else min(of.tasks, of.cores)
        where = f"daemons({min(most, 2 * of.daemons)})"
    return f"More daemons, {where}: they were at work nearly all the time, while a task waited {seconds(of.wait)}."


def _transfer(of: Figures) -> str:
    mean, way = of.compute / of.noted, of.transfer / of.noted
    if of.size > LARGE:
        return (
            f"share(x) what elements have in common, or make it an argument after the function: each carries "
            f"{of.size / 1e6:.1f} MB, and is {seconds(way)} on its way, for {seconds(mean)} of work."
        )
    chunk = min(ceil(CHUNK / max(mean, 1e-7)), of.tasks // (4 * of.daemons))
    if mean >= CHUNK:
        return (
            f"Return less, or use daemons that are nearer: a task took {seconds(mean)}, and its way there and back "
            f"{seconds(way)}."
        )
    if chunk < 2:
        return f"No daemons: {of.tasks} tasks of {seconds(mean)} are done sooner than sent ({seconds(way)} each)."
    return (
        f"chunk: make_cluster({of.daemons}).map(f, xs, chunksize={chunk}), as a task took {seconds(mean)}, and its "
        f"way there and back {seconds(way)}."
    )


def _idle(of: Figures) -> str:
    if of.tasks <= of.daemons:
        return f"Smaller tasks, or fewer daemons: {of.tasks} for {of.daemons} leave nothing to even out."
    if of.submitting > 0.8 * of.wall:
        return (
            f"Draw the elements faster: the daemons waited for them, as to draw and submit them took "
            f"{seconds(of.submitting)} of {seconds(of.wall)}."
        )
    if of.longest > of.wall / 2:
        return (
            f"Submit the longest first, or split it: task {of.longest_at!r} took {seconds(of.longest)} of "
            f"{seconds(of.wall)}, while other daemons were done."
        )
    return f"Smaller tasks, the longest first: daemons were idle for {of.idle / of.daemons / of.wall:.0%} of the time."


def seconds(time: float) -> str:
    """As people say it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if time >= size:
            return f"{time / size:.3g} {unit}" if time < 100 * size else f"{time / size:.0f} {unit}"
    return "0 s" if time <= 0 else "under 1 µs"
