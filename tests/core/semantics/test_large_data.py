"""Large data between a host and its local daemons: through shared memory, whose blocks are freed exactly once."""

from __future__ import annotations

import gc
import operator
import os
import pickle
import random
import signal

import pytest

from mirai import (
    ConnectionReset,
    collect_mirai,
    daemons,
    everywhere,
    local_url,
    mirai,
    mirai_map,
    status,
    stop_mirai,
)
from mirai.runtime import profile as profiles
from mirai.transport import shared as memory
from tests.core import tasks
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not memory.AVAILABLE, reason="this system has no memfd_create")

DEADLINE = 30  # seconds; what takes longer hangs
MB = 1 << 20


class Large:
    """As an array of NumPy's: its bytes travel beside the pickle. Tests need no NumPy then."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Large, (pickle.PickleBuffer(self.data),)


def taken():
    """How many blocks this process has taken."""
    arena = memory._arena
    if arena is None:
        return 0
    arena.trim(0.0)
    return sum(len(gaps.taken) for gaps in arena._space._segments.values())


def lent(compute=None):
    """How many blocks the daemons hold."""
    return sum(len(peer.exchange._lent) for peer in profiles.require(compute).service._online())


@pytest.fixture(autouse=True)
def blocks_are_given_back():
    """Whatever a test does: when it is over and no daemon is left, none is taken."""
    yield
    gc.collect()
    assert taken() == 0


def first_bytes(large):
    return bytes(large.data[:4])


def swap(large):
    return Large(bytes(large.data[::-1]))


def hold(large):
    global held
    held = large
    return len(large.data)


def held_bytes():
    return bytes(held.data[:3]) + bytes(held.data[-3:])


def has_memory():
    """How much shared memory this process has mapped, as the system says."""
    with open("/proc/self/smaps") as lines:
        return sum("/memfd:mirai" in line for line in lines)


def test_large_arguments_and_results_go_through_shared_memory(one):
    """Both ways; they are views that cannot be written to, as others may map the same memory."""
    service = profiles.require(None).service
    large = Large(bytearray(b"abcd" + bytes(MB)))

    result = mirai(swap, large).result(DEADLINE)

    (peer,) = service._online()
    assert peer.exchange._given
    assert peer.exchange._mapped
    assert bytes(result.data[-4:]) == b"dcba"
    assert result.data.readonly


@pytest.mark.parametrize(
    "value", [b"x" * MB, bytearray(MB), "ä" * MB, list(range(300_000)), [bytes([i]) * 9000 for i in range(100)]]
)
def test_what_has_no_buffers_goes_there_too(one, value):
    """Bytes, text and long lists are large as well."""
    assert mirai(operator.itemgetter(0), (value,)).result(DEADLINE) == value
    (peer,) = profiles.require(None).service._online()
    assert peer.exchange._given


def test_small_data_does_not(one):
    """It would take longer."""
    assert mirai(len, b"x" * 1000).result(DEADLINE) == 1000

    assert not profiles.require(None).service._online()[0].exchange._given


def test_what_is_changed_after_the_call_has_no_effect(one, tmp_path):
    """Also while the task waits for a daemon: it is written to shared memory at the call."""
    busy = mirai(tasks.begin_and_wait, tmp_path / "started", tmp_path / "go")
    data = bytearray(b"abcd" + bytes(MB))
    m = mirai(first_bytes, Large(data))
    data[:4] = b"xxxx"
    (tmp_path / "go").touch()

    assert m.result(DEADLINE) == b"abcd"
    assert busy.result(DEADLINE) == "released"


def test_a_block_is_free_when_its_task_is_done(one):
    """So the next one is written to the same memory, which costs a fifth of fresh memory."""
    for _ in range(20):
        assert mirai(len, b"x" * MB).result(DEADLINE) == MB

    wait_until(lambda: not lent(), "the daemon to give back what it was lent")
    assert memory._arena._space.total == 64 * MB


def test_what_a_daemon_keeps_is_not_written_over(one):
    """A block is the daemon's until nothing there refers to it."""
    for i in range(5):
        everywhere(hold, Large(bytes([i]) * MB)).collect()
        assert collect_mirai([mirai(len, os.urandom(MB)) for _ in range(20)]) == [MB] * 20
        assert mirai(held_bytes).result(DEADLINE) == bytes([i]) * 6


