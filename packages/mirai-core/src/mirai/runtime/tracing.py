"""Spans of OpenTelemetry, where a program has set a tracer up; where not, none of it is imported.

What a user's exporters do on a span's beginning and end is code of the user's: nothing here is called under a lock.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

API = "opentelemetry.trace"  # the module that a program imports to set a tracer up
NAME = "mirai"  # the tracer's
UNIX = ("ipc", "abstract")  # schemes whose transport is a Unix socket

log = logging.getLogger("mirai")

_cached: tuple[Any, Any] = (None, None)  # a provider of tracers, and its tracer


def tracer() -> Any:
    """The tracer that is set up in this process, or None."""
    global _cached
    api: Any = sys.modules.get(API)
    if api is None or not hasattr(api, "ProxyTracerProvider"):  # which is in the middle of being imported
        return None
    provider = api.get_tracer_provider()
    if provider is not _cached[0]:
        is_set_up = not isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider))
        _cached = provider, _tracer_of(provider) if is_set_up else None
    return _cached[1]


def _tracer_of(provider: Any) -> Any:
    from importlib.metadata import version

    return provider.get_tracer(NAME, version("mirai-core"))


class Span:
    """One span. None of its methods raises, whatever an exporter does."""

    __slots__ = ("_api", "_span", "context")

    def __init__(
        self,
        tracer: Any,
        name: str,
        kind: str,
        attributes: Mapping[str, Any],
        links: Iterable[Any] = (),
        *,
        parent: Any = None,
        at: int | None = None,
    ) -> None:
        """Begin it.

        Args:
            tracer: makes it.
            name: what it is of.
            kind: the name of one of OpenTelemetry's kinds.
            attributes: those that are None are left out.
            links: contexts of other spans; those that are None are left out.
            parent: the span or the context in which it is; what is current unless given.
            at: nanoseconds since the epoch; now unless given.
        """
        self._api: Any = sys.modules[API]
        within = self._api.set_span_in_context(parent._span) if isinstance(parent, Span) else parent
        self._span: Any = self._api.INVALID_SPAN
        try:
            self._span = tracer.start_span(
                name,
                context=within,
                kind=getattr(self._api.SpanKind, kind),
                attributes={key: value for key, value in attributes.items() if value is not None},
                links=[self._api.Link(context) for context in links if context is not None],
                start_time=at,
            )
        except Exception:
            log.warning("span %r could not be begun", name, exc_info=True)
        self.context = self._span.get_span_context()  # by which others can link to it

    def set(self, attributes: Mapping[str, Any]) -> None:
        """More attributes; those that are None are left out."""
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(name, value)

    def carrier(self) -> dict[str, str]:
        """What takes its context, and the program's baggage, to another process."""
        from opentelemetry import propagate

        carried: dict[str, str] = {}
        try:
            propagate.inject(carried, self._api.set_span_in_context(self._span))
        except Exception:
            log.warning("the context of span %r could not be written", self._span, exc_info=True)
        return carried

    def end(self, error: BaseException | str | None = None, kind: str = "", *, at: int | None = None) -> None:
        """It is over; where it failed, by what: an exception, or text and the name of its class."""
        span = self._span
        try:
            if error is not None:
                if isinstance(error, BaseException):
                    kind = kind or _name_of(type(error))
                    span.record_exception(error)
                text = str(error)
                span.set_attribute("error.type", kind)
                span.set_status(self._api.StatusCode.ERROR, f"{kind}: {text}" if text else kind)
            span.end(at)
        except Exception:
            log.warning("span %r could not be ended", span, exc_info=True)


@contextmanager
def spanning(name: str, attributes: Mapping[str, Any], links: Iterable[Any] = ()) -> Iterator[Span | None]:
    """A span as long as its block, which fails where that raises; None where no tracer is set up."""
    if (found := tracer()) is None:
        yield None
        return
    span = Span(found, name, "INTERNAL", attributes, links)
    try:
        yield span
    except BaseException as error:
        span.end(error)
        raise
    span.end()


def event(name: str, attributes: Mapping[str, Any], links: Iterable[Any] = (), error: str = "") -> Any:
    """A span of its own of what happens at one time; its context, None where no tracer is set up."""
    if (found := tracer()) is None:
        return None
    from opentelemetry.context import Context

    now = time.time_ns()
    span = Span(found, name, "INTERNAL", attributes, links, parent=Context(), at=now)
    span.end(error or None, "ConnectionReset", at=now)
    return span.context


def _name_of(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def of_function(task: object) -> str:
    """A function's name, for the attribute `code.function.name`; text is the task's own."""
    if isinstance(task, str):
        return "<mirai>"
    name = getattr(task, "__qualname__", None) or type(task).__qualname__
    module = getattr(task, "__module__", None)
    return f"{module}.{name}" if isinstance(module, str) else str(name)


def of_url(url: str | None) -> dict[str, Any]:
    """The attributes of an address, by OpenTelemetry's general attributes and those of the network."""
    if not url or API not in sys.modules:
        return {}
    from mirai.transport.urls import parse

    parsed = parse(url.partition(", ")[0])  # of several the first
    if parsed.scheme in UNIX:
        return {"server.address": parsed.place, "network.transport": "unix"}
    return {"server.address": parsed.place, "server.port": parsed.port, "network.transport": "tcp"}


class Evaluation:
    """The span of a task in evaluation, current while that lasts."""

    def __init__(self, found: Any, carried: Mapping[str, str], function: str) -> None:
        from opentelemetry import context, propagate

        within = propagate.extract(carried)
        self._span = Span(found, "daemon eval", "SERVER", {"code.function.name": function}, parent=within)
        self._context: Any = context
        self._token = context.attach(self._span._api.set_span_in_context(self._span._span, within))

    def end(self, error: BaseException | str | None, kind: str) -> None:
        """It has a value, or failed."""
        self._context.detach(self._token)
        self._span.end(error, kind)


def evaluation(carried: Mapping[str, str], function: str) -> Evaluation | None:
    """Begin the span of a task whose host traces it; None where no tracer is set up here."""
    try:
        return None if (found := tracer()) is None else Evaluation(found, carried, function)
    except Exception:
        log.warning("the context of a span could not be read", exc_info=True)
        return None
