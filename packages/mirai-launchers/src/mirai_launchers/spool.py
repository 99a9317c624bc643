"""A private directory for each submission, on the file system that the nodes share: script, secrets, logs."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

TAIL = 2000  # bytes of a log that an error quotes
KEPT = 7 * 86400.0  # seconds that the logs of what failed are kept


class Spool:
    """The home directory is what nodes share, so that is where it is: in `~/.mirai/jobs`, mode 0700."""

    def __init__(self) -> None:
        home = Path.home() / ".mirai" / "jobs"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(home)
        self.path = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=home))

    def write(self, name: str, text: str) -> Path:
        """A file that nobody else can read."""
        path = self.path / name
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        return path

    def end_of_log(self, number: int, path: str | None) -> str:
        """What a task said last, as an error quotes it."""
        log = Path(path) if path else self.path / log_name(number)
        try:
            with log.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
                said = file.read().decode(errors="replace").strip()
        except OSError as error:
            return f"; its log {log} cannot be read here: {error.strerror}"
        return f"; its log {log} ends:\n{said}" if said else f"; its log {log} is empty"

    def clear(self, *, keep_logs: bool) -> None:
        """Remove it; what logs say may be wanted still."""
        if not keep_logs:
            # A node may still write there.
            return shutil.rmtree(self.path, ignore_errors=True)
        for path in self.path.iterdir():
            if not (path.name.startswith("log.") and path.stat().st_size):
                path.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()
        return None


def log_name(number: int | str) -> str:
    return f"log.{number}"


def _sweep(home: Path) -> None:
    """Remove what hosts left that were killed, and old logs."""
    old = time.time() - KEPT
    for directory in home.iterdir():
        try:
            if max(path.stat().st_mtime for path in (directory, *directory.iterdir())) < old:
                shutil.rmtree(directory, ignore_errors=True)
        except OSError:
            pass  # another host sweeps, too
