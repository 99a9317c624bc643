"""A YAML file as a tree of nodes, each of which knows its line and column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml
from yaml.reader import ReaderError

from mirai.config.error import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class Loader(yaml.SafeLoader):
    """YAML 1.1, but `1e3` is a number, as in YAML 1.2."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_document(file: Path) -> yaml.Node | None:
    """The root; None where there is nothing, or nothing but comments.

    Raises:
        ConfigError: it cannot be read, is not UTF-8, or is not YAML.
    """
    text = _read(file)
    try:
        root: yaml.Node | None = yaml.compose(text, Loader)
    except yaml.MarkedYAMLError as error:
        problem = ", ".join(filter(None, (error.context, error.problem)))
        raise error_at(error.problem_mark, f"this is not YAML, correct it: {problem}", file) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"YAML allows no character {error.character:#04x}: remove it"
        raise ConfigError(problem, str(file), line) from None
    except RecursionError:
        raise ConfigError("it is nested too deeply: write fewer levels", str(file)) from None
    return root


def error_at(mark: yaml.Mark | None, problem: str, file: Path) -> ConfigError:
    """The error for what stands at `mark`."""
    place = () if mark is None else (mark.line + 1, mark.column + 1)
    return ConfigError(problem, str(file), *place)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except IsADirectoryError:
        raise ConfigError("this is a directory: name a file in it", str(file)) from None
    except OSError as error:
        problem = f"it cannot be read ({error.strerror}): correct that, or name another file"
        raise ConfigError(problem, str(file)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"byte {error.object[error.start]:#04x} is not UTF-8: save the file as UTF-8"
        raise ConfigError(problem, str(file), line) from None
