"""Arrow tables and arrays: large ones as they are, which copies nothing; small ones and slices as an IPC stream."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from pyarrow import Array, ChunkedArray, DataType, RecordBatch, Table
    from pyarrow.dataset import InMemoryDataset

    Value: TypeAlias = Array | ChunkedArray | InMemoryDataset | RecordBatch | Table
    Kind: TypeAlias = Literal["table", "batch", "chunked", "array", "dataset"]

cls = (
    "pyarrow.Table",
    "pyarrow.RecordBatch",
    "pyarrow.ChunkedArray",
    "pyarrow.Array",
    "pyarrow.dataset.InMemoryDataset",
)

SMALL = 256 * 1024  # bytes; up to there a copy takes less than pickle does for a few columns
PIECE = 32 * 1024  # bytes of a chunk; the same for each of many


def dump(value: Value, /) -> Any:
    """The IPC stream, with what it is of. `NotImplemented` where pickle, which sends buffers whole, is better.

    A slice refers to all of the buffers that it is of.
    """
    import pyarrow

    dataset = _dataset()
    if dataset is not None and isinstance(value, dataset.InMemoryDataset):
        return "dataset", value.to_table()
    if not _wants_stream(value):
        return NotImplemented
    kind, table = _as_table(value)
    if any(map(_is_extension, table.schema.types)):
        return NotImplemented  # a reader that has not registered them would take them for something else
    size = pyarrow.MockOutputStream()
    with pyarrow.ipc.new_stream(size, table.schema) as writer:
        writer.write_table(table)
    data = pyarrow.allocate_buffer(size.size())
    with pyarrow.ipc.new_stream(pyarrow.FixedSizeBufferWriter(data), table.schema) as writer:
        writer.write_table(table)
    return kind, pickle.PickleBuffer(data) if data.size > PIECE else data.to_pybytes()


def load(parts: tuple[Kind, Any], /) -> Value:
    """The reverse; it keeps views into the data."""
    import pyarrow

    kind, data = parts
    if kind == "dataset":
        import pyarrow.dataset

        return pyarrow.dataset.dataset(data)
    table = pyarrow.ipc.open_stream(data).read_all()
    if kind == "table":
        return table
    if kind == "chunked":
        return table.column(0)
    batch = table.to_batches()[0] if table.num_rows else _empty_batch(table)
    return batch if kind == "batch" else batch.column(0)


def _wants_stream(value: Array | ChunkedArray | RecordBatch | Table) -> bool:
    whole = value.get_total_buffer_size()
    if whole < SMALL:
        return True
    if 2 * value.nbytes < whole:
        return True
    return bool(value.nbytes < PIECE * _pieces(value))


def _pieces(value: Array | ChunkedArray | RecordBatch | Table) -> int:
    columns = value.columns if hasattr(value, "columns") else [value]
    return sum(getattr(column, "num_chunks", 1) for column in columns)


def _as_table(value: Array | ChunkedArray | RecordBatch | Table) -> tuple[Kind, Table]:
    import pyarrow

    if isinstance(value, pyarrow.Table):
        return "table", value
    if isinstance(value, pyarrow.RecordBatch):
        return "batch", pyarrow.Table.from_batches([value])
    kind: Kind = "chunked" if isinstance(value, pyarrow.ChunkedArray) else "array"
    return kind, pyarrow.Table.from_arrays([value], [""])


def _empty_batch(table: Table) -> RecordBatch:
    import pyarrow

    if not table.num_columns:
        return pyarrow.RecordBatch.from_struct_array(pyarrow.array([], pyarrow.struct([]))).replace_schema_metadata(
            table.schema.metadata
        )
    arrays = [column.chunk(0) if column.num_chunks else pyarrow.array([], column.type) for column in table.columns]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=table.schema)


def _is_extension(kind: DataType) -> bool:
    """Whether it, or a type that it is made of, is one that somebody has to register."""
    import pyarrow

    if isinstance(kind, pyarrow.BaseExtensionType):
        return True
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    inner += [kind.value_type] if pyarrow.types.is_dictionary(kind) else []
    return any(map(_is_extension, inner))


def _dataset() -> Any:
    """`pyarrow.dataset`, where somebody has imported it: else there is no object of it."""
    import sys

    return sys.modules.get("pyarrow.dataset")
