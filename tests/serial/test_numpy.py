"""Arrays of any kind travel beside the pickle, those too that pickle would copy."""

from __future__ import annotations

import pytest

from mirai import daemons, mirai
from tests.serial import tasks

numpy = pytest.importorskip("numpy", reason="numpy is not installed: `tox run -e libraries` installs it")

N = 20_000
DATES = numpy.arange(N).astype("datetime64[s]")

ARRAYS = {
    "plain": numpy.arange(N),
    "dates": DATES,
    "dates in another byte order": DATES.astype(">M8[s]"),
    "time spans": DATES - DATES[::-1],
    "every other": numpy.arange(2.0 * N)[::2],
    "every other date": DATES.repeat(2)[::2],
    "backwards": numpy.arange(N)[::-1],
    "columns": numpy.arange(2.0 * N).reshape(-1, 4)[:, 1:3],
    "a view of three axes": numpy.arange(2.0 * N).reshape(10, -1, 4).transpose(1, 2, 0)[::2],
    "Fortran order": numpy.asfortranarray(numpy.arange(2.0 * N).reshape(-1, 4)),
    "dates in Fortran order": numpy.asfortranarray(DATES.reshape(-1, 4)),
    "records": numpy.zeros(N, [("a", "f8"), ("b", "i4")]),
    "records of dates": numpy.zeros(N, [("a", "M8[s]"), ("b", "i4")]),
    "records in records": numpy.zeros(N, [("a", [("b", "M8[s]", (2,))]), ("c", "i1")]),
    "recarray": numpy.rec.array(numpy.zeros(N, [("a", "M8[s]")])),
    "matrix": numpy.zeros((100, 100)).view(numpy.matrix),
    "big endian": numpy.arange(N, dtype=">f8"),
    "text": numpy.array(["text"] * N),
    "half": numpy.zeros(2 * N, "f2"),
}
OTHERS = {
    "objects": numpy.array([{}, None] * N, dtype=object),
    "strings": numpy.array(["text", "x" * 50] * 2000, dtype=numpy.dtypes.StringDType()),
    "masked": numpy.ma.masked_array(numpy.arange(N), numpy.arange(N) % 2 == 0),
    "small dates": DATES[:3],
    "no rows": numpy.zeros((0, 3)),
    "no dimension": numpy.array(1.0),
}


def check(arrived, array):
    assert type(arrived) is type(array)
    assert arrived.dtype == array.dtype
    assert arrived.shape == array.shape
    assert arrived.flags.writeable == array.flags.writeable
    assert numpy.array_equal(arrived, array)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_large_arrays_travel_beside_the_pickle(array, send):
    """In it they would be copied three times more."""
    sent = send({"x": [array, array]})
    first, second = sent.value["x"]

    assert sent.buffers == 1
    assert first is second
    check(first, array)


@pytest.mark.parametrize("array", OTHERS.values(), ids=OTHERS)
def test_all_others_arrive(array, send):
    """Pickle knows best."""
    check(send([array]).value[0], array)


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("name", ["dates", "every other", "plain"])
def test_read_only_arrays_stay_so(name, writeable, send):
    """Their owner meant it; others may be changed."""
    array = ARRAYS[name].view()
    array.flags.writeable = writeable

    assert send(array).value.flags.writeable == writeable


def test_what_is_repeated_is_sent_once(send):
    """A million zeros by `broadcast_to` are one."""
    array = numpy.broadcast_to(numpy.arange(4.0)[:, None], (4, 1_000_000))

    sent = send(array)

    assert sent.size < 1000
    check(sent.value, array)


def test_a_mapped_file_arrives_with_its_content(send, tmp_path):
    """The file need not be there."""
    mapped = numpy.memmap(tmp_path / "array", dtype="f8", mode="w+", shape=(N,))
    mapped[:] = numpy.arange(N)

    sent = send(mapped)

    assert sent.buffers == 1
    check(sent.value, mapped)


def test_pandas_keeps_everything(send):
    """Its columns are arrays, of NumPy's or Arrow's; dates are frequent in it."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: `tox run -e libraries` installs it")
    frame = pandas.DataFrame(
        {
            "float": numpy.arange(N, dtype=float),
            "date": DATES,
            "zone": pandas.date_range("2020", periods=N, freq="s", tz="Europe/Paris"),
            "text": [f"text {i}" for i in range(N)],
            "object": pandas.Series([1, "a"] * (N // 2), dtype=object),
            "category": pandas.Categorical(["a", "b"] * (N // 2)),
            "missing": pandas.array([1, None] * (N // 2), dtype="Int64"),
        },
        index=pandas.period_range("2020", periods=N, freq="s"),
    )
    frame.attrs["made"] = "here"

    sent = send({"frame": frame, "row": frame.iloc[3], "every other": frame[["float", "date"]].iloc[::2]})

    pandas.testing.assert_frame_equal(sent.value["frame"], frame)
    assert sent.value["frame"].attrs == frame.attrs
    pandas.testing.assert_series_equal(sent.value["row"], frame.iloc[3])
    pandas.testing.assert_frame_equal(sent.value["every other"], frame[["float", "date"]].iloc[::2])
    assert sent.buffers >= 6


def test_pandas_columns_of_arrow_arrays(send):
    """Which pickle sends whole."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: `tox run -e libraries` installs it")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: `tox run -e libraries` installs it")
    series = pandas.Series(numpy.arange(float(N)), dtype="float64[pyarrow]")

    whole, some = send(series), send(series.iloc[5:10])

    pandas.testing.assert_series_equal(whole.value, series)
    pandas.testing.assert_series_equal(some.value, series.iloc[5:10])
    assert some.size < 3000


@pytest.mark.parametrize("sync", [False, True])
def test_modules_that_are_cleaned_up_are_loaded_again(sync):
    """What the serializer's module held before would not be what it is after."""
    with daemons(sync=True, cleanup=7) if sync else daemons(1, cleanup=7):
        for _ in range(3):
            assert numpy.array_equal(mirai(tasks.echo, DATES).result(), DATES)


def test_arrays_come_back_from_a_daemon(daemon):
    """Both ways."""
    for array in ARRAYS.values():
        arrived = mirai(tasks.echo, array).result()

        assert arrived.dtype == array.dtype
        assert numpy.array_equal(arrived, array)
