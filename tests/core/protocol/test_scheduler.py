"""Tasks are evaluated in order, once each, and none is forgotten, whatever happens to daemons meanwhile."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mirai.protocol.scheduler import Scheduler
from tests.core.protocol.world import LONG, SHORT, FakeDaemon, World

which = st.integers(0, 11)
elapsed = st.sampled_from([SHORT, 0.0, 0.001, LONG])


def pick(items, which):
    return items[which % len(items)]


def any_daemon(can):
    """Run the rule only where a daemon `can`."""
    return precondition(lambda machine: any(map(can, machine.world.daemons)))


class AnyOrder(RuleBasedStateMachine):
    """Events in any order, in a world that checks what must hold after each."""

    @initialize(window=st.sampled_from([64, 64, 1]), daemons=st.integers(1, 3), queued=st.integers(0, 30))
    def begin_world(self, window, daemons, queued):
        self.world = World(Scheduler(window), window=window)
        self.world.join(daemons)
        self.submit(30 * daemons, 0, 0)
        self.world.go_on()  # their windows are wide now
        self.submit(queued, 1, 0)
        for daemon in filter(FakeDaemon.can_begin, self.world.daemons):
            self.world.evaluate(daemon)  # and hold more than one

    def a_daemon(self, can, which):
        return pick([daemon for daemon in self.world.daemons if can(daemon)], which)

    @rule(tasks=st.integers(1, 20), size=st.integers(0, 3), retries=st.sampled_from([0, 0, 1, 2]))
    def submit(self, tasks, size, retries):
        for _ in range(tasks):
            self.world.submit(size, retries)

    @precondition(lambda self: len(self.world.barriers) < 4)
    @rule(more=st.integers(0, 2), minimum=st.integers(1, 4), size=st.integers(0, 3))
    def everywhere(self, more, minimum, size):
        self.world.everywhere(max(minimum, len(self.world.daemons)) + more, minimum, size)

    @precondition(lambda self: self.world.may_cancel())
    @rule(which=st.integers(0, 60), tasks=st.integers(1, 3))
    def cancel(self, which, tasks):
        for _ in range(tasks):
            if may_cancel := self.world.may_cancel():
                self.world.cancel(pick(may_cancel, which))

    @precondition(lambda self: len(self.world.daemons) < 5)
    @rule()
    def join(self):
        self.world.join()

    @any_daemon(FakeDaemon.can_begin)
    @rule(which=which, tasks=st.integers(0, 8), elapsed=elapsed, begin=st.booleans())
    def work(self, which, tasks, elapsed, begin):
        """Evaluate some tasks, and begin another one."""
        daemon = self.a_daemon(FakeDaemon.can_begin, which)
        for _ in range(tasks):
            if daemon.can_begin():
                self.world.begin(daemon)
            if daemon.evaluating:
                daemon.finish(elapsed)
        if begin and daemon.can_begin():
            self.world.begin(daemon)

    @any_daemon(lambda daemon: daemon.evaluating)
    @rule(which=which, elapsed=elapsed)
    def finish(self, which, elapsed):
        self.a_daemon(lambda daemon: daemon.evaluating, which).finish(elapsed)

    @any_daemon(lambda daemon: daemon.data_up)
    @rule(which=which, frames=st.sampled_from([1000, 1, 2, 4]))
    def read_data(self, which, frames):
        self.world.read_data(self.a_daemon(lambda daemon: daemon.data_up, which), frames)

    @any_daemon(lambda daemon: daemon.control_down)
    @rule(which=which)
    def hear(self, which):
        self.a_daemon(lambda daemon: daemon.control_down, which).hear()

    @any_daemon(lambda daemon: daemon.control_up)
    @rule(which=which)
    def read_control(self, which):
        self.world.read_control(self.a_daemon(lambda daemon: daemon.control_up, which))

    @any_daemon(lambda daemon: daemon.working)
    @rule(which=which, crash=st.booleans())
    def leave(self, which, crash):
        daemon = self.a_daemon(lambda daemon: daemon.working, which)
        if crash or daemon.evaluating:
            daemon.crash()
        else:
            daemon.say_goodbye()

    @precondition(lambda self: self.world.scheduler.tick_needed())
    @rule(seconds=st.sampled_from([0.1, 0.003, 0.001]), hear=st.booleans())
    def tick(self, seconds, hear):
        self.world.tick(seconds)
        for daemon in self.world.daemons:
            while hear and daemon.control_down:
                daemon.hear()

    @invariant()
    def holds(self):
        self.world.check()

    def teardown(self):
        world = self.world
        frozen = [daemon for daemon in world.daemons if daemon.evaluating]
        if any(daemon.working for daemon in world.daemons if daemon not in frozen):
            world.go_on(frozen)
            if all(barrier.is_over() for barrier in world.barriers):
                assert not world.not_begun(), "no task waits behind a long one while a daemon is idle"
        world.run_out()


AnyOrder.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrder = AnyOrder.TestCase
