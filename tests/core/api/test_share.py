"""share(): a value reaches each daemon once, and is gone with its handle."""

from __future__ import annotations

import os
import pickle
import re
import signal

import pytest

from mirai import (
    SerializationError,
    collect_mirai,
    daemons,
    everywhere,
    launch_local,
    local_url,
    mirai,
    mirai_map,
    share,
    status,
)
from mirai.runtime import profile as profiles
from mirai.transport import shared as memory
from tests.core.tasks import Unpicklable
from tests.waiting import wait_until

DEADLINE = 30  # seconds; what takes longer hangs
MB = 1 << 20


class Counted:
    """Counts, in each process, how often it was deserialized."""

    made = 0

    def __init__(self, data):
        self.data = data
        self.number = 0

    def __setstate__(self, state):
        Counted.made += 1
        self.__dict__.update(state)
        self.number = Counted.made


def seen(value):
    return os.getpid(), value.number, len(value.data)


@pytest.fixture(params=["dispatcher", "direct", "network"])
def profile(request):
    """Two daemons, of each kind."""
    if request.param == "network":
        with daemons(url=local_url(tcp=True)):
            launch_local(2)
            wait_until(lambda: status().connections == 2, "two daemons to dial in")
            yield
    else:
        with daemons(2, dispatcher=request.param == "dispatcher"):
            yield


@pytest.mark.parametrize("size", [10, 3 * MB])
def test_a_value_reaches_each_daemon_once(profile, size):
    """However many tasks use it, and however large it is."""
    handle = share(Counted(bytes(size)))

    values = collect_mirai([mirai(seen, handle) for _ in range(30)])

    assert {made for _, made, _ in values} == {1}
    assert {length for *_, length in values} == {size}
    assert len({pid for pid, *_ in values}) == 2


def test_it_may_be_deep_in_the_arguments_or_in_a_closure(two):
    """Whatever is serialized along, it is the value that arrives."""
    handle = share(Counted(b"abc"))

    assert mirai(lambda deep: deep["a"][0].data, {"a": [handle]}).result(DEADLINE) == b"abc"
    assert mirai(lambda: handle.data).result(DEADLINE) == b"abc"
    assert mirai("value.data", value=handle).result(DEADLINE) == b"abc"
    assert mirai(lambda first, second: (first is second, first.data), handle, mirai(lambda: handle.data)).result(
        DEADLINE
    ) == (False, b"abc")


def test_maps_and_everywhere_take_handles(two):
    """As constants, as elements and in what they call."""
    handle = share(Counted(b"abc"))

    assert mirai_map(range(4), lambda i, value: (i, value.data), handle).collect() == [(i, b"abc") for i in range(4)]
    assert mirai_map([handle, handle], lambda value: value.data).collect() == [b"abc"] * 2
    assert everywhere(lambda value: value.data, handle).collect() == [b"abc"] * 2


def test_a_handle_in_a_shared_value_is_its_value_too(two):
    """And is not let go of before that one."""
    inner = share(Counted(b"abc"))
    outer = share([inner])
    del inner

    assert mirai(lambda values: values[0].data, outer).result(DEADLINE) == b"abc"


def test_it_serves_without_daemons_and_in_this_process():
    """Code need not know where it runs."""
    handle = share(Counted(b"abc"))

    assert mirai(seen, handle).result(DEADLINE)[2] == 3
    with daemons(sync=True):
        assert collect_mirai([mirai(seen, handle) for _ in range(3)])[0][::2] == (os.getpid(), 3)
        assert len({number for _, number, _ in collect_mirai([mirai(seen, handle) for _ in range(3)])}) == 1


def test_a_daemon_that_comes_later_gets_it(tmp_path):
    """Also one in the place of another that was killed."""
    handle = share(Counted(bytes(MB)))
    with daemons(1):
        first = mirai(seen, handle).result(DEADLINE)
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: not status().connections, "the host to notice")
        launch_local(1)
        again = mirai(seen, handle).result(DEADLINE)

    assert (again[0] != first[0], *again[1:]) == (True, 1, MB)
    with daemons(1):
        assert mirai(seen, handle).result(DEADLINE)[1:] == (1, MB)


@pytest.mark.parametrize("size", [10, 3 * MB])
def test_it_is_gone_with_its_handle(one, size):
    """From the daemons too, and what memory it took."""
    handle = share(Counted(bytes(size)))
    mirai(seen, handle).result(DEADLINE)

    del handle
    assert mirai(abs, -1).result(DEADLINE) == 1  # a daemon is told with what it is sent next

    (peer,) = profiles.require(None).service._online()
    wait_until(lambda: not peer.exchange._lent, "the daemon to give back the block")
    assert mirai("import gc; sum(type(o).__name__ == 'Counted' for o in gc.get_objects())").result(DEADLINE) == 0


def test_tasks_that_wait_hold_it(one, tmp_path):
    """The handle may be gone before they begin."""
    m = [mirai(seen, share(Counted(bytes(MB)))) for _ in range(5)]

    assert [value[2] for value in collect_mirai(m)] == [MB] * 5


def test_what_is_changed_after_the_call_has_no_effect(one):
    """As for any argument."""
    value = [1]
    handle = share(value)
    value.append(2)

    assert mirai(list, handle).result(DEADLINE) == [1]


def test_functions_of_main_find_their_names(run_host):
    """The daemon's `__main__` is cleaned up after each task; a shared function is not deserialized again."""
    run_host(
        """
        factor = 3
        def times(x): return factor * x
        with daemons(1):
            handle = share({"f": times})
            for i in range(3):
                assert mirai(lambda h, i: h["f"](i), handle, i).result(30) == 3 * i
        """
    )


def test_what_cannot_be_serialized_is_refused_at_once():
    """By an error that says what."""
    with pytest.raises(SerializationError, match="the value to share"):
        share(Unpicklable())


def test_pickled_by_somebody_else_it_is_the_value():
    """A handle means nothing elsewhere."""
    assert pickle.loads(pickle.dumps(share(b"abc"))) == b"abc"


def test_it_says_how_large_it_is():
    """Which is what one wants to know of it."""
    assert re.fullmatch(r"< shared bytes \[1,048,\d\d\d bytes\] >", repr(share(bytes(MB))))


def test_daemons_map_the_same_memory():
    """A value takes memory once, not once a daemon."""
    handle = share(bytes(10 * MB))
    with daemons(3):
        everywhere(len, handle).collect()

        assert memory._arena._space.total == 64 * MB
        assert {len(peer.exchange._lent) for peer in profiles.require(None).service._online()} <= {0, 1}
