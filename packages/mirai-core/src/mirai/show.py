"""`mirai show`: the profiles in force, and what would be run or submitted for them; nothing is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mirai.config.explain import explain
from mirai.config.schema import Range
from mirai.hookspecs import LaunchCommand
from mirai.protocol.command import TICKET, daemon_command
from mirai.runtime.addresses import for_others

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirai.config.profiles import Read
    from mirai.config.schema import Profile

OF_THE_HOST = ("threads", "kill_after")  # daemon options that are in no command


def show(found: Read, name: str, *, origins: bool) -> str:
    """A profile's values, and the commands or the job script that start its daemons, without secrets.

    Args:
        found: what was read.
        name: the profile's.
        origins: whether to say where each value came from.
    """
    lines = [f"profile {name!r} of {found.source}", *_values(found, name, origins), "", *_plan(found.profiles[name])]
    return "\n".join(lines)


def _values(found: Read, name: str, origins: bool) -> Iterator[str]:
    rows = explain(found, name)
    keys, texts = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        origin = f"  # {row.origin}" if origins else ""
        yield f"  {row.key:{keys}}  {row.text:{texts}}{origin}".rstrip()


def _plan(profile: Profile) -> Iterator[str]:
    launch = profile.launcher or profile.remote
    if profile.sync:
        yield "  Tasks run in the host itself."
    elif launch is not None:
        n = launch.n or profile.n or launch.launcher.places
        yield f"  Daemons to launch by {launch.launcher.name}: {n}. Each has a ticket of its own, which is not shown."
        yield ""
        yield launch.launcher.show([_command(profile, "python3")] * (n.max if isinstance(n, Range) else n))
    elif profile.n:
        yield f"  Daemons that the host starts on this machine: {profile.n}."
        yield ""
        yield " ".join(_command(profile, sys.executable).argv)
    else:
        yield "  Daemons dial in: launch_remote() in the host returns commands to paste, with a ticket in each."


def _command(profile: Profile, python: str) -> LaunchCommand:
    """What a launcher is given for one daemon. A port that is to be a free one is still 0."""
    arguments = profile.arguments()
    urls = arguments.get("url") or ("tcp://:0" if "remote" in arguments else "ipc://DIRECTORY/host")
    options = profile.daemon_options()
    said = {name: value for name, value in options.items() if name not in OF_THE_HOST}
    address = for_others([urls] if isinstance(urls, str) else urls)
    return LaunchCommand(tuple(daemon_command(python, address, said)), {TICKET: "…"})
