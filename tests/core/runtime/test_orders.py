"""Orders are performed one at a time, whoever gives them, and whenever."""

from __future__ import annotations

import threading

import pytest

from mirai.runtime.orders import Orders
from tests.waiting import wait_until


@pytest.fixture
def done():
    """What was done, in order."""
    return []


@pytest.fixture
def orders(done):
    return Orders(lambda error: done.append(repr(error)))


def test_an_order_in_the_middle_of_another_is_put_off(orders, done):
    """A finalizer cannot wait for the thread that it runs in."""

    def outer():
        orders.perform(lambda: done.append("inner"))
        orders.perform(lambda: done.append("inner too"))
        done.append("outer")

    orders.perform(outer)

    assert done == ["outer", "inner", "inner too"]
    assert not orders.busy
    assert not orders.is_mine()


def test_under_the_lock_alone_an_order_is_performed_at_once(orders, done):
    """Nothing is in its middle there."""
    with orders.lock:
        orders.perform(lambda: done.append("order"))
        done.append("then")

    assert done == ["order", "then"]


def test_another_thread_waits(orders, done):
    """It sees the state before an order, or after it."""
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go_on.wait(10)
        done.append("first")

    threads = [threading.Thread(target=orders.perform, args=[slow])]
    threads[0].start()
    assert begun.wait(10)
    threads.append(threading.Thread(target=orders.perform, args=[lambda: done.append("second")]))
    threads[1].start()
    assert done == []
    go_on.set()
    for thread in threads:
        thread.join()

    assert done == ["first", "second"]


def test_an_order_that_raises_is_told_of_and_the_others_are_performed(orders, done):
    """What it left in its middle must not be taken for whole, and nobody must wait for what is behind it."""

    def fails():
        orders.perform(lambda: done.append("after"))
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        orders.perform(fails)

    assert done == ["ValueError('in the middle')", "after"]
    wait_until(lambda: not orders.busy, "it to be free again")
