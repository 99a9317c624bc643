"""Which files of profiles are meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mirai.config.error import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Paths: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None

VARIABLE = "MIRAI_CONFIG"
NAME = "mirai.yaml"


def find_files(paths: Paths = None) -> list[Path]:
    """Those named, else those of `$MIRAI_CONFIG`, else `./mirai.yaml`, else `~/.config/mirai/mirai.yaml`.

    `$MIRAI_CONFIG` may name several, with the separator that `$PATH` has. None where none is named or there.

    Raises:
        ConfigError: one that was named is not there.
    """
    if paths is not None:
        named = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        return [_existing(Path(path), "correct its name, or create it") for path in named]
    if variable := os.environ.get(VARIABLE):
        otherwise = f"correct ${VARIABLE}, or create it"
        return [_existing(Path(name), otherwise) for name in variable.split(os.pathsep) if name]
    return [place for place in _places() if place.exists()][:1]


def nothing_found() -> ConfigError:
    """The error for who needs a file where there is none."""
    return ConfigError(
        f"there is no such file, nor {_places()[1]}: create one, or name another with --config or ${VARIABLE}",
        f"./{NAME}",
    )


def _places() -> tuple[Path, Path]:
    return Path(NAME), Path("~/.config/mirai", NAME).expanduser()


def _existing(path: Path, otherwise: str) -> Path:
    if not path.exists():
        raise ConfigError(f"there is no such file: {otherwise}", str(path))
    return path
