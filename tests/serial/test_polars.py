"""Polars data frames, series and lazy frames go out and come back."""

from __future__ import annotations

import datetime
import decimal

import pytest

from mirai import SerializationError, daemons, mirai
from tests.serial import tasks

polars = pytest.importorskip("polars", reason="polars is not installed: `tox run -e libraries` installs it")

LARGE = polars.DataFrame({"x": range(200_000), "s": [f"text number {i}" for i in range(200_000)]})

SERIES = {
    "nulls": polars.Series([1, None, 3]),
    "empty": polars.Series([], dtype=polars.Int8),
    "text": polars.Series(["a", None, "x" * 50]),
    "bytes": polars.Series([b"a", None]),
    "booleans": polars.Series([True, None]),
    "128 bits": polars.Series([1, None], dtype=polars.Int128),
    "categories": polars.Series(["a", None, "b"], dtype=polars.Categorical),
    "enumeration": polars.Series(["a", None], dtype=polars.Enum(["b", "a"])),
    "dates": polars.Series([datetime.date(2020, 1, 1), None]),
    "times in a zone": polars.Series([datetime.datetime(2020, 1, 1), None]).dt.replace_time_zone("Europe/Paris"),
    "time spans": polars.Series([datetime.timedelta(1), None]),
    "decimals": polars.Series([decimal.Decimal("1.5"), None]),
    "lists": polars.Series([[1, 2], None, []]),
    "arrays": polars.Series([[1, 2], None], dtype=polars.Array(polars.Int64, 2)),
    "structures": polars.Series([{"a": 1, "b": ["x"]}, None]),
    "nothing": polars.Series([None, None]),
}


@pytest.mark.parametrize("times", [1, 100_000], ids=["small", "large"])
@pytest.mark.parametrize("series", SERIES.values(), ids=SERIES)
def test_series_and_frames_come_back(series, times, send):
    """Every type, and nulls; small ones and large ones go different ways."""
    if times > 1:
        series = polars.concat([series] * (times // 4))
    series = series.alias("named")

    there, frame = send([series, series.to_frame()]).value

    assert (there.name, there.dtype) == (series.name, series.dtype)
    assert there.equals(series, null_equal=True)
    assert frame.schema == series.to_frame().schema
    assert frame.equals(series.to_frame(), null_equal=True)


def test_a_frame_without_columns_comes_back(send):
    """Nothing is something."""
    assert send(polars.DataFrame({})).value.equals(polars.DataFrame({}))


def test_large_frames_travel_beside_the_pickle(send):
    """As tables of Arrow, of the same memory."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: `tox run -e libraries` installs it")

    sent = send(LARGE, "polars")

    assert sent.buffers > 2
    assert sent.value.equals(LARGE)


def test_without_pyarrow_they_go_as_a_stream(send, monkeypatch):
    """It is none of polars' own requirements."""
    monkeypatch.setattr("mirai_serial.polars.LARGE", 1 << 60)

    sent = send(LARGE)

    assert sent.buffers == 1
    assert sent.value.equals(LARGE)


@pytest.mark.parametrize("rows", [10, 50_000])
def test_a_slice_takes_only_what_is_its_own(rows, send):
    """A map over the groups of a frame must not send all of it each time."""
    part = LARGE.slice(100, rows)

    sent = send(part)

    assert sent.size < 2 * part.estimated_size() + 2000
    assert sent.value.equals(part)


def test_a_lazy_frame_comes_back(send):
    """With its plan, not its rows."""
    lazy = LARGE.lazy().filter(polars.col("x") > 10).select(polars.col("x").sum())

    assert send({"lazy": lazy}).value["lazy"].collect().equals(lazy.collect())


class Named(polars.DataFrame):
    """A class of its own."""


def test_a_class_of_somebodys_own_stays_that(send):
    """It may hold more than its columns, which its own way to be pickled knows."""
    frame = Named({"x": [1, 2]})

    arrived = send([frame]).value[0]

    assert type(arrived) is Named
    assert arrived.equals(frame)


def test_the_same_frame_twice_is_sent_once(send, daemon):
    """And is one object there."""
    assert send([LARGE, LARGE]).size < 1.1 * send(LARGE).size
    assert mirai(tasks.are_one, LARGE, LARGE).result()
    first, second = mirai(tasks.echo, LARGE, LARGE).result()
    assert first is second
    assert first.equals(LARGE)


def test_a_frame_that_arrived_can_be_changed(daemon):
    """It may be of memory that cannot be written: polars copies what it changes."""

    def change(frame):
        frame[0, "x"] = -1
        return frame["x"][0], frame.with_columns(y=frame["x"] * 2)["y"].sum()

    assert mirai(change, LARGE).result() == (-1, 2 * (sum(range(200_000)) - 1))


def test_what_cannot_travel_is_named():
    """Python objects in a column have no place in Arrow."""
    frame = polars.DataFrame({"x": polars.Series([object()], dtype=polars.Object)})
    with (
        daemons(sync=True),
        pytest.raises(SerializationError, match=r"argument 0 \(of type DataFrame\) cannot.*polars.DataFrame"),
    ):
        mirai(len, frame)
