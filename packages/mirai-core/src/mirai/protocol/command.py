"""The command line that starts a daemon, as every launcher runs it."""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


LAUNCH_VARIABLE = "MIRAI_LAUNCH"  # tells a daemon which launch it comes from; it takes it out again
UNTIL = "MIRAI_UNTIL"  # when its allocation ends, in seconds of the epoch
TICKET = "MIRAI_TICKET"  # its ticket; it takes that out again, too
TICKET_FILE = "MIRAI_TICKET_FILE"  # or the file that holds it

# What the usual BLAS and OpenMP libraries read, once, when they load.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def daemon_command(python: str, url: str, options: Mapping[str, Any]) -> list[str]:
    """The words of `python -m mirai.launch daemon URL --option value …`."""
    return [python, "-m", "mirai.launch", "daemon", url, *option_words(options)]


def option_words(options: Mapping[str, Any]) -> list[str]:
    """A daemon's options as words of a command line: `{"maxtasks": 1}` is `--maxtasks 1`."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]
