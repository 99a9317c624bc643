"""What can be mapped over, in what form it comes back, and who is told."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime

import pytest

from mirai import MiraiError, collect_mirai, daemons, mirai, mirai_map
from tests.core import tasks

DEADLINE = 20  # seconds; what takes longer hangs

ROWS = [{"name": "a", "day": datetime.date(2020, 1, 1)}, {"name": "b", "day": datetime.date(2021, 1, 1)}]


def named(**row):
    return row


def reciprocal(x):
    return 1 / x


# Tables


def test_rows_of_a_pandas_frame_are_calls(shared):
    """Columns are keyword arguments, their elements as pandas gives them."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"n": [1, 2], "day": pandas.to_datetime(["2020-01-01", "2021-01-01"])}, index=["x", "y"])

    values = mirai_map(frame, named).collect()

    assert values == [
        {"n": 1, "day": pandas.Timestamp("2020-01-01")},
        {"n": 2, "day": pandas.Timestamp("2021-01-01")},
    ]


def test_columns_that_have_no_names_are_numbered(shared):
    """A keyword must be text."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")

    assert mirai_map(pandas.DataFrame([[1, 2]]), named).collect() == [{"0": 1, "1": 2}]


def test_a_pandas_series_keeps_its_keys(shared):
    """As a dict does."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")

    assert mirai_map(pandas.Series([1, 2], index=["x", "y"]), tasks.double).collect() == {"x": 2, "y": 4}


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda pandas: pandas.Series([1, 2], index=["x", "x"]), "keys 'x'"),
        (lambda pandas: pandas.DataFrame([[1, 2]], columns=["x", "x"]), "columns 'x'"),
    ],
    ids=["series", "frame"],
)
def test_names_that_occur_twice_are_refused(shared, make, what):
    """One's value would take the place of the other's."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")

    with pytest.raises(ValueError, match=what):
        mirai_map(make(pandas), named)


def test_rows_of_a_polars_frame_are_calls(shared):
    """Columns are keyword arguments."""
    polars = pytest.importorskip("polars", reason="polars is not installed")

    assert mirai_map(polars.DataFrame(ROWS), named).collect() == ROWS
    assert mirai_map(polars.Series([1, 2]), tasks.double).collect() == [2, 4]


@pytest.mark.parametrize("kind", ["Table", "RecordBatch"])
def test_rows_of_an_arrow_table_are_calls(shared, kind):
    """Columns are keyword arguments."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

    assert mirai_map(getattr(pyarrow, kind).from_pylist(ROWS), named).collect() == ROWS


def test_constants_come_beside_the_columns(shared):
    """By their names, as the columns do."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")

    assert mirai_map(pandas.DataFrame({"x": [1, 2]}), named, y=3).collect() == [{"x": 1, "y": 3}, {"x": 2, "y": 3}]


# Gathering


def test_flat_looks_at_every_element(shared):
    """The first one too, and the only one."""
    for xs in ([0], [0, 1], [1, 0]):
        with pytest.raises(MiraiError, match=rf"In index {xs.index(0)}: ZeroDivisionError"):
            mirai_map(xs, reciprocal).collect(flat=True)


def test_a_failure_names_its_index_and_its_code(one):
    """Also where it is no error of the task's own."""
    with pytest.raises(ConnectionResetError, match=r"19 \| In key 'x': .* exited with status 3"):
        mirai_map({"x": "import os; os._exit(3)"}, run).collect(stop=True)


def run(text):
    exec(text)


def test_only_what_failed_need_be_done_again(shared):
    """A map of thousands of elements is not lost for one."""
    xs = [2, 0, 4]
    values = mirai_map(xs, reciprocal).collect()

    failed = [i for i, value in enumerate(values) if isinstance(value, MiraiError)]
    again = mirai_map([xs[i] + 1 for i in failed], reciprocal).collect()

    assert (failed, again) == ([1], [1.0])


def test_a_map_of_a_map(shared):
    """What was collected is an ordinary list."""
    first = mirai_map(range(3), tasks.double)

    assert mirai_map(first.collect(), tasks.double).collect() == [0, 4, 8]
    assert mirai(sum, first[:2][0]).exception(DEADLINE) is not None  # one mirai is one value, not the map


def test_a_map_is_drawn_only_as_far_as_the_budget_allows(tmp_path):
    """An endless source need not fit into memory."""
    drawn = []

    def source():
        for i in range(20):
            drawn.append(i)
            yield bytes(100_000)

    with daemons(1, memory="300kB"):
        mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            mapped = pool.submit(mirai_map, source(), len)
            with pytest.raises(TimeoutError):
                mapped.result(0.3)
            assert len(drawn) <= 5
            (tmp_path / "go").touch()
            assert mapped.result(DEADLINE).collect() == [100_000] * 20


# Who is told


def test_a_promise_may_wait_for_another_map(two):
    """It is called by a thread that drives the sockets, and must not stop that."""
    told = []

    mirai_map([1, 2], tasks.double, _promise=lambda x: told.append(mirai_map([x], tasks.double).collect())).collect()
    mirai("1").result(DEADLINE)

    assert sorted(told) == [[4], [8]]


def test_completion_can_be_followed_in_a_callback(two):
    """Whoever iterates drives the sockets where nobody else can."""
    told = []

    def follow(_):
        told.extend(sorted(m.result() for m in mirai_map([1, 2], tasks.double).as_completed()))

    m = mirai(tasks.double, 1)
    m.add_done_callback(follow)
    m.result(DEADLINE)
    mirai("1").result(DEADLINE)

    assert told == [2, 4]


def test_promises_on_a_loop_are_called_one_at_a_time(shared):
    """On the loop's own thread: what they touch needs no lock."""

    async def main():
        told, failed, all_told = [], [], asyncio.Event()

        def note(value, to):
            to.append(value)
            if len(told) + len(failed) == 4:
                all_told.set()

        mirai_map([1, 2, 0, 4], reciprocal, _promise=(lambda x: note(x, told), lambda error: note(error, failed)))
        await asyncio.wait_for(all_told.wait(), DEADLINE)
        return sorted(told), failed

    told, failed = asyncio.run(main())

    assert told == [0.25, 0.5, 1.0]
    assert [type(error) for error in failed] == [MiraiError]


def test_a_map_of_several_profiles_can_be_collected_as_one(one):
    """A list of mirais may come from anywhere."""
    with daemons(1, compute="other"):
        mirais = [*mirai_map([1], tasks.double), *mirai_map([2], tasks.double, _compute="other")]

        assert collect_mirai(mirais) == [2, 4]
