"""What a host answers to visitors: `mirai top` asks what goes on, `mirai daemons` has daemons launched."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from mirai import plugins
from mirai.api.launching import launch_local, launch_remote
from mirai.api.status import status

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.runtime.profile import Profile


def answer(profile: Profile, question: str) -> str:
    """The answer to a question, both JSON objects; what went wrong stands under `error`."""
    asked = json.loads(question)
    try:
        said = _ANSWERS[asked.pop("ask")](profile, **asked)
    except Exception as error:
        said = {"error": str(error) or type(error).__name__}
    return json.dumps(said, default=str)


def _status(profile: Profile) -> dict[str, Any]:
    seen = status(profile.name)
    program = " ".join(sys.argv) or os.path.basename(sys.executable)
    return {"profile": profile.name, "pid": os.getpid(), "program": program, "text": str(seen), **seen.to_dict()}


def _launch(profile: Profile, n: int, launcher: dict[str, Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    if launcher is None:
        launch_local(n, compute=profile.name, **options)
        return {"launched": n, "by": "this machine"}
    kind = launcher.pop("kind")
    launch_remote(n, remote=plugins.launcher(kind, **launcher), compute=profile.name, **options)
    return {"launched": n, "by": kind}


_ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {"status": _status, "launch": _launch}
