"""Arrow tables go out and come back."""

from __future__ import annotations

import pytest

from mirai_serial import arrow

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: `tox run -e serial` installs it")


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(lambda: pyarrow.table({"x": [1, None, 3], "y": ["a", "b", None]}), id="nulls"),
        pytest.param(lambda: pyarrow.table({"x": pyarrow.array([], pyarrow.int8())}), id="no rows"),
        pytest.param(lambda: pyarrow.table({}), id="no columns"),
        pytest.param(lambda: pyarrow.table({"x": [[1, 2], []]}).replace_schema_metadata({"a": "b"}), id="metadata"),
    ],
)
def test_a_table_comes_back(table):
    """Types, nulls and metadata too."""
    there = arrow.load(bytes(arrow.dump(table())))

    assert there.equals(table(), check_metadata=True)


def test_loading_copies_nothing():
    """A large table stays in the shared memory that it came in."""
    data = arrow.dump(pyarrow.table({"x": range(100_000)}))
    before = pyarrow.total_allocated_bytes()

    table = arrow.load(data)

    assert table.num_rows == 100_000
    assert pyarrow.total_allocated_bytes() - before < 10_000
