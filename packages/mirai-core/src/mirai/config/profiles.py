"""read_profiles() and profiles(): the compute profiles of a file, read or set."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from mirai.api.daemons import daemons
from mirai.config.check import Checker
from mirai.config.document import read_document
from mirai.config.error import ConfigError
from mirai.config.find import find_file
from mirai.config.schema import File, Profile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike


def read_profiles(path: str | PathLike[str] | None = None) -> dict[str, Profile]:
    """Read and check a file of profiles, by their names; nothing is set.

    Args:
        path: unless given, `$MIRAI_CONFIG`, `./mirai.yaml` or `~/.config/mirai/mirai.yaml`.

    Raises:
        ConfigError: says where the file is wrong, and what to do.
    """
    file = find_file(path)
    root = read_document(file)
    if root is None:
        raise ConfigError("it is empty: write profiles, such as 'profiles: {default: {n: 4}}'", str(file))
    try:
        checked: File = Checker(file).check(root, File)
    except RecursionError:
        raise ConfigError("it is nested too deeply: write fewer levels", str(file)) from None
    return dict(checked.profiles)


@contextmanager
def profiles(path: str | PathLike[str] | None = None) -> Iterator[dict[str, Profile]]:
    """Set all profiles of a file, and reset them on exit. Where one fails, none stays set.

    Args:
        path: as for `read_profiles()`.

    Raises:
        ConfigError: as `read_profiles()`.
        Exception: what `daemons()` raises, with a note that names the profile.
    """
    file = find_file(path)
    read = read_profiles(file)
    with ExitStack() as resets:
        for name, profile in read.items():
            try:
                daemons(**profile.arguments(), compute=name)
            except Exception as error:
                error.add_note(f"profile {name!r} of {file}")
                raise
            resets.callback(daemons, 0, compute=name)
        yield read
