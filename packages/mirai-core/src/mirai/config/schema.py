"""What a file of profiles may hold: each dataclass is a mapping in YAML, each field one of its keys."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from mirai import plugins
from mirai.transport.urls import parse

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from mirai.hookspecs import Launcher


def option(description: str, *, repr: bool = True, **keywords: Any) -> Any:
    """A key that may be left out.

    Args:
        description: what it means; errors quote it.
        repr: whether its value may be shown.
        **keywords: what its value must be beside its type, in the words of JSON Schema: `minimum`,
            `exclusiveMinimum`, `maximum`, `pattern`; `examples`, which errors quote too; and `check`, which is called
            with a text, or each of a list, and raises a ValueError where it will not do.
    """
    return field(default=None, repr=repr, metadata={"description": description, **keywords})


def check_serializer(name: str) -> None:
    """Raise a ValueError where no plugin provides it."""
    known = plugins.serializers()
    if name not in known:
        near = "".join(f"did you mean {other!r}?" for other in difflib.get_close_matches(name, known, n=1))
        names = ", ".join(sorted(known)) or "none"
        advice = near or "correct its name, or install its plugin; pip install 'mirai-core[serial]' brings ours"
        raise ValueError(f"no serializer {name!r} (there are: {names}): {advice}")


def check_certificate(given: str) -> None:
    """Raise a ValueError where it is neither PEM text nor a file."""
    if "-----BEGIN " not in given and not os.path.exists(given):
        where = "" if os.path.isabs(given) else f" in {os.getcwd()}"
        raise ValueError(f"there is no file {given!r}{where}: correct the path, or give PEM text")


@dataclass(frozen=True)
class DaemonOptions:
    """The options of each daemon: those of `daemon()`, and `threads`."""

    asyncdial: bool | None = option("whether it waits for a host that does not listen yet")
    autoexit: bool | Literal["task"] | int | None = option(
        "whether it leaves when the connection ends, or a signal to raise then", minimum=1
    )
    cleanup: bool | int | None = option("what to put back after a task: a sum of 1, 2, 4, 8", minimum=0, maximum=15)
    output: bool | None = option("whether a local daemon's output appears in the host's")
    idletime: float | None = option("seconds without a task after which it leaves", exclusiveMinimum=0)
    walltime: float | None = option("seconds after which it leaves", exclusiveMinimum=0)
    maxtasks: int | None = option("tasks after which it leaves", minimum=1)
    kill_after: float | None = option("seconds until a local daemon that ignores a cancel is replaced", minimum=0)
    timerstart: int | None = option("tasks after which the time limits begin to count", minimum=0)
    tlscert: str | None = option("what to check the host's certificate by: a path, or PEM text")
    threads: int | None = option("how many BLAS and OpenMP may use in it", minimum=1)


@dataclass(frozen=True)
class Range:
    """Daemons that are launched as the queue grows, and leave when idle."""

    max: int = field(metadata={"description": "the most that there may be", "minimum": 1})
    min: int = field(default=0, metadata={"description": "those that stay without work", "minimum": 0})

    def __str__(self) -> str:
        return f"{self.min} to {self.max}, as the queue grows"


@dataclass(frozen=True)
class Launch:
    """Daemons to launch. In YAML the launcher's options stand beside `n` and its name, `kind`."""

    launcher: Launcher
    n: int | Range | None = None


@dataclass(frozen=True)
class Profile:
    """One compute profile: arguments of `daemons()`. None: the file does not say."""

    n: int | Range | None = option(  # noqa: RUF009 (as for the others)
        "daemons to start here, or to launch", minimum=1, examples=["{min: 0, max: 20}"]
    )
    url: str | tuple[str, ...] | None = option("where to listen for daemons", examples=["tls+tcp://:0"], check=parse)
    launcher: Launch | None = None
    remote: Launch | None = None  # the launcher, as daemons() calls it
    dispatcher: bool | None = option("whether a task waits for a daemon that is free, or takes its turn")
    sync: bool | None = option("whether tasks run in the host itself, to debug them")
    seed: int | None = option("the same random numbers in each run")
    serial: tuple[str, ...] | None = option("serializers to use", examples=["[arrow, torch]"], check=check_serializer)
    tls: str | tuple[str, str] | None = option(
        "certificate and key: a path or PEM text with both, or a list of two", check=check_certificate
    )
    password: str | None = option("of the key", repr=False, examples=["${KEY_PASSWORD}"])
    memory: int | str | None = option(
        "bytes of queued payloads", minimum=1, pattern=r"[0-9.]+ *[KMGTkmgt]?[Ii]?[Bb]?", examples=["2GB"]
    )
    heartbeat: float | None = option(
        "seconds: a daemon across a network that is silent for three times as long is gone", exclusiveMinimum=0
    )
    patience: float | None = option(
        "seconds that a daemon across a network may say nothing although its machine does", minimum=0
    )
    retry: int | None = option("how often a task whose daemon was lost is given to another one", minimum=0)
    daemon: DaemonOptions | None = None

    def __post_init__(self) -> None:
        if self.launcher and self.remote:
            raise ValueError("launcher and remote mean the same: keep one of them")
        launch = self.launcher or self.remote
        if not (self.n or self.url or self.sync or launch):
            raise ValueError("no daemons: add n, for those to start here, or url, for those that dial in")
        if self.n and launch and launch.n:
            raise ValueError("n stands both here and in the launcher: keep one of them")

    def daemon_options(self) -> dict[str, Any]:
        """Those that are given."""
        return _given(self.daemon) if self.daemon else {}

    def arguments(self) -> dict[str, Any]:
        """What to give to `daemons()`, beside `compute`."""
        arguments = _given(self)
        arguments.pop("daemon", None)
        arguments |= self.daemon_options()
        if launch := arguments.pop("launcher", None) or arguments.pop("remote", None):
            arguments["remote"] = launch.launcher
            if launch.n:
                arguments["n"] = launch.n
        if isinstance(n := arguments.get("n"), Range):
            arguments["n"] = {"min": n.min, "max": n.max}
        if self.password is not None:
            arguments["password"] = lambda: self.password
        return arguments


@dataclass(frozen=True)
class File:
    """All of it."""

    profiles: Mapping[str, Profile]

    def __post_init__(self) -> None:
        if not self.profiles:
            raise ValueError("no profile: write one, such as 'default: {n: 4}'")


def _given(options: DataclassInstance) -> dict[str, Any]:
    values = {key.name: getattr(options, key.name) for key in fields(options)}
    return {name: value for name, value in values.items() if value is not None}
