"""daemons(): set and reset a compute profile, and choose the current one."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, SupportsIndex

from mirai.api.launching import check_launcher
from mirai.api.serial import chosen
from mirai.api.submit import is_duration
from mirai.api.visiting import answer
from mirai.protocol.direct import RoundRobin
from mirai.protocol.elastic import Elastic
from mirai.protocol.heartbeat import BEAT, PATIENCE
from mirai.protocol.scheduler import Scheduler
from mirai.protocol.seeds import stream
from mirai.runtime import evaluate
from mirai.runtime import profile as profiles
from mirai.runtime.dispatcher import Dispatcher
from mirai.runtime.options import Options
from mirai.runtime.profile import START, Profile
from mirai.runtime.sync import Sync
from mirai.runtime.tracing import of_url, spanning
from mirai.transport.urls import TLS_SCHEMES, host_url, local_url, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Token
    from types import TracebackType

    from mirai.api.serial import Serial
    from mirai.hookspecs import Launcher
    from mirai.transport.tls import Identity


class Unset:
    """The type of `UNSET`, the default where None means something else."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


class Daemons:
    """The daemons of a profile. As a context manager, makes it the current one, and resets it on exit."""

    def __init__(self, compute: str, n: int) -> None:
        """Made by `daemons()`."""
        self.compute = compute
        self.n = n
        self._token: Token[str] | None = None

    def __bool__(self) -> bool:
        return daemons_set(self.compute)

    def __repr__(self) -> str:
        return f"< daemons {self.n if self else 'reset'} > profile {self.compute!r}"

    def __enter__(self) -> Daemons:
        self._token = profiles.current.set(self.compute)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            try:
                profiles.current.reset(self._token)
            except ValueError:
                pass  # left in another context than it was entered in: what is current there is not ours
            self._token = None
        profiles.remove(self.compute)

    async def __aenter__(self) -> Daemons:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def daemons(
    n: int | Mapping[str, int] | Unset | None = UNSET,
    *,
    url: str | Sequence[str] | None = None,
    remote: Launcher | None = None,
    dispatcher: bool = True,
    sync: bool = False,
    seed: int | None = None,
    serial: Serial | None = None,
    tls: str | os.PathLike[str] | tuple[str, str] | None = None,
    password: Callable[[], str | bytes] | None = None,
    memory: int | str | None = None,
    retry: int = 0,
    heartbeat: float | None = BEAT,
    patience: float = PATIENCE,
    compute: str | None = None,
    **daemon_options: Any,
) -> Daemons:
    """Set the daemons of a profile, or reset it. Setting again resets first.

    Args:
        n: start so many local daemons, ready on return. 0: reset, daemons leave, unresolved tasks resolve
            to `ConnectionReset`. None: the same, and tells persistent daemons to exit. `{"min": 0, "max": 20}`: between
            these, launched as the queue grows; they leave when idle for `idletime`, save the first `min`.
        url: listen there, or at several addresses, and let daemons dial in at any time. Where others can reach them,
            only daemons that hold a ticket are let in: those started here or by `launch_remote()`.
        remote: a launcher, which starts the `n` daemons elsewhere, without waiting for them (`status().launches` has
            what becomes of them). They dial `url`, unless given a `tls+tcp` address of this host that others can reach.
        dispatcher: False: tasks go to the daemons round robin, at once.
        sync: evaluate tasks in this process at the call, so that `breakpoint()` works in them. Nothing can interrupt
            such a task: one that takes longer than its `_timeout` resolves to `TimedOut` when it is through.
        seed: each task has a random stream of its own, the same whatever the number of daemons; without,
            each daemon has.
        serial: what objects go by that cannot be pickled, or not cheaply: what `serial_config()` returns, names of
            plugins' serializers, such as "arrow", or several of these. Of two for one class the first one is used.
            Unless given: what `register_serial()` was told, and all that plugins provide.
        tls: for addresses with TLS, the host's certificate and key: a path or PEM text with both, or one for each,
            `(certificate, key)`. Unless given, new ones are made for this session; the key never leaves this process,
            and daemons started from here accept no other certificate.
        password: returns the password of an encrypted key; called only where there is one.
        memory: bytes, or as in "200MB": budget for the queued payloads; `mirai()` waits when it is full.
        retry: how often a task whose daemon was lost is given to another one.
        heartbeat: seconds. A daemon across a network that is silent for three times as long is gone: its machine, or
            the way to it. None: it may be silent. One whose task lets no other thread of Python run is silent, too, but
            its machine answers, and that is enough (docs/protocol.md, for where that cannot be asked).
        patience: seconds after which such a daemon is given up all the same: it may be stopped. `inf`: never.
        compute: the profile's name; the current one unless given.
        **daemon_options: as for `daemon()`; and `threads`, what BLAS and OpenMP may use in each; and
            `kill_after`, seconds after which a local daemon whose task does not end on being cancelled, or
            timed out, is killed and replaced.

    Raises:
        TypeError, ValueError: names the argument and what it may be; nothing was changed.
        DaemonStartError: a daemon could not start; with its stderr. The profile is not set.
        OSError: the url cannot be listened on, or the launcher cannot start anything. The profile is not set.

    Source: `daemons()` in R.
    """
    if isinstance(n, Unset) and url is None and remote is None and not sync:
        raise TypeError("daemons() needs a number, as in daemons(4), or url=; daemons(0) resets")
    name = profiles.chosen(compute)
    for argument, value in (("sync", sync), ("dispatcher", dispatcher)):
        if not isinstance(value, bool):
            raise TypeError(f"{argument}={value!r}: give True or False")
    check_launcher(remote)
    elastic = _elastic(n, daemon_options) if isinstance(n, Mapping) else None
    count = remote.places if remote is not None and isinstance(n, Unset) else elastic.least if elastic else _count(n)
    urls = _urls(url)
    options = daemon_options
    kill_after = options.pop("kill_after", None)
    if kill_after is not None and not is_duration(kill_after):
        raise ValueError(f"kill_after={kill_after!r}: give seconds, 0 or more")
    checked = Options(**options)
    _whole("retry", retry, 0)
    if seed is not None:
        _whole("seed", seed, None)
    budget = None if memory is None else _size(memory)
    serializers = None if serial is None else chosen(serial)  # plugins are looked for while daemons start
    if remote is not None and not urls and (count or elastic):
        # What comes out of a tunnel comes from this machine.
        urls = [local_url(tcp=True) if getattr(remote, "tunnel", False) is True else host_url(tls=True)]
    if heartbeat is not None and not (is_duration(heartbeat) and 0 < heartbeat < inf):
        raise ValueError(f"heartbeat={heartbeat!r}: give seconds, more than 0, or None")
    if not is_duration(patience):
        raise ValueError(f"patience={patience!r}: give seconds, 0 or more")
    certificate = _identity(urls, tls, password)
    if count and evaluate.mapping:
        from mirai.api.mapping import NESTED

        raise RuntimeError(NESTED)
    profiles.remove(name, tell_persistent=n is None)
    if not (sync or count or urls or elastic):
        return Daemons(name, 0)
    attributes = {"mirai.compute": name, "mirai.daemons": count, "mirai.dispatcher": dispatcher and not sync}
    with spanning("daemons set", attributes) as span:
        if sync:
            used = chosen(None) if serial is None else serializers
            profile = Profile(name, Sync(checked.cleanup, seeded=seed is not None, serializers=used), seed=seed)
            profile.origin = None if span is None else span.context
            profiles.put(profile)
            return Daemons(name, 0)
        scheduler = Scheduler() if dispatcher else RoundRobin()
        service = Dispatcher(
            urls or None,
            scheduler=scheduler,
            memory=budget,
            kill_after=kill_after,
            tls=certificate,
            heartbeat=heartbeat,
            patience=patience,
            open=False,
        )
        profile = Profile(name, service, memory=budget, retry=retry, seed=seed, options=options, remote=remote)
        if span is not None:
            span.set(of_url(service.url))
            profile.origin = service.origin = span.context
        stay = {"idletime": None} if elastic else {}
        try:
            if remote is None:
                profile.start_local(count, stay)
            service.open(chosen(None) if serial is None else serializers)
            if remote is None:
                service.wait_for_daemons(count, START)
            elif count:
                profile.launch(remote, count, stay)
        except BaseException:
            profile.close()
            raise
        service.visits.answer = partial(answer, profile)
        profiles.put(profile)
        if elastic:
            profile.grow(elastic)
    return Daemons(name, count)


