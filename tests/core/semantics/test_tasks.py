"""What a task finds when it begins, what of it reaches the host, and how many there may be."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from mirai import UNRESOLVED, TimedOut, call_mirai, daemons, info, mirai, status
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 30  # seconds; what takes longer hangs


def test_a_local_name_goes_before_a_global_one(shared):
    """As Python's scopes have it, whatever was set for the functions that a task calls."""
    text = "def helper(): return 'global ' + globals()['x']\nx, helper()"

    assert mirai(text, x="local", _globals={"x": "one"}).result(DEADLINE) == ("local", "global one")


def test_names_for_main_are_those_of_the_time_of_the_call(shared):
    """They are serialized with it."""
    names = {"numbers": [1]}
    m = mirai("numbers", _globals=names)
    names["numbers"].append(2)

    assert m.result(DEADLINE) == [1]


def test_a_warning_is_no_failure(capfd):
    """It goes to the daemon's stderr, which is seen where that is asked for."""
    text = "import warnings\nwarnings.warn('look out')\n1"

    with daemons(1):
        assert mirai(text).result(DEADLINE) == 1
    assert capfd.readouterr() == ("", "")
    with daemons(1, output=True):
        assert mirai(text).result(DEADLINE) == 1
    assert "look out" in capfd.readouterr().err


def test_what_is_not_here_yet_is_printed_as_that(one, tmp_path):
    """In a terminal `m.data` must not look like a value."""
    m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")

    assert m.data is UNRESOLVED
    assert repr(m.data) == "< unresolved >"
    (tmp_path / "go").touch()
    call_mirai(m)


@pytest.mark.parametrize("dispatcher", [True, False])
def test_a_timeout_interrupts_with_and_without_a_dispatcher(dispatcher, tmp_path):
    """What is behind it need not wait for what nobody waits for."""
    with daemons(1, dispatcher=dispatcher):
        m = mirai(tasks.begin, tmp_path / "begun", _timeout=0.5)
        behind = mirai(tasks.double, 1)

        assert behind.result(DEADLINE) == 2
        assert isinstance(m.data, TimedOut)


def test_a_daemon_does_as_its_host_says(tmp_path, start_host):
    """Its option `dispatcher` is accepted, and need not match."""
    with daemons(url=f"ipc://{tmp_path}/host"):
        start_host(f"daemon({status().url!r}, dispatcher=False)")

        assert mirai(tasks.double, 1).result(DEADLINE) == 2


def test_thousands_can_be_awaited_at_once(shared):
    """A web server has as many requests."""

    async def main():
        mirais = [mirai(tasks.double, i) for i in range(3000)]
        values = await asyncio.gather(*mirais)
        return values, [m.data for m in mirais]

    awaited, read = asyncio.run(main())

    assert awaited == read == [2 * i for i in range(3000)]


def test_counts_are_cheap_enough_to_ask_for_at_every_task(shared):
    """As who adapts to the length of the queue does."""
    start = time.monotonic()
    for i in range(2000):
        mirai(tasks.double, i)
        counts = info()
        assert counts.awaiting >= 0
        assert counts.executing <= 2

    assert time.monotonic() - start < 10
    wait_until(lambda: info().awaiting == info().executing == 0, lambda: f"all to be done: {info()}")


def test_what_a_shell_starts_with_is_not_for_daemons(run_host, tmp_path):
    """A daemon is no shell."""
    startup = tmp_path / "startup.py"
    startup.write_text("raise RuntimeError('not for daemons')")

    with_startup = {**os.environ, "PYTHONSTARTUP": str(startup)}

    assert run_host("with daemons(1): print(mirai('1').result(20))", with_startup) == "1"


def test_a_task_sees_nothing_of_the_launch(shared):
    """What a daemon was told on its way is no task's business, and must not reach those that it starts itself."""
    assert mirai("import os; [n for n in os.environ if n.startswith('MIRAI_')]").result(20) == [
        name for name in os.environ if name.startswith("MIRAI_")
    ]
