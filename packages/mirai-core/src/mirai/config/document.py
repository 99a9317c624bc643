"""A YAML file as a tree of nodes, each of which knows its file, line and column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml
from yaml.reader import ReaderError

from mirai.config.error import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TAG = "tag:yaml.org,2002:"


class Loader(yaml.SafeLoader):
    """YAML 1.1, but `1e3` is a number, as in YAML 1.2."""


Loader.add_implicit_resolver(f"{TAG}float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def read_document(file: Path) -> yaml.Node | None:
    """The root; None where there is nothing, or nothing but comments.

    Raises:
        ConfigError: it cannot be read, is not UTF-8, or is not YAML.
    """
    return parse(_read(file), str(file))


def parse(text: str, name: str) -> yaml.Node | None:
    """The root of a document that is found at `name`: a file, or `$VARIABLE`.

    Raises:
        ConfigError: it is not YAML.
    """
    try:
        loader = Loader(text)
        loader.name = name
        try:
            root: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        problem = ", ".join(filter(None, (error.context, error.problem)))
        problem = f"this is not YAML, correct it: {problem}"
        raise (error_at(error.problem_mark, problem) if error.problem_mark else ConfigError(problem, name)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"YAML allows no character {error.character:#04x}: remove it"
        raise ConfigError(problem, name, line) from None
    except RecursionError:
        raise ConfigError("it is nested too deeply: write fewer levels", name) from None
    return root


def text_node(text: str, name: str, kind: str = "str") -> yaml.ScalarNode:
    """A scalar that stands in no document, but is found at `name`."""
    mark = yaml.Mark(name, 0, 0, 0, None, 0)
    return yaml.ScalarNode(TAG + kind, text, mark, mark)


def place(mark: yaml.Mark) -> tuple[str, int | None, int | None]:
    """The file, line and column of a mark; of a variable only its name."""
    return (mark.name, None, None) if mark.name.startswith("$") else (mark.name, mark.line + 1, mark.column + 1)


def error_at(mark: yaml.Mark, problem: str) -> ConfigError:
    """The error for what stands at `mark`."""
    return ConfigError(problem, *place(mark))


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
