"""To look again and again before one sleeps is worth it only where it was."""

from __future__ import annotations

from mirai.protocol.spinning import MOST, Spinning


def spins(spinning, times, *, pays):
    """At which of so many waits it is tried."""
    tried = []
    for i in range(times):
        if spinning.is_worth_it():
            tried.append(i)
            if pays:
                spinning.has_paid()
            else:
                spinning.was_in_vain()
    return tried


def test_it_is_tried_each_time_while_it_pays():
    """One round trip after the other."""
    assert spins(Spinning(), 5, pays=True) == [0, 1, 2, 3, 4]


def test_what_was_in_vain_is_tried_ever_more_seldom():
    """Long tasks: a processor that spins is one that a daemon could use."""
    tried = spins(Spinning(), 1000, pays=False)

    assert tried[:5] == [0, 2, 6, 14, 30]
    assert {later - earlier for earlier, later in zip(tried[7:], tried[8:], strict=False)} == {MOST + 1}


def test_once_it_pays_it_is_tried_each_time_again():
    """Short tasks after long ones."""
    spinning = Spinning()
    spins(spinning, 1000, pays=False)
    while not spinning.is_worth_it():
        pass
    spinning.has_paid()

    assert spins(spinning, 3, pays=True) == [0, 1, 2]
