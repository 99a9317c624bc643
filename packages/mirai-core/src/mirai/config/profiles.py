"""read_profiles() and profiles(): the compute profiles of files, read or set."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mirai.api.daemons import daemons
from mirai.config.check import Checker
from mirai.config.error import ConfigError
from mirai.config.find import find_files, nothing_found
from mirai.config.layers import read_layers
from mirai.config.schema import File, Profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

    from mirai.config.find import Paths


class Read(NamedTuple):
    """What files, and the environment, say.

    Attributes:
        profiles: by their names.
        tree: what they were made of, where each value knows its place.
        source: the files, or what else was read, in words.
    """

    profiles: dict[str, Profile]
    tree: yaml.Node
    source: str


def read_profiles(path: Paths = None) -> dict[str, Profile]:
    """Read and check files of profiles, by their names; nothing is set.

    Args:
        path: a file, or several, of which the later win; unless given, those of `$MIRAI_CONFIG`, or
            `./mirai.yaml`, or `~/.config/mirai/mirai.yaml`. Environment variables win over all, as in
            `MIRAI__PROFILES__DEFAULT__N=4`.

    Raises:
        ConfigError: says where the file is wrong, and what to do.
    """
    return read(path).profiles


@contextmanager
def profiles(path: Paths = None) -> Iterator[dict[str, Profile]]:
    """Set all profiles of a file, and reset them on exit. Where one fails, none stays set.

    Args:
        path: as for `read_profiles()`.

    Raises:
        ConfigError: as `read_profiles()`.
        Exception: what `daemons()` raises, with a note that names the profile.
    """
    found = read(path)
    with ExitStack() as resets:
        for name, profile in found.profiles.items():
            try:
                daemons(**profile.arguments(), compute=name)
            except Exception as error:
                error.add_note(f"profile {name!r} of {found.source}")
                raise
            resets.callback(daemons, 0, compute=name)
        yield found.profiles


def read(path: Paths = None) -> Read:
    """As `read_profiles()`, with what it was read from."""
    files = find_files(path)
    source = ", ".join(map(str, files)) or "the environment"
    try:
        root = read_layers(files, os.environ)
        if root is None and not files:
            raise nothing_found()
        if root is None:
            raise ConfigError("it is empty: write profiles, such as 'profiles: {default: {n: 4}}'", source)
        checked: File = Checker().check(root, File)
    except RecursionError:
        raise ConfigError("it is nested too deeply: write fewer levels", source) from None
    return Read(dict(checked.profiles), root, source)
