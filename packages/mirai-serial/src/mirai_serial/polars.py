"""Polars data frames and series: large ones as Arrow tables, which copies nothing, else as an Arrow IPC stream."""

from __future__ import annotations

import io
import pickle
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from polars import DataFrame, LazyFrame, Series

    Kind: TypeAlias = Literal["frame", "series", "lazy"]

cls = ("polars.DataFrame", "polars.Series", "polars.LazyFrame")

PIECE = 32 * 1024  # bytes; what is smaller stands in the pickle
LARGE = 1024 * 1024  # bytes from which on it is worth while to import pyarrow


def dump(value: DataFrame | LazyFrame | Series, /) -> Any:
    """What it is, and an Arrow table, or bytes; `NotImplemented` for a class of somebody's own."""
    import polars

    if type(value) is polars.LazyFrame:
        return "lazy", _beside(value.serialize())
    if type(value) is polars.DataFrame:
        return "frame", _dumped(value)
    if type(value) is polars.Series:
        return "series", _dumped(value.to_frame())
    return NotImplemented  # it may hold more than its columns


def load(parts: tuple[Kind, Any], /) -> DataFrame | LazyFrame | Series:
    """The reverse. A frame that came as a table is of its memory."""
    import polars

    kind, data = parts
    if kind == "lazy":
        return polars.LazyFrame.deserialize(io.BytesIO(data))
    frame: Any
    if isinstance(data, bytes | bytearray | memoryview):
        frame = polars.read_ipc_stream(io.BytesIO(data))
    else:
        frame = polars.from_arrow(data, rechunk=False)
    made: DataFrame | Series = frame if kind == "frame" else frame.to_series()
    return made


def _dumped(frame: DataFrame) -> Any:
    import polars

    for name, kind in frame.schema.items():
        if kind == polars.Object:
            # Else addresses would be written, without an error.
            raise TypeError(f"its column {name!r} holds Python objects: convert it to another type")
    table = _as_arrow(frame)
    if table is not None:
        return table
    stream = io.BytesIO()
    frame.write_ipc_stream(stream, compat_level=polars.CompatLevel.newest())
    return _beside(stream.getbuffer())


def _beside(data: bytes | memoryview) -> Any:
    return pickle.PickleBuffer(data) if len(data) >= PIECE else bytes(data)


def _as_arrow(frame: DataFrame) -> Any:
    """A table of the same memory; None where that is not worth while, or cannot be."""
    import polars

    if frame.estimated_size() < LARGE or ("pyarrow" not in sys.modules and find_spec("pyarrow") is None):
        return None
    import pyarrow

    try:
        table = frame.to_arrow(compat_level=polars.CompatLevel.newest())
        empty: Any = polars.from_arrow(table.slice(0, 0))
    except pyarrow.ArrowException:
        return None  # it has no such type, as for integers of 128 bits
    if empty.schema != frame.schema:
        return None
    # Of a slice the table holds what the frame is a slice of.
    return table if 2 * _size(frame) > table.get_total_buffer_size() else None


def _size(frame: DataFrame) -> int:
    """About how many bytes it takes. `estimated_size` leaves most of the text out."""
    import polars

    lengths = frame.select(polars.col(polars.String).str.len_bytes().sum())
    return int(frame.estimated_size() + sum(lengths.row(0) if lengths.width else ()))
