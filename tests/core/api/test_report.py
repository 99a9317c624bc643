"""MiraiMap.report() and timeline(): where the time of a map went."""

from __future__ import annotations

import json
import os
import re
import time
import xml.etree.ElementTree as ET
from threading import Thread

import pytest

from mirai import collect_mirai, daemons, everywhere, info, mirai, mirai_map
from tests.core import tasks
from tests.waiting import wait_until

SVG = "{http://www.w3.org/2000/svg}"
SLEEP = 0.02


def sleep_or_fail(x):
    time.sleep(SLEEP)
    return 1 / x


def leave(x):
    if x == 1:
        os._exit(3)
    return x


@pytest.fixture
def two():
    with daemons(2):
        yield


def wait_for(mp):
    collect_mirai(mp)
    return mp.report()


def test_a_report_has_a_row_for_each_daemon_and_its_times_add_up(two):
    """Queue, way, evaluation, nothing to do: each second of each daemon is one of them."""
    report = wait_for(mirai_map([1, 0, 2, 4] * 5, sleep_or_fail))

    assert (report.tasks, report.done, report.failures) == (20, 20, 5)
    assert [row.i for row in report.rows] == [1, 2]
    assert sum(row.tasks for row in report.rows) == 20
    assert sum(row.failures for row in report.rows) == 5
    for row in report.rows:
        assert row.compute >= row.tasks * SLEEP
        assert row.compute + row.transfer + row.idle + row.other == pytest.approx(report.wall, abs=0.002)
        assert row.queue_wait > 0
    assert report.advice == "5 of 20 tasks failed: mp[1].data says why."


def test_a_report_prints_as_a_table(two):
    """In a terminal; a notebook is given one of its own."""
    report = wait_for(mirai_map([1] * 8, sleep_or_fail))

    first, head, *rows = str(report).splitlines()
    assert re.fullmatch(r"8 of 8 tasks done, in [\d.]+ m?s", first)
    heads = ["daemon", "tasks", "queue wait", "transfer", "compute", "idle", "failures"]
    assert re.split("  +", head.strip()) == heads
    assert [row.split()[0] for row in rows[:-1]] == ["1", "2", "all"]
    assert rows[-1] == report.advice
    assert repr(report) == str(report)
    html = ET.fromstring(f"<body>{report._repr_html_()}</body>")
    assert [cell.text for cell in html.findall(".//th")] == heads
    assert json.loads(json.dumps(report.to_dict()))["rows"][0]["tasks"] == report.rows[0].tasks


def test_a_report_does_not_wait(two):
    """Who asks in the middle is told how far it is."""
    mp = mirai_map([0.0, 300.0, 300.0], time.sleep)
    mp[0].result()
    wait_until(lambda: mp.report().done == 1, "the first task")

    report = mp.report()

    assert (report.tasks, report.done) == (3, 1)
    assert str(report).startswith("1 of 3 tasks done")
    mp.cancel()


def test_a_report_outlives_the_daemons():
    """One asks for it afterwards."""
    with daemons(1):
        mp = mirai_map(range(10), tasks.double)
        mp.collect()

    assert [row.tasks for row in mp.report().rows] == [10]


def test_a_task_that_was_lost_with_its_daemon_is_in_its_row(two):
    """It is that daemon's failure."""
    report = wait_for(mirai_map([0, 1, 2, 3], leave))

    assert report.failures == 1
    assert sum(row.failures for row in report.rows) == 1


def test_cancelled_tasks_that_never_began_are_no_daemons(two):
    """They count as failed, in no row."""
    mp = mirai_map([300.0] * 10, time.sleep)
    wait_until(lambda: info().executing == 2, "both daemons to begin")
    mp.cancel()
    wait_until(lambda: sum(row.tasks for row in mp.report().rows) == 2, "both daemons to answer")

    assert (mp.report().done, mp.report().failures) == (10, 10)


def test_a_daemon_without_a_task_counts_as_idle(two):
    """It is there, and paid for."""
    report = wait_for(mirai_map([1], tasks.double))

    assert (len(report.rows), report.unused) == (1, 1)
    assert "1 more daemon had none of its tasks" in str(report)
    assert report.advice.startswith("Smaller tasks, or fewer daemons: 1 for 2")


def test_tasks_of_others_meanwhile_are_told_apart():
    """They are no part of the map, and no idle time either."""
    with daemons(1):
        mp = mirai_map([0.01], time.sleep)
        other = mirai(time.sleep, 0.1)
        again = mirai_map([0.01], time.sleep)
        collect_mirai([*mp, other, *again])
        row = again.report().rows[0]

    assert row.other >= 0.1
    assert 0.01 <= row.compute < 0.1
    assert "other" in str(again.report())


