"""The advice is the one that follows: whatever cost most is what it is about."""

from __future__ import annotations

import pytest

from mirai.protocol.advice import Figures, advice, seconds

BUSY = Figures(tasks=100, noted=100, daemons=2, wall=5.0, wait=2.5, compute=9.9, transfer=0.1, longest=0.1)
SHORT = Figures(tasks=20_000, noted=20_000, daemons=2, wall=0.2, wait=0.05, compute=0.04, transfer=0.36, longest=1e-5)
IDLE = Figures(tasks=50, noted=50, daemons=2, wall=1.0, wait=0.1, compute=1.1, idle=0.9, longest=0.03)


@pytest.mark.parametrize(
    ("figures", "beginning"),
    [
        (Figures(tasks=0), "The map was over nothing"),
        (Figures(tasks=3), "None of its 3 tasks is done yet"),
        (Figures(tasks=3, done=3, failed=3), "Nothing is noted, as no daemon has had any"),
        (BUSY._replace(failed=3, first_failed=7), "3 of 100 tasks failed: mp[7].data says why"),
        (BUSY, "More daemons, daemons(4): they were at work"),
        (BUSY._replace(cores=8), "More daemons, daemons(4): they were at work"),
        (BUSY._replace(cores=3), "More daemons, daemons(3): they were at work"),
        (BUSY._replace(cores=2), "More daemons, elsewhere (remote=), as this machine's 2 cores are in use"),
        (BUSY._replace(wait=0.05), "Nothing: the daemons were at work"),
        (BUSY._replace(tasks=2, noted=2, wait=9.0), "Nothing: the daemons were at work"),
        (SHORT, "chunk: make_cluster(2).map(f, xs, chunksize=2500), as a task took 2 µs"),
        (SHORT._replace(compute=2.0, transfer=9.0), "chunk: make_cluster(2).map(f, xs, chunksize=100), as"),
        (SHORT._replace(size=1e6), "share(x) what elements have in common, or make it an argument after the function"),
        (SHORT._replace(tasks=8, noted=8), "No daemons: 8 tasks of 5 ms are done sooner than sent"),
        (Figures(tasks=4, noted=4, daemons=2, compute=1e-5, transfer=1e-3), "No daemons: 4 tasks of 2.5 µs"),
        (
            Figures(tasks=9, noted=9, daemons=2, compute=0.2, transfer=1.0),
            "Return less, or use daemons that are nearer",
        ),
        (IDLE, "Smaller tasks, the longest first: daemons were idle for 45% of the time"),
        (IDLE._replace(tasks=2, noted=2), "Smaller tasks, or fewer daemons: 2 for 2"),
        (IDLE._replace(submitting=0.9), "Draw the elements faster"),
        (
            IDLE._replace(longest=0.8, longest_at="x"),
            "Submit the longest first, or split it: task 'x' took 800 ms of 1 s",
        ),
        (IDLE._replace(other=2.0), "The daemons had other tasks for 50% of their time"),
    ],
)
def test_the_advice_follows(figures, beginning):
    """One that is about a detail sends its reader the wrong way."""
    assert advice(figures).startswith(beginning)


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0.0, "0 s"),
        (5e-7, "under 1 µs"),
        (1.234e-6, "1.23 µs"),
        (0.0456, "45.6 ms"),
        (0.3456, "346 ms"),
        (12.34, "12.3 s"),
        (4000.0, "4000 s"),
    ],
)
def test_times_are_said_with_three_digits(time, text):
    """More would be noise."""
    assert seconds(time) == text