def daemons_set(compute: str | None = None) -> bool:
    """Whether daemons are set for the profile, the current one unless named."""
    return profiles.get(compute) is not None


def require_daemons(compute: str | None = None) -> None:
    """Check that daemons are set.

    Raises:
        NoDaemonsError: says how to set them.
    """
    profiles.require(compute)


def on_daemon() -> bool:
    """Whether this runs in a task."""
    return evaluate.evaluating > 0


@contextmanager
def with_daemons(compute: str) -> Iterator[None]:
    """Make the profile the current one inside, for this thread or asyncio task.

    Raises:
        NoDaemonsError: it is not set.
    """
    profiles.require(compute)
    token = profiles.current.set(compute)
    try:
        yield
    finally:
        profiles.current.reset(token)


def local_daemons(compute: str) -> None:
    """Make the profile the current one for the rest of this context: the thread, or the asyncio task.

    Raises:
        NoDaemonsError: it is not set.

    Source: `local_daemons()` in R, whose effect ends with the calling function.
    """
    profiles.require(compute)
    profiles.current.set(compute)


def nextstream(compute: str | None = None) -> list[int] | None:
    """The next random stream of the profile, as the seed of a generator: 8 words of 32 bits.

    With `daemons(seed=…)` it is the one that the next mirai would have had; without, one that no other
    has. None where no daemons are set.

    Source: `nextstream()` in R.
    """
    profile = profiles.get(compute)
    if profile is None:
        return None
    return stream(*(profile.next_seed() if profile.seed is not None else (int.from_bytes(os.urandom(32)), 0)))


