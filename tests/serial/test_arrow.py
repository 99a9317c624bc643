"""Arrow tables and arrays go out and come back, without more than is theirs."""

from __future__ import annotations

import pytest

from mirai import mirai
from tests.serial import tasks

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: `tox run -e libraries` installs it")
dataset = pytest.importorskip("pyarrow.dataset")

ROWS = 100_000
LARGE = pyarrow.table({"x": [float(i) for i in range(ROWS)], "s": [f"text {i}" for i in range(ROWS)]})

TABLES = {
    "nulls": lambda: pyarrow.table({"x": [1, None, 3], "y": ["a", "b", None]}),
    "no rows": lambda: pyarrow.table({"x": pyarrow.array([], pyarrow.int8())}),
    "no columns": lambda: pyarrow.table({}),
    "metadata": lambda: pyarrow.table({"x": [[1, 2], []]}).replace_schema_metadata({"a": "b"}),
    "dictionary": lambda: pyarrow.table({"x": pyarrow.array(["a", "b", "a"]).dictionary_encode()}),
    "extension": lambda: pyarrow.table({"x": pyarrow.array([b"0" * 16], pyarrow.uuid())}),
    "large": lambda: LARGE,
    "slice": lambda: LARGE.slice(10, 20),
    "slice of nothing": lambda: LARGE.slice(10, 0),
    "many chunks": lambda: pyarrow.concat_tables([LARGE.slice(i, 1000) for i in range(0, 60_000, 1000)]),
    "views": lambda: pyarrow.table({"x": LARGE["s"].cast(pyarrow.string_view())}),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_comes_back(table, send):
    """Types, nulls and metadata too."""
    arrived = send([table()]).value[0]

    assert type(arrived) is pyarrow.Table
    assert arrived.equals(table(), check_metadata=True)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_a_table_is_made_of_comes_back(table, send):
    """Batches, columns and their chunks; empty ones too."""
    batches = table().to_batches()
    columns = table().columns
    chunks = [chunk for column in columns for chunk in column.chunks[:3]]
    empty = [column.type for column in columns]
    parts = [*batches[:3], *columns, *chunks, *(pyarrow.array([], kind) for kind in empty)]

    arrived = send(parts).value

    assert list(map(type, arrived)) == list(map(type, parts))
    assert all(there.equals(here) for there, here in zip(arrived, parts, strict=True))


def test_an_empty_batch_comes_back(send):
    """With its columns, or without any."""
    batches = [
        pyarrow.RecordBatch.from_arrays([pyarrow.array([], pyarrow.int8())], ["x"]),
        pyarrow.RecordBatch.from_arrays([], schema=pyarrow.schema([])),
    ]

    assert send(batches).value == batches


def test_schemas_types_and_scalars_come_back(send):
    """As pickle has it."""
    values = [LARGE.schema, pyarrow.int8(), LARGE["s"][3], pyarrow.field("x", pyarrow.int8(), metadata={"a": "b"})]

    assert send(values).value == values


def test_an_array_that_somebody_has_to_register_comes_back(send):
    """Its type would be lost in a stream that is read where nobody did."""
    array = pyarrow.ExtensionArray.from_storage(Celsius(), pyarrow.array([1.0, 2.0]))

    arrived = send({"x": pyarrow.table({"t": array})}).value["x"]

    assert arrived.schema.field("t").type == Celsius()


class Celsius(pyarrow.ExtensionType):
    """Not registered."""

    def __init__(self):
        super().__init__(pyarrow.float64(), "mirai.test.celsius")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()

    def __reduce__(self):
        return Celsius, ()


def test_a_large_table_is_not_copied(send):
    """Neither when it is serialized nor when it is loaded: it stays in the memory that it came in."""
    before = pyarrow.total_allocated_bytes()

    sent = send(LARGE)

    assert pyarrow.total_allocated_bytes() - before < 10_000
    assert sent.buffers >= 3
    assert sent.value.equals(LARGE)


@pytest.mark.parametrize(
    "part",
    [
        LARGE.slice(5, 5),
        LARGE.to_batches()[0].slice(5, 5),
        LARGE["s"].slice(5, 5),
        LARGE["s"].chunk(0).slice(5, 5),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_slice_takes_only_what_is_its_own(part, send):
    """A map over the batches of a table must not send all of it each time."""
    sent = send(part)

    assert sent.size < 1000
    assert sent.value.equals(part)


def test_the_same_table_twice_is_sent_once(send, daemon):
    """And is one object there."""
    assert send([LARGE, LARGE]).size < 1.1 * send(LARGE).size
    assert mirai(tasks.are_one, LARGE, LARGE).result()
    first, second = mirai(tasks.echo, LARGE, LARGE).result()
    assert first is second
    assert first.equals(LARGE)


def test_datasets_come_back(send, tmp_path):
    """Of files as what they are of; those in memory with their rows."""
    import pyarrow.parquet

    pyarrow.parquet.write_table(LARGE, tmp_path / "a.parquet")

    of_files, in_memory = send([dataset.dataset(tmp_path), dataset.dataset(LARGE)]).value

    assert type(of_files) is dataset.FileSystemDataset
    assert of_files.to_table().equals(LARGE)
    assert type(in_memory) is dataset.InMemoryDataset
    assert in_memory.to_table().equals(LARGE)


def test_tables_travel_in_closures_and_exceptions(daemon):
    """Wherever they are."""

    def fail():
        raise LookupError(LARGE)

    assert mirai(lambda: LARGE.num_rows).result() == ROWS
    with pytest.raises(LookupError) as caught:
        mirai(fail).result()
    assert caught.value.args[0].equals(LARGE)
