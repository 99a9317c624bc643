"""A fake ssh for PATH, which needs no server."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = """#!/bin/sh
# ssh(1), the part that launchers rely on: the words after the host are joined and given to a login shell,
# stdin goes along, the environment does not.
{fault}
while getopts "p:o:l:i:F:R:fnTtq" option; do
    case $option in
        f | n) exec </dev/null ;;
    esac
done
shift "$OPTIND" # the options, and the host
exec env -i PATH="$PATH" HOME="$HOME" TMPDIR="$TMPDIR" sh -c "$*"
"""


@contextmanager
def fake_ssh(fault: str = "") -> Iterator[Path]:
    """Inside, `ssh` is a program that runs its command here, as one on another machine would.

    Args:
        fault: what it says, such as "ssh: connect to host node1 port 22: Connection refused", instead of running it.

    Yields:
        The program.
    """
    path = os.environ["PATH"]
    with tempfile.TemporaryDirectory(prefix="ssh-") as directory:
        program = Path(directory, "ssh")
        program.write_text(SCRIPT.format(fault=f"echo {fault!r} >&2; exit 255" if fault else ""))
        program.chmod(0o755)
        os.environ["PATH"] = f"{directory}{os.pathsep}{path}"
        try:
            yield program
        finally:
            os.environ["PATH"] = path