def _urls(url: object) -> list[str]:
    urls = [] if url is None else [url] if isinstance(url, str) else url
    if not isinstance(urls, Sequence) or not all(isinstance(each, str) for each in urls):
        raise TypeError(f"url={url!r}: give text, or a list of texts")
    if url is not None and not urls:
        raise ValueError(f"url={url!r}: give one address at least, or leave it out")
    for each in urls:
        parse(each)
    return list(urls)


def _identity(urls: list[str], tls: Any, password: Any) -> Identity | None:
    """What to listen with, made before anything is changed."""
    if not any(parse(url).scheme in TLS_SCHEMES for url in urls):
        if tls is not None or password is not None:
            given = "tls" if tls is not None else "password"
            raise ValueError(f"{given}= is for addresses with TLS: give url='tls+tcp://:0', or leave it out")
        return None
    from mirai.transport.tls import identity

    return identity(tls, password)


def _elastic(n: Mapping[str, int], options: Mapping[str, Any]) -> Elastic:
    given = dict(n)
    least, most = given.pop("min", 0), given.pop("max", None)
    for name in given:
        raise TypeError(f"n has no key {name!r}, only min and max")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ValueError(f"n={n!r}: give max, the most daemons that there may be, 1 or more")
    if isinstance(least, bool) or not isinstance(least, int) or not 0 <= least <= most:
        raise ValueError(f"n={n!r}: give a min between 0 and max, or leave it out")
    if options.get("idletime", inf) == inf and least < most:
        raise ValueError(f"n={n!r} needs idletime=: the seconds after which a daemon that nobody needs leaves")
    return Elastic(least, most)


def _count(n: object) -> int:
    if n is None or isinstance(n, Unset):
        return 0
    if isinstance(n, bool) or not isinstance(n, SupportsIndex):
        hint = "; did you mean url=?" if isinstance(n, str) and "://" in n else ""
        raise TypeError(f"n={n!r}: give the number of daemons, as in daemons(4){hint}")
    number = operator.index(n)  # NumPy's integers too
    if number < 0:
        raise ValueError(f"n={n}: give 0 or more; daemons(0) resets")
    return number


def _whole(name: str, value: object, least: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise ValueError(f"{name}={value!r}: give a whole number" + ("" if least is None else f", {least} or more"))


def _size(size: int | str) -> int:
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    text = str(size).replace(" ", "")
    digits = text.rstrip("BGIKMTbgikmt")
    try:
        number = float(digits) * UNITS[text[len(digits) :].upper()]
    except (ValueError, KeyError):
        number = 0
    if not isinstance(size, str) or not number > 0:
        raise ValueError(f"memory={size!r}: give bytes, or a text such as '200MB'")
    return int(number)
