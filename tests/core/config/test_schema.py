"""What a profile may say, and what becomes of it."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from mirai.api.daemons import daemons
from mirai.config.schema import DaemonOptions, Launch, Profile
from mirai.runtime.options import Options


def names(cls) -> set[str]:
    return {field.name for field in fields(cls)}


def test_what_daemons_takes_a_profile_takes():
    """One vocabulary: who knows `daemons()` can write a profile."""
    assert set(inspect.signature(daemons).parameters) - {"compute", "daemon_options"} <= names(Profile)
    assert set(vars(Options())) - {"dispatcher"} | {"threads", "kill_after"} == names(DaemonOptions)


def test_daemons_is_told_only_what_the_file_says():
    """Its own defaults are the defaults."""
    profile = Profile(n=2, dispatcher=False, retry=0, daemon=DaemonOptions(maxtasks=3, cleanup=False))

    assert profile.arguments() == {"n": 2, "dispatcher": False, "retry": 0, "maxtasks": 3, "cleanup": False}


@pytest.mark.parametrize("key", ["launcher", "remote"])
def test_a_launcher_brings_its_number(key):
    """`daemons(8, url=…, remote=…)` says both, too."""
    launcher = object()

    profile = Profile(url="tcp://:0", **{key: Launch(launcher, n=8)})

    assert profile.arguments() == {"n": 8, "url": "tcp://:0", "remote": launcher}
    assert Profile(url="tcp://:0", **{key: Launch(launcher)}).arguments() == {
        "url": "tcp://:0",
        "remote": launcher,
    }


def test_a_password_is_not_shown():
    """What is printed ends in a log."""
    profile = Profile(n=1, password="geheim")

    assert "geheim" not in repr(profile)
    assert profile.arguments()["password"]() == "geheim"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"seed": 1}, "no daemons: add n"),
        ({"n": 1, "launcher": Launch(None, n=1)}, "n stands both"),
        ({"launcher": Launch(None), "remote": Launch(None)}, "mean the same"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys, problem):
    """Nobody should have to guess which of them counts."""
    with pytest.raises(ValueError, match=problem):
        Profile(**keys)
