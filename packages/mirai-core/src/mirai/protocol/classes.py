"""Classes that go by value, as those of `__main__` do: made where they are not known, found again where they are.

cloudpickle gives each of them a number, by which it is found again, and then sets its attributes to those that
arrive. That is right where a host sends what it has changed. But what comes back must not turn back what the host
has changed meanwhile, nor cut its methods off from its variables; and a task that is evaluated in the host itself
must not do that either. It also leaves `__slots__` out.
"""

from __future__ import annotations

import weakref
from types import MemberDescriptorType

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TWIN = "-twin"  # ends the number of a class that stands for one of this very process

# Whether tasks are evaluated in the process that sends them: they get classes of their own.
apart = 0

_brought_back: weakref.WeakSet[type] = weakref.WeakSet()  # by results: what others bring back may change them


def reduction(cls: type, reduced: tuple[Any, ...], *, to_daemon: bool) -> tuple[Any, ...]:
    """What to pickle for a class, given what cloudpickle would; for one that goes by reference, that."""
    from cloudpickle import cloudpickle

    if len(reduced) != 6 or reduced[5] is not cloudpickle._class_setstate:
        return reduced
    make, args, state = reduced[:3]
    if make is cloudpickle._make_skeleton_class:
        args, state = _with_slots(cls, args, state)
    found, changed = (_for_a_task, _change) if to_daemon else (_brought, _change_if_brought)
    return found, (make, *args), state, None, None, changed


def _with_slots(cls: type, args: tuple[Any, ...], state: Any) -> tuple[tuple[Any, ...], Any]:
    import typing

    if "__slots__" not in vars(cls) or typing.NamedTuple in vars(cls).get("__orig_bases__", ()):
        return args, state  # a named tuple makes its own
    descriptors = [
        name
        for name, value in vars(cls).items()
        if isinstance(value, MemberDescriptorType) and value.__objclass__ is cls
    ]
    slots = (*descriptors, *(name for name in ("__dict__", "__weakref__") if name in vars(cls)))
    kind, name, bases, names, *rest = args
    attributes, slotstate = state
    attributes = {name: value for name, value in attributes.items() if name not in descriptors}
    return (kind, name, bases, {**names, "__slots__": slots}, *rest), (attributes, slotstate)


def _for_a_task(make: Callable[..., type], *args: Any) -> type:
    """The class, as a task needs it."""
    *others, number, extra = args
    cls = _known(number)
    if cls is not None and apart and not number.endswith(TWIN):
        number += TWIN
        cls = _known(number)
    return make(*others, number, extra) if cls is None else cls


def _brought(make: Callable[..., type], *args: Any) -> type:
    """The class, as a result needs it."""
    *others, number, extra = args
    number = number.removesuffix(TWIN)
    cls = _known(number)
    if cls is None:
        cls = make(*others, number, extra)
        _brought_back.add(cls)
    return cls


def _change(cls: type, state: Any) -> None:
    from cloudpickle import cloudpickle

    cloudpickle._class_setstate(cls, state)


def _change_if_brought(cls: type, state: Any) -> None:
    if cls in _brought_back:
        _change(cls, state)


def _known(number: str) -> type | None:
    from cloudpickle import cloudpickle

    found: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    return found