def test_a_result_is_there_for_as_long_as_it_is_referred_to(one):
    """Whatever the daemon does next, and after it is gone."""
    results = [mirai(Large, bytes([i]) * MB).result(DEADLINE) for i in range(20)]
    parts = [result.data[10:20] for result in results]
    del results
    assert collect_mirai([mirai(os.urandom, MB) for _ in range(20)])
    daemons(0)

    assert [bytes(part) for part in parts] == [bytes([i]) * 10 for i in range(20)]
    del parts
    assert has_memory() == 0


def test_a_daemon_lets_memory_go_that_it_has_not_used_for_a_while(one, monkeypatch):
    """And so does the host: what a large result took is not kept for ever."""
    monkeypatch.setattr(memory, "KEPT", 0.3)  # the host says when
    assert len(mirai(bytes, 30 * MB).result(DEADLINE)) == 30 * MB
    assert mirai(len, bytes(30 * MB)).result(DEADLINE) == 30 * MB
    assert has_memory()

    wait_until(lambda: not has_memory(), "the host to unmap it", timeout=20)
    assert mirai(has_memory).result(DEADLINE) == 0


def pss():
    """Bytes of memory of this process and its daemons together; what they share counts once."""
    total = 0
    for pid in [os.getpid(), *(row.pid for row in status().daemons)]:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="this system does not tell")
def test_data_takes_memory_once_beside_its_own(two):
    """However many daemons hold it; and a result that the host holds, once in all."""
    size = 64 * MB
    data = bytearray(os.urandom(MB) * 64)
    everywhere(hold, Large(bytes(MB))).collect()
    before = pss()

    everywhere(hold, Large(data)).collect()
    held = pss()
    result = mirai(Large, bytes(data)).result(DEADLINE)

    assert 0.9 * size < held - before < 1.2 * size
    assert len(result.data) == size


PEAK = """
import pickle

class Large:
    def __init__(self, data):
        self.data = data
    def __reduce_ex__(self, protocol):
        return Large, (pickle.PickleBuffer(self.data),)

def read(x):
    return sum(map(read, x)) if isinstance(x, list) else sum(x.data[::4096])

def memory(what):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))

MB = 1_000_000
own = {own}
with daemons(2):
    mirai_map(range(100), abs).collect()
    before = memory("VmRSS:")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # VmHWM begins anew: proc(5)
    value = {value}
    read(value) if not isinstance(value, int) else value
    print((memory("VmHWM:") - before) / (100 * MB))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="this system does not tell")
@pytest.mark.parametrize(
    ("own", "value", "times"),
    [
        ("Large(bytes(100 * MB))", "mirai(read, own).result()", 1),
        ("[Large(bytes(MB)) for _ in range(100)]", "mirai(read, own).result()", 1),
        ("[Large(bytes(MB)) for _ in range(100)]", "sum(mirai_map(own, read).collect())", 1),
        ("bytes(100 * MB)", "mirai(len, own).result()", 1),
        ("None", "mirai(lambda: Large(bytes(100_000_000))).result()", 1),
        ("Large(bytes(100 * MB))", "mirai(lambda x: x, own).result()", 2),
        ("[Large(bytes(MB)) for _ in range(100)]", "mirai_map(own, lambda x: x).collect()", 2),
    ],
    ids=["argument", "many in one", "many tasks", "bytes", "result", "echo", "many echoes"],
)
def test_a_host_needs_memory_for_one_copy_beside_its_own(run_host, own, value, times):
    """At the peak, with what it shares. A result is its own: so an echo is that, and the one copy of the argument."""
    assert float(run_host(PEAK.format(own=own, value=value))) < times + 0.1


def test_cancelled_tasks_give_back_their_blocks(two, tmp_path):
    """Those in evaluation, those that are held and those that wait."""
    ms = [mirai(lambda data: __import__("time").sleep(60), os.urandom(MB)) for _ in range(30)]
    wait_until(lambda: status().mirai.executing == 2, "both to begin")

    stop_mirai(ms)

    wait_until(lambda: not taken(), lambda: f"blocks to be free; taken: {taken()}")
    assert mirai(len, os.urandom(MB)).result(DEADLINE) == MB


def test_tasks_that_are_given_back_take_their_blocks_along(two, tmp_path):
    """A daemon that is asked for what it has not begun has been lent its memory already."""
    quick = [mirai(len, os.urandom(MB)) for _ in range(200)]
    assert collect_mirai(quick) == [MB] * 200
    slow = [mirai(tasks.spin, random.randbytes(MB), 0.02 * (i % 3)) for i in range(40)]

    assert [len(value) for value in collect_mirai(slow)] == [MB] * 40
    del quick, slow
    wait_until(lambda: not taken(), lambda: f"blocks to be free; taken: {taken()}")


@pytest.mark.parametrize("retry", [0, 1])
def test_a_daemon_that_is_killed_takes_no_block_along(retry, tmp_path):
    """The block of a task that is tried again is the next daemon's; of one that is not, free."""
    with daemons(2, retry=retry):
        held = everywhere(hold, Large(bytes(MB)))
        held.collect()
        m = mirai(kill_once, os.urandom(MB), tmp_path / "killed")
        if retry:
            assert m.result(DEADLINE) == MB
        else:
            with pytest.raises(ConnectionReset):
                m.result(DEADLINE)
        assert mirai(len, os.urandom(MB)).result(DEADLINE) == MB
        wait_until(lambda: lent() == 1, "only what the other one holds to be taken")


