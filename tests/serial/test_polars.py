"""Polars data frames go out and come back."""

from __future__ import annotations

import pytest

from mirai_serial import polars as serializer

polars = pytest.importorskip("polars", reason="polars is not installed: `tox run -e serial` installs it")


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"x": [1, None, 3], "y": ["a", "b", None]}, id="nulls"),
        pytest.param({"x": []}, id="no rows"),
        pytest.param({}, id="no columns"),
        pytest.param({"x": [[1, 2], []], "y": [{"a": 1}, {"a": 2}]}, id="nested"),
    ],
)
def test_a_data_frame_comes_back(columns):
    """Types and nulls too."""
    frame = polars.DataFrame(columns)

    there = serializer.load(serializer.dump(frame))

    assert there.schema == frame.schema
    assert there.equals(frame)
