"""Without a dispatcher's queue, tasks are spread evenly, and still none is forgotten."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from mirai.protocol.direct import RoundRobin
from tests.core.protocol.test_scheduler import AnyOrder
from tests.core.protocol.world import World


def world_with(daemons):
    world = World(RoundRobin(), round_robin=True)
    world.join(daemons)
    return world


def test_each_task_goes_to_the_next_daemon():
    """At once, whether that has something to do or not."""
    world = world_with(daemons=3)

    assert [world.submit().daemon for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    assert world.scheduler.has_idle()


def test_without_daemons_tasks_wait():
    """The first one to join gets them all."""
    world = world_with(daemons=0)
    tasks = [world.submit() for _ in range(3)]
    assert not world.scheduler.has_idle()
    world.join()

    assert [task.daemon for task in tasks] == [1, 1, 1]


def test_nothing_is_taken_back():
    """That is what it saves: no timer, no recalls."""
    world = world_with(daemons=2)
    for _ in range(20):
        world.submit()
    world.begin(world.daemons[0])
    world.evaluate(world.daemons[1])

    assert not world.scheduler.tick_needed()
    world.tick(100.0)
    assert not any(daemon.asked for daemon in world.daemons)


def test_what_a_lost_daemon_had_not_begun_goes_to_others():
    """It was not lost."""
    world = world_with(daemons=2)
    tasks = [world.submit() for _ in range(4)]
    world.begin(world.daemons[0])
    world.daemons[0].crash()
    world.read_data(world.daemons[0])

    assert world.lost == tasks[:1]
    assert tasks[2].daemon == 2
    world.run_out()


def test_everywhere_reaches_each_daemon_once():
    """Not one of them twice, as round robin would have it where some have left."""
    world = world_with(daemons=3)
    world.submit()
    copies = world.everywhere(3)

    assert sorted(copy.daemon for copy in copies) == [1, 2, 3]
    world.run_out()


class AnyOrderOfDirect(AnyOrder):
    """The same world, with all that must hold but for order and idleness."""

    def make_world(self, window):
        return World(RoundRobin(), round_robin=True)


AnyOrderOfDirect.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfDirect = AnyOrderOfDirect.TestCase
