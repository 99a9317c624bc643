"""Wrong arguments are refused at the call, by their name and with what to give, and disturb nobody."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mirai import (
    NoDaemonsError,
    daemons,
    daemons_set,
    everywhere,
    info,
    make_cluster,
    mirai,
    mirai_map,
    nextstream,
    status,
    stop_cluster,
    with_daemons,
)

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.mark.parametrize("retry", ["a", -1, 1.5, True])
def test_a_retry_that_is_none_is_refused(one, retry):
    """It was found out when a daemon was lost, and took the whole profile with it."""
    with pytest.raises(ValueError, match=r"_retry=.*: give a whole number, 0 or more"):
        mirai(pow, 2, 3, _retry=retry)
    with pytest.raises(ValueError, match="_retry="):
        mirai_map([1], abs, _retry=retry)

    assert mirai(pow, 2, 3, _retry=0).result(DEADLINE) == 8


@pytest.mark.parametrize("names", ["abc", [1], 3, {1: 2}, {"a b": 1}])
def test_globals_that_are_none_are_refused(one, names):
    """The task would have failed with an error that does not name them."""
    for call in (lambda: mirai("1", _globals=names), lambda: everywhere("1", _globals=names)):
        with pytest.raises(TypeError, match=r"_globals=.*: give names and their values"):
            call()


def test_a_slip_in_one_of_our_keywords_is_told(one):
    """It would have gone to the task, which knows no such argument."""
    with pytest.raises(TypeError, match="there is no '_timout': did you mean '_timeout'"):
        mirai(pow, 2, 3, _timout=4)
    with pytest.raises(TypeError, match="did you mean '_compute'"):
        mirai_map([1], abs, _comput="x")

    assert mirai(dict, _private=1).result(DEADLINE) == {"_private": 1}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"n": 1, "sync": "no"}, "sync='no': give True or False"),
        ({"n": 1, "dispatcher": "no"}, "dispatcher='no': give True or False"),
        ({"url": []}, "url=.*: give one address at least"),
        ({"n": 1, "compute": ""}, "'' is no profile's name"),
        ({"n": 1, "compute": 3}, "3 is no profile's name"),
        ({"n": 1, "maxtasks": 1.5}, "maxtasks=1.5: give a whole number"),
        ({"n": 1, "heartbeat": "x"}, "heartbeat='x': give seconds"),
        ({"n": 1, "kill_after": "x"}, "kill_after='x': give seconds"),
    ],
)
def test_what_daemons_cannot_mean_is_refused(one, arguments, problem):
    """And what was set stays set."""
    with pytest.raises((TypeError, ValueError), match=problem):
        daemons(**arguments)

    assert mirai(pow, 2, 3).result(DEADLINE) == 8


@pytest.mark.parametrize("ask", [status, info, nextstream, daemons_set, with_daemons])
def test_what_is_no_name_of_a_profile_is_refused(ask):
    """Not taken for one that is not set."""
    with pytest.raises(TypeError, match="3 is no profile's name: give text"), ask(3):
        pass


def test_a_profile_that_is_not_set_is_named():
    """With the way to set it."""
    with pytest.raises(TypeError, match="is no profile's name"):
        mirai(pow, 2, 3, _compute=3)
    with pytest.raises(NoDaemonsError, match="compute='gpu'"):
        mirai(pow, 2, 3, _compute="gpu")


def test_a_number_of_numpys_is_a_number():
    """Whoever computes how many daemons to have gets one."""
    with daemons(np.int64(1)):
        assert status().connections == 1


def test_a_cluster_needs_daemons():
    """The error names what the user wrote, not a profile that was made for it."""
    with pytest.raises(ValueError, match="n=0: a cluster needs daemons"):
        make_cluster(0)
    with pytest.raises(TypeError, match="3 is no cluster"):
        stop_cluster(3)


def test_a_status_can_be_said_in_json(one):
    """Which is what plain values are wanted for."""
    mirai(pow, 2, 3).result(DEADLINE)

    assert json.loads(json.dumps(status().to_dict()))["daemons"][0]["completed"] == 1
