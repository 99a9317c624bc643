"""`mirai daemons`: launch daemons, as a profile says, for a host that runs already."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mirai.config.schema import Range
from mirai.runtime.visit import LAUNCH, visits

if TYPE_CHECKING:
    from mirai.config.schema import Profile


def launch_more(name: str, profile: Profile, n: int | None) -> str:
    """Have the host of the profile `name` launch `n` daemons, or as many as the profile says; what it did.

    The host does it itself: it alone can give tickets, and what it launches it also watches, and cancels.

    Raises:
        LookupError: no program of this user on this machine has set that profile.
        RuntimeError: the host could not launch them, and why.
    """
    launch = profile.launcher or profile.remote
    count = n or (launch.n if launch else None) or profile.n or (launch.launcher.places if launch else 1)
    if isinstance(count, Range):
        count = max(1, count.min)  # the host launches the others itself
    launcher = {"kind": launch.launcher.name, **_options(launch.launcher)} if launch else None
    for visit in visits():
        with closing(visit):
            try:
                if visit.ask("status").get("profile") != name:
                    continue
            except OSError:
                continue  # it has gone
            answer = visit.ask("launch", LAUNCH, n=count, launcher=launcher, options=profile.daemon_options())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return f"{answer['launched']} daemons launched by {answer['by']}; mirai top shows what becomes of them"
    raise LookupError(
        f"no program of yours on this machine has set a profile {name!r}: start one first, as in mirai run SCRIPT"
    )


def _options(launcher: Any) -> dict[str, Any]:
    """A launcher's options as JSON can say them."""
    options = asdict(launcher)
    for option, value in options.items():
        if callable(value):
            raise RuntimeError(f"{option} of the launcher {launcher.name!r} is a function: launch_remote() in the host")
    return options