def test_maps_of_two_threads_at_once_keep_their_tasks_apart(two):
    """They share daemons, and messages."""
    reports = []
    threads = [Thread(target=lambda: reports.append(wait_for(mirai_map(range(5000), tasks.double)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [sum(row.tasks for row in report.rows) for report in reports] == [5000, 5000]


def test_short_tasks_are_to_be_chunked(two):
    """The advice is what to write."""
    report = wait_for(mirai_map(range(5000), tasks.double))

    assert re.match(r"chunk: make_cluster\(2\)\.map\(f, xs, chunksize=\d+\), as a task took", report.advice)


def test_large_elements_are_to_be_shared(two):
    """Each is sent with its task."""
    report = wait_for(mirai_map([bytes(400_000)] * 40, len))

    assert report.advice.startswith("share(x) what elements have in common")


def test_a_map_over_nothing_has_a_report(two):
    """And no division by zero."""
    report = mirai_map([], tasks.double).report()

    assert (report.tasks, report.rows, report.unused) == (0, (), 2)
    assert report.advice == "The map was over nothing."


def test_everywhere_has_a_report_too(two):
    """It returns a map."""
    assert [row.tasks for row in wait_for(everywhere("1")).rows] == [1, 1]


@pytest.mark.parametrize("how", [{"sync": True}, {"n": 2, "dispatcher": False}])
def test_reports_of_every_kind_of_profile(how):
    """Here in this process the row has no number."""
    with daemons(how.pop("n", 0), **how):
        report = wait_for(mirai_map([0.01] * 6, time.sleep))

    assert sum(row.tasks for row in report.rows) == 6
    assert sum(row.compute for row in report.rows) >= 0.06
    assert ("\n  here" in str(report)) is ("sync" in how)


# Timeline


def bars_of(path):
    drawn = ET.parse(path).findall(f".//{SVG}rect/{SVG}title/..")
    return [(bar.find(f"{SVG}title").text, float(bar.get("x")), float(bar.get("width"))) for bar in drawn]


def test_a_timeline_shows_each_task(two, tmp_path):
    """Which one kept the others waiting is seen at a glance."""
    mp = mirai_map({"a<b": 1, "c": 0, "d": 2}, sleep_or_fail)
    mp.collect()
    mp.timeline(tmp_path / "map.svg")

    bars = bars_of(tmp_path / "map.svg")
    assert sorted(title.partition(":")[0] for title, _, _ in bars) == ["task 'a<b'", "task 'c'", "task 'd'"]
    assert [title.endswith(", failed") for title, _, _ in bars if "'c'" in title] == [True]
    assert all(x >= 80 and x + width <= 1001 for _, x, width in bars)
    rows = {text.text for text in ET.parse(tmp_path / "map.svg").iter(f"{SVG}text")}
    assert {"daemon 1", "daemon 2"} <= rows


def test_many_short_tasks_are_drawn_as_one(two, tmp_path):
    """A browser cannot show twenty thousand, nor a reader see them."""
    mp = mirai_map(range(20_000), tasks.double)
    mp.collect()
    mp.timeline(str(tmp_path / "map.svg"))

    bars = bars_of(tmp_path / "map.svg")
    assert len(bars) < 2500
    counted = [int(found[1]) if (found := re.match(r"(\d+) tasks", title)) else 1 for title, _, _ in bars]
    assert sum(counted) == 20_000


def test_a_page_has_the_report_too_and_refers_to_nothing(two, tmp_path):
    """It is sent to colleagues as it is."""
    mp = mirai_map([1, 2], sleep_or_fail)
    mp.collect()
    mp.timeline(tmp_path / "map.html")

    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert "2 of 2 tasks done" in page
    assert "<svg " in page
    assert re.findall(r"(?:href|src)=|url\(|@import", page) == []


def test_a_timeline_of_a_map_over_nothing(two, tmp_path):
    """And no division by zero."""
    mirai_map([], tasks.double).timeline(tmp_path / "map.svg")

    assert bars_of(tmp_path / "map.svg") == []


def test_what_a_timeline_can_be_written_as(two, tmp_path):
    """Others are refused before anything is written."""
    with pytest.raises(ValueError, match=r"path='.*map.png': give one that ends in .svg, or in .html"):
        mirai_map([1], tasks.double).timeline(tmp_path / "map.png")

    assert list(tmp_path.iterdir()) == []
