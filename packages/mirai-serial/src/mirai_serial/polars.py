"""Polars data frames, as an Arrow IPC stream."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polars import DataFrame

cls = "polars.DataFrame"


def dump(value: DataFrame, /) -> memoryview:
    stream = io.BytesIO()
    value.write_ipc_stream(stream)
    return stream.getbuffer()


def load(data: bytes | memoryview, /) -> DataFrame:
    import polars

    return polars.read_ipc_stream(bytes(data))