def kill_once(data, marker):
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return len(data)


def test_after_a_reset_no_block_is_taken(tmp_path):
    """Also of tasks that were never begun, and whose mirais the program keeps."""
    with daemons(1):
        mirai(tasks.begin, tmp_path / "started")
        ms = [mirai(len, os.urandom(MB)) for _ in range(10)]
        assert taken() == 10

    assert taken() == 0
    assert all(isinstance(m.data, ConnectionReset) for m in ms)
    assert has_memory() == 0


def test_a_result_can_be_passed_on(two):
    """From one daemon's memory to the other daemon, without being taken apart in the host."""
    made = mirai(Large, bytearray(b"abcd" + bytes(MB)))

    assert mirai(first_bytes, mirai(swap, mirai(swap, made))).result(DEADLINE) == b"abcd"


def test_a_map_sends_large_constants_once(two):
    """All daemons map the same block."""
    constant = Large(os.urandom(4 * MB))

    m = mirai_map(range(50), lambda i, large: large.data[i], constant)

    assert m.collect() == list(constant.data[:50])
    assert lent() == 2
    assert taken() == 1
    del m
    wait_until(lambda: not lent(), "the constant to be forgotten")


def test_an_ephemeral_daemon_is_lent_memory_too():
    """It leaves as soon as it has answered; the answer is still there."""
    assert bytes(mirai(swap, Large(b"abcd" + bytes(MB))).result(DEADLINE).data[-4:]) == b"dcba"


def test_daemons_that_dial_in_map_the_hosts_memory(tmp_path):
    """What counts is that they are on this machine."""
    from mirai import launch_local

    with daemons(url=f"ipc://{tmp_path}/s"):
        launch_local(1)
        assert mirai(len, b"x" * MB).result(DEADLINE) == MB
        assert mirai(len, b"x" * MB).result(DEADLINE) == MB
        assert profiles.require(None).service._online()[0].exchange._given


def test_over_a_network_nothing_is_shared():
    """The same data goes through the socket, and is as read-only."""
    from mirai import launch_local

    with daemons(url=local_url(tcp=True)):
        launch_local(1)
        result = mirai(swap, Large(bytearray(b"abcd" + bytes(5 * MB)))).result(DEADLINE)

        assert bytes(result.data[-4:]) == b"dcba"
        assert result.data.readonly
        assert profiles.require(None).service._online()[0].exchange is None
        with pytest.raises(TypeError, match="read-only"):
            mirai(lambda large: large.data.__setitem__(0, 1), Large(bytearray(2 * MB))).result(DEADLINE)


