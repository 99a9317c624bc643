"""NumPy arrays that pickle would copy several times: of dates, of no usual layout, mapped from files.

All others have their buffers beside the pickle anyway, as have the columns of pandas, which are arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import dtype, ndarray

cls = "numpy.ndarray"

LARGE = 32 * 1024  # bytes; what is smaller stands in the pickle


def dump(array: ndarray[Any, Any], /) -> Any:
    """The class, type, shape and an array that pickle does not copy; `NotImplemented` where it is that itself."""
    import numpy

    if array.nbytes < LARGE or array.dtype.hasobject:
        return NotImplemented
    kind = type(array)
    if kind is not numpy.ndarray:
        if kind not in (numpy.memmap, numpy.recarray, numpy.matrix):
            return NotImplemented  # it may hold more than its elements
        return kind, None, None, array.view(numpy.ndarray)
    if 0 in array.strides and not array.flags.writeable:
        once = array[tuple(slice(1) if step == 0 else slice(None) for step in array.strides)]
        return None, None, array.shape, once
    if array.dtype.kind in "mM" or (array.dtype.kind == "V" and array.dtype.fields and _has_dates(array.dtype)):
        # Such a type cannot be told to who is given the buffer.
        return None, array.dtype, None, array.view(f"V{array.itemsize}")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        copy = numpy.ascontiguousarray(array)
        copy.flags.writeable = array.flags.writeable
        return None, None, None, copy
    return NotImplemented


def load(parts: tuple[type[ndarray[Any, Any]] | None, dtype[Any] | None, tuple[int, ...] | None, Any], /) -> Any:
    """The reverse; it keeps views into the data."""
    import numpy

    kind, dtype, shape, array = parts
    if dtype is not None:
        array = array.view(dtype)
    if shape is not None:
        array = numpy.broadcast_to(array, shape)
    return array if kind is None else array.view(kind)


def _has_dates(dtype: dtype[Any]) -> bool:
    if dtype.fields is not None:
        return any(_has_dates(field[0]) for field in dtype.fields.values())
    return dtype.base.kind in "mM" if dtype.subdtype is None else _has_dates(dtype.base)
