"""Tensors, with what they share: of each storage only the part that tensors of the message are views of.

Modules and optimizers are pickled as ever, and their tensors go this way. What is no plain tensor (sparse, quantized,
of a class of its own) is taken apart by torch, down to plain tensors and storages.
"""

from __future__ import annotations

import ctypes
import pickle
import warnings
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, TypeAlias

from mirai.hookspecs import writable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor, UntypedStorage, dtype
    from torch.storage import TypedStorage

    Value: TypeAlias = Tensor | TypedStorage | UntypedStorage

cls = ("torch.Tensor", "torch.UntypedStorage", "torch.TypedStorage")
vec = True  # all of a message together, since they may share storages

LARGE = 32 * 1024  # bytes; what is smaller stands in the pickle
ALIGNMENT = 64  # bytes: where the part of a storage begins, as elements of any type may begin there


def dump(values: Sequence[Value], /) -> list[Any]:
    """For each a function, and what to give it; `NotImplemented` where torch knows better."""
    import torch

    spans = [_span(value) for value in values]
    parts = _parts(span for span in spans if span is not None)
    dumped: list[Any] = []
    for value, span in zip(values, spans, strict=True):
        if span is None:
            dumped.append(NotImplemented)
            continue
        storage, start, _ = span
        here = parts[storage._cdata]
        part = here[bisect_right(here, start, key=_start) - 1]
        if isinstance(value, torch.UntypedStorage):
            dumped.append((_storage, part))
        elif isinstance(value, torch.TypedStorage):
            dumped.append((_typed_storage, part, value.dtype))
        else:
            shape = value.storage_offset(), tuple(value.size()), value.stride()
            is_parameter = isinstance(value, torch.nn.Parameter)
            state = dict(vars(value)) or None
            dumped.append((_tensor, part, value.dtype, *shape, value.requires_grad, is_parameter, state))
    return dumped


def load(dumped: Sequence[Any], /) -> list[Value]:
    """The reverse, with views into the memory that came, or where that is read-only, into what stands for it."""
    return [make(*parts) for make, *parts in dumped]


class _Part:
    """Of a storage, bytes that go."""

    def __init__(self, storage: UntypedStorage, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self._storage = storage
        self._content: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self._content is None:
            self._content = _content(self._storage, self.start, self.stop)
        return _arrived, (str(self._storage.device), self.start, self._content)


def _span(value: Value) -> tuple[UntypedStorage, int, int] | None:
    """The storage, and from where to where in it the value is, in bytes; None where that cannot be said."""
    import torch

    if isinstance(value, torch.UntypedStorage):
        return value, 0, value.nbytes()
    if isinstance(value, torch.TypedStorage):
        return value._untyped_storage, 0, value._untyped_storage.nbytes()
    if not _is_plain(value):
        return None
    storage = value.untyped_storage()
    if not value.numel():
        return storage, 0, 0
    last = sum((int(n) - 1) * int(step) for n, step in zip(value.size(), value.stride(), strict=True))
    first = int(value.storage_offset()) * value.itemsize
    return storage, first // ALIGNMENT * ALIGNMENT, first + (last + 1) * value.itemsize


def _start(part: _Part) -> int:
    return part.start


def _parts(spans: Iterable[tuple[UntypedStorage, int, int]]) -> dict[int, list[_Part]]:
    """The parts that they make together, by storage, in order: those that overlap are one."""
    parts: dict[int, list[_Part]] = {}
    for storage, start, stop in sorted(spans, key=lambda span: span[1:]):
        here = parts.setdefault(storage._cdata, [])
        if here and start < here[-1].stop:
            here[-1].stop = max(here[-1].stop, stop)
        else:
            here.append(_Part(storage, start, stop))
    return parts


class _Arrived:
    """That part, on the other side."""

    def __init__(self, storage: UntypedStorage, start: int) -> None:
        self.storage, self.start = storage, start


def _is_plain(tensor: Tensor) -> bool:
    import torch

    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and torch._C._has_storage(tensor)
        and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested or tensor.is_conj() or tensor.is_neg())
        and not (tensor._is_zerotensor() or any(getattr(tensor, "names", ())))
    )


def _content(storage: UntypedStorage, start: int, stop: int) -> Any:
    if start == stop:
        return b""
    if storage.device.type != "cpu":
        storage, start, stop = _fetched(storage, start, stop), 0, stop - start
    memory: Any = (ctypes.c_ubyte * (stop - start)).from_address(storage.data_ptr() + start)
    memory.storage = storage  # which it must not outlive
    return pickle.PickleBuffer(memory) if len(memory) >= LARGE else bytes(memory)


def _arrived(device: str, start: int, content: Any) -> _Arrived:
    import torch

    tensor = torch.empty(0, dtype=torch.uint8)
    if len(content):
        # No tensor is read-only.
        tensor = torch.frombuffer(writable(memoryview(content)), dtype=torch.uint8)
    if device != "cpu":
        try:
            tensor = _put(tensor, device)
        except (AssertionError, NotImplementedError, RuntimeError) as error:
            why = str(error).partition("\n")[0]
            warnings.warn(f"a tensor from {device} is on the CPU here: {why}", RuntimeWarning, stacklevel=2)
    return _Arrived(tensor.untyped_storage(), start)


def _fetched(storage: UntypedStorage, start: int, stop: int) -> UntypedStorage:
    """These bytes of a device's memory, on the CPU."""
    import torch

    there = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    return there[start:stop].cpu().untyped_storage()


def _put(tensor: Tensor, device: str) -> Tensor:
    """The same on a device.

    Raises:
        AssertionError, NotImplementedError, RuntimeError: torch's, where there is no such device, or no room on it.
    """
    return tensor.to(device)


def _storage(arrived: _Arrived) -> UntypedStorage:
    return arrived.storage


def _typed_storage(arrived: _Arrived, dtype: dtype) -> TypedStorage:
    from torch.storage import TypedStorage

    make: Any = TypedStorage
    made: TypedStorage = make(wrap_storage=arrived.storage, dtype=dtype, _internal=True)
    return made


def _tensor(
    arrived: _Arrived,
    dtype: dtype,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
    is_parameter: bool,
    state: dict[str, Any] | None,
) -> Tensor:
    import torch

    storage = arrived.storage
    tensor = torch.empty(0, dtype=dtype, device=storage.device)
    at = offset - arrived.start // dtype.itemsize if len(storage) else 0
    tensor.set_(storage, at, size, stride)
    if is_parameter:
        tensor = torch.nn.Parameter(tensor, requires_grad)
    elif requires_grad:
        tensor.requires_grad_()
    if state:
        vars(tensor).update(state)
    return tensor