@pytest.mark.parametrize("dispatcher", [True, False])
def test_the_memory_budget_counts_what_is_in_shared_memory(dispatcher, tmp_path):
    """It is memory all the same."""
    with daemons(1, memory="10MB", dispatcher=dispatcher):
        mirai(tasks.begin, tmp_path / "started")
        wait_until((tmp_path / "started").exists, "the daemon to be busy")
        mirai(len, os.urandom(3 * MB))

        assert 3 * MB <= status().memory.current < 4 * MB


def test_without_shared_memory_the_socket_takes_all(run_host):
    """Where it is switched off, or the system gives none."""
    run_host(
        """
        import resource
        from mirai.runtime import profile
        def swap(data): return bytes(data)[::-1]
        with daemons(1):
            service = profile.require(None).service
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))  # as if it were full
            assert mirai(swap, b"abcd" + bytes(3 << 20)).result(30)[-4:] == b"dcba"
            assert not service._online()[0].exchange._given
            assert mirai("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))").result(30) is None
            assert mirai(swap, b"abcd" + bytes(3 << 20)).result(30)[-4:] == b"dcba"
        """,
    )


def test_a_limit_of_nothing_switches_it_off(run_host, monkeypatch):
    """For who must."""
    monkeypatch.setenv(memory.VARIABLE, "0")
    run_host(
        """
        from mirai.runtime import profile
        with daemons(1):
            assert len(mirai(lambda data: data, bytes(3 << 20)).result(30)) == 3 << 20
            exchange = profile.require(None).service._online()[0].exchange
            assert not exchange._given and not exchange._mapped
        """,
    )


@pytest.mark.parametrize("rounds", range(5))
def test_a_host_that_was_killed_leaves_nothing(start_host, rounds):
    """At whatever moment: the memory has no name that could stay, and its daemons leave."""
    before = set(os.listdir("/dev/shm"))
    host = start_host(
        """
        import os, time
        daemons(2)
        print(*(d.pid for d in status().daemons), flush=True)
        while True:
            collect_mirai([mirai(lambda data: data, os.urandom(1 << 20)) for _ in range(8)])
            print("round", flush=True)
        """
    )
    pids = [int(pid) for pid in host.line().split()]
    for _ in range(rounds):
        host.line()

    host.process.kill()

    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "its daemons to leave")
    assert {name for name in set(os.listdir("/dev/shm")) - before if "mirai" in name} == set()


def test_daemons_killed_at_random_moments_disturb_nobody(tmp_path):
    """Of a storm of large tasks each ends, in its value or with its daemon, and no block stays taken."""
    generator = random.Random(1)
    with daemons(3, compute="storm"):
        for _ in range(6):
            ms = [mirai(echo_of, os.urandom(MB), i, _compute="storm") for i in range(40)]
            victims = [row.pid for row in status("storm").daemons if row.online]
            ms[generator.randrange(30)].exception(DEADLINE)
            os.kill(generator.choice(victims), signal.SIGKILL)
            values = collect_mirai(ms)
            assert sum(isinstance(value, ConnectionReset) for value in values) <= 1
            assert all(isinstance(v, ConnectionReset) or (v[0] == i and len(v[1]) == MB) for i, v in enumerate(values))
            del ms, values
            wait_until(lambda: status("storm").connections < len(victims), "the host to notice")
            from mirai import launch_local

            launch_local(1, compute="storm")
            wait_until(lambda: status("storm").connections == 3, "another one")
        wait_until(lambda: not taken(), lambda: f"blocks to be free; taken: {taken()}")


def echo_of(data, i):
    return i, data


@pytest.mark.parametrize("value", [b"x" * MB, "ä" * MB, bytearray(b"y" * MB)], ids=["bytes", "str", "bytearray"])
def test_large_text_and_bytes_keep_their_identity_and_type(one, value):
    """They are pieces of their own in the pickle, and it is still one pickle."""
    first, second, named, small = mirai(
        lambda a, b, *, c: (a, a is b, c, type(a).__name__), value, value, c=[value]
    ).result(DEADLINE)

    assert (first, second, named, small) == (value, True, [value], type(value).__name__)
    assert mirai(lambda a: a, value).result(DEADLINE) == value
