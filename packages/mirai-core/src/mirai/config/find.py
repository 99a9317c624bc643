"""Which file of profiles is meant."""

from __future__ import annotations

import os
from pathlib import Path

from mirai.config.error import ConfigError

VARIABLE = "MIRAI_CONFIG"
NAME = "mirai.yaml"


def find_file(path: str | os.PathLike[str] | None = None) -> Path:
    """The one named, else `$MIRAI_CONFIG`, else `./mirai.yaml`, else `~/.config/mirai/mirai.yaml`.

    Raises:
        ConfigError: it is not there.
    """
    if path is not None:
        return _existing(Path(path), "correct its name, or create it")
    if named := os.environ.get(VARIABLE):
        return _existing(Path(named), f"correct ${VARIABLE}, or create it")
    places = Path(NAME), Path("~/.config/mirai", NAME).expanduser()
    for place in places:
        if place.exists():
            return place
    raise ConfigError(
        f"there is no such file, nor {places[1]}: create one, or name another with --config or ${VARIABLE}",
        f"./{NAME}",
    )


def _existing(path: Path, otherwise: str) -> Path:
    if not path.exists():
        raise ConfigError(f"there is no such file: {otherwise}", str(path))
    return path
