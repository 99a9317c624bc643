"""Signal handlers wait while the dispatcher's work is in its middle, then run as they would have."""

from __future__ import annotations

import signal

import pytest

from mirai.runtime import interrupts
from mirai.runtime.interrupts import Uninterrupted


@pytest.fixture
def handled():
    """Which of two signals had their handlers called; SIGUSR2's raises."""
    calls = []

    def fail(number, frame):
        calls.append(number)
        raise TimeoutError("of the handler")

    before = {
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, lambda number, frame: calls.append(number)),
        signal.SIGUSR2: signal.signal(signal.SIGUSR2, fail),
    }
    yield calls
    for number, handler in before.items():
        signal.signal(number, handler)


def test_handlers_wait(handled):
    """Each is called once, as signals do not count."""
    notified = []
    with Uninterrupted(lambda: notified.append(True)):
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert handled == []
        assert notified

    assert handled == [signal.SIGUSR1]


def test_a_handler_may_raise_afterwards(handled):
    """As with an alarm that ends a wait; the context is as good as new."""
    uninterrupted = Uninterrupted(lambda: None)
    for _ in range(2):
        with pytest.raises(TimeoutError, match="of the handler"), uninterrupted:
            signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR1)

    assert sorted(handled) == [signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_context_within_the_context_changes_nothing(handled):
    """They are called when the outer one is left."""
    uninterrupted = Uninterrupted(lambda: None)
    with uninterrupted:
        with uninterrupted:
            signal.raise_signal(signal.SIGUSR1)
        assert handled == []

    assert handled == [signal.SIGUSR1]


def test_a_handler_that_is_set_meanwhile_stays(handled):
    """A callback of the user's may set one."""
    other = []
    with Uninterrupted(lambda: None):
        signal.signal(signal.SIGUSR1, lambda number, frame: other.append(number))
    signal.raise_signal(signal.SIGUSR1)

    assert other == [signal.SIGUSR1]
    assert handled == []


def test_a_handler_that_is_changed_between_is_the_one_that_is_called(handled, monkeypatch):
    """Which signals have one is not looked up each time, what it is, is."""
    monkeypatch.setattr(interrupts, "REFRESH", 1000)
    uninterrupted = Uninterrupted(lambda: None)
    with uninterrupted:
        pass
    other = []
    signal.signal(signal.SIGUSR1, lambda number, frame: other.append(number))
    with uninterrupted:
        signal.raise_signal(signal.SIGUSR1)

    assert other == [signal.SIGUSR1]


def test_where_one_waits_they_can_be_called_earlier(handled):
    """In a callback that waits, which may take long."""
    uninterrupted = Uninterrupted(lambda: None)
    with uninterrupted:
        signal.raise_signal(signal.SIGUSR1)
        assert uninterrupted.pending_here()
        uninterrupted.deliver()
        assert handled == [signal.SIGUSR1]
        assert not uninterrupted.pending_here()

    assert handled == [signal.SIGUSR1]


def test_ctrl_c_is_for_the_callback_and_for_the_program():
    """A callback may well catch it."""
    uninterrupted = Uninterrupted(lambda: None)

    def wait():
        with uninterrupted:
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                uninterrupted.deliver()

    with pytest.raises(KeyboardInterrupt):
        wait()
