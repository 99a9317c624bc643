"""Run a program as python would: `__main__`, `sys.argv`, `sys.path`, and what is printed of an exception."""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from zipfile import is_zipfile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

INTERRUPTED = 130  # as a shell has it: 128, and SIGINT


def prepare(words: Sequence[str]) -> Callable[[], object]:
    """Make `sys.argv` and `sys.path` those of a program; return what executes it.

    Args:
        words: a script, or a directory or zip file with a `__main__.py`, or `-m` and a module; its arguments.

    Raises:
        ImportError, OSError, ValueError: there is no such program.
    """
    match words:
        case ["-m", name, *arguments]:
            sys.argv = ["-m", *arguments]
            _put_first(Path.cwd())
            if find_spec(name.partition(".")[0]) is None:
                raise ImportError(f"there is no module {name!r}")
            return partial(runpy.run_module, name, run_name="__main__", alter_sys=True)
        case [name, *_] if name != "-m":
            sys.argv = [*words]
            path = Path(name).resolve()
            if path.is_dir() or is_zipfile(path):
                _put_first(path)
                return partial(runpy.run_path, name, run_name="__main__")
            _put_first(path.parent)
            return partial(_execute, path.read_bytes(), os.path.abspath(name))
        case _:
            raise ValueError("name a SCRIPT, or -m MODULE")


def status(execute: Callable[[], object]) -> int:
    """The exit status of a program, its exception printed without our frames.

    Raises:
        SystemExit: by the program.
    """
    try:
        execute()
    except SystemExit:
        raise
    except BaseException as error:
        error.__traceback__ = _without_ours(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _put_first(path: Path) -> None:
    if not sys.flags.safe_path:  # else it is not there
        sys.path[0] = str(path)


def _execute(source: bytes, file: str) -> None:
    # Not `runpy.run_path`: that takes its __main__ away at the end, when threads may still need it.
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = file
    main.__loader__ = SourceFileLoader("__main__", file)
    exec(compile(source, file, "exec", dont_inherit=True), main.__dict__)


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    ours = __file__, runpy.run_path.__code__.co_filename
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    return traceback
