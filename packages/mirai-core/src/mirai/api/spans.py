"""The spans of mirais and maps, from their submission until they are resolved, where a tracer is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mirai.runtime.tracing import Span, of_function, tracer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mirai.api.future import Mirai
    from mirai.runtime.profile import Profile


class Traced:
    """A task that is traced: its span, and that of the map that it is of."""

    def __init__(self, span: Span, function: str, whole: TracedMap | None = None) -> None:
        self.span = span
        self.extras = {"trace": (span.carrier(), function)}  # what travels beside the call
        self._whole = whole
        self._open = [span]  # until it has ended

    def resolved(self, error: str | None, kind: str) -> None:
        """It has a value, or failed with an error of that class, as text. Said again, it does nothing."""
        try:
            self._open.pop().end(error, kind)
        except IndexError:
            return
        if self._whole is not None:
            self._whole.one_is_resolved()

    def refused(self, error: BaseException) -> None:
        """It was not submitted, unless it is resolved already."""
        if self._open:
            self._open.pop().end(error)


class TracedMap:
    """A map that is traced."""

    def __init__(self, span: Span, function: str, links: list[Any], compute: str) -> None:
        self._span = span
        self._open = [span]  # until it has ended
        self._function, self._links, self._compute = function, links, compute
        self._resolved: list[None] = []  # one for each: to append needs no lock
        self._total: int | None = None

    def element(self) -> Traced:
        """One that is about to be submitted."""
        return Traced(_begin(self._function, self._compute, self._links, self._span), self._function, self)

    def one_is_resolved(self) -> None:
        """Whichever thread notices."""
        self._resolved.append(None)
        self._end_if_all_are()

    def submitted(self, total: int) -> None:
        """There will be no more."""
        self._span.set({"mirai.tasks": total})
        self._total = total
        self._end_if_all_are()

    def refused(self, error: BaseException) -> None:
        """An element could not be drawn or submitted; those before it are cancelled."""
        self._end(error)

    def _end_if_all_are(self) -> None:
        if self._total is not None and len(self._resolved) >= self._total:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        try:
            self._open.pop().end(error)
        except IndexError:
            pass  # another thread has


def trace(task: object, profile: Profile | None, awaited: Mapping[Any, Mirai[Any]] | None) -> Traced | None:
    """Begin the span of a task that is about to be submitted; None where no tracer is set up."""
    if tracer() is None:
        return None
    links = [m._traced.span.context for m in (awaited or {}).values() if m._traced is not None]
    function = of_function(task)
    compute = "default" if profile is None else profile.name
    origin = None if profile is None else profile.origin
    return Traced(_begin(function, compute, [origin, *links]), function)


def trace_map(task: object, profile: Profile) -> TracedMap | None:
    """Likewise for a map."""
    if (found := tracer()) is None:
        return None
    function = of_function(task)
    attributes = {"mirai.compute": profile.name, "code.function.name": function}
    span = Span(found, "mirai_map", "INTERNAL", attributes, [profile.origin])
    return TracedMap(span, function, [profile.origin], profile.name)


def _begin(function: str, compute: str, links: Iterable[Any], parent: Span | None = None) -> Span:
    attributes = {"mirai.compute": compute, "code.function.name": function}
    return Span(tracer(), "mirai", "CLIENT", attributes, links, parent=parent)
