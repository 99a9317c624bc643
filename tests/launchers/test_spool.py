"""The directory of a submission: nobody else's to read, and not there for ever."""

from __future__ import annotations

import os
import stat
import time

from mirai_launchers import spool
from mirai_launchers.spool import Spool


def test_nobody_else_can_read_it(home):
    """Tickets are in it, and a home directory may be open to all."""
    old = os.umask(0)
    try:
        made = Spool()
        path = made.write("secrets.1", "export MIRAI_TICKET=7c9e6679\n")
    finally:
        os.umask(old)

    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.path.parent == home / ".mirai" / "jobs"


def test_what_a_host_left_that_was_killed_is_removed_after_a_week(home):
    """It had no time to."""
    left, kept = Spool(), Spool()
    log = left.write("log.1", "text")
    old = time.time() - spool.KEPT - 60
    for path in (log, left.path, kept.path):
        os.utime(path, (old, old))
    kept.write("log.1", "still written")

    Spool()

    assert not left.path.exists()
    assert kept.path.exists()


def test_the_end_of_a_log_is_enough(home):
    """An error is read in a terminal."""
    made = Spool()
    made.write("log.1", "x" * 100_000 + "the end")

    said = made.end_of_log(1, None)

    assert said.endswith("xthe end")
    assert len(said) < 2 * spool.TAIL
